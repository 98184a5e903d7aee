"""Many short byte strings as the rows of a matrix, for numpy to do what would be a loop over a million entries.

A row is what stands between its two ends in a line of the matrix; what is left and right of it means nothing. So parts
of strings are other ends in the same matrix, and strings are joined by putting matrices side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Bytes: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"
Integers: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
Flags: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"

_VARINT = 9  # bytes of 63 bits; what is longer is negative for whoever reads it, or no number
_BITS = np.array([1 << 7 * n for n in range(1, _VARINT)], np.int64)


@dataclass(frozen=True, slots=True)
class Rows:
    """Byte strings: number i is `data[i, starts[i]:stops[i]]`.

    Attributes:
        data: The matrix, of shape (strings, width).
        starts: Where each begins in its line.
        stops: Where each ends.
    """

    data: Bytes
    starts: Integers
    stops: Integers

    @classmethod
    def of(cls, strings: Sequence[bytes]) -> Rows:
        """The rows of strings, the longest of which is not much longer than the others: all lines are of its length."""
        lengths = np.fromiter(map(len, strings), np.int64, len(strings))
        width = int(lengths.max(initial=1)) or 1
        data = np.array(strings, f"S{width}").view(np.uint8).reshape(len(strings), width)
        return cls(data, np.zeros_like(lengths), lengths)

    def __len__(self) -> int:
        return len(self.stops)

    def __getitem__(self, part: slice) -> Rows:
        return Rows(self.data[part], self.starts[part], self.stops[part])

    @property
    def lengths(self) -> Integers:
        """Bytes of each."""
        return self.stops - self.starts

    @property
    def mask(self) -> Flags:
        """Which bytes of the matrix belong to a row."""
        inside = below(self.stops, self.data.shape[1])
        return inside & ~below(self.starts, self.data.shape[1]) if self.starts.any() else inside

    def tolist(self) -> list[bytes]:
        """The strings."""
        flat = join([self])
        ends = np.cumsum(self.lengths).tolist()
        return [flat[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


def below(limits: Integers, width: int) -> Flags:
    """For each limit and each column of a matrix, whether the column's number is less."""
    small = np.uint8 if width <= 0xFF else np.int64  # of bytes numpy compares many at once
    return np.arange(width, dtype=small) < np.clip(limits, 0, width).astype(small)[:, None]


def join(parts: Sequence[Rows]) -> bytes:
    """The first row of every part, one after the other, then the second of every part, and so on."""
    data = np.concatenate([part.data for part in parts], axis=1)
    joined: bytes = data[np.concatenate([part.mask for part in parts], axis=1)].tobytes()
    return joined


def total_lengths(parts: Sequence[Rows]) -> Integers:
    """How long each string is that `join` would join of the parts."""
    total: Integers = np.sum([part.lengths for part in parts], axis=0, dtype=np.int64)
    return total


def gather(data: Bytes, starts: Integers, lengths: Integers) -> Rows:
    """The strings that begin at some places of a longer one."""
    width = int(lengths.max(initial=1)) or 1
    return Rows(windows(data, starts, width), np.zeros_like(lengths), lengths)


def windows(data: Bytes, places: Integers, width: int) -> Bytes:
    """So many bytes from each of some places on, as a matrix; with zeros for what is not in the data."""
    if not len(places):
        return np.zeros((0, width), np.uint8)
    if places.min() < 0 or places.max() > len(data) - width:
        space = np.zeros(width, np.uint8)
        data, places = np.concatenate([space, data, space]), places + width
    # One element for each place, all overlapping: numpy copies an element faster than a row.
    every = np.ndarray((len(data) - width + 1,), f"V{width}", data, strides=(1,))
    return _as_rows(every[places], width)


def take_rows(data: Bytes, rows: Integers) -> Bytes:
    """Some lines of a matrix, by number."""
    width = data.shape[1]
    return _as_rows(data.view(f"V{width}")[rows, 0], width)


def _as_rows(elements: np.ndarray[Any, Any], width: int) -> Bytes:
    rows: Bytes = elements.view(np.uint8).reshape(len(elements), width)
    return rows


def varints(values: Integers) -> Rows:
    """Numbers of up to 63 bits as varints (see coding.py)."""
    stops = 1 + np.searchsorted(_BITS, values, side="right")
    shifts = 7 * np.arange(int(stops.max(initial=1)))
    data = (values[:, None] >> shifts & 0x7F).astype(np.uint8)
    data |= np.where(shifts // 7 < stops[:, None] - 1, np.uint8(0x80), np.uint8(0))
    return Rows(data, np.zeros_like(stops), stops)


def read_varints(data: Bytes, places: Integers) -> tuple[Integers, Integers]:
    """The varints at some places: their values, and the places behind them.

    One that is over 63 bits or runs over the end of the data comes as -1.
    """
    values = np.zeros(len(places), np.int64)
    ends = places.copy()
    open_: Any = slice(None)  # those of which the end is not found: first all of them, mostly for some bytes
    for shift in range(0, 7 * _VARINT, 7):
        at = ends[open_]
        if int(at.max(initial=0)) >= len(data):
            rows, there = np.arange(len(places))[open_], at < len(data)
            values[rows[~there]] = -1
            open_, at = rows[there], at[there]
        byte = data[at]
        values[open_] |= (byte & 0x7F).astype(np.int64) << shift
        ends[open_] = at + 1
        more = byte >= 0x80
        if not more.all():
            open_ = np.flatnonzero(more) if isinstance(open_, slice) else open_[more]
            if not len(open_):
                return values, ends
    values[open_] = -1
    return values, ends


def common_prefixes(rows: Rows) -> Integers:
    """How many leading bytes each row, from the second on, shares with the one before. All begin with their lines."""
    width = rows.data.shape[1]
    different = rows.data[1:] != rows.data[:-1]
    first = different.argmax(axis=1)  # 0 also where none is different
    first = np.where(different[np.arange(len(first)), first], first, width)
    shared: Integers = np.minimum(first, np.minimum(rows.stops[1:], rows.stops[:-1]))
    return shared


def ascending(rows: Rows, shared: Integers) -> Flags:
    """Whether each row, from the second on, is greater than the one before, of which it shares so many bytes."""
    line = np.arange(len(shared))
    at = np.minimum(shared, rows.data.shape[1] - 1)
    longer = (shared == rows.stops[:-1]) & (rows.stops[1:] > shared)
    inside = (shared < rows.stops[:-1]) & (shared < rows.stops[1:])
    greater: Flags = longer | (inside & (rows.data[line + 1, at] > rows.data[line, at]))
    return greater
