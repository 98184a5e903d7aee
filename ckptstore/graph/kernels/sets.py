"""Values that differ, in the order in which they come first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ckptstore.graph.kernels.reduction import axes_of
from ckptstore.graph.kernels.registry import Array, Attributes, kernel


def _first_seen(keys: Sequence[object]) -> tuple[list[int], list[int], list[int]]:
    """Where each different key comes first, which of those each key is, and how often they come."""
    numbers: dict[object, int] = {}
    first: list[int] = []
    which: list[int] = []
    counts: list[int] = []
    for at, key in enumerate(keys):
        number = numbers.setdefault(key, len(numbers))
        if number == len(first):
            first.append(at)
            counts.append(0)
        counts[number] += 1
        which.append(number)
    return first, which, counts


@kernel("Unique", "UniqueWithCounts")
def _unique(attrs: Attributes, x: Array) -> Sequence[Array]:
    if x.ndim != 1:
        raise ValueError("the input must be a vector")
    first, which, counts = _first_seen(x.tolist())
    dtype = attrs["out_idx"].numpy if "out_idx" in attrs else np.int32
    # A Unique has no third output, so nothing takes it.
    return [x[np.asarray(first, int)], np.asarray(which, dtype), np.asarray(counts, dtype)]


@kernel("UniqueV2")
def _unique_v2(attrs: Attributes, x: Array, axis: Array) -> Sequence[Array]:
    if not axis.size and x.ndim != 1:
        raise ValueError("without an axis the input must be a vector")
    along = axes_of(axis, x.ndim)[0] if axis.size else 0
    rows = np.moveaxis(x, along, 0)
    keys = rows.tolist() if x.ndim == 1 else [repr(row.tolist()) for row in rows]
    first, which, _ = _first_seen(keys)
    dtype = attrs["out_idx"].numpy if "out_idx" in attrs else np.int32
    return [np.take(x, np.asarray(first, int), along), np.asarray(which, dtype)]


@kernel("ListDiff")
def _list_diff(attrs: Attributes, x: Array, y: Array) -> Sequence[Array]:
    without = set(y.tolist())
    kept = [at for at, value in enumerate(x.tolist()) if value not in without]
    dtype = attrs["out_idx"].numpy if "out_idx" in attrs else np.int32
    return [x[np.asarray(kept, int)], np.asarray(kept, dtype)]
