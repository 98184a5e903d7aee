"""Tensors to the files of a bundle, in memory: which bytes go into which shard, and the index over them. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from ckptstore._arguments import as_count
from ckptstore.bundle.buffers import Buffers
from ckptstore.bundle.layout import Layout
from ckptstore.bundle.partitioned import Partitioned
from ckptstore.errors import IncompatibleTensorError, InvalidArgumentError
from ckptstore.format.checksum import crc32c, mask_all
from ckptstore.format.columns import TensorType
from ckptstore.format.dtypes import PLAIN
from ckptstore.format.entry import HEADER_KEY, BundleEntry, BundleHeader
from ckptstore.format.slices import TensorSlice, slice_key
from ckptstore.format.table import TableWriter
from ckptstore.format.tensor import EncodedTensor, are_plain, encode, is_plain

_DEFER = 64 << 10
"""Tensors of more bytes have their checksums computed beside the writing."""

_MANY = 16  # small tensors, from which on columns are quicker
_AT_ONCE = 1024  # of them, of which the checksums are computed in one go


class BundleBuilder:
    """Lays tensors out, in the order they are added, as TensorFlow's BundleWriter does.

    Args:
        max_shard_bytes: Begin another data shard rather than let one grow over this many bytes; a single tensor may
            be larger. None: one shard, as TensorFlow's Saver writes.
    """

    def __init__(self, *, max_shard_bytes: int | None = None) -> None:
        self._max = None if max_shard_bytes is None else as_count(max_shard_bytes, "max_shard_bytes")
        self._shards = [Buffers()]
        self._fill = 0
        self._placed = False  # whether the last shard holds a tensor, be it one of no bytes
        self._apart = False  # whether the next tensor begins a shard
        self._layout = Layout()
        self._partitioned: dict[bytes, BundleEntry] = {}
        self._unchecked: list[tuple[int, Sequence[Any]]] = []  # bytes whose checksums are yet to be computed
        self._index: bytes | None = None

    def __len__(self) -> int:
        return len(self._layout) + len(self._partitioned)

    @property
    def shards(self) -> list[Buffers]:
        """The bytes of each data shard."""
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
        full = self._partitioned.get(key) or BundleEntry(*(self._type_of(key) or (encoded.dtype, tuple(shape))))
        if (full.dtype, full.shape) != (encoded.dtype, tuple(shape)) or (self._holds(key) and not full.slices):
            raise IncompatibleTensorError(
                f"Tensor {name!r} was added before as {full.dtype} {list(full.shape)}, not as "
                f"{encoded.dtype} {list(shape)} in slices.",
                name=name,
            )
        self._place(slice_key(key, piece), encoded, name)
        # As after TensorFlow's merge of the shards, the tensor's own entry bears the number of the first with a piece.
        first = full if full.slices else full._replace(shard=len(self._shards) - 1)
        self._partitioned[key] = first._replace(slices=(*full.slices, piece))

    def add_all(self, items: Mapping[str, Any]) -> None:
        """Adds several tensors, in the order of the mapping, as `add` does; many small ones in a fraction of the time.

        Raises:
            InvalidArgumentError, IncompatibleTensorError: As in `add`.
        """
        values = [*items.values()]
        if are_plain(values, _DEFER):
            self._add_plain([*items], values)
            return
        names: list[str] = []
        run: list[np.ndarray[Any, Any]] = []
        for name, value in items.items():
            if is_plain(value) and value.nbytes <= _DEFER:
                names.append(name)
                run.append(value)
            else:
                self._add_plain(names, run)
                names, run = [], []
                self.add(name, value)
        self._add_plain(names, run)

    def _add_plain(self, names: Sequence[str], arrays: Sequence[np.ndarray[Any, Any]]) -> None:
        """Adds small arrays whose memory is what is stored."""
        if self._max is not None or len(arrays) < _MANY:
            for name, array in zip(names, arrays, strict=True):
                self.add(name, array)
            return
        keys = tensor_keys(names)
        if len({*keys}) < len(keys) or self._layout.has_any(keys) or not self._partitioned.keys().isdisjoint(keys):
            seen: set[bytes] = set()
            for key, name in zip(keys, names, strict=True):
                self._claim(key, name)
                if key in seen:  # two names that are the same in UTF-8
                    raise _named_twice(name)
                seen.add(key)
        self._index = None
        dtypes, shapes = [*map(attrgetter("dtype"), arrays)], [*map(attrgetter("shape"), arrays)]
        if dtypes.count(dtypes[0]) == len(arrays) == shapes.count(shapes[0]):  # to compare is quicker than to look up
            kinds = [self._layout.number_of((PLAIN[dtypes[0]], shapes[0]))] * len(arrays)
        else:
            numbers = _Numbers(self._layout)
            kinds = [numbers[kind] for kind in zip(dtypes, shapes, strict=True)]
        self._begin_if_apart()
        sizes = [*map(attrgetter("nbytes"), arrays)]
        first = self._layout.extend(keys, kinds, len(self._shards) - 1, self._fill, sizes)
        self._unchecked.append((first, arrays))
        self._shards[-1].extend_small(arrays, self._layout.end - self._fill)
        self._fill = self._layout.end

    def add_encoded(self, name: str, encoded: EncodedTensor) -> None:
        """Adds bytes that are a tensor already."""
        self._place(tensor_key(name), encoded, name)

    def begin_shard(self) -> None:
        """Puts what is added from now on into another data shard, as TensorFlow does for each device.

        A shard that would hold no tensor is not made: TensorFlow could not read such a bundle.
        """
        self._apart = True

    def require_tensors(self) -> None:
        """Sees that this makes a bundle.

        Raises:
            InvalidArgumentError: Nothing was added.
        """
        if not len(self):
            raise InvalidArgumentError("There is nothing to save: a checkpoint holds at least one tensor.")

    @property
    def busy(self) -> bool:
        """Whether `prepare_index` takes long enough to be done beside something else."""
        unchecked = any(len(data) >= _AT_ONCE or data[0].nbytes > _DEFER for _, data in self._unchecked)
        return self._index is None and (unchecked or len(self) > _AT_ONCE)

    def prepare_index(self) -> None:
        """Computes the checksums that are not known yet, and puts the index together, for which `index` is quick then.

        That may go on while the shards are being written.

        Raises:
            InvalidArgumentError: Nothing was added.
        """
        self.require_tensors()
        if self._index is not None:
            return
        while self._unchecked:
            first, data = self._unchecked[-1]
            for start in range(0, len(data), _AT_ONCE):  # numpy and map let no other thread run
                part = data[start : start + _AT_ONCE]
                self._layout.crcs[first + start : first + start + len(part)] = mask_all([*map(crc32c, part)]).tolist()
            self._unchecked.pop()  # not before they are known: whoever tries again must not find zeros
        table = TableWriter()
        table.add(HEADER_KEY, BundleHeader(num_shards=len(self._shards)).encode())
        self._layout.write(table, {key: entry.encode() for key, entry in self._partitioned.items()})
        self._index = table.finish()

    def index(self) -> bytes:
        """The bytes of the `.index` file.

        Raises:
            InvalidArgumentError: Nothing was added.
        """
        if self._index is None:
            self.prepare_index()
        return self._index or b""

    def _type_of(self, key: bytes) -> TensorType | None:
        """Element type and shape of a tensor that was added whole, or of a piece."""
        return self._layout.type_of(key)

    def _holds(self, key: bytes) -> bool:
        """Whether a tensor, or a piece of one, was added under a key."""
        return key in self._layout or key in self._partitioned

    def _claim(self, key: bytes, name: str) -> None:
        self._index = None
        if self._holds(key):
            raise _named_twice(name)

    def _begin_if_apart(self, size: int = 0) -> None:
        """Begins a shard for what takes so many bytes, if it is not to go into the last one."""
        full = self._max is not None and self._fill and self._fill + size > self._max
        if full or (self._apart and self._placed):
            self._shards.append(Buffers())
            self._fill = 0
        self._placed, self._apart = True, False

    def _place(self, key: bytes, encoded: EncodedTensor, name: str) -> None:
        self._claim(key, name)
        self._lay(key, encoded)

    def _lay(self, key: bytes, encoded: EncodedTensor) -> None:
        dtype, shape, buffers, crc = encoded
        size = buffers[0].nbytes if len(buffers) == 1 else encoded.size
        self._begin_if_apart(size)
        shard = len(self._shards) - 1
        row = self._layout.add(key, (dtype, shape), shard, self._fill, size, crc or 0)
        if crc is None:
            self._unchecked.append((row, buffers))
        self._shards[shard].extend(buffers)
        self._fill += size


class _Numbers(dict[tuple["np.dtype[Any]", tuple[int, ...]], int]):
    """The number that a layout has for arrays of a type and shape: looked up once for each."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self._layout = layout

    def __missing__(self, kind: tuple[np.dtype[Any], tuple[int, ...]]) -> int:
        dtype, shape = kind
        number = self[kind] = self._layout.number_of((PLAIN[dtype], shape))
        return number


def tensor_keys(names: Sequence[str]) -> list[bytes]:
    """The keys of many tensors; raises as `tensor_key` does."""
    if {*map(type, names)} <= {str}:
        with contextlib.suppress(UnicodeEncodeError):
            keys = [*map(str.encode, names)]  # as UTF-8; a surrogate in a name is an error
            if all(keys):
                return keys
    return [*map(tensor_key, names)]


def _named_twice(name: str) -> InvalidArgumentError:
    return InvalidArgumentError(f"Two tensors are named {name!r}; names must differ.", name=name)


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
