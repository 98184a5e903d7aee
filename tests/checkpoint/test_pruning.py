"""Pruning by a second process: what goes, in which order, and when nothing does."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ckptstore as ck
from ckptstore.checkpoint.policies import BestN, LatestN
from ckptstore.checkpoint.pruning import Pruner
from ckptstore.errors import PermissionDeniedError
from ckptstore.format.ledger import Entry, Ledger
from ckptstore.format.state import CheckpointState
from ckptstore.storage import Capabilities, LocalStore, MemoryStore, Payload, Store, WrapperStore
from ckptstore.testing import CrashError, Fault, FaultyStore, ManualClock
from tests.protocol.nth_fault import NthFaultStore, Plan
from tests.support.golden import GOLDEN
from tests.support.run_directory import RunDirectory, arrays

MINUTE, HOUR = 60.0, 3600.0


@pytest.fixture
def run() -> RunDirectory:
    """A directory with the steps 1 to 5."""
    directory = RunDirectory()
    directory.save(1, 2, 3, 4, 5)
    return directory


def names(*steps: int) -> list[str]:
    return [f"ckpt-{step}" for step in steps]


# -- what goes


def test_what_no_rule_keeps_leaves_the_list_and_the_store(run: RunDirectory) -> None:
    report = run.prune(2)
    assert report.removed == names(1, 2, 3)
    assert [decision.reasons for decision in report.decisions] == [
        *[("no rule keeps it",)] * 3,
        *[("one of the newest 2",)] * 2,
    ]
    assert {meta.key for meta in report.collected.deleted} == {
        f"ckpt-{step}.{part}" for step in (1, 2, 3) for part in ("index", "meta", "data-00000-of-00001")
    }
    assert run.listed == names(4, 5)
    assert run.stored == set(names(4, 5))
    assert not run.ledger.trash
    assert run.prune(2).removed == []


def test_a_dry_run_changes_nothing_and_says_what_would_go(run: RunDirectory) -> None:
    before = run.everything
    watched = FaultyStore(run.store)
    report = run.prune(2, store=watched, dry_run=True)
    assert (report.removed, report.dry_run) == (names(1, 2, 3), True)
    assert {call.verb for call in watched.calls} <= {"get", "head", "list", "read_into"}
    assert run.everything == before


def test_an_empty_directory_needs_no_pruning() -> None:
    run = RunDirectory()
    for dry_run in (True, False):
        assert run.prune(dry_run=dry_run).decisions == []
    assert run.everything == {}


def test_the_state_file_stays_one_that_tensorflow_reads(run: RunDirectory) -> None:
    times = dict(zip(run.listed, run.ledger.state.all_model_checkpoint_timestamps, strict=True))
    run.prune(2, grace=HOUR)
    data = run.files["checkpoint"]
    text = b"".join(line for line in data.splitlines(keepends=True) if not line.startswith(b"#"))
    state = CheckpointState.from_bytes(text)
    assert state == CheckpointState.from_bytes(data)
    assert state.to_bytes() == text  # to the byte as TensorFlow writes it
    assert list(state.all_model_checkpoint_paths) == names(4, 5)
    assert state.all_model_checkpoint_timestamps == (times["ckpt-4"], times["ckpt-5"])


def test_kept_for_ever_and_unlisted_checkpoints_are_not_touched(run: RunDirectory) -> None:
    ledger = run.ledger
    run.write(
        Ledger(
            ledger.listed[2:], "ckpt-5", kept=ledger.listed[:1], seq=ledger.seq, epoch=1, session="a" * 32, id="b" * 16
        )
    )
    report = run.prune(1)
    assert report.removed == names(3, 4)
    assert run.stored == set(names(1, 2, 5))
    assert [entry.prefix for entry in run.ledger.kept] == names(1)


def test_names_that_begin_alike_do_not_go_together() -> None:
    run = RunDirectory()
    run.save(1, 10, 100)
    run.store.put("ckpt-1.index.bak", Payload.of(b"mine"))
    run.store.put("ckpt-1.data-00000-of-00001.txt", Payload.of(b"mine"))
    run.store.put("sub/ckpt-1.index", Payload.of(b"another run's"))
    run.prune(2)
    assert {key for key in run.files if "ckpt-1." in key} == {
        "ckpt-1.index.bak",
        "ckpt-1.data-00000-of-00001.txt",
        "sub/ckpt-1.index",
    }
    assert {"ckpt-10", "ckpt-100"} <= run.stored


def test_a_trainer_goes_on_beside_it(run: RunDirectory) -> None:
    manager = run.manager()
    manager.save(6, arrays(6))
    run.prune(1)
    manager.save(7, arrays(7))
    run.prune(1, grace=HOUR)
    manager.save(8, arrays(8))
    assert run.listed == names(7, 8)
    assert manager.restore(7)["w"][0] == 7


# -- directories that TensorFlow wrote


def copied(case: str, target: Path) -> tuple[Path, dict[str, bytes]]:
    shutil.copytree(GOLDEN / case, target)
    return target, {path.name: path.read_bytes() for path in target.iterdir()}


def test_a_directory_of_tensorflows(tmp_path: Path) -> None:
    path, before = copied("07_keep_5_of_7", tmp_path / "run")
    (path / "model.ckpt-250.index").write_bytes(b"unlisted")
    run = RunDirectory(LocalStore(path))
    report = run.prune(2)
    assert report.removed == ["model.ckpt-300", "model.ckpt-400", "model.ckpt-500"]
    gone = {name for name in before if name.startswith(tuple(f"{prefix}." for prefix in report.removed))}
    assert len(gone) == 9
    after = {p.name: p.read_bytes() for p in path.iterdir() if p.is_file()}
    assert before.keys() - after.keys() == gone
    assert {name for name in after if after[name] != before.get(name)} == {"checkpoint", "model.ckpt-250.index"}
    text = b"".join(line for line in after["checkpoint"].splitlines(keepends=True) if not line.startswith(b"#"))
    assert CheckpointState.from_bytes(text) == CheckpointState("model.ckpt-700", ("model.ckpt-600", "model.ckpt-700"))
    assert ck.restore(path)  # what is left can be read
    with ck.CheckpointManager(path, checkpoint_name="model.ckpt") as manager:
        assert manager.all_steps() == [600, 700]


def test_v1_checkpoints_go_with_all_their_shards_and_nothing_else(tmp_path: Path) -> None:
    path, _ = copied("09d_v1_sharded", tmp_path / "run")
    for file in list(path.glob("sh.ckpt-3*")):
        shutil.copy2(file, path / file.name.replace("ckpt-3", "ckpt-4"))
    shutil.copy2(GOLDEN / "09a_v1_basic" / "model.ckpt", path / "model.ckpt")
    before = {p.name for p in path.iterdir()}
    three, four = "sh.ckpt-3-?????-of-00004", "sh.ckpt-4-?????-of-00004"
    (path / "checkpoint").write_bytes(CheckpointState(four, ("model.ckpt", three, four)).to_bytes())
    run = RunDirectory(LocalStore(path))
    report = run.prune(1)
    assert report.removed == ["model.ckpt", three]
    assert before - {p.name for p in path.iterdir()} == {
        "model.ckpt",
        *(f"sh.ckpt-3-0000{shard}-of-00004" for shard in range(4)),
        "sh.ckpt-3.meta",
    }
    assert ck.restore(path)
    assert run.listed == [four]


# -- how much it costs


def requests(steps: int, keep: int) -> Counter[str]:
    run = RunDirectory()
    run.save(*range(1, steps + 1))
    watched = FaultyStore(run.store)
    assert len(run.prune(keep, store=watched).removed) == steps - keep
    return Counter(call.verb for call in watched.calls)


def test_pruning_many_takes_as_many_requests_as_pruning_one() -> None:
    one, forty = requests(50, 49), requests(50, 10)
    assert one == forty
    assert one["list"] <= 2
    assert one["get"] <= 4


def test_meta_files_are_only_read_for_a_rule_that_goes_by_metrics(run: RunDirectory) -> None:
    for policy, read in ((LatestN(1), 0), (LatestN(1) | BestN(1, "loss"), 5)):
        watched = FaultyStore(run.store)
        run.prune(policy, store=watched, dry_run=True)
        assert sum(call.key.endswith(".meta") for call in watched.calls) == read


# -- readers


def test_what_is_being_read_stays_until_a_prune_after_that(run: RunDirectory) -> None:
    reader = run.manager().reader(1)
    report = run.prune(1)
    assert report.removed == names(1, 2, 3, 4)
    assert [entry.prefix for entry in report.collected.pinned] == names(1)
    assert run.stored == set(names(1, 5))
    assert run.listed == names(5)
    assert reader.restore()["w"][0] == 1
    reader.close()
    report = run.prune(1)
    assert report.removed == []
    assert [entry.prefix for entry in report.collected.done] == names(1)
    assert run.stored == set(names(5))


def test_what_a_user_pinned_stays_until_it_is_unpinned(run: RunDirectory) -> None:
    from ckptstore.checkpoint.editing import set_pinned

    assert set_pinned(run.directory(), "ckpt-2", pinned=True)
    assert run.prune(1).removed == names(1, 3, 4)
    assert run.prune(1).decisions[0].reasons == ("pinned",)
    assert set_pinned(run.directory(), "ckpt-2", pinned=False)
    assert run.prune(1).removed == names(2)
    assert run.stored == set(names(5))


# -- grace


def test_files_stay_for_the_grace_period(run: RunDirectory) -> None:
    report = run.prune(2, grace=HOUR)
    assert [entry.prefix for entry in report.collected.waiting] == report.removed == names(1, 2, 3)
    assert run.listed == names(4, 5)
    assert run.stored == set(names(1, 2, 3, 4, 5))
    run.clock.advance(HOUR - 1)
    report = run.prune(2, grace=HOUR)
    assert [entry.prefix for entry in report.collected.waiting] == names(1, 2, 3)
    assert not report.collected.deleted
    run.clock.advance(1)
    report = run.prune(2, grace=HOUR)
    assert [entry.prefix for entry in report.collected.done] == names(1, 2, 3)
    assert run.stored == set(names(4, 5))
    assert not run.ledger.trash


def test_each_waits_for_as_long_as_it_was_out_of_the_list_itself(run: RunDirectory) -> None:
    run.prune(4, grace=HOUR)
    run.clock.advance(HOUR / 2)
    run.prune(3, grace=HOUR)
    run.clock.advance(HOUR / 2)
    assert [entry.prefix for entry in run.prune(3, grace=HOUR).collected.done] == names(1)
    assert run.stored == set(names(2, 3, 4, 5))
    run.clock.advance(HOUR / 2)
    assert [entry.prefix for entry in run.prune(3, grace=HOUR).collected.done] == names(2)


def test_what_the_trash_goes_by_outlives_many_saves(run: RunDirectory) -> None:
    run.prune(4, grace=HOUR)
    run.save(*range(6, 46), every=1.0, grace_hours=1)
    run.clock.advance(HOUR)
    assert [entry.prefix for entry in run.prune(100, grace=HOUR).collected.done] == names(1)


def test_a_lost_copy_makes_the_trash_wait_and_not_go(run: RunDirectory) -> None:
    run.prune(2, grace=HOUR)
    run.store.delete([key for key in run.everything if key.startswith(".ckptstore/history/")])
    run.clock.advance(10 * HOUR)
    assert len(run.prune(2, grace=HOUR).collected.waiting) == 3
    assert run.stored == set(names(1, 2, 3, 4, 5))


def test_ages_are_the_stores_and_not_this_machines(run: RunDirectory) -> None:
    run.prune(2, grace=10 * MINUTE)
    ahead = ManualClock(run.clock.time() + 290 + 9 * MINUTE)
    run.clock.advance(9 * MINUTE)
    assert len(run.prune(2, grace=10 * MINUTE, clock=ahead).collected.waiting) == 3
    run.clock.advance(MINUTE)
    behind = ManualClock(run.clock.time() - 290)
    assert len(run.prune(2, grace=10 * MINUTE, clock=behind).collected.done) == 3


@pytest.mark.parametrize("jump", [-10 * 365 * 24 * HOUR, -HOUR, -2 * MINUTE])
def test_a_store_whose_clock_is_set_back_only_makes_the_trash_wait(run: RunDirectory, jump: float) -> None:
    run.prune(2, grace=MINUTE)
    run.clock.set_time(run.clock.time() + jump)
    assert len(run.prune(2, grace=MINUTE).collected.waiting) == 3
    assert run.stored == set(names(1, 2, 3, 4, 5))


def test_a_pruner_that_was_suspended_does_not_blame_the_clock(run: RunDirectory) -> None:
    """Its time may have been told long before or after the store told its own."""

    class SuspendedStore(NthFaultStore):
        def _send(self, what: str, request: Callable[[], Any], *, write: bool = False) -> Any:
            if what.startswith("put .ckptstore/clock/"):
                run.clock.advance(HOUR)
                answer = super()._send(what, request, write=write)
                run.clock.advance(HOUR)
                return answer
            return super()._send(what, request, write=write)

    run.prune(2, store=SuspendedStore(run.store, run.clock))
    assert run.listed == names(4, 5)


@pytest.mark.parametrize("skew", [301.0, -301.0, HOUR, -10 * 365 * 24 * HOUR])
def test_clocks_that_disagree_are_refused(run: RunDirectory, skew: float) -> None:
    before = run.files
    for act in (
        lambda clock: run.prune(1, clock=clock),
        lambda clock: Pruner(run.directory(), clock).remove(names(1)),
    ):
        with pytest.raises(ck.ClockSkewError, match="nothing was removed"):
            act(ManualClock(run.clock.time() + skew))
    assert run.files == before


@pytest.mark.parametrize("skew", [299.0, -299.0])
def test_clocks_that_nearly_agree_will_do(run: RunDirectory, skew: float) -> None:
    assert run.prune(1, clock=ManualClock(run.clock.time() + skew)).removed == names(1, 2, 3, 4)


# -- when nothing, or less, is removed


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("keep", [1, 100])
def test_a_latest_checkpoint_that_is_not_there_stops_everything(run: RunDirectory, dry_run: bool, keep: int) -> None:
    run.store.delete([key for key in run.files if key.startswith("ckpt-5.")])
    before = run.files
    with pytest.raises(ck.CheckpointNotFoundError, match="nothing was removed"):
        run.prune(keep, dry_run=dry_run)
    assert run.files == before


DAMAGE: dict[str, Callable[[RunDirectory], None]] = {
    "its index is gone": lambda run: run.damage("ckpt-5.index", None),
    "its index is empty": lambda run: run.damage("ckpt-5.index", b""),
    "its index is cut": lambda run: run.damage("ckpt-5.index", run.files["ckpt-5.index"][:-9]),
    "its index is flipped": lambda run: run.damage("ckpt-5.index", b"\x80" + run.files["ckpt-5.index"][1:]),
    "its data is gone": lambda run: run.damage("ckpt-5.data-00000-of-00001", None),
    "its data is cut": lambda run: run.damage("ckpt-5.data-00000-of-00001", b"x"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_where_the_newest_is_damaged_the_newest_whole_one_stays(run: RunDirectory, damage: str) -> None:
    DAMAGE[damage](run)
    report = run.prune(1)
    assert report.removed == names(1, 2, 3)
    assert report.decisions[3].reasons == ("the newest that is whole",)
    assert run.listed == names(4, 5)
    assert {"ckpt-4", "ckpt-5"} == run.stored


def test_where_none_is_whole_all_stay(run: RunDirectory) -> None:
    for step in range(1, 6):
        run.damage(f"ckpt-{step}.index", b"damaged")
    before = run.files
    report = run.prune(1)
    assert report.removed == []
    assert report.decisions[0].reasons == ("no checkpoint is whole",)
    assert run.files == before


def test_a_store_that_cannot_swap_is_refused() -> None:
    with ck.CheckpointManager("memory://prune-refused/run", max_to_keep=None) as manager:
        for step in (1, 2):
            manager.save(step, arrays(step))
    from ckptstore.storage import from_url

    with from_url("memory://prune-refused/run") as store:
        run = RunDirectory(store)
        before = run.files
        with pytest.raises(ck.UnsupportedError, match="Let the trainer itself prune"):
            run.prune(1)
        assert run.files == before
        assert run.prune(1, dry_run=True).removed == names(1)


class NoConditionalDelete(WrapperStore):
    """As an S3 server that knows no If-Match for deletions."""

    @property
    def capabilities(self) -> Capabilities:
        from dataclasses import replace

        return replace(self.inner.capabilities, conditional_delete=False)

    def delete_versions(self, objects: Any) -> Any:
        raise ck.UnsupportedError("no conditional deletes here")


def test_where_no_delete_is_conditional_only_names_that_nobody_takes_again_go() -> None:
    run = RunDirectory()
    run.save(1, 2)
    run.save(3, 4, store=NoConditionalDelete(run.store))
    assert [prefix.startswith("r-") for prefix in run.listed] == [False, False, True, True]
    report = run.prune(1, store=NoConditionalDelete(run.store))
    assert {entry.prefix for entry in report.collected.blocked} == set(names(1, 2))
    assert run.stored == {*names(1, 2), run.listed[0]}
    assert run.listed[0].endswith("/ckpt-4")


class Forbids(WrapperStore):
    """A store for whose credentials some verbs are forbidden."""

    def __init__(self, inner: Store, *verbs: str) -> None:
        super().__init__(inner)
        for verb in verbs:
            setattr(self, verb, self._refuse)

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise PermissionDeniedError("Your credentials do not allow it; ask for the right.")


@pytest.mark.parametrize("verbs", [("put", "create", "replace"), ("replace",), ("list",), ("get",)])
def test_without_the_right_to_read_or_to_write_nothing_is_removed(run: RunDirectory, verbs: tuple[str, ...]) -> None:
    before = run.files
    with pytest.raises(PermissionDeniedError):
        run.prune(1, store=Forbids(run.store, *verbs))
    assert run.files == before


def test_without_the_right_to_delete_the_trash_is_there_for_the_next(run: RunDirectory) -> None:
    with pytest.raises(PermissionDeniedError):
        run.prune(1, store=Forbids(run.store, "delete_versions"))
    assert run.stored == set(names(1, 2, 3, 4, 5))
    run.prune(1)
    assert run.listed == names(5)
    assert run.stored == set(names(5))


# -- others at the same time


def test_the_rules_are_asked_again_when_somebody_else_was_faster(run: RunDirectory) -> None:
    """A save commits between the look at the list and the swap: what was to be the newest two are not any more."""

    class Interrupted(WrapperStore):
        def replace(self, key: str, payload: Payload, *, version: str, tag: str | None = None) -> Any:
            if key == "checkpoint" and len(run.listed) == 5:
                run.save(6)
            return self.inner.replace(key, payload, version=version, tag=tag)

    report = run.prune(2, store=Interrupted(run.store))
    assert report.removed == names(1, 2, 3, 4)
    assert run.listed == names(5, 6)
    assert run.stored == set(names(5, 6))


def test_a_state_file_that_goes_away_meanwhile_stops_the_deletion(run: RunDirectory) -> None:
    class Interrupted(WrapperStore):
        def replace(self, key: str, payload: Payload, *, version: str, tag: str | None = None) -> Any:
            if key == "checkpoint":
                run.store.delete(["checkpoint"])
            return self.inner.replace(key, payload, version=version, tag=tag)

    with pytest.raises(ck.StateMissingError):
        run.prune(1, store=Interrupted(run.store))
    assert run.stored == set(names(1, 2, 3, 4, 5))


def test_the_next_finishes_what_one_that_died_has_left() -> None:
    rehearsal = RunDirectory()
    rehearsal.save(1, 2, 3, 4, 5)
    undisturbed = NthFaultStore(rehearsal.store, rehearsal.clock)
    rehearsal.prune(2, store=undisturbed)
    total = len(undisturbed.requests)
    assert total > 10
    for number in range(1, total + 1):
        for kind in ("crash before", "crash after"):
            again = RunDirectory()
            again.save(1, 2, 3, 4, 5)
            with pytest.raises(CrashError):
                again.prune(2, store=NthFaultStore(again.store, again.clock, [Plan(number, kind)]))
            assert set(again.listed) <= again.stored
            again.prune(2)
            assert again.listed == names(4, 5)
            assert again.stored == set(names(4, 5))
            assert not again.ledger.trash


@pytest.mark.parametrize("where", ["memory", "local"])
def test_pruners_at_once_and_a_trainer_beside_them(where: str, tmp_path: Path) -> None:
    store: Store = LocalStore(tmp_path, durable=False) if where == "local" else MemoryStore()
    run = RunDirectory(store)
    manager = run.manager()
    for step in range(1, 11):
        manager.save(step, arrays(step))
    problems: list[BaseException] = []

    def pruner() -> None:
        try:
            for _ in range(3):
                run.prune(3)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=pruner) for _ in range(3)]
    for thread in threads:
        thread.start()
    for step in range(11, 17):
        manager.save(step, arrays(step))
    for thread in threads:
        thread.join()
    assert problems == []
    run.prune(3)
    assert run.listed == names(14, 15, 16)
    assert run.stored == set(names(14, 15, 16))
    for step in (14, 15, 16):
        assert manager.restore(step)["w"][0] == step


# -- by name


def test_removal_by_name_takes_kept_and_pinned_ones_too(run: RunDirectory) -> None:
    ledger = run.ledger
    pinned = Entry("ckpt-2", ledger.listed[1].attempt, ledger.listed[1].time, pinned=True)
    run.write(
        Ledger(
            (pinned, *ledger.listed[2:]),
            "ckpt-5",
            kept=ledger.listed[:1],
            seq=ledger.seq,
            epoch=1,
            session="a" * 32,
            id=ledger.id,
        )
    )
    collected = Pruner(run.directory(), run.clock).remove(names(1, 2))
    assert [entry.prefix for entry in collected.done] == names(2, 1)
    assert run.stored == set(names(3, 4, 5))
    assert (run.ledger.kept, run.listed) == ((), names(3, 4, 5))


def test_the_one_before_is_the_latest_when_the_latest_was_removed(run: RunDirectory) -> None:
    Pruner(run.directory(), run.clock).remove(names(5))
    assert (run.ledger.latest, run.listed) == ("ckpt-4", names(1, 2, 3, 4))
    assert run.manager().restore()["w"][0] == 4


def test_the_last_one_is_not_removed_by_name(run: RunDirectory) -> None:
    before = run.files
    with pytest.raises(ck.InvalidArgumentError, match="list no checkpoint any more"):
        Pruner(run.directory(), run.clock).remove(names(1, 2, 3, 4, 5))
    assert run.files == before


@pytest.mark.parametrize("name", ["ckpt-9", "ckpt", "ckpt-1.index", "CKPT-1", "ckpt-*", "checkpoint"])
def test_what_is_not_listed_is_not_removed_by_name(run: RunDirectory, name: str) -> None:
    run.store.put("ckpt-9.index", Payload.of(b"unlisted"))
    before = run.files
    with pytest.raises(ck.CheckpointNotFoundError, match="neither listed nor kept"):
        Pruner(run.directory(), run.clock).remove([name])
    assert run.files == before
    with pytest.raises(ck.CheckpointNotFoundError):
        Pruner(RunDirectory().directory(), run.clock).remove([name])


def test_a_reader_holds_back_a_removal_by_name_too(run: RunDirectory) -> None:
    with run.manager().reader(2) as reader:
        collected = Pruner(run.directory(), run.clock).remove(names(2))
        assert [entry.prefix for entry in collected.pinned] == names(2)
        assert reader.restore()["w"][0] == 2


def test_a_failing_store_is_an_error_and_no_loss(run: RunDirectory) -> None:
    for verb in ("list", "get", "put", "replace", "delete_versions"):
        faulty = FaultyStore(run.store, [Fault(verb, times=99)])  # type: ignore[arg-type]
        with pytest.raises(ck.StorageError):
            run.prune(1, store=faulty)
        assert set(run.listed) <= run.stored
    run.prune(1)
    assert run.stored == set(names(5))
