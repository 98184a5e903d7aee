"""`ckptstore meta` on MetaGraphs that TensorFlow wrote, and on our own."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import ckptstore as ck
from ckptstore._proto.meta_graph_pb2 import MetaGraphDef
from ckptstore.errors import PermissionDeniedError
from ckptstore.graph.run_info import COLLECTION
from ckptstore.storage import LocalStore
from ckptstore.testing import ManualClock
from tests.cli.conftest import WHEN, Golden, Run
from tests.support.golden import GOLDEN, expectation

BASIC = str(GOLDEN / "01a_basic_ref" / "model.ckpt")
PREFIXES = (
    "01a_basic_ref/model.ckpt",
    "05b_partitioned_resource/part.ckpt",
    "06b_sharded_devices/sh.ckpt-3",
    "11_ema/ema.ckpt-4",
    "12b_while_v2/wh2.ckpt",
    "15_meta_pbtxt/rich.ckpt",
)


def head(out: str) -> dict[str, str]:
    """The lines above the table, by their titles."""
    lines = out.partition("\n\n")[0].splitlines()
    return {title: text for title, _, text in (line.partition("  ") for line in lines) for text in [text.strip()]}


def test_the_summary(run: Run) -> None:
    for path in (BASIC, f"{BASIC}.meta", str(GOLDEN / "01a_basic_ref"), f"{BASIC}.meta.as_text.pbtxt"):
        result = run("meta", path)
        assert (result.code, result.err) == (0, "")
        said = head(result.out)
        assert said["MetaGraph"].endswith("pbtxt" if path.endswith("pbtxt") else "model.ckpt.meta")
        assert said["graph"] == "25 nodes, 0 functions"
        assert said["written by"].startswith("TensorFlow 2.21.0 (v2.21.0-rc1-")
        assert said["written by"].endswith("graph version 2474")
        assert said["ops"].startswith("Const 7, Assign 4, ")
        assert said["ops"].endswith("SaveV2 1")
        assert said["saver"] == "V2, keeps 5; save/Const:0 -> save/control_dependency:0, save/restore_all"
        assert "my_floats (float 1)" in said["collections"]
        assert result.out.splitlines()[-2].split() == ["dense/kernel", "float32", "[3,", "2]", "reference"]


def test_all_variables_are_told_of_as_tensorflow_lists_them(run: Run) -> None:
    for prefix in PREFIXES:
        nodes = expectation(prefix.partition("/")[0])["meta"]["nodes"]
        variables = [name for name, op, *_ in nodes if op in ("VariableV2", "VarHandleOp")]
        rows = run("meta", str(GOLDEN / prefix)).out.partition("\n\n")[2].splitlines()
        assert [row.split()[0] for row in rows[1:]] == variables


def test_parts_devices_and_functions(run: Run) -> None:
    out = run("meta", str(GOLDEN / "05b_partitioned_resource" / "part.ckpt")).out
    assert "emb/part_1     float32  [3, 4]   resource, part of emb" in out
    said = head(run("meta", str(GOLDEN / "06b_sharded_devices" / "sh.ckpt-3")).out)
    assert said["saver"].startswith("V2, sharded, ")
    assert said["devices"].endswith("/device:CPU:2 16")
    assert head(run("meta", str(GOLDEN / "12b_while_v2" / "wh2.ckpt")).out)["graph"] == "37 nodes, 4 functions"
    assert "not trainable" in run("meta", str(GOLDEN / "11_ema" / "ema.ckpt-4")).out


def test_signatures(run: Run, tmp_path: Path) -> None:
    meta = ck.load_meta_graph(f"{BASIC}.meta")
    meta.proto.signature_def["serve"].inputs["x"].name = "x:0"
    meta.proto.signature_def["serve"].outputs["y"].name = "y:0"
    (tmp_path / "m.meta").write_bytes(meta.to_bytes())
    assert head(run("meta", str(tmp_path / "m")).out)["signature"] == "serve: x=x:0 -> y=y:0"


@pytest.mark.parametrize("prefix", PREFIXES)
def test_text_and_json_are_whole(prefix: str, run: Run, tmp_path: Path) -> None:
    path, out = str(GOLDEN / prefix), str(tmp_path / "out")
    assert run("meta", path, "--text").out.encode() == Path(f"{path}.meta.as_text.pbtxt").read_bytes()
    data = Path(f"{path}.meta").read_bytes()
    assert ck.MetaGraph.from_bytes(run("meta", path, "--json").out.encode()).to_bytes() == data
    for option in ([], ["--text"], ["--json"]):
        assert run("meta", path, *option, "--out", out).out == ""
        assert ck.load_meta_graph(out).to_bytes() == data
    assert Path(out).read_bytes()[:1] == b"{"
    assert run("meta", path, "--out", "memory://meta-out/m").code == 0
    assert ck.load_meta_graph("memory://meta-out/m").to_bytes() == data


def test_json_that_cannot_be(run: Run, tmp_path: Path) -> None:
    meta = MetaGraphDef.FromString(Path(f"{BASIC}.meta").read_bytes())
    meta.collection_def["odd"].any_list.value.add(type_url="type.googleapis.com/unknown.Type", value=b"x")
    (tmp_path / "m.meta").write_bytes(meta.SerializeToString())
    result = run("meta", str(tmp_path / "m"), "--json")
    assert result.code == 1
    assert "use the text form" in result.err
    assert run("meta", str(tmp_path / "m")).code == 0


def test_one_form_at_a_time(run: Run, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    for options in (["--text", "--nodes"], ["--text", "--json"], ["--nodes", "--json"], ["--nodes", "--out", out]):
        result = run("meta", BASIC, *options)
        assert (result.code, result.out) == (2, "")
        assert "not allowed with" in result.err
    assert not Path(out).exists()


def test_nodes_and_collections(run: Run) -> None:
    nodes = run("meta", BASIC, "--nodes").out.splitlines()
    assert len(nodes) == 26
    assert nodes[0].split() == ["NODE", "OP", "INPUTS", "SHAPES", "DEVICE"]
    rich = run("meta", str(GOLDEN / "15_meta_pbtxt" / "rich.ckpt"), "--nodes", "unknown_rank").out.splitlines()
    assert rich[1].split() == ["unknown_rank", "Placeholder", "?"]
    none = run("meta", BASIC, "--nodes", "nothing*")
    assert (none.code, none.out) == (0, "")
    assert "no node" in none.err
    assert [line.split()[0] for line in run("meta", BASIC, "--nodes", "*/read").out.splitlines()[1:]] == [
        "dense/kernel/read", "dense/bias/read",
    ]  # fmt: skip
    assert run("meta", BASIC, "--collections", "outputs").out == "outputs (node)\n  y:0\n"
    assert "variables (bytes)\n  dense/kernel:0\n  dense/bias:0\n" in run("meta", BASIC, "--collections").out
    result = run("meta", BASIC, "--collections", "nothing")
    assert result.code == 1
    assert "there are my_floats, " in result.err


def test_what_a_manager_notes(run: Run, tmp_path: Path) -> None:
    with ck.CheckpointManager(tmp_path / "run", clock=ManualClock(WHEN)) as manager:
        manager.save(7, {"w": np.ones(2)}, metrics={"loss": 0.5}, metadata={"commit": "abc"})
    said = head(run("meta", str(tmp_path / "run")).out)
    assert said["step"] == "7"
    assert said["saved"] == "2023-11-14 22:13:20"
    assert said["metrics"] == "loss=0.5"
    assert said["metadata"] == '{"commit": "abc"}'
    assert said["graph"] == "0 nodes, 0 functions"
    assert "written by" not in said


def test_another_store(run: Run) -> None:
    v = ck.Variable(np.float32(1), name="v", graph=ck.Graph())
    path = ck.Saver([v]).save("memory://meta/run/m")
    for target in (str(path), "memory://meta/run", "memory://meta/run/m.meta"):
        assert run("meta", target).out.partition("\n")[0].endswith(" memory://meta/run/m.meta")


@pytest.mark.parametrize("data", [b"", b"\x00", b"no such thing", b"{", Path(f"{BASIC}.meta").read_bytes()[:-1]])
def test_damaged(data: bytes, run: Run, tmp_path: Path) -> None:
    (tmp_path / "m.meta").write_bytes(data)
    result = run("meta", str(tmp_path / "m"))
    assert (result.code, result.out) == (3, "")
    assert "m.meta" in result.err


@pytest.mark.parametrize("key", ["variables", COLLECTION])
def test_a_damaged_item(key: str, run: Run, tmp_path: Path) -> None:
    meta = MetaGraphDef.FromString(Path(f"{BASIC}.meta").read_bytes())
    meta.collection_def[key].bytes_list.value[:] = [b"\xff"]
    (tmp_path / "m.meta").write_bytes(meta.SerializeToString())
    result = run("meta", str(tmp_path / "m"))
    assert (result.code, result.out) == (3, "")
    assert f"{tmp_path / 'm.meta'}: " in result.err
    assert run("meta", str(tmp_path / "m"), "--text").code == 0


def test_not_there(run: Run, tmp_path: Path, golden: Golden) -> None:
    result = run("meta", str(tmp_path / "nothing"))
    assert result.code == 1
    assert "There is no MetaGraph" in result.err
    assert run("meta").code == 2
    case = Path(golden("01a_basic_ref"))
    (case / "model.ckpt.meta").unlink()
    for path in (case, case / "model.ckpt"):
        result = run("meta", str(path))
        assert result.code == 1
        assert "model.ckpt" in result.err


def test_a_store_that_refuses_is_not_taken_for_an_empty_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionDeniedError("Access denied.")

    monkeypatch.setattr(LocalStore, "head", refuse)
    result = run("meta", BASIC)
    assert result.code == 1
    assert "Access denied." in result.err


def test_a_directory_named_as_a_metagraph(run: Run, tmp_path: Path) -> None:
    os.makedirs(tmp_path / "m.meta")
    (tmp_path / "m").write_bytes(Path(f"{BASIC}.meta").read_bytes())
    assert head(run("meta", str(tmp_path / "m")).out)["MetaGraph"] == str(tmp_path / "m")


def test_hostile_names_do_not_reach_the_terminal(run: Run, tmp_path: Path) -> None:
    meta = ck.load_meta_graph(f"{BASIC}.meta")
    for node in meta.graph_def.node:
        node.name = node.op = node.device = "\x1b[31mred\n"
    meta.graph_def.node[0].op = "VarHandleOp"
    meta.proto.collection_def["\x1b["].node_list.value.append("\x1b[31m")
    (tmp_path / "m.meta").write_bytes(meta.to_bytes())
    for option in ([], ["--nodes"], ["--collections"], ["--text"], ["--json"]):
        assert "\x1b" not in run("meta", str(tmp_path / "m"), *option).out
