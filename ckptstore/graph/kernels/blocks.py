"""Blocks of images moved into their channels or into the batch, and back."""

from __future__ import annotations

import math

import numpy as np

from ckptstore.graph.kernels.registry import Array, Attributes, kernel
from ckptstore.graph.kernels.windows import channels_back, channels_last, check_rank


def _block_size(attrs: Attributes) -> int:
    size: int = attrs["block_size"]
    if size < 2:
        raise ValueError(f"block_size must be 2 or more, not {size}")
    return size


@kernel("SpaceToDepth")
def _space_to_depth(attrs: Attributes, x: Array) -> Array:
    check_rank("input", x, 4)
    size = _block_size(attrs)
    x = channels_last(x, attrs["data_format"])
    batch, height, width, channels = x.shape
    if height % size or width % size:
        raise ValueError(f"{height} by {width} does not divide into blocks of {size}")
    blocks = x.reshape(batch, height // size, size, width // size, size, channels).transpose(0, 1, 3, 2, 4, 5)
    return channels_back(
        blocks.reshape(batch, height // size, width // size, size * size * channels), attrs["data_format"]
    )


@kernel("DepthToSpace")
def _depth_to_space(attrs: Attributes, x: Array) -> Array:
    check_rank("input", x, 4)
    size = _block_size(attrs)
    x = channels_last(x, attrs["data_format"])
    batch, height, width, channels = x.shape
    depth, rest = divmod(channels, size * size)
    if rest:
        raise ValueError(f"{channels} channels do not divide into blocks of {size} by {size}")
    blocks = x.reshape(batch, height, width, size, size, depth).transpose(0, 1, 3, 2, 4, 5)
    return channels_back(blocks.reshape(batch, height * size, width * size, depth), attrs["data_format"])


def _check_blocks(x: Array, block_shape: Array, margins: Array) -> tuple[list[int], list[list[int]]]:
    blocks, pairs = block_shape.tolist(), margins.tolist()
    if block_shape.ndim != 1 or margins.shape != (len(blocks), 2):
        raise ValueError(
            f"block_shape must be a vector and paddings or crops a pair for each of its numbers, not of the shapes "
            f"{list(block_shape.shape)} and {list(margins.shape)}"
        )
    if x.ndim < 1 + len(blocks):
        raise ValueError(f"input of the shape {list(x.shape)} has no {len(blocks)} dimensions after the batch")
    if min(blocks, default=1) < 1 or (margins < 0).any():
        raise ValueError(f"block_shape {blocks} must be positive, and paddings or crops {pairs} not negative")
    return blocks, pairs


def _blocks_to_batch(x: Array, block_shape: Array, paddings: Array) -> Array:
    blocks, pairs = _check_blocks(x, block_shape, paddings)
    count = len(blocks)
    rest = x.shape[1 + count :]
    x = np.pad(x, [(0, 0), *map(tuple, pairs), *[(0, 0)] * len(rest)])
    shape = [x.shape[0]]
    for extent, block in zip(x.shape[1:], blocks, strict=False):
        if extent % block:
            raise ValueError(f"{extent} with its padding does not divide into blocks of {block}")
        shape += [extent // block, block]
    inner, outer = range(2, 2 * count + 1, 2), range(1, 2 * count, 2)
    tail = range(2 * count + 1, 2 * count + 1 + len(rest))
    moved: Array = x.reshape(*shape, *rest).transpose(*inner, 0, *outer, *tail)
    return np.asarray(moved.reshape(x.shape[0] * math.prod(blocks), *shape[1::2], *rest))


def _blocks_to_space(x: Array, block_shape: Array, crops: Array) -> Array:
    blocks, pairs = _check_blocks(x, block_shape, crops)
    count = len(blocks)
    batch, odd = divmod(x.shape[0], math.prod(blocks))
    if odd:
        raise ValueError(f"a batch of {x.shape[0]} does not divide into blocks of {blocks}")
    space, rest = x.shape[1 : 1 + count], x.shape[1 + count :]
    order = [count]
    for axis in range(count):
        order += [count + 1 + axis, axis]
    tail = range(2 * count + 1, 2 * count + 1 + len(rest))
    whole = [extent * block for extent, block in zip(space, blocks, strict=True)]
    out: Array = x.reshape(*blocks, batch, *space, *rest).transpose(*order, *tail).reshape(batch, *whole, *rest)
    if any(extent < before + after for extent, (before, after) in zip(whole, pairs, strict=True)):
        raise ValueError(f"crops {pairs} are more than there is: {whole}")
    kept = (slice(before, extent - after) for extent, (before, after) in zip(whole, pairs, strict=True))
    index = (slice(None), *kept)
    return out[index]


@kernel("SpaceToBatchND")
def _space_to_batch_nd(attrs: Attributes, x: Array, block_shape: Array, paddings: Array) -> Array:
    del attrs
    return _blocks_to_batch(x, block_shape, paddings)


@kernel("SpaceToBatch")
def _space_to_batch(attrs: Attributes, x: Array, paddings: Array) -> Array:
    check_rank("input", x, 4)
    return _blocks_to_batch(x, np.full(2, _block_size(attrs)), paddings)


@kernel("BatchToSpaceND")
def _batch_to_space_nd(attrs: Attributes, x: Array, block_shape: Array, crops: Array) -> Array:
    del attrs
    return _blocks_to_space(x, block_shape, crops)


@kernel("BatchToSpace")
def _batch_to_space(attrs: Attributes, x: Array, crops: Array) -> Array:
    check_rank("input", x, 4)
    return _blocks_to_space(x, np.full(2, _block_size(attrs)), crops)
