"""How a run ends: with figures, and with what went wrong."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping

from tests.processes.bundles import ViolationError
from tests.processes.places import KINDS

Figures = Mapping[str, float]


def parser(text: str | None) -> argparse.ArgumentParser:
    """What all the modules take."""
    parser = argparse.ArgumentParser(description=(text or "").partition("\n")[0])
    parser.add_argument("--place", choices=KINDS, default="local", help="where (%(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="of all that is random but the scheduler")
    return parser


def report(run: Callable[[], Figures]) -> None:
    """Runs, prints the figures, and ends the process: with 1 after a violation."""
    begun = time.monotonic()
    try:
        figures = run()
    except ViolationError as error:
        print(f"VIOLATION: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    for name, value in {**figures, "seconds": time.monotonic() - begun}.items():
        print(f"{name:28} {value:,.0f}" if float(value).is_integer() else f"{name:28} {value:,.2f}")  # noqa: T201
