"""What TensorFlow says of its ops: arguments, attributes and their defaults.

The file beside this module is an OpList of those that ckptstore evaluates or writes, as TensorFlow 2.21 defines them
(scripts/gen_op_defs makes it). Of all others a MetaGraph brings the definitions along, in its stripped_op_list.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import resources

from ckptstore._proto.node_def_pb2 import NodeDef
from ckptstore._proto.op_def_pb2 import OpDef, OpList


@functools.cache
def op_defs() -> Mapping[str, OpDef]:
    """All definitions by name."""
    data = resources.files("ckptstore.graph").joinpath("op_defs.pb").read_bytes()
    return {op.name: op for op in OpList.FromString(data).op}


def op_def(name: str) -> OpDef | None:
    """The definition of an op, or None if it is none of those that are known."""
    return op_defs().get(name)


def arity(op: OpDef, node: NodeDef) -> list[tuple[str, int]]:
    """The output arguments of a node, each with how many outputs it stands for."""
    return [(arg.name, _count(arg, node)) for arg in op.output_arg]


def _count(arg: OpDef.ArgDef, node: NodeDef) -> int:
    if arg.number_attr:
        return node.attr[arg.number_attr].i if arg.number_attr in node.attr else 0
    if arg.type_list_attr:
        return len(node.attr[arg.type_list_attr].list.type) if arg.type_list_attr in node.attr else 0
    return 1
