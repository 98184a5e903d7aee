"""The greatest elements of each row."""

from __future__ import annotations

import numpy as np

from ckptstore.graph.kernels.precision import is_narrow
from ckptstore.graph.kernels.registry import Array, Attributes, kernel
from ckptstore.graph.kernels.windows import check_rank


def _check_rows(x: Array) -> None:
    if not x.ndim:
        raise ValueError("input must have 1 dimension or more")


def _top(x: Array, k: int) -> tuple[Array, Array]:
    """The k greatest elements of each row and where they are; of equal ones, the first comes first."""
    _check_rows(x)
    columns = x.shape[-1]
    if not 0 <= k <= columns:
        raise ValueError(f"k is {k}, but rows have {columns} elements")
    keys = x.astype(np.float32) if is_narrow(x) else x
    # Backwards twice: a stable sort then keeps equal elements in order, and negation would not do for integers.
    ascending = np.argsort(keys[..., ::-1], -1, kind="stable")
    indices = columns - 1 - ascending[..., ::-1][..., :k]
    return np.take_along_axis(x, indices, -1), indices


@kernel("TopK")
def _top_k(attrs: Attributes, x: Array) -> tuple[Array, Array]:
    values, indices = _top(x, attrs["k"])
    return values, indices.astype(np.int32)


@kernel("TopKV2")
def _top_k_v2(attrs: Attributes, x: Array, k: Array) -> tuple[Array, Array]:
    """Sorted even where that is not asked for."""
    values, indices = _top(x, int(k))
    return values, indices.astype(attrs["index_type"].numpy)


@kernel("NthElement")
def _nth_element(attrs: Attributes, x: Array, n: Array) -> Array:
    _check_rows(x)
    columns, at = x.shape[-1], int(n)
    if not 0 <= at < columns:
        raise ValueError(f"n is {at}, but rows have {columns} elements")
    return np.asarray(np.sort(x, -1)[..., columns - 1 - at if attrs["reverse"] else at])


def _in_top(predictions: Array, targets: Array, k: int) -> Array:
    """Whether fewer than k classes are more probable than the target; no, if that cannot be said."""
    check_rank("predictions", predictions, 2)
    rows, classes = predictions.shape
    if targets.shape != (rows,):
        raise ValueError(f"targets must have the shape {[rows]}, one a row of predictions, not {list(targets.shape)}")
    known = (targets >= 0) & (targets < classes) & np.isfinite(predictions).all(-1)
    out = np.zeros(rows, np.bool_)
    chosen = predictions[known]
    mine = np.take_along_axis(chosen, targets[known, None], -1)
    out[known] = (chosen > mine).sum(-1) < k
    return out


@kernel("InTopK")
def _in_top_k(attrs: Attributes, predictions: Array, targets: Array) -> Array:
    return _in_top(predictions, targets, attrs["k"])


@kernel("InTopKV2")
def _in_top_k_v2(attrs: Attributes, predictions: Array, targets: Array, k: Array) -> Array:
    del attrs
    return _in_top(predictions, targets, int(k))
