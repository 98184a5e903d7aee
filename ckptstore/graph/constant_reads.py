"""What reads a resource variable, made to read a constant of the same name instead.

    ReadVariableOp  -> Identity          ResourceGatherNd -> GatherNd
    ResourceGather  -> GatherV2          VariableShape    -> Shape

The nodes that TensorFlow knows here come out as it writes them: name, data inputs and `_class` stay, device and control
inputs go. It does not know VariableShape, nor batch_dims; it leaves ResourceGather in functions alone, and its axis out
of the loop that the gather is in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from ckptstore._proto.attr_value_pb2 import AttrValue
from ckptstore._proto.node_def_pb2 import NodeDef
from ckptstore._proto.types_pb2 import DataType
from ckptstore.graph.attributes import base_dtype
from ckptstore.graph.tensors import make_tensor_proto


class Nodes(Protocol):
    """Where a read adds the constants that it needs: the nodes of a graph or a function."""

    def add_node(self, name: str) -> tuple[NodeDef, str]:
        """A new node of about this name, and how others take its output."""


class Read(NamedTuple):
    """A node as it was, and where it is.

    Attributes:
        node: A copy of the node.
        dtype: The number of the variable's type.
        nodes: All nodes beside it.
        in_loop: Whether it is in a loop of TensorFlow 1.
    """

    node: NodeDef
    dtype: DataType
    nodes: Nodes
    in_loop: bool


def rewrite(node: NodeDef, dtype: DataType, nodes: Nodes, *, in_loop: bool) -> None:
    """Makes a node that reads a resource variable read a constant of the type instead.

    Args:
        node: The node, of an op in `READS`; it is changed.
        dtype: The number of the variable's type.
        nodes: What it is part of.
        in_loop: Whether what it reads has come into a loop of TensorFlow 1, through an Enter.
    """
    old = NodeDef()
    old.CopyFrom(node)
    node.Clear()
    node.name = old.name
    READS[old.op](node, Read(old, dtype, nodes, in_loop))
    if "_class" in old.attr:
        node.attr["_class"].CopyFrom(old.attr["_class"])


def _identity(node: NodeDef, read: Read) -> None:
    _become(node, "Identity", read.node.input[:1], {"T": read.node.attr["dtype"]})


def _gather(node: NodeDef, read: Read) -> None:
    old = read.node
    axis, axis_input = read.nodes.add_node(f"{old.name}/axis")
    index_type = old.attr["Tindices"]
    batch_dims = old.attr["batch_dims"].i
    value = make_tensor_proto(np.array(batch_dims, np.int64), base_dtype(index_type.type))
    # All that a node in a loop takes must be in the loop; this one has no other input that would put it there.
    inputs = [f"^{old.input[0].split(':')[0]}"] if read.in_loop else []
    _become(axis, "Const", inputs, {"dtype": index_type, "value": AttrValue(tensor=value)})
    types = {"Tparams": old.attr["dtype"], "Tindices": index_type, "Taxis": index_type}
    _become(node, "GatherV2", [*old.input[:2], axis_input], types)
    if batch_dims:
        node.attr["batch_dims"].i = batch_dims


def _gather_nd(node: NodeDef, read: Read) -> None:
    old = read.node
    _become(node, "GatherNd", old.input[:2], {"Tparams": old.attr["dtype"], "Tindices": old.attr["Tindices"]})


def _shape(node: NodeDef, read: Read) -> None:
    attrs = {"T": AttrValue(type=read.dtype)}
    if "out_type" in read.node.attr:
        attrs["out_type"] = read.node.attr["out_type"]
    _become(node, "Shape", read.node.input[:1], attrs)


def _become(node: NodeDef, op: str, inputs: Sequence[str], attrs: Mapping[str, AttrValue]) -> None:
    node.op = op
    node.input.extend(inputs)
    for name, attr in attrs.items():
        node.attr[name].CopyFrom(attr)


READS: Mapping[str, Callable[[NodeDef, Read], None]] = {
    "ReadVariableOp": _identity,
    "ResourceGather": _gather,
    "ResourceGatherNd": _gather_nd,
    "VariableShape": _shape,
}
"""The ops that read a resource variable, by what makes them read a constant."""
