"""Functions of one tensor, element by element."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ckptstore.graph.kernels.precision import through_float32
from ckptstore.graph.kernels.registry import Array, Attributes, kernel


def _register(function: Callable[[Array], Any], *ops: str) -> None:
    computed = through_float32(function)

    @kernel(*ops)
    def run(attrs: Attributes, x: Array) -> Array:
        del attrs
        return np.asarray(computed(x))


def _one_by_one(function: Callable[[float], float]) -> Callable[[Array], Array]:
    """A function of Python's, which numpy has not: slow, and exact."""
    called = np.frompyfunc(function, 1, 1)
    return lambda x: np.asarray(np.asarray(called(x.astype(np.float64))).astype(x.dtype))


def _log_gamma(x: float) -> float:
    if math.isinf(x) or (x <= 0 and x == math.floor(x)):
        return math.inf
    try:
        return math.lgamma(x)
    except OverflowError:
        return math.inf


def _sign(x: Array) -> Array:
    if x.dtype.kind != "c":
        return np.asarray(np.sign(x))
    length = np.abs(x)
    return np.asarray(np.where(length == 0, 0, x / np.where(length == 0, 1, length)), x.dtype)


def _round(x: Array) -> Array:
    """To even where two are equally near."""
    return x if x.dtype.kind in "iu" else np.asarray(np.rint(x))


_register(np.negative, "Neg")
_register(np.abs, "Abs", "ComplexAbs")
_register(_sign, "Sign")
_register(np.square, "Square")
_register(np.sqrt, "Sqrt")
_register(lambda x: x.dtype.type(1) / np.sqrt(x), "Rsqrt")
_register(lambda x: x.dtype.type(1) / x, "Reciprocal", "Inv")
_register(np.exp, "Exp")
_register(np.expm1, "Expm1")
_register(np.log, "Log")
_register(np.log1p, "Log1p")
_register(np.floor, "Floor")
_register(np.ceil, "Ceil")
_register(_round, "Round", "Rint")
_register(np.sin, "Sin")
_register(np.cos, "Cos")
_register(np.tan, "Tan")
_register(np.arcsin, "Asin")
_register(np.arccos, "Acos")
_register(np.arctan, "Atan")
_register(np.sinh, "Sinh")
_register(np.cosh, "Cosh")
_register(np.arcsinh, "Asinh")
_register(np.arccosh, "Acosh")
_register(np.arctanh, "Atanh")
_register(_one_by_one(math.erf), "Erf")
_register(_one_by_one(math.erfc), "Erfc")
_register(_one_by_one(_log_gamma), "Lgamma")
_register(np.isnan, "IsNan")
_register(np.isinf, "IsInf")
_register(np.isfinite, "IsFinite")
_register(np.real, "Real")
_register(np.imag, "Imag")
_register(np.conj, "Conj")
_register(np.angle, "Angle")
_register(np.logical_not, "LogicalNot")
_register(np.invert, "Invert")
