"""Names that are not there, told together with the nearest that are."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

_SHOWN = 10
_SEARCHED = 20_000  # difflib takes some microseconds a name


def describe_missing(missing: Iterable[str], available: Collection[str]) -> str:
    """A line of all names that are not there: "'w' (near: 'w1', 'w2'), 'b'"."""
    names = list(missing)
    candidates = list(available)[:_SEARCHED]
    shown = []
    for name in names[:_SHOWN]:
        near = difflib.get_close_matches(name, candidates, n=3, cutoff=0.6)
        shown.append(f"{name!r}" + (f" (near: {', '.join(map(repr, near))})" if near else ""))
    if len(names) > _SHOWN:
        shown.append(f"and {len(names) - _SHOWN} more")
    return ", ".join(shown)
