"""`ckptstore freeze`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

import ckptstore as ck
from ckptstore._proto.graph_pb2 import GraphDef
from ckptstore.graph.attributes import decode_tensor
from ckptstore.graph.evaluator import Evaluator
from ckptstore.graph.freeze import freeze
from tests.cli.conftest import Golden, Run
from tests.support.golden import GOLDEN, expectation, expected_tensors

CASES = ("01a_basic_ref", "01b_basic_resource")


def test_a_frozen_graph_computes_what_tensorflow_computed(run: Run, tmp_path: Path) -> None:
    for case in CASES:
        prefix, out = str(GOLDEN / case / "model.ckpt"), str(tmp_path / case)
        result = run("freeze", prefix, out, "--outputs", "y:0")
        assert (result.code, result.err) == (0, "")
        assert "2 constants of 32 B" in result.out
        graph = GraphDef.FromString(Path(out).read_bytes())
        stored = ck.restore(prefix)
        constants = {node.name: decode_tensor(node.attr["value"].tensor) for node in graph.node if node.op == "Const"}
        for name, value in stored.items():
            np.testing.assert_array_equal(constants[name], value)
        said = expectation(case)["run"]
        got = Evaluator(graph).run(said["fetch"], {key: np.float32(value) for key, value in said["feed"].items()})
        np.testing.assert_allclose(got, said["value"], rtol=1e-5)


@pytest.mark.parametrize("kind", ["ref", "res"])
def test_it_is_what_the_library_freezes(kind: str, run: Run, tmp_path: Path) -> None:
    case, fetch = GOLDEN / "16_frozen", expectation("16_frozen")[f"run_{kind}"]["fetch"]
    assert run("freeze", str(case / f"{kind}.ckpt"), str(tmp_path / "out"), "--outputs", fetch).code == 0
    values = {t.name: t.value for t in expected_tensors() if t.case == "16_frozen" and t.prefix == f"{kind}.ckpt"}
    wanted = freeze(GraphDef.FromString((case / f"{kind}_graph.pb").read_bytes()), values, [fetch])
    assert GraphDef.FromString((tmp_path / "out").read_bytes()) == wanted


def test_the_latest_of_a_directory_on_another_store(run: Run) -> None:
    graph = ck.Graph()
    v = ck.Variable(np.arange(6, dtype=np.float32), name="v", graph=graph)
    saver = ck.Saver([v])
    saver.save("memory://freeze/run/m", global_step=1)
    saver.save("memory://freeze/run/m", global_step=2)
    result = run("freeze", "memory://freeze/run", "memory://freeze/out.pb", "--outputs", "v")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("memory://freeze/out.pb: ")


def test_a_directory_that_moves_on_is_read_once(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Graph and values are of the same checkpoint, whatever is saved meanwhile."""
    case = tmp_path / "case"
    v = ck.Variable(np.float32(1), name="v", graph=ck.Graph())
    ck.Saver([v]).save(str(case / "m"), global_step=1)
    other = ck.Variable(np.float32(2), name="v", graph=ck.Graph())
    load = ck.load_meta_graph

    def load_late(path: str, **options: Any) -> ck.MetaGraph:
        meta = load(path, **options)
        ck.Saver([other]).save(str(case / "m"), global_step=2)
        return meta

    monkeypatch.setattr("ckptstore.train.meta_graph_files.load_meta_graph", load_late)
    assert run("freeze", str(case), str(tmp_path / "out"), "--outputs", "v").code == 0
    (node,) = GraphDef.FromString((tmp_path / "out").read_bytes()).node
    assert decode_tensor(node.attr["value"].tensor) == 1


def test_forms(run: Run, tmp_path: Path) -> None:
    prefix, out = str(GOLDEN / CASES[0] / "model.ckpt"), str(tmp_path / "out")
    said = run("freeze", prefix, out, "--outputs", "y", "--text", "--json").json
    text = Path(out).read_text()
    graph = text_format.Parse(text, GraphDef())
    assert said == {
        "path": out, "nodes": len(graph.node), "nodes_before": 25, "constants": 2, "constants_size": 32,
        "size": len(text.encode()),
    }  # fmt: skip
    result = run("freeze", prefix, out, "--outputs", "y")
    assert result.code == 1
    assert "--overwrite" in result.err
    assert Path(out).read_text() == text
    meta = str(GOLDEN / CASES[0] / "model.ckpt.meta.as_text.pbtxt")
    assert run("freeze", prefix, out, "--outputs", "y", "--overwrite", "--meta", meta).code == 0
    assert GraphDef.FromString(Path(out).read_bytes()) == graph


def test_what_cannot_be_frozen(run: Run, tmp_path: Path) -> None:
    prefix, out = str(GOLDEN / CASES[0] / "model.ckpt"), str(tmp_path / "out")
    result = run("freeze", prefix, out, "--outputs", "yy")
    assert result.code == 1
    assert "'yy'" in result.err
    assert run("freeze", str(tmp_path / "nothing"), out, "--outputs", "y").code == 1
    assert run("freeze", prefix, out).code == 2
    other = ck.save(str(tmp_path / "other"), {"dense/kernal": np.ones((3, 2), np.float32)})
    result = run("freeze", other, out, "--outputs", "y", "--meta", f"{prefix}.meta")
    assert result.code == 1
    assert "'dense/kernel'; near: 'dense/kernal'" in result.err
    assert not Path(out).exists()


def test_what_is_not_there_or_damaged(run: Run, tmp_path: Path, golden: Golden) -> None:
    case, out = Path(golden("01a_basic_ref")), str(tmp_path / "out")
    meta, data = case / "model.ckpt.meta", case / "model.ckpt.data-00000-of-00001"
    result = run("freeze", str(meta), out, "--outputs", "y")
    assert result.code == 1
    assert "pass its prefix" in result.err
    whole = meta.read_bytes()
    meta.write_bytes(whole[:-1])
    assert run("freeze", str(case), out, "--outputs", "y").code == 3
    meta.unlink()
    result = run("freeze", str(case), out, "--outputs", "y")
    assert result.code == 1
    assert "model.ckpt.meta" in result.err
    assert "--meta" in result.err
    meta.write_bytes(whole)
    data.write_bytes(bytes(data.stat().st_size))
    assert run("freeze", str(case), out, "--outputs", "y").code == 3
    assert not Path(out).exists()


def test_unknown_outputs_are_named_with_the_nearest(run: Run, tmp_path: Path) -> None:
    prefix = str(GOLDEN / CASES[0] / "model.ckpt")
    result = run("freeze", prefix, str(tmp_path / "out"), "--outputs", "yy", "dense/kernal")
    assert result.code == 1
    assert "'yy' (near: 'y')" in result.err
    assert "'dense/kernal' (near: 'dense/kernel'" in result.err
