"""Two trainers, two pruners, a collector and four readers share a directory; some are killed, a trainer is suspended.

The rules, of which each broken one is a violation:

    whoever restores gets one save, whole, of a trainer that had begun it, and none older than the newest that was
    acknowledged before the restore began
    a trainer that was suspended while another took over is fenced when it comes back, and acknowledges nothing more
    no process fails otherwise, and none is stuck
    at the end everything listed is whole, nothing is left over, and a trainer resumes the last save
"""

from __future__ import annotations

import argparse
import collections
import random
import time
from collections.abc import Callable

from ckptstore.storage import Store
from tests.processes.bundles import Save, ViolationError
from tests.processes.child import Child, Event, ended, listen
from tests.processes.figures import Figures, parser, report
from tests.processes.judge import saves, tidy
from tests.processes.places import Place, place
from tests.processes.workers import keep_collecting, keep_pruning, read, train

_KEEP, _PRUNED_TO = 4, 2
_PATIENCE = 60.0  # seconds after which a process that tells nothing is stuck


class Soak:
    """One run.

    Args:
        here: An empty place.
        rng: Decides what happens when.
        pace: Seconds from one mishap to the next, on average.
    """

    def __init__(self, here: Place, rng: random.Random, pace: float) -> None:
        self._here = here
        self._rng = rng
        self._pace = pace
        self._authors = self._started = 0
        self.children: list[Child] = []
        self._helpers: list[tuple[Child, Callable[[], Child]]] = []
        self._begun: set[Save] = set()
        self._saved: list[tuple[float, int]] = []  # in order of time
        self._read: list[tuple[float, Save]] = []
        self.told: collections.Counter[str] = collections.Counter()

    def run(self, seconds: float) -> None:
        """Lets them all loose for so long.

        Raises:
            ViolationError: A rule is broken.
        """
        deadline = time.monotonic() + seconds
        trainer = self._trainer()
        self._wait(trainer, "saved")
        makers = [
            *[lambda: self._start("pruner", keep_pruning, _PRUNED_TO, 0.05)] * 2,
            lambda: self._start("collector", keep_collecting, self._rng.random(), 0.1),
            *[lambda: self._start("reader", read, 0.01)] * 4,
        ]
        self._helpers = [(make(), make) for make in makers]
        mishaps = [self._kill_trainer, self._suspend_trainer]
        while time.monotonic() < deadline:
            self._look(self._rng.uniform(0, 2 * self._pace))
            if not all(child.is_running for child in self.children):
                self._look(0.0)  # that says why
                raise ViolationError(f"{[child.name for child in self.children if not child.is_running]} ended")
            if self._rng.random() < 0.4:
                self._kill_helper()
            else:
                trainer = self._rng.choice(mishaps)(trainer)
        self._look(0.0)
        for child in list(self.children):
            self._end(child)
        self._judge_reads()

    def check(self, store: Store) -> None:
        """What must be true of the directory when all are gone."""
        found = saves(store)
        newest = max(step for _, step in self._saved)
        if not found or found[-1] not in self._begun or found[-1][0] < newest:
            raise ViolationError(f"step {newest} was acknowledged, and the directory lists {found}")
        tidy(self._here, store, 1)
        if saves(store) != found[-1:]:
            raise ViolationError(f"of {found}, pruning to one left {saves(store)}")
        with ended(self.children):
            trainer = self._trainer()
            self._wait(trainer, "saved")
            if trainer.events[0].about != found[-1]:
                raise ViolationError(f"a trainer resumed {trainer.events[0].about}, and not {found[-1]}")

    # -- mishaps

    def _kill_trainer(self, trainer: Child) -> Child:
        self._end(trainer)
        self.told["kills of trainers"] += 1
        return self._trainer()

    def _suspend_trainer(self, trainer: Child) -> Child:
        """As when a machine is suspended, and its job started anew on another."""
        self._wait(trainer, "resumed")  # only the owner can be fenced; before that it would take over itself
        trainer.suspend()
        while self._here.is_locked(0.5):  # suspended with the lock of a local directory in its hand: all would wait
            trainer.resume()
            trainer.suspend()
        self._look(0.0)
        heard = len(trainer.events)
        successor = self._trainer()
        self._wait(successor, "saved")
        trainer.resume()
        self._wait(trainer, "fenced")
        late = [event.about for event in trainer.events[heard:] if event.what == "saved"]
        # It may have committed just before it was suspended. Then its successor has seen that save.
        resumed = next(event.about for event in successor.events if event.what == "resumed")
        if late not in ([], [resumed]):
            raise ViolationError(f"{trainer.name} was fenced, and acknowledged {late}; its successor resumed {resumed}")
        self._end(trainer)
        if self._rng.random() < 0.5:
            return successor
        again = self._trainer()  # whoever restarts it should not have: now the other one is fenced
        self._wait(successor, "fenced")
        self._end(successor)
        return again

    def _kill_helper(self) -> None:
        index = self._rng.randrange(len(self._helpers))
        child, make = self._helpers[index]
        self._end(child)
        self.told["kills of others"] += 1
        self._helpers[index] = make(), make

    # -- processes

    def _trainer(self) -> Child:
        self._authors += 1
        return self._start("trainer", train, self._authors, _KEEP, 0.01, 0, True)

    def _start(self, name: str, work: Callable[..., None], *arguments: object) -> Child:
        self._started += 1
        child = Child(f"{name} {self._started}", work, self._here, *arguments)
        self.children.append(child)
        return child

    def _end(self, child: Child) -> None:
        last = child.kill()
        self.children.remove(child)
        child.close()
        for event in last:
            self._note(child, event)

    def _wait(self, child: Child, what: str) -> None:
        """Waits until a process tells something, and hears the others meanwhile."""
        deadline = time.monotonic() + _PATIENCE
        while not any(event.what == what for event in child.events):
            if time.monotonic() > deadline or not child.is_running:
                self._look(0.0)
                if any(event.what == what for event in child.events):
                    return
                if child.is_running:
                    child.dump()
                raise ViolationError(f"{child.name} never says {what!r}, but {child.events[-3:]}")
            self._look(0.02)

    def _look(self, seconds: float) -> None:
        """Hears all processes for so long."""
        for child, event in listen(self.children, seconds):
            self._note(child, event)

    def _note(self, child: Child, event: Event) -> None:
        self.told[event.what] += 1
        if event.what == "failed":
            raise ViolationError(f"{child.name} failed: {event.about}")
        if event.what == "begun":
            self._begun.add(event.about)
        elif event.what == "saved":
            self._saved.append((event.time, event.about[0]))
        elif event.what == "read":
            self._read.append(event.about)

    def _judge_reads(self) -> None:
        """Holds every restore against the newest save that had been acknowledged when it began."""
        self._saved.sort()
        newest, position = 0, 0
        for begun, save in sorted(self._read):
            while position < len(self._saved) and self._saved[position][0] < begun:
                newest = max(newest, self._saved[position][1])
                position += 1
            if save not in self._begun:
                raise ViolationError(f"a reader got {save}, which nobody saved")
            if save[0] < newest:
                raise ViolationError(f"a reader got {save} after step {newest} was acknowledged")


def run(options: argparse.Namespace) -> Figures:
    """One run.

    Raises:
        ViolationError: A rule is broken.
    """
    seed = random.SystemRandom().randrange(1 << 32) if options.seed is None else options.seed
    with place(options.place) as here:
        soak = Soak(here, random.Random(seed), options.pace)
        with ended(soak.children):
            soak.run(options.seconds)
        with here.store() as store:
            soak.check(store)
    return {"seed": seed, **dict(sorted(soak.told.items()))}


def main() -> None:
    """Runs it by the command line."""
    arguments = parser(__doc__)
    arguments.add_argument("--seconds", type=float, default=600.0, help="for how long (%(default)s)")
    arguments.add_argument("--pace", type=float, default=0.5, help="seconds between mishaps (%(default)s)")
    options = arguments.parse_args()
    report(lambda: run(options))


if __name__ == "__main__":
    main()
