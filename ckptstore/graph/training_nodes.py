"""Nodes that only training needs: checks of numbers, and nodes that hand on what they get.

TensorFlow's own function deletes a CheckNumerics together with the edge that leads on from it, so that its consumer
lacks an input; it forgets the versions and the library, and takes no account of an input written "name:0".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ckptstore._proto.graph_pb2 import GraphDef
from ckptstore._proto.node_def_pb2 import NodeDef
from ckptstore.graph.attributes import colocated_with
from ckptstore.graph.names import node_of, split_tensor
from ckptstore.graph.subgraph import output_nodes

_CHECKS = frozenset(["CheckNumerics"])
_PASSING = frozenset(["Identity", "StopGradient"])


def remove_training_nodes(graph_def: GraphDef, protected_nodes: Any = None) -> GraphDef:
    """The graph without CheckNumerics, and without Identity and StopGradient where nothing but data goes through them.

    Who took the output of such a node takes its input. An Identity or StopGradient stays if it is part of a control
    edge, or if another node is to share its device.

    Args:
        graph_def: The graph; it is not changed.
        protected_nodes: Nodes that stay in any case: names of nodes or tensors, or objects that have such a name.

    Raises:
        InvalidArgumentError: There is no such node to protect.
    """
    protected = set(() if protected_nodes is None else output_nodes(graph_def, protected_nodes))
    checks = {
        node.name: node for node in graph_def.node if node.op in _CHECKS and node.name not in protected and node.input
    }
    kept = GraphDef(node=(node for node in graph_def.node if node.name not in checks))
    for node in kept.node:
        _drop_control_inputs(node, checks)
    fixed = protected | set(_fixed_in_place(kept.node))
    spliced = {name: node.input[0] for name, node in checks.items()}
    spliced |= {
        node.name: node.input[0]
        for node in kept.node
        if node.op in _PASSING and node.name not in fixed and len(node.input) == 1
    }
    result = GraphDef(node=(node for node in kept.node if node.name not in spliced))
    for node in result.node:
        node.input[:] = [text if text.startswith("^") else _origin(text, spliced) for text in node.input]
    if graph_def.HasField("library"):
        result.library.CopyFrom(graph_def.library)
    if graph_def.HasField("versions"):
        result.versions.CopyFrom(graph_def.versions)
    return result


def _drop_control_inputs(node: NodeDef, checks: Mapping[str, NodeDef]) -> None:
    kept = [text for text in node.input if not (text.startswith("^") and text[1:] in checks)]
    if not kept:
        # Nothing else may say in which branch of a conditional the node is.
        inputs = {name: check.input[0] for name, check in checks.items()}
        kept = list(dict.fromkeys(f"^{node_of(_origin(text[1:], inputs))}" for text in node.input))
    if kept != list(node.input):
        node.input[:] = kept


def _fixed_in_place(nodes: Iterable[NodeDef]) -> Iterable[str]:
    """The nodes that other edges than data lead to or from."""
    for node in nodes:
        for text in node.input:
            if text.startswith("^"):
                yield text[1:]
        if "_class" in node.attr:
            yield from colocated_with(node.attr["_class"].list.s)


def _origin(text: str, spliced: Mapping[str, str]) -> str:
    """What an input is once all nodes between are gone."""
    seen: set[str] = set()
    while (name := split_tensor(text)[0]) in spliced and name not in seen:
        seen.add(name)
        text = spliced[name]
    return text
