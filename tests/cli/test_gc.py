from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import ckptstore as ck
from ckptstore._clock import SystemClock
from ckptstore.checkpoint.attempt import Attempt, AttemptStore
from ckptstore.checkpoint.directory import CheckpointDirectory
from ckptstore.checkpoint.session import Session
from ckptstore.format.ledger import Ledger
from ckptstore.storage import LocalStore, Payload
from tests.cli.conftest import Golden, Run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A directory with a listed checkpoint, an orphan, a whole unlisted one, a stranger, and a save under way."""
    path = tmp_path / "run"
    with ck.CheckpointManager(path) as manager:
        manager.save(1, {"w": np.zeros(2)})
    ck.save(path / "best-7", {"w": np.zeros(2)})
    (path / "model.ckpt-5.data-00000-of-00002").write_bytes(b"half")
    store = LocalStore(path)
    attempt = Session(CheckpointDirectory(store)).open("ckpt-3")
    AttemptStore(store, attempt).put("ckpt-3.meta", Payload.of(b"under way"))
    lost = AttemptStore(store, Attempt("ckpt-2", "9" * 32, attempt.directory_id))
    lost.put("ckpt-2.data-00000-of-00001", Payload.of(b"half"))
    return path


def names(path: Path) -> set[str]:
    return {p.name for p in path.iterdir() if p.is_file()}


LINES = [
    "orphan    ckpt-2.data-00000-of-00001  4 B",
    "unlisted  best-7  (whole, and stays; see --complete-orphans)",
    "foreign   model.ckpt-5.data-00000-of-00002  (stays; see --foreign-older-than)",
    "open      ckpt-3  (being saved, or its process died; see --abort-open)",
]


def test_what_is_deleted_and_what_stays(run: Run, path: Path) -> None:
    before = names(path)
    result = run("gc", str(path), "--dry-run")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [*LINES, f"1 file (4 B) and 0 uploads would be deleted in {path}"]
    assert names(path) == before
    result = run("gc", str(path))
    assert result.out.splitlines() == [*LINES, f"1 file (4 B) and 0 uploads were deleted in {path}"]
    assert before - names(path) == {"ckpt-2.data-00000-of-00001"}
    assert run("gc", str(path)).out.splitlines() == [*LINES[1:], f"0 files (0 B) and 0 uploads were deleted in {path}"]


def test_json(run: Run, path: Path) -> None:
    assert run("gc", str(path), "--json").json == {
        "directory": str(path),
        "dry_run": False,
        "deleted_files": ["ckpt-2.data-00000-of-00001"],
        "deleted_bytes": 4,
        "aborted_uploads": [],
        "complete_unlisted": ["best-7"],
        "foreign_files": ["model.ckpt-5.data-00000-of-00002"],
        "open": ["ckpt-3"],
        "problems": [],
    }


def test_a_save_that_is_given_up(run: Run, path: Path) -> None:
    document = run("gc", str(path), "--abort-open", "--json").json
    assert document["open"] == []
    assert [entry.prefix for entry in Ledger.from_bytes((path / "checkpoint").read_bytes()).dead] == ["ckpt-3"]
    run("prune", str(path), "--keep-last", "1")
    assert "ckpt-3.meta" not in names(path)


def test_foreign_parts_by_their_age_and_whole_ones_never(run: Run, path: Path) -> None:
    when = SystemClock().time() - 8 * 86400
    for file in path.iterdir():
        if file.is_file():
            os.utime(file, (when, when))
    result = run("gc", str(path), "--foreign-older-than", "7d", "--complete-orphans")
    assert "orphan    model.ckpt-5.data-00000-of-00002" in result.out
    assert {name for name in names(path) if name.startswith("best-7")} == {
        "best-7.index",
        "best-7.data-00000-of-00001",
    }
    assert "unlisted  best-7" in result.out


def test_what_is_no_note_of_an_upload_is_a_problem(run: Run, path: Path) -> None:
    note = path / ".ckptstore" / "uploads" / "x"
    note.parent.mkdir()
    note.write_bytes(b"?")
    os.utime(note, (0, 0))
    result = run("gc", str(path))
    assert result.code == 1
    assert "x is no note of an upload, and was left alone" in result.err
    assert note.exists()


def test_where_nothing_can_be_told(run: Run, path: Path, tmp_path: Path) -> None:
    (path / "checkpoint").unlink()
    before = names(path)
    assert run("gc", str(path)).code == 1
    assert names(path) == before
    (tmp_path / "empty").mkdir()
    result = run("gc", str(tmp_path / "empty"))
    assert (result.code, result.out) == (1, "")
    assert "no state file yet" in result.err


def test_beside_tensorflow(run: Run, golden: Golden) -> None:
    path = Path(golden("07_keep_5_of_7"))
    before = names(path)
    result = run("gc", str(path), "--abort-open")
    assert result.code == 1
    assert "is TensorFlow's" in result.err
    assert names(path) == before


@pytest.mark.parametrize("arguments", [[], ["x", "y"], ["x", "--foreign-older-than", "7"], ["x", "--age", "7d"]])
def test_wrong_usage(run: Run, arguments: list[str]) -> None:
    assert run("gc", *arguments).code == 2
