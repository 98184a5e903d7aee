"""Images in another size, and pieces of them."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ckptstore.graph.kernels.registry import Array, Attributes, kernel
from ckptstore.graph.kernels.windows import check_rank, patches, slide, spatial

_F = np.float32
_TABLE = 1024  # TensorFlow looks cubic weights up, this finely


def _sizes(attrs: Attributes, images: Array, size: Array) -> tuple[int, int]:
    check_rank("images", images, 4)
    if size.shape != (2,) or (size < 1).any():
        raise ValueError(f"size must be a height and a width, both positive, not {size.tolist()}")
    if 0 in images.shape[1:3]:
        raise ValueError(f"images of the shape {list(images.shape)} have nothing to resize")
    if attrs["align_corners"] and attrs["half_pixel_centers"]:
        raise ValueError("half_pixel_centers and align_corners cannot both be true")
    height, width = size.tolist()
    return height, width


def _scale(attrs: Attributes, extent: int, outputs: int) -> Any:
    """How many pixels of the input an output pixel is from the next, as a float32."""
    if attrs["align_corners"] and outputs > 1:
        return _F(extent - 1) / _F(outputs - 1)
    return _F(extent) / _F(outputs)


def _sources(attrs: Attributes, extent: int, outputs: int) -> Array:
    """Where each output pixel lies along an axis of the input, in pixels; computed in float32 as TensorFlow does."""
    at, scale = np.arange(outputs, dtype=_F), _scale(attrs, extent, outputs)
    return np.asarray((at + _F(0.5)) * scale - _F(0.5) if attrs["half_pixel_centers"] else at * scale)


def _linear(attrs: Attributes, extent: int, outputs: int) -> tuple[Array, Array, Array]:
    """The pixels before and after each output along an axis, and how far it is from the first."""
    source = _sources(attrs, extent, outputs)
    floor = np.floor(source)
    lower = np.clip(floor, 0, extent - 1).astype(np.int64)
    upper = np.clip(np.ceil(source), 0, extent - 1).astype(np.int64)
    return lower, upper, source - floor


@kernel("ResizeBilinear")
def _resize_bilinear(attrs: Attributes, images: Array, size: Array) -> Array:
    height, width = _sizes(attrs, images, size)
    top, bottom, down = _linear(attrs, images.shape[1], height)
    left, right, across = _linear(attrs, images.shape[2], width)
    images = images.astype(_F)
    down, across = down[:, None, None], across[:, None]

    def row(at: Array) -> Array:
        rows = images[:, at]
        return np.asarray(rows[:, :, left] + (rows[:, :, right] - rows[:, :, left]) * across)

    upper = row(top)
    return np.asarray(upper + (row(bottom) - upper) * down)


@kernel("ResizeNearestNeighbor")
def _resize_nearest_neighbor(attrs: Attributes, images: Array, size: Array) -> Array:
    def nearest(extent: int, outputs: int) -> Array:
        at, scale = np.arange(outputs, dtype=_F), _scale(attrs, extent, outputs)
        source = (at + _F(0.5)) * scale if attrs["half_pixel_centers"] else at * scale
        # Halves are rounded up.
        source = np.floor(source + _F(0.5)) if attrs["align_corners"] else np.floor(source)
        return np.asarray(np.minimum(source.astype(np.int64), extent - 1))

    height, width = _sizes(attrs, images, size)
    return images[:, nearest(images.shape[1], height)][:, :, nearest(images.shape[2], width)]


@functools.cache
def _cubic_table(a: float) -> tuple[Array, Array]:
    """The weight of a pixel by its distance in parts of `_TABLE`: up to 1, and from 1 to 2."""
    x = np.arange(_TABLE + 1) / _TABLE
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    x = x + 1
    return near.astype(_F), (((a * x - 5 * a) * x + 8 * a) * x - 4 * a).astype(_F)


def _cubic(attrs: Attributes, extent: int, outputs: int) -> tuple[Array, Array]:
    """The four pixels around each output along an axis, and their weights: both [outputs, 4]."""
    keys = attrs["half_pixel_centers"]
    source = _sources(attrs, extent, outputs)
    floor = np.floor(source)
    offset = np.rint((source - floor) * _F(_TABLE)).astype(np.int64)
    near, far = _cubic_table(-0.5 if keys else -0.75)
    weights = np.stack([far[offset], near[offset], near[_TABLE - offset], far[_TABLE - offset]], -1)
    wanted = floor.astype(np.int64)[:, None] + np.arange(-1, 3)
    taken = np.clip(wanted, 0, extent - 1)
    if keys:  # what is beyond the edge counts for nothing; otherwise the edge stands for it
        weights = np.where(taken == wanted, weights, _F(0))
        weights = weights / weights.sum(-1, keepdims=True)
    return taken, weights


@kernel("ResizeBicubic")
def _resize_bicubic(attrs: Attributes, images: Array, size: Array) -> Array:
    height, width = _sizes(attrs, images, size)
    rows, down = _cubic(attrs, images.shape[1], height)
    columns, across = _cubic(attrs, images.shape[2], width)
    images = images.astype(_F)
    tall = sum((images[:, rows[:, n]] * down[:, n, None, None] for n in range(4)), _F(0))
    return np.asarray(sum((tall[:, :, columns[:, n]] * across[:, n, None] for n in range(4)), _F(0)))


@kernel("CropAndResize")
def _crop_and_resize(attrs: Attributes, image: Array, boxes: Array, box_ind: Array, crop_size: Array) -> Array:
    check_rank("image", image, 4)
    method = attrs["method"]
    if method not in (b"bilinear", b"nearest"):
        raise ValueError(f"method {method!r} is none of bilinear and nearest")
    if boxes.ndim != 2 or boxes.shape[1] != 4 or box_ind.shape != boxes.shape[:1]:
        raise ValueError(
            f"boxes must be rows of four numbers and box_ind one number a row, not of the shapes {list(boxes.shape)} "
            f"and {list(box_ind.shape)}"
        )
    if ((box_ind < 0) | (box_ind >= image.shape[0])).any():
        raise ValueError(f"box_ind names images that are not in the batch of {image.shape[0]}")
    if crop_size.shape != (2,) or (crop_size < 1).any():
        raise ValueError(f"crop_size must be a height and a width, both positive, not {crop_size.tolist()}")
    height, width = crop_size.tolist()
    out = np.full((len(boxes), height, width, image.shape[-1]), attrs["extrapolation_value"], _F)
    for crop, (y1, x1, y2, x2), number in zip(out, boxes.astype(_F), box_ind, strict=True):
        y, x = _within(y1, y2, image.shape[1], height), _within(x1, x2, image.shape[2], width)
        rows = np.flatnonzero((y >= 0) & (y <= image.shape[1] - 1))
        columns = np.flatnonzero((x >= 0) & (x <= image.shape[2] - 1))
        sampled = _sample(image[number], y[rows], x[columns], nearest=method == b"nearest")
        crop[np.ix_(rows, columns)] = sampled
    return out


def _within(first: np.float32, last: np.float32, extent: int, outputs: int) -> Array:
    """Where the pixels of a crop lie along an axis; a box goes from the middle of a pixel to that of another."""
    end = _F(extent - 1)
    if outputs == 1:
        return np.asarray([_F(0.5) * (first + last) * end])
    return np.asarray(first * end + np.arange(outputs, dtype=_F) * ((last - first) * end / _F(outputs - 1)))


def _sample(image: Array, y: Array, x: Array, *, nearest: bool) -> Array:
    if nearest:
        rows, columns = np.floor(y + _F(0.5)).astype(np.int64), np.floor(x + _F(0.5)).astype(np.int64)
        return image[np.ix_(rows, columns)].astype(_F)
    top, left = np.floor(y), np.floor(x)
    across, down = (x - left)[:, None], (y - top)[:, None, None]
    start, stop = left.astype(np.int64), np.ceil(x).astype(np.int64)

    def row(at: Array) -> Array:
        pixels = image[at.astype(np.int64)].astype(_F)
        return np.asarray(pixels[:, start] + (pixels[:, stop] - pixels[:, start]) * across)

    upper = row(top)
    return np.asarray(upper + (row(np.ceil(y)) - upper) * down)


@kernel("ExtractImagePatches")
def _extract_image_patches(attrs: Attributes, images: Array) -> Array:
    check_rank("images", images, 4)
    sizes, strides, rates = (spatial(name, attrs[name], b"NHWC") for name in ("ksizes", "strides", "rates"))
    return patches(images, slide(images.shape[1:-1], sizes, strides, rates, attrs))
