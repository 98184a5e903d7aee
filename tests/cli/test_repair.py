from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import ckptstore as ck
from tests.cli.conftest import Golden, Run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with ck.CheckpointManager(tmp_path / "run") as manager:
        for step in (1, 2):
            manager.save(step, {"w": np.zeros(2)})
    return tmp_path / "run"


def test_a_state_file_in_order(run: Run, path: Path) -> None:
    before = (path / "checkpoint").read_bytes()
    result = run("repair", str(path))
    assert (result.code, result.err) == (0, "")
    assert result.out == f"the state file of {path} is in order; nothing was changed\n"
    assert run("repair", str(path), "--json").json == {
        "directory": str(path),
        "dry_run": False,
        "problem": None,
        "source": None,
        "listed": ["ckpt-1", "ckpt-2"],
        "unlisted": [],
        "damaged": [],
    }
    assert (path / "checkpoint").read_bytes() == before


@pytest.mark.parametrize("state", [None, b"", b"\xff?"])
def test_it_is_brought_back_from_the_history(run: Run, path: Path, state: bytes | None) -> None:
    (path / "checkpoint").unlink()
    if state is not None:
        (path / "checkpoint").write_bytes(state)
    ck.save(path / "other-9", {"w": np.zeros(2)})
    result = run("repair", str(path), "--dry-run")
    assert result.code == 0
    assert "it would be brought back from the history, and lists 2 checkpoints: ckpt-1, ckpt-2" in result.out
    assert (path / "checkpoint").exists() is (state is not None)
    result = run("repair", str(path))
    assert result.code == 0
    assert result.out.splitlines()[-2:] == [
        "it is brought back from the history, and lists 2 checkpoints: ckpt-1, ckpt-2",
        "unlisted  other-9",
    ]
    assert ck.latest_checkpoint(path) == str(path / "ckpt-2")
    assert run("prune", str(path), "--keep-last", "1").code == 0


def test_a_trainer_that_goes_on_is_told_to_stop(run: Run, path: Path) -> None:
    with ck.CheckpointManager(path) as manager:
        manager.save(3, {"w": np.zeros(2)})
        (path / "checkpoint").write_bytes(b"")
        with pytest.raises(ck.StateCorruptError, match="ckptstore repair"):
            manager.latest_step()
        assert run("repair", str(path)).code == 0
        with pytest.raises(ck.FencedError):
            manager.save(4, {"w": np.zeros(2)})
        assert manager.all_steps() == [1, 2, 3]


def test_a_damaged_copy(run: Run, path: Path) -> None:
    (path / "checkpoint").unlink()
    max((path / ".ckptstore" / "history").iterdir()).write_bytes(b"?")
    result = run("repair", str(path))
    assert (result.code, result.out) == (1, "")
    assert "--skip-damaged" in result.err
    document = run("repair", str(path), "--skip-damaged", "--json").json
    assert (document["source"], document["listed"], document["unlisted"]) == ("history", ["ckpt-1"], ["ckpt-2"])


def test_a_listing_is_gone_by_only_at_somebodys_word(run: Run, golden: Golden) -> None:
    path = Path(golden("07_keep_5_of_7"))
    (path / "checkpoint").unlink()
    data = path / "model.ckpt-500.data-00000-of-00001"
    data.write_bytes(b"\xff" * data.stat().st_size)
    result = run("repair", str(path))
    assert (result.code, result.out) == (1, "")
    assert "--from-listing --no-pruner-is-running" in result.err
    result = run("repair", str(path), "--from-listing")
    assert (result.code, result.out) == (1, "")
    assert "needs your word" in result.err
    assert not (path / "checkpoint").exists()
    result = run("repair", str(path), "--from-listing", "--no-pruner-is-running")
    assert result.code == 0
    assert result.err.count("verifying") == 5
    assert "damaged   model.ckpt-500  (left out)" in result.out
    document = run("ls", "--json", str(path)).json
    assert [item["step"] for item in document["checkpoints"] if item["listed"]] == [300, 400, 600, 700]


def test_nothing_to_bring_back(run: Run, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "not there"):
        result = run("repair", str(path), "--from-listing", "--no-pruner-is-running")
        assert (result.code, result.out) == (1, "")
        assert "holds no checkpoints" in result.err
    assert not list(tmp_path.iterdir())


def test_a_copy_of_a_directory_is_repaired_by_its_own_history(run: Run, path: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(path, tmp_path / "copy"))
    (copy / "checkpoint").unlink()
    assert run("repair", str(copy)).code == 0
    assert run("verify", str(copy)).code == 0


@pytest.mark.parametrize("arguments", [[], ["x", "y"], ["x", "--force"]])
def test_wrong_usage(run: Run, arguments: list[str]) -> None:
    assert run("repair", *arguments).code == 2
