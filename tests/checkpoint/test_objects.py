"""Object-based checkpoints: trees to keys and graphs, as tf.train.Checkpoint makes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import ckptstore as ck
from ckptstore._proto.trackable_object_graph_pb2 import TrackableObjectGraph
from ckptstore.bundle import BundleBuilder, BundleWriter
from ckptstore.checkpoint.objects import OBJECT_GRAPH_KEY, ObjectGraph, TrackedNode, escape, object_items, tree_items
from ckptstore.storage import LocalStore
from tests.support.golden import GOLDEN, expectation


def _tree(case: str, prefix: str, key: str) -> TrackedNode:
    """The tree that a golden case recorded, with the values that TensorFlow wrote."""
    said = expectation(case)[key]
    nodes = [TrackedNode() for _ in said]
    with ck.load_checkpoint(GOLDEN / case / prefix) as reader:
        for node, record in zip(nodes, said, strict=True):
            for name, number in record["children"]:
                node.children[name] = nodes[number]
            for _, full_name, stored in record["attributes"]:
                node.value, node.full_name = np.asarray(reader[stored]), full_name
    return nodes[0]


@pytest.mark.parametrize(
    ("case", "prefix", "key"),
    [
        ("10a_object_simple", "obj/ckpt-1", "objects"),
        ("10a_object_simple", "obj/written", "objects_written"),
        ("10e_object_root_and_attached", "r/ck-1", "objects"),
        ("10e_object_root_and_attached", "single", "objects_single"),
    ],
)
def test_trees_become_tensorflows_bytes(case: str, prefix: str, key: str) -> None:
    """Shared objects, a root that is a child of itself, names with '/' and '.', a variable for a root."""
    builder = BundleBuilder()
    for name, value in tree_items(_tree(case, prefix, key)).items():
        builder.add(name, value)
    assert builder.index() == (GOLDEN / case / f"{prefix}.index").read_bytes()
    assert b"".join(builder.shards[0]) == (GOLDEN / case / f"{prefix}.data-00000-of-00001").read_bytes()


def test_names_become_a_tree() -> None:
    items = object_items({"b": 1, "a/w": 2, "a/b.c/x": 3}, save_counter=5)
    assert list(items) == [
        "b/.ATTRIBUTES/VARIABLE_VALUE",
        "save_counter/.ATTRIBUTES/VARIABLE_VALUE",
        "a/w/.ATTRIBUTES/VARIABLE_VALUE",
        "a/b..c/x/.ATTRIBUTES/VARIABLE_VALUE",
        OBJECT_GRAPH_KEY,
    ]
    graph = TrackableObjectGraph.FromString(items[OBJECT_GRAPH_KEY])
    assert [[c.local_name for c in node.children] for node in graph.nodes][:2] == [
        ["a", "b", "save_counter"],
        ["w", "b.c"],
    ]
    assert items["save_counter/.ATTRIBUTES/VARIABLE_VALUE"] == 5
    objects = ObjectGraph.parse(items[OBJECT_GRAPH_KEY])
    assert list(objects.paths) == ["b", "save_counter", "a/w", "a/b.c/x"]
    assert objects.resolve("a/b.c/x") == objects.resolve("a/b..c/x") == "a/b..c/x/.ATTRIBUTES/VARIABLE_VALUE"
    assert objects.full_names["a/w"] == "a/w/.ATTRIBUTES/VARIABLE_VALUE"
    assert escape("a/b.c") == "a.Sb..c"


@pytest.mark.parametrize("names", [["save_counter"], ["a", "a/b"], ["a/b", "a"], ["a//b"], ["a/"], ["/a"]])
def test_names_that_are_no_tree(names: list[str]) -> None:
    with pytest.raises(ck.InvalidArgumentError, match=r"cannot be an object path|has a tensor for a parent"):
        object_items(dict.fromkeys(names, 1), 1)


def test_a_chain_of_many_objects_is_no_recursion() -> None:
    items = object_items({"/".join(["x"] * 5000): 1}, 1)
    graph = TrackableObjectGraph.FromString(items[OBJECT_GRAPH_KEY])
    assert len(graph.nodes) == 5002
    assert all(node.has_checkpoint_values.value for node in graph.nodes)


def test_a_forged_graph_does_no_harm() -> None:
    graph = TrackableObjectGraph()
    graph.nodes.add().children.add(node_id=99, local_name="out")
    graph.nodes[0].children.add(node_id=0, local_name="self")
    graph.nodes[0].slot_variables.add(original_variable_node_id=-1, slot_name="s", slot_variable_node_id=77)
    objects = ObjectGraph.parse(graph.SerializeToString())
    assert objects.resolve("out") is None
    assert objects.resolve("self/self/self") is None
    assert objects.paths == {}
    with pytest.raises(ck.DataLossError, match="no TrackableObjectGraph"):
        ObjectGraph.parse(b"\xff")
    assert ObjectGraph.parse(b"").resolve("") is None


def test_a_graph_that_is_no_string(tmp_path: Any) -> None:
    writer = BundleWriter(LocalStore(tmp_path), "m")
    writer.add_all({OBJECT_GRAPH_KEY: np.zeros(3), "v": 1})
    writer.finish()
    with pytest.raises(ck.DataLossError, match="object graph is no string"):
        ck.restore(tmp_path / "m")
