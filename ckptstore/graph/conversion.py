"""Variables that have become constants, followed through all that takes them, into the functions that are called.

A function that is called with a constant where it took a variable is changed in a copy of another name,
`<base>_frozen_<number>`, one for each way it is called; so it may be called with a variable elsewhere.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from ckptstore._proto.function_pb2 import FunctionDef, FunctionDefLibrary
from ckptstore._proto.graph_pb2 import GraphDef
from ckptstore._proto.node_def_pb2 import NodeDef
from ckptstore._proto.tensor_shape_pb2 import TensorShapeProto
from ckptstore._proto.types_pb2 import DataType
from ckptstore.errors import DataLossError, UnsupportedError
from ckptstore.graph.attributes import encode_shape
from ckptstore.graph.body import Body, Use
from ckptstore.graph.constant_reads import READS, rewrite
from ckptstore.graph.op_defs import op_def
from ckptstore.graph.subgraph import called_functions

_SHOWN = 10
_MERGE_INDEX = "value_index"  # the other output of a Merge: the number of the input that came
_PASSING = frozenset(["Enter", "Exit", "Identity", "IdentityN", "Merge", "NextIteration", "Switch", "_SwitchN"])
_REFERENCE_PASSING = {f"Ref{op}": op for op in ("Enter", "Exit", "Identity", "Merge", "NextIteration", "Switch")}


class Caller(NamedTuple):
    """An op that calls functions with its own inputs.

    Attributes:
        types: The attribute with the types of these inputs.
        first: The first of the node's inputs that is one.
        functions: The attributes that name the functions.
    """

    types: str
    first: int
    functions: tuple[str, ...]


_LOOPS = frozenset(["While", "StatelessWhile"])
_CALLERS = {
    **dict.fromkeys(["If", "StatelessIf"], Caller("Tin", 1, ("then_branch", "else_branch"))),
    "Case": Caller("Tin", 1, ("branches",)),
    **dict.fromkeys(["PartitionedCall", "StatefulPartitionedCall"], Caller("Tin", 0, ("f",))),
    **dict.fromkeys(_LOOPS, Caller("T", 0, ("body", "cond"))),
}


class Held(NamedTuple):
    """What a tensor is now.

    Attributes:
        dtype: The number of its type.
        shape: The variable's shape.
        was: What it was before: the handle of a resource variable, a reference to a variable, or a value already.
        in_loop: Whether it has come into a loop as TensorFlow 1 writes them, through an Enter.
    """

    dtype: DataType
    shape: tuple[int, ...]
    was: Literal["resource", "reference", "value"]
    in_loop: bool = False

    def passed(self, op: str) -> Held:
        """What a node of an op gives on of it."""
        was = "value" if self.was == "reference" and op not in _REFERENCE_PASSING else self.was
        return self._replace(was=was, in_loop=self.in_loop or op in ("Enter", "RefEnter"))

    def argument(self) -> Held:
        """What a function that is called with it gets: never a reference, and outside of any loop."""
        return self._replace(was="value" if self.was == "reference" else self.was, in_loop=False)


class Passed(NamedTuple):
    """What a node gives on.

    Attributes:
        output: Which of its outputs; None for all.
        held: What that is now.
    """

    output: int | None
    held: Held


class Conversion:
    """Changes a graph and the functions of its library, in place.

    Args:
        graph_def: The graph, in which what was a variable is a constant by now.
    """

    def __init__(self, graph_def: GraphDef) -> None:
        self._graph = graph_def
        self._functions = {function.signature.name: function for function in graph_def.library.function}
        self._copies: dict[tuple[str, tuple[tuple[int, Held], ...]], FunctionDef] = {}
        self._numbers = itertools.count()
        self._problems: list[str] = []

    def run(self, constants: Mapping[str, Held]) -> None:
        """Follows the constants.

        Args:
            constants: By node, what was a variable.

        Raises:
            UnsupportedError: Nodes need the variable itself, to write to it for one: all of them.
            DataLossError: A function is missing, or does not fit its call.
        """
        try:
            self._follow(Body(self._graph), constants)
        except IndexError as error:
            raise DataLossError("the graph is damaged: a node or a function has fewer types than inputs") from error
        if self._problems:
            more = len(self._problems) - _SHOWN
            shown = "; ".join(self._problems[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
            raise UnsupportedError(
                f"A constant cannot stand for a variable here: {shown}. Choose outputs that do not need these nodes, "
                "or leave the variables as they are (variable_names_blacklist)."
            )
        if self._copies:
            self._replace_library()

    def _follow(self, body: Body, start: Mapping[str, Held]) -> dict[int, Held]:
        """Follows constants through a graph or a function.

        Args:
            body: Its nodes.
            start: By node or argument, what it holds now.

        Returns:
            The results of the function that are no longer what they were, by number.
        """
        seen: set[tuple[str, int]] = set()
        reached: dict[tuple[str, int | None], Held] = {}
        calls: dict[str, tuple[NodeDef, dict[int, Held]]] = {}
        merges: dict[str, NodeDef] = {}
        waiting: list[tuple[Use, Held]] = []

        def spread(name: str, output: int | None, held: Held) -> None:
            reached[name, output] = held
            waiting.extend((use, held) for use in reversed(body.uses(name)) if _is_output(use, output))

        for name in reversed(list(start)):  # the first one is followed first, to its end, as in TensorFlow
            spread(name, None, start[name])
        while waiting:
            use, held = waiting.pop()
            node = use.node
            if (node.name, use.position) in seen:
                continue
            seen.add((node.name, use.position))
            if node.op in _CALLERS:
                calls.setdefault(node.name, (node, {}))[1][use.position] = held.argument()
                if node.op in _LOOPS and held.was == "resource":
                    spread(node.name, use.position, held)
            elif (passed := self._take(body, use, held)) is not None:
                spread(node.name, *passed)
                if node.op == "Merge" and held.was == "resource":
                    merges[node.name] = node
        for node in merges.values():
            if any((node.name, i) not in seen for i, text in enumerate(node.input) if not text.startswith("^")):
                self._problems.append(f"{body.describe(node)} takes variables of which some are to stay")
        for node, inputs in calls.values():
            self._call(body, node, inputs)
        results = {}
        for number, source in body.results():
            for output in (None, source.number):
                if (source.name, output) in reached and source.output != _MERGE_INDEX:
                    results[number] = reached[source.name, output]
        return results

    def _take(self, body: Body, use: Use, held: Held) -> Passed | None:
        """Changes a node that takes a constant; gives what of it is the same constant."""
        node = use.node
        passed = held.passed(node.op)
        if held.was == "reference":
            node.op = _REFERENCE_PASSING.get(node.op, node.op)
        if node.op in _PASSING:
            if use.position and node.op not in ("Merge", "IdentityN"):
                return None  # the predicate of a Switch
            if node.op == "Merge" and passed.was == "value":
                return None  # which may be this constant, or another value
            _set_type(node, "T", use.position, held.dtype)
            node.attr.pop("_output_shapes", None)
            return Passed({"Merge": 0, "IdentityN": use.position}.get(node.op), passed)
        if held.was == "resource" and node.op in READS:
            if node.op == "ReadVariableOp":
                body.rename_output(node.name, "value", "output")
            rewrite(node, held.dtype, body, in_loop=held.in_loop)
        elif held.was == "resource" or _needs_reference(use, held):
            self._problems.append(body.describe(node))
        return None

    def _call(self, body: Body, node: NodeDef, inputs: Mapping[int, Held]) -> None:
        caller = _CALLERS[node.op]
        arguments = {index - caller.first: held for index, held in inputs.items() if index >= caller.first}
        for number, held in arguments.items():
            _set_type(node, caller.types, number, held.dtype)
            if node.op in _LOOPS and held.was == "resource":
                node.attr.pop("_output_shapes", None)
                if node.attr["output_shapes"].list.shape:
                    shape = TensorShapeProto()
                    encode_shape(held.shape, shape)
                    node.attr["output_shapes"].list.shape[number].CopyFrom(shape)
        if not arguments:
            return
        for name in caller.functions:
            attr = node.attr[name]
            for function in [attr.func] if attr.HasField("func") else attr.list.func:
                if function.name not in self._functions:
                    raise DataLossError(f"{body.describe(node)} calls {function.name!r}, which is not in the library")
                old = self._functions[function.name].signature
                new = self._copy(function.name, arguments).signature
                function.name = new.name
                # What a loop gives back has the type of what it takes; of others nobody would know it.
                if node.op not in _LOOPS and [a.type for a in old.output_arg] != [a.type for a in new.output_arg]:
                    self._problems.append(f"{body.describe(node)} gives back a variable")

    def _copy(self, name: str, arguments: Mapping[int, Held]) -> FunctionDef:
        """The function for a call with constants in place of these arguments."""
        key = (name, tuple(sorted(arguments.items())))
        if key in self._copies:
            return self._copies[key]
        copy = self._copies[key] = FunctionDef()  # known from here on: a function may call itself
        copy.CopyFrom(self._functions[name])
        copy.signature.name = self._free_name(name)
        for index, held in arguments.items():
            _set_argument(copy, index, held)
        inputs = copy.signature.input_arg
        results = self._follow(Body(copy), {inputs[index].name: held for index, held in arguments.items()})
        for number, held in results.items():
            copy.signature.output_arg[number].type = held.dtype
        return copy

    def _free_name(self, name: str) -> str:
        base = re.sub(r"(?<=.)_\d+$", "", name)
        return next(free for number in self._numbers if (free := f"{base}_frozen_{number}") not in self._functions)

    def _replace_library(self) -> None:
        """Puts the copies in the places of what they were made of, which stays only if the graph still calls it.

        As in TensorFlow, functions that nobody calls stay too, though what those call may be gone.
        """
        copies: dict[str, list[FunctionDef]] = {}
        for (name, _), copy in self._copies.items():
            copies.setdefault(name, []).append(copy)
        bodies = [self._graph.node, *(copy.node_def for copy in self._copies.values())]
        called = called_functions(itertools.chain.from_iterable(bodies), self._functions.values())
        library = self._graph.library
        functions = []
        for name, function in self._functions.items():
            functions += [function] if name in called or name not in copies else []
            functions += copies.get(name, [])
        new = FunctionDefLibrary(function=functions, registered_gradients=library.registered_gradients)
        names = {function.signature.name for function in functions}
        new.gradient.extend(g for g in library.gradient if {g.function_name, g.gradient_func} <= names)
        library.CopyFrom(new)


def _is_output(use: Use, output: int | None) -> bool:
    # In a function each output of a Merge has the number 0.
    return output is None or (output == use.source.number and use.source.output != _MERGE_INDEX)


def _needs_reference(use: Use, held: Held) -> bool:
    definition = op_def(use.node.op)
    if held.was != "reference" or definition is None or use.position >= len(definition.input_arg):
        return False
    return definition.input_arg[use.position].is_ref


def _set_type(node: NodeDef, name: str, index: int, dtype: DataType) -> None:
    attr = node.attr[name]
    if attr.HasField("list"):
        attr.list.type[index] = dtype
    else:
        attr.type = dtype


def _set_argument(function: FunctionDef, index: int, held: Held) -> None:
    function.signature.input_arg[index].type = held.dtype
    shapes = []
    if "_input_shapes" in function.attr:
        shapes.append(function.attr["_input_shapes"].list.shape[index])
    if index in function.arg_attr and "_output_shapes" in function.arg_attr[index].attr:
        shapes.append(function.arg_attr[index].attr["_output_shapes"].list.shape[0])
    for shape in shapes:  # that of the handle, a scalar
        shape.unknown_rank = True
        del shape.dim[:]
