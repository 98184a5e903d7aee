"""Python's operators on tensors and variables, recorded as TensorFlow names them: `a + b` is the node "add"."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ckptstore.format.dtypes import DType
    from ckptstore.graph.graph import Graph
    from ckptstore.graph.tensor import Tensor


class Operators:
    """What tensors and variables have in common: they can be calculated with."""

    __slots__ = ()
    # numpy is to leave `array + tensor` to the tensor
    __array_ufunc__ = None

    @property
    @abstractmethod
    def graph(self) -> Graph:
        """The graph it is part of."""

    @property
    @abstractmethod
    def dtype(self) -> DType:
        """Its element type."""

    @abstractmethod
    def value(self) -> Tensor:
        """The tensor to calculate with."""

    def _binary(self, op: str, name: str, other: Any) -> Tensor:
        x = self.value()
        with self.graph.name_scope(name) as scope:
            y = self.graph.as_tensor(other, "y", x.dtype)
            return self.graph.create_op(op, [x, y], name=scope).outputs[0]

    def _reflected(self, op: str, name: str, other: Any) -> Tensor:
        y = self.value()
        with self.graph.name_scope(name) as scope:
            x = self.graph.as_tensor(other, "x", y.dtype)
            return self.graph.create_op(op, [x, y], name=scope).outputs[0]

    def _unary(self, op: str) -> Tensor:
        return self.graph.create_op(op, [self.value()]).outputs[0]

    def _floating(self) -> Tensor:
        """For a true division: integers become floats, small ones single and others double."""
        x = self.value()
        name = x.dtype.name
        if not name.lstrip("u").startswith("int"):
            return x
        wanted = "float32" if name in ("int8", "uint8", "int16", "uint16") else "float64"
        return self.graph.cast(x, wanted)

    @property
    def _adding(self) -> str:
        return "Add" if self.dtype.name == "string" else "AddV2"

    def __add__(self, other: Any) -> Tensor:
        return self._binary(self._adding, "add", other)

    def __radd__(self, other: Any) -> Tensor:
        return self._reflected(self._adding, "add", other)

    def __sub__(self, other: Any) -> Tensor:
        return self._binary("Sub", "sub", other)

    def __rsub__(self, other: Any) -> Tensor:
        return self._reflected("Sub", "sub", other)

    def __mul__(self, other: Any) -> Tensor:
        return self._binary("Mul", "mul", other)

    def __rmul__(self, other: Any) -> Tensor:
        return self._reflected("Mul", "mul", other)

    def __truediv__(self, other: Any) -> Tensor:
        x = self.value()
        with self.graph.name_scope("truediv") as scope:
            y = self.graph.as_tensor(other, "y", x.dtype)
            return self.graph.create_op("RealDiv", [x._floating(), y._floating()], name=scope).outputs[0]

    def __rtruediv__(self, other: Any) -> Tensor:
        y = self.value()
        with self.graph.name_scope("truediv") as scope:
            x = self.graph.as_tensor(other, "x", y.dtype)
            return self.graph.create_op("RealDiv", [x._floating(), y._floating()], name=scope).outputs[0]

    def __floordiv__(self, other: Any) -> Tensor:
        return self._binary("FloorDiv", "floordiv", other)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return self._reflected("FloorDiv", "floordiv", other)

    def __mod__(self, other: Any) -> Tensor:
        return self._binary("FloorMod", "mod", other)

    def __rmod__(self, other: Any) -> Tensor:
        return self._reflected("FloorMod", "mod", other)

    def __pow__(self, other: Any) -> Tensor:
        return self._binary("Pow", "pow", other)

    def __rpow__(self, other: Any) -> Tensor:
        return self._reflected("Pow", "pow", other)

    def __matmul__(self, other: Any) -> Tensor:
        x = self.value()
        with self.graph.name_scope("matmul") as scope:
            return self.graph.matmul(x, self.graph.as_tensor(other, "b", x.dtype), name=scope)

    def __rmatmul__(self, other: Any) -> Tensor:
        y = self.value()
        with self.graph.name_scope("matmul") as scope:
            return self.graph.matmul(self.graph.as_tensor(other, "x", y.dtype), y, name=scope)

    def __lt__(self, other: Any) -> Tensor:
        return self.graph.create_op("Less", [self.value(), other]).outputs[0]

    def __le__(self, other: Any) -> Tensor:
        return self.graph.create_op("LessEqual", [self.value(), other]).outputs[0]

    def __gt__(self, other: Any) -> Tensor:
        return self.graph.create_op("Greater", [self.value(), other]).outputs[0]

    def __ge__(self, other: Any) -> Tensor:
        return self.graph.create_op("GreaterEqual", [self.value(), other]).outputs[0]

    def __and__(self, other: Any) -> Tensor:
        return self._binary("LogicalAnd", "and", other)

    def __or__(self, other: Any) -> Tensor:
        return self._binary("LogicalOr", "or", other)

    def __invert__(self) -> Tensor:
        return self._unary("LogicalNot")

    def __neg__(self) -> Tensor:
        return self._unary("Neg")

    def __abs__(self) -> Tensor:
        return self._unary("Abs")

    def __bool__(self) -> bool:
        raise TypeError("A tensor of a graph has no value before the graph runs; use graph.run(tensor).")

    def __getitem__(self, index: Any) -> Tensor:
        x = self.value()
        begin, end, strides = [], [], []
        masks = {"begin_mask": 0, "end_mask": 0, "ellipsis_mask": 0, "new_axis_mask": 0, "shrink_axis_mask": 0}
        for position, item in enumerate(index if isinstance(index, tuple) else (index,)):
            bit = 1 << position
            start, stop, step = 0, 0, 1
            if item is Ellipsis:
                masks["ellipsis_mask"] |= bit
            elif item is None:
                masks["new_axis_mask"] |= bit
            elif isinstance(item, slice):
                start, stop, step = item.start or 0, item.stop or 0, 1 if item.step is None else item.step
                masks["begin_mask"] |= bit if item.start is None else 0
                masks["end_mask"] |= bit if item.stop is None else 0
            else:
                start, stop = item, item + 1
                masks["shrink_axis_mask"] |= bit
            begin.append(start)
            end.append(stop)
            strides.append(step)
        with self.graph.name_scope("strided_slice") as scope:
            stacks = [
                self.graph.as_tensor(np.asarray(part, np.int32), name)
                for part, name in ((begin, "stack"), (end, "stack_1"), (strides, "stack_2"))
            ]
            return self.graph.create_op("StridedSlice", [x, *stacks], masks, name=scope).outputs[0]

    def __iter__(self) -> Any:
        raise TypeError("A tensor of a graph cannot be iterated over; its values are there when the graph runs.")
