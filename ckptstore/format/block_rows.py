"""A block of a sorted table, all of its entries at once. Its bytes: see block.py."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ckptstore.format.coding import decode_fixed32
from ckptstore.format.rows import Bytes, Integers, Rows, ascending, common_prefixes, read_varints

_MOST_CELLS = 4 << 20  # bytes of keys as a matrix; a block of 256 KiB has a quarter of that
_MOST_STEPS = 64  # entries behind a restart, beyond which numpy's loop is no faster than Python's


@dataclass(frozen=True, slots=True)
class BlockRows:
    """The entries of a block: their keys, and where in it their values are.

    Attributes:
        data: The bytes of the block.
        keys: The keys, each at the beginning of its line, with zeros behind it.
        starts: Where the values begin.
        stops: Where they end.
    """

    data: Bytes
    keys: Rows
    starts: Integers
    stops: Integers


def entry_rows(block: bytes) -> BlockRows | None:
    """As `entries`, all at once: what stands between restarts is read for all restarts side by side.

    Returns:
        None for a block that is not as writers write them, and for a damaged one: `entries` has the last word.
    """
    data = np.frombuffer(block, np.uint8)
    count = decode_fixed32(block, len(block) - 4) if len(block) >= 4 else 0
    end = len(block) - 4 - 4 * count
    if end <= 0 or not count:
        return None
    restarts = np.frombuffer(block, "<u4", count, end).astype(np.int64)
    limits = np.append(restarts[1:], end)
    if restarts[0] or (restarts >= limits).any():
        return None
    steps = _steps(data, restarts, limits)
    if steps is None:
        return None
    runs, shared, key_starts, value_starts, stops = (np.concatenate(column) for column in zip(*steps, strict=True))
    order = np.lexsort((stops, runs))
    lengths = (shared + value_starts - key_starts)[order]
    width = max(int(lengths.max()), 1)
    if len(order) * width > _MOST_CELLS:
        return None
    columns = np.arange(width)
    places = (key_starts - shared)[order][:, None] + columns
    keys = Rows(data.take(places, mode="clip"), np.zeros_like(lengths), lengths)
    keys.data[columns >= lengths[:, None]] = 0
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    done = 0
    for _, common, *_ in steps:  # the shared bytes come from the line before, which the step before has completed
        lines = rank[done : done + len(common)]
        done += len(common)
        most = int(common.max())
        before = keys.data[lines - 1, :most]
        keys.data[lines, :most] = np.where(columns[:most] < common[:, None], before, keys.data[lines, :most])
    if not ascending(keys, common_prefixes(keys)).all():
        return None
    return BlockRows(data, keys, value_starts[order], stops[order])


_Step = tuple[Integers, Integers, Integers, Integers, Integers]


def _steps(data: Bytes, places: Integers, limits: Integers) -> list[_Step] | None:
    """The first entries behind all restarts, then the second ones, and so on, each step as columns.

    The columns are the number of the restart, the shared bytes, where the rest of the key begins, where the value
    does, and where that ends. None if any is not as it should be.
    """
    steps: list[_Step] = []
    runs = np.arange(len(places))
    lengths = np.zeros_like(places)
    while len(runs):
        if len(steps) == _MOST_STEPS:
            return None
        header = [data[places + n] for n in range(3)]  # in bounds: a block ends with its restarts and their count
        if (header[0] | header[1] | header[2] < 0x80).all():
            shared, unshared, size = (column.astype(np.int64) for column in header)
            key_starts = places + 3
        else:
            shared, behind = read_varints(data, places)
            unshared, behind = read_varints(data, behind)
            size, key_starts = read_varints(data, behind)
        # Numbers of 63 bits could wrap around where they are added.
        wrong = (shared < 0) | (shared > lengths) | (unshared < 0) | (unshared > len(data)) | (size > len(data))
        value_starts = key_starts + unshared
        stops = value_starts + size
        if (wrong | (size < 0) | (stops > limits)).any():
            return None
        steps.append((runs, shared, key_starts, value_starts, stops))
        more = stops < limits
        runs, places, limits, lengths = runs[more], stops[more], limits[more], (shared + unshared)[more]
    return steps
