"""`ckptstore freeze`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from google.protobuf import text_format

import ckptstore as ck
from ckptstore._proto.graph_pb2 import GraphDef
from ckptstore.graph.attributes import decode_tensor
from ckptstore.graph.evaluator import Evaluator
from tests.cli.conftest import Run
from tests.support.golden import GOLDEN, expectation

CASES = ("01a_basic_ref", "01b_basic_resource")


def test_a_frozen_graph_computes_what_tensorflow_computed(run: Run, tmp_path: Path) -> None:
    for case in CASES:
        prefix, out = str(GOLDEN / case / "model.ckpt"), str(tmp_path / case)
        result = run("freeze", prefix, out, "--outputs", "y:0")
        assert (result.code, result.err) == (0, "")
        assert "constants" in result.out
        graph = GraphDef.FromString(Path(out).read_bytes())
        stored = ck.restore(prefix)
        constants = {node.name: decode_tensor(node.attr["value"].tensor) for node in graph.node if node.op == "Const"}
        for name, value in stored.items():
            np.testing.assert_array_equal(constants[name], value)
        said = expectation(case)["run"]
        got = Evaluator(graph).run(said["fetch"], {key: np.float32(value) for key, value in said["feed"].items()})
        np.testing.assert_allclose(got, said["value"], rtol=1e-5)


def test_forms(run: Run, tmp_path: Path) -> None:
    prefix, out = str(GOLDEN / CASES[0] / "model.ckpt"), str(tmp_path / "out")
    said = run("freeze", prefix, out, "--outputs", "y", "--text", "--json").json
    text = Path(out).read_text()
    graph = text_format.Parse(text, GraphDef())
    assert said == {
        "path": out, "nodes": len(graph.node), "nodes_before": 25, "constants": 2, "size": len(text.encode()),
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
