"""Rows taken from tensors and put into tensors by their numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ckptstore.graph.kernels.reduction import axes_of
from ckptstore.graph.kernels.registry import Array, Attributes, kernel
from ckptstore.graph.kernels.shape import sizes_of


def check_indices(indices: Array, size: int) -> None:
    """Makes sure that all are in an axis.

    Raises:
        ValueError: One is not.
    """
    outside = (indices < 0) | (indices >= size)
    if outside.any():
        at = tuple(int(i) for i in np.argwhere(outside)[0])
        raise ValueError(f"indices{list(at)} = {indices[at]} is not in [0, {size})")


def gather(params: Array, indices: Array, axis: int = 0, batch_dims: int = 0) -> Array:
    """The slices of `params` along an axis that `indices` numbers, for each entry of the leading dimensions."""
    batch_dims = batch_dims + indices.ndim if batch_dims < 0 else batch_dims
    if params.shape[:batch_dims] != indices.shape[:batch_dims] or batch_dims > axis:
        raise ValueError(f"the first {batch_dims} dimensions must be the same, and before the axis {axis}")
    check_indices(indices, params.shape[axis])
    if not batch_dims:
        return np.take(params, indices, axis)
    batch = params.shape[:batch_dims]
    count = int(np.prod(batch, dtype=np.int64))
    rows = params.reshape(count, *params.shape[batch_dims:])
    chosen = indices.reshape(count, *indices.shape[batch_dims:])
    tail = params.shape[batch_dims:axis] + indices.shape[batch_dims:] + params.shape[axis + 1 :]
    out = np.empty((count, *tail), params.dtype)
    for i in range(count):
        out[i] = np.take(rows[i], chosen[i], axis - batch_dims)
    return np.asarray(out.reshape(batch + tail))


def gather_nd(params: Array, indices: Array) -> Array:
    """The elements, or slices, of `params` at the places that the rows of `indices` name."""
    depth = indices.shape[-1]
    if depth > params.ndim:
        raise ValueError(f"places of {depth} numbers are not in a tensor of {params.ndim} dimensions")
    for i in range(depth):
        check_indices(indices[..., i], params.shape[i])
    if not depth:
        return np.broadcast_to(params, indices.shape[:-1] + params.shape)
    return np.asarray(params[tuple(np.moveaxis(indices, -1, 0))])


@kernel("Gather")
def _gather(attrs: Attributes, params: Array, indices: Array) -> Array:
    del attrs
    return gather(params, indices)


@kernel("GatherV2")
def _gather_v2(attrs: Attributes, params: Array, indices: Array, axis: Array) -> Array:
    return gather(params, indices, axes_of(axis, params.ndim)[0], attrs.get("batch_dims", 0))


@kernel("GatherNd")
def _gather_nd(attrs: Attributes, params: Array, indices: Array) -> Array:
    del attrs
    return gather_nd(params, indices)


def _place(indices: Array, shape: tuple[int, ...]) -> tuple[Array, ...]:
    for i in range(indices.shape[-1]):
        check_indices(indices[..., i], shape[i])
    return tuple(np.moveaxis(indices, -1, 0))


@kernel("ScatterNd")
def _scatter_nd(attrs: Attributes, indices: Array, updates: Array, shape: Array) -> Array:
    del attrs
    out = np.zeros(sizes_of(shape), updates.dtype)
    np.add.at(out, _place(indices, out.shape), updates)
    return out


@kernel("TensorScatterUpdate")
def _tensor_scatter_update(attrs: Attributes, x: Array, indices: Array, updates: Array) -> Array:
    del attrs
    out = x.copy()
    out[_place(indices, x.shape)] = updates
    return np.asarray(out)


@kernel("TensorScatterAdd")
def _tensor_scatter_add(attrs: Attributes, x: Array, indices: Array, updates: Array) -> Array:
    del attrs
    out = x.copy()
    np.add.at(out, _place(indices, x.shape), updates)
    return np.asarray(out)


@kernel("TensorScatterSub")
def _tensor_scatter_sub(attrs: Attributes, x: Array, indices: Array, updates: Array) -> Array:
    del attrs
    out = x.copy()
    np.subtract.at(out, _place(indices, x.shape), updates)
    return np.asarray(out)


@kernel("DynamicPartition")
def _dynamic_partition(attrs: Attributes, x: Array, partitions: Array) -> Sequence[Array]:
    if x.shape[: partitions.ndim] != partitions.shape:
        raise ValueError("the partitions must be of the first dimensions of the data")
    check_indices(partitions, attrs["num_partitions"])
    return [x[partitions == i] for i in range(attrs["num_partitions"])]


@kernel("DynamicStitch")
def _dynamic_stitch(attrs: Attributes, *inputs: Array) -> Array:
    """The last one counts where several name a row."""
    count = attrs["N"] if "N" in attrs else len(inputs) // 2
    indices, data = inputs[:count], inputs[count:]
    rows = max((int(i.max()) + 1 for i in indices if i.size), default=0)
    out = np.zeros((rows, *data[0].shape[indices[0].ndim :]), data[0].dtype)
    for index, values in zip(indices, data, strict=True):
        out[index.reshape(-1)] = values.reshape(-1, *out.shape[1:])
    return out
