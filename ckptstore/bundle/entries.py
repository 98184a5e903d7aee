"""Tensors by name, and where their bytes lie: many of them, as columns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

from ckptstore.format.columns import EntryColumns
from ckptstore.format.entry import BundleEntry
from ckptstore.format.rows import Flags, Integers

_MOST = (1 << 63) - 1


class Entries(Sequence[tuple[str, BundleEntry]]):
    """Names and entries of tensors that are stored whole: a sequence of pairs, kept as columns.

    Args:
        names: The tensors' names.
        columns: Their entries.
    """

    __slots__ = ("columns", "names")

    def __init__(self, names: Sequence[str], columns: EntryColumns) -> None:
        self.names = names
        self.columns = columns

    @classmethod
    def of(cls, items: Sequence[tuple[str, BundleEntry]]) -> Entries:
        """The pairs as columns."""
        return cls([name for name, _ in items], EntryColumns.of([entry for _, entry in items]))

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> tuple[str, BundleEntry]: ...
    @overload
    def __getitem__(self, index: slice) -> Entries: ...
    def __getitem__(self, index: int | slice) -> tuple[str, BundleEntry] | Entries:
        if isinstance(index, slice):
            return Entries(self.names[index], self.columns.take(index))
        return self.names[index], self.columns[index]

    def take(self, rows: Integers) -> Entries:
        """Some of them, by number."""
        names = self.names
        return Entries([names[row] for row in rows.tolist()], self.columns.take(rows))

    def in_place(self) -> tuple[Integers, Entries]:
        """The same in the order of their places in the data files, and the number that each has here."""
        columns = self.columns
        if len(self) <= 1:
            return np.arange(len(self)), self
        order = np.lexsort((columns.offsets, columns.shards))
        if (order[1:] > order[:-1]).all():
            return order, self
        return order, self.take(order)

    def by_shard(self) -> Iterator[tuple[int, Integers]]:
        """The data files that entries are in, each with the numbers of those that are."""
        shards = self.columns.shards
        if not len(shards):
            return
        if (shards == shards[0]).all():
            yield int(shards[0]), np.arange(len(shards))
            return
        order = np.argsort(shards, kind="stable")
        cuts = np.flatnonzero(np.diff(shards[order])) + 1
        for rows in np.split(order, cuts):
            yield int(shards[rows[0]]), rows

    def wrong_sizes(self) -> Flags:
        """Whether each entry's size is not that of its type and shape: `BundleEntry.check_size` tells why."""
        types = self.columns.types
        known = self.columns.by_kind([dtype.itemsize > 0 for dtype, _ in types], np.bool_)
        # What a shape claims may be over 63 bits: then no size is that.
        claimed = self.columns.by_kind([_bits63(math.prod(shape) * dtype.itemsize) for dtype, shape in types])
        elements = self.columns.by_kind([min(math.prod(shape), _MOST) for _, shape in types])
        sizes = self.columns.sizes
        return np.where(known, sizes != claimed, (sizes < elements) & ((sizes > 0) | (elements > 0)))


def _bits63(number: int) -> int:
    return number if number <= _MOST else -1
