"""A directory, the processes that use it, and what must hold whatever becomes of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import ckptstore as ck
from ckptstore.checkpoint import CheckpointDirectory
from ckptstore.checkpoint.orphans import OrphanCollector
from ckptstore.checkpoint.policies import LatestN, decide
from ckptstore.checkpoint.pruning import Pruner
from ckptstore.checkpoint.repair import repair
from ckptstore.format.naming import parse_name, parse_step
from ckptstore.format.state import CheckpointState
from ckptstore.storage import RetryingStore, Store
from ckptstore.testing import ManualClock
from ckptstore.train.retention import candidates
from tests.protocol.nth_fault import NthFaultStore, Plan
from tests.support.managers import manager_on

KEEP = 2


def arrays(step: int, author: str) -> dict[str, np.ndarray[Any, Any]]:
    """What an author saves as a step: no two saves are alike, and a mixture of two is neither."""
    seed = step * 1000 + sum(author.encode())
    return {
        "w": np.full(5, seed, np.float64),
        "b/c": np.arange(seed, seed + 3, dtype=np.int32),
        "backbone": np.arange(100, dtype=np.float32),  # the same in all
    }


class World:
    """One directory on one store, and everything that was ever saved to it.

    Attributes:
        store: The directory, without any faults.
        clock: Everybody's.
        saved: What was handed to `save`, acknowledged or not: (step, author).
        acknowledged: The saves that returned, in their order.
        removed: The steps that somebody was told to remove.
    """

    def __init__(self, store: Store, clock: ManualClock) -> None:
        self.store = store
        self.clock = clock
        self.saved: list[tuple[int, str]] = []
        self.acknowledged: list[tuple[int, str]] = []
        self.removed: set[int] = set()

    def faulty(self, plans: Sequence[Plan] = ()) -> NthFaultStore:
        """The directory as a process sees it on which things go wrong."""
        return NthFaultStore(self.store, self.clock, plans)

    @contextlib.contextmanager
    def trainer(self, store: NthFaultStore, *, keep: int | None = KEEP) -> Iterator[ck.CheckpointManager]:
        """A trainer's manager."""
        stack = RetryingStore(store, clock=self.clock)
        manager = manager_on(stack, max_to_keep=keep, clock=self.clock)
        try:
            yield manager
        finally:
            manager.close()

    def save(self, manager: ck.CheckpointManager, step: int, author: str, *, reuse: bool = False) -> None:
        """Saves a step, and notes whether that was acknowledged."""
        self.saved.append((step, author))
        self.clock.advance(60)
        manager.save(step, arrays(step, author), metrics={"loss": 1.0 / step}, reuse=reuse)
        self.acknowledged.append((step, author))

    def prune(self, store: NthFaultStore, *, keep: int = 1, grace: float = 0.0) -> None:
        """A pruner's run, from cron."""
        stack = RetryingStore(store, clock=self.clock)
        policy = LatestN(keep)

        def decisions(listed: Any, now: float) -> Any:
            out = decide(candidates(listed, policy, lambda _: {}), policy, now=now)
            self.removed |= {d.step for d in out if not d.keep and d.step is not None}
            return out

        Pruner(CheckpointDirectory(stack), self.clock).prune(decisions, grace=grace)

    def gc(self, store: NthFaultStore) -> None:
        """A collector's run, that judges a save under way to be dead."""
        stack = RetryingStore(store, clock=self.clock)
        OrphanCollector(CheckpointDirectory(stack), self.clock).collect(
            abort_open=True, complete_orphans=True, unfinished_older_than=0.0
        )

    def repair(self, store: NthFaultStore) -> None:
        """An administrator's run."""
        repair(CheckpointDirectory(RetryingStore(store, clock=self.clock)))

    def restore(self, store: NthFaultStore) -> dict[str, np.ndarray[Any, Any]]:
        """A reader's run; what it returns is checked."""
        with self.trainer(store) as manager:
            found = manager.restore()
        assert any(same_arrays(found, arrays(*item)) for item in self.saved), found
        return found

    # -- the independent look

    def check(self) -> None:
        """I1, I3 and I5: what is listed is whole and unmixed, and nothing acknowledged is missing from the list."""
        listed = self.listed()
        contents: dict[str, tuple[int, str]] = {}
        for prefix in listed:
            found = ck.CheckpointReader(_source(self.store, prefix)).restore()
            matching = [item for item in self.saved if same_arrays(found, arrays(*item))]
            assert matching, f"I1: {prefix} is listed, and holds what nobody saved: {found}"
            assert matching[0][0] == parse_step(prefix), f"I1: {prefix} holds another step"
            contents[prefix] = matching[0]
        for prefix in listed:
            kinds = {f.kind for meta in self.store.list(f"{prefix}.") if (f := parse_name(meta.key)) is not None}
            assert kinds == {"data", "meta", "index"}, f"I1: {prefix} is listed and lacks some of {kinds}"
        for item in self.acknowledged:
            newer = [other for other in contents.values() if self.saved.index(other) > self.saved.index(item)]
            if item[0] not in self.removed and len(newer) < KEEP:
                assert item in contents.values(), f"I3: {item} was acknowledged and is not listed, but {listed}"
        if self.acknowledged and self.acknowledged[-1][0] not in self.removed:
            position = [contents[prefix] for prefix in listed].index(self.acknowledged[-1])
            later = [contents[prefix] for prefix in listed][position + 1 :]
            assert all(item not in self.acknowledged for item in later), "I5: the order of commits was changed"

    def listed(self) -> list[str]:
        """What the state file lists, read without the library's notions of a ledger."""
        try:
            data, _ = self.store.get("checkpoint")
        except ck.NotFoundError:
            assert not self.acknowledged, "I3: acknowledged saves, and no state file"
            return []
        state = CheckpointState.from_bytes(data)
        assert state.model_checkpoint_path == state.all_model_checkpoint_paths[-1]
        return list(state.all_model_checkpoint_paths)

    def litter(self) -> set[str]:
        """Files of checkpoints that are not listed."""
        listed = set(self.listed())
        return {
            meta.key for meta in self.store.list() if (f := parse_name(meta.key)) is not None and f.prefix not in listed
        }


def same_arrays(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two checkpoints hold the same."""
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def _source(store: Store, prefix: str) -> Any:
    from ckptstore.checkpoint import open_source

    return open_source(store, prefix)
