"""What a restore gave, and what became of every name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

_SHOWN = 10


@dataclass(frozen=True)
class RestoreReport:
    """What became of every name in a restore; `str(report)` is a short summary.

    Attributes:
        path: The checkpoint, in full.
        used: Target and source of every tensor restored: the name in the result, or of the variable, and the name in
            the checkpoint.
        missing: Names and patterns asked for that the checkpoint does not have. Only with strict=False: else they
            raise.
        unused: Tensors of the checkpoint that nobody asked for.
        skipped: Name and reason of what was asked for and left out. Only with strict=False, too.
    """

    path: str
    used: tuple[tuple[str, str], ...] = ()
    missing: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of_all(cls, path: str, targets: Sequence[str], sources: Sequence[str]) -> RestoreReport:
        """The report of a restore of every tensor."""
        return cls(path, used=tuple(zip(targets, sources, strict=True)))

    def __str__(self) -> str:
        renamed = sum(target != source for target, source in self.used)
        count = len(self.used)
        head = f"{self.path}: {count} tensor{'' if count == 1 else 's'} restored"
        lines = [head + (f", {renamed} of them under other names" if renamed else "")]
        skipped = [f"{name!r} ({reason})" for name, reason in self.skipped]
        for word, names in (
            ("missing", list(map(repr, self.missing))),
            ("not used", list(map(repr, self.unused))),
            ("skipped", skipped),
        ):
            if names:
                lines.append(f"  {len(names)} {word}: {_shortened(names)}")
        return "\n".join(lines)


class Restored(dict[str, "np.ndarray[Any, Any]"]):
    """The tensors that were restored, by name: a dict, with a report.

    What filled an array comes as that array. What went into a variable comes under the tensor's name in the
    checkpoint, and is the very array that `assign` was given.

    Args:
        values: The tensors.
        report: What became of every name, or what makes that: of a hundred thousand names few ask.
    """

    def __init__(
        self, values: dict[str, np.ndarray[Any, Any]], report: RestoreReport | Callable[[], RestoreReport]
    ) -> None:
        super().__init__(values)
        self._report = report

    @cached_property
    def report(self) -> RestoreReport:
        """What was used, and what was not."""
        return self._report if isinstance(self._report, RestoreReport) else self._report()


def _shortened(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
