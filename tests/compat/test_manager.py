"""One directory under ck.CheckpointManager and tf.train.CheckpointManager, by turns and both at once."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptstore as ck
from ckptstore.testing import ManualClock
from tests.compat.support import QUIET, VARIABLE_KINDS, assert_same, rng, sample, session, tensorflow_clock, v1

tf = pytest.importorskip("tensorflow")
pytestmark = QUIET

HOUR = 3600.0


def names(directory: Any) -> set[str]:
    """Index and data files: which checkpoints are there. TensorFlow's manager never deletes `.meta` files."""
    return {
        str(p.relative_to(directory)) for p in Path(directory).rglob("*") if re.search(r"\.(index|data-\S+)$", p.name)
    }


def state_text(directory: Any) -> str:
    text = (Path(directory) / "checkpoint").read_text("utf-8")
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("#"))


def value_of(number: int) -> np.ndarray[Any, Any]:
    return np.arange(3, dtype=np.float32) * number


class Ours:
    """ck.CheckpointManager as this file drives it."""

    def __init__(self, directory: Any, clock: ManualClock, max_to_keep: int | None, hours: float | None) -> None:
        self.manager = ck.CheckpointManager(
            directory, max_to_keep=max_to_keep, keep_checkpoint_every_n_hours=hours, object_based=True, clock=clock
        )
        self.last = 0
        if self.manager.latest_checkpoint is not None:
            self.last, state = self.manager.restore_or_initialize(dict)
            assert_same(state["w"], value_of(self.last))

    def save(self) -> str:
        self.last += 1
        return self.manager.save(self.last, {"w": value_of(self.last)})

    def checkpoints(self) -> list[str]:
        return self.manager.checkpoints


class Theirs:
    """tf.train.CheckpointManager, driven the same way."""

    def __init__(self, directory: Any, clock: ManualClock, max_to_keep: int | None, hours: float | None) -> None:
        del clock  # see tensorflow_clock
        self.w = tf.Variable(value_of(0))
        self.checkpoint = tf.train.Checkpoint(w=self.w)
        self.manager = tf.train.CheckpointManager(
            self.checkpoint, str(directory), max_to_keep=max_to_keep, keep_checkpoint_every_n_hours=hours
        )
        self.last = 0
        if self.manager.latest_checkpoint is not None:
            status = self.checkpoint.restore(self.manager.latest_checkpoint)
            status.assert_consumed()
            status.assert_existing_objects_matched()
            self.last = int(self.checkpoint.save_counter)
            assert self.manager.latest_checkpoint.endswith(f"-{self.last}")
            assert_same(self.w.numpy(), value_of(self.last))

    def save(self) -> str:
        self.last += 1
        self.w.assign(value_of(self.last))
        return str(self.manager.save())

    def checkpoints(self) -> list[str]:
        return list(self.manager.checkpoints)


Who = type[Ours] | type[Theirs]


def play(
    directory: Any,
    turns: Sequence[tuple[Who, Sequence[float]]],
    *,
    max_to_keep: int | None,
    hours: float | None,
    between: Sequence[float] = (),
) -> list[tuple[str, set[str], str, list[str]]]:
    """Each turn opens the directory anew and saves after so many seconds each; what is there after every save.

    `between` is how many seconds pass before each opening; less than none: the clock is set back.
    """
    clock = ManualClock()
    out = []
    with tensorflow_clock(clock):
        for turn, (who, waits) in enumerate(turns):
            clock.set_time(clock.time() + (between[turn] if between else 0.0))
            player = who(directory, clock, max_to_keep, hours)
            for seconds in waits:
                clock.set_time(clock.time() + seconds)
                path = player.save()
                out.append(
                    (
                        Path(path).name,
                        names(directory),
                        state_text(directory),
                        [Path(p).name for p in player.checkpoints()],
                    )
                )
    return out


def check_same_histories(tmp_path: Path, plan: Sequence[Sequence[float]], order: Sequence[Who], **rule: Any) -> None:
    alone = play(tmp_path / "alone", [(Theirs, waits) for waits in plan], **rule)
    mixed = play(tmp_path / "mixed", [(order[i % len(order)], waits) for i, waits in enumerate(plan)], **rule)
    for number, (theirs, ours) in enumerate(zip(alone, mixed, strict=True)):
        assert ours == theirs, f"after save {number}"


ORDERS = [
    pytest.param([Ours], id="ours"),
    pytest.param([Theirs, Ours], id="theirs-then-ours"),
    pytest.param([Ours, Theirs], id="ours-then-theirs"),
    pytest.param([Theirs, Ours, Ours], id="theirs-then-ours-twice"),
]
RULES = [(1, None), (2, None), (5, None), (None, None), (1, 1.0), (2, 1.0), (3, 0.5), (2, 1e-9), (5, 2.0), (None, 1.0)]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("max_to_keep", "hours"), RULES)
def test_same_histories(order: list[Who], max_to_keep: int | None, hours: float | None, tmp_path: Path) -> None:
    """As if TensorFlow had gone on alone: files, state text and list after every save, over several openings."""
    generator = rng(max_to_keep or 0, int((hours or 0) * 10))
    waits = [0.25, 1.0, 60.5, 600.0, 1799.999, 1800.0, 3600.0, 7201.0]
    plan = [[float(generator.choice(waits)) for _ in range(int(generator.integers(1, 5)))] for _ in range(6)]
    check_same_histories(tmp_path, plan, order, max_to_keep=max_to_keep, hours=hours)


@pytest.mark.parametrize("order", ORDERS[:2])
def test_same_histories_when_nothing_lies_between_saves(order: list[Who], tmp_path: Path) -> None:
    """The clock stands still: all times are the same."""
    plan = [[0.0, 0.0, 0.0], [0.0, 3600.0, 0.0], [0.0, 0.0], [3600.0, 0.0, 0.0], [0.0, 0.0]]
    check_same_histories(tmp_path, plan, order, max_to_keep=2, hours=1.0)


@pytest.mark.parametrize("order", ORDERS[:2])
@pytest.mark.parametrize("hours", [None, 1.0])
def test_same_histories_when_the_clock_was_set_back_before_opening(
    order: list[Who], hours: float | None, tmp_path: Path
) -> None:
    """By less than the last preserved checkpoint is old: only some times lie in the future then."""
    check_same_histories(
        tmp_path, [[3600.0, 3600.0, 3600.0], [60.0, 60.0], [4000.0, 60.0, 60.0]], order,
        max_to_keep=2, hours=hours, between=[0.0, -1800.0, -30.0],
    )  # fmt: skip


def test_a_clock_that_was_set_back_far_makes_us_forget_nothing(tmp_path: Path) -> None:
    """Before the last preserved checkpoint: TensorFlow then lets go of all that were listed, and never deletes them.

    A difference on purpose (docs/tensorflow.md): such a directory would otherwise grow without bounds.
    """
    plan: list[Sequence[float]] = [[60.0, 60.0, 60.0], [60.0, 60.0, 60.0]]
    rule: dict[str, Any] = {"max_to_keep": 2, "hours": None, "between": [0.0, -90_000.0]}
    theirs = play(tmp_path / "theirs", [(Theirs, waits) for waits in plan], **rule)
    ours = play(tmp_path / "ours", [(Ours, waits) for waits in plan], **rule)
    assert ours[:3] == theirs[:3]
    assert [found[3] for found in ours[3:]] == [["ckpt-3", "ckpt-4"], ["ckpt-4", "ckpt-5"], ["ckpt-5", "ckpt-6"]]
    assert {n.split(".")[0] for n in ours[-1][1]} == {"ckpt-5", "ckpt-6"}
    assert {n.split(".")[0] for n in theirs[-1][1]} == {"ckpt-2", "ckpt-3", "ckpt-5", "ckpt-6"}


@pytest.mark.parametrize("order", ORDERS[:2])
def test_same_histories_when_the_clock_is_set_back_while_open(order: list[Who], tmp_path: Path) -> None:
    plan = [[3600.0, 3600.0, -1800.0, 60.0], [60.0, 60.0, 60.0]]
    check_same_histories(tmp_path, plan, order, max_to_keep=2, hours=None)


@pytest.mark.parametrize("order", ORDERS)
def test_rules_that_change_between_openings(order: list[Who], tmp_path: Path) -> None:
    rules = [(5, None), (2, 1.0), (None, None), (1, None), (3, 0.25)]
    out = []
    for name, players in (("alone", [Theirs]), ("mixed", order)):
        clock, seen = ManualClock(), []
        with tensorflow_clock(clock):
            for turn, (max_to_keep, hours) in enumerate(rules):
                player = players[turn % len(players)](tmp_path / name, clock, max_to_keep, hours)
                for _ in range(4):
                    clock.advance(1000.0)
                    player.save()
                    seen.append((names(tmp_path / name), state_text(tmp_path / name)))
        out.append(seen)
    assert out[0] == out[1]


@pytest.mark.parametrize("name", ["run", "run/", ".", "a b/\u00e4\u4e16", "./x/../run", "abs"])
def test_paths_of_a_directory(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both give out the same strings for the same directory, and store the same."""
    monkeypatch.chdir(tmp_path)
    results = []
    for who in (Ours, Theirs):
        base = tmp_path / who.__name__
        base.mkdir()
        monkeypatch.chdir(base)
        directory = str(base / "run") if name == "abs" else name
        if "/.." in name:
            (base / "x").mkdir()
        clock = ManualClock()
        with tensorflow_clock(clock):
            player = who(directory, clock, 2, None)
            saved = [player.save() for _ in range(3)]
        reopened = tf.train.CheckpointManager(tf.train.Checkpoint(), directory, 2)
        ours = ck.CheckpointManager(directory)
        assert ours.checkpoints == reopened.checkpoints == player.checkpoints() == saved[1:]
        assert (
            ours.latest_checkpoint == reopened.latest_checkpoint == tf.train.latest_checkpoint(directory) == saved[-1]
        )
        assert ck.latest_checkpoint(directory) == saved[-1]
        state, ours_state = tf.train.get_checkpoint_state(directory), ck.get_checkpoint_state(directory)
        assert ours_state is not None
        assert ours_state.model_checkpoint_path == state.model_checkpoint_path
        assert list(ours_state.all_model_checkpoint_paths) == list(state.all_model_checkpoint_paths)
        assert list(ours_state.all_model_checkpoint_timestamps) == list(state.all_model_checkpoint_timestamps)
        assert ours_state.last_preserved_timestamp == state.last_preserved_timestamp
        results.append(([os.path.relpath(p) for p in saved], state_text(directory), names(directory)))
    assert results[0] == results[1]


# -- what TensorFlow makes of our directories

ITEMS = {"layer": {"w": sample("float32", (4, 3), rng(1)), "b": np.zeros(3, np.float32)}, "global_step": np.int64(7)}


@pytest.mark.parametrize("object_based", [False, True])
def test_tensorflow_finds_the_latest(object_based: bool, tmp_path: Path) -> None:
    with ck.CheckpointManager(tmp_path, max_to_keep=2, object_based=object_based, max_shard_bytes=20) as manager:
        for step in (10, 20, 5):
            path = manager.save(step, ITEMS, metrics={"loss": 1.0 / step}, metadata={"\u00e4": [1, None, "x"]})
            assert path == str(tmp_path / f"ckpt-{step}")
            assert tf.train.latest_checkpoint(tmp_path) == path
            assert next(tf.train.checkpoints_iterator(str(tmp_path), timeout=0)) == path
        state = tf.train.get_checkpoint_state(tmp_path)
        assert state.model_checkpoint_path == path
        assert (
            list(state.all_model_checkpoint_paths)
            == manager.checkpoints
            == [str(tmp_path / f"ckpt-{n}") for n in (20, 5)]
        )
        assert len(state.all_model_checkpoint_timestamps) == 2
        assert [bool(v1.train.checkpoint_exists(str(tmp_path / f"ckpt-{n}"))) for n in (10, 20, 5)] == [
            False,
            True,
            True,
        ]
        assert len(v1.train.get_checkpoint_mtimes(manager.checkpoints)) == 2
    reader = tf.train.load_checkpoint(str(tmp_path))  # by the directory
    name = "layer/w/.ATTRIBUTES/VARIABLE_VALUE" if object_based else "layer/w"
    assert_same(reader.get_tensor(name), ITEMS["layer"]["w"])  # type: ignore[index]


@pytest.mark.parametrize("use_resource", VARIABLE_KINDS)
def test_saver_restores_and_carries_on(use_resource: bool, tmp_path: Path) -> None:
    with ck.CheckpointManager(tmp_path, checkpoint_name="model.ckpt") as manager:
        for step in (1, 2, 3):
            manager.save(step, {"v": np.full(2, step, np.float32)})
    with session() as s:
        variable = v1.get_variable("v", [2], use_resource=use_resource)
        saver = v1.train.Saver(max_to_keep=2)
        saver.restore(s, v1.train.latest_checkpoint(str(tmp_path)))
        assert s.run(variable).tolist() == [3, 3]
        saver.recover_last_checkpoints(v1.train.get_checkpoint_state(str(tmp_path)).all_model_checkpoint_paths)
        saver.save(s, str(tmp_path / "model.ckpt"), global_step=4)
    assert ck.latest_checkpoint(tmp_path) == str(tmp_path / "model.ckpt-4")
    with ck.CheckpointManager(tmp_path, checkpoint_name="model.ckpt", max_to_keep=2) as manager:
        assert manager.latest_step() == 4
        manager.save(5, {"v": manager.restore()["v"] + 2})
        assert manager.all_steps() == [4, 5]
    assert tf.train.load_variable(str(tmp_path), "v").tolist() == [5, 5]


def test_meta_files_can_be_imported(tmp_path: Path) -> None:
    """They hold no graph, and a collection that TensorFlow does not know."""
    with ck.CheckpointManager(tmp_path) as manager:
        plain = manager.save(1, ITEMS)
        rich = manager.save(
            2, ITEMS, metrics={"loss": float("nan"), "\u00e4": -1e300}, metadata={"deep": {"er": ["\u4e16", None, 1.5]}}
        )
    for path in (plain, rich):
        with tf.Graph().as_default() as graph:
            assert v1.train.import_meta_graph(f"{path}.meta") is None  # no variables, so no saver
            assert graph.get_operations() == []
            step = v1.get_variable("global_step", dtype=tf.int64, initializer=np.int64(0))
            saver = v1.train.import_meta_graph(f"{path}.meta", clear_devices=True)
            with v1.Session() as s:
                for each in (saver, v1.train.Saver()):
                    each.restore(s, path)
                    assert s.run(step) == 7
            record = v1.MetaGraphDef.FromString(Path(f"{path}.meta").read_bytes()).collection_def["ckptstore"]
            assert set(graph.get_collection("ckptstore")) == set(record.bytes_list.value)


def test_steps_that_are_overwritten(tmp_path: Path) -> None:
    """The new files of a step lie in a directory of their own: TensorFlow follows the state file there."""
    clock = ManualClock()
    with tensorflow_clock(clock), ck.CheckpointManager(tmp_path, object_based=True, clock=clock) as manager:
        for step in (1, 2, 3):
            clock.advance(1.0)
            manager.save(step, {"w": value_of(step)})
        replaced = manager.save(2, {"w": value_of(20)}, overwrite=True)
        assert tf.train.latest_checkpoint(str(tmp_path)) == replaced
        clock.advance(1.0)
        w = tf.Variable(value_of(0))
        checkpoint = tf.train.Checkpoint(w=w)
        theirs = tf.train.CheckpointManager(checkpoint, str(tmp_path), max_to_keep=2)
        assert theirs.checkpoints == manager.checkpoints == [*(str(tmp_path / f"ckpt-{n}") for n in (1, 3)), replaced]
        checkpoint.restore(theirs.latest_checkpoint).assert_consumed()
        assert_same(w.numpy(), value_of(20))
        for _ in range(2):
            clock.advance(1.0)
            theirs.save()
        assert theirs.checkpoints == manager.checkpoints == [str(tmp_path / f"ckpt-{n}") for n in (3, 4)]
        assert names(tmp_path) == {f"ckpt-{n}.{kind}" for n in (3, 4) for kind in ("index", "data-00000-of-00001")}
        manager.save(5, {"w": value_of(5)})
        assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "ckpt-5")


def test_a_step_counter_and_interval_of_tensorflow(tmp_path: Path) -> None:
    """Numbers that jump: TensorFlow's checkpoint_number is our step."""
    step = tf.Variable(0, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(step=step)
    manager = tf.train.CheckpointManager(checkpoint, str(tmp_path), 3, step_counter=step, checkpoint_interval=100)
    for _ in range(30):
        step.assign_add(25)
        manager.save(checkpoint_number=step)
    with ck.CheckpointManager(tmp_path, max_to_keep=3, object_based=True) as ours:
        assert ours.all_steps() == [525, 625, 725]
        assert ours.restore()["step"] == 725
        ours.save(800, {"step": np.int64(800)})
        assert ours.all_steps() == [625, 725, 800]
    again = tf.train.CheckpointManager(checkpoint, str(tmp_path), 3, step_counter=step, checkpoint_interval=100)
    assert again.restore_or_initialize() == str(tmp_path / "ckpt-800")
    assert int(step) == 800
    step.assign_add(50)
    assert again.save() is None
    step.assign_add(50)
    assert again.save(checkpoint_number=step) == str(tmp_path / "ckpt-900")
    assert ck.restore(tmp_path)["step"] == 900


def test_a_directory_of_a_saver(tmp_path: Path) -> None:
    """It lists no times. TensorFlow's manager then manages none of them; ours goes by the files' own times."""
    with session() as s:
        v1.get_variable("v", initializer=np.arange(2.0))
        s.run(v1.global_variables_initializer())
        saver = v1.train.Saver(max_to_keep=3)
        for step in range(5):
            saver.save(s, str(tmp_path / "ckpt"), global_step=step)
    with ck.CheckpointManager(tmp_path, max_to_keep=3) as manager:
        assert manager.all_steps() == [2, 3, 4]
        manager.save(5, {"v": np.arange(2.0)})
        assert manager.all_steps() == [3, 4, 5]
        assert manager.checkpoints == list(tf.train.get_checkpoint_state(str(tmp_path)).all_model_checkpoint_paths)
    assert {n for n in names(tmp_path) if n.endswith(".index")} == {f"ckpt-{n}.index" for n in (3, 4, 5)}


def test_iterators_follow_each_other(tmp_path: Path) -> None:
    clock = ManualClock()
    ours = ck.checkpoints_iterator(tmp_path, timeout=2.0, clock=clock)
    theirs = tf.train.checkpoints_iterator(str(tmp_path), timeout=0)
    with tensorflow_clock(clock):
        for turn in range(4):
            player = (Ours, Theirs)[turn % 2](tmp_path, clock, 2, None)
            clock.advance(1.0)
            path = player.save()
            assert next(ours) == next(theirs) == path
    assert list(ours) == []
