"""Parts of tensors, and tensors put together from parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ckptstore.graph.kernels.reduction import axes_of
from ckptstore.graph.kernels.registry import Array, Attributes, kernel


def _axis(axis: Any, rank: int) -> int:
    return axes_of(np.asarray(axis), rank)[0]


@kernel("Slice")
def _slice(attrs: Attributes, x: Array, begin: Array, size: Array) -> Array:
    del attrs
    if begin.shape != (x.ndim,) or size.shape != (x.ndim,):
        raise ValueError("begin and size must be one per dimension")
    index = []
    for extent, first, count in zip(x.shape, begin.tolist(), size.tolist(), strict=True):
        last = extent if count == -1 else first + count
        if not 0 <= first <= last <= extent:
            raise ValueError(f"{count} elements from {first} on are not in an axis of {extent}")
        index.append(slice(first, last))
    return x[tuple(index)]


@kernel("StridedSlice")
def _strided_slice(attrs: Attributes, x: Array, begin: Array, end: Array, strides: Array) -> Array:
    """What x[...] means in Python; the masks say which entries are ":", "...", None or an index."""
    index: list[Any] = []
    for i, (first, last, step) in enumerate(zip(begin.tolist(), end.tolist(), strides.tolist(), strict=True)):
        if attrs.get("ellipsis_mask", 0) >> i & 1:
            index.append(...)
        elif attrs.get("new_axis_mask", 0) >> i & 1:
            index.append(None)
        elif attrs.get("shrink_axis_mask", 0) >> i & 1:
            if step <= 0:
                raise ValueError("the stride of an index must be positive")
            index.append(first)
        elif step == 0:
            raise ValueError("a stride must not be 0")
        else:
            without_begin, without_end = (attrs.get(f"{side}_mask", 0) >> i & 1 for side in ("begin", "end"))
            index.append(slice(None if without_begin else first, None if without_end else last, step))
    return np.asarray(x[tuple(index)], x.dtype)


@kernel("Split")
def _split(attrs: Attributes, axis: Array, x: Array) -> Sequence[Array]:
    count = attrs["num_split"]
    along = _axis(axis, x.ndim)
    if x.shape[along] % count:
        raise ValueError(f"an axis of {x.shape[along]} cannot be split into {count} equal parts")
    return np.split(x, count, along)


@kernel("SplitV")
def _split_v(attrs: Attributes, x: Array, size_splits: Array, axis: Array) -> Sequence[Array]:
    del attrs
    along = _axis(axis, x.ndim)
    sizes = size_splits.tolist()
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = x.shape[along] - sum(sizes) - 1
    if min(sizes, default=0) < 0 or sum(sizes) != x.shape[along]:
        raise ValueError(f"parts of {size_splits.tolist()} do not make up an axis of {x.shape[along]}")
    return np.split(x, np.cumsum(sizes)[:-1], along)


@kernel("Concat")
def _concat(attrs: Attributes, axis: Array, *values: Array) -> Array:
    return _joined(values, axis)


@kernel("ConcatV2")
def _concat_v2(attrs: Attributes, *inputs: Array) -> Array:
    return _joined(inputs[:-1], inputs[-1])


def _joined(values: Sequence[Array], axis: Array) -> Array:
    return np.concatenate(values, _axis(axis, max(1, values[0].ndim)))


@kernel("ConcatOffset")
def _concat_offset(attrs: Attributes, axis: Array, *shapes: Array) -> Sequence[Array]:
    del attrs
    along = _axis(axis, shapes[0].size)
    out, offset = [], 0
    for shape in shapes:
        out.append(np.zeros_like(shape))
        out[-1][along] = offset
        offset += int(shape[along])
    return out


@kernel("Pack")
def _pack(attrs: Attributes, *values: Array) -> Array:
    return np.stack(values, _axis(attrs.get("axis", 0), values[0].ndim + 1))


@kernel("Unpack")
def _unpack(attrs: Attributes, x: Array) -> Sequence[Array]:
    ordered = np.moveaxis(x, _axis(attrs.get("axis", 0), x.ndim), 0)
    if len(ordered) != attrs["num"]:
        raise ValueError(f"an axis of {len(ordered)} does not make {attrs['num']} tensors")
    return [ordered[i, ...] for i in range(len(ordered))]


@kernel("Tile")
def _tile(attrs: Attributes, x: Array, multiples: Array) -> Array:
    del attrs
    if multiples.shape != (x.ndim,):
        raise ValueError("the multiples must be one per dimension")
    return np.tile(x, multiples.tolist())


@kernel("Pad", "PadV2")
def _pad(attrs: Attributes, x: Array, paddings: Array, constant: Array | None = None) -> Array:
    del attrs
    pairs = _pairs(x, paddings)
    if x.ndim == 0:
        return x
    fill: Any = constant[()] if constant is not None else b"" if x.dtype == object else x.dtype.type(0)
    out = np.full([low + n + high for n, (low, high) in zip(x.shape, pairs, strict=True)], fill, x.dtype)
    out[tuple(slice(low, low + n) for n, (low, _) in zip(x.shape, pairs, strict=True))] = x
    return out


@kernel("MirrorPad")
def _mirror_pad(attrs: Attributes, x: Array, paddings: Array) -> Array:
    reflect = attrs["mode"] == b"REFLECT"
    pairs = _pairs(x, paddings)
    if any(max(pair) > n - reflect for n, pair in zip(x.shape, pairs, strict=True)):
        raise ValueError(f"paddings of {pairs} are larger than what they mirror")
    return np.pad(x, pairs, "reflect" if reflect else "symmetric") if pairs else x


def _pairs(x: Array, paddings: Array) -> list[list[int]]:
    if paddings.shape != (x.ndim, 2) or (paddings < 0).any():
        raise ValueError("the paddings must be two per dimension, and not negative")
    pairs: list[list[int]] = paddings.tolist()
    return pairs
