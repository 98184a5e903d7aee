"""Graphs whose variables are constants: for running a model, not for training it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from ckptstore._proto.graph_pb2 import GraphDef
from ckptstore._proto.node_def_pb2 import NodeDef
from ckptstore.errors import IncompatibleTensorError, InvalidArgumentError, TensorNotFoundError, UnsupportedError
from ckptstore.format.tensor import as_array
from ckptstore.graph.attributes import Shape, base_dtype, decode_shape
from ckptstore.graph.conversion import Conversion, Held
from ckptstore.graph.nearest import describe_missing
from ckptstore.graph.subgraph import called_functions, extract_sub_graph, output_nodes
from ckptstore.graph.tensors import make_tensor_proto
from ckptstore.graph.training_nodes import remove_training_nodes

_VARIABLES = frozenset(["Variable", "VariableV2", "VarHandleOp"])
_LARGEST = (1 << 31) - 1  # bytes in a message
_TRAINING_ATTRIBUTES = (
    "_class",
    "_output_shapes",
    "_has_manual_control_dependencies",
    "_gradient_op_type",
    "_read_only_resource_inputs",
)


def needed_variables(graph_def: GraphDef, outputs: Any) -> list[str]:
    """The nodes of the variables whose values `freeze` needs for these outputs, in the order of the graph.

    Raises:
        InvalidArgumentError: There are no such outputs.
    """
    part = extract_sub_graph(graph_def, outputs, colocated=False)
    return [node.name for node in part.node if node.op in _VARIABLES]


def freeze(
    graph_def: GraphDef,
    values: Mapping[str, np.ndarray[Any, Any]],
    outputs: Any,
    *,
    variable_names_whitelist: Collection[str] | None = None,
    variable_names_blacklist: Collection[str] | None = None,
    clear_devices: bool = True,
) -> GraphDef:
    """What some outputs of a model need, with its variables as constants and without what only training needs.

    Names and versions stay; placeholders stay as they are. Functions that nobody calls any more are gone.

    Args:
        graph_def: The graph; it is not changed.
        values: The values of the variables, by the names of their nodes, with or without ":0". Only those are looked
            up that the outputs need.
        outputs: Names of nodes or tensors, or objects that have such a name.
        variable_names_whitelist: If given, the only variables to convert.
        variable_names_blacklist: Variables that stay variables.
        clear_devices: Whether nodes are no longer bound to the devices that the model was trained on.

    Raises:
        InvalidArgumentError: There are no such outputs, or none was asked for.
        TensorNotFoundError: Variables have no values: all of them, each with the nearest names.
        IncompatibleTensorError: Values are not of the types or shapes of their variables: all of them.
        UnsupportedError: A node needs a variable itself, or a frozen graph would be larger than a GraphDef can be.
    """
    names = output_nodes(graph_def, outputs)
    if not names:
        raise InvalidArgumentError("No outputs were asked for; a frozen graph is what outputs need.")
    graph = extract_sub_graph(graph_def, names, colocated=False)
    _forget_training(graph, clear_devices)
    variables = _chosen(graph, variable_names_whitelist, variable_names_blacklist)
    found = _values(variables, values)
    _convert(graph, variables, found)
    graph = extract_sub_graph(remove_training_nodes(graph, names), names)
    _drop_uncalled(graph)
    # The values come last, since each of the steps before it copies the graph.
    _fill(graph, found)
    return graph


def convert_variables_to_constants(
    graph_def: GraphDef,
    values: Mapping[str, np.ndarray[Any, Any]],
    output_node_names: Any,
    variable_names_whitelist: Collection[str] | None = None,
    variable_names_blacklist: Collection[str] | None = None,
) -> GraphDef:
    """What some outputs need, with the variables in it as constants: node for node what TensorFlow makes of it.

    Args:
        graph_def: The graph; it is not changed.
        values: The values of the variables, by the names of their nodes, with or without ":0".
        output_node_names: Names of nodes or tensors, or objects that have such a name.
        variable_names_whitelist: If given, the only variables to convert.
        variable_names_blacklist: Variables that stay variables.

    Raises:
        InvalidArgumentError: There are no such outputs.
        TensorNotFoundError: Variables have no values: all of them, each with the nearest names.
        IncompatibleTensorError: Values are not of the types or shapes of their variables: all of them.
        UnsupportedError: A node needs a variable itself, or a frozen graph would be larger than a GraphDef can be.
    """
    graph = extract_sub_graph(graph_def, output_node_names)
    variables = _chosen(graph, variable_names_whitelist, variable_names_blacklist)
    found = _values(variables, values)
    _convert(graph, variables, found)
    _fill(graph, found)
    return graph


def _chosen(graph: GraphDef, whitelist: Collection[str] | None, blacklist: Collection[str] | None) -> list[NodeDef]:
    only = None if whitelist is None else _names(whitelist)
    without = set() if blacklist is None else _names(blacklist)
    return [
        node
        for node in graph.node
        if node.op in _VARIABLES and (only is None or node.name in only) and node.name not in without
    ]


def _names(given: Collection[str]) -> set[str]:
    return {name.removesuffix(":0") for name in ([given] if isinstance(given, str) else given)}


def _values(variables: list[NodeDef], values: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """The values of variables, each of the variable's type and shape."""
    keys = {node.name: key for node in variables for key in (f"{node.name}:0", node.name) if key in values}
    missing = [node.name for node in variables if node.name not in keys]
    if missing:
        raise TensorNotFoundError(
            f"Variables without values: {describe_missing(missing, [name.removesuffix(':0') for name in values])}. "
            "Give their values, or choose outputs that do not need them.",
            name=missing[0],
            missing=tuple(missing),
        )
    found, problems = {}, []
    for node in variables:
        dtype = base_dtype(node.attr["dtype"].type)
        array, given = as_array(values[keys[node.name]], node.name)
        shape = decode_shape(node.attr["shape"].shape)
        if given.numpy != dtype.numpy or not _fits(array.shape, shape):
            wanted = "of any shape" if shape is None else str(["?" if size is None else size for size in shape])
            problems.append(f"{node.name!r} is {dtype} {wanted}, its value {given} {list(array.shape)}")
        found[node.name] = array
    if problems:
        raise IncompatibleTensorError(f"Values do not fit their variables: {'; '.join(problems)}.")
    size = sum(array.nbytes for array in found.values())
    if size > _LARGEST:
        raise UnsupportedError(f"The variables take {size} bytes; a GraphDef cannot be larger than {_LARGEST}.")
    return found


def _fits(given: tuple[int, ...], shape: Shape) -> bool:
    if shape is None:
        return True
    return len(given) == len(shape) and all(b in (None, a) for a, b in zip(given, shape, strict=True))


def _convert(graph: GraphDef, variables: list[NodeDef], found: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Makes the variables constants, as yet without values."""
    constants = {}
    for node in variables:
        name, op, dtype = node.name, node.op, node.attr["dtype"].type
        constants[name] = Held(dtype, found[name].shape, "resource" if op == "VarHandleOp" else "reference")
        node.Clear()
        node.name, node.op = name, "Const"
        node.attr["dtype"].type = dtype
    Conversion(graph).run(constants)


def _fill(graph: GraphDef, found: Mapping[str, np.ndarray[Any, Any]]) -> None:
    for node in graph.node:
        if node.name in found:
            dtype = base_dtype(node.attr["dtype"].type)
            node.attr["value"].tensor.CopyFrom(make_tensor_proto(found[node.name], dtype))


def _forget_training(graph: GraphDef, clear_devices: bool) -> None:
    bodies = [graph.node, *(function.node_def for function in graph.library.function)]
    for node in (node for body in bodies for node in body):
        for name in _TRAINING_ATTRIBUTES:
            node.attr.pop(name, None)
        if clear_devices:
            node.device = ""


def _drop_uncalled(graph: GraphDef) -> None:
    called = called_functions(graph.node, graph.library.function)
    kept = [function for function in graph.library.function if function.signature.name in called]
    gradients = [g for g in graph.library.gradient if {g.function_name, g.gradient_func} <= called]
    graph.ClearField("library")
    if kept:
        graph.library.function.extend(kept)
        graph.library.gradient.extend(gradients)
