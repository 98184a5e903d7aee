"""The functions of tf.train over a directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptstore as ck
from ckptstore.checkpoint.state_paths import generate_checkpoint_state
from ckptstore.testing import ManualClock
from tests.support.golden import CASES, GOLDEN, expectation

STATES = [
    (case, key, value)
    for case in CASES
    for key, value in expectation(case).items()
    if key.startswith("state") and isinstance(value, dict) and "get_checkpoint_state" in value
]


def _directory(case: str, key: str) -> tuple[Path, str]:
    """Where in a case a recorded state file is: its folder, and its name."""
    folder = {
        "state_saver": "saver", "state_mgr": "mgr", "state_d": "d", "state_keepall": "keepall",
    }.get(key, {"10a_object_simple": "obj", "10b_object_v1_optimizer_slots": "adam"}.get(case, "."))  # fmt: skip
    return GOLDEN / case / folder, "latest_padded" if key == "state_padded" else "checkpoint"


@pytest.mark.parametrize(("case", "key", "said"), STATES, ids=[f"{c}-{k}" for c, k, _ in STATES])
def test_state_files_read_as_in_tensorflow(case: str, key: str, said: dict[str, Any], monkeypatch: Any) -> None:
    folder, name = _directory(case, key)
    monkeypatch.chdir(GOLDEN / case)
    given = os.path.relpath(folder, GOLDEN / case)
    state = ck.get_checkpoint_state(given, name)
    wanted = said["get_checkpoint_state"]
    assert state is not None
    assert state.model_checkpoint_path == wanted["model_checkpoint_path"]
    assert list(state.all_model_checkpoint_paths) == wanted["all_model_checkpoint_paths"]
    assert list(state.all_model_checkpoint_timestamps) == wanted["all_model_checkpoint_timestamps"]
    assert state.last_preserved_timestamp == wanted["last_preserved_timestamp"]
    assert ck.latest_checkpoint(given, name) == said["latest_checkpoint"]


def test_the_text_of_a_state_file_is_tensorflows() -> None:
    from ckptstore.format.state import CheckpointState

    files = [p for case in CASES for p in (GOLDEN / case).rglob("*") if p.name in ("checkpoint", "latest_padded")]
    files += list((GOLDEN / "07c_state_paths").glob("state_*"))
    assert len(files) > 25
    for file in files:
        data = file.read_bytes()
        assert CheckpointState.from_bytes(data).to_bytes() == data


@pytest.mark.parametrize("case", sorted(expectation("07c_state_paths")["cases"]))
def test_paths_are_stored_as_tensorflow_stores_them(case: str) -> None:
    """golden/07c: absolute, relative, dotted and odd save paths."""
    said = expectation("07c_state_paths")["cases"][case]
    kept = said["returned"][-2:]
    state = generate_checkpoint_state(
        os.path.dirname(said["save_path"]), kept[-1], kept, save_relative_paths=case.endswith("_rel")
    )
    assert state.to_text() == said["checkpoint"]


def test_update_writes_what_get_reads(tmp_path: Path) -> None:
    for name in ("m-1", "m-2"):
        ck.save(tmp_path / name, {"v": 1})
    ck.update_checkpoint_state(tmp_path, str(tmp_path / "m-2"), [str(tmp_path / "m-1"), str(tmp_path / "m-2")])
    assert (tmp_path / "checkpoint").read_text() == (
        'model_checkpoint_path: "m-2"\nall_model_checkpoint_paths: "m-1"\nall_model_checkpoint_paths: "m-2"\n'
    )
    assert ck.latest_checkpoint(tmp_path) == str(tmp_path / "m-2")
    ck.update_checkpoint_state(tmp_path, "m-1", all_model_checkpoint_timestamps=[5.0], last_preserved_timestamp=2.5)
    state = ck.get_checkpoint_state(tmp_path)
    assert state is not None
    assert (state.all_model_checkpoint_timestamps, state.last_preserved_timestamp) == ((5.0,), 2.5)
    with pytest.raises(ck.InvalidArgumentError, match="must match checkpoint paths"):
        ck.update_checkpoint_state(tmp_path, "m-1", ["m-1"], all_model_checkpoint_timestamps=[1.0, 2.0])
    with pytest.raises(ck.UnsafePathError, match="no checkpoint in its directory"):
        ck.update_checkpoint_state(tmp_path, "checkpoint")
    with pytest.raises(ck.UnsafePathError, match="no checkpoint in its directory"):
        ck.update_checkpoint_state(tmp_path, "../elsewhere/m-1")


def test_no_state_file_is_none_and_a_lost_one_is_an_error(tmp_path: Path) -> None:
    assert ck.latest_checkpoint(tmp_path) is None
    assert ck.latest_checkpoint(tmp_path / "not there") is None
    assert ck.get_checkpoint_state(tmp_path) is None
    ck.save(tmp_path / "weights", {"v": 1})  # a checkpoint without a step belongs to no series
    assert ck.latest_checkpoint(tmp_path) is None
    ck.save(tmp_path / "m-7", {"v": 1})
    with pytest.raises(ck.StateMissingError, match="holds the checkpoints m-7 and no state file"):
        ck.latest_checkpoint(tmp_path)


def test_the_latest_is_gone(tmp_path: Path) -> None:
    for step in (1, 2):
        ck.save(tmp_path / f"m-{step}", {"v": 1})
    ck.update_checkpoint_state(tmp_path, "m-2", ["m-1", "m-2"])
    ck.remove_checkpoint(tmp_path / "m-2")
    with pytest.raises(ck.CheckpointNotFoundError, match="nothing older is taken in its place"):
        ck.latest_checkpoint(tmp_path)


def test_a_directory_that_was_moved_is_read_where_it_is_now(tmp_path: Path) -> None:
    """TensorFlow stores absolute paths when it is given one, and reads the old place ever after."""
    new = tmp_path / "new"
    ck.save(new / "m-1", {"v": np.int32(1)})
    for old in ("/data/old/place/m-1", "gs://bucket/run/m-1", f"{new}/m-1", "./m-1"):
        (new / "checkpoint").write_text(f'model_checkpoint_path: "{old}"\n')
        assert ck.latest_checkpoint(new) == str(new / "m-1")
        assert ck.restore(new) == {"v": 1}


def test_exists_and_removal_are_literal(tmp_path: Path) -> None:
    for name in ("m-1", "m-10", "m-[1]", "m-1.index"):
        ck.save(tmp_path / name, {"v": 1})
    assert ck.checkpoint_exists(tmp_path / "m-[1]")
    assert not ck.checkpoint_exists(tmp_path / "m-*")
    assert not ck.checkpoint_exists(tmp_path / "m-2")
    ck.remove_checkpoint(tmp_path / "m-*")
    ck.remove_checkpoint(tmp_path / "m-1")
    assert sorted({p.name.rpartition(".")[0] for p in tmp_path.iterdir()}) == ["m-1.index", "m-10", "m-[1]"]
    (tmp_path / "old.ckpt").write_bytes((GOLDEN / "09a_v1_basic" / "model.ckpt").read_bytes())
    (tmp_path / "old.ckpt.meta").write_bytes(b"")
    assert ck.checkpoint_exists(tmp_path / "old.ckpt")
    ck.remove_checkpoint(tmp_path / "old.ckpt")
    assert not (tmp_path / "old.ckpt").exists()
    assert not (tmp_path / "old.ckpt.meta").exists()


def test_mtimes_are_those_of_what_is_there(tmp_path: Path) -> None:
    ck.save(tmp_path / "m-1", {"v": 1})
    os.utime(tmp_path / "m-1.index", (1.0, 1234.5))
    assert ck.get_checkpoint_mtimes([tmp_path / "m-1", tmp_path / "m-2"]) == [1234.5]
    v1 = GOLDEN / "09d_v1_sharded" / "sh.ckpt-3-?????-of-00004"
    assert len(ck.get_checkpoint_mtimes([v1])) == 1
    assert ck.checkpoint_exists(v1)


def test_the_iterator_yields_each_new_latest(tmp_path: Path) -> None:
    clock = ManualClock(0.0)
    found = ck.checkpoints_iterator(tmp_path, timeout=10, clock=clock)
    ck.save(tmp_path / "m-1", {"v": 1})
    ck.update_checkpoint_state(tmp_path, "m-1")
    assert next(found) == str(tmp_path / "m-1")
    ck.save(tmp_path / "m-2", {"v": 1})
    ck.update_checkpoint_state(tmp_path, "m-2")
    assert next(found) == str(tmp_path / "m-2")
    assert next(found, "timed out") == "timed out"
    assert 9 <= clock.time() <= 11


def test_the_iterator_asks_before_it_gives_up(tmp_path: Path) -> None:
    clock, asked = ManualClock(0.0), []

    def stop() -> bool:
        asked.append(clock.time())
        return len(asked) == 3

    assert list(ck.checkpoints_iterator(tmp_path, timeout=5, timeout_fn=stop, clock=clock)) == []
    assert len(asked) == 3
    (tmp_path / "checkpoint").write_text("?")
    with pytest.raises(ck.StateCorruptError):
        next(ck.checkpoints_iterator(tmp_path, timeout=5, clock=clock))


def test_removal_is_of_checkpoints_only(tmp_path: Path) -> None:
    ck.save(tmp_path / "m-1", {"v": 1})
    ck.update_checkpoint_state(tmp_path, "m-1")
    with pytest.raises(ck.InvalidArgumentError, match="is a state file"):
        ck.remove_checkpoint(tmp_path / "checkpoint")
    with pytest.raises(ck.InvalidArgumentError, match="ending of other files"):
        ck.remove_checkpoint(tmp_path / "m-1", meta_graph_suffix="index")
    assert ck.latest_checkpoint(tmp_path) == str(tmp_path / "m-1")
    (tmp_path / "sub").mkdir()
    ck.remove_checkpoint(tmp_path / "sub")
    assert ck.get_checkpoint_mtimes([tmp_path / "sub"]) == []
    with pytest.raises(ck.InvalidArgumentError, match="list of paths"):
        ck.get_checkpoint_mtimes(str(tmp_path / "m-1"))


def test_paths_and_file_urls_in_a_state(tmp_path: Path) -> None:
    ck.save(tmp_path / "m-1", {"v": 1})
    for directory, path in ((f"file://{tmp_path}", tmp_path / "m-1"), (tmp_path, f"file://{tmp_path}/m-1")):
        ck.update_checkpoint_state(directory, path)
        assert (tmp_path / "checkpoint").read_text().startswith('model_checkpoint_path: "m-1"')


def test_the_iterator_does_not_wait_for_what_will_never_come(tmp_path: Path) -> None:
    ck.save(tmp_path / "m-1", {"v": 1})
    with pytest.raises(ck.StateMissingError):
        next(ck.checkpoints_iterator(tmp_path, timeout=5, clock=ManualClock(0.0)))
