"""Tensors to the files of a bundle, in memory: which bytes go into which shard, and the index over them. Pure."""

from __future__ import annotations

from typing import Any

from ckptstore._arguments import as_count
from ckptstore.bundle.partitioned import Partitioned
from ckptstore.errors import IncompatibleTensorError, InvalidArgumentError
from ckptstore.format.checksum import crc32c, mask
from ckptstore.format.entry import HEADER_KEY, BundleEntry, BundleHeader
from ckptstore.format.slices import TensorSlice, slice_key
from ckptstore.format.table import TableWriter
from ckptstore.format.tensor import EncodedTensor, encode

_DEFER = 64 << 10
"""Tensors of more bytes have their checksums computed beside the writing."""


class BundleBuilder:
    """Lays tensors out, in the order they are added, as TensorFlow's BundleWriter does.

    Args:
        max_shard_bytes: Begin another data shard rather than let one grow over this many bytes; a single tensor may
            be larger. None: one shard, as TensorFlow's Saver writes.
    """

    def __init__(self, *, max_shard_bytes: int | None = None) -> None:
        self._max = None if max_shard_bytes is None else as_count(max_shard_bytes, "max_shard_bytes")
        self._shards: list[list[memoryview]] = [[]]
        self._fill = 0
        self._placed = False  # whether the last shard holds a tensor, be it one of no bytes
        self._apart = False  # whether the next tensor begins a shard
        self._entries: dict[bytes, BundleEntry] = {}
        self._unchecked: dict[bytes, memoryview] = {}  # bytes whose checksums their entries do not have yet

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def shards(self) -> list[list[memoryview]]:
        """The buffers of each data shard, in order; mostly the arrays' own memory."""
        return self._shards

    def add(self, name: str, value: Any, *, dtype: Any = None) -> None:
        """Adds a tensor, or (as a `Partitioned`) the pieces of one.

        Args:
            name: The tensor's name: not empty, and not added before.
            value: An array, or anything that numpy makes one of. Its memory must not change until it is written.
            dtype: The element type to store, where numpy's does not tell it (the quantised ones).

        Raises:
            InvalidArgumentError: The name is not a str, is empty, or was added before.
            IncompatibleTensorError: The value cannot be stored.
        """
        if isinstance(value, Partitioned):
            if not value.pieces:
                raise IncompatibleTensorError(f"Tensor {name!r} is partitioned into no pieces.", name=str(name))
            for piece, part in value.pieces:
                self.add_slice(name, value.shape, piece, part, dtype=dtype)
        else:
            self.add_encoded(name, encode(value, str(name), dtype, defer=_DEFER))

    def add_slice(
        self, name: str, shape: tuple[int, ...], piece: TensorSlice, value: Any, *, dtype: Any = None
    ) -> None:
        """Adds one piece of a tensor. A piece that is all of it becomes an ordinary tensor, as in TensorFlow.

        Raises:
            InvalidArgumentError: The name is not a str or is empty.
            IncompatibleTensorError: The value is not of the slice's shape, or contradicts an earlier piece.
        """
        key = tensor_key(name)
        encoded = encode(value, str(name), dtype, defer=_DEFER)
        if piece.shape(shape) != encoded.shape:
            raise IncompatibleTensorError(
                f"Tensor {name!r}: the slice {piece} of {list(shape)} is not of shape {list(encoded.shape)}.", name=name
            )
        if encoded.shape == tuple(shape):
            self.add_encoded(name, encoded)
            return
        full = self._entries.get(key, BundleEntry(encoded.dtype, tuple(shape)))
        if (full.dtype, full.shape) != (encoded.dtype, tuple(shape)) or (key in self._entries and not full.slices):
            raise IncompatibleTensorError(
                f"Tensor {name!r} was added before as {full.dtype} {list(full.shape)}, not as "
                f"{encoded.dtype} {list(shape)} in slices.",
                name=name,
            )
        self._place(slice_key(key, piece), encoded, name)
        # As after TensorFlow's merge of the shards, the tensor's own entry bears the number of the first with a piece.
        first = full if full.slices else full._replace(shard=len(self._shards) - 1)
        self._entries[key] = first._replace(slices=(*full.slices, piece))

    def add_encoded(self, name: str, encoded: EncodedTensor) -> None:
        """Adds bytes that are a tensor already."""
        self._place(tensor_key(name), encoded, name)

    def begin_shard(self) -> None:
        """Puts what is added from now on into another data shard, as TensorFlow does for each device.

        A shard that would hold no tensor is not made: TensorFlow could not read such a bundle.
        """
        self._apart = True

    @property
    def checked(self) -> bool:
        """Whether all checksums are known."""
        return not self._unchecked

    def compute_checksums(self) -> None:
        """Computes the checksums that are not known yet. That may go on while the shards are being written."""
        while self._unchecked:
            key, data = self._unchecked.popitem()
            self._entries[key] = self._entries[key]._replace(crc=mask(crc32c(data)))

    def require_tensors(self) -> None:
        """Sees that this makes a bundle.

        Raises:
            InvalidArgumentError: Nothing was added.
        """
        if not self._entries:
            raise InvalidArgumentError("There is nothing to save: a checkpoint holds at least one tensor.")

    def index(self) -> bytes:
        """The bytes of the `.index` file.

        Raises:
            InvalidArgumentError: Nothing was added.
        """
        self.require_tensors()
        self.compute_checksums()
        table = TableWriter()
        table.add(HEADER_KEY, BundleHeader(num_shards=len(self._shards)).encode())
        for key in sorted(self._entries):
            table.add(key, self._entries[key].encode())
        return table.finish()

    def _place(self, key: bytes, encoded: EncodedTensor, name: str) -> None:
        if key in self._entries:
            raise InvalidArgumentError(f"Two tensors are named {name!r}; names must differ.", name=name)
        dtype, shape, buffers, crc = encoded
        size = buffers[0].nbytes if len(buffers) == 1 else encoded.size
        full = self._max is not None and self._fill and self._fill + size > self._max
        if full or (self._apart and self._placed):
            self._shards.append([])
            self._fill = 0
        self._placed, self._apart = True, False
        shard = len(self._shards) - 1
        if crc is None:
            (self._unchecked[key],) = buffers
        self._entries[key] = BundleEntry(dtype, shape, shard, self._fill, size, crc or 0)
        self._shards[shard] += buffers
        self._fill += size


def tensor_key(name: str) -> bytes:
    """The key of a tensor in an index.

    Raises:
        InvalidArgumentError: The name is not a str, is empty, or cannot be written.
    """
    if not isinstance(name, str):
        raise InvalidArgumentError(f"A tensor's name must be a str, not {name!r}.", name=repr(name))
    if not name:
        raise InvalidArgumentError("A tensor's name must not be empty.", name=name)
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(f"The name {name!a} has a lone surrogate in it.", name=name) from error
