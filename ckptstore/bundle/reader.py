"""Reads the tensors of a bundle from a store.

Nothing in the files is trusted: sizes are held against dtype, shape and the length of the data file before memory is
taken, checksums before anything is handed over.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptstore.bundle import extents
from ckptstore.bundle.data_files import DataFiles
from ckptstore.bundle.entries import Entries
from ckptstore.bundle.extents import Extent
from ckptstore.bundle.fetching import fetch, whole_files
from ckptstore.bundle.index import BundleIndex, box_in, text
from ckptstore.bundle.index_file import IndexFile
from ckptstore.bundle.mapped import MappedTensors
from ckptstore.bundle.runs import runs, widen
from ckptstore.bundle.source import TensorInfo
from ckptstore.errors import (
    CheckpointNotFoundError,
    DataLossError,
    IncompatibleTensorError,
    NotFoundError,
    TensorNotFoundError,
    UnsupportedError,
    located,
)
from ckptstore.format import tensor
from ckptstore.format.entry import BundleEntry
from ckptstore.format.naming import index_name
from ckptstore.format.slices import Box, box_shape, cover, within
from ckptstore.storage import Store

_NONE = Entries.of([])


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of a partitioned tensor: where it lies in it, what of it is wanted, and its entry."""

    box: Box
    common: Box
    entry: BundleEntry


class BundleReader:
    """The tensors of one bundle; a `TensorSource`. Opening reads the index, of a large one its end, and no data.

    Args:
        store: Where it is.
        prefix: Its name, a key of the store without the files' endings.

    Attributes:
        index: What its index says.
        index_meta: Size and version of that file.
        header: What the index says of the whole bundle.
        files: Its data files.

    Raises:
        CheckpointNotFoundError: There is no such bundle.
        DataLossError: Its index is damaged.
    """

    def __init__(self, store: Store, prefix: str) -> None:
        self._store = store
        self._prefix = prefix
        try:
            file = IndexFile(store, index_name(prefix))
        except NotFoundError as error:
            raise CheckpointNotFoundError(
                f"There is no checkpoint {self.path} ({index_name(prefix)} is not there); "
                "`ckptstore ls` lists the checkpoints of a directory.",
                path=self.path,
            ) from error
        self.index_meta = file.meta
        self.index = BundleIndex(file, store.path(index_name(prefix)))
        self.header = self.index.header
        self.files = DataFiles(store, prefix, self.header.num_shards, self.index.path)

    @property
    def path(self) -> str:
        """The bundle's prefix, in full."""
        return self._store.path(self._prefix)

    def names(self) -> list[str]:
        """All tensors, in ascending order of their bytes, without the pieces of partitioned ones."""
        return self.index.names()

    def __contains__(self, name: str) -> bool:
        return self.index.get(name) is not None

    def info(self, name: str) -> TensorInfo | None:
        """What the index says of a tensor, or None."""
        entry = self.index.get(name)
        if entry is None:
            return None
        nbytes = entry.elements * entry.dtype.itemsize if entry.dtype.itemsize else entry.size
        if entry.slices and not entry.dtype.itemsize:
            nbytes = sum(self.index.piece(name, entry, piece).size for piece in entry.slices)
        return TensorInfo(name, entry.dtype, entry.shape, nbytes, len(entry.slices))

    def read(
        self, names: Iterable[str], *, verify: bool = True, read_only: bool = False
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Reads tensors whole: one pass over each data file, straight into the arrays.

        Args:
            names: Which.
            verify: Hold the bytes of each against their checksum.
            read_only: Hand out arrays that cannot be written to. Where the store can map files into memory, they are
                views of that, so that what nobody looks at takes no memory. (Strings, pieces, tensors that are out of
                line for their type and those of the other byte order are copies.)

        Raises:
            TensorNotFoundError: Some are not there; all of those are listed.
            DataLossError: Bytes are damaged or missing.
            CheckpointNotFoundError: A data file is gone.
            UnsupportedError: One is a variant or resource.
        """
        wanted = list(names)
        numbers, others = self.index.find(wanted)
        if len(numbers) + len(others) < len(wanted):
            self._require_all(wanted, {*numbers.names, *others})
        plain = [item for item in others.items() if not item[1].slices]
        sliced = {
            name: self._plan_slices(name, entry, tuple((0, size) for size in entry.shape))
            for name, entry in others.items()
            if entry.slices
        }
        whole = Entries.of(plain) if plain else _NONE
        small = {} if read_only else self.files.load_small(numbers, whole)
        self.files.check(numbers, whole)
        if sliced:
            self.files.check(Entries.of([(name, part.entry) for name, parts in sliced.items() for part in parts]))
        for name, entry in plain:
            if entry.dtype.numpy is None:
                self._require_numpy(name, entry)
        # Strings, that is; or numbers whose entries are spelled as nobody spells them, which can be decoded, too.
        strings = [extents.encoded(name, entry) for name, entry in plain]
        _, placed = numbers.in_place()
        memory = extents.lay_out(placed, self._maps(numbers) if read_only else {})
        out: dict[str, np.ndarray[Any, Any]] = {}

        def name_arrays() -> None:
            out.update(zip(placed.names, (array for extent in memory for array in extent.arrays()), strict=True))

        self._fetch([*memory, *strings], verify, small, name_arrays)
        if self.header.big_endian:
            for array in out.values():
                tensor.to_native(array, big_endian=True)
        out |= {extent.parts[0][0]: self._decode(extent, verify) for extent in strings}
        for name, parts in sliced.items():
            entry = others[name]
            out[name] = self._read_slices(name, entry, tuple((0, size) for size in entry.shape), parts, verify)
        if read_only:
            for array in out.values():
                array.flags.writeable = False
        return {name: out[name] for name in wanted} if others or placed is not numbers else out

    def mapped(self, names: Iterable[str]) -> MappedTensors:
        """Those of some tensors whose files can be mapped into memory: what they are is checked, their bytes not yet.

        Raises:
            DataLossError, CheckpointNotFoundError: As in `read`.
        """
        numbers, _ = self.index.find(list(names))
        maps = self._maps(numbers)
        columns = numbers.columns
        numbers = numbers.take(np.flatnonzero((columns.sizes > 0) & np.isin(columns.shards, [*maps])))
        self.files.check(numbers)
        files = {shard: self.files.path(shard) for shard in maps}
        entries = dict(zip(numbers.names, numbers.columns.tolist(), strict=True))
        return MappedTensors(self.path, entries, maps, files)

    def read_box(self, name: str, box: Box, *, verify: bool = True) -> np.ndarray[Any, Any]:
        """Reads a part of a tensor.

        No checksum covers a part, so it is checked only where whole pieces are read.

        Raises:
            IncompatibleTensorError: The box reaches outside the tensor.
            TensorNotFoundError, DataLossError, CheckpointNotFoundError, UnsupportedError: As in `read`.
        """
        entry = self.index.get(name)
        if entry is None or not entry.dtype.itemsize or not entry.shape:
            whole = self.read([name], verify=verify)[name]
            return whole[tuple(slice(a, b) for a, b in box)] if box else whole
        if len(box) != len(entry.shape) or any(
            not 0 <= a <= b <= n for (a, b), n in zip(box, entry.shape, strict=True)
        ):
            raise IncompatibleTensorError(
                f"{self.path}: the box {list(box)} reaches outside tensor {name!r} {list(entry.shape)}.",
                path=self.path,
                name=name,
            )
        if entry.slices:
            parts = self._plan_slices(name, entry, box)
            self.files.check(Entries.of([(name, part.entry) for part in parts]))
            return self._read_slices(name, entry, box, parts, verify)
        self.files.check(Entries.of([(name, entry)]))
        return self._read_part(entry, box)

    def raw(self, name: str) -> tuple[tensor.EncodedTensor, BundleEntry]:
        """The stored bytes of an unsliced tensor of any type, checked but not decoded: for copies.

        Raises:
            TensorNotFoundError, DataLossError, CheckpointNotFoundError: As in `read`.
            UnsupportedError: It is partitioned; read and write its pieces.
        """
        entry = self.index.get(name)
        if entry is None:
            raise TensorNotFoundError(f"{self.path} has no tensor {name!r}", path=self.path, name=name)
        if entry.slices:
            raise UnsupportedError(f"{self.path}: tensor {name!r} is partitioned.", path=self.path, name=name)
        (data,) = self.stored([(name.encode("utf-8", "surrogateescape"), entry)])
        if isinstance(data, DataLossError):
            raise data
        return tensor.encode_opaque(entry.dtype, entry.shape, bytes(data), entry.crc), entry

    def stored(self, entries: Sequence[tuple[bytes, BundleEntry]]) -> list[memoryview | DataLossError]:
        """The bytes of entries as they are in the files, each checked: what is damaged comes as the error.

        Raises:
            CheckpointNotFoundError: A data file is gone.
        """
        out: list[memoryview | DataLossError] = []
        reads: dict[int, Extent] = {}
        for number, (key, entry) in enumerate(entries):
            name = text(key)
            try:
                self.files.check(Entries.of([(name, entry)]))
            except DataLossError as error:
                out.append(error)
                continue
            reads[number] = extents.encoded(name, entry)
            out.append(reads[number].data)
        self._fetch([*reads.values()], verify=False)
        for number, extent in reads.items():
            _, entry = extent.parts[0]
            try:
                with self._at(extent):
                    tensor.verify(entry.dtype, entry.shape, extent.data, entry.crc, big_endian=self.header.big_endian)
            except DataLossError as error:
                out[number] = error
        return out

    # -- reading

    def _maps(self, entries: Entries) -> dict[int, memoryview]:
        """The data files that entries are in, as memory, as far as they can be used so."""
        return {} if self.header.big_endian else self.files.maps(entries)

    def _require_all(self, wanted: Sequence[str], there: Collection[str]) -> None:
        missing = tuple(name for name in dict.fromkeys(wanted) if name not in there)
        if missing:  # and not only some that are asked for twice
            raise TensorNotFoundError(
                f"{self.path} has no tensor {', '.join(map(repr, missing[:20]))}"
                + (f" and {len(missing) - 20} more" if len(missing) > 20 else ""),
                path=self.path,
                name=missing[0],
                missing=missing,
            )

    def _require_numpy(self, name: str, entry: BundleEntry) -> None:
        if entry.dtype.numpy is None:
            raise UnsupportedError(
                f"{self.path}: tensor {name!r} is of type {entry.dtype}, which only TensorFlow can read as a value; "
                "leave it out with names= or strict=False.",
                path=self.path,
                name=name,
            )

    def _fetch(
        self,
        wanted: list[Extent],
        verify: bool,
        small: Mapping[int, bytes] | None = None,
        meanwhile: Callable[[], object] | None = None,
    ) -> None:
        fetch(
            wanted,
            whole_files(small, self.files.read_into) if small else self.files.read_into,
            self.files.path,
            verify=verify,
            concurrency=self._store.capabilities.concurrency,
            meanwhile=meanwhile,
        )

    def _decode(self, extent: Extent, verify: bool) -> np.ndarray[Any, Any]:
        """The array of strings."""
        _, entry = extent.parts[0]
        with self._at(extent):
            return tensor.decode(
                entry.dtype,
                entry.shape,
                extent.data,
                entry.crc if verify else None,
                big_endian=self.header.big_endian,
            )

    @contextlib.contextmanager
    def _at(self, extent: Extent) -> Iterator[None]:
        """Adds file, tensor and offset to a DataLossError about a tensor's bytes."""
        name, entry = extent.parts[0]
        with located(self.files.path(entry.shard), name):
            try:
                yield
            except DataLossError as error:
                error.offset = entry.offset + (error.offset or 0)
                raise

    def _plan_slices(self, name: str, full: BundleEntry, box: Box) -> list[_Part]:
        """Which pieces of a partitioned tensor make up a box of it."""
        with located(self.index.path, name):
            boxes = [box_in(piece, full.shape) for piece in full.slices]
            parts = cover(box, boxes)
        return [_Part(boxes[i], common, self.index.piece(name, full, full.slices[i])) for i, common in parts]

    def _read_slices(
        self, name: str, full: BundleEntry, box: Box, parts: Sequence[_Part], verify: bool
    ) -> np.ndarray[Any, Any]:
        """Puts a box of a partitioned tensor together from pieces that were checked: it is as large as they are."""
        if full.dtype.numpy is None:
            raise UnsupportedError(
                f"{self.path}: tensor {name!r} is of type {full.dtype}, which only TensorFlow can read.",
                path=self.path,
                name=name,
            )
        out = tensor.new_array(box_shape(box), full.dtype)
        whole: list[tuple[Extent, _Part]] = []
        for part in parts:
            if not part.entry.dtype.itemsize:
                whole.append((extents.encoded(name, part.entry), part))
            elif part.common == part.box:
                whole.append((extents.alone(name, part.entry), part))
            else:
                inner = tuple((a - c, b - c) for (a, b), (c, _) in zip(part.common, part.box, strict=True))
                out[within(part.common, box)] = self._read_part(part.entry, inner)
        self._fetch([extent for extent, _ in whole], verify)
        for extent, part in whole:
            value = self._decode(extent, verify) if extent.array is None else extent.array
            if extent.array is not None:
                tensor.to_native(value, self.header.big_endian)
            out[within(part.common, box)] = value[within(part.common, part.box)]
        return out

    def _read_part(self, entry: BundleEntry, box: Box) -> np.ndarray[Any, Any]:
        """Reads a box of one stored array that was checked: the runs of bytes that it consists of."""
        read_box = widen(box, entry.shape)
        array, view = tensor.empty(entry.dtype, box_shape(read_box))
        if view.nbytes:
            targets, position = [], 0
            for start, count in runs(read_box, entry.shape):
                size = count * entry.dtype.itemsize
                targets.append((entry.offset + start * entry.dtype.itemsize, view[position : position + size]))
                position += size
            self.files.read_into(entry.shard, targets)
        tensor.to_native(array, self.header.big_endian)
        return array[within(box, read_box)]
