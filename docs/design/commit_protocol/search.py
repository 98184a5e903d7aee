"""Looks at every reachable state, or at those on random ways."""

from __future__ import annotations

import random
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from docs.design.commit_protocol.world import Ghost, Rules, World, arrive, broken

_TRACED = 3_000_000  # with more states than this, the way to each is no longer remembered


@dataclass(frozen=True)
class Scene:
    """Who is there, under which rules, and what may go wrong.

    Attributes:
        name: What it is about.
        procs: The processes.
        rules: The rules in force.
        duplicates: How many requests may arrive a second time.
        unknowns: How many replies to commits may get lost.
        mixed: Whether I7 is asked for.
    """

    name: str
    procs: tuple[Any, ...]
    rules: Rules = field(default_factory=Rules)
    duplicates: int = 0
    unknowns: int = 0
    mixed: bool = False

    @property
    def keeps_history(self) -> bool:
        """Whether copies of the state file matter: only where it may be lost. Elsewhere they go without saying."""
        return any(proc.name == "ENV" for proc in self.procs)

    def begin(self) -> World:
        """The first state: an empty directory."""
        nothing: frozenset[Any] = frozenset()
        return World(
            nothing, None, None, nothing, nothing, self.procs, Ghost(), nothing, self.duplicates, self.unknowns, nothing
        )

    def nexts(self, world: World) -> list[tuple[str, World]]:
        """What may happen next."""
        out = []
        for proc in world.procs:
            for what, after, request in proc.steps(self.rules, world, self.keeps_history):
                out.append((what, after))
                if request is not None and world.duplicates:
                    twice = after._replace(duplicates=after.duplicates - 1, network=after.network | {request})
                    out.append((f"{what} (and the request will arrive again)", twice))
        for request in world.network:
            after = arrive(self.rules, world, request)
            out.append((f"late duplicate: {request[:2]}", after._replace(network=world.network - {request})))
        return out

    def problem(self, world: World) -> str | None:
        """The invariant that does not hold, or None."""
        return broken(world, mixed=self.mixed)


@dataclass
class Result:
    """What a search found.

    Attributes:
        problem: The invariant that does not hold somewhere; None if all do everywhere.
        states: How many states were seen.
        complete: Whether those are all.
        trace: The shortest way to the problem.
        seconds: How long it took.
        kinds: The kinds of step that were taken.
    """

    problem: str | None
    states: int
    complete: bool
    trace: list[str]
    seconds: float
    kinds: Counter[str]

    @property
    def holds(self) -> bool:
        """Whether everything holds, for certain."""
        return self.complete and self.problem is None


def explore(scene: Scene, limit: int = 40_000_000) -> Result:
    """Sees every reachable state, the nearest first.

    Of those seen it keeps 64 bits: among five million, the chance that any two are confused is below one in a million.
    """
    started = time.perf_counter()
    first = scene.begin()
    seen = {hash(first)}
    parents: dict[int, tuple[int, str]] | None = {}
    front = deque([first])
    kinds: Counter[str] = Counter()
    while front and len(seen) <= limit:
        world = front.popleft()
        for what, after in scene.nexts(world):
            key = hash(after)
            if key in seen:
                continue
            seen.add(key)
            kinds[_kind(what)] += 1
            if parents is not None:
                parents[key] = (hash(world), what)
                if len(parents) > _TRACED:
                    parents = None
            problem = scene.problem(after)
            if problem is not None:
                return Result(problem, len(seen), False, _trace(parents, key), time.perf_counter() - started, kinds)
            front.append(after)
    return Result(None, len(seen), not front, [], time.perf_counter() - started, kinds)


def walk(scene: Scene, walks: int, seed: int) -> tuple[int, int, Result]:
    """Goes so many random ways to their ends: how many steps those were, the longest of them, and what was found."""
    started = time.perf_counter()
    chance = random.Random(seed)
    steps = longest = 0
    for _ in range(walks):
        world, trace = scene.begin(), []
        while nexts := scene.nexts(world):
            what, world = chance.choice(nexts)
            trace.append(what)
            problem = scene.problem(world)
            if problem is not None:
                result = Result(problem, steps, False, trace, time.perf_counter() - started, Counter())
                return steps, len(trace), result
        steps += len(trace)
        longest = max(longest, len(trace))
    return steps, longest, Result(None, steps, True, [], time.perf_counter() - started, Counter())


def _trace(parents: dict[int, tuple[int, str]] | None, key: int) -> list[str]:
    trace = []
    while parents is not None and key in parents:
        key, what = parents[key]
        trace.append(what)
    return trace[::-1]


def _kind(what: str) -> str:
    """A step without its names and numbers."""
    return " ".join(word for word in what.split() if not any(c in word for c in "'.,()0123456789"))
