"""The directory of a training run on a store in memory, and what its processes do there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import ckptstore as ck
from ckptstore._clock import Clock, SystemClock
from ckptstore.checkpoint import CheckpointDirectory
from ckptstore.checkpoint.policies import Decision, LatestN, Policy, decide
from ckptstore.checkpoint.pruning import Pruner, PruneReport
from ckptstore.errors import NotFoundError
from ckptstore.format.ledger import Entry, Ledger
from ckptstore.storage import MemoryStore, Payload, Store
from ckptstore.testing import ManualClock
from ckptstore.train.retention import candidates, stored_metrics
from tests.support.managers import manager_on


def arrays(step: int) -> dict[str, np.ndarray[Any, Any]]:
    """What is saved as a step."""
    return {"w": np.full(4, step, np.float32)}


class RunDirectory:
    """A directory, the clock of its store, and the processes that use it.

    Args:
        store: The directory; by default a new one in memory, on a clock that goes when it is told to. Any other store
            has the time of the day.

    Attributes:
        clock: Everybody's, where it is a clock that can be told.
    """

    def __init__(self, store: Store | None = None) -> None:
        self.clock = ManualClock()
        self._real: Clock | None = None if store is None else SystemClock()
        self.store: Store = store or MemoryStore(clock=self.clock)

    def directory(self, store: Store | None = None) -> CheckpointDirectory:
        """The directory, as a process sees it."""
        return CheckpointDirectory(store or self.store)

    def manager(self, store: Store | None = None, **options: Any) -> ck.CheckpointManager:
        """A trainer's manager; it keeps everything unless told otherwise."""
        if "retention" not in options:
            options = {"max_to_keep": None, **options}
        return manager_on(store or self.store, clock=self._real or self.clock, **options)

    def save(self, *steps: int, every: float = 60.0, **options: Any) -> None:
        """A trainer saves steps, and ends."""
        manager = self.manager(**options)  # not closed: a store in memory would not mind, and is still needed
        for step in steps:
            self.clock.advance(every)
            manager.save(step, arrays(step), metrics={"loss": 1.0 / (step + 1)})

    def prune(
        self,
        keep: int | Policy = 1,
        *,
        store: Store | None = None,
        grace: float = 0.0,
        dry_run: bool = False,
        clock: Clock | None = None,
    ) -> PruneReport:
        """A pruner's run, as from cron."""
        policy = LatestN(keep) if isinstance(keep, int) else keep
        directory = self.directory(store)

        def rules(listed: Sequence[Entry], now: float) -> list[Decision]:
            found = candidates(listed, policy, lambda entry: stored_metrics(directory, entry.prefix))
            return decide(found, policy, now=now)

        return Pruner(directory, clock or self._real or self.clock).prune(rules, grace=grace, dry_run=dry_run)

    @property
    def ledger(self) -> Ledger:
        """What the state file says."""
        return Ledger.from_bytes(self.store.get("checkpoint")[0])

    def write(self, ledger: Ledger | bytes) -> None:
        """Puts a state file there, whatever it says."""
        data = ledger if isinstance(ledger, bytes) else ledger.to_bytes()
        self.store.put("checkpoint", Payload.of(data))

    @property
    def listed(self) -> list[str]:
        """The checkpoints that count, oldest first."""
        return [entry.prefix for entry in self.ledger.listed]

    @property
    def files(self) -> dict[str, bytes]:
        """What TensorFlow would see: everything but the private directory."""
        return {key: data for key, data in self.everything.items() if not key.startswith(".ckptstore/")}

    @property
    def stored(self) -> set[str]:
        """The checkpoints of which there is any file."""
        return {key.rpartition(".")[0] for key in self.files if key != "checkpoint"}

    @property
    def everything(self) -> dict[str, bytes]:
        """Every object, by its key."""
        return {meta.key: self.store.get(meta.key)[0] for meta in self.store.list()}

    def damage(self, key: str, data: bytes | None) -> None:
        """Puts other bytes in place of a file's, or, for None, takes it away."""
        if data is None:
            self.store.delete([key])
        else:
            self.store.put(key, Payload.of(data))

    def has(self, key: str) -> bool:
        """Whether an object is there."""
        try:
            self.store.head(key)
        except NotFoundError:
            return False
        return True
