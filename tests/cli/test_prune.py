from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

import ckptstore as ck
from ckptstore._clock import SystemClock
from ckptstore.format.ledger import Ledger
from ckptstore.storage import LocalStore
from ckptstore.testing import FaultyStore, ManualClock
from tests.cli.conftest import Golden, Run

Filled = Callable[..., Path]

DRY_RUN = """\
CHECKPOINT  STEP          WHY
ckpt-1         1  keep    one of the best 1 by loss
ckpt-2         2  remove  no rule keeps it
ckpt-3         3  remove  no rule keeps it
ckpt-4         4  keep    one of the newest 1

2 checkpoints would leave the list of {path}; nothing was changed
"""


@pytest.fixture
def filled(tmp_path: Path) -> Filled:
    """Saves steps, an hour apart, into a directory, and hands back its path."""

    def fill(*steps: int, **options: Any) -> Path:
        path = tmp_path / "run"
        clock = ManualClock(SystemClock().time() - 3600.0 * (len(steps) + 1))
        with ck.CheckpointManager(path, clock=clock, **{"max_to_keep": None, **options}) as manager:
            for step in steps:
                clock.advance(3600)
                manager.save(step, {"w": np.full(2, step)}, metrics={"loss": float(step)})
        return path

    return fill


def files(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in path.iterdir() if p.is_file()}


def steps(path: Path) -> list[int]:
    with ck.CheckpointManager(path) as manager:
        return manager.all_steps()


def aged(path: Path, seconds: float) -> None:
    """Makes every file look as if it had been written so long ago."""
    for file in path.rglob("*"):
        status = file.stat()
        os.utime(file, (status.st_atime - seconds, status.st_mtime - seconds))


def test_a_dry_run_shows_every_reason_and_changes_nothing(run: Run, filled: Filled) -> None:
    path = filled(1, 2, 3, 4)
    before = files(path)
    result = run("prune", str(path), "--keep-last", "1", "--keep-best", "1:loss:min", "--dry-run")
    assert (result.code, result.out, result.err) == (0, DRY_RUN.format(path=path), "")
    assert files(path) == before


def test_the_first_run_unlists_and_one_after_the_grace_period_deletes(run: Run, filled: Filled) -> None:
    path = filled(1, 2, 3)
    result = run("prune", str(path), "--keep-last", "1")
    assert result.code == 0
    assert result.out.splitlines()[-2:] == [
        f"2 checkpoints left the list of {path}",
        "2 checkpoints in the trash, deleted once 1 h have passed",
    ]
    assert steps(path) == [3]
    assert len(files(path)) == 10
    assert "in the trash" in run("prune", str(path), "--keep-last", "1").out
    aged(path, 3601)
    result = run("prune", str(path), "--keep-last", "1")
    assert result.out.splitlines()[-2].startswith("0 checkpoints left the list")
    assert result.out.splitlines()[-1].startswith("6 files deleted, ")
    assert set(files(path)) == {"checkpoint", "ckpt-3.index", "ckpt-3.meta", "ckpt-3.data-00000-of-00001"}


def test_json_has_all_of_it(run: Run, filled: Filled) -> None:
    path = filled(1, 2)
    document = run("prune", str(path), "--keep-last", "1", "--grace", "0", "--json").json
    assert set(document) == {
        "directory", "dry_run", "decisions", "removed", "deleted_files", "deleted_bytes", "waiting", "being_read",
        "blocked",
    }  # fmt: skip
    assert document["decisions"] == [
        {"checkpoint": "ckpt-1", "step": 1, "keep": False, "reasons": ["no rule keeps it"]},
        {"checkpoint": "ckpt-2", "step": 2, "keep": True, "reasons": ["one of the newest 1"]},
    ]
    assert (document["directory"], document["dry_run"], document["removed"]) == (str(path), False, ["ckpt-1"])
    assert len(document["deleted_files"]) == 3
    assert document["deleted_bytes"] > 0
    assert document["waiting"] == document["being_read"] == []
    assert document["blocked"] == {}


def test_quiet_says_nothing_unless_something_is_wrong(run: Run, filled: Filled) -> None:
    path = filled(1, 2)
    result = run("prune", str(path), "--keep-last", "1", "--quiet")
    assert (result.code, result.out, result.err) == (0, "", "")
    (path / "checkpoint").write_bytes(b"")
    result = run("prune", str(path), "--keep-last", "1", "--quiet")
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("ckptstore: error: ")


def test_every_rule(run: Run, filled: Filled) -> None:
    path = filled(*range(1, 13))
    document = run(
        "prune", str(path), "--dry-run", "--json", "--max-remove", "100", "--keep-every", "5h", "--keep-every-steps",
        "4", "--keep-within", "90m", "--keep-best", "1:loss:min", "--keep-best", "1:loss:max", "--keep-last", "2",
    ).json  # fmt: skip
    assert [d["step"] for d in document["decisions"] if d["keep"]] == [1, 4, 6, 8, 11, 12]
    assert len(document["decisions"][-1]["reasons"][0].split(", ")) == 4


# -- what is refused


def test_without_a_rule_nothing_is_removed(run: Run, filled: Filled) -> None:
    path = filled(1, 2)
    before = files(path)
    for extra in ([], ["--dry-run"], ["--json"], ["--grace", "0", "--max-remove", "5"]):
        result = run("prune", str(path), *extra)
        assert (result.code, result.out) == (1, "")
        assert "No rule says what to keep" in result.err
        assert "--keep-last N" in result.err
    assert files(path) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["--keep-last", "0"],
        ["--keep-last", "-1"],
        ["--keep-last", "nan"],
        ["--keep-last", "1.5"],
        ["--keep-last", ""],
        ["--keep-last", "٣"],
        ["--keep-last", "99999999999"],
        ["--keep-every", "0"],
        ["--keep-every", "0h"],
        ["--keep-every", "-2h"],
        ["--keep-every", "2"],
        ["--keep-within", "nan"],
        ["--keep-within", "inf"],
        ["--keep-every-steps", "0"],
        ["--keep-best", "3"],
        ["--keep-best", "3:loss"],
        ["--keep-best", "0:loss:min"],
        ["--keep-best", "3::min"],
        ["--keep-best", "3:loss:best"],
        ["--keep-last", "1", "--max-remove", "0"],
        ["--keep-last", "1", "--grace", "-1h"],
        ["--keep-last", "1", "--grace", "1"],
        ["--keep", "1"],
    ],
)
def test_a_rule_that_cannot_be_meant_is_wrong_usage(run: Run, filled: Filled, arguments: list[str]) -> None:
    path = filled(1, 2)
    before = files(path)
    result = run("prune", str(path), *arguments)
    assert (result.code, result.out) == (2, "")
    assert files(path) == before
    assert run("prune").code == 2


def test_a_metric_may_have_colons_in_its_name(run: Run, filled: Filled) -> None:
    result = run("prune", str(filled(1)), "--keep-best", "1:eval:loss:min", "--dry-run")
    assert "the newest" in result.out


@pytest.mark.parametrize("root", ["/", "//", "file:///", "s3://bucket", "s3://bucket/", "gs://bucket"])
@pytest.mark.parametrize("command", [["prune", "--keep-last", "1"], ["gc"], ["repair"]])
def test_a_whole_bucket_is_refused_before_any_request(run: Run, command: list[str], root: str) -> None:
    with mock.patch("socket.socket.connect", side_effect=AssertionError("a request was sent")):
        result = run(command[0], root, *command[1:])
    assert result.code == 1
    assert "whole bucket or file system" in result.err


@pytest.mark.parametrize(
    "command", [["prune", "--keep-last", "1"], ["gc"], ["repair"], ["rm"], ["pin"], ["unpin"]], ids=lambda c: c[0]
)
def test_a_secret_in_the_url_is_refused_and_not_repeated(run: Run, command: list[str]) -> None:
    """Row 43 of the checklist."""
    result = run(command[0], "s3://AKIAKEY:hunter2@bucket/run/ckpt-1", *command[1:], "--debug")
    assert result.code == 1
    assert "hunter2" not in result.out + result.err
    assert "AKIAKEY" not in result.out + result.err


def test_a_flood_of_new_checkpoints_does_not_push_out_all_others_at_once(run: Run, filled: Filled) -> None:
    """Row 19 of the checklist: half of the list goes at most, the oldest first."""
    path = filled(*range(1, 12))
    document = run("prune", str(path), "--keep-last", "2", "--grace", "0", "--json").json
    assert document["removed"] == [f"ckpt-{step}" for step in range(1, 7)]
    assert "not more than 6 are removed at once" in document["decisions"][6]["reasons"]
    document = run("prune", str(path), "--keep-last", "2", "--max-remove", "1", "--json").json
    assert document["removed"] == ["ckpt-7"]


def test_no_checkpoints_is_no_failure(run: Run, tmp_path: Path) -> None:
    result = run("prune", str(tmp_path), "--keep-last", "1")
    assert (result.code, result.out) == (0, f"{tmp_path} holds no checkpoints yet\n")
    assert run("prune", str(tmp_path), "--keep-last", "1", "--json").json["decisions"] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["prune", "--keep-last", "2"], ["gc"], ["repair"], ["pin"], ["rm"]])
def test_a_directory_that_is_not_there_is_a_failure_and_is_not_made(
    run: Run, tmp_path: Path, command: list[str]
) -> None:
    missing = tmp_path / "mistyped" / ("run" if command[0] not in ("pin", "rm") else "run/ckpt-1")
    result = run(command[0], str(missing), *command[1:])
    assert result.code == 1
    assert "mistyped" in result.err
    assert not (tmp_path / "mistyped").exists()


def test_a_latest_checkpoint_that_is_gone(run: Run, filled: Filled) -> None:
    path = filled(1, 2)
    for file in path.glob("ckpt-2.*"):
        file.unlink()
    before = files(path)
    result = run("prune", str(path), "--keep-last", "1")
    assert (result.code, result.out) == (1, "")
    assert "is not there, so nothing was removed" in result.err
    assert files(path) == before


def test_damaged_metrics_remove_nothing(run: Run, filled: Filled) -> None:
    path = filled(1, 2, 3)
    (path / "ckpt-2.meta").write_bytes(b"\xff" * 9)
    before = files(path)
    result = run("prune", str(path), "--keep-best", "1:loss:min", "--grace", "0")
    assert (result.code, result.out) == (3, "")
    assert "ckpt-2.meta" in result.err
    assert files(path) == before
    assert run("prune", str(path), "--keep-last", "1", "--grace", "0").code == 0  # it does not go by metrics


def test_what_cannot_be_deleted_is_told_and_is_a_failure(run: Run, filled: Filled) -> None:
    path = filled(1, 2)
    (path / "train.py").write_bytes(b"import this")
    (path / "checkpoint").write_bytes(ck.CheckpointState("ckpt-2", ("train.py", "ckpt-1", "ckpt-2")).to_bytes())
    result = run("prune", str(path), "--keep-last", "1", "--grace", "0", "--quiet")
    assert (result.code, result.out) == (1, "")
    assert "train.py stays: the file of that name is no checkpoint" in result.err
    document = run("prune", str(path), "--keep-last", "1", "--grace", "0", "--json").json
    assert list(document["blocked"]) == ["train.py"]
    assert (path / "train.py").exists()
    (path / "train.py").unlink()
    assert run("prune", str(path), "--keep-last", "1").code == 0


def test_what_is_being_read_is_told(run: Run, filled: Filled) -> None:
    path = filled(1, 2)
    with ck.CheckpointManager(path) as manager, manager.reader(1) as reader:
        result = run("prune", str(path), "--keep-last", "1", "--grace", "0")
        assert result.code == 0
        assert "ckpt-1 is being read; its files are deleted when that is over" in result.out
        assert reader.restore()["w"].tolist() == [1, 1]
    assert "3 files deleted" in run("prune", str(path), "--keep-last", "1", "--grace", "0").out


# -- directories that TensorFlow wrote


def test_a_directory_that_tensorflow_wrote(run: Run, golden: Golden) -> None:
    path = Path(golden("07_keep_5_of_7"))
    before = files(path)
    result = run("prune", str(path), "--keep-last", "2", "--grace", "0")
    assert result.code == 0
    assert {name.rpartition(".")[0] for name in before.keys() - files(path).keys()} == {
        "model.ckpt-300",
        "model.ckpt-400",
        "model.ckpt-500",
    }
    text = b"".join(line for line in files(path)["checkpoint"].splitlines(keepends=True) if not line.startswith(b"#"))
    state = ck.CheckpointState.from_bytes(text)
    assert state.all_model_checkpoint_paths == ("model.ckpt-600", "model.ckpt-700")
    assert text == state.to_bytes()
    assert Ledger.from_bytes(files(path)["checkpoint"]).managed


def test_v1_checkpoints(run: Run, golden: Golden) -> None:
    path = Path(golden("09d_v1_sharded"))
    for file in list(path.glob("sh.ckpt-3*")):
        shutil.copy2(file, path / file.name.replace("ckpt-3", "ckpt-9"))
    names = tuple(f"sh.ckpt-{step}-?????-of-00004" for step in (3, 9))
    (path / "checkpoint").write_bytes(ck.CheckpointState(names[1], names).to_bytes())
    assert run("prune", str(path), "--keep-last", "1", "--grace", "0").code == 0
    assert not [name for name in files(path) if name.startswith("sh.ckpt-3-")]
    assert run("verify", str(path)).code == 0


# -- requests


@pytest.mark.parametrize(("rules", "reads"), [(["--keep-every-steps", "2"], 0), (["--keep-best", "1:loss:min"], 4)])
def test_meta_files_are_read_for_a_rule_that_goes_by_metrics_alone(
    run: Run, filled: Filled, rules: list[str], reads: int
) -> None:
    watched = FaultyStore(LocalStore(filled(1, 2, 3, 4)))
    with mock.patch("ckptstore.storage.from_url", return_value=watched):
        assert run("prune", "whatever", *rules, "--grace", "0").code == 0
    assert len([call for call in watched.calls if call.verb == "get" and call.key.endswith(".meta")]) == reads


def test_clocks_that_disagree(run: Run, filled: Filled) -> None:
    path = filled(1, 2)
    before = files(path)
    with mock.patch("ckptstore._clock.SystemClock", return_value=ManualClock(0.0)):
        result = run("prune", str(path), "--keep-last", "1")
        assert (result.code, result.out) == (1, "")
        assert "nothing was removed" in result.err
        assert run("rm", f"{path}/ckpt-1").code == 1
        assert run("gc", str(path)).code == 1
    assert files(path) == before


def test_a_store_where_only_the_trainer_can_prune(run: Run) -> None:
    url = "memory://cli-prune/run"
    with ck.CheckpointManager(url, max_to_keep=None) as manager:
        for step in (1, 2):
            manager.save(step, {"w": np.zeros(2)})
    result = run("prune", url, "--keep-last", "1")
    assert result.code == 1
    assert "Let the trainer itself prune" in result.err
    assert run("prune", url, "--keep-last", "1", "--dry-run").code == 0
    for command in (["rm", f"{url}/ckpt-1"], ["pin", f"{url}/ckpt-1"], ["gc", url]):
        assert run(*command).code == 1
