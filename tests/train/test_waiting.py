"""Evaluators beside a trainer: waiting for a checkpoint, and going through them as they come."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import ckptstore as ck
from ckptstore.checkpoint.pins import LIFETIME, PINS
from ckptstore.checkpoint.pruning import Pruner
from ckptstore.format.state import CheckpointState
from ckptstore.storage import ObjectMeta, Payload, Store, WrapperStore
from ckptstore.testing import Fault, FaultyStore, ManualClock
from ckptstore.train import checkpoint_management
from tests.support.run_directory import RunDirectory, arrays


class Watched(RunDirectory):
    """A directory in which something happens while an evaluator sleeps."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.seen_through: Store = self.store
        patch.setattr(checkpoint_management, "from_url", lambda *_: self.seen_through)

    def iterate(self, clock: ManualClock | None = None, **options: Any) -> Iterator[str]:
        return ck.checkpoints_iterator("dir", clock=clock or self.clock, **{"timeout": 10, **options})

    @property
    def pins(self) -> int:
        return sum(key.startswith(PINS) for key in self.everything)


class EventfulClock(ManualClock):
    """A clock during whose n-th sleep, from 1, something happens."""

    def __init__(self, start: float, events: dict[int, Callable[[], object]]) -> None:
        super().__init__(start)
        self._events = events

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self._events.get(len(self.sleeps), lambda: None)()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


def paths(*steps: int) -> list[str]:
    return [f"dir/ckpt-{step}" for step in steps]


# -- waiting for one


def test_a_checkpoint_that_is_there_is_not_waited_for(run: Watched) -> None:
    run.save(1, 2)
    assert ck.wait_for_new_checkpoint("dir", clock=run.clock) == "dir/ckpt-2"
    assert ck.wait_for_new_checkpoint("dir", "dir/ckpt-1", clock=run.clock) == "dir/ckpt-2"
    assert run.clock.sleeps == []


def test_the_next_is_waited_for(run: Watched) -> None:
    clock = EventfulClock(run.clock.time(), {2: lambda: run.save(1), 5: lambda: run.save(2)})
    assert ck.wait_for_new_checkpoint("dir", seconds_to_sleep=3, clock=clock) == "dir/ckpt-1"
    assert clock.sleeps == [3, 3]
    assert ck.wait_for_new_checkpoint("dir", "dir/ckpt-1", clock=clock) == "dir/ckpt-2"
    assert clock.sleeps[2:] == [1, 1, 1]


@pytest.mark.parametrize(("timeout", "sleeps"), [(0, 0), (0.5, 0), (1, 1), (5, 5)])
def test_not_for_ever(run: Watched, timeout: float, sleeps: int) -> None:
    run.save(1)
    assert ck.wait_for_new_checkpoint("dir", "dir/ckpt-1", timeout=timeout, clock=run.clock) is None
    assert len(run.clock.sleeps) == sleeps


def test_what_will_never_come_is_not_waited_for(run: Watched) -> None:
    run.save(1)
    run.write(b"damaged")
    with pytest.raises(ck.StateCorruptError):
        ck.wait_for_new_checkpoint("dir", clock=run.clock)
    run.store.delete(["checkpoint"])
    with pytest.raises(ck.StateMissingError):
        ck.wait_for_new_checkpoint("dir", clock=run.clock)


def test_waiting_changes_nothing(run: Watched) -> None:
    run.save(1)
    before = run.everything
    ck.wait_for_new_checkpoint("dir", clock=run.clock)
    assert run.everything == before


# -- the latest, again and again


def test_only_the_latest_at_the_time(run: Watched) -> None:
    found = run.iterate()
    run.save(1, 2, 3)
    assert next(found) == "dir/ckpt-3"
    run.save(4, 5)
    assert next(found) == "dir/ckpt-5"
    assert list(found) == []


def test_the_same_name_saved_anew_is_another_one(run: Watched) -> None:
    found = run.iterate()
    run.save(1)
    assert next(found) == "dir/ckpt-1"
    manager = run.manager()
    manager.save(1, arrays(7), overwrite=True)
    second = next(found)
    assert second.endswith("/ckpt-1")
    assert second != "dir/ckpt-1"


def test_what_was_handed_out_stays_until_the_next_is_asked_for(run: Watched) -> None:
    trainer = run.manager(max_to_keep=1)
    trainer.save(1, arrays(1))
    found = run.iterate()
    assert next(found) == "dir/ckpt-1"
    trainer.save(2, arrays(2))
    assert run.listed == ["ckpt-2"]
    assert "ckpt-1" in run.stored
    assert next(found) == "dir/ckpt-2"
    trainer.save(3, arrays(3))
    assert run.stored == {"ckpt-2", "ckpt-3"}
    found.close()  # type: ignore[attr-defined]
    assert run.pins == 0


def test_no_sooner_than_it_was_asked_for(run: Watched) -> None:
    run.save(1)
    found = run.iterate(min_interval_secs=30)
    next(found)
    run.clock.advance(10)
    run.manager().save(2, arrays(2))
    assert next(found) == "dir/ckpt-2"
    assert run.clock.sleeps[0] == 20


# -- every one of them


def test_every_one_in_the_order_in_which_they_were_saved(run: Watched) -> None:
    found = run.iterate(every=True)
    run.save(10, 9, 11)
    assert [next(found) for _ in range(3)] == paths(10, 9, 11)
    run.save(1)
    assert list(found) == paths(1)
    assert run.pins == 0


def test_none_is_missed_by_a_slow_evaluator_that_has_seen_it_listed(run: Watched) -> None:
    """With max_to_keep=1 each checkpoint is listed until the next one only. Those that wait are pinned."""
    trainer = run.manager(max_to_keep=1)
    step = 0

    def save() -> None:
        nonlocal step
        step += 1
        trainer.save(step, arrays(step))

    save()
    found = run.iterate(every=True)
    seen = []
    for _ in range(3):
        seen.append(next(found))
        save()  # one per look: it waits, as the evaluator is given those before it
    run.save(*range(step + 1, step + 4))  # three at once, all of them listed
    seen.append(next(found))
    trainer = run.manager(max_to_keep=1)
    trainer.save(100, arrays(100))
    assert run.listed == ["ckpt-100"]
    for path in found:
        seen.append(path)
        assert run.has(f"{path.removeprefix('dir/')}.index")
    assert seen == paths(1, 2, 3, 4, 5, 6, 7, 100)
    assert run.pins == 0
    run.clock.advance(3601)  # what a predecessor has unlisted stays for an hour
    trainer.save(101, arrays(101))
    assert run.stored == {"ckpt-101"}


def test_a_trainer_that_saves_while_the_evaluator_waits(run: Watched) -> None:
    trainer = run.manager(max_to_keep=1)
    events = {n: (lambda n=n: trainer.save(n, arrays(n))) for n in range(1, 8)}
    clock = EventfulClock(run.clock.time(), events)
    assert list(run.iterate(clock, every=True)) == paths(*range(1, 8))


def test_what_comes_and_goes_between_two_looks_is_missed_and_the_next_is_not(run: Watched) -> None:
    run.save(1)
    found = run.iterate(every=True)
    assert next(found) == "dir/ckpt-1"
    run.save(2, 3, max_to_keep=1)
    assert next(found) == "dir/ckpt-3"


@pytest.mark.parametrize("every", [True, False])
def test_one_that_is_gone_before_its_pin_is_there_is_not_handed_out(run: Watched, every: bool) -> None:
    """The list is read, the trainer removes one of it, and only then is the pin put."""

    class Interrupted(WrapperStore):
        def put(self, key: str, payload: Payload) -> ObjectMeta:
            if key.startswith(PINS) and len(run.listed) == 2:
                run.save(3, max_to_keep=1)
            return self.inner.put(key, payload)

    run.save(1, 2)
    run.seen_through = Interrupted(run.store)
    assert list(run.iterate(ManualClock(), every=every)) == paths(3)
    assert run.pins == 0


def test_pins_of_those_that_wait_are_put_anew(run: Watched) -> None:
    run.save(1, 2, 3)
    found = run.iterate(every=True, timeout=None)
    next(found)
    for _ in range(2):
        run.clock.advance(LIFETIME - 60)
        next(found)
    assert run.pins == 1


def test_going_on_after_a_gap(run: Watched) -> None:
    """What was seen last is listed no more: everything that is listed is new, and nothing is given twice."""
    run.save(1, 2)
    found = run.iterate(every=True)
    assert [next(found), next(found)] == paths(1, 2)
    run.save(3, 4, max_to_keep=2)
    assert list(found) == paths(3, 4)


def test_a_list_that_somebody_cut_back_gives_nothing_twice(run: Watched) -> None:
    """The newest was removed: the one before it was seen already, and is no new one."""
    run.save(1, 2)
    found = run.iterate(every=True)
    assert [next(found), next(found)] == paths(1, 2)
    Pruner(run.directory(), run.clock).remove(["ckpt-2"])
    assert list(found) == []


def test_a_rule_that_keeps_an_older_one_gives_nothing_twice(run: Watched) -> None:
    run.save(1, 2)
    found = run.iterate(every=True)
    assert [next(found), next(found)] == paths(1, 2)
    run.manager(retention=ck.BestN(1, "loss", "max")).save(3, arrays(3))
    assert run.listed == ["ckpt-1", "ckpt-3"]
    assert list(found) == paths(3)


def test_beside_tensorflow(run: Watched) -> None:
    run.save(1, 2)
    run.store.delete([key for key in run.everything if key.startswith(".ckptstore/")])
    run.write(CheckpointState("ckpt-2", ("ckpt-1", "ckpt-2")).to_bytes())
    before = run.everything
    assert list(run.iterate(every=True)) == paths(1, 2)
    assert run.everything == before


def test_without_the_right_to_write(run: Watched) -> None:
    class ReadOnly(WrapperStore):
        def put(self, key: str, payload: Payload) -> ObjectMeta:
            raise ck.PermissionDeniedError("You may not write here.")

    run.save(1, 2)
    run.seen_through = ReadOnly(run.store)
    assert list(run.iterate(every=True)) == paths(1, 2)


def test_leaving_early_leaves_no_pin_behind(run: Watched) -> None:
    run.save(1, 2, 3)
    for path in run.iterate(every=True):
        assert path == "dir/ckpt-1"
        assert run.pins == 3
        break

    def evaluate() -> None:
        for _ in run.iterate(every=True):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        evaluate()
    gc.collect()
    assert run.pins == 0


def test_a_failing_store_is_an_error_and_leaves_no_pin_behind(run: Watched) -> None:
    run.save(1, 2)
    run.seen_through = FaultyStore(run.store, [Fault("get", first=3, times=9)])
    with pytest.raises(ck.StorageError):
        list(run.iterate(every=True))
    assert run.pins == 0
