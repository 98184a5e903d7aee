"""A block of a sorted table, all of its entries at once. Its bytes: see block.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ckptstore.format.coding import decode_fixed32
from ckptstore.format.rows import (
    Bytes,
    Flags,
    Integers,
    Rows,
    ascending,
    below,
    common_prefixes,
    read_varints,
    take_rows,
    windows,
)

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
    lengths = shared + value_starts - key_starts
    width = max(int(lengths.max()), 1)
    if len(runs) * width > _MOST_CELLS:
        return None
    lines = windows(data, key_starts - shared, width)
    _share(lines, below(shared, width), [step[0] for step in steps])
    if int(lengths.min()) < width:
        lines *= below(lengths, width)
    # In the block the entries of a restart follow each other, and behind the last one the next restart's do.
    entries = np.bincount(runs, minlength=count)
    first = np.cumsum(entries) - entries
    order = np.empty_like(runs)
    order[first[runs] + np.repeat(np.arange(len(steps)), [len(step[0]) for step in steps])] = np.arange(len(runs))
    lengths = lengths[order]
    keys = Rows(take_rows(lines, order), np.zeros_like(lengths), lengths)
    if not ascending(keys, common_prefixes(keys)).all():
        return None
    return BlockRows(data, keys, value_starts[order], stops[order])


def _share(lines: Bytes, shared: Flags, steps: Sequence[Integers]) -> None:
    """Completes keys with what they share with those before.

    Args:
        lines: The keys, step by step, with anything in place of the shared bytes.
        shared: Which bytes those are.
        steps: For each step the restarts whose entries it has. Those are among the restarts of the step before.
    """
    begin = len(steps[0])
    above, numbers = lines[:begin], steps[0]
    for runs in steps[1:]:
        part = slice(begin, begin + len(runs))
        if len(runs) < len(numbers):
            above = above[np.searchsorted(numbers, runs)]
        np.copyto(lines[part], above, where=shared[part])
        above, numbers, begin = lines[part], runs, part.stop


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
        header = windows(data, places, 3)
        if int(header.max()) < 0x80:
            shared, unshared, size = header.T.astype(np.int64)
            key_starts = places + 3
            wrong = shared > lengths
        else:
            shared, behind = read_varints(data, places)
            unshared, behind = read_varints(data, behind)
            size, key_starts = read_varints(data, behind)
            # Numbers of 63 bits could wrap around where they are added.
            wrong = (shared < 0) | (shared > lengths) | (unshared < 0) | (unshared > len(data)) | (size > len(data))
            wrong |= size < 0
        value_starts = key_starts + unshared
        stops = value_starts + size
        if (wrong | (stops > limits)).any():
            return None
        steps.append((runs, shared, key_starts, value_starts, stops))
        places, lengths, more = stops, shared + unshared, stops < limits
        if not more.all():
            runs, places, limits, lengths = runs[more], places[more], limits[more], lengths[more]
    return steps
