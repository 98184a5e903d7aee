"""Variables: made, read, assigned, and changed row by row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ckptstore.graph.kernels.gather import check_indices, gather, gather_nd
from ckptstore.graph.kernels.registry import Array, Attributes
from ckptstore.graph.kernels.state import State, Variable, check_assignable, stateful


@stateful("Variable", "VariableV2")
def _variable(state: State, node: str, attrs: Attributes) -> Variable:
    del state
    return Variable(node, attrs["dtype"], attrs.get("shape"), is_reference=True)


@stateful("VarHandleOp")
def _var_handle(state: State, node: str, attrs: Attributes) -> Variable:
    del state
    name = attrs.get("shared_name", b"").decode("utf-8", "surrogateescape") or node
    return Variable(name, attrs["dtype"], attrs.get("shape"), is_reference=False)


@stateful("ReadVariableOp")
def _read(state: State, node: str, attrs: Attributes, variable: Variable) -> Array:
    del node, attrs
    return state.read(variable)


@stateful("VariableShape")
def _shape(state: State, node: str, attrs: Attributes, variable: Variable) -> Array:
    del node
    return np.asarray(state.read(variable).shape, attrs["out_type"].numpy if "out_type" in attrs else np.int32)


@stateful("IsVariableInitialized", "VarIsInitializedOp")
def _is_initialized(state: State, node: str, attrs: Attributes, variable: Variable) -> Array:
    del node, attrs
    return np.asarray(state.has(variable))


@stateful("RefIdentity")
def _ref_identity(state: State, node: str, attrs: Attributes, variable: Variable) -> Variable:
    del state, node, attrs
    return variable


@stateful("DisableCopyOnRead")
def _disable_copy_on_read(state: State, node: str, attrs: Attributes, variable: Variable) -> list[Array]:
    del state, node, attrs, variable
    return []


@stateful("Assign")
def _assign(state: State, node: str, attrs: Attributes, variable: Variable, value: Array) -> Variable:
    del node
    if attrs.get("validate_shape", True):
        check_assignable(variable, value)
    state.write(variable, value)
    return variable


@stateful("AssignVariableOp")
def _assign_variable(state: State, node: str, attrs: Attributes, variable: Variable, value: Array) -> list[Array]:
    del node, attrs
    check_assignable(variable, value)
    state.write(variable, value)
    return []


def returned(variable: Variable) -> Any:
    """What an op on a variable gives: a reference to it, or nothing where it took a handle."""
    return variable if variable.is_reference else []


def _register_update(function: Callable[..., Any], *ops: str) -> None:
    @stateful(*ops)
    def update(state: State, node: str, attrs: Attributes, variable: Variable, value: Array) -> Any:
        del node, attrs
        before = state.read(variable)
        if before.shape != value.shape:
            raise ValueError(f"{list(value.shape)} is not the shape of {variable.name!r}, {list(before.shape)}")
        state.update(variable, np.asarray(function(before, value), before.dtype))
        return returned(variable)


_register_update(np.add, "AssignAdd", "AssignAddVariableOp")
_register_update(np.subtract, "AssignSub", "AssignSubVariableOp")


def _register_scatter(change: Callable[[Array, Array, Array], Any], *ops: str) -> None:
    @stateful(*ops)
    def scatter(state: State, node: str, attrs: Attributes, variable: Variable, indices: Array, updates: Array) -> Any:
        del node, attrs
        value = state.read(variable).copy()
        check_indices(indices, value.shape[0])
        change(value, indices, updates)
        state.update(variable, value)
        return returned(variable)


def _put(value: Array, indices: Array, updates: Array) -> None:
    value[indices] = updates


_register_scatter(_put, "ScatterUpdate", "ResourceScatterUpdate")
_register_scatter(np.add.at, "ScatterAdd", "ResourceScatterAdd")
_register_scatter(np.subtract.at, "ScatterSub", "ResourceScatterSub")


@stateful("ResourceGather")
def _resource_gather(state: State, node: str, attrs: Attributes, variable: Variable, indices: Array) -> Array:
    del node
    batch_dims = attrs.get("batch_dims", 0)
    return gather(state.read(variable), indices, batch_dims, batch_dims)


@stateful("ResourceGatherNd")
def _resource_gather_nd(state: State, node: str, attrs: Attributes, variable: Variable, indices: Array) -> Array:
    del node, attrs
    return gather_nd(state.read(variable), indices)
