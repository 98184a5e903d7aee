"""How precisely kernels compute: types of 16 bits go through float32, as in TensorFlow."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from ckptstore.graph.kernels.registry import Array

_NARROW = frozenset([np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)])


def is_narrow(array: Array) -> bool:
    """Whether it is of a floating type of 16 bits."""
    return array.dtype in _NARROW


def is_floating(array: Array) -> bool:
    """Whether it holds real numbers; numpy does not count bfloat16 as such."""
    return array.dtype.kind == "f" or array.dtype in _NARROW


def through_float32(function: Callable[..., Any]) -> Callable[..., Any]:
    """Lets a function of arrays of one type compute what is of 16 bits in 32, and rounds what comes out once."""

    @functools.wraps(function)
    def computed(*arrays: Array) -> Any:
        if not any(is_narrow(array) for array in arrays):
            return function(*arrays)
        dtype = next(array.dtype for array in arrays if is_narrow(array))
        out = np.asarray(function(*(a.astype(np.float32) if is_narrow(a) else a for a in arrays)))
        return out.astype(dtype) if out.dtype == np.float32 else out

    return computed
