"""A box of an array as runs of consecutive elements, in C order. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

from ckptstore.format.slices import Box

MAX_RUNS = 4096
"""More runs than this are not worth reading one by one."""


def _run_axis(box: Box, shape: tuple[int, ...]) -> int:
    """The axis from which on a run goes: behind it, the box spans everything."""
    axis = len(shape)
    while axis and box[axis - 1] == (0, shape[axis - 1]):
        axis -= 1
    return max(axis - 1, 0)


def runs(box: Box, shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """The runs of consecutive elements in a box: start and count, in elements."""
    axis = _run_axis(box, shape)
    strides = [math.prod(shape[i + 1 :]) for i in range(len(shape))]
    count = (box[axis][1] - box[axis][0]) * strides[axis]
    for outer in itertools.product(*(range(start, stop) for start, stop in box[:axis])):
        start = sum(i * stride for i, stride in zip(outer, strides, strict=False)) + box[axis][0] * strides[axis]
        yield start, count


def widen(box: Box, shape: tuple[int, ...]) -> Box:
    """Widens a box, from the last axis on, until it consists of few runs: many tiny reads cost more than some bytes
    too many.
    """
    wide = list(box)
    while True:
        axis = _run_axis(tuple(wide), shape)
        if math.prod(stop - start for start, stop in wide[:axis]) <= MAX_RUNS:
            return tuple(wide)
        wide[axis] = (0, shape[axis])
