"""NodeDefs from what a caller says and what the op's definition asks for.

Source: _apply_op_helper in tensorflow/python/framework/op_def_library.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ckptstore._proto.node_def_pb2 import NodeDef
from ckptstore._proto.op_def_pb2 import OpDef
from ckptstore.errors import IncompatibleTensorError, InvalidArgumentError
from ckptstore.format.dtypes import DType, by_number
from ckptstore.graph.attributes import (
    REFERENCE,
    Shape,
    base_dtype,
    decode_attribute,
    decode_attributes,
    decode_shape,
    encode_shape,
    set_attribute,
)
from ckptstore.graph.shapes import output_shapes

if TYPE_CHECKING:
    from ckptstore.graph.graph import Graph
    from ckptstore.graph.tensor import Operation, Tensor


class NodeBuilder:
    """Makes one node.

    Args:
        graph: Where the constants that values become are put.
        definition: The op's definition.
        name: The node's name, in full.
        attrs: What the caller says.
    """

    def __init__(self, graph: Graph, definition: OpDef, name: str, attrs: Mapping[str, Any]) -> None:
        self._graph = graph
        self._op = definition
        self._kinds = {attr.name: attr.type for attr in definition.attr}
        self._node = NodeDef(name=name, op=definition.name)
        self._given = dict(attrs)
        self._inputs: list[Tensor] = []
        for key, value in attrs.items():
            if key.startswith("_"):
                self._node.attr[key].CopyFrom(value)
            elif key not in self._kinds:
                raise InvalidArgumentError(
                    f"A {definition.name} has no attribute {key!r}; it has {', '.join(self._kinds) or 'none'}.",
                    name=name,
                )

    def add_inputs(self, inputs: Sequence[Any]) -> None:
        """Takes the inputs, one per argument, and finds the types that they tell of.

        Raises:
            InvalidArgumentError: They are too many or too few.
            IncompatibleTensorError: Their types do not fit.
        """
        arguments = list(self._op.input_arg)
        if len(arguments) != len(inputs):
            raise InvalidArgumentError(
                f"A {self._op.name} has {len(arguments)} inputs "
                f"({', '.join(arg.name for arg in arguments) or 'none'}), and {len(inputs)} are given.",
                name=self._node.name,
            )
        # A value takes the type of the tensors beside it, so those are looked at first.
        for argument, value in zip(arguments, inputs, strict=True):
            dtype = getattr(value, "dtype", None)
            if argument.type_attr and isinstance(dtype, DType):
                self._given.setdefault(argument.type_attr, dtype)
        for argument, value in zip(arguments, inputs, strict=True):
            many = bool(argument.number_attr or argument.type_list_attr)
            wanted = self._wanted(argument)
            if not many:
                self._take(argument, value, argument.name, wanted)
                continue
            first = len(self._inputs)
            for number, item in enumerate(value):
                self._take(argument, item, f"{argument.name}_{number}", wanted)
            if argument.number_attr:
                self._given.setdefault(argument.number_attr, len(value))
            else:
                self._given.setdefault(argument.type_list_attr, [t.dtype for t in self._inputs[first:]])

    def finish(self, colocate_with: Operation | None) -> tuple[NodeDef, list[tuple[DType | None, bool, Shape]]]:
        """The node, and type, reference and shape of each of its outputs.

        Raises:
            InvalidArgumentError: An attribute is missing.
        """
        node = self._node
        for attr in self._op.attr:
            if self._given.get(attr.name) is not None or (attr.name in self._given and attr.type == "shape"):
                set_attribute(node.attr[attr.name], attr.type, self._given[attr.name])
            elif attr.HasField("default_value"):
                node.attr[attr.name].CopyFrom(attr.default_value)
            else:
                raise InvalidArgumentError(
                    f"The attribute {attr.name!r} of the {self._op.name} {node.name!r} is missing.", name=node.name
                )
        if colocate_with is not None:
            node.attr["_class"].list.s.append(f"loc:@{colocate_with.name}".encode())
            node.device = colocate_with.device
        types = outputs_of(self._op, node)
        if node.op == "Const":  # which may be large, and is not to be unpacked for its shape
            shapes = [decode_shape(node.attr["value"].tensor.tensor_shape)]
        else:
            known = [(_held(tensor), _small_value(tensor)) for tensor in self._inputs]
            shapes = output_shapes(node.op, decode_attributes(node.attr), known, len(types))
        for shape in shapes:
            encode_shape(shape, node.attr["_output_shapes"].list.shape.add())
        return node, [(dtype, ref, shape) for (dtype, ref), shape in zip(types, shapes, strict=True)]

    def _wanted(self, argument: OpDef.ArgDef) -> DType | None:
        if argument.type:
            return by_number(argument.type)
        if argument.type_attr in self._given:
            value = self._given[argument.type_attr]
            return base_dtype(value) if isinstance(value, int) else value
        for attr in self._op.attr:
            if attr.name == argument.type_attr and attr.HasField("default_value"):
                found: DType = decode_attribute(attr.default_value)
                return found
        return None

    def _take(self, argument: OpDef.ArgDef, value: Any, name: str, wanted: DType | None) -> None:
        if argument.is_ref or (wanted is not None and wanted.name == "resource"):
            tensor = getattr(value, "handle", value)  # a variable itself, not what is in it
        else:
            tensor = self._graph.as_tensor(value, name, wanted)
        if wanted is not None and tensor.dtype != wanted:
            raise IncompatibleTensorError(
                f"Input {argument.name!r} of the {self._op.name} {self._node.name!r} must be {wanted}, and "
                f"{tensor.name!r} is {tensor.dtype}; cast it.",
                name=self._node.name,
            )
        if argument.type_attr:
            self._given.setdefault(argument.type_attr, tensor.dtype)
        self._inputs.append(tensor)
        self._node.input.append(tensor.as_input)


def _held(tensor: Tensor) -> Shape:
    """The shape of a tensor; of a resource, that of the variable it is the handle of."""
    if tensor.op.type == "VarHandleOp":
        shape: Shape = tensor.op.get_attr("shape")
        return shape
    return tensor.shape


def _small_value(tensor: Tensor) -> np.ndarray[Any, Any] | None:
    """The value of a constant that may say a shape, an axis, or the names of tensors."""
    if tensor.op.type != "Const" or tensor.shape is None or len(tensor.shape) > 1:
        return None
    return tensor.constant_value()


def outputs_of(definition: OpDef, node: NodeDef) -> list[tuple[DType | None, bool]]:
    """Type of each output of a node, and whether it is a reference."""
    out: list[tuple[DType | None, bool]] = []
    for argument in definition.output_arg:
        if argument.type_list_attr:
            out += [(base_dtype(t), t > REFERENCE) for t in node.attr[argument.type_list_attr].list.type]
            continue
        number = argument.type or node.attr[argument.type_attr].type
        count = node.attr[argument.number_attr].i if argument.number_attr else 1
        dtype = base_dtype(number) if number else None
        out += [(dtype, argument.is_ref or number > REFERENCE)] * count
    return out
