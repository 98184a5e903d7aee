"""Lists of tensors, which the loops of TensorFlow 2 hand from one round to the next. They are values: none changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ckptstore.format.dtypes import DType
from ckptstore.graph.kernels.registry import Array, Attributes, kernel


@dataclass(frozen=True)
class TensorList:
    """A list.

    Attributes:
        dtype: The type of its elements.
        shape: Their shape as far as it is known: -1 for an extent, None for all, that is not.
        items: The elements; None where there is none yet.
    """

    dtype: DType
    shape: tuple[int, ...] | None
    items: tuple[Array | None, ...]

    def item(self, index: int, shape: Array) -> Array:
        """An element; one that is not there is zeros.

        Raises:
            ValueError: Its number is out of range, or its shape is not known.
        """
        if not 0 <= index < len(self.items):
            raise ValueError(f"the element {index} is not among {len(self.items)}")
        value = self.items[index]
        return np.zeros(self.full_shape(shape), self.dtype.as_numpy_dtype) if value is None else value

    def full_shape(self, shape: Array) -> tuple[int, ...]:
        """The shape of elements that are not there, from what is said of it and what others have.

        Raises:
            ValueError: It cannot be told.
        """
        candidates = [_shape(shape), self.shape, *(item.shape for item in self.items if item is not None)]
        for candidate in candidates:
            if candidate is not None and -1 not in candidate:
                return tuple(candidate)
        raise ValueError("the shape of an element that was never set is not known")

    def with_item(self, index: int, value: Array) -> TensorList:
        """The list with another element.

        Raises:
            ValueError: Its number is out of range, or it is of another type.
        """
        if not 0 <= index < len(self.items):
            raise ValueError(f"the element {index} is not among {len(self.items)}")
        if value.dtype != self.dtype.numpy:
            raise ValueError(f"the elements are {self.dtype}, not {value.dtype}")
        return replace(self, items=(*self.items[:index], value, *self.items[index + 1 :]))


def _shape(shape: Array) -> tuple[int, ...] | None:
    """A scalar, -1, stands for no known rank."""
    return tuple(int(n) for n in shape) if shape.ndim else None


@kernel("TensorListReserve")
def _reserve(attrs: Attributes, element_shape: Array, count: Array) -> Any:
    return TensorList(attrs["element_dtype"], _shape(element_shape), (None,) * int(count))


@kernel("EmptyTensorList")
def _empty(attrs: Attributes, element_shape: Array, most: Array) -> Any:
    del most
    return TensorList(attrs["element_dtype"], _shape(element_shape), ())


@kernel("TensorListFromTensor")
def _from_tensor(attrs: Attributes, value: Array, element_shape: Array) -> Any:
    return TensorList(attrs["element_dtype"], _shape(element_shape), tuple(value[i, ...] for i in range(len(value))))


@kernel("TensorListSetItem")
def _set_item(attrs: Attributes, tensors: TensorList, index: Array, value: Array) -> Any:
    if attrs.get("resize_if_index_out_of_bounds") and index >= len(tensors.items):
        tensors = _resized(tensors, int(index) + 1)
    return tensors.with_item(int(index), value)


@kernel("TensorListGetItem")
def _get_item(attrs: Attributes, tensors: TensorList, index: Array, element_shape: Array) -> Array:
    del attrs
    return tensors.item(int(index), element_shape)


@kernel("TensorListLength")
def _length(attrs: Attributes, tensors: TensorList) -> Array:
    del attrs
    return np.asarray(len(tensors.items), np.int32)


@kernel("TensorListElementShape")
def _element_shape(attrs: Attributes, tensors: TensorList) -> Array:
    return np.asarray(-1 if tensors.shape is None else tensors.shape, attrs["shape_type"].numpy)


@kernel("TensorListStack")
def _stack(attrs: Attributes, tensors: TensorList, element_shape: Array) -> Array:
    expected = attrs.get("num_elements", -1)
    if expected not in (-1, len(tensors.items)):
        raise ValueError(f"the list has {len(tensors.items)} elements instead of {expected}")
    return _stacked(tensors, range(len(tensors.items)), element_shape)


@kernel("TensorListGather")
def _gather(attrs: Attributes, tensors: TensorList, indices: Array, element_shape: Array) -> Array:
    del attrs
    return _stacked(tensors, indices.tolist(), element_shape)


def _stacked(tensors: TensorList, indices: Sequence[int], element_shape: Array) -> Array:
    if not len(indices):
        return np.zeros((0, *tensors.full_shape(element_shape)), tensors.dtype.as_numpy_dtype)
    return np.stack([tensors.item(i, element_shape) for i in indices])


@kernel("TensorListConcatV2")
def _concat(attrs: Attributes, tensors: TensorList, element_shape: Array, leading_dims: Array) -> Sequence[Array]:
    del attrs, leading_dims
    items = [tensors.item(i, element_shape) for i in range(len(tensors.items))]
    if not items:
        return [np.zeros((0, *tensors.full_shape(element_shape)[1:]), tensors.dtype.numpy), np.zeros(0, np.int64)]
    return [np.concatenate(items), np.asarray([len(item) for item in items], np.int64)]


@kernel("TensorListPushBack")
def _push_back(attrs: Attributes, tensors: TensorList, value: Array) -> Any:
    del attrs
    return replace(tensors, items=(*tensors.items, value))


@kernel("TensorListPopBack")
def _pop_back(attrs: Attributes, tensors: TensorList, element_shape: Array) -> Sequence[Any]:
    del attrs
    if not tensors.items:
        raise ValueError("the list is empty")
    last = tensors.item(len(tensors.items) - 1, element_shape)
    return [replace(tensors, items=tensors.items[:-1]), last]


@kernel("TensorListResize")
def _resize(attrs: Attributes, tensors: TensorList, size: Array) -> Any:
    del attrs
    return _resized(tensors, int(size))


def _resized(tensors: TensorList, size: int) -> TensorList:
    return replace(tensors, items=(tensors.items + (None,) * size)[:size])
