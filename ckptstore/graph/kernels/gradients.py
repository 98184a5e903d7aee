"""Gradients of ops that training graphs have most often."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ckptstore.graph.kernels.precision import is_narrow, through_float32
from ckptstore.graph.kernels.registry import Array, Attributes, kernel
from ckptstore.graph.kernels.shape import sizes_of


def _register(function: Callable[[Array, Array], Any], op: str) -> None:
    computed = through_float32(function)

    @kernel(op)
    def run(attrs: Attributes, x: Array, y: Array) -> Array:
        del attrs
        return np.asarray(computed(x, y))


# Of the first four, the first input is what the op gave; of all, the other is the gradient of that.
_register(lambda y, dy: dy * y * (y.dtype.type(1) - y), "SigmoidGrad")
_register(lambda y, dy: dy * (y.dtype.type(1) - y * y), "TanhGrad")
_register(lambda y, dy: dy * y.dtype.type(0.5) / y, "SqrtGrad")
_register(lambda y, dy: -dy * y * y, "ReciprocalGrad")
_register(lambda y, dy: y.dtype.type(-0.5) * dy * y * y * y, "RsqrtGrad")
_register(lambda dy, x: np.where(x > 0, dy, dy.dtype.type(0)), "ReluGrad")


@kernel("BiasAddGrad")
def _bias_add_grad(attrs: Attributes, dy: Array) -> Array:
    channel = 1 if attrs.get("data_format") == b"NCHW" else dy.ndim - 1
    wide = dy.astype(np.float32) if is_narrow(dy) else dy
    return np.sum(wide, axis=tuple(i for i in range(dy.ndim) if i != channel), dtype=wide.dtype).astype(dy.dtype)


@kernel("BroadcastGradientArgs")
def _broadcast_gradient_args(attrs: Attributes, first: Array, second: Array) -> Sequence[Array]:
    """The axes over which the gradients of two operands are to be summed."""
    del attrs
    shapes = [sizes_of(first), sizes_of(second)]
    rank = len(np.broadcast_shapes(*shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    if shapes[0] == shapes[1]:
        return [np.zeros(0, first.dtype)] * 2
    return [np.asarray([i for i in range(rank) if shape[i] == 1], first.dtype) for shape in padded]
