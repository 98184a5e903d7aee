"""Runs the model; see the package."""

# ruff: noqa: T201

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence

from docs.design.commit_protocol import posix, scenarios
from docs.design.commit_protocol.search import Result, Scene, explore, walk

Judge = Callable[[Result], bool]


class Run:
    """Explores scenes, prints what is found, and counts what was not expected.

    Attributes:
        surprises: How many scenes did not come out as expected.
        states: How many states were seen in scenes that hold.
    """

    def __init__(self, *, trace: bool) -> None:
        self.surprises = 0
        self.states = 0
        self._trace = trace
        self._kinds: Counter[str] = Counter()

    def scenes(self, title: str, scenes: Sequence[Scene], *, hold: bool) -> None:
        """Explores some scenes, all of which are expected to hold, or none."""
        print(f"== {title}")
        for scene in scenes:
            result = explore(scene)
            expected = result.holds if hold else result.problem is not None
            self.surprises += not expected
            if result.holds:
                self.states += result.states
                self._kinds += result.kinds
            verdict = "holds" if result.holds else "BROKEN" if hold else "caught" if expected else "MISSED"
            depth = f"{len(result.trace):3d} steps" if result.trace else " " * 9
            why = f" <- {result.problem}" if result.problem else ""
            print(
                f"  {verdict:6s} {result.states:9,d} states {result.seconds:6.1f} s {depth}  {scene.name}{why}",
                flush=True,
            )
            if self._trace or (hold and not expected):
                print("".join(f"        {number:2d}. {what}\n" for number, what in enumerate(result.trace, 1)), end="")

    def total(self) -> None:
        """Prints the sum."""
        print(
            f"  {self.states:,d} states and {len(self._kinds)} kinds of step in all, and every invariant holds in each"
        )

    def walks(self, count: int, seed: int) -> None:
        """Goes random ways through a scene that is too large to be explored."""
        print(f"== random walks: {scenarios.WALK.name}")
        steps, longest, result = walk(scenarios.WALK, count, seed)
        self.surprises += not result.holds
        verdict = "hold" if result.holds else f"BROKEN <- {result.problem}"
        print(f"  {count:,d} walks {verdict}: {steps:,d} steps, the longest {longest}, {result.seconds:.0f} s")
        print("".join(f"        {number:2d}. {what}\n" for number, what in enumerate(result.trace, 1)), end="")

    def disks(self) -> None:
        """Crashes a POSIX disk at every point of a save and a removal."""
        print("== POSIX: crash points x subsets of what was not synced; bad by the state file, bad by a listing")
        programs = {"the protocol": posix.program(), "no sync at all": posix.program(posix.SYNCS)}
        programs |= {"the state file is overwritten": posix.program(in_place=True)}
        programs |= {name: posix.program([group]) for group, name in posix.SYNCS.items()}
        for name, operations in programs.items():
            any_order, journal = (posix.crash(operations, journal=journal) for journal in (False, True))
            good = not (any_order.bad or any_order.looks_whole or journal.bad or journal.looks_whole)
            self.surprises += good != (name == "the protocol")
            figures = "  ".join(
                f"{kind} {o.cases:6,d} cases {o.bad:6,d} bad {o.looks_whole:6,d} bad"
                for kind, o in (("any order", any_order), ("journal", journal))
            )
            print(f"  {figures}  {name}{' <- ' if any_order.first else ''}{any_order.first}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the model.

    Returns:
        0 if everything came out as expected.
    """
    groups = ("proposal", "mutants", "naive", "windows", "walk", "posix")
    parser = argparse.ArgumentParser(prog="python -m docs.design.commit_protocol", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave the largest scenes out")
    parser.add_argument("--only", choices=groups, help="one group")
    parser.add_argument("--trace", action="store_true", help="print the shortest way to every problem")
    parser.add_argument("--walks", type=int, help="how many random walks (default: 20000; 1000 with --quick)")
    parser.add_argument("--seed", type=int, default=1, help="of the random walks")
    options = parser.parse_args(arguments)
    run = Run(trace=options.trace)
    chosen = groups if options.only is None else (options.only,)
    if "proposal" in chosen:
        scenes = scenarios.PROTOCOL if options.quick else [*scenarios.PROTOCOL, *scenarios.LARGE]
        run.scenes("the protocol: every invariant holds in every state", scenes, hold=True)
        run.total()
    if "mutants" in chosen:
        run.scenes("mutants: each lacks one rule, and is caught", scenarios.MUTANTS, hold=False)
    if "naive" in chosen:
        run.scenes("naive: overwrite the files, overwrite the state, delete what is old", scenarios.NAIVE, hold=False)
    if "windows" in chosen:
        run.scenes("windows that remain", scenarios.WINDOWS, hold=False)
        run.scenes("what holds, too", scenarios.HOLDS, hold=True)
    if "walk" in chosen:
        run.walks(options.walks or (1_000 if options.quick else 20_000), options.seed)
    if "posix" in chosen:
        run.disks()
    print("everything as expected" if not run.surprises else f"{run.surprises} NOT AS EXPECTED")
    return 1 if run.surprises else 0


if __name__ == "__main__":
    sys.exit(main())
