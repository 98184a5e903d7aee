"""What a bundle's index says: which tensors there are, and where their bytes lie. Nothing in it is trusted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator

from ckptstore.bundle.index_file import IndexFile
from ckptstore.errors import DataLossError, IncompatibleTensorError, located
from ckptstore.format.entry import HEADER_KEY, BundleEntry, BundleHeader
from ckptstore.format.slices import Box, TensorSlice, box_shape, cover, parse_slice_key, slice_key
from ckptstore.format.table import TableReader

_MANY = 256  # tensors that are looked up at once, from which on the index is read whole and not block by block


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
        self._names: list[str] | None = None
        self._file = data if isinstance(data, IndexFile) else None
        with located(path):
            table = TableReader(data.read, data.size) if isinstance(data, IndexFile) else TableReader.from_bytes(data)
            self._table = table
            header = self._table.get(HEADER_KEY)
            if header is None:
                raise DataLossError("the index has no header entry, so its first tensor would be taken for one")
            self.header = BundleHeader.decode(header)

    def names(self) -> list[str]:
        """All tensors, in ascending order of their bytes, without the pieces of partitioned ones."""
        if self._names is None:
            self._load()
            with located(self.path):
                keys = [key for key, _ in self._table if key != HEADER_KEY]
                pieces = self._piece_keys(keys)
            self._names = [text(key) for key in keys if key not in pieces]
        return list(self._names)

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

    def find(self, names: Collection[str]) -> dict[str, BundleEntry]:
        """The entries of those of many tensors that are there, in the order of their names as given.

        Raises:
            DataLossError: One is damaged.
        """
        find: Callable[[bytes], bytes | None] = self._table.get
        if len(names) > _MANY:
            self._load()
            with located(self.path):
                find = dict(self._table).get
        out: dict[str, BundleEntry] = {}
        for name in names:
            if isinstance(name, str) and name.isascii() and name and name[0] != "\x00":
                try:
                    value = find(name.encode())
                    if value is not None:
                        out[name] = self._decode(value)
                except DataLossError:
                    with located(self.path, name):
                        raise
            elif (entry := self.get(name)) is not None:
                out[name] = entry
        return out

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


def text(key: bytes) -> str:
    """A key as a name; bytes that are not UTF-8 come as surrogate escapes."""
    return key.decode("utf-8", "surrogateescape")


def _key(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
