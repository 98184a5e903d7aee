"""Arrays of tensors that loops write to and read from, an element at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ckptstore.format.dtypes import DType
from ckptstore.graph.attributes import Shape
from ckptstore.graph.kernels.registry import Array, Attributes
from ckptstore.graph.kernels.state import State, stateful


class TensorArray:
    """What the handle of a TensorArray stands for; it lives as long as a run.

    Args:
        attrs: The attributes of the node that makes it.
        size: How many elements it has at first.
    """

    def __init__(self, attrs: Attributes, size: int) -> None:
        self.dtype: DType = attrs["dtype"]
        self._shape: Shape = attrs.get("element_shape")
        self._grows = attrs.get("dynamic_size", False)
        self._forgets = attrs.get("clear_after_read", True)
        self._items: list[Array | None] = [None] * size
        self._gone: set[int] = set()

    def __len__(self) -> int:
        return len(self._items)

    def write(self, index: int, value: Array) -> None:
        """Puts in an element.

        Raises:
            ValueError: It is there already, does not fit, or its number is out of range.
        """
        if value.dtype != self.dtype.numpy:
            raise ValueError(f"the elements are {self.dtype}, not {value.dtype}")
        if self._grows and index >= len(self._items):
            self._items += [None] * (index + 1 - len(self._items))
        self._check(index)
        if self._items[index] is not None or index in self._gone:
            raise ValueError(f"the element {index} was written before")
        self._items[index] = value

    def read(self, index: int) -> Array:
        """An element; of those that were not written, zeros, if their shape is known.

        Raises:
            ValueError: It was never written, or read before, or its number is out of range.
        """
        self._check(index)
        if index in self._gone:
            raise ValueError(f"the element {index} was read before, and is kept only with clear_after_read=False")
        value = self._items[index]
        if value is None:
            value = self._zeros(index)
        if self._forgets:
            self._gone.add(index)
            self._items[index] = None
        return value

    def empty(self) -> Array:
        """A stack of no elements."""
        return np.zeros((0, *(n or 0 for n in self._shape or ())), self.dtype.as_numpy_dtype)

    def _check(self, index: int) -> None:
        if not 0 <= index < len(self._items):
            raise ValueError(f"the element {index} is not among {len(self._items)}")

    def _zeros(self, index: int) -> Array:
        shape = self._shape
        if shape is None or None in shape:
            shapes = {item.shape for item in self._items if item is not None}
            if len(shapes) != 1:
                raise ValueError(f"the element {index} was not written")
            (shape,) = shapes
        return np.zeros([n or 0 for n in shape], self.dtype.as_numpy_dtype)


_FLOW = np.zeros((), np.float32)


@stateful("TensorArrayV3")
def _make(state: State, node: str, attrs: Attributes, size: Array) -> Sequence[Any]:
    del state, node
    return [TensorArray(attrs, int(size)), _FLOW]


@stateful("TensorArrayWriteV3")
def _write(
    state: State, node: str, attrs: Attributes, array: TensorArray, index: Array, value: Array, flow: Array
) -> Array:
    del state, node, attrs
    array.write(int(index), value)
    return flow


@stateful("TensorArrayReadV3")
def _read(state: State, node: str, attrs: Attributes, array: TensorArray, index: Array, flow: Array) -> Array:
    del state, node, attrs, flow
    return array.read(int(index))


@stateful("TensorArraySizeV3")
def _size(state: State, node: str, attrs: Attributes, array: TensorArray, flow: Array) -> Array:
    del state, node, attrs, flow
    return np.asarray(len(array), np.int32)


@stateful("TensorArrayGatherV3")
def _gather(state: State, node: str, attrs: Attributes, array: TensorArray, indices: Array, flow: Array) -> Array:
    del state, node, attrs, flow
    return np.stack([array.read(i) for i in indices.tolist()]) if indices.size else array.empty()


@stateful("TensorArrayScatterV3")
def _scatter(
    state: State, node: str, attrs: Attributes, array: TensorArray, indices: Array, value: Array, flow: Array
) -> Array:
    del state, node, attrs
    for index, row in zip(indices.tolist(), range(len(value)), strict=True):
        array.write(index, value[row, ...])
    return flow


@stateful("TensorArrayConcatV3")
def _concat(state: State, node: str, attrs: Attributes, array: TensorArray, flow: Array) -> Sequence[Array]:
    del state, node, attrs, flow
    items = [array.read(i) for i in range(len(array))]
    value = np.concatenate(items) if items else array.empty()
    return [value, np.asarray([len(item) for item in items], np.int64)]


@stateful("TensorArraySplitV3")
def _split(
    state: State, node: str, attrs: Attributes, array: TensorArray, value: Array, lengths: Array, flow: Array
) -> Array:
    del state, node, attrs
    if int(lengths.sum()) != len(value):
        raise ValueError(f"parts of {lengths.tolist()} do not make up {len(value)} rows")
    for index, part in enumerate(np.split(value, np.cumsum(lengths)[:-1]) if lengths.size else []):
        array.write(index, part)
    return flow


@stateful("TensorArrayCloseV3")
def _close(state: State, node: str, attrs: Attributes, array: TensorArray) -> list[Array]:
    del state, node, attrs, array
    return []
