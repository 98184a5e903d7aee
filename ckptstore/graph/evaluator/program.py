"""What is to be run of a graph, or of a function: nodes as steps, and who waits for whom."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ckptstore._proto.attr_value_pb2 import AttrValue, NameAttrList
from ckptstore._proto.function_pb2 import FunctionDef
from ckptstore._proto.graph_pb2 import GraphDef
from ckptstore._proto.node_def_pb2 import NodeDef
from ckptstore._proto.op_def_pb2 import OpDef
from ckptstore.errors import DataLossError, InvalidArgumentError
from ckptstore.graph.attributes import decode_attribute
from ckptstore.graph.names import split_tensor
from ckptstore.graph.op_defs import arity, op_def

FEED = "_Feed"
"""The op of a step that stands for a tensor whose value is given from outside."""

PLACEHOLDERS = frozenset(["Placeholder", "PlaceholderV2"])
"""The ops that stand for a value that must be given."""

Endpoint = tuple[str, int]
"""An output of a node, by its number."""

CONTROL = -1
"""Stands where the number of an input would, for a node that only has to run before."""


class Edge(NamedTuple):
    """Who takes an output.

    Attributes:
        output: Which output of the step is taken, or CONTROL.
        step: The number of the step that takes it.
        position: Which input of it that is, or CONTROL.
    """

    output: int
    step: int
    position: int


@dataclass(eq=False, slots=True)
class Step:
    """A node to be run.

    Attributes:
        name: Its name; of a FEED, the tensor's.
        op: Its op.
        attrs: Its attributes, with the op's defaults.
        inputs: How many data inputs it has.
        controls: How many nodes have to run before.
        late: Of a Merge in a loop, how many inputs come from the round before. They come in every round but the
            first, and the others only in that.
        raw: The inputs that are references, and are wanted as such.
        edges: Who takes what comes out.
        function: The function that it calls by its op, if it does.
    """

    name: str
    op: str
    attrs: Mapping[str, Any] = field(default_factory=dict)
    inputs: int = 0
    controls: int = 0
    late: int = 0
    raw: frozenset[int] = frozenset()
    edges: list[Edge] = field(default_factory=list)
    function: NameAttrList | None = None


class Body:
    """The nodes of a graph or of a function, and what their inputs name.

    Args:
        owner: Where the nodes are.
        library: Functions that nodes may call by their names.
        attrs: What a function's own attributes are, where it is called.

    Raises:
        DataLossError: Two nodes have one name.
    """

    def __init__(
        self,
        owner: GraphDef | FunctionDef,
        library: Mapping[str, FunctionDef],
        attrs: Mapping[str, AttrValue] | None = None,
    ) -> None:
        self._library = library
        self._attrs = attrs or {}
        self.is_function = isinstance(owner, FunctionDef)
        nodes = owner.node_def if isinstance(owner, FunctionDef) else owner.node
        self.nodes = {node.name: node for node in nodes}
        if len(self.nodes) != len(nodes):
            seen: set[str] = set()
            twice = next(n.name for n in nodes if n.name in seen or seen.add(n.name))  # type: ignore[func-returns-value]
            raise DataLossError(f"two nodes are named {twice!r}", name=twice)
        self.arguments = [arg.name for arg in owner.signature.input_arg] if isinstance(owner, FunctionDef) else []

    def definition(self, op: str) -> OpDef | None:
        """What an op, or a function of the library, takes and gives."""
        return self._library[op].signature if op in self._library else op_def(op)

    def endpoint(self, text: str, taker: str) -> Endpoint:
        """What a data input means: "v:1" in a graph; "argument" or "node:output:1" in a function.

        Raises:
            DataLossError: It means nothing.
        """
        if not self.is_function:
            node, output = split_tensor(text)
            return (node, output) if node in self.nodes else self._lost(text, taker)
        node, _, rest = text.partition(":")
        if node in self.arguments and node not in self.nodes and _is_number(rest):
            return node, int(rest or 0)
        name, _, number = rest.partition(":")
        if node not in self.nodes or not _is_number(number):
            return self._lost(text, taker)
        if _is_number(name):
            return node, int(name or 0)
        definition = self.definition(self.nodes[node].op)
        first = 0
        for argument, count in arity(definition, self.nodes[node]) if definition is not None else []:
            if argument == name:
                return node, first + int(number or 0)
            first += count
        return self._lost(text, taker)

    def control(self, text: str, taker: str) -> str:
        """The node that "^node" names.

        Raises:
            DataLossError: There is none.
        """
        node = text[1:]
        return node if node in self.nodes or node in self.arguments else self._lost(text, taker)[0]

    def _lost(self, text: str, taker: str) -> Endpoint:
        raise DataLossError(f"the node {taker!r} takes {text!r}, which is not there", name=taker)

    def step(self, node: NodeDef) -> Step:
        """What a node does, but for who takes it.

        Raises:
            DataLossError: An attribute cannot be read.
        """
        given = {name: self._given(attr) for name, attr in node.attr.items() if not name.startswith("_")}
        attrs = {**_defaults(node.op), **{name: decode_attribute(attr) for name, attr in given.items()}}
        definition = self.definition(node.op)
        raw = frozenset[int]() if definition is None else _raw_inputs(definition, node)
        function = NameAttrList(name=node.op, attr=given) if node.op in self._library else None
        return Step(node.name, node.op, attrs, raw=raw, function=function)

    def _given(self, attr: AttrValue) -> AttrValue:
        if attr.WhichOneof("value") != "placeholder":
            return attr
        if attr.placeholder not in self._attrs:
            raise DataLossError(f"the attribute {attr.placeholder!r} of a function is not given where it is called")
        return self._attrs[attr.placeholder]

    def outputs(self, node: NodeDef) -> int | None:
        """How many outputs a node has, or None if that is not known."""
        definition = self.definition(node.op)
        return None if definition is None else sum(count for _, count in arity(definition, node))


@functools.cache
def _defaults(op: str) -> Mapping[str, Any]:
    definition = op_def(op)
    if definition is None:
        return {}
    return {a.name: decode_attribute(a.default_value) for a in definition.attr if a.HasField("default_value")}


def _raw_inputs(definition: OpDef, node: NodeDef) -> frozenset[int]:
    if not any(arg.is_ref for arg in definition.input_arg):
        return frozenset()
    flags: list[bool] = []
    for arg in definition.input_arg:
        flags += [arg.is_ref] * (node.attr[arg.number_attr].i if arg.number_attr else 1)
    return frozenset(i for i, is_ref in enumerate(flags) if is_ref)


@dataclass(eq=False, slots=True)
class Program:
    """Steps in the order of the graph.

    Attributes:
        steps: All of them.
        feeds: The steps that stand for given tensors, in the order in which these were named.
        results: For each endpoint that was asked for, the step and its output.
        enters: How many Enter steps each frame has.
    """

    steps: list[Step]
    feeds: list[int]
    results: list[tuple[int, int]]
    enters: dict[str, int]


def compile_program(
    body: Body, wanted: Iterable[Endpoint], targets: Iterable[str], fed: Iterable[Endpoint] = ()
) -> Program:
    """The steps that some outputs and nodes need.

    Args:
        body: The nodes.
        wanted: The outputs to compute.
        targets: Nodes to run whatever they give.
        fed: Outputs that are given: what only they need is left out.

    Raises:
        DataLossError: An input names no node, or nodes wait for each other outside of a loop.
        InvalidArgumentError: A wanted output is not one of its node.
    """
    wanted, fed = list(wanted), list(fed)
    given = set(fed)
    inputs = _needed(body, [node for node, output in wanted if (node, output) not in given] + list(targets), given)
    _check_cycles(body, inputs)
    steps = [Step(f"{node}:{output}", FEED) for node, output in fed]
    number = {name: i for i, name in enumerate((n for n in body.nodes if n in inputs), len(fed))}
    steps += [body.step(body.nodes[name]) for name in number]
    feeds = {endpoint: i for i, endpoint in enumerate(fed)}
    enters: dict[str, int] = {}
    for name, i in number.items():
        step = steps[i]
        for position, (source, output) in inputs[name]:
            at = feeds.get((source, output), number.get(source, 0))
            steps[at].edges.append(Edge(0 if at < len(fed) else output, i, position))
            step.inputs += position != CONTROL
            step.controls += position == CONTROL
            step.late += position != CONTROL and steps[at].op in ("NextIteration", "RefNextIteration")
        if step.op in ("Enter", "RefEnter"):
            if "frame_name" not in step.attrs:
                raise DataLossError(f"the node {name!r} enters a loop and does not say which", name=name)
            frame = step.attrs["frame_name"]
            enters[frame] = enters.get(frame, 0) + 1
    results = []
    for node, output in wanted:
        if (node, output) in feeds:
            results.append((feeds[node, output], 0))
            continue
        count = body.outputs(body.nodes[node])
        if count is not None and output >= count:
            raise InvalidArgumentError(f"The node {node!r} has {count} outputs, and no '{node}:{output}'.", name=node)
        results.append((number[node], output))
    return Program(steps, list(range(len(fed))), results, enters)


Inputs = list[tuple[int, Endpoint]]


def _needed(body: Body, names: list[str], given: set[Endpoint]) -> dict[str, Inputs]:
    """The inputs of every node that is needed: position, and where from."""
    found: dict[str, Inputs] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name] = inputs = []
        position = 0
        for text in body.nodes[name].input:
            if text.startswith("^"):
                source = body.control(text, name)
                if source not in body.nodes or (body.nodes[source].op in PLACEHOLDERS and (source, 0) in given):
                    continue  # what is given is there from the start
                inputs.append((CONTROL, (source, CONTROL)))
                waiting.append(source)
                continue
            endpoint = body.endpoint(text, name)
            inputs.append((position, endpoint))
            position += 1
            if endpoint not in given:
                waiting.append(endpoint[0])
    return found


def _check_cycles(body: Body, inputs: Mapping[str, Inputs]) -> None:
    """Only the way through a NextIteration may lead back."""
    remaining = dict.fromkeys(inputs, 0)
    takers: dict[str, list[str]] = {name: [] for name in inputs}
    for name, sources in inputs.items():
        for _, (source, _) in sources:
            if source in inputs and body.nodes[source].op not in ("NextIteration", "RefNextIteration"):
                takers[source].append(name)
                remaining[name] += 1
    ready = [name for name, count in remaining.items() if not count]
    while ready:
        name = ready.pop()
        del remaining[name]
        for taker in takers[name]:
            remaining[taker] -= 1
            if not remaining[taker]:
                ready.append(taker)
    if remaining:
        name = min(remaining)
        raise DataLossError(f"the node {name!r} waits for itself, and there is no loop around it", name=name)


def _is_number(text: str) -> bool:
    """Whether a text says which of several; nothing means the first."""
    return not text or (text.isascii() and text.isdigit() and len(text) < 10)
