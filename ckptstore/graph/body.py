"""The nodes of a graph, or of a function in its library, and who takes what from whom.

in a graph       v        v:1                 ^v
in a function    argument node:output:1       ^node
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ckptstore._proto.function_pb2 import FunctionDef
from ckptstore._proto.graph_pb2 import GraphDef
from ckptstore._proto.node_def_pb2 import NodeDef


class Source(NamedTuple):
    """What a data input names.

    Attributes:
        name: A node, or an argument of the function.
        output: The name of the output; empty in a graph, and for an argument.
        number: Which output; in a function, which of those of that name.
    """

    name: str
    output: str
    number: int


class Use(NamedTuple):
    """An input of a node.

    Attributes:
        node: The node that takes it.
        position: Which of its inputs it is.
        source: What it takes.
    """

    node: NodeDef
    position: int
    source: Source


def source_of(text: str) -> Source:
    """What a data input, or a result of a function, names."""
    name, *rest = text.split(":")
    output = rest[0] if rest and not rest[0].isdigit() else ""
    return Source(name, output, int(rest[-1]) if rest and rest[-1].isdigit() else 0)


class Body:
    """The nodes, which may be changed in place as long as the number and the order of their data inputs stay.

    Args:
        owner: The graph, or the function.
    """

    def __init__(self, owner: GraphDef | FunctionDef) -> None:
        self._function = owner if isinstance(owner, FunctionDef) else None
        self._nodes = owner.node_def if isinstance(owner, FunctionDef) else owner.node
        self._names = {node.name for node in self._nodes}
        self._uses: dict[str, list[Use]] = defaultdict(list)
        if self._function is not None:
            self._names.update(argument.name for argument in self._function.signature.input_arg)
        for node in self._nodes:
            for index, text in enumerate(node.input):
                if not text.startswith("^"):
                    source = source_of(text)
                    self._uses[source.name].append(Use(node, index, source))

    def uses(self, name: str) -> Sequence[Use]:
        """All inputs that take something of a node or an argument."""
        return self._uses.get(name, ())

    def add_node(self, name: str) -> tuple[NodeDef, str]:
        """A new node of this name, or of one like it that is free, and how others take its first output "output"."""
        free = name
        number = 0
        while free in self._names:
            number += 1
            free = f"{name}_{number}"
        self._names.add(free)
        return self._nodes.add(name=free), free if self._function is None else f"{free}:output:0"

    def rename_output(self, name: str, old: str, new: str) -> None:
        """Follows a node whose op has changed, and with it the name of an output; in a graph, outputs have none."""
        if self._function is None:
            return
        for use in self._uses.get(name, ()):
            use.node.input[use.position] = _renamed(use.node.input[use.position], old, new)
        for result, text in list(self._function.ret.items()):
            if source_of(text).name == name:
                self._function.ret[result] = _renamed(text, old, new)

    def describe(self, node: NodeDef) -> str:
        """The node, for a message."""
        where = "" if self._function is None else f" in the function {self._function.signature.name!r}"
        return f"{node.name!r} ({node.op}){where}"

    def results(self) -> Iterator[tuple[int, Source]]:
        """What a function gives back: the number of the output, and what it is taken from."""
        if self._function is not None:
            for number, argument in enumerate(self._function.signature.output_arg):
                if argument.name in self._function.ret:
                    yield number, source_of(self._function.ret[argument.name])


def _renamed(text: str, old: str, new: str) -> str:
    parts = text.split(":")
    if len(parts) > 1 and parts[1] == old:
        parts[1] = new
    return ":".join(parts)
