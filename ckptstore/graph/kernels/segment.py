"""Rows put together by the number of their segment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from ckptstore.graph.kernels.gather import check_indices
from ckptstore.graph.kernels.precision import is_narrow
from ckptstore.graph.kernels.registry import Array, Attributes, kernel


def _combined(function: Any, x: Array, ids: Array, count: int, first: Any) -> Array:
    wide = x.astype(np.float32) if is_narrow(x) else x
    out = np.full((count, *x.shape[ids.ndim :]), first, wide.dtype)
    rows = wide.reshape(-1, *x.shape[ids.ndim :])
    flat = ids.reshape(-1)
    function.at(out, flat[flat >= 0], rows[flat >= 0])
    return out.astype(x.dtype)


def _lowest(x: Array) -> Any:
    limits: Any = np.iinfo if x.dtype.kind in "iu" else ml_dtypes.finfo
    return limits(x.dtype).min


def _highest(x: Array) -> Any:
    limits: Any = np.iinfo if x.dtype.kind in "iu" else ml_dtypes.finfo
    return limits(x.dtype).max


def _check_sorted(x: Array, ids: Array) -> int:
    if ids.ndim != 1 or not x.ndim or ids.size != x.shape[0]:
        raise ValueError("the segments must be one per row")
    if ids.size and (ids[0] < 0 or (np.diff(ids) < 0).any()):
        raise ValueError("the segments must be in ascending order, and not negative")
    return int(ids[-1]) + 1 if ids.size else 0


def _sorted(function: Any, x: Array, ids: Array, first: Callable[[Array], Any]) -> Array:
    """Segments that do not occur are 0, and as a product 1."""
    count = _check_sorted(x, ids)
    out = _combined(function, x, ids, count, first(x))
    if function is not np.multiply:
        out[~np.isin(np.arange(count), ids)] = 0
    return out


def _register(op: str, function: Any, first: Callable[[Array], Any]) -> None:
    @kernel(f"Segment{op}")
    def in_order(attrs: Attributes, x: Array, ids: Array) -> Array:
        del attrs
        return _sorted(function, x, ids, first)

    @kernel(f"UnsortedSegment{op}")
    def unsorted(attrs: Attributes, x: Array, ids: Array, num: Array) -> Array:
        del attrs
        if x.shape[: ids.ndim] != ids.shape:
            raise ValueError("the segments must be of the first dimensions of the data")
        check_indices(np.maximum(ids, 0), int(num))  # rows of negative segments are left out
        return _combined(function, x, ids, int(num), first(x))


_register("Sum", np.add, lambda x: 0)
_register("Prod", np.multiply, lambda x: 1)
_register("Max", np.maximum, _lowest)
_register("Min", np.minimum, _highest)


def _mean(x: Array, ids: Array, power: float) -> Array:
    wide = x.astype(np.float32) if is_narrow(x) else x
    total = _sorted(np.add, wide, ids, lambda x: 0)
    counts = np.maximum(np.bincount(ids, minlength=len(total)), 1).astype(np.float64) ** power
    shape = (-1,) + (1,) * (x.ndim - 1)
    if x.dtype.kind in "iu":
        return np.trunc(total / counts.reshape(shape)).astype(x.dtype)
    return np.asarray((total / counts.astype(wide.dtype).reshape(shape)).astype(x.dtype))


@kernel("SegmentMean")
def _segment_mean(attrs: Attributes, x: Array, ids: Array) -> Array:
    del attrs
    return _mean(x, ids, 1)


def _chosen(x: Array, indices: Array) -> Array:
    check_indices(indices, x.shape[0])
    return x[indices]


@kernel("SparseSegmentSum")
def _sparse_segment_sum(attrs: Attributes, x: Array, indices: Array, ids: Array) -> Array:
    del attrs
    return _sorted(np.add, _chosen(x, indices), ids, lambda x: 0)


@kernel("SparseSegmentMean")
def _sparse_segment_mean(attrs: Attributes, x: Array, indices: Array, ids: Array) -> Array:
    del attrs
    return _mean(_chosen(x, indices), ids, 1)


@kernel("SparseSegmentSqrtN")
def _sparse_segment_sqrt_n(attrs: Attributes, x: Array, indices: Array, ids: Array) -> Array:
    del attrs
    return _mean(_chosen(x, indices), ids, 0.5)
