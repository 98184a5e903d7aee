"""Parts of a graph: the nodes that others need, and the functions that nodes call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ckptstore._proto.function_pb2 import FunctionDef
from ckptstore._proto.graph_pb2 import GraphDef
from ckptstore._proto.node_def_pb2 import NodeDef
from ckptstore.errors import DataLossError, InvalidArgumentError
from ckptstore.graph.attributes import colocated_with
from ckptstore.graph.names import node_of, split_tensor
from ckptstore.graph.nearest import describe_missing
from ckptstore.graph.op_defs import arity, op_def


def extract_sub_graph(graph_def: GraphDef, dest_nodes: Any, *, colocated: bool = True) -> GraphDef:
    """The nodes that some nodes need to run, in their order, with the library and the versions of the graph.

    Args:
        graph_def: The graph; it is not changed.
        dest_nodes: What to keep: names of nodes or tensors, or objects that have such a name.
        colocated: Whether a node that another one is to share its device with counts as needed, as in TensorFlow.

    Raises:
        InvalidArgumentError: There are no such nodes: all of them, each with the nearest that are.
        DataLossError: A node takes an input from one that is not in the graph.
    """
    needed = _needed(graph_def, output_nodes(graph_def, dest_nodes), colocated)
    part = GraphDef(node=(node for node in graph_def.node if node.name in needed))
    part.library.CopyFrom(graph_def.library)
    part.versions.CopyFrom(graph_def.versions)
    return part


def output_nodes(graph_def: GraphDef, outputs: Any) -> list[str]:
    """The names of the nodes that a caller means by "out", "out:0" or an object of that name, or by several.

    Raises:
        InvalidArgumentError: It is no name, or there is no such node or output: all of them at once.
    """
    # TensorFlow's own tensors have __iter__ too, and refuse to be iterated over
    single = isinstance(getattr(outputs, "name", outputs), str) or not isinstance(outputs, Iterable)
    given = [outputs] if single else outputs
    nodes = {node.name: node for node in graph_def.node}
    found: dict[str, None] = {}
    unknown = []
    for item in given:
        name = getattr(item, "name", item)
        if not isinstance(name, str):
            raise InvalidArgumentError(f"Expected the name of a node or tensor, or an object with one, not {item!r}.")
        node, output = split_tensor(name)
        if node not in nodes or not _has_output(nodes[node], output):
            unknown.append(name)
        found[node] = None
    if unknown:
        raise InvalidArgumentError(f"The graph does not have {describe_missing(unknown, nodes)}.", name=unknown[0])
    return list(found)


def _has_output(node: NodeDef, output: int) -> bool:
    # A node without outputs can be run too; of an op that is not known here nothing is said.
    definition = op_def(node.op)
    return output == 0 or definition is None or output < sum(count for _, count in arity(definition, node))


def _needed(graph_def: GraphDef, names: list[str], colocated: bool) -> set[str]:
    nodes = {node.name: node for node in graph_def.node}
    needed: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        needed.add(name)
        node = nodes[name]
        for text in node.input:
            source = node_of(text)
            if source not in nodes:
                raise DataLossError(f"the node {name!r} takes {text!r}, which is not in the graph", name=name)
            waiting.append(source)
        if colocated and "_class" in node.attr:
            waiting.extend(other for other in colocated_with(node.attr["_class"].list.s) if other in nodes)
    return needed


def called_functions(nodes: Iterable[NodeDef], functions: Iterable[FunctionDef]) -> set[str]:
    """The names of all functions that nodes call, and those call in turn."""
    library = {function.signature.name: function for function in functions}
    called: set[str] = set()
    waiting = [iter(nodes)]
    while waiting:
        for node in waiting.pop():
            for name in _called_by(node):
                if name in library and name not in called:
                    called.add(name)
                    waiting.append(iter(library[name].node_def))
    return called


def _called_by(node: NodeDef) -> Iterable[str]:
    yield node.op  # a function of TensorFlow 1 is called by its own name
    for attr in node.attr.values():
        kind = attr.WhichOneof("value")
        if kind == "func":
            yield attr.func.name
        elif kind == "list":
            for function in attr.list.func:
                yield function.name
