"""A graph of nothing but variables, for tensors that come from no graph: TensorFlow then imports and restores it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ckptstore.format.dtypes import DType
from ckptstore.graph.graph import Graph
from ckptstore.graph.names import as_node
from ckptstore.graph.save_nodes import SaveSpec
from ckptstore.graph.slice_info import SaveSliceInfo
from ckptstore.graph.tensors import filled
from ckptstore.graph.variable import Variable


@dataclass(frozen=True, slots=True)
class Declaration:
    """A tensor, or a part of one.

    Attributes:
        key: Its name in the checkpoint; where a node cannot have it, one like it is taken for the node.
        dtype: Its element type.
        shape: Its shape.
        info: Which part of the whole it is, or None if it is all of it.
    """

    key: str
    dtype: DType
    shape: tuple[int, ...]
    info: SaveSliceInfo | None = None


def declare(graph: Graph, declarations: Iterable[Declaration]) -> list[SaveSpec]:
    """Adds a variable without a value for each, all zeros in TensorFlow until it is restored."""
    out: list[SaveSpec] = []
    parts: dict[str, int] = {}
    for declaration in declarations:
        key, name = declaration.key, as_node(declaration.key)
        if declaration.info is not None:
            number = parts[key] = parts.get(key, -1) + 1
            name = f"{name}/part_{number}"
        with graph.name_scope(name) as scope:
            attrs = {"value": filled(declaration.dtype, declaration.shape), "dtype": declaration.dtype}
            zeros = graph.create_op("Const", (), attrs, name="Initializer/zeros").outputs[0]
            variable = Variable(zeros, name=scope, graph=graph, save_slice_info=declaration.info, initialize=False)
        out.append(SaveSpec(key, variable, sliced=declaration.info is not None))
    return out
