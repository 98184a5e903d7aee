"""Activation functions, element by element and over the classes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ckptstore.graph.kernels.precision import through_float32
from ckptstore.graph.kernels.registry import Array, Attributes, kernel

# TensorFlow's; the slope of Selu at 0 from above, and this times what it goes to at -inf.
_SELU_SCALE = 1.0507009873554804934193349852946
_SELU_SCALE_ALPHA = 1.7580993408473768599402175208123


def _register(function: Callable[[Array], Array], *ops: str) -> None:
    computed = through_float32(function)

    @kernel(*ops)
    def run(attrs: Attributes, x: Array) -> Array:
        del attrs
        return np.asarray(computed(x), x.dtype)  # older releases of numpy make float64 of a scalar


def _below_zero(x: Array) -> Array:
    """e**x - 1 where x is negative; 0 elsewhere, where it could be too great for the type."""
    return np.asarray(np.expm1(np.minimum(x, 0)))


def _sigmoid(x: Array) -> Array:
    if x.dtype.kind == "c":
        return np.asarray(1 / (1 + np.exp(-x)))
    small = np.exp(-np.abs(x))  # never too great for the type
    return np.asarray(np.where(x < 0, small, 1) / (1 + small))


def shifted_exponentials(logits: Array) -> tuple[Array, Array, Array]:
    """Logits less the greatest of their row, their exponentials, and the sum of these."""
    if not logits.size:
        return logits, logits, np.zeros((*logits.shape[:-1], 1), logits.dtype)
    shifted = logits - logits.max(-1, keepdims=True)
    exponentials = np.exp(shifted)
    return shifted, exponentials, exponentials.sum(-1, keepdims=True)


def _check_classes(logits: Array) -> None:
    if not logits.ndim:
        raise ValueError("logits must have 1 dimension or more")


def _softmax(logits: Array) -> Array:
    _check_classes(logits)
    _, exponentials, total = shifted_exponentials(logits)
    return np.asarray(exponentials / total)


def _log_softmax(logits: Array) -> Array:
    _check_classes(logits)
    shifted, _, total = shifted_exponentials(logits)
    return np.asarray(shifted - np.log(total)) if logits.size else logits


_register(lambda x: np.maximum(x, x.dtype.type(0)), "Relu")
_register(lambda x: np.minimum(np.maximum(x, x.dtype.type(0)), x.dtype.type(6)), "Relu6")
_register(lambda x: np.where(x < 0, _below_zero(x), x), "Elu")
_register(lambda x: np.where(x < 0, _SELU_SCALE_ALPHA * _below_zero(x), _SELU_SCALE * x), "Selu")
_register(lambda x: np.logaddexp(x, x.dtype.type(0)), "Softplus")
_register(lambda x: x / (1 + np.abs(x)), "Softsign")
_register(_sigmoid, "Sigmoid")
_register(np.tanh, "Tanh")
_register(_softmax, "Softmax")
_register(_log_softmax, "LogSoftmax")


@kernel("LeakyRelu")
def _leaky_relu(attrs: Attributes, x: Array) -> Array:
    @through_float32
    def leak(x: Array) -> Array:
        return np.where(x > 0, x, x * x.dtype.type(attrs["alpha"]))

    return np.asarray(leak(x))
