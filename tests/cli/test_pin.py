from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import ckptstore as ck
from tests.cli.conftest import Golden, Run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with ck.CheckpointManager(tmp_path / "run") as manager:
        for step in (1, 2, 3):
            manager.save(step, {"w": np.zeros(2)})
    return tmp_path / "run"


def pinned(run: Run, path: Path) -> list[str]:
    return [item["checkpoint"] for item in run("ls", "--json", str(path)).json["checkpoints"] if item["pinned"]]


def test_what_is_pinned_stays_until_it_is_unpinned(run: Run, path: Path) -> None:
    result = run("pin", f"{path}/ckpt-1", f"{path}/ckpt-2")
    assert (result.code, result.out, result.err) == (0, f"{path}/ckpt-1 is pinned\n{path}/ckpt-2 is pinned\n", "")
    assert pinned(run, path) == ["ckpt-1", "ckpt-2"]
    assert run("prune", str(path), "--keep-last", "1").out.count("keep  pinned") == 2
    assert run("unpin", f"{path}/ckpt-1").out == f"{path}/ckpt-1 is not pinned\n"
    document = run("prune", str(path), "--keep-last", "1", "--json").json
    assert document["removed"] == ["ckpt-1"]
    assert pinned(run, path) == ["ckpt-2"]


def test_pinning_twice_is_no_failure(run: Run, path: Path) -> None:
    assert run("unpin", f"{path}/ckpt-1").out == f"{path}/ckpt-1 is not pinned, as it was\n"
    assert run("pin", f"{path}/ckpt-1").code == 0
    before = (path / "checkpoint").read_bytes()
    assert run("pin", f"{path}/ckpt-1").out == f"{path}/ckpt-1 is pinned, as it was\n"
    assert (path / "checkpoint").read_bytes() == before


def test_json(run: Run, path: Path) -> None:
    run("pin", f"{path}/ckpt-2")
    assert run("pin", "--json", f"{path}/ckpt-1", f"{path}/ckpt-2").json == {
        "checkpoints": [
            {"checkpoint": f"{path}/ckpt-1", "pinned": True, "changed": True},
            {"checkpoint": f"{path}/ckpt-2", "pinned": True, "changed": False},
        ]
    }
    assert run("unpin", "--json", f"{path}/ckpt-1").json["checkpoints"][0]["pinned"] is False


@pytest.mark.parametrize("command", ["pin", "unpin"])
@pytest.mark.parametrize("name", ["ckpt-9", "ckpt-1.index", "ckpt-*", "checkpoint", "../run/ckpt-9"])
def test_what_is_not_listed(run: Run, path: Path, command: str, name: str) -> None:
    before = (path / "checkpoint").read_bytes()
    result = run(command, f"{path}/{name}")
    assert (result.code, result.out) == (1, "")
    assert "neither listed nor kept" in result.err
    assert (path / "checkpoint").read_bytes() == before


def test_without_a_name_it_is_wrong_usage(run: Run) -> None:
    assert run("pin").code == run("unpin").code == 2


def test_a_damaged_state_file_is_left_alone(run: Run, path: Path) -> None:
    (path / "checkpoint").write_bytes(b"?")
    result = run("pin", f"{path}/ckpt-1")
    assert result.code == 1
    assert "cannot be read" in result.err
    assert (path / "checkpoint").read_bytes() == b"?"


def test_a_checkpoint_with_a_directory_of_its_own(run: Run, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ck.CheckpointManager(path) as manager:
        unique = manager.save(3, {"w": np.ones(2)}, overwrite=True)
    name = os.path.relpath(unique, path)
    assert name.startswith("r-")
    for spelling in (unique, f"{path}//{name}"):
        assert run("pin", spelling).code == 0
        assert pinned(run, path) == [name]
        assert run("unpin", spelling).code == 0
    monkeypatch.chdir(path)
    assert run("pin", name).code == 0
    assert pinned(run, path) == [name]


def test_beside_tensorflow(run: Run, golden: Golden) -> None:
    path = golden("07_keep_5_of_7")
    assert run("pin", f"{path}/model.ckpt-300").code == 0
    document = run("prune", path, "--keep-last", "1", "--max-remove", "9", "--json").json
    assert document["removed"] == [f"model.ckpt-{n}" for n in (400, 500, 600)]
