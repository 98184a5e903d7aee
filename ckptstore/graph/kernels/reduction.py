"""Sums, extremes and their like over axes, and running ones along an axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ckptstore.graph.kernels.precision import is_floating, is_narrow
from ckptstore.graph.kernels.registry import Array, Attributes, kernel


def axes_of(axes: Array, rank: int) -> tuple[int, ...]:
    """The axes that a tensor of integers names, negative ones counted from the end.

    Raises:
        ValueError: One is out of range, or named twice.
    """
    given = [int(axis) for axis in axes.reshape(-1)]
    for axis in given:
        if not -rank <= axis < rank:
            raise ValueError(f"the axis {axis} is out of range for {rank} dimensions")
    found = tuple(axis % rank for axis in given)
    if len(set(found)) != len(found):
        raise ValueError(f"the axes {given} name one twice")
    return found


def _register(function: Callable[..., Any], op: str) -> None:
    @kernel(op)
    def run(attrs: Attributes, x: Array, axes: Array) -> Array:
        wide = x.astype(np.float32) if is_narrow(x) else x
        out = function(wide, axis=axes_of(axes, x.ndim), keepdims=attrs.get("keep_dims", False))
        return np.asarray(out).astype(x.dtype)


def _total(x: Array, *, axis: tuple[int, ...], keepdims: bool) -> Array:
    return np.asarray(np.sum(x, axis=axis, keepdims=keepdims, dtype=x.dtype))


def _product(x: Array, *, axis: tuple[int, ...], keepdims: bool) -> Array:
    return np.asarray(np.prod(x, axis=axis, keepdims=keepdims, dtype=x.dtype))


def _mean(x: Array, *, axis: tuple[int, ...], keepdims: bool) -> Array:
    """Integers are cut towards zero; the sum of 64-bit ones wraps."""
    whole = x.astype(np.int64) if x.dtype.kind in "iu" and x.dtype.itemsize < 8 else x
    total = _total(whole, axis=axis, keepdims=keepdims)
    count = int(np.prod([x.shape[i] for i in axis], dtype=np.int64))
    if x.dtype.kind not in "iu":
        return np.asarray(total / np.asarray(count, total.real.dtype))
    if count == 0:
        raise ValueError("the mean of no integers is not defined")
    wide = total.astype(object)
    return np.asarray(np.where(wide < 0, -(-wide // count), wide // count)).astype(x.dtype)


def _norm(x: Array, *, axis: tuple[int, ...], keepdims: bool) -> Array:
    squares = (np.conj(x) * x).real if x.dtype.kind == "c" else x * x
    return np.asarray(np.sqrt(np.sum(squares, axis=axis, keepdims=keepdims)))


def _extreme(function: Callable[..., Any], first: Callable[[np.dtype[Any]], Any]) -> Callable[..., Any]:
    def reduced(x: Array, *, axis: tuple[int, ...], keepdims: bool) -> Array:
        return np.asarray(function(x, axis=axis, keepdims=keepdims, initial=first(x.dtype)))

    return reduced


def _least(dtype: np.dtype[Any]) -> Any:
    return np.iinfo(dtype).min if dtype.kind in "iu" else -np.inf


def _greatest(dtype: np.dtype[Any]) -> Any:
    return np.iinfo(dtype).max if dtype.kind in "iu" else np.inf


_register(_total, "Sum")
_register(_product, "Prod")
_register(_mean, "Mean")
_register(_norm, "EuclideanNorm")
_register(_extreme(np.max, _least), "Max")
_register(_extreme(np.min, _greatest), "Min")
_register(np.all, "All")
_register(np.any, "Any")


def _register_arg(function: Callable[..., Any], op: str, never: float) -> None:
    @kernel(op)
    def run(attrs: Attributes, x: Array, axis: Array) -> Array:
        (along,) = axes_of(axis, x.ndim)
        if x.shape[along] == 0:
            raise ValueError(f"the axis {along} has no elements")
        wide = x.astype(np.float32) if is_narrow(x) else x
        if wide.dtype.kind == "f":  # TensorFlow passes NaN over
            wide = np.where(np.isnan(wide), np.asarray(never, wide.dtype), wide)
        found = function(wide, axis=along)
        return np.asarray(found).astype(attrs["output_type"].numpy if "output_type" in attrs else np.int64)


_register_arg(np.argmax, "ArgMax", -np.inf)
_register_arg(np.argmin, "ArgMin", np.inf)


def _register_running(function: Callable[..., Any], op: str, first: int) -> None:
    @kernel(op)
    def run(attrs: Attributes, x: Array, axis: Array) -> Array:
        (along,) = axes_of(axis, x.ndim)
        ordered = np.moveaxis(x.astype(np.float32) if is_narrow(x) else x, along, 0)
        if attrs.get("reverse"):
            ordered = ordered[::-1]
        out = function(ordered, axis=0, dtype=ordered.dtype)
        if attrs.get("exclusive"):
            out = np.concatenate([np.full_like(out[:1], first), out[:-1]])
        if attrs.get("reverse"):
            out = out[::-1]
        return np.asarray(np.moveaxis(out, 0, along).astype(x.dtype))


_register_running(np.cumsum, "Cumsum", 0)
_register_running(np.cumprod, "Cumprod", 1)


@kernel("Bucketize")
def _bucketize(attrs: Attributes, x: Array) -> Array:
    wide = x.astype(np.float32) if is_floating(x) and x.dtype != np.float64 else x
    return np.searchsorted(np.asarray(attrs["boundaries"], np.float32), wide, side="right").astype(np.int32)
