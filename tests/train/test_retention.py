"""What a manager keeps when it is given a policy, and what TensorFlow's rule makes of pins and of grace."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

import ckptstore as ck
from ckptstore.checkpoint.editing import set_pinned
from ckptstore.storage import Payload
from ckptstore.testing import Fault, FaultyStore
from tests.support.run_directory import RunDirectory, arrays

NAN = float("nan")
HOUR = 3600.0


@pytest.fixture
def run() -> RunDirectory:
    return RunDirectory()


def save_all(run: RunDirectory, losses: dict[int, float | None], retention: ck.Policy, **options: Any) -> None:
    manager = run.manager(retention=retention, **options)
    for step, loss in losses.items():
        run.clock.advance(60)
        manager.save(step, arrays(step), metrics=None if loss is None else {"loss": loss})


def names(*steps: int) -> list[str]:
    return [f"ckpt-{step}" for step in steps]


@pytest.mark.parametrize(
    ("losses", "left"),
    [
        ({1: 3.0, 2: 1.0, 3: 2.0, 4: 9.0}, (2, 4)),
        ({1: 1.0, 2: 1.0, 3: 2.0}, (2, 3)),  # of equals the newest
        ({1: NAN, 2: 5.0, 3: NAN, 4: NAN}, (2, 4)),
        ({1: NAN, 2: NAN}, (2,)),
        ({1: None, 2: 5.0, 3: None}, (2, 3)),
        ({1: None, 2: None}, (2,)),
        ({1: float("-inf"), 2: 5.0, 3: 4.0}, (1, 3)),
        ({1: float("inf"), 2: None, 3: NAN}, (1, 3)),
        ({1: 5.0, 2: 1.0}, (2,)),
    ],
)
def test_the_best_and_the_newest(run: RunDirectory, losses: dict[int, float | None], left: tuple[int, ...]) -> None:
    save_all(run, losses, ck.BestN(1, "loss"))
    assert run.listed == names(*left)
    assert run.stored == set(names(*left))


def test_the_best_are_known_after_a_restart(run: RunDirectory) -> None:
    for step, loss in {1: 3.0, 2: 1.0, 3: 2.0, 4: 9.0, 5: 8.0}.items():
        save_all(run, {step: loss}, ck.BestN(2, "loss"))
    assert run.listed == names(2, 3, 5)


def test_each_metric_is_read_once(run: RunDirectory) -> None:
    run.save(1, 2, 3)
    watched = FaultyStore(run.store)
    manager = run.manager(watched, retention=ck.BestN(9, "loss"))
    for step in (4, 5, 6):
        manager.save(step, arrays(step), metrics={"loss": 0.5})
    reads = [call.key for call in watched.calls if call.verb == "get" and call.key.endswith(".meta")]
    assert len(reads) == len(set(reads)) <= 6


def test_no_metric_is_read_for_a_rule_that_needs_none(run: RunDirectory) -> None:
    run.save(1, 2, 3)
    watched = FaultyStore(run.store)
    run.manager(watched, retention=ck.LatestN(2) | ck.EveryNSteps(4)).save(4, arrays(4))
    assert not [call for call in watched.calls if call.verb == "get" and call.key.endswith(".meta")]
    assert run.listed == names(3, 4)


def test_rules_are_joined(run: RunDirectory) -> None:
    policy = ck.LatestN(2) | ck.EveryNSteps(5) | ck.BestN(1, "loss", "max")
    save_all(run, {step: float(step == 3) for step in range(1, 13)}, policy)
    assert run.listed == names(3, 5, 10, 11, 12)


@pytest.mark.parametrize("data", [b"\xff" * 30, b"\x0a\xff", b"x"])
def test_damaged_metrics_let_everything_stay_and_are_told(run: RunDirectory, data: bytes) -> None:
    run.save(1, 2, 3)
    run.store.put("ckpt-2.meta", Payload.of(data))
    manager = run.manager(retention=ck.BestN(1, "loss"))
    with pytest.warns(ck.RetentionWarning, match=r"Nothing is removed with this save.*ckpt-2\.meta"):
        manager.save(4, arrays(4))
    assert run.listed == names(1, 2, 3, 4)
    assert run.stored == set(names(1, 2, 3, 4))
    with pytest.raises(ck.DataLossError):
        manager.prune(dry_run=True)
    with pytest.raises(ck.DataLossError):
        manager.prune()
    assert run.listed == names(1, 2, 3, 4)
    run.store.delete(["ckpt-2.meta"])  # then it has no metrics, and that is a fact
    manager.save(5, arrays(5), metrics={"loss": 0.0})
    assert run.listed == names(5)


def test_metrics_that_cannot_be_read_now_let_everything_stay_until_later(run: RunDirectory) -> None:
    run.save(1, 2)
    broken = FaultyStore(run.store)
    manager = run.manager(broken, retention=ck.BestN(1, "loss", "max"))
    original = FaultyStore.get

    def get(key: str, *, limit: int | None = None) -> Any:
        if key.endswith(".meta"):
            raise ck.StorageUnavailableError("not now", path=key)
        return original(broken, key, limit=limit)

    broken.get = get  # type: ignore[method-assign]
    with pytest.warns(ck.RetentionWarning, match="not now"):
        manager.save(3, arrays(3))
    assert run.listed == names(1, 2, 3)
    del broken.get
    manager.save(4, arrays(4))
    assert run.listed == names(1, 4)


# -- pins


def test_what_is_pinned_stays_and_does_not_count(run: RunDirectory) -> None:
    manager = run.manager(max_to_keep=2)
    manager.save(1, arrays(1))
    set_pinned(run.directory(), "ckpt-1", pinned=True)
    for step in (2, 3, 4):
        manager.save(step, arrays(step))
    assert run.listed == names(1, 3, 4)
    assert run.stored == set(names(1, 3, 4))
    assert manager.prune(dry_run=True)[0].reasons == ("pinned",)
    set_pinned(run.directory(), "ckpt-1", pinned=False)
    manager.save(5, arrays(5))
    assert run.listed == names(4, 5)


def test_what_is_pinned_stays_whatever_a_policy_says(run: RunDirectory) -> None:
    manager = run.manager(retention=ck.LatestN(1))
    manager.save(1, arrays(1))
    set_pinned(run.directory(), "ckpt-1", pinned=True)
    for step in (2, 3):
        manager.save(step, arrays(step))
    assert run.listed == names(1, 3)


def test_what_is_pinned_can_be_overwritten_by_its_step(run: RunDirectory) -> None:
    manager = run.manager(max_to_keep=2)
    manager.save(1, arrays(1))
    set_pinned(run.directory(), "ckpt-1", pinned=True)
    manager.save(1, arrays(7), overwrite=True)
    assert manager.restore(1)["w"][0] == 7
    assert len(run.listed) == 1


# -- grace


def test_files_stay_for_the_grace_period_of_the_manager(run: RunDirectory) -> None:
    manager = run.manager(retention=ck.LatestN(1), grace_hours=1)
    for step in (1, 2):
        run.clock.advance(60)
        manager.save(step, arrays(step))
    assert run.listed == names(2)
    assert run.stored == set(names(1, 2))
    run.clock.advance(HOUR - 120)
    manager.save(3, arrays(3))
    assert run.stored == set(names(1, 2, 3))
    run.clock.advance(120)
    manager.save(4, arrays(4))
    assert run.stored == set(names(2, 3, 4))
    assert [entry.prefix for entry in run.ledger.trash] == names(1, 2, 3)  # forgotten with the next change


def test_a_pruner_deletes_what_a_trainer_with_grace_has_unlisted(run: RunDirectory) -> None:
    run.save(1, 2, 3, max_to_keep=1, grace_hours=2)
    assert len(run.prune(1, grace=2 * HOUR).collected.waiting) == 2
    run.clock.advance(2 * HOUR)
    assert len(run.prune(1, grace=2 * HOUR).collected.done) == 2
    assert run.stored == set(names(3))


@pytest.mark.parametrize("grace", [-1, NAN, "1", True, None])
def test_a_grace_that_cannot_be_meant(run: RunDirectory, grace: Any) -> None:
    with pytest.raises(ck.InvalidArgumentError, match="grace_hours"):
        run.manager(grace_hours=grace)


# -- by hand


def test_a_dry_run_changes_nothing_and_says_why(run: RunDirectory) -> None:
    run.save(1, 2, 3)
    manager = run.manager(retention=ck.LatestN(1) | ck.BestN(1, "loss", "max"))
    before = run.everything
    decisions = manager.prune(dry_run=True)
    assert [(d.step, d.keep, d.reasons) for d in decisions] == [
        (1, True, ("one of the best 1 by loss",)),
        (2, False, ("no rule keeps it",)),
        (3, True, ("one of the newest 1",)),
    ]
    assert run.everything == before
    assert [d.keep for d in manager.prune()] == [True, False, True]
    assert run.listed == names(1, 3)
    assert run.stored == set(names(1, 3))
    before = run.everything
    assert all(d.keep for d in manager.prune())
    assert run.everything == before


def test_tensorflows_rule_has_its_reasons_too(run: RunDirectory) -> None:
    run.save(1, 2, 3, 4, every=HOUR)
    manager = run.manager(max_to_keep=1, keep_checkpoint_every_n_hours=1.5)
    decisions = manager.prune(dry_run=True)
    assert [d.keep for d in decisions][-1]
    assert decisions[-1].reasons == ("one of the newest",)
    assert {reason for d in decisions[:-1] for reason in d.reasons} <= {
        "more than max_to_keep",
        "kept for ever: one every n hours",
    }
    manager.prune()
    assert run.listed == names(4)


def test_an_empty_directory_needs_no_pruning(run: RunDirectory) -> None:
    assert run.manager(retention=ck.LatestN(1)).prune() == []
    assert run.everything == {}


# -- arguments


@pytest.mark.parametrize("options", [{"max_to_keep": 3}, {"max_to_keep": None}, {"keep_checkpoint_every_n_hours": 1}])
def test_a_policy_stands_for_itself(run: RunDirectory, options: dict[str, Any]) -> None:
    with pytest.raises(ck.InvalidArgumentError, match="not both"):
        run.manager(retention=ck.LatestN(1), **options)


@pytest.mark.parametrize("retention", [3, "LatestN(3)", [], ck.LatestN])
def test_what_is_no_policy(run: RunDirectory, retention: Any) -> None:
    with pytest.raises(ck.InvalidArgumentError, match="must be a policy"):
        run.manager(retention=retention)


def test_a_manager_shows_its_rules(run: RunDirectory) -> None:
    assert repr(run.manager(retention=ck.LatestN(3) | ck.EveryNHours(2))).endswith(
        "LatestN(n=3) | EveryNHours(hours=2.0))"
    )


# -- failures


def test_a_deletion_that_fails_is_a_warning_and_is_made_up_for(run: RunDirectory) -> None:
    manager = run.manager(FaultyStore(run.store, [Fault("delete_versions", first=2)]), retention=ck.LatestN(1))
    manager.save(1, arrays(1))
    with pytest.warns(ck.RetentionWarning, match="deleting ckpt-1 failed"):
        manager.save(2, arrays(2))
    assert run.listed == names(2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        manager.save(3, arrays(3))
    assert run.stored == set(names(3))


def test_what_is_saved_as_a_manager_is_made_after_the_clock_was_set_back_is_not_forgotten(run: RunDirectory) -> None:
    run.save(1)
    run.clock.set_time(run.clock.time() - HOUR)
    for step in (2, 3):
        run.manager(max_to_keep=3).save(step, arrays(step))  # in the very moment
    assert run.listed == names(1, 2, 3)
