"""Shapes, and tensors put into another shape or order; no element changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ckptstore.graph.kernels.reduction import axes_of
from ckptstore.graph.kernels.registry import Array, Attributes, kernel


def sizes_of(shape: Array) -> tuple[int, ...]:
    """The extents that a tensor of integers says.

    Raises:
        ValueError: One is negative.
    """
    sizes = tuple(int(n) for n in shape.reshape(-1))
    if any(n < 0 for n in sizes):
        raise ValueError(f"the shape {list(sizes)} has a negative extent")
    return sizes


@kernel("Shape", "ShapeN")
def _shape(attrs: Attributes, *inputs: Array) -> Sequence[Array]:
    dtype = attrs["out_type"].numpy if "out_type" in attrs else np.int32
    return [np.asarray(x.shape, dtype) for x in inputs]


@kernel("Rank")
def _rank(attrs: Attributes, x: Array) -> Array:
    del attrs
    return np.asarray(x.ndim, np.int32)


@kernel("Size")
def _size(attrs: Attributes, x: Array) -> Array:
    return np.asarray(x.size, attrs["out_type"].numpy if "out_type" in attrs else np.int32)


@kernel("Reshape")
def _reshape(attrs: Attributes, x: Array, shape: Array) -> Array:
    del attrs
    sizes = [int(n) for n in shape.reshape(-1)]
    if sizes.count(-1) == 1:
        others = int(np.prod([n for n in sizes if n != -1], dtype=np.int64))
        if not others and x.size == 0:
            raise ValueError(f"the extent -1 of {sizes} cannot be told, since the input has no elements")
    return x.reshape(sizes)


@kernel("ExpandDims")
def _expand_dims(attrs: Attributes, x: Array, axis: Array) -> Array:
    del attrs
    return np.expand_dims(x, axes_of(axis, x.ndim + 1))


@kernel("Squeeze")
def _squeeze(attrs: Attributes, x: Array) -> Array:
    axes = attrs.get("squeeze_dims") or attrs.get("axis")
    return np.squeeze(x, axes_of(np.asarray(axes), x.ndim) if axes else None)


@kernel("Transpose")
def _transpose(attrs: Attributes, x: Array, order: Array) -> Array:
    del attrs
    return np.transpose(x, axes_of(order, x.ndim))


@kernel("ConjugateTranspose")
def _conjugate_transpose(attrs: Attributes, x: Array, order: Array) -> Array:
    del attrs
    return np.asarray(np.conj(np.transpose(x, axes_of(order, x.ndim))))


@kernel("InvertPermutation")
def _invert_permutation(attrs: Attributes, x: Array) -> Array:
    del attrs
    if x.ndim != 1 or not np.array_equal(np.sort(x), np.arange(x.size)):
        raise ValueError("the input is no permutation")
    return np.argsort(x).astype(x.dtype)


@kernel("BroadcastTo")
def _broadcast_to(attrs: Attributes, x: Array, shape: Array) -> Array:
    del attrs
    return np.broadcast_to(x, sizes_of(shape))


@kernel("BroadcastArgs")
def _broadcast_args(attrs: Attributes, x: Array, y: Array) -> Array:
    del attrs
    return np.asarray(np.broadcast_shapes(sizes_of(x), sizes_of(y)), x.dtype)


@kernel("Reverse")
def _reverse(attrs: Attributes, x: Array, dims: Array) -> Array:
    del attrs
    if dims.shape != (x.ndim,):
        raise ValueError("the flags must be one per dimension")
    return np.flip(x, tuple(int(i) for i in np.flatnonzero(dims)))


@kernel("ReverseV2")
def _reverse_v2(attrs: Attributes, x: Array, axes: Array) -> Array:
    del attrs
    return np.flip(x, axes_of(axes, x.ndim))


@kernel("ReverseSequence")
def _reverse_sequence(attrs: Attributes, x: Array, lengths: Array) -> Array:
    along, batch = attrs["seq_dim"], attrs.get("batch_dim", 0)
    if lengths.shape != (x.shape[batch],):
        raise ValueError("the lengths must be one per entry of the batch")
    out = np.moveaxis(x.copy(), (batch, along), (0, 1))
    for row, length in zip(out, lengths.tolist(), strict=True):
        if not 0 <= length <= row.shape[0]:
            raise ValueError(f"the length {length} is not one of a sequence of {row.shape[0]}")
        row[:length] = row[:length][::-1].copy()
    return np.moveaxis(out, (0, 1), (batch, along))


@kernel("Roll")
def _roll(attrs: Attributes, x: Array, shift: Array, axis: Array) -> Array:
    del attrs
    for by, along in zip(shift.reshape(-1).tolist(), axis.reshape(-1).tolist(), strict=True):
        x = np.roll(x, by, along)
    return x


@kernel("Identity", "StopGradient", "PreventGradient", "PlaceholderWithDefault")
def _identity(attrs: Attributes, x: Array) -> Array:
    del attrs
    return x


@kernel("IdentityN")
def _identity_n(attrs: Attributes, *inputs: Array) -> Sequence[Array]:
    del attrs
    return list(inputs)
