"""The entries of an index as columns: what `BundleEntry` says of one tensor, for a million of them at once.

Entries of ordinary tensors are read and written here, in the form that every writer gives them:

    08 type  12 length shape  [18 shard]  [20 offset]  [28 size]  [35 crc]        the last four left out where zero

All else (pieces of partitioned tensors, damage, other spellings of the same) is left to `BundleEntry`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ckptstore.errors import DataLossError
from ckptstore.format.dtypes import DType
from ckptstore.format.entry import BundleEntry, type_fields
from ckptstore.format.rows import Bytes, Flags, Integers, Rows, gather, read_varints, varints, windows

TensorType: TypeAlias = tuple[DType, tuple[int, ...]]
"""Element type and shape."""

_SHARD, _OFFSET, _SIZE, _CRC = 0x18, 0x20, 0x28, 0x35
_MAX_SHARD = 1 << 31


@dataclass(frozen=True, slots=True)
class EntryColumns:
    """Entries of tensors that are stored whole.

    Attributes:
        types: The element types and shapes that occur.
        kinds: For each entry the number of its type.
        shards: See `BundleEntry`, as for the others.
        offsets: In bytes.
        sizes: In bytes.
        crcs: Masked.
    """

    types: Sequence[TensorType]
    kinds: Integers
    shards: Integers
    offsets: Integers
    sizes: Integers
    crcs: Integers

    @classmethod
    def of(cls, entries: Sequence[BundleEntry]) -> EntryColumns:
        """The columns of entries; pieces are left out of account."""
        numbers: dict[TensorType, int] = {}
        kinds = [numbers.setdefault((entry.dtype, entry.shape), len(numbers)) for entry in entries]
        columns = [*zip(*entries, strict=True)][2:6] if entries else [()] * 4
        return cls([*numbers], *(np.array(column, np.int64) for column in (kinds, *columns)))

    def __len__(self) -> int:
        return len(self.kinds)

    def __getitem__(self, number: int) -> BundleEntry:
        dtype, shape = self.types[self.kinds[number]]
        shard, offset, size, crc = (int(c[number]) for c in (self.shards, self.offsets, self.sizes, self.crcs))
        return BundleEntry(dtype, shape, shard, offset, size, crc)

    def take(self, rows: Any) -> EntryColumns:
        """Some of them: rows by number, a slice or a mask."""
        return EntryColumns(
            self.types, self.kinds[rows], self.shards[rows], self.offsets[rows], self.sizes[rows], self.crcs[rows]
        )

    def tolist(self) -> list[BundleEntry]:
        """One by one."""
        types = self.types
        dtypes = [types[kind][0] for kind in self.kinds.tolist()]
        shapes = [types[kind][1] for kind in self.kinds.tolist()]
        columns = (column.tolist() for column in (self.shards, self.offsets, self.sizes, self.crcs))
        return [BundleEntry(*values) for values in zip(dtypes, shapes, *columns, strict=True)]

    def by_kind(self, values: Sequence[Any], dtype: Any = np.int64) -> np.ndarray[Any, Any]:
        """For each entry the value of its type, of which one is given for each of `types`."""
        return np.array(values, dtype)[self.kinds]

    def encode(self) -> list[Rows]:
        """The parts that the bytes of the entries' values are joined of."""
        heads = Rows.of([type_fields(dtype.as_datatype_enum, shape) for dtype, shape in self.types])
        parts = [Rows(heads.data[self.kinds], heads.starts[self.kinds], heads.stops[self.kinds])]
        for tag, column in ((_SHARD, self.shards), (_OFFSET, self.offsets), (_SIZE, self.sizes)):
            if column.any():
                number = varints(column)
                parts.append(_tagged(tag, number.data, np.where(column, number.stops, 0)))
        fixed = self.crcs.astype("<u4")[:, None].view(np.uint8)
        parts.append(_tagged(_CRC, fixed, np.where(self.crcs, 4, 0)))
        return parts


def _tagged(tag: int, data: Bytes, lengths: Integers) -> Rows:
    """A field for each row: of no bytes where the value has none."""
    tags = np.full((len(data), 1), tag, np.uint8)
    return Rows(np.hstack([tags, data]), np.zeros_like(lengths), np.where(lengths, lengths + 1, 0))


def concatenate(parts: Sequence[EntryColumns]) -> EntryColumns:
    """The entries of several columns, one after the other."""
    numbers: dict[TensorType, int] = {}
    kinds = []
    for part in parts:
        renamed = np.array([numbers.setdefault(kind, len(numbers)) for kind in part.types], np.int64)
        kinds.append(renamed[part.kinds] if len(part) else part.kinds)
    if not parts:
        return EntryColumns.of([])
    return EntryColumns(
        [*numbers],
        np.concatenate(kinds),
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("shards", "offsets", "sizes", "crcs")),
    )


def decode_columns(data: Bytes, starts: Integers, stops: Integers) -> tuple[EntryColumns, Flags]:
    """Reads entries as far as they are ordinary; nothing in them is trusted.

    Args:
        data: The bytes that they are among. At least 4 bytes follow the last one.
        starts: Where each begins.
        stops: Where it ends.

    Returns:
        The columns, and which of the entries they do not tell of: `BundleEntry.decode` says what those are.
    """
    last = len(data) - 1
    length = data[np.minimum(starts + 3, last)]
    places = starts + 4 + length
    right = (data[starts] == 0x08) & (data[np.minimum(starts + 1, last)] < 0x80) & (length < 0x80)
    right &= (data[np.minimum(starts + 2, last)] == 0x12) & (places <= stops)
    heads = gather(data, starts, np.where(right, places - starts, 0))
    kinds, types, known = _types(heads)
    right &= known[kinds]
    columns = {}
    for tag in (_SHARD, _OFFSET, _SIZE):
        values = columns[tag] = np.zeros_like(starts)
        there = np.flatnonzero(right & (places < stops) & (data[np.minimum(places, last)] == tag))
        if len(there):
            values[there], places[there] = read_varints(data, places[there] + 1)
            right &= values >= 0
    crcs = np.zeros_like(starts)
    there = np.flatnonzero(right & (places + 5 <= stops) & (data[np.minimum(places, last)] == _CRC))
    crcs[there] = windows(data, places[there] + 1, 4).view("<u4")[:, 0]
    places[there] += 5
    right &= (places == stops) & (columns[_SHARD] < _MAX_SHARD)
    return EntryColumns(types, kinds, columns[_SHARD], columns[_OFFSET], columns[_SIZE], crcs), ~right


def _types(heads: Rows) -> tuple[Integers, list[TensorType], Flags]:
    """The number of each head's type; the types; and which of them are any."""
    width = -(-heads.data.shape[1] // 8) * 8
    data = np.zeros((len(heads), width), np.uint8)
    np.multiply(heads.data, heads.mask, out=data[:, : heads.data.shape[1]])
    # Neighbours are mostly alike, so one of each run is looked at.
    words = data.view(np.uint64)
    first = np.ones(len(data), np.bool_)
    first[1:] = (words[1:] != words[:-1]).any(axis=1)
    # numpy strips the zeros at the end; two heads that come out the same have the same length in them, and so are.
    texts = data[first].view(f"S{width}")[:, 0].tolist()
    numbers: dict[bytes, int] = {}
    runs = np.array([numbers.setdefault(text, len(numbers)) for text in texts], np.int64)
    types = [_type(text) for text in numbers]
    known = np.array([found is not None for found in types], np.bool_)
    return runs[np.cumsum(first) - 1], [found or _NO_TYPE for found in types], known


_NO_TYPE: TensorType = BundleEntry.decode(b"\x08\x01\x12\x00")[:2]
_heads: dict[bytes, TensorType] = {}
_MOST_HEADS = 4096


def _type(text: bytes) -> TensorType | None:
    """What a head says, whose zeros at its end are missing: remembered, for a model has few types."""
    found = _heads.get(text)
    if found is None and len(text) > 2:
        head = text.ljust(4 + (text[3] if len(text) > 3 else 0), b"\x00")
        try:
            found = BundleEntry.decode(head)[:2]
        except DataLossError:
            return None
        if len(_heads) >= _MOST_HEADS:
            _heads.clear()
        _heads[text] = found
    return found
