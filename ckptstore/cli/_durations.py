"""Lengths of time on the command line: 90m, 2h, 7d, 1d12h."""

from __future__ import annotations

import argparse
import re

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhdw])")


def duration(text: str) -> float:
    """Seconds of a text such as "1d12h"; a bare 0 needs no unit.

    Raises:
        argparse.ArgumentTypeError: It is none. The message repeats no more than what argparse does.
    """
    if text == "0":
        return 0.0
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text or len(text) > 40:
        raise argparse.ArgumentTypeError("a length of time such as 90m, 2h, 7d or 1d12h expected")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def positive_duration(text: str) -> float:
    """As `duration`, over 0."""
    seconds = duration(text)
    if seconds <= 0:
        raise argparse.ArgumentTypeError("a length of time over 0 expected")
    return seconds


def duration_text(seconds: float) -> str:
    """A length of time in its largest fitting unit: "2 h", "90 min"."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:g} s"
