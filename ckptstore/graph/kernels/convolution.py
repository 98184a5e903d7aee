"""Convolutions of images and volumes, and the transposed one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ckptstore.graph.kernels.precision import through_float32
from ckptstore.graph.kernels.registry import Array, Attributes, kernel
from ckptstore.graph.kernels.windows import (
    Axis,
    channels_back,
    channels_last,
    check_rank,
    inside,
    padded,
    patches,
    places,
    slide,
    spatial,
)


def _axes(attrs: Attributes, extents: Sequence[int], filters: Array) -> list[Axis]:
    data_format = attrs["data_format"]
    strides = spatial("strides", attrs["strides"], data_format)
    rates = spatial("dilations", attrs["dilations"], data_format)
    return slide(extents, filters.shape[: len(extents)], strides, rates, attrs)


def _groups(channels: int, filters: Array) -> int:
    """Into how many groups the channels fall, each with filters of its own."""
    depth, count = filters.shape[-2:]
    if not depth or channels % depth or count % (channels // depth or 1):
        raise ValueError(f"filters of the shape {list(filters.shape)} do not go with {channels} channels")
    return channels // depth or 1


def _convolve(x: Array, filters: Array, axes: Sequence[Axis]) -> Array:
    matrix = filters.reshape(-1, filters.shape[-1])
    out = np.empty((x.shape[0], *(axis.outputs for axis in axes), filters.shape[-1]), x.dtype)
    # Image by image: the patches of an image are as large as itself times the places of a window.
    for image, result in zip(x, out, strict=True):
        np.matmul(patches(image[None], axes)[0], matrix, out=result)
    return out


def _convolution(attrs: Attributes, x: Array, filters: Array) -> Array:
    data_format = attrs["data_format"]
    x = channels_last(x, data_format)
    axes = _axes(attrs, x.shape[1:-1], filters)
    groups = _groups(x.shape[-1], filters)

    @through_float32
    def convolve(x: Array, filters: Array) -> Array:
        if groups == 1:
            return _convolve(x, filters, axes)
        parts = zip(np.split(x, groups, -1), np.split(filters, groups, -1), strict=True)
        return np.concatenate([_convolve(images, own, axes) for images, own in parts], -1)

    return channels_back(convolve(x, filters), data_format)


@kernel("Conv2D")
def _conv2d(attrs: Attributes, x: Array, filters: Array) -> Array:
    check_rank("input", x, 4)
    check_rank("filter", filters, 4)
    return _convolution(attrs, x, filters)


@kernel("Conv3D")
def _conv3d(attrs: Attributes, x: Array, filters: Array) -> Array:
    check_rank("input", x, 5)
    check_rank("filter", filters, 5)
    return _convolution(attrs, x, filters)


@kernel("DepthwiseConv2dNative")
def _depthwise_conv2d(attrs: Attributes, x: Array, filters: Array) -> Array:
    """Each channel has filters of its own: a sum over places, where products of matrices would be tiny."""
    check_rank("input", x, 4)
    check_rank("filter", filters, 4)
    data_format = attrs["data_format"]
    x = channels_last(x, data_format)
    channels, multiplier = filters.shape[2:]
    if x.shape[-1] != channels:
        raise ValueError(f"filters of the shape {list(filters.shape)} do not go with {x.shape[-1]} channels")
    axes = _axes(attrs, x.shape[1:-1], filters)

    @through_float32
    def convolve(x: Array, filters: Array) -> Array:
        out = np.zeros((x.shape[0], *(axis.outputs for axis in axes), channels, multiplier), x.dtype)
        source = padded(x, axes)
        for place, index in places(axes):
            out += source[index][..., None] * filters[place]
        return out.reshape(*out.shape[:-2], channels * multiplier)

    return channels_back(convolve(x, filters), data_format)


def _spread(gradient: Array, filters: Array, axes: Sequence[Axis]) -> Array:
    """Adds up, over all windows, what each output gives back to the inputs that its window sees."""
    out = np.zeros((gradient.shape[0], *(axis.padded for axis in axes), filters.shape[-2]), gradient.dtype)
    for place, index in places(axes):
        out[index] += np.matmul(gradient, filters[place].T)
    return out[inside(axes)]


@kernel("Conv2DBackpropInput")
def _conv2d_backprop_input(attrs: Attributes, input_sizes: Array, filters: Array, gradient: Array) -> Array:
    """What `tf.nn.conv2d_transpose` is at inference."""
    check_rank("filter", filters, 4)
    check_rank("out_backprop", gradient, 4)
    data_format = attrs["data_format"]
    gradient = channels_last(gradient, data_format)
    sizes = [int(size) for size in input_sizes.reshape(-1)]
    if len(sizes) == 2:
        batch, extents, channels = gradient.shape[0], sizes, filters.shape[2]
    elif len(sizes) == 4:
        batch, *rest = sizes
        channels = rest.pop(0 if data_format.startswith(b"NC") else -1)
        extents = rest
    else:
        raise ValueError(f"input_sizes must be 2 or 4 numbers, not {sizes}")
    axes = _axes(attrs, extents, filters)
    groups = _groups(channels, filters)
    expected = (batch, *(axis.outputs for axis in axes), filters.shape[-1])
    if gradient.shape != expected:
        raise ValueError(
            f"out_backprop, channels last, has the shape {list(gradient.shape)}, but a convolution of input_sizes "
            f"{sizes} gives {list(expected)}"
        )

    @through_float32
    def spread(gradient: Array, filters: Array) -> Array:
        if groups == 1:
            return _spread(gradient, filters, axes)
        parts = zip(np.split(gradient, groups, -1), np.split(filters, groups, -1), strict=True)
        return np.concatenate([_spread(images, own, axes) for images, own in parts], -1)

    return channels_back(spread(gradient, filters), data_format)
