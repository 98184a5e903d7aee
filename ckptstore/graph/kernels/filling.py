"""Tensors made from little: constants, ranges, one-hot rows, and values of another type."""

from __future__ import annotations

import math

import numpy as np

from ckptstore.graph.kernels.precision import is_floating, is_narrow
from ckptstore.graph.kernels.registry import Array, Attributes, kernel
from ckptstore.graph.kernels.shape import sizes_of


@kernel("Const")
def _const(attrs: Attributes) -> Array:
    value: Array = attrs["value"]
    return value


@kernel("Fill")
def _fill(attrs: Attributes, dims: Array, value: Array) -> Array:
    del attrs
    return np.full(sizes_of(dims), value[()], value.dtype)


@kernel("ZerosLike")
def _zeros_like(attrs: Attributes, x: Array) -> Array:
    del attrs
    return np.full(x.shape, b"", object) if x.dtype == object else np.zeros(x.shape, x.dtype)


@kernel("OnesLike")
def _ones_like(attrs: Attributes, x: Array) -> Array:
    del attrs
    return np.ones(x.shape, x.dtype)


@kernel("Range")
def _range(attrs: Attributes, start: Array, limit: Array, delta: Array) -> Array:
    del attrs
    dtype = start.dtype
    first, last, step = (float(a) if is_floating(start) else int(a) for a in (start, limit, delta))
    if step == 0 or (first > last if step > 0 else first < last):
        raise ValueError(f"there is no way from {first} to {last} in steps of {step}")
    if not is_floating(start):
        return np.arange(int(first), int(last), int(step)).astype(dtype)
    count = math.ceil(abs((last - first) / step))
    wide = np.dtype(np.float32) if is_narrow(start) else dtype
    return np.asarray((np.asarray(first, wide) + np.arange(count).astype(wide) * np.asarray(step, wide)).astype(dtype))


@kernel("LinSpace")
def _lin_space(attrs: Attributes, start: Array, stop: Array, num: Array) -> Array:
    del attrs
    count = int(num)
    if count <= 0:
        raise ValueError(f"{count} values cannot be made")
    wide = np.dtype(np.float32) if is_narrow(start) else start.dtype
    first, last = start.astype(wide), stop.astype(wide)
    if count == 1:
        return np.asarray([first]).astype(start.dtype)
    out = first + np.arange(count).astype(wide) * ((last - first) / wide.type(count - 1))
    out[-1] = last
    return np.asarray(out).astype(start.dtype)


@kernel("OneHot")
def _one_hot(attrs: Attributes, indices: Array, depth: Array, on: Array, off: Array) -> Array:
    axis = attrs.get("axis", -1)
    hot = indices[..., None] == np.arange(int(depth))
    return np.where(np.moveaxis(hot, -1, axis), on, off)


@kernel("Cast")
def _cast(attrs: Attributes, x: Array) -> Array:
    """As in C: floats are cut towards zero, of complex numbers the real part stays."""
    dtype = attrs["DstT"].numpy
    if x.dtype.kind == "c" and dtype.kind == "b":
        return np.asarray(x != 0)
    if x.dtype.kind == "c" and dtype.kind != "c":
        x = x.real
    if is_narrow(x) and dtype.kind in "iu":
        x = x.astype(np.float32)
    return np.asarray(x.astype(dtype))


@kernel("Bitcast")
def _bitcast(attrs: Attributes, x: Array) -> Array:
    dtype = attrs["type"].numpy
    data = np.ascontiguousarray(x)
    if data.itemsize == dtype.itemsize:
        return np.asarray(data.reshape(x.shape).view(dtype))
    if data.itemsize > dtype.itemsize:
        return data.reshape(*x.shape, 1).view(dtype)
    if not x.ndim or x.shape[-1] * data.itemsize != dtype.itemsize:
        raise ValueError(f"the last dimension must be of {dtype.itemsize // data.itemsize} elements")
    return np.asarray(data.view(dtype)[..., 0])


@kernel("CheckNumerics")
def _check_numerics(attrs: Attributes, x: Array) -> Array:
    wide = x.astype(np.float32) if is_narrow(x) else x
    found = [name for name, test in (("Inf", np.isinf), ("NaN", np.isnan)) if test(wide).any()]
    if found:
        message = attrs.get("message", b"").decode("utf-8", "replace")
        raise ValueError(f"{message}: the tensor had {' and '.join(found)} values")
    return x
