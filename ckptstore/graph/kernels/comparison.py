"""Comparisons, what is made of their results, and what is chosen by them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ckptstore.graph.kernels.precision import is_floating
from ckptstore.graph.kernels.registry import Array, Attributes, kernel


def _register(function: Callable[..., Any], op: str) -> None:
    @kernel(op)
    def run(attrs: Attributes, x: Array, y: Array) -> Array:
        del attrs
        return np.asarray(function(x, y)).astype(np.bool_)


_register(np.less, "Less")
_register(np.less_equal, "LessEqual")
_register(np.greater, "Greater")
_register(np.greater_equal, "GreaterEqual")
_register(np.logical_and, "LogicalAnd")
_register(np.logical_or, "LogicalOr")


def _register_equality(function: Callable[..., Any], op: str, *, otherwise: bool) -> None:
    @kernel(op)
    def run(attrs: Attributes, x: Array, y: Array) -> Array:
        try:
            np.broadcast_shapes(x.shape, y.shape)
        except ValueError:
            if attrs.get("incompatible_shape_error", True):
                raise
            return np.asarray(otherwise)
        return np.asarray(function(x, y)).astype(np.bool_)


_register_equality(np.equal, "Equal", otherwise=False)
_register_equality(np.not_equal, "NotEqual", otherwise=True)


@kernel("ApproximateEqual")
def _approximate_equal(attrs: Attributes, x: Array, y: Array) -> Array:
    difference = np.abs(x - y)
    if is_floating(difference):
        return np.asarray(difference < difference.dtype.type(attrs.get("tolerance", 1e-5)))
    return np.asarray(difference < attrs.get("tolerance", 1e-5))


@kernel("Select")
def _select(attrs: Attributes, condition: Array, x: Array, y: Array) -> Array:
    """Of one shape; the condition may be one for all, or one per row."""
    del attrs
    if x.shape != y.shape:
        raise ValueError("both values must have one shape")
    if condition.shape != x.shape:
        if condition.ndim > 1 or (condition.ndim == 1 and condition.shape[0] != x.shape[0]):
            raise ValueError("the condition must be a scalar, one per row, or of the shape of the values")
        condition = condition.reshape(condition.shape + (1,) * (x.ndim - condition.ndim))
    return np.where(condition, x, y)


@kernel("SelectV2")
def _select_v2(attrs: Attributes, condition: Array, x: Array, y: Array) -> Array:
    del attrs
    return np.where(condition, x, y)


@kernel("Where")
def _where(attrs: Attributes, condition: Array) -> Array:
    del attrs
    if condition.ndim == 0:
        raise ValueError("the condition must not be a scalar")
    return np.argwhere(condition != np.zeros((), condition.dtype)).astype(np.int64)
