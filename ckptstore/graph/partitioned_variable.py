"""Variables that are kept in parts."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from ckptstore.errors import IncompatibleTensorError, InvalidArgumentError
from ckptstore.format.dtypes import DType, as_dtype
from ckptstore.graph.graph import get_default_graph
from ckptstore.graph.slice_info import SaveSliceInfo
from ckptstore.graph.tensors import to_array
from ckptstore.graph.variable import Variable


class PartitionedVariable(Sequence[Variable]):
    """A variable that is kept in parts, which are variables "name/part_0" and so on.

    Args:
        name: The name of the whole.
        parts: The parts, in order; their `save_slice_info` says where each belongs.
    """

    def __init__(self, name: str, parts: Sequence[Variable]) -> None:
        self.name = name
        self._parts = list(parts)

    @classmethod
    def split(
        cls,
        value: Any,
        parts: int,
        axis: int = 0,
        *,
        name: str,
        devices: Sequence[str | None] | None = None,
        **options: Any,
    ) -> PartitionedVariable:
        """Cuts a value as tf.compat.v1.fixed_size_partitioner does: the first parts get one more where it does not
        come out even, and no part is empty.

        Args:
            value: The initial value of the whole.
            parts: How many.
            axis: The dimension that is cut.
            name: The name of the whole.
            devices: Where each part is placed.
            **options: For each `Variable`: trainable, dtype, collections, use_resource, graph.

        Raises:
            IncompatibleTensorError: It has no such dimension.
        """
        dtype = options.get("dtype")
        whole = to_array(value, None if dtype is None else as_dtype(dtype))
        if isinstance(axis, bool) or not -whole.ndim <= axis < whole.ndim:
            raise IncompatibleTensorError(f"{list(whole.shape)} has no dimension {axis} to be cut along.", name=name)
        axis %= whole.ndim
        graph = options.get("graph") or get_default_graph()
        pieces = np.array_split(whole, max(1, min(parts, whole.shape[axis])), axis)
        made, start = [], 0
        for number, piece in enumerate(pieces):
            offset = tuple(start if d == axis else 0 for d in range(whole.ndim))
            start += piece.shape[axis]
            info = SaveSliceInfo(name, whole.shape, offset, piece.shape)
            with graph.device(devices[number] if devices else ""):
                part = f"{name}/part_{number}"
                made.append(Variable(functools.partial(np.asarray, piece), name=part, save_slice_info=info, **options))
        return cls(name, made)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the whole."""
        info = self._parts[0].save_slice_info
        if info is None:
            raise InvalidArgumentError(f"The parts of {self.name!r} do not say where they belong.", name=self.name)
        return info.full_shape

    @property
    def dtype(self) -> DType:
        """Its element type."""
        return self._parts[0].dtype

    def numpy(self) -> np.ndarray[Any, Any]:
        """The value of the whole."""
        out = np.empty(self.shape, self.dtype.as_numpy_dtype)
        for part in self._parts:
            if part.save_slice_info is not None:
                box = part.save_slice_info.slice.box(self.shape)
                out[tuple(slice(a, b) for a, b in box)] = part.numpy()
        return out

    def assign(self, value: Any) -> PartitionedVariable:
        """Gives each part its share of a value."""
        array = np.asarray(value)
        if array.shape != self.shape:
            raise IncompatibleTensorError(
                f"{self.name!r} has the shape {list(self.shape)}, not {list(array.shape)}.", name=self.name
            )
        for part in self._parts:
            if part.save_slice_info is not None:
                box = part.save_slice_info.slice.box(self.shape)
                part.assign(array[tuple(slice(a, b) for a, b in box)])
        return self

    def __getitem__(self, index: Any) -> Any:
        return self._parts[index]

    def __len__(self) -> int:
        return len(self._parts)

    def __repr__(self) -> str:
        return f"<PartitionedVariable {self.name!r} shape={list(self.shape)} parts={len(self)}>"
