from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ckptstore as ck
from tests.cli.conftest import Golden, Run
from tests.support.golden import GOLDEN

HAND_MADE = GOLDEN / "20_hand_made"


def test_all_is_well(run: Run, golden: Golden) -> None:
    path = golden("07_keep_5_of_7")
    result = run("verify", path)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[0] == f"ok       {path}/model.ckpt-300 (1 tensor, 4 B)"
    assert result.out.splitlines()[-1] == "5 checkpoints, 5 tensors, 20 B read: all is well"
    quiet = run("verify", "--quiet", path)
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    document = run("verify", "--json", path).json
    assert document["ok"]
    assert document["checkpoints"][4] == {
        "path": f"{path}/model.ckpt-700", "ok": True, "tensors": 1, "size": 4, "unreferenced": 0, "damages": [],
    }  # fmt: skip


def test_a_flipped_bit_is_found_and_located(run: Run) -> None:
    prefix = str(HAND_MADE / "data_bit_flip" / "c")
    result = run("verify", "--quiet", prefix)
    assert result.code == 3
    lines = result.out.splitlines()
    assert lines[0] == f"damaged  {prefix} (1 damage)"
    assert lines[1] == f"  {prefix}.data-00000-of-00001"
    assert lines[2].startswith("    tensor a, offset 0, 24 bytes: checksum does not match: stored 173ddbc0")
    assert lines[-1] == "1 checkpoint, 2 tensors, 40 B read: 1 damage in 1 checkpoint"
    document = run("verify", "--json", prefix).json
    assert not document["ok"]
    (damage,) = document["checkpoints"][0]["damages"]
    assert {k: damage[k] for k in ("file", "tensor", "offset", "size")} == {
        "file": f"{prefix}.data-00000-of-00001", "tensor": "a", "offset": 0, "size": 24,
    }  # fmt: skip
    assert damage["problem"].startswith("checksum does not match")


@pytest.mark.parametrize(
    ("case", "code"),
    [
        ("ok_plain", 0), ("big_endian", 0), ("gap_between_tensors", 0), ("snappy_blocks", 0), ("data_missing", 3),
        ("data_truncated", 3), ("index_bad_magic", 3), ("index_block_bit_flip", 3), ("index_empty_file", 3),
        ("index_truncated", 3), ("index_no_header_entry", 3), ("size_field_wrong", 3), ("slices_overlap", 3),
        ("unknown_dtype_77", 3), ("index_missing", 1),
    ],
)  # fmt: skip
def test_hand_made(case: str, code: int, run: Run) -> None:
    prefix = str(HAND_MADE / case / "c")
    assert run("verify", prefix).code == code
    if code == 1:
        assert "no index" in run("verify", prefix).err
    else:
        assert run("verify", "--json", prefix).json["ok"] is (code == 0)


def test_damage_in_one_of_a_directory(run: Run, golden: Golden) -> None:
    path = Path(golden("07_keep_5_of_7"))
    (path / "model.ckpt-400.data-00000-of-00001").write_bytes(b"\0\0\0\0")
    for file in path.glob("model.ckpt-500.*"):
        file.unlink()
    result = run("verify", str(path))
    assert result.code == 3
    assert [line.split()[0] for line in result.out.splitlines() if line[:1].strip()] == [
        "ok",
        "damaged",
        "damaged",
        "ok",
        "ok",
        "5",
    ]
    assert [c["ok"] for c in run("verify", str(path), "--json").json["checkpoints"]] == [True, False, False, True, True]


def test_a_bad_state_file_is_a_damage_and_all_that_is_there_is_verified(run: Run, golden: Golden) -> None:
    path = Path(golden("07_keep_5_of_7"))
    (path / "checkpoint").write_bytes(b"garbage")
    result = run("verify", str(path))
    assert result.code == 3
    assert result.out.count("ok  ") == 5
    document = run("verify", str(path), "--json").json
    assert [d["file"] for d in document["state_damages"]] == [f"{path}/checkpoint"]
    assert len(document["checkpoints"]) == 5


def test_all_takes_those_that_are_not_listed(run: Run, golden: Golden) -> None:
    path = golden("07_keep_5_of_7")
    ck.save(f"{path}/best-5", {"w": np.ones(3)})
    assert len(run("verify", path, "--json").json["checkpoints"]) == 5
    assert len(run("verify", "--all", path, "--json").json["checkpoints"]) == 6


def test_what_is_no_checkpoint(run: Run, golden: Golden, tmp_path: Path) -> None:
    path = golden("07_keep_5_of_7")
    (tmp_path / "empty").mkdir()
    for argument, hint in [
        (path + "/checkpoint", "pass its directory"),
        (path + "/model.ckpt-300.index", "without '.index'"),
        (path + "/model.ckpt-301", "no checkpoint"),
        (str(tmp_path / "empty"), "holds no checkpoints"),
    ]:
        result = run("verify", argument)
        assert result.code == 1, argument
        assert hint in result.err
        assert result.err.count("\n") == 1


def test_v1_and_urls(run: Run, golden: Golden) -> None:
    assert run("verify", golden("09a_v1_basic")).code == 0
    ck.save("memory://cli-verify/run/m", {"w": np.ones(4)})
    assert run("verify", "memory://cli-verify/run/m").code == 0
