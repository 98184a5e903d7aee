"""The manager: what it writes, in which order, what it keeps, and what it says when something is wrong."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptstore as ck
from ckptstore.checkpoint.retention import sweep_as_saver
from ckptstore.format.ledger import Entry
from ckptstore.format.state import CheckpointState
from ckptstore.storage import LocalStore, MemoryStore, Store
from ckptstore.testing import Fault, FaultyStore, ManualClock
from ckptstore.train import checkpoint_manager
from tests.support.golden import GOLDEN, expectation, same_bits

ITEMS = {"layer": {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float64(0.5)}, "words": [b"a", "bé"]}
FLAT = {
    "layer/w": ITEMS["layer"]["w"],  # type: ignore[index]
    "layer/b": np.array(0.5),
    "words": np.array([b"a", "bé".encode()], dtype=object),
}


def same(got: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return got.keys() == wanted.keys() and all(same_bits(got[k], np.asarray(wanted[k])) for k in got)


def names(directory: Path) -> list[str]:
    """What TensorFlow would see: all but the private directory."""
    found = sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file())
    return [name for name in found if not name.startswith(".ckptstore/")]


def keys(store: Store) -> list[str]:
    """The same of a store."""
    return [meta.key for meta in store.list() if not meta.key.startswith(".ckptstore/")]


def tensorflows(text: str) -> str:
    """The part of a state file that TensorFlow reads."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """A store that the next manager is given, whatever directory it is made for."""
    inner = MemoryStore()
    monkeypatch.setattr(checkpoint_manager, "from_url", lambda *_: inner)
    return inner


def test_a_step_is_four_files_that_come_back_bit_for_bit(tmp_path: Path) -> None:
    with ck.CheckpointManager(tmp_path / "run") as manager:
        path = manager.save(1200, ITEMS)
        assert path == str(tmp_path / "run" / "ckpt-1200")
        assert names(tmp_path / "run") == [
            "checkpoint",
            "ckpt-1200.data-00000-of-00001",
            "ckpt-1200.index",
            "ckpt-1200.meta",
        ]
        assert same(manager.restore(), FLAT)
        assert same(ck.restore(path), FLAT)


def test_an_empty_directory_starts_afresh_and_only_that(tmp_path: Path) -> None:
    with ck.CheckpointManager(tmp_path / "new") as manager:
        assert manager.latest_step() is None
        assert manager.latest_checkpoint is None
        assert manager.all_steps() == manager.checkpoints == []
        assert manager.restore_or_initialize(lambda: {"w": 1}) == (0, {"w": 1})
        with pytest.raises(ck.CheckpointNotFoundError, match=r"new holds no checkpoints; restore_or_initialize"):
            manager.restore()
        manager.save(7, {"w": np.int64(2)})
        step, items = manager.restore_or_initialize(lambda: pytest.fail("there is a checkpoint"))
        assert (step, items["w"]) == (7, 2)


def test_the_seventh_save_of_five_removes_the_second(tmp_path: Path) -> None:
    """golden/07: what is left of the files, and what the state lists, after every save."""
    history = expectation("07_keep_5_of_7")["history"]
    clock = ManualClock(1_700_000_000.0)
    with ck.CheckpointManager(tmp_path, checkpoint_name="model.ckpt", clock=clock) as manager:
        for said in history:
            clock.sleep(60)
            manager.save(said["after_step"], {"v": np.float32(said["after_step"] / 100)})
            assert names(tmp_path) == said["files"]
            assert [Path(p).name for p in manager.checkpoints] == said["last_checkpoints"]
            text = tensorflows((tmp_path / "checkpoint").read_text())
            assert [line for line in text.splitlines() if "timestamp" not in line] == said["checkpoint"].splitlines()
        for p in tmp_path.glob("*.index"):
            if p.name.startswith("model.ckpt-"):
                assert p.read_bytes() == (GOLDEN / "07_keep_5_of_7" / p.name).read_bytes()


def test_every_n_hours_comes_out_as_in_tensorflow(tmp_path: Path) -> None:
    """golden/08: files, list and the text of the state file, save by save, on the same clock."""
    history = expectation("08_keep_every_n_hours")["manager_history"]
    clock = ManualClock(1_700_000_000.0)
    with ck.CheckpointManager(tmp_path, max_to_keep=2, keep_checkpoint_every_n_hours=1.0, clock=clock) as manager:
        for number, said in enumerate(history, 1):
            clock.sleep(900)
            assert clock.time() == said["t"]
            manager.save(number, {"v": np.float32(1)})
            assert [n for n in names(tmp_path) if n.endswith(".index")] == said["index_files"]
            assert [Path(p).name for p in manager.checkpoints] == [Path(p).name for p in said["checkpoints"]]
            assert tensorflows((tmp_path / "checkpoint").read_text()) == said["checkpoint"]
        assert manager.all_steps() == [11, 12]
        assert manager.restore(4) == {"v": np.float32(1)}  # preserved: not listed, and still found


def test_the_savers_rule_comes_out_as_in_tensorflow() -> None:
    """golden/08: the same for tf.train.Saver's rule, which counts periods from when it was made."""
    listed: list[Entry] = []
    mark, files = 1_700_000_000.0 + 3600.0, set()
    for number, said in enumerate(expectation("08_keep_every_n_hours")["saver_history"]):
        files.add(f"m-{number}.index")
        sweep = sweep_as_saver([*listed, Entry(f"saver/m-{number}", time=said["t"])], 2, 1.0, mark)
        listed, mark = list(sweep.listed), sweep.mark
        files -= {Path(item.prefix).name + ".index" for item in sweep.removed}
        assert sorted(files) == said["index_files"]
        assert [item.prefix for item in listed] == said["last_checkpoints"]


@pytest.mark.parametrize("case", ["none", "zero"])
def test_the_saver_lists_the_newest_alone_when_it_keeps_all(case: str) -> None:
    """golden/07b: whatever the hours, and nothing is deleted."""
    listed: tuple[Entry, ...] = ()
    preserved: tuple[Entry, ...] = ()
    for number, (files, state, _) in enumerate(expectation("07b_max_to_keep_none_1")[case], 1):
        new = Entry(f"m-{number}", time=float(number))
        sweep = sweep_as_saver([*listed, new], None if case == "none" else 0, 1.0, 5.0)
        assert sweep.listed == (new,)
        assert CheckpointState.from_bytes(state.encode()).all_model_checkpoint_paths == (new.prefix,)
        assert (sweep.preserved, sweep.removed, sweep.mark) == (listed, (), 5.0)
        listed, preserved = sweep.listed, (*preserved, *sweep.preserved)
        assert {f"{entry.prefix}.index" for entry in (*preserved, *listed)} == {f for f in files if "index" in f}


def test_the_saver_keeps_five_of_seven_as_in_tensorflow() -> None:
    """golden/07."""
    listed: tuple[Entry, ...] = ()
    for said in expectation("07_keep_5_of_7")["history"]:
        new = Entry(f"model.ckpt-{said['after_step']}", time=0.0)
        sweep = sweep_as_saver([*listed, new], 5, 10_000.0, 1e9)
        listed = sweep.listed
        assert [entry.prefix for entry in listed] == said["last_checkpoints"]
        assert sweep.preserved == ()
        assert all(f"{entry.prefix}.index" not in said["files"] for entry in sweep.removed)


def test_the_saver_that_keeps_one(tmp_path: Path) -> None:
    with ck.CheckpointManager(tmp_path, max_to_keep=1, checkpoint_name="m") as manager:
        for step, said in zip((1, 2, 3), expectation("07b_max_to_keep_none_1")["one"], strict=True):
            manager.save(step, {"v": np.float32(step)})
            assert [n for n in names(tmp_path) if not n.endswith(".meta")] == said[0]


def test_a_directory_is_carried_on_as_in_tensorflow(tmp_path: Path) -> None:
    """golden/08b: numbering, opening again with another max_to_keep, and a jump to 50."""
    history = expectation("08b_checkpoint_manager")["history"]
    with ck.CheckpointManager(tmp_path, max_to_keep=3) as manager:
        for step in range(1, 6):
            manager.save(step, {"x": np.float32([1, 2])})
            said = history[step - 1]
            assert [n for n in names(tmp_path) if not n.endswith(".meta")] == said[1]
            assert [Path(p).name for p in manager.checkpoints] == [Path(p).name for p in said[2]]
    with ck.CheckpointManager(tmp_path, max_to_keep=2) as manager:
        assert [Path(p).name for p in manager.checkpoints] == ["ckpt-3", "ckpt-4", "ckpt-5"]
        for step, said in ((6, history[6]), (50, history[7])):
            manager.save(step, {"x": np.float32([1, 2])})
            assert [Path(p).name for p in manager.checkpoints] == [Path(p).name for p in said[2]]
            assert [n for n in names(tmp_path) if not n.endswith(".meta")] == said[1]


def test_max_to_keep_none_keeps_and_lists_all(tmp_path: Path) -> None:
    with ck.CheckpointManager(tmp_path, max_to_keep=None) as manager:
        for step in range(20):
            manager.save(step, {"v": np.int32(step)})
        assert manager.all_steps() == list(range(20))


def test_a_directory_that_tensorflows_saver_wrote_is_kept_in_bounds(tmp_path: Path) -> None:
    """Its state has no times; TensorFlow's own manager would never delete what it lists."""
    source = GOLDEN / "07_keep_5_of_7"
    for file in source.iterdir():
        if file.name.startswith(("model", "checkpoint")):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with ck.CheckpointManager(tmp_path, max_to_keep=3, checkpoint_name="model.ckpt") as manager:
        assert manager.all_steps() == [300, 400, 500, 600, 700]
        assert manager.restore() == {"v": np.float32(7)}
        manager.save(800, {"v": np.float32(8)})
        assert manager.all_steps() == [600, 700, 800]
        assert {n.split(".")[1] for n in names(tmp_path) if n.startswith("model")} == {
            "ckpt-600",
            "ckpt-700",
            "ckpt-800",
        }


def test_the_order_on_the_store_is_data_meta_index_state_deletion(store: MemoryStore, monkeypatch: Any) -> None:
    faulty = FaultyStore(store)
    monkeypatch.setattr(checkpoint_manager, "from_url", lambda *_: faulty)
    manager = ck.CheckpointManager("run", max_to_keep=1)
    manager.save(1, {"v": 1})
    before = len(faulty.calls)
    manager.save(2, {"v": 2})
    changes = [
        (c.verb, c.key) for c in faulty.calls[before:] if c.verb not in ("get", "head", "list", "read_into", "delete")
    ]
    assert changes == [
        ("replace", "checkpoint"),  # says what is being saved
        ("create", "ckpt-2.data-00000-of-00001"),
        ("create", "ckpt-2.meta"),
        ("create", "ckpt-2.index"),
        ("replace", "checkpoint"),  # the commit
        ("put", ".ckptstore/history/000000000000000003"),
        ("delete_versions", "ckpt-1.index"),
        ("delete_versions", "ckpt-1.data-00000-of-00001,ckpt-1.meta"),
    ]
    assert keys(store) == ["checkpoint", "ckpt-2.data-00000-of-00001", "ckpt-2.index", "ckpt-2.meta"]


def test_a_small_save_takes_few_requests(store: MemoryStore, monkeypatch: Any) -> None:
    faulty = FaultyStore(store)
    monkeypatch.setattr(checkpoint_manager, "from_url", lambda *_: faulty)
    manager = ck.CheckpointManager("run", max_to_keep=2)
    for step in range(3):
        manager.save(step, {"v": 1})
    before = len(faulty.calls)
    manager.save(3, {"v": 1})
    assert len(faulty.calls) - before <= 10
    before = len(faulty.calls)
    manager.restore()
    assert len(faulty.calls) - before <= 6


@pytest.mark.filterwarnings("ignore::ckptstore.RetentionWarning")
@pytest.mark.parametrize("verb", ["create", "replace", "list", "get"])
def test_a_refused_save_changes_nothing_that_counts(store: MemoryStore, monkeypatch: Any, verb: str) -> None:
    manager = ck.CheckpointManager("run", max_to_keep=1)
    manager.save(1, {"v": np.float32(1)})
    for nth in range(1, 9):
        error = ck.PermissionDeniedError("no", path="x")
        faulty = FaultyStore(store, [Fault(verb, first=nth, times=10**6, error=error)])  # type: ignore[arg-type]
        monkeypatch.setattr(checkpoint_manager, "from_url", lambda *_, f=faulty: f)
        try:
            other = ck.CheckpointManager("run", max_to_keep=1)
            other.save(2, {"v": np.float32(2)})
        except ck.PermissionDeniedError:
            assert manager.all_steps() == [1]
            assert manager.restore() == {"v": np.float32(1)}
            continue
        break
    assert manager.latest_step() == 2


def test_a_failed_deletion_is_a_warning_and_made_good_later(store: MemoryStore, monkeypatch: Any) -> None:
    fault = Fault("delete_versions", first=2, times=1, error=ck.PermissionDeniedError("no", path="x"))
    faulty = FaultyStore(store, [fault])
    monkeypatch.setattr(checkpoint_manager, "from_url", lambda *_: faulty)
    manager = ck.CheckpointManager("run", max_to_keep=1)
    manager.save(1, {"v": 1})
    with pytest.warns(ck.RetentionWarning, match=r"is saved; deleting ckpt-1 failed \(no\) and is tried again"):
        manager.save(2, {"v": 2})
    assert manager.all_steps() == [2]
    manager.save(3, {"v": 3})
    assert {key.split(".")[0] for key in keys(store) if key != "checkpoint"} == {"ckpt-3"}


def test_a_step_is_saved_once_unless_told_otherwise(tmp_path: Path) -> None:
    with ck.CheckpointManager(tmp_path) as manager:
        manager.save(1, {"v": 1})
        manager.save(2, {"v": 2})
        with pytest.raises(ck.CheckpointExistsError, match=r"Step 1 is saved already.*overwrite=True"):
            manager.save(1, {"v": 10})
        assert manager.restore(1) == {"v": 1}
        manager.save(1, {"v": 10}, overwrite=True)
        assert manager.restore(1) == {"v": 10}
        assert manager.latest_step() == 1  # the latest is the last that was saved, not the highest number
        assert manager.all_steps() == [1, 2]
        assert ck.verify(tmp_path).ok


def test_what_a_dead_save_left_behind_is_no_obstacle(tmp_path: Path) -> None:
    with ck.CheckpointManager(tmp_path) as manager:
        manager.save(1, {"v": 1})
        ck.save(tmp_path / "ckpt-2", {"v": 99})  # complete, and not listed: its process died before it counted
        manager.save(2, {"v": 2})
        assert manager.restore(2) == {"v": 2}
        assert ck.restore(tmp_path / "ckpt-2") == {"v": 99}  # nobody's property is touched


def test_the_first_save_may_die_at_any_point(tmp_path: Path, monkeypatch: Any) -> None:
    """Complete but without a state file: not to be taken for a lost state file."""
    manager = ck.CheckpointManager(tmp_path)
    monkeypatch.setattr(manager._directory.file, "swap", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        manager.save(1, {"v": 1})
    with ck.CheckpointManager(tmp_path) as again:
        assert again.latest_step() is None
        again.save(1, {"v": 2})
        assert again.restore() == {"v": 2}
    os.unlink(tmp_path / "checkpoint")
    with pytest.raises(ck.StateMissingError, match=r"no state file 'checkpoint'.*update_checkpoint_state"):
        ck.CheckpointManager(tmp_path)


def test_metrics_and_metadata_come_back(tmp_path: Path) -> None:
    with ck.CheckpointManager(tmp_path) as manager:
        for step, loss in enumerate([0.5, 0.25, float("nan"), 0.25, float("inf")]):
            manager.save(
                step, {"v": 1}, metrics={"loss": np.float32(loss)}, metadata={"lr": [1, {"a": None}], "n": step}
            )
        assert manager.metrics(1) == {"loss": 0.25}
        assert np.isnan(manager.metrics(2)["loss"])
        assert manager.metadata() == {"lr": [1, {"a": None}], "n": 4}
        assert manager.best_step("loss") == 3
        assert manager.best_step("loss", "max") == 4
        assert manager.best_step("accuracy") is None
        with pytest.raises(ck.InvalidArgumentError, match="mode"):
            manager.best_step("loss", "least")  # type: ignore[arg-type]
        with pytest.raises(ck.InvalidArgumentError, match="metric 'loss' must be a number"):
            manager.save(9, {"v": 1}, metrics={"loss": "low"})  # type: ignore[dict-item]
        with pytest.raises(ck.InvalidArgumentError, match="JSON"):
            manager.save(9, {"v": 1}, metadata={"x": np.zeros(3)})
        assert 9 not in manager.all_steps()


def test_shards_are_cut_and_read_back(tmp_path: Path) -> None:
    items = {f"t{i}": np.full(1000, i, np.float32) for i in range(10)}
    with ck.CheckpointManager(tmp_path, max_shard_bytes=9000) as manager:
        manager.save(1, items)
        assert len([n for n in names(tmp_path) if "-of-00005" in n]) == 5
        assert same(manager.restore(), items)
        assert ck.verify(tmp_path).ok


def test_object_based_items_come_back_under_their_own_names(tmp_path: Path) -> None:
    with ck.CheckpointManager(tmp_path, object_based=True) as manager:
        manager.save(3, ITEMS)
        assert same(manager.restore(), FLAT)
        keys = list(manager.reader())
        assert "layer/w/.ATTRIBUTES/VARIABLE_VALUE" in keys
        assert manager.reader().get_tensor("save_counter") == 3


def test_restore_by_name_scope_and_into_arrays(tmp_path: Path) -> None:
    with ck.CheckpointManager(tmp_path) as manager:
        manager.save(1, ITEMS)
        assert list(manager.restore(names=["layer/b"])) == ["layer/b"]
        renamed = manager.restore(assignment_map={"layer/": "old/", "words": "vocabulary"})
        assert sorted(renamed) == ["old/b", "old/w", "vocabulary"]
        target = np.zeros((2, 3), np.float32)
        manager.restore(assignment_map={"layer/w": target})
        assert (target == ITEMS["layer"]["w"]).all()  # type: ignore[index]
        with pytest.raises(ck.TensorNotFoundError) as caught:
            manager.restore(names=["layer/v", "layer/b", "quite other"])
        assert caught.value.missing == ("layer/v", "quite other")
        assert "near: 'layer/" in str(caught.value)
        assert list(manager.restore(names=["layer/v", "layer/b"], strict=False)) == ["layer/b"]


def test_steps_it_was_not_given(tmp_path: Path) -> None:
    with ck.CheckpointManager(tmp_path, save_interval_steps=10) as manager:
        assert [s for s in range(25) if manager.should_save(s)] == [0, 10, 20]
        for step in (float("nan"), 1.5, -1, True, "1", None):
            with pytest.raises(ck.InvalidArgumentError, match="step must be an integer"):
                manager.save(step, {"v": 1})  # type: ignore[arg-type]
        manager.save(np.int64(4), {"v": 1})
        with pytest.raises(ck.CheckpointNotFoundError, match=r"holds no step 5; its steps are 4\."):
            manager.restore(5)


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_to_keep": 0},
        {"max_to_keep": -1},
        {"max_to_keep": True},
        {"max_to_keep": 1.5},
        {"keep_checkpoint_every_n_hours": 0},
        {"keep_checkpoint_every_n_hours": float("nan")},
        {"save_interval_steps": 0},
        {"max_shard_bytes": 0},
        {"checkpoint_name": ""},
        {"checkpoint_name": "a/b"},
        {"checkpoint_name": ".."},
    ],
)
def test_arguments_that_cannot_be_meant(tmp_path: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises((ck.InvalidArgumentError, ck.UnsafePathError)):
        ck.CheckpointManager(tmp_path, **arguments)


def test_names_are_literal(tmp_path: Path) -> None:
    """Directories and base names with characters that elsewhere are patterns; nobody else's files are touched."""
    odd = tmp_path / "run [1] *?"
    with ck.CheckpointManager(odd, checkpoint_name="c[k]*p?t", max_to_keep=1) as manager:
        manager.save(0, {"v": 0})
        for bystander in ("ckpt-1.index", "ck*pxt-1.index", "ckkXpyt-1.index", "c[k]*p?t-10.index"):
            (odd / bystander).write_bytes(b"mine")
        for step in (1, 2, 3):
            manager.save(step, {"v": step})
        assert manager.restore() == {"v": 3}
        assert ck.latest_checkpoint(odd) == str(odd / "c[k]*p?t-3")
    assert sum(n.endswith("index") for n in names(odd)) == 5


def test_clocks_that_jump_lose_nothing(tmp_path: Path) -> None:
    clock = ManualClock(1_700_000_000.0)
    with ck.CheckpointManager(tmp_path, max_to_keep=3, keep_checkpoint_every_n_hours=1, clock=clock) as manager:
        for step in range(4):
            manager.save(step, {"v": step})
    early = ManualClock(1_000_000_000.0)
    with ck.CheckpointManager(tmp_path, max_to_keep=3, keep_checkpoint_every_n_hours=1, clock=early) as manager:
        assert manager.all_steps() == [1, 2, 3]
        manager.save(4, {"v": 4})
        assert manager.all_steps() == [2, 3, 4]
        assert manager.latest_step() == 4


def test_a_store_of_local_files_is_what_it_uses(tmp_path: Path) -> None:
    with ck.CheckpointManager(tmp_path) as manager:
        inner: Store = manager._store
        assert isinstance(inner, LocalStore)
        assert repr(manager) == f"CheckpointManager({tmp_path}, max_to_keep=5)"


def test_a_step_saved_again_after_its_deletion_failed_is_not_deleted(store: MemoryStore, monkeypatch: Any) -> None:
    """What is still to be deleted must never be what was just saved."""
    # The first is the probe's.
    faults = [Fault("delete_versions", first=n, error=ck.PermissionDeniedError("no", path="x")) for n in (2, 3)]
    monkeypatch.setattr(checkpoint_manager, "from_url", lambda *_: FaultyStore(store, faults))
    manager = ck.CheckpointManager("run", max_to_keep=1)
    manager.save(1, {"v": np.float32(1)})
    with pytest.warns(ck.RetentionWarning):
        manager.save(2, {"v": np.float32(2)})
    with pytest.warns(ck.RetentionWarning):
        manager.save(1, {"v": np.float32(11)})
    assert manager.restore() == {"v": np.float32(11)}
    manager.save(3, {"v": np.float32(3)})
    assert manager.restore() == {"v": np.float32(3)}
    assert {key.split(".")[0] for key in keys(store)} == {"checkpoint", "ckpt-3"}


def test_a_fresh_start_and_a_resume_have_the_same_form(tmp_path: Path) -> None:
    def init() -> dict[str, Any]:
        return {"w": np.zeros(3, np.float32), "optimizer": {"lr": np.float32(0.1), "names": ["a"]}}

    with ck.CheckpointManager(tmp_path) as manager:
        _, fresh = manager.restore_or_initialize(init)
        manager.save(1, fresh)
        _, resumed = manager.restore_or_initialize(init)
    assert sorted(fresh) == sorted(resumed) == ["optimizer/lr", "optimizer/names", "w"]
    assert same(resumed, fresh)
    assert all(isinstance(v, np.ndarray) and v.flags.writeable for v in (*fresh.values(), *resumed.values()))
    with ck.CheckpointManager(tmp_path / "none") as manager, pytest.raises(ck.InvalidArgumentError):
        manager.restore_or_initialize(lambda: None)  # type: ignore[arg-type,return-value]


def test_a_save_that_counts_does_not_raise_for_its_tidying(store: MemoryStore, monkeypatch: Any) -> None:
    fault = Fault("put", first=2, times=1, error=ck.StorageUnavailableError("gone", path="x"))  # the history's copy
    monkeypatch.setattr(checkpoint_manager, "from_url", lambda *_: FaultyStore(store, [fault]))
    manager = ck.CheckpointManager("run", max_to_keep=1)
    with pytest.warns(ck.RetentionWarning, match="is saved; "):
        manager.save(1, {"v": 1})
    assert manager.latest_step() == 1
    manager.save(2, {"v": 2})
    assert keys(store) == ["checkpoint", "ckpt-2.data-00000-of-00001", "ckpt-2.index", "ckpt-2.meta"]


def test_a_preserved_step_is_a_saved_step(tmp_path: Path) -> None:
    clock = ManualClock(1_700_000_000.0)
    with ck.CheckpointManager(tmp_path, max_to_keep=1, keep_checkpoint_every_n_hours=1, clock=clock) as manager:
        for step in (1, 2):
            clock.sleep(7200)
            manager.save(step, {"v": step})
        assert manager.all_steps() == [2]
        assert manager.restore(1) == {"v": 1}
        with pytest.raises(ck.CheckpointExistsError):
            manager.save(1, {"v": 10})
        manager.save(1, {"v": 10}, overwrite=True)
        assert manager.restore(1) == {"v": 10}
        clock.sleep(1)
        manager.save(3, {"v": 3})
        with pytest.raises(ck.CheckpointNotFoundError):
            manager.restore(1)  # the new one was not preserved, and the old one was replaced


def test_names_with_dots_come_back_from_object_based_checkpoints(tmp_path: Path) -> None:
    items = {"layer.0": {"w": np.ones(2)}, "a.b.c": np.zeros(1)}
    with ck.CheckpointManager(tmp_path, object_based=True) as manager:
        for step in range(3):
            manager.save(step, items if step == 0 else manager.restore())
        assert sorted(manager.restore()) == ["a.b.c", "layer.0/w"]


def test_steps_of_another_name_are_restored_by_their_number() -> None:
    source = GOLDEN / "07_keep_5_of_7"
    with ck.CheckpointManager(source) as manager:  # named "model.ckpt" there
        assert [manager.restore(step)["v"].item() for step in manager.all_steps()] == [3.0, 4.0, 5.0, 6.0, 7.0]
        with pytest.raises(ck.CheckpointExistsError):
            manager.save(700, {"v": 1})


def test_a_clock_that_was_wrong_for_a_while_makes_nothing_forgotten(tmp_path: Path) -> None:
    clock = ManualClock(1_700_000_000.0)
    rule: dict[str, Any] = {"max_to_keep": 2, "keep_checkpoint_every_n_hours": 1, "clock": clock}
    with ck.CheckpointManager(tmp_path, **rule) as manager:
        for step in range(1, 5):
            clock.sleep(7200)
            manager.save(step, {"v": step})
        clock.set_time(1_600_000_000.0)
        for step in (5, 6):
            manager.save(step, {"v": step})
    clock.set_time(1_700_090_000.0)
    with ck.CheckpointManager(tmp_path, **rule) as manager:
        manager.save(7, {"v": 7})
        assert manager.all_steps() == [6, 7]


def test_a_save_that_fails_takes_its_data_away_again(store: MemoryStore, monkeypatch: Any) -> None:
    error = ck.StorageFullError("full", path="x")
    monkeypatch.setattr(
        checkpoint_manager, "from_url", lambda *_: FaultyStore(store, [Fault("create", first=8, times=1, error=error)])
    )
    manager = ck.CheckpointManager("run")
    manager.save(1, {"v": 1})  # the probe twice, data, meta, index, state
    before = {m.key for m in store.list()}
    with pytest.raises(ck.StorageFullError):
        manager.save(2, {"v": 2})  # data, and the meta file that finds the disk full
    assert {m.key for m in store.list()} == before


@pytest.mark.parametrize("object_based", [False, True])
def test_a_graph_in_the_meta_file(object_based: bool, tmp_path: Path) -> None:
    """Only if asked for; the record of the run is there either way, and ckptstore and TensorFlow can import it."""
    items = {"layer": {"w": np.arange(6, dtype=np.float32).reshape(2, 3)}, "step": np.int64(3)}
    if not object_based:
        items["emb"] = ck.Partitioned.split(np.arange(8.0).reshape(4, 2), 2)
    with ck.CheckpointManager(tmp_path / "plain") as manager:
        path = manager.save(1, items, metadata={"a": 1})
        assert not ck.load_meta_graph(f"{path}.meta").nodes
    with ck.CheckpointManager(tmp_path / "graph", meta_graph=True, object_based=object_based) as manager:
        path = manager.save(1, items, metrics={"loss": 0.5}, metadata={"a": 1})
        assert (manager.metadata(), manager.metrics()) == ({"a": 1}, {"loss": 0.5})
        meta = ck.load_meta_graph(f"{path}.meta")
        assert meta.saver_def is not None
        graph = ck.Graph()
        saver = ck.import_meta_graph(meta, graph=graph)
        assert saver is not None
        saver.restore(path)
        name = "layer/w/.ATTRIBUTES/VARIABLE_VALUE" if object_based else "layer/w"
        assert graph.values[name].tolist() == items["layer"]["w"].tolist()
        if not object_based:
            assert [graph.values[f"emb/part_{i}"].tolist() for i in range(2)] == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
