"""What a Saver's nodes restore, read from the graph: which tensor of a checkpoint goes into which variable.

variable <- Assign | AssignVariableOp <- { Identity | Reshape | Cast } <- RestoreV2 | RestoreSlice | Restore
"""

from __future__ import annotations

from dataclasses import replace

from ckptstore._proto.saver_pb2 import SaverDef
from ckptstore.errors import DataLossError, InvalidArgumentError, UnsupportedError
from ckptstore.format.slices import TensorSlice
from ckptstore.graph.collections import VARIABLES
from ckptstore.graph.graph import Graph
from ckptstore.graph.names import split_tensor
from ckptstore.graph.save_nodes import SaveSpec
from ckptstore.graph.slice_info import SaveSliceInfo
from ckptstore.graph.tensor import Operation, Tensor
from ckptstore.graph.variable import Variable

_ASSIGNMENTS = frozenset(["Assign", "AssignVariableOp"])
_RESTORES = frozenset(["RestoreV2", "RestoreSlice", "Restore"])
_PASSING = frozenset(["Identity", "Reshape", "Cast", "RefIdentity"])


def read_specs(graph: Graph, saver_def: SaverDef) -> list[SaveSpec]:
    """What the Saver of a graph saves and restores, in the order of the names.

    Raises:
        InvalidArgumentError: The graph does not have the Saver's nodes.
        DataLossError: What the nodes say contradicts itself.
        UnsupportedError: Something else than variables is restored: tables, iterators.
    """
    known = {
        variable.op.name: variable
        for key in VARIABLES
        for variable in graph.get_collection(key)
        if isinstance(variable, Variable)
    }
    out: list[SaveSpec] = []
    foreign: set[str] = set()
    for operation in _needed_by(graph.operation(split_tensor(saver_def.restore_op_name)[0])):
        if operation.type in _ASSIGNMENTS:
            spec = _spec(operation, known)
            if spec is not None:
                out.append(spec)
        elif "Import" in operation.type or "Deserialize" in operation.type:
            foreign.add(f"{operation.name!r} ({operation.type})")
    if foreign:
        raise UnsupportedError(
            f"The Saver restores more than variables: {', '.join(sorted(foreign))}; only TensorFlow can do that."
        )
    return sorted(out, key=lambda spec: spec.key)


def _needed_by(operation: Operation) -> list[Operation]:
    """An operation and all that runs before it, inputs first in the order in which they are named."""
    graph, seen, out = operation.graph, {operation.name}, []
    waiting = [operation]
    while waiting:
        current = waiting.pop()
        out.append(current)
        for name in current.node_def.input:
            node = split_tensor(name.removeprefix("^"))[0]
            if node not in seen:
                seen.add(node)
                waiting.append(graph.operation(node))
    return out[::-1]


def _spec(assignment: Operation, known: dict[str, Variable]) -> SaveSpec | None:
    target, value = _input(assignment, 0), _input(assignment, 1)
    passed: set[str] = set()
    while value.op.type in _PASSING and value.op.name not in passed:
        passed.add(value.op.name)
        value = _input(value.op, 0)
    if value.op.type not in _RESTORES:
        return None
    key, part = _names(value)
    variable = known.get(target.op.name)
    if variable is None:
        if target.op.type not in ("VariableV2", "Variable", "VarHandleOp"):
            raise InvalidArgumentError(
                f"The Saver restores {key!r} into {target.op.name!r}, which is a {target.op.type} and no variable.",
                name=key,
            )
        variable = Variable.of(target.op)
    if not part:
        return SaveSpec(key, variable)
    info = _slice_info(key, part)
    if variable.save_slice_info is None or replace(variable.save_slice_info, full_name=key) != info:
        variable = Variable.of(target.op)
        variable.save_slice_info = info
    return SaveSpec(key, variable, sliced=True)


def _input(operation: Operation, number: int) -> Tensor:
    inputs = operation.inputs
    if number >= len(inputs):
        raise DataLossError(
            f"the node {operation.name!r}, a {operation.type}, has {len(inputs)} inputs", name=operation.name
        )
    return inputs[number]


def _names(value: Tensor) -> tuple[str, str]:
    """The name in the checkpoint, and the slice, of what a restore node puts out."""
    inputs = value.op.inputs
    texts = []
    for tensor in inputs[1:]:
        constant = tensor.constant_value()
        if constant is None or constant.dtype != object:
            raise DataLossError(
                f"the node {value.op.name!r} does not say what it restores: {tensor.name} is no constant"
            )
        texts.append(constant.reshape(-1))
    try:
        names = [text[value.index].decode("utf-8", "surrogateescape") for text in texts]
    except IndexError:
        raise DataLossError(f"the node {value.op.name!r} has more outputs than names") from None
    return names[0], names[1] if len(names) > 1 else ""


def _slice_info(key: str, spec: str) -> SaveSliceInfo:
    try:
        *sizes, extents = spec.split()
        full = tuple(map(int, sizes))
        box = TensorSlice.parse(extents).box(full)
    except ValueError as error:  # also ours
        raise DataLossError(f"the slice {spec!r} of {key!r} cannot be read ({error})") from error
    return SaveSliceInfo(key, full, tuple(a for a, _ in box), tuple(b - a for a, b in box))
