"""The global step: the variable that counts the steps of a training."""

from __future__ import annotations

import numpy as np

from ckptstore.errors import InvalidArgumentError
from ckptstore.graph.collections import GraphKeys
from ckptstore.graph.graph import Graph, get_default_graph
from ckptstore.graph.variable import Variable

_ONLY_FIRST_REPLICA = 3


def get_global_step(graph: Graph | None = None) -> Variable | None:
    """The global step of a graph, or None if it has none."""
    graph = graph or get_default_graph()
    found = graph.get_collection(GraphKeys.GLOBAL_STEP)
    if len(found) == 1 and isinstance(found[0], Variable):
        return found[0]
    named = [v for v in graph.get_collection(GraphKeys.GLOBAL_VARIABLES) if v.name == "global_step:0"]
    return named[0] if named else None


def create_global_step(graph: Graph | None = None) -> Variable:
    """Makes the global step of a graph: an int64 variable "global_step", from 0.

    Raises:
        InvalidArgumentError: It has one already.
    """
    graph = graph or get_default_graph()
    if get_global_step(graph) is not None:
        raise InvalidArgumentError('"global_step" already exists.', name="global_step")
    return Variable(
        np.int64(0),
        name="global_step",
        trainable=False,
        collections=[GraphKeys.GLOBAL_VARIABLES, GraphKeys.GLOBAL_STEP],
        aggregation=_ONLY_FIRST_REPLICA,
        graph=graph,
    )


def get_or_create_global_step(graph: Graph | None = None) -> Variable:
    """The global step of a graph, made if it has none."""
    found = get_global_step(graph)
    return create_global_step(graph) if found is None else found
