"""Runs a GraphDef on numpy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import numpy as np

from ckptstore._proto.graph_pb2 import GraphDef
from ckptstore._proto.node_def_pb2 import NodeDef
from ckptstore.errors import InvalidArgumentError, UnsupportedError
from ckptstore.format.dtypes import DType
from ckptstore.graph.attributes import Shape, decode_shape
from ckptstore.graph.evaluator.executor import CONTROL_FLOW, Executor, Value
from ckptstore.graph.evaluator.feeding import as_fed, name_of, names_in, put_together
from ckptstore.graph.evaluator.functions import CALLERS, Functions
from ckptstore.graph.evaluator.program import FEED, PLACEHOLDERS, Body, Endpoint, Program, Step, compile_program
from ckptstore.graph.kernels import KERNELS, STATEFUL, State, Variable
from ckptstore.graph.names import split_tensor
from ckptstore.graph.nearest import describe_missing
from ckptstore.graph.nodes import outputs_of

_SAVERS = frozenset(
    [
        "MergeV2Checkpoints", "Restore", "RestoreSlice", "RestoreV2", "Save", "SaveSlices", "SaveV2",
        "ShardedFilename", "ShardedFilespec",
    ]
)  # fmt: skip
_SCALARS_UNKNOWN = 21
"""Up to this version of graphs a placeholder with the shape of a scalar may be of any shape."""


def supported_ops() -> list[str]:
    """All ops that can be run, by name."""
    return sorted({*KERNELS, *STATEFUL, *CONTROL_FLOW, *CALLERS, *PLACEHOLDERS})


class Evaluator:
    """Runs a graph on numpy. A reference: correct before fast.

    Values of random ops have TensorFlow's distributions, and are not its values. Nothing is printed by Print.

    Args:
        graph_def: The graph; it must not change as long as it is run.
        variables: The values of variables, by the names of their nodes; of a VarHandleOp with a shared name, by that.
            What the graph assigns is written to it.

    Raises:
        DataLossError: Two nodes have one name.
    """

    def __init__(self, graph_def: GraphDef, variables: MutableMapping[str, np.ndarray[Any, Any]] | None = None) -> None:
        library = {function.signature.name: function for function in graph_def.library.function}
        self._body = Body(graph_def, library)
        self._state = State({} if variables is None else variables)
        self._functions = Functions(library, self._state)
        self._producer = graph_def.versions.producer

    def run(self, fetches: Any, feeds: Mapping[Any, Any] | None = None) -> Any:
        """Computes what is asked for, and runs nothing but what that needs.

        Args:
            fetches: "name:0" for a tensor, "name" for an operation that is only to be run, or an object with such a
                `name`; or lists, tuples and mappings of these, nested as you like.
            feeds: Values by the names of tensors, or by objects with such a `name`. They are used in place of what the
                graph would compute.

        Returns:
            Values in the place of names: arrays; numpy's scalars, or bytes, for those of rank 0; None for operations.

        Raises:
            InvalidArgumentError: A name is unknown, a placeholder is not fed, a fed value does not fit, a variable has
                no value, or a step failed.
            UnsupportedError: Nodes have ops that cannot be run: all of them, before anything is.
            DataLossError: The graph is malformed.
        """
        names = names_in(fetches)
        given = {self._tensor(name_of(key), "fed"): value for key, value in (feeds or {}).items()}
        wanted = {name: self._tensor(name, "fetched") for name in dict.fromkeys(names)}
        tensors = {name: endpoint for name, endpoint in wanted.items() if ":" in name}
        operations = [node for name, (node, _) in wanted.items() if name not in tensors]
        targets = [node for node in operations if not (self._is_placeholder(node) and (node, 0) in given)]
        fed = [self._fed(endpoint, value) for endpoint, value in given.items()]
        program = compile_program(self._body, tensors.values(), targets, given)
        self._check(program)
        results = Executor(program, self._state, self._functions.call).run(fed)
        values = {name: self._given_back(name, value) for name, value in zip(tensors, results, strict=True)}
        return put_together(fetches, values.get)

    def _is_placeholder(self, node: str) -> bool:
        return self._body.nodes[node].op in PLACEHOLDERS

    def _tensor(self, name: str, what: str) -> Endpoint:
        endpoint = split_tensor(name)
        node = self._body.nodes.get(endpoint[0])
        if node is None:
            missing = describe_missing([endpoint[0]], self._body.nodes)
            raise InvalidArgumentError(f"{name!r} cannot be {what}: the graph has no {missing}.", name=name)
        count = self._body.outputs(node)
        if count is not None and ":" in name and endpoint[1] >= count:
            raise InvalidArgumentError(f"{name!r} cannot be {what}: {node.name!r} has {count} outputs.", name=name)
        return endpoint

    def _fed(self, endpoint: Endpoint, value: Any) -> Value:
        node = self._body.nodes[endpoint[0]]
        dtype = self._dtype(node, endpoint[1])
        return as_fed(value, dtype, self._shape(node), f"{endpoint[0]}:{endpoint[1]}")

    def _dtype(self, node: NodeDef, output: int) -> DType | None:
        definition = self._body.definition(node.op)
        types = [] if definition is None else outputs_of(definition, node)
        return types[output][0] if output < len(types) else None

    def _shape(self, node: NodeDef) -> Shape:
        """The shape that a value for a placeholder must have."""
        if not (node.op in PLACEHOLDERS or node.op == "PlaceholderWithDefault") or "shape" not in node.attr:
            return None
        shape = decode_shape(node.attr["shape"].shape)
        return None if shape == () and self._producer <= _SCALARS_UNKNOWN else shape

    def _given_back(self, name: str, value: Value) -> Any:
        if isinstance(value, Variable):
            value = self._state.read(value)
        if not isinstance(value, np.ndarray):
            raise InvalidArgumentError(
                f"{name!r} is a {type(value).__name__}, which has no value; fetch what is read from it.", name=name
            )
        return np.array(value)[()]  # a copy: what the caller does to it is not to be seen in variables

    # -- what can be run

    def _check(self, program: Program) -> None:
        unsupported: dict[str, str] = {}
        unfed = []
        for step in self._all_steps(program):
            if step.op in PLACEHOLDERS:
                unfed.append(step.name)
            elif not self._can_run(step):
                unsupported.setdefault(step.op, step.name)
        if unsupported:
            raise UnsupportedError(_unsupported(unsupported), name=next(iter(unsupported.values())))
        if unfed:
            names = ", ".join(repr(name) for name in unfed)
            raise InvalidArgumentError(f"Placeholders that are needed and were not fed: {names}.", name=unfed[0])

    def _can_run(self, step: Step) -> bool:
        known: tuple[Any, ...] = (KERNELS, STATEFUL, CONTROL_FLOW, CALLERS, self._functions)
        return step.op == FEED or any(step.op in ops for ops in known)

    def _all_steps(self, program: Program) -> Iterator[Step]:
        """The steps of a program, and of the functions that they call, each function once."""
        seen: set[bytes] = set()
        waiting = [program]
        while waiting:
            for step in waiting.pop().steps:
                yield step
                for function in self._functions.called_by(step):
                    key = function.SerializeToString(deterministic=True)
                    if key not in seen:
                        seen.add(key)
                        waiting.append(self._functions.program(function))


def _unsupported(ops: Mapping[str, str]) -> str:
    saving = sorted(op for op in ops if op in _SAVERS)
    others = sorted(op for op in ops if op not in _SAVERS)
    parts = []
    if saving:
        shown = ", ".join(f"{op} (node {ops[op]!r})" for op in saving)
        parts.append(f"Files are not read or written by running a graph; use Saver.save and Saver.restore: {shown}.")
    if others:
        shown = ", ".join(f"{op} (node {ops[op]!r})" for op in others)
        parts.append(f"Ops that cannot be run: {shown}. Those that can: {', '.join(supported_ops())}.")
    return " ".join(parts)
