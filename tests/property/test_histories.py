"""Any history of saves, restarts, prunings, pins, losses and rewritings: against an oracle that is a list."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import ckptstore as ck
from ckptstore.checkpoint import CheckpointDirectory
from ckptstore.checkpoint.editing import set_pinned
from ckptstore.format.state import CheckpointState
from ckptstore.storage import MemoryStore, Payload
from ckptstore.testing import ManualClock
from tests.protocol.world import World, arrays, same_arrays
from tests.support.managers import manager_on

KEEP = 3


class Histories(RuleBasedStateMachine):
    """The directory, and beside it the steps that are listed, oldest first."""

    @initialize()
    def begin(self) -> None:
        self.clock = ManualClock()
        self.world = World(MemoryStore(clock=self.clock), self.clock)
        self.listed: list[int] = []
        self.saved: dict[int, str] = {}
        self.pinned: set[int] = set()
        self.step = 0
        self.restart()

    def _manager(self) -> ck.CheckpointManager:
        return manager_on(self.world.store, max_to_keep=KEEP, clock=self.clock)

    @rule()
    def restart(self) -> None:
        former = getattr(self, "manager", None)
        # One that has never saved owns nothing, and may well begin to.
        self.former = former if former is not None and self.listed and former._writer.session.begun else None
        self.manager = self._manager()

    @rule(jump=st.sampled_from([1, 60, 7200, -3600]))
    def time_passes(self, jump: int) -> None:
        self.clock.set_time(self.clock.time() + jump)

    @rule(back=st.integers(0, 2))
    def save(self, back: int) -> None:
        self.step += 1
        step = self.step
        if back and self.listed:
            step = self.listed[max(-back, -len(self.listed))]
        author = f"a{self.step}"
        self.manager.save(step, arrays(step, author), overwrite=True)
        self.saved[step] = author
        self.pinned.discard(step) if step in self.listed else None
        self.listed = [*(s for s in self.listed if s != step), step]
        while sum(s not in self.pinned for s in self.listed) > KEEP:
            self.listed.remove(next(s for s in self.listed if s not in self.pinned))

    @precondition(lambda self: self.listed and self.former is not None)
    @rule()
    def the_former_trainer_comes_back(self) -> None:
        self.manager.acquire()
        with pytest.raises(ck.FencedError):
            self.former.save(10_000 + self.step, arrays(1, "zombie"))

    @precondition(lambda self: self.listed)
    @rule(keep=st.integers(1, 3))
    def prune(self, keep: int) -> None:
        self.clock.set_time(max(self.clock.time(), 1_700_000_000.0))
        self.world.prune(self.world.faulty(), keep=keep, grace=600.0)
        self.listed = [s for i, s in enumerate(self.listed) if i >= len(self.listed) - keep or s in self.pinned]

    @precondition(lambda self: self.listed)
    @rule(index=st.integers(0, 5))
    def pin(self, index: int) -> None:
        step = self.listed[index % len(self.listed)]
        name = next(p for p in self._names() if p.endswith(f"-{step}"))
        set_pinned(CheckpointDirectory(self.world.store), name, pinned=step not in self.pinned)
        self.pinned ^= {step}

    @precondition(lambda self: self.listed)
    @rule()
    def collect(self) -> None:
        with contextlib.suppress(ck.UnsupportedError):  # the state file is TensorFlow's for now
            self.world.gc(self.world.faulty())

    @precondition(lambda self: self.listed)
    @rule(loss=st.sampled_from(["gone", "cut"]))
    def lose_the_state_and_repair(self, loss: str) -> None:
        self.manager.acquire()
        data, _ = self.world.store.get("checkpoint")
        if loss == "gone":
            self.world.store.delete(["checkpoint"])
        else:
            self.world.store.put("checkpoint", Payload.of(data[: len(data) // 2]))
        self.world.repair(self.world.faulty())
        with pytest.raises(ck.FencedError):
            self.manager.save(20_000 + self.step, arrays(1, "fenced"))
        self.restart()
        self.former = None

    @precondition(lambda self: self.listed)
    @rule()
    def tensorflow_rewrites_the_state(self) -> None:
        state = CheckpointState.from_bytes(self.world.store.get("checkpoint")[0])
        self.world.store.put("checkpoint", Payload.of(state.to_bytes()))

    def _names(self) -> list[str]:
        data, _ = self.world.store.get("checkpoint")
        return list(CheckpointState.from_bytes(data).all_model_checkpoint_paths)

    @invariant()
    def what_is_listed_is_what_was_saved(self) -> None:
        if not self.listed:
            return
        assert [int(name.rpartition("-")[2]) for name in self._names()] == self.listed
        reader: Any = self._manager()
        for step in self.listed:
            assert same_arrays(reader.restore(step), arrays(step, self.saved[step]))


TestHistories = Histories.TestCase
TestHistories.settings = settings(deadline=None, stateful_step_count=20, max_examples=settings().max_examples * 5 // 6)
