"""The graphs of some golden cases, built here as tests/golden/make_golden.py builds them with TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy as np

from ckptstore._proto.saver_pb2 import SaverDef
from ckptstore.graph.graph import Graph
from ckptstore.graph.partitioned_variable import PartitionedVariable
from ckptstore.graph.save_nodes import SaveNodes, SaveSpec
from ckptstore.graph.variable import Variable


def rng(seed: int) -> np.random.RandomState:
    return np.random.RandomState(seed)


def basic(use_resource: bool) -> Graph:
    """01a and 01b: a dense layer, its collections."""
    graph = Graph()
    with graph.as_default():
        x = graph.placeholder(np.float32, [None, 3], name="x")
        w = Variable(rng(1).randn(3, 2).astype("f"), name="dense/kernel", use_resource=use_resource)
        b = Variable(np.array([0.5, -1.25], "f"), name="dense/bias", use_resource=use_resource)
        product = graph.create_op("MatMul", [x, w])
        y = graph.create_op("AddV2", [product.outputs[0], b], name="y")
        graph.add_to_collection("train_op", y)
        graph.add_to_collection("outputs", y.outputs[0])
        graph.add_to_collection("my_ints", 7)
        graph.add_to_collection("my_floats", 2.5)
        graph.add_to_collection("my_strings", "hello")
        initializers(graph)
    return graph


def partitioned(use_resource: bool) -> Graph:
    """05a, 05b, 06a and 09c."""
    graph = Graph()
    with graph.as_default():
        options: dict[str, Any] = {"use_resource": use_resource}
        PartitionedVariable.split(np.arange(40, dtype="f").reshape(10, 4), 3, name="emb", **options)
        PartitionedVariable.split(np.arange(260, dtype="i4").reshape(2, 130), 2, axis=1, name="conv/k", **options)
        PartitionedVariable.split(np.array([1.0, 2.0, 3.0], "f"), 1, name="single", **options)
        Variable(np.float32(9), name="plain", **options)
        initializers(graph)
    return graph


def on_devices() -> Graph:
    """06b and 09d. TensorFlow gave the parts of "emb" their device by a function, whose text it keeps as it is."""
    graph = Graph()
    with graph.as_default():
        for i in range(3):
            with graph.device(f"/cpu:{i}"):
                for j in range(2):
                    Variable((rng(10 * i + j).randn(2, 3) * 10).astype("f"), name=f"d{i}/v{j}")
        whole = PartitionedVariable.split(np.arange(14, dtype="f").reshape(7, 2), 3, name="emb")
        for number, part in enumerate(whole):
            for operation in (part.op, part.initializer, part.snapshot.op):
                operation.node_def.device = f"/cpu:{number}"
        Variable(np.int32(5), name="nodev")
        initializers(graph)
    return graph


def initializers(graph: Graph) -> None:
    graph.group(*(variable.initializer for variable in graph.get_collection("variables")), name="init")


def specs(graph: Graph) -> list[SaveSpec]:
    found = []
    for variable in graph.get_collection("variables"):
        info = variable.save_slice_info
        found.append(SaveSpec(variable.op.name if info is None else info.full_name, variable, sliced=info is not None))
    return sorted(found, key=lambda spec: spec.key)


def add_saver(graph: Graph, *, sharded: bool = False, version: int = SaverDef.V2, reshape: bool = False) -> SaverDef:
    """As `Saver()` does, with its defaults."""
    saver_def = SaveNodes(graph, specs(graph), sharded=sharded, version=version, reshape=reshape).add()
    saver_def.max_to_keep = 5
    saver_def.keep_checkpoint_every_n_hours = 10000.0
    return saver_def
