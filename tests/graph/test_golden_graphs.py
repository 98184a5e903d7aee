"""Graphs built here against those that TensorFlow wrote, and MetaGraphs read and written back, to the byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckptstore._proto.meta_graph_pb2 import MetaGraphDef
from ckptstore._proto.saver_pb2 import SaverDef
from ckptstore.graph.exporting import TENSORFLOW_VERSION, export_graph
from ckptstore.graph.graph import Graph
from ckptstore.graph.importing import import_graph
from ckptstore.graph.meta_graph import MetaGraph
from ckptstore.graph.restore_nodes import read_specs
from tests.graph import builders
from tests.support.golden import GOLDEN

METAS = sorted([*GOLDEN.rglob("*.meta"), *GOLDEN.rglob("*.mg")])
# These were exported with options; test_options writes them anew.
OPTIONS = ("stripped.meta", "scoped.meta", "nodev.meta")
WHOLE = [path for path in METAS if path.name not in OPTIONS]

BUILT: list[tuple[str, Callable[[], Graph], dict[str, Any]]] = [
    ("01a_basic_ref/model.ckpt.meta", lambda: builders.basic(False), {}),
    ("01b_basic_resource/model.ckpt.meta", lambda: builders.basic(True), {}),
    ("05a_partitioned_ref/part.ckpt.meta", lambda: builders.partitioned(False), {}),
    ("05b_partitioned_resource/part.ckpt.meta", lambda: builders.partitioned(True), {}),
    ("06a_sharded_one_device/part.ckpt.meta", lambda: builders.partitioned(False), {"sharded": True}),
    ("06b_sharded_devices/sh.ckpt-3.meta", builders.on_devices, {"sharded": True}),
    ("09a_v1_basic/model.ckpt.meta", lambda: builders.basic(False), {"version": SaverDef.V1}),
    ("09c_v1_partitioned/part.ckpt.meta", lambda: builders.partitioned(False), {"version": SaverDef.V1}),
    ("09d_v1_sharded/sh.ckpt-3.meta", builders.on_devices, {"version": SaverDef.V1, "sharded": True}),
]


def label(path: Path) -> str:
    return str(path.relative_to(GOLDEN))


def golden(name: str) -> MetaGraphDef:
    return MetaGraphDef.FromString((GOLDEN / name).read_bytes())


def as_by(other: MetaGraphDef, ours: MetaGraphDef) -> MetaGraphDef:
    """Ours, saying that TensorFlow's build wrote it: all else must be the same."""
    assert ours.meta_info_def.tensorflow_git_version.startswith("ckptstore ")
    assert ours.meta_info_def.tensorflow_version == TENSORFLOW_VERSION == other.meta_info_def.tensorflow_version
    ours.meta_info_def.tensorflow_git_version = other.meta_info_def.tensorflow_git_version
    return ours


def assert_same_graph(ours: MetaGraphDef, theirs: MetaGraphDef) -> None:
    nodes, wanted = list(ours.graph_def.node), list(theirs.graph_def.node)
    assert [node.name for node in nodes] == [node.name for node in wanted]
    for node, other in zip(nodes, wanted, strict=True):
        assert node == other
    assert ours == theirs


@pytest.mark.parametrize(("name", "build", "options"), BUILT, ids=[name for name, _, _ in BUILT])
def test_what_is_built_here_is_what_tensorflow_built(
    name: str, build: Callable[[], Graph], options: dict[str, Any]
) -> None:
    """Every node, attribute, collection and definition; the Saver's nodes too."""
    graph, theirs = build(), golden(name)
    saver_def = builders.add_saver(graph, **options)
    assert_same_graph(as_by(theirs, export_graph(graph, saver_def)), theirs)


@pytest.mark.parametrize("path", METAS, ids=label)
def test_forms(path: Path) -> None:
    """Binary, text and JSON hold the same; the binary form is TensorFlow's to the byte."""
    data = path.read_bytes()
    meta = MetaGraph.from_bytes(data)
    assert meta.to_bytes() == data
    assert MetaGraph.from_bytes(meta.to_text().encode()).to_bytes() == data
    text = meta.to_json()
    assert json.loads(text)["graphDef"]
    assert MetaGraph.from_bytes(text.encode()).to_bytes() == data
    printed = path.with_name(f"{path.name}.as_text.pbtxt")
    if printed.exists():
        assert meta.to_text().encode() == printed.read_bytes()
        assert MetaGraph.from_bytes(printed.read_bytes()).to_bytes() == data


@pytest.mark.parametrize("path", WHOLE, ids=label)
def test_imported_and_exported_again(path: Path) -> None:
    """Nothing is lost on the way through a graph."""
    theirs, graph = golden(label(path)), Graph()
    assert import_graph(graph, theirs) == ""
    saver_def = theirs.saver_def if theirs.HasField("saver_def") else None
    assert_same_graph(as_by(theirs, export_graph(graph, saver_def)), theirs)


@pytest.mark.parametrize(
    ("source", "target", "options"),
    [
        ("15_meta_pbtxt/rich.ckpt.meta", "15_meta_pbtxt/scoped.meta", {"export_scope": "m"}),
        ("15_meta_pbtxt/rich.ckpt.meta", "15_meta_pbtxt/nodev.meta", {"clear_devices": True}),
        *(
            (f"{case}/model.ckpt.meta", f"{case}/stripped.meta", {"strip_default_attrs": True, "clear_devices": True})
            for case in ("01a_basic_ref", "01b_basic_resource", "09a_v1_basic")
        ),
    ],
)
def test_options(source: str, target: str, options: dict[str, Any]) -> None:
    theirs, graph = golden(target), Graph()
    whole = golden(source)
    import_graph(graph, whole)
    assert_same_graph(as_by(theirs, export_graph(graph, whole.saver_def, **options)), theirs)


@pytest.mark.parametrize("case", ["01a_basic_ref", "01b_basic_resource", "09a_v1_basic"])
def test_text_export(case: str) -> None:
    whole, graph = golden(f"{case}/model.ckpt.meta"), Graph()
    import_graph(graph, whole)
    ours = MetaGraph(as_by(whole, export_graph(graph, whole.saver_def)))
    assert ours.to_text().encode() == (GOLDEN / case / "exported.pbtxt").read_bytes()


@pytest.mark.parametrize(("name", "build", "options"), BUILT, ids=[name for name, _, _ in BUILT])
def test_what_the_restore_nodes_say(name: str, build: Callable[[], Graph], options: dict[str, Any]) -> None:
    """Read back from the graph alone, without its collections: names, variables, slices."""
    del options
    theirs, graph = golden(name), Graph()
    saver_def = theirs.saver_def
    theirs.ClearField("collection_def")
    import_graph(graph, theirs)
    found = {(spec.key, spec.variable.name, spec.shape_and_slice) for spec in read_specs(graph, saver_def)}
    assert found == {(spec.key, spec.variable.name, spec.shape_and_slice) for spec in builders.specs(build())}


def test_under_a_scope() -> None:
    """Names of nodes, inputs, colocations, collections and the Saver: all below it, and twice is no clash."""
    theirs, graph = golden("12a_while_v1/wh.ckpt.meta"), Graph()
    assert import_graph(graph, theirs, import_scope="p") == "p"
    assert import_graph(graph, theirs, import_scope="p/") == "p_1"
    names = [node.name for node in theirs.graph_def.node]
    assert [o.name for o in graph.operations] == [f"p/{n}" for n in names] + [f"p_1/{n}" for n in names]
    for operation in graph.operations:
        top = operation.name.split("/")[0]
        assert all(name.lstrip("^").startswith(f"{top}/") for name in operation.node_def.input)
        if "frame_name" in operation.node_def.attr:
            assert operation.get_attr("frame_name").startswith(f"{top}/".encode())
    assert [v.name for v in graph.get_collection("trainable_variables")] == ["p/w:0", "p_1/w:0"]
    whole = export_graph(graph)
    assert len(whole.collection_def["while_context"].bytes_list.value) == 2
    assert b"p_1/loop/while_context" in whole.collection_def["while_context"].bytes_list.value[1]
