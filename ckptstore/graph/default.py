"""The default graph, without naming it: what tf.compat.v1 has as functions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from ckptstore.graph.collections import GraphKeys
from ckptstore.graph.graph import get_default_graph
from ckptstore.graph.operators import Operators
from ckptstore.graph.tensor import Operation, Tensor
from ckptstore.graph.variable import Variable


def constant(value: Any, dtype: Any = None, shape: Sequence[int] | None = None, name: str = "Const") -> Tensor:
    """A constant in the default graph; see `Graph.constant`."""
    return get_default_graph().constant(value, dtype, shape, name)


def placeholder(dtype: Any, shape: Sequence[int | None] | None = None, name: str = "Placeholder") -> Tensor:
    """A tensor to be fed when the default graph runs; see `Graph.placeholder`."""
    return get_default_graph().placeholder(dtype, shape, name)


def matmul(a: Any, b: Any, name: str = "MatMul") -> Tensor:
    """The matrix product in the default graph; see `Graph.matmul`."""
    return get_default_graph().matmul(a, b, name)


def group(*inputs: Operation | Tensor | Operators, name: str = "group_deps") -> Operation:
    """A node of the default graph that does nothing, after all these; see `Graph.group`."""
    return get_default_graph().group(*inputs, name=name)


def name_scope(name: str) -> AbstractContextManager[str]:
    """Names of nodes made inside begin with this; see `Graph.name_scope`."""
    return get_default_graph().name_scope(name)


def device(name: str | None) -> AbstractContextManager[None]:
    """Nodes made inside are placed on this device; see `Graph.device`."""
    return get_default_graph().device(name)


def control_dependencies(inputs: Sequence[Operation | Tensor | Operators] | None) -> AbstractContextManager[None]:
    """Nodes made inside run after these; see `Graph.control_dependencies`."""
    return get_default_graph().control_dependencies(inputs)


def global_variables(scope: str | None = None) -> list[Variable]:
    """The variables of the default graph; with a scope only those whose name begins with it."""
    return get_default_graph().get_collection(GraphKeys.GLOBAL_VARIABLES, scope)


def trainable_variables(scope: str | None = None) -> list[Variable]:
    """The trainable variables of the default graph."""
    return get_default_graph().get_collection(GraphKeys.TRAINABLE_VARIABLES, scope)


def moving_average_variables(scope: str | None = None) -> list[Variable]:
    """The variables of the default graph that have moving averages."""
    return get_default_graph().get_collection(GraphKeys.MOVING_AVERAGE_VARIABLES, scope)
