"""Several processes at once, on one thread at a time: who goes on after each request is drawn by a seed.

Every process is the real code, on a store of its own that stops before each request until it is its turn. Whoever is
not drawn for a while is a process that was suspended; whoever is drawn to die does so before a request or after one
whose reply never comes. Replies are lost, and requests arrive a second time, much later. After every single request the
directory is looked at.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable
from typing import Any

import ckptstore as ck
from ckptstore.checkpoint import open_source
from ckptstore.format.ledger import Ledger
from ckptstore.format.naming import parse_name, parse_step
from ckptstore.storage import MemoryStore
from ckptstore.testing import CrashError, ManualClock
from tests.protocol.nth_fault import NthFaultStore
from tests.protocol.world import KEEP, World, arrays, same_arrays

Process = Callable[[World, NthFaultStore], None]


class ViolationError(AssertionError):
    """Something happened that must never happen."""


class Turn:
    """Whose turn it is."""

    def __init__(self, seed: int, *, deaths: float) -> None:
        self._random = random.Random(seed)
        self._deaths = deaths
        self._condition = threading.Condition()
        self._waiting: set[str] = set()
        self._running: set[str] = set()
        self._current: str | None = None
        self._favour: dict[str, float] = {}
        self.trace: list[str] = []
        self.late: list[Callable[[], Any]] = []
        self.dying: set[str] = set()

    def happens(self, chance: float) -> bool:
        """Draws whether something that happens now and then does so now."""
        return self._random.random() < chance

    def join(self, name: str) -> None:
        self._running.add(name)
        self._favour[name] = self._random.random()

    def wait(self, name: str, what: str) -> None:
        """Called before each request; returns when it is this process's turn."""
        with self._condition:
            self._waiting.add(name)
            if self._current == name:
                self._current = None
            self._draw()
            self._condition.wait_for(lambda: self._current == name)
            self._waiting.discard(name)
            self.trace.append(f"{name}: {what}")
            if self._random.random() < self._deaths:
                self.dying.add(name)

    def leave(self, name: str) -> None:
        with self._condition:
            self._running.discard(name)
            self._waiting.discard(name)
            if self._current == name:
                self._current = None
            self._draw()

    def _draw(self) -> None:
        """Once everybody waits: mostly the most favoured, so that others stand still for long; favours change."""
        if self._current is not None or not self._running or self._waiting != self._running:
            return
        if self._random.random() < 0.08:
            self._favour[self._random.choice(sorted(self._running))] = self._random.random()
        best = max(sorted(self._waiting), key=lambda name: self._favour[name])
        self._current = best if self._random.random() < 0.8 else self._random.choice(sorted(self._waiting))
        self._condition.notify_all()


class ScheduledStore(NthFaultStore):
    """Waits for its turn before each request."""

    def __init__(self, world: Simulated, turn: Turn, name: str) -> None:
        super().__init__(world.store, world.clock)
        self._world, self._turn, self._name = world, turn, name

    def _send(self, what: str, request: Callable[[], Any], *, write: bool = False) -> Any:
        if self.dead:
            raise CrashError("dead")
        self._turn.wait(self._name, what)
        if self._name in self._turn.dying:
            self.dead = True
            if len(self._turn.trace) % 2:  # carried out, and the reply comes too late
                request()
                self._world.look(self._name)
            raise CrashError(what)
        if self._turn.late and self._turn.happens(0.05):
            with contextlib.suppress(ck.CheckpointError):  # nobody hears of it
                self._turn.late.pop(0)()
            self._world.look("the network")
        try:
            answer = request()
        finally:
            if write:
                self._world.look(self._name)
        if write and self._turn.happens(0.02):
            self._turn.late.append(request)
        if self._turn.happens(0.02):
            raise ck.StorageUnavailableError(f"the reply to {what} is lost")
        return answer


class Simulated(World):
    """A world that is looked at after every request that changes something."""

    def __init__(self) -> None:
        self.memory = MemoryStore(clock=(clock := ManualClock()))
        super().__init__(self.memory, clock)
        self.counted: set[tuple[int, str]] = set()
        self.owner = ""
        self._ledger: Ledger | None = None

    def look(self, who: str) -> None:
        """I1, I3, I5 and I6, in the state in which somebody has just left the directory."""
        try:
            data, _ = self.memory.get("checkpoint")
        except ck.NotFoundError:
            return
        ledger = Ledger.from_bytes(data)
        files = {meta.key: self.memory.head(meta.key).tag or "" for meta in self.memory.list()}
        for entry in ledger.listed:
            mine = {
                key: tag
                for key, tag in files.items()
                if (f := parse_name(key)) is not None and f.prefix == entry.prefix
            }
            kinds = {parse_name(key).kind for key in mine}  # type: ignore[union-attr]
            if kinds != {"data", "index", "meta"}:
                raise ViolationError(f"I1: {entry.prefix} is listed and has only {sorted(mine)}")
            if {tag.partition(".")[0] for tag in mine.values()} != {entry.attempt}:
                raise ViolationError(f"I1: {entry.prefix} is listed and mixed: {mine}")
        old, self._ledger = self._ledger or Ledger((), ""), ledger
        if (ledger.epoch, ledger.seq) < (old.epoch, old.seq):
            raise ViolationError("I5: the state file went back")
        if ledger.session != old.session:
            if ledger.epoch == old.epoch:
                raise ViolationError("I6: two sessions in one epoch")
            self.owner = who if who != "the network" else self.owner
        for entry in old.listed:
            if not any(entry.same(other) for other in ledger.listed):
                if not any(entry.same(other) for other in ledger.trash):
                    raise ViolationError(f"I3: {entry.prefix} left the list, and not for the trash")
                if parse_step(entry.prefix) not in self.removed and len(ledger.listed) < KEEP:
                    raise ViolationError(f"I3: {entry.prefix} left the list, and nobody's rule said so")
        for entry in ledger.listed:
            if not any(entry.same(other) for other in old.listed):
                found = ck.CheckpointReader(open_source(self.memory, entry.prefix)).restore()
                counted = {item for item in self.saved if same_arrays(found, arrays(*item))}
                if {author for _, author in counted} != {self.owner.lower()}:
                    raise ViolationError(f"I6: {counted} was committed, and {self.owner} owns the directory")
                self.counted |= counted

    def check(self) -> None:
        """I3: what was acknowledged has counted. (What became of it then, every look has judged.)"""
        for item in self.acknowledged:
            if item not in self.counted:
                raise ViolationError(f"I3: {item} was acknowledged and has never counted")


def simulate(seed: int, processes: dict[str, Process], *, deaths: float = 0.0, prepare: Process | None = None) -> Turn:
    """Runs processes to their ends, in the order that a seed gives.

    Raises:
        ViolationError: With the trace that leads there.
    """
    world = Simulated()
    if prepare is not None:
        prepare(world, world.faulty())
        world.look("O")
    turn = Turn(seed, deaths=deaths)
    problems: list[BaseException] = []

    def run(name: str, process: Process) -> None:
        try:
            process(world, ScheduledStore(world, turn, name))
        except (CrashError, ck.CommitConflictError, ck.CheckpointExistsError, ck.StorageUnavailableError):
            pass  # it died, or was told to stop
        except ck.StateMissingError as error:
            if "has no state file yet" not in str(error):
                problems.append(error)
        except ck.CheckpointNotFoundError as error:
            if isinstance(error, ck.CheckpointPrunedError) or "holds no checkpoints" not in str(error):
                problems.append(error)
        except BaseException as error:
            problems.append(error)
        finally:
            turn.leave(name)

    for name in processes:
        turn.join(name)
    threads = [threading.Thread(target=run, args=item, daemon=True) for item in processes.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    try:
        if any(thread.is_alive() for thread in threads):
            raise ViolationError("somebody hangs")
        for problem in problems:
            raise ViolationError(repr(problem)) from problem
        world.check()
    except AssertionError as error:
        trace = "\n".join(turn.trace)
        raise ViolationError(f"{error}\nseed {seed}:\n{trace}") from error
    return turn
