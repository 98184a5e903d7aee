"""The greatest element, or the mean, of each window."""

from __future__ import annotations

from collections.abc import Sequence

import ml_dtypes
import numpy as np

from ckptstore.graph.kernels.precision import is_floating, through_float32
from ckptstore.graph.kernels.registry import Array, Attributes, kernel
from ckptstore.graph.kernels.windows import (
    Axis,
    channels_back,
    channels_last,
    check_rank,
    padded,
    places,
    slide,
    spatial,
)


def _axes(attrs: Attributes, x: Array, ksize: Sequence[int], strides: Sequence[int]) -> list[Axis]:
    """Of images with their channels last."""
    data_format = attrs.get("data_format", b"NHWC")
    if len(ksize) != x.ndim or len(strides) != x.ndim:
        raise ValueError(f"ksize {list(ksize)} and strides {list(strides)} must be {x.ndim} numbers each")
    sizes = spatial("ksize", ksize, data_format)
    axes = slide(x.shape[1:-1], sizes, spatial("strides", strides, data_format), [1] * len(sizes), attrs)
    for axis in axes:
        if axis.before >= axis.size:
            raise ValueError(f"a padding of {axis.before} must be smaller than the window, {axis.size}")
    return axes


def _outputs(x: Array, axes: Sequence[Axis]) -> tuple[int, ...]:
    return (x.shape[0], *(axis.outputs for axis in axes), x.shape[-1])


def _greatest(attrs: Attributes, x: Array, ksize: Sequence[int], strides: Sequence[int]) -> Array:
    data_format = attrs["data_format"]
    x = channels_last(x, data_format)
    axes = _axes(attrs, x, ksize, strides)
    # As in TensorFlow, the least finite number is greater than -inf, and any is greater than NaN.
    lowest = (ml_dtypes.finfo if is_floating(x) else np.iinfo)(x.dtype).min
    out = np.full(_outputs(x, axes), lowest, x.dtype)
    source = padded(x, axes, lowest)
    for _, index in places(axes):
        np.fmax(out, source[index], out=out)
    return channels_back(out, data_format)


@kernel("MaxPool")
def _max_pool(attrs: Attributes, x: Array) -> Array:
    check_rank("input", x, 4)
    return _greatest(attrs, x, attrs["ksize"], attrs["strides"])


@kernel("MaxPoolV2")
def _max_pool_v2(attrs: Attributes, x: Array, ksize: Array, strides: Array) -> Array:
    check_rank("input", x, 4)
    return _greatest(attrs, x, ksize.reshape(-1).tolist(), strides.reshape(-1).tolist())


@kernel("MaxPool3D")
def _max_pool_3d(attrs: Attributes, x: Array) -> Array:
    check_rank("input", x, 5)
    return _greatest(attrs, x, attrs["ksize"], attrs["strides"])


@kernel("MaxPoolWithArgmax")
def _max_pool_with_argmax(attrs: Attributes, x: Array) -> tuple[Array, Array]:
    """Also where in the image, or in the batch, flattened, the greatest element is: the first of several."""
    check_rank("input", x, 4)
    axes = _axes(attrs, x, attrs["ksize"], attrs["strides"])
    at = np.arange(x.size).reshape(x.shape)
    if not attrs["include_batch_in_index"]:
        at = np.broadcast_to(at[:1], x.shape)
    out = np.zeros(_outputs(x, axes), x.dtype)
    argmax = np.full(out.shape, -1)
    source, where = padded(x, axes), padded(at, axes, -1)
    for _, index in places(axes):
        seen, position = source[index], where[index]
        better = (position >= 0) & ((seen > out) | (argmax < 0))
        np.copyto(out, seen, where=better)
        np.copyto(argmax, position, where=better)
    return out, argmax.astype(attrs["Targmax"].numpy)


def _mean(attrs: Attributes, x: Array) -> Array:
    """What is beyond the edge counts for nothing."""
    data_format = attrs["data_format"]
    x = channels_last(x, data_format)
    axes = _axes(attrs, x, attrs["ksize"], attrs["strides"])

    @through_float32
    def mean(x: Array) -> Array:
        total = np.zeros(_outputs(x, axes), x.dtype)
        source = padded(x, axes)
        for _, index in places(axes):
            total += source[index]
        for number, axis in enumerate(axes):
            total /= axis.counts().astype(x.dtype).reshape(-1, *[1] * (len(axes) - number))
        return total

    return channels_back(mean(x), data_format)


@kernel("AvgPool")
def _avg_pool(attrs: Attributes, x: Array) -> Array:
    check_rank("value", x, 4)
    return _mean(attrs, x)


@kernel("AvgPool3D")
def _avg_pool_3d(attrs: Attributes, x: Array) -> Array:
    check_rank("input", x, 5)
    return _mean(attrs, x)
