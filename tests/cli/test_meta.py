"""`ckptstore meta` on MetaGraphs that TensorFlow wrote, and on our own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ckptstore as ck
from tests.cli.conftest import Run
from tests.support.golden import GOLDEN

BASIC = str(GOLDEN / "01a_basic_ref" / "model.ckpt")


def test_the_summary(run: Run) -> None:
    for path in (BASIC, f"{BASIC}.meta", str(GOLDEN / "01a_basic_ref"), f"{BASIC}.meta.as_text.pbtxt"):
        result = run("meta", path)
        assert (result.code, result.err) == (0, "")
        lines = result.out.splitlines()
        assert lines[0].endswith("pbtxt" if path.endswith("pbtxt") else "model.ckpt.meta")
        assert lines[1].startswith("  graph: 25 nodes, 0 functions, version 2474, written by 2.21.0 v2.21.0-rc1")
        assert "Const 7, Assign 4" in lines[2]
        assert lines[4] == ("  saver: V2, keeps 5; save/Const:0 -> save/control_dependency:0, save/restore_all")
        assert "my_floats (float 1)" in lines[5]
        assert lines[-2].split() == ["dense/kernel", "float32", "[3,2]", "reference"]


def test_parts_devices_and_functions(run: Run) -> None:
    out = run("meta", str(GOLDEN / "05b_partitioned_resource" / "part.ckpt")).out
    assert "emb/part_1     float32  [3,4]   resource, part of emb" in out
    out = run("meta", str(GOLDEN / "06b_sharded_devices" / "sh.ckpt-3")).out
    assert "sharded" in out
    assert "/device:CPU:2 " in out
    assert "functions" in run("meta", str(GOLDEN / "12b_while_v2" / "wh2.ckpt")).out
    assert "not trainable" in run("meta", str(GOLDEN / "11_ema" / "ema.ckpt-4")).out


def test_text_and_json_are_whole(run: Run, tmp_path: Path) -> None:
    assert run("meta", BASIC, "--text").out.encode() == Path(f"{BASIC}.meta.as_text.pbtxt").read_bytes()
    assert run("meta", BASIC, "--json").json["saverDef"]["maxToKeep"] == 5
    data = Path(f"{BASIC}.meta").read_bytes()
    for option in ([], ["--text"], ["--json"]):
        out = str(tmp_path / "out")
        assert run("meta", BASIC, *option, "--out", out).out == ""
        assert ck.load_meta_graph(out).to_bytes() == data
    assert Path(tmp_path / "out").read_bytes()[:1] == b"{"


def test_nodes_and_collections(run: Run) -> None:
    nodes = run("meta", BASIC, "--nodes").out.splitlines()
    assert len(nodes) == 26
    assert nodes[0].split() == ["NODE", "OP", "INPUTS", "SHAPES", "DEVICE"]
    assert [line.split()[0] for line in run("meta", BASIC, "--nodes", "*/read").out.splitlines()[1:]] == [
        "dense/kernel/read", "dense/bias/read",
    ]  # fmt: skip
    assert run("meta", BASIC, "--collections", "outputs").out == "outputs (node)\n  y:0\n"
    assert "variables (bytes)\n  dense/kernel:0\n  dense/bias:0\n" in run("meta", BASIC, "--collections").out
    result = run("meta", BASIC, "--collections", "nothing")
    assert result.code == 1
    assert "there are my_floats, " in result.err


def test_what_a_manager_notes(run: Run, tmp_path: Path) -> None:
    with ck.CheckpointManager(tmp_path / "run") as manager:
        manager.save(7, {"w": np.ones(2)}, metrics={"loss": 0.5}, metadata={"commit": "abc"})
    out = run("meta", str(tmp_path / "run")).out
    assert "  run: step 7, metrics {'loss': 0.5}, metadata {'commit': 'abc'}" in out


def test_another_store(run: Run) -> None:
    v = ck.Variable(np.float32(1), name="v", graph=ck.Graph())
    path = ck.Saver([v]).save("memory://meta/run/m")
    for target in (str(path), "memory://meta/run", "memory://meta/run/m.meta"):
        assert run("meta", target).out.startswith("memory://meta/run/m.meta\n")


@pytest.mark.parametrize("data", [b"", b"\x00", b"no such thing", b"{"])
def test_damaged(data: bytes, run: Run, tmp_path: Path) -> None:
    (tmp_path / "m.meta").write_bytes(data)
    result = run("meta", str(tmp_path / "m"))
    assert result.code == 3
    assert "m.meta" in result.err


def test_not_there(run: Run, tmp_path: Path) -> None:
    result = run("meta", str(tmp_path / "nothing"))
    assert result.code == 1
    assert "There is no MetaGraph" in result.err
    assert run("meta").code == 2


def test_hostile_names_do_not_reach_the_terminal(run: Run, tmp_path: Path) -> None:
    meta = ck.load_meta_graph(f"{BASIC}.meta")
    meta.graph_def.node[1].name = "\x1b[31mred"
    (tmp_path / "m.meta").write_bytes(meta.to_bytes())
    for option in ([], ["--nodes"]):
        assert "\x1b" not in run("meta", str(tmp_path / "m"), *option).out
