"""Processes count in one object, each by compare and swap: no count may be lost, and nobody may starve."""

from __future__ import annotations

import argparse

from ckptstore.storage import Payload
from tests.processes.bundles import ViolationError
from tests.processes.child import Child, ended
from tests.processes.figures import Figures, parser, report
from tests.processes.places import place
from tests.processes.workers import count

KEY = "count"


def run(options: argparse.Namespace) -> Figures:
    """One race.

    Raises:
        ViolationError: A count is lost, or somebody waited for too long.
    """
    children: list[Child] = []
    with place(options.place) as here, here.store() as store, ended(children):
        store.create(KEY, Payload.of(b" ".join([b"0"] * options.processes)), tag="start")
        children += [Child(f"counter {n}", count, here, KEY, n, options.times) for n in range(options.processes)]
        for child in children:
            if not child.wait_for("counted", 3600.0):
                raise ViolationError(f"{child.name} ended: {child.events}")
        told = [child.events[-1].about for child in children]
        counts = [int(word) for word in store.get(KEY)[0].split()]
    lost = options.processes * options.times - sum(counts)
    longest = max(longest for _, longest in told)
    if lost:
        raise ViolationError(f"{lost} counts are lost: {counts}")
    if longest > options.longest:
        raise ViolationError(f"one count took {longest:.1f} s")
    return {
        "processes": options.processes,
        "counts": sum(counts),
        "lost": lost,
        "conflicts": sum(conflicts for conflicts, _ in told),
        "longest wait, s": longest,
    }


def main() -> None:
    """Runs it by the command line."""
    arguments = parser(__doc__)
    arguments.add_argument("--processes", type=int, default=8)
    arguments.add_argument("--times", type=int, default=10_000, help="how far each counts (%(default)s)")
    arguments.add_argument("--longest", type=float, default=30.0, help="seconds that one count may take (%(default)s)")
    options = arguments.parse_args()
    report(lambda: run(options))


if __name__ == "__main__":
    main()
