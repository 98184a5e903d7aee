"""A graph of what a CheckpointManager saves, for TensorFlow's import_meta_graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckptstore._proto.meta_graph_pb2 import MetaGraphDef
from ckptstore._proto.saver_pb2 import SaverDef
from ckptstore.checkpoint import OBJECT_GRAPH_KEY
from ckptstore.graph.exporting import export_graph
from ckptstore.graph.graph import Graph
from ckptstore.graph.save_nodes import SaveNodes
from ckptstore.graph.skeleton import declare
from ckptstore.train.saveables import declarations, saveables


def graph_of(items: Mapping[str, Any]) -> MetaGraphDef:
    """A variable for each tensor that is saved, and a Saver's nodes for them."""
    graph = Graph()
    tensors = {name: value for name, value in items.items() if name != OBJECT_GRAPH_KEY}
    specs = declare(graph, declarations(saveables(tensors, graph)))
    saver_def = SaveNodes(graph, specs, sharded=False, version=SaverDef.V2, reshape=False).add()
    return export_graph(graph, saver_def)
