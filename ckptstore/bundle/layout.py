"""Which bytes of which data file a tensor that is to be written gets: entries of an index, as columns that grow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, repeat

import numpy as np

from ckptstore.format.columns import EntryColumns, TensorType
from ckptstore.format.rows import Rows
from ckptstore.format.table import TableWriter

_LONG = 1024  # bytes of a key, beyond which a matrix of all keys would be mostly empty


class Layout:
    """Entries of tensors by key, in the order they were added.

    Attributes:
        crcs: The masked checksum of each, which may be set later.
        end: The end of what was added last in its data file.
    """

    def __init__(self) -> None:
        self.crcs: list[int] = []
        self.end = 0
        self._rows: dict[bytes, int] = {}
        self._types: dict[TensorType, int] = {}
        self._kinds: list[int] = []
        self._shards: list[int] = []
        self._offsets: list[int] = []
        self._sizes: list[int] = []

    def __len__(self) -> int:
        return len(self._kinds)

    def __contains__(self, key: bytes) -> bool:
        return key in self._rows

    def type_of(self, key: bytes) -> TensorType | None:
        """Element type and shape of an entry, or None if there is none of that key."""
        row = self._rows.get(key)
        return None if row is None else [*self._types][self._kinds[row]]

    def shard_of(self, key: bytes) -> int:
        """The data file of an entry."""
        return self._shards[self._rows[key]]

    def has_any(self, keys: Sequence[bytes]) -> bool:
        """Whether there is an entry of any of some keys."""
        return not self._rows.keys().isdisjoint(keys)

    def number_of(self, kind: TensorType) -> int:
        """The number that stands for a type."""
        return self._types.setdefault(kind, len(self._types))

    def add(self, key: bytes, kind: TensorType, shard: int, offset: int, size: int, crc: int) -> int:
        """Adds an entry.

        Returns:
            Its number.
        """
        row = self.extend([key], [self.number_of(kind)], shard, offset, [size])
        self.crcs[row] = crc
        return row

    def extend(self, keys: Sequence[bytes], kinds: Sequence[int], shard: int, offset: int, sizes: Sequence[int]) -> int:
        """Adds entries of tensors that lie one after the other; their checksums are to be set.

        Args:
            keys: None of which is there yet.
            kinds: For each what `number_of` says of its type.
            shard: The data file.
            offset: Where in it the first one begins.
            sizes: In bytes.

        Returns:
            The number of the first.
        """
        first = len(self._kinds)
        self._rows.update(zip(keys, range(first, first + len(keys)), strict=True))
        self._kinds += kinds
        self._shards += repeat(shard, len(keys))
        *offsets, self.end = accumulate(sizes, initial=offset)
        self._offsets += offsets
        self._sizes += sizes
        self.crcs += repeat(0, len(keys))
        return first

    def write(self, table: TableWriter, others: Mapping[bytes, bytes]) -> None:
        """Puts all entries into a table, in the order of their keys.

        Args:
            table: Where to.
            others: Further entries, by key.
        """
        columns = EntryColumns(
            [*self._types],
            *(np.array(c, np.int64) for c in (self._kinds, self._shards, self._offsets, self._sizes, self.crcs)),
        )
        keys = [*self._rows]
        ordered = sorted(keys)
        if ordered != keys:
            columns = columns.take(np.array([self._rows[key] for key in ordered], np.int64))
        if others or max(map(len, ordered), default=0) > _LONG:
            values = dict(zip(ordered, _values(columns), strict=True)) | dict(others)
            for key in sorted(values):
                table.add(key, values[key])
        elif ordered:
            table.add_rows(Rows.of(ordered), columns.encode())


def _values(columns: EntryColumns) -> list[bytes]:
    return [entry.encode() for entry in columns.tolist()]
