"""What a bundle's index says: which tensors there are, and where their bytes lie. Nothing in it is trusted."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ckptstore.bundle.entries import Entries
from ckptstore.bundle.index_file import IndexFile
from ckptstore.errors import DataLossError, IncompatibleTensorError, located
from ckptstore.format.block_rows import BlockRows
from ckptstore.format.columns import EntryColumns, concatenate, decode_columns
from ckptstore.format.entry import HEADER_KEY, BundleEntry, BundleHeader
from ckptstore.format.rows import Flags, Rows
from ckptstore.format.slices import Box, TensorSlice, box_shape, cover, parse_slice_key, slice_key
from ckptstore.format.table import TableReader

_MANY = 256  # tensors that are looked up at once, from which on the index is read whole and not block by block


@dataclass(frozen=True)
class _Contents:
    """What the index has: names, their entries, and those that the columns do not tell of."""

    names: list[str]
    columns: EntryColumns
    odd: Flags

    @cached_property
    def rows(self) -> dict[str, int]:
        """Where each name is."""
        return {name: row for row, name in enumerate(self.names)}

    def without(self, dropped: Collection[int]) -> _Contents:
        """The others."""
        kept = np.delete(np.arange(len(self.names)), [*dropped])
        names = [*self.names]
        for row in sorted(dropped, reverse=True):  # few, but for a checkpoint of nothing but pieces
            del names[row]
        return _Contents(names, self.columns.take(kept), self.odd[kept])


class BundleIndex:
    """The index of one bundle; entries are taken apart when they are asked for.

    Args:
        data: The `.index` file, or its bytes.
        path: The file, for messages.

    Attributes:
        header: What it says of the whole bundle.

    Raises:
        DataLossError: It is damaged, here and in every method.
    """

    def __init__(self, data: bytes | IndexFile, path: str) -> None:
        self.path = path
        self._contents: _Contents | None = None
        self._file = data if isinstance(data, IndexFile) else None
        with located(path):
            table = TableReader(data.read, data.size) if isinstance(data, IndexFile) else TableReader.from_bytes(data)
            self._table = table
            first = self._table.first()
            if first is None or first[0] != HEADER_KEY:  # no key is less
                raise DataLossError("the index has no header entry, so its first tensor would be taken for one")
            self.header = BundleHeader.decode(first[1])

    def names(self) -> list[str]:
        """All tensors, in ascending order of their bytes, without the pieces of partitioned ones."""
        return list(self._all().names)

    def entries(self) -> Iterator[tuple[bytes, BundleEntry | DataLossError]]:
        """Every entry in the order of the index, pieces included: what lies where in the data files.

        An entry that is damaged comes as the error that reading it raises, so that the others can be had.
        """
        self._load()
        with located(self.path):
            values = [(key, value) for key, value in self._table if key != HEADER_KEY]
        for key, value in values:
            try:
                with located(self.path, text(key)):
                    yield key, BundleEntry.decode(value)
            except DataLossError as error:
                yield key, error

    def get(self, name: str) -> BundleEntry | None:
        """The entry of a tensor, or None; a piece of one is no tensor.

        Raises:
            DataLossError: It is damaged.
        """
        try:
            key = _key(name) if isinstance(name, str) else HEADER_KEY
        except UnicodeEncodeError:
            return None
        if key == HEADER_KEY or (key.startswith(b"\x00") and key in self._piece_keys([key])):
            return None
        with located(self.path):
            value = self._table.get(key)
        if value is None:
            return None
        with located(self.path, name):
            return self._decode(value)

    def find(self, names: list[str]) -> tuple[Entries, dict[str, BundleEntry]]:
        """The entries of those of some tensors that are there.

        Args:
            names: Which; one that is there twice counts once.

        Returns:
            Those that are numbers and stored whole, in the order of their names as given, and all others, by name.

        Raises:
            DataLossError: One is damaged.
        """
        if len(names) > _MANY:
            return self._find_many(names)
        plain: list[tuple[str, BundleEntry]] = []
        others: dict[str, BundleEntry] = {}
        for name in dict.fromkeys(names):
            entry = self.get(name)
            if entry is not None and entry.dtype.itemsize and not entry.slices:
                plain.append((name, entry))
            elif entry is not None:
                others[name] = entry
        return Entries.of(plain), others

    def _find_many(self, names: list[str]) -> tuple[Entries, dict[str, BundleEntry]]:
        contents = self._all()
        whole = contents.names == names
        if whole:
            rows = np.arange(len(contents.names))
        else:
            wanted = [contents.rows.get(name, -1) for name in dict.fromkeys(names)]
            rows = np.array([row for row in wanted if row >= 0], np.int64)
        apart = contents.odd[rows]
        columns = contents.columns.take(rows)
        shards = np.where(apart, 0, columns.shards)
        numbers = columns.by_kind([dtype.itemsize > 0 for dtype, _ in columns.types], np.bool_)
        apart |= ~numbers | (shards >= max(self.header.num_shards, 1))
        others: dict[str, BundleEntry] = {}
        for row in rows[apart].tolist():
            name = contents.names[row]
            entry = self.get(name)  # which raises what is to be said of it
            if entry is not None:
                others[name] = entry
        if not apart.any():
            return Entries(contents.names if whole else [contents.names[row] for row in rows.tolist()], columns), others
        return Entries([contents.names[row] for row in rows[~apart].tolist()], columns.take(~apart)), others

    def _all(self) -> _Contents:
        if self._contents is None:
            self._load()
            with located(self.path):
                names: list[str] = []
                columns: list[EntryColumns] = []
                odd: list[Flags] = []
                special: list[int] = []
                for block in self._table.blocks():
                    part = _rows_of(block)
                    special += (len(names) + np.flatnonzero(part[3])).tolist()
                    names += part[0]
                    columns.append(part[1])
                    odd.append(part[2])
                contents = _Contents(names, concatenate(columns), np.concatenate([*odd, np.zeros(0, np.bool_)]))
                # The header is no tensor, and neither are the pieces of one.
                pieces = self._piece_keys([_key(names[row]) for row in special])
                dropped = {row for row in special if not names[row] or _key(names[row]) in pieces}
            self._contents = contents.without(dropped) if dropped else contents
        return self._contents

    def _load(self) -> None:
        if self._file is not None:
            self._file.load()

    def _decode(self, value: bytes) -> BundleEntry:
        entry = BundleEntry.decode(value)
        if not 0 <= entry.shard < max(self.header.num_shards, 1) and not entry.slices:
            raise DataLossError(f"it lies in shard {entry.shard} of {self.header.num_shards}")
        return entry

    def piece(self, name: str, full: BundleEntry, piece: TensorSlice) -> BundleEntry:
        """The entry of a piece that the entry `full` lists.

        Raises:
            DataLossError: It is not there, or does not fit.
        """
        key = slice_key(_key(name), piece)
        with located(self.path, name):
            value = self._table.get(key)
            if value is None:
                raise DataLossError(f"the slice {piece} is listed and has no entry")
            entry = BundleEntry.decode(value)
            if entry.dtype != full.dtype or entry.shape != box_shape(box_in(piece, full.shape)) or entry.slices:
                raise DataLossError(f"the entry of slice {piece} does not fit {full.dtype} {list(full.shape)}")
            if not 0 <= entry.shard < self.header.num_shards:
                raise DataLossError(f"the slice {piece} lies in shard {entry.shard} of {self.header.num_shards}")
        return entry

    def check_pieces(self, name: str) -> None:
        """Checks that the pieces of a partitioned tensor are there, fit, and cover it; reads none of them.

        Raises:
            DataLossError: They do not.
        """
        entry = self.get(name)
        if entry is not None and entry.slices:
            with located(self.path, name):
                cover(
                    tuple((0, size) for size in entry.shape),
                    [box_in(piece, entry.shape) for piece in entry.slices],
                )
            for piece in entry.slices:
                self.piece(name, entry, piece)

    def _piece_keys(self, keys: list[bytes]) -> set[bytes]:
        """Those keys that name a piece which a partitioned tensor lists."""
        owners = set()
        for key in keys:
            if key.startswith(b"\x00"):  # only then can it be a slice key
                try:
                    owners.add(parse_slice_key(key)[0])
                except DataLossError:
                    continue  # a tensor may be called anything
        out: set[bytes] = set()
        for name in owners:
            value = self._table.get(name) if name != HEADER_KEY else None
            if value is not None:
                with contextlib.suppress(DataLossError):  # found out when that tensor is read
                    out.update(slice_key(name, piece) for piece in BundleEntry.decode(value).slices)
        return out


def box_in(piece: TensorSlice, shape: tuple[int, ...]) -> Box:
    """The box of a stored slice.

    Raises:
        DataLossError: It reaches outside the tensor.
    """
    try:
        return piece.box(shape)
    except IncompatibleTensorError as error:
        raise DataLossError(error.message) from error


def _rows_of(block: BlockRows | dict[bytes, bytes]) -> tuple[list[str], EntryColumns, Flags, Flags]:
    """The names of a block's entries, the entries, which of them the columns do not tell of, and which may be special.

    Those are the header, whose key is empty, and pieces of tensors, whose keys begin with a zero.
    """
    if isinstance(block, BlockRows):
        entries = decode_columns(block.data, block.starts, block.stops)
        return _names(block.keys), *entries, block.keys.data[:, 0] == 0
    data = np.frombuffer(b"".join(block.values()) + bytes(4), np.uint8)
    stops = np.cumsum([len(value) for value in block.values()], dtype=np.int64)
    starts = stops - np.array([len(value) for value in block.values()], np.int64)
    special = np.array([key[:1] in (b"", b"\x00") for key in block], np.bool_)
    return [text(key) for key in block], *decode_columns(data, starts, stops), special


def _names(keys: Rows) -> list[str]:
    if (keys.data < 0x80).all() and (np.count_nonzero(keys.data, axis=1) == keys.lengths).all():
        # ASCII is the same in numpy's strings of 4 bytes a character, which end where the zeros behind a key begin.
        names: list[str] = keys.data.astype("<u4").view(f"<U{keys.data.shape[1]}")[:, 0].tolist()
        return names
    return [text(key) for key in keys.tolist()]


def text(key: bytes) -> str:
    """A key as a name; bytes that are not UTF-8 come as surrogate escapes."""
    return key.decode("utf-8", "surrogateescape")


def _key(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
