"""Operations and tensors of a graph that is being built."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ckptstore.errors import IncompatibleTensorError, InvalidArgumentError
from ckptstore.format.dtypes import DType
from ckptstore.graph.attributes import Shape, decode_attribute
from ckptstore.graph.operators import Operators

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ckptstore._proto.node_def_pb2 import NodeDef
    from ckptstore.graph.graph import Graph


class Operation:
    """A node: what it computes, from what.

    Attributes:
        graph: The graph it is part of.
        node_def: Its message.
        outputs: Its outputs.
    """

    __slots__ = ("graph", "node_def", "outputs")

    def __init__(self, graph: Graph, node_def: NodeDef, outputs: list[tuple[DType | None, bool, Shape]]) -> None:
        self.graph = graph
        self.node_def = node_def
        self.outputs = tuple(
            Tensor(self, number, dtype, shape, is_ref=is_ref) for number, (dtype, is_ref, shape) in enumerate(outputs)
        )

    @property
    def name(self) -> str:
        """Its name."""
        return self.node_def.name

    @property
    def type(self) -> str:
        """The op it computes, such as "MatMul"."""
        return self.node_def.op

    @property
    def device(self) -> str:
        """The device it is placed on; "" for any."""
        return self.node_def.device

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Its data inputs.

        Raises:
            InvalidArgumentError: One of them is not there: the graph was imported, and is wrong.
        """
        return tuple(self.graph.tensor(name) for name in self.node_def.input if not name.startswith("^"))

    @property
    def control_inputs(self) -> tuple[Operation, ...]:
        """What runs before it."""
        return tuple(self.graph.operation(i[1:]) for i in self.node_def.input if i.startswith("^"))

    def get_attr(self, name: str) -> Any:
        """The value of an attribute.

        Raises:
            InvalidArgumentError: It has none of that name.
        """
        if name not in self.node_def.attr:
            raise InvalidArgumentError(f"The node {self.name!r} has no attribute {name!r}.", name=self.name)
        return decode_attribute(self.node_def.attr[name])

    def run(self, feeds: Mapping[Any, Any] | None = None) -> None:
        """Runs it, and what it needs."""
        self.graph.run(self.name, feeds)

    def __repr__(self) -> str:
        return f"<Operation {self.name!r} type={self.type}>"


class Tensor(Operators):
    """An output of an operation.

    Attributes:
        op: The operation.
        index: Which of its outputs.
        shape: Its static shape.
        is_ref: Whether it is a reference to a variable.
    """

    __slots__ = ("_dtype", "index", "is_ref", "op", "shape")

    def __init__(self, op: Operation, index: int, dtype: DType | None, shape: Shape, *, is_ref: bool = False) -> None:
        self.op = op
        self.index = index
        self._dtype = dtype
        self.shape = shape
        self.is_ref = is_ref

    @property
    def dtype(self) -> DType:
        """Its element type.

        Raises:
            IncompatibleTensorError: It is not known, since the op is not.
        """
        if self._dtype is None:
            raise IncompatibleTensorError(f"The type of {self.name!r}, a {self.op.type}, is not known.", name=self.name)
        return self._dtype

    @property
    def graph(self) -> Graph:
        """The graph it is part of."""
        return self.op.graph

    @property
    def name(self) -> str:
        """Its name: "add:0"."""
        return f"{self.op.name}:{self.index}"

    @property
    def device(self) -> str:
        """The device of its operation."""
        return self.op.device

    @property
    def as_input(self) -> str:
        """Its name as nodes refer to it: "add", "split:1"."""
        return self.name if self.index else self.op.name

    def value(self) -> Tensor:
        """Itself."""
        return self

    def constant_value(self) -> np.ndarray[Any, Any] | None:
        """Its value if it is that of a constant, else None."""
        if self.op.type != "Const":
            return None
        value = self.op.get_attr("value")
        return value if isinstance(value, np.ndarray) else None

    def eval(self, feeds: Mapping[Any, Any] | None = None) -> Any:
        """Its value, with what it needs run first."""
        return self.graph.run(self.name, feeds)

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def __repr__(self) -> str:
        dtype = "unknown" if self._dtype is None else self._dtype.name
        return f"<Tensor {self.name!r} shape={shape_text(self.shape)} dtype={dtype}>"


def shape_text(shape: Shape) -> str:
    """A shape to read: "(2, ?)", "?" if nothing is known."""
    if shape is None:
        return "?"
    return f"({', '.join('?' if n is None else str(n) for n in shape)}{',' if len(shape) == 1 else ''})"
