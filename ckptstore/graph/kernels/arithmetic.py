"""Sums, products, quotients and what else takes two tensors, element by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ckptstore.graph.kernels.precision import is_floating, through_float32
from ckptstore.graph.kernels.registry import Array, Attributes, kernel


def _register(function: Callable[..., Any], *ops: str) -> None:
    computed = through_float32(function)

    @kernel(*ops)
    def run(attrs: Attributes, *inputs: Array) -> Array:
        del attrs
        return np.asarray(computed(*inputs))


def _is_integer(array: Array) -> bool:
    return array.dtype.kind in "iu"


def _check_divisor(y: Array) -> None:
    if _is_integer(y) and not y.all():
        raise ValueError("integer division by zero")


def _quotient(x: Array, y: Array) -> Array:
    """Integers are cut towards zero, as in C."""
    if not _is_integer(x):
        return np.asarray(np.true_divide(x, y))
    _check_divisor(y)
    quotient = np.floor_divide(x, y)
    return np.asarray(quotient + (((x % y) != 0) & ((x < 0) != (y < 0))).astype(x.dtype))


def _floor_quotient(x: Array, y: Array) -> Array:
    if not _is_integer(x):
        return np.asarray(np.floor(np.true_divide(x, y)))  # numpy's floor_divide rounds otherwise
    _check_divisor(y)
    return np.asarray(np.floor_divide(x, y))


def _remainder(x: Array, y: Array) -> Array:
    """Of the sign of x."""
    _check_divisor(y)
    return np.asarray(np.fmod(x, y))


def _floor_remainder(x: Array, y: Array) -> Array:
    """Of the sign of y."""
    _check_divisor(y)
    if _is_integer(x):
        return np.asarray(np.mod(x, y))
    remainder = np.fmod(x, y)
    return np.where((x < 0) == (y < 0), remainder, np.fmod(remainder + y, y))


def _power(x: Array, y: Array) -> Array:
    if _is_integer(x) and (y < 0).any():
        raise ValueError("an integer cannot be raised to a negative power")
    return np.asarray(np.power(x, y))


def _squared_difference(x: Array, y: Array) -> Array:
    difference = np.asarray(x - y)
    return np.asarray(np.conj(difference) * difference) if difference.dtype.kind == "c" else difference * difference


def _unless_zero(zero: Array, value: Array) -> Array:
    """0 where `zero` is, whatever comes out there otherwise."""
    return np.where(zero == 0, np.zeros((), value.dtype), value)


def _shift(function: Callable[..., Any]) -> Callable[..., Any]:
    def shifted(x: Array, y: Array) -> Array:
        # By more than there are bits a C compiler may do as it likes; TensorFlow limits it.
        return np.asarray(function(x, np.clip(y, 0, x.dtype.itemsize * 8 - 1).astype(x.dtype)))

    return shifted


_register(np.add, "Add", "AddV2")
_register(np.subtract, "Sub")
_register(np.multiply, "Mul")
_register(_quotient, "Div", "RealDiv", "TruncateDiv")
_register(_floor_quotient, "FloorDiv")
_register(_remainder, "Mod", "TruncateMod")
_register(_floor_remainder, "FloorMod")
_register(_power, "Pow")
_register(_squared_difference, "SquaredDifference")
_register(lambda x, y: _unless_zero(y, np.asarray(x / y)), "DivNoNan")
_register(lambda x, y: _unless_zero(y, np.asarray(x * y)), "MulNoNan")
_register(lambda x, y: _unless_zero(x, np.asarray(x / y)), "Xdivy")
_register(lambda x, y: _unless_zero(x, np.asarray(x * np.log(y))), "Xlogy")
_register(lambda x, y: _unless_zero(x, np.asarray(x * np.log1p(y))), "Xlog1py")
_register(np.maximum, "Maximum")
_register(np.minimum, "Minimum")
_register(np.arctan2, "Atan2")
_register(np.bitwise_and, "BitwiseAnd")
_register(np.bitwise_or, "BitwiseOr")
_register(np.bitwise_xor, "BitwiseXor")
_register(_shift(np.left_shift), "LeftShift")
_register(_shift(np.right_shift), "RightShift")
_register(lambda x, low, high: np.minimum(np.maximum(x, low), high), "ClipByValue")


@kernel("AddN")
def _add_n(attrs: Attributes, *inputs: Array) -> Array:
    del attrs
    if len({array.shape for array in inputs}) != 1:
        raise ValueError("all inputs must have one shape")
    dtype = inputs[0].dtype
    total = inputs[0].astype(np.float32) if is_floating(inputs[0]) and dtype.itemsize == 2 else inputs[0]
    for array in inputs[1:]:
        total = total + array.astype(total.dtype)
    return np.asarray(total).astype(dtype)


@kernel("Complex")
def _complex(attrs: Attributes, real: Array, imag: Array) -> Array:
    real, imag = np.broadcast_arrays(real, imag)
    out = np.empty(real.shape, attrs["Tout"].numpy)
    out.real, out.imag = real, imag
    return out
