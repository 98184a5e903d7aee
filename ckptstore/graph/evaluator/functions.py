"""The functions of a graph, and the ops that call them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ckptstore._proto.attr_value_pb2 import NameAttrList
from ckptstore._proto.function_pb2 import FunctionDef
from ckptstore.errors import DataLossError
from ckptstore.graph.evaluator.executor import Executor, Value
from ckptstore.graph.evaluator.program import Body, Program, Step, compile_program
from ckptstore.graph.kernels import State

CALLERS = frozenset(
    [
        "If", "StatelessIf", "While", "StatelessWhile", "Case", "StatelessCase",
        "PartitionedCall", "StatefulPartitionedCall",
    ]
)  # fmt: skip
"""The ops that call functions named in their attributes."""


class Functions:
    """Runs functions, each compiled when it is first called.

    Args:
        library: The functions by name.
        state: The variables.
    """

    def __init__(self, library: Mapping[str, FunctionDef], state: State) -> None:
        self._library = library
        self._state = state
        self._programs: dict[bytes, Program] = {}

    def __contains__(self, op: object) -> bool:
        return op in self._library

    def called_by(self, step: Step) -> Iterator[NameAttrList]:
        """The functions that a step may call."""
        if step.function is not None:
            yield step.function
        elif step.op in CALLERS:
            for value in step.attrs.values():
                for function in value if isinstance(value, list) else [value]:
                    if isinstance(function, NameAttrList):
                        yield function

    def program(self, function: NameAttrList) -> Program:
        """What a function does.

        Raises:
            DataLossError: It is not there, or malformed.
        """
        key = function.SerializeToString(deterministic=True)
        if key not in self._programs:
            self._programs[key] = self._compiled(function)
        return self._programs[key]

    def _compiled(self, function: NameAttrList) -> Program:
        if function.name not in self._library:
            raise DataLossError(f"the function {function.name!r} is not in the library", name=function.name)
        definition = self._library[function.name]
        body = Body(definition, self._library, function.attr)
        results = [arg.name for arg in definition.signature.output_arg]
        if lost := [name for name in results if name not in definition.ret]:
            raise DataLossError(f"the function {function.name!r} does not give {lost[0]!r}", name=function.name)
        wanted = [body.endpoint(definition.ret[name], function.name) for name in results]
        targets = [*(body.control(f"^{node}", function.name) for node in definition.control_ret.values())]
        targets += _stateful(body)
        return compile_program(body, wanted, targets, [(name, 0) for name in body.arguments])

    def call(self, step: Step, inputs: Sequence[Value]) -> Sequence[Value]:
        """What a step that calls functions gives."""
        if step.function is not None:
            return self._run(step.function, inputs)
        attrs = step.attrs
        if step.op in ("If", "StatelessIf"):
            return self._run(attrs["then_branch" if _is_true(inputs[0]) else "else_branch"], inputs[1:])
        if step.op in ("Case", "StatelessCase"):
            branches = attrs["branches"]
            index = int(inputs[0])
            return self._run(branches[index if 0 <= index < len(branches) else -1], inputs[1:])
        if step.op in ("While", "StatelessWhile"):
            values = inputs
            while _is_true(self._run(attrs["cond"], values)[0]):
                values = self._run(attrs["body"], values)
            return values
        return self._run(attrs["f"], inputs)

    def _run(self, function: NameAttrList, inputs: Sequence[Value]) -> list[Value]:
        program = self.program(function)
        if len(inputs) != len(program.feeds):
            raise ValueError(f"the function {function.name!r} takes {len(program.feeds)} values, not {len(inputs)}")
        return Executor(program, self._state, self.call).run(inputs)


def _stateful(body: Body) -> Iterator[str]:
    """Nodes that are run for what they do, even if nothing takes what they give."""
    for node in body.nodes.values():
        definition = body.definition(node.op)
        if definition is not None and definition.is_stateful:
            yield node.name


def _is_true(value: Any) -> bool:
    """Not zero, and not empty, as TensorFlow takes it."""
    array = np.asarray(value)
    return bool(array.size) if array.ndim else bool(array.item())
