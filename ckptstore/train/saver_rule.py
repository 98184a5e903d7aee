"""Which of its own checkpoints a Saver keeps: tf.train.Saver's rule, and its memory."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ckptstore._clock import Clock
from ckptstore.checkpoint.retention import sweep_as_saver
from ckptstore.format.ledger import Entry

_HOUR = 3600.0


@dataclass(frozen=True)
class Turn:
    """What becomes of a Saver's list with a save.

    Attributes:
        last: The list after it.
        removed: The path that is deleted, or None.
        preserved: The path that leaves the list and stays for ever, or None.
        mark: The end of the current period of n hours, in seconds since 1970.
    """

    last: tuple[tuple[str, float], ...]
    removed: str | None
    preserved: str | None
    mark: float


class SaverRule:
    """The list of a Saver.

    Args:
        max_to_keep: How many stay in it; 0: there is no list.
        every_n_hours: Preserve one of those that leave it every so many hours.
        clock: Where the time comes from.

    Attributes:
        last: Path and time (seconds since 1970) of each checkpoint in it, oldest first.
    """

    def __init__(self, max_to_keep: int, every_n_hours: float, *, clock: Clock) -> None:
        self.last: list[tuple[str, float]] = []
        self.max_to_keep = max_to_keep
        self._every_n_hours = every_n_hours
        self._mark = clock.time() + every_n_hours * _HOUR

    def turn(self, path: str, time: float, pinned: Collection[str]) -> Turn:
        """What becomes of the list when a checkpoint is saved. Changes nothing.

        Args:
            path: The new one's path.
            time: When it was saved.
            pinned: Paths that a user has pinned: they stay, and do not count.
        """
        entries = [Entry(p, None, t, pinned=p in pinned) for p, t in self.last if p != path]
        swept = sweep_as_saver([*entries, Entry(path, None, time)], self.max_to_keep, self._every_n_hours, self._mark)
        kept = {entry.prefix: entry.time or 0.0 for entry in swept.listed} if self.max_to_keep else {}
        return Turn(
            tuple(kept.items()),
            swept.removed[0].prefix if swept.removed else None,
            swept.preserved[0].prefix if swept.preserved and self.max_to_keep else None,
            swept.mark,
        )

    def take(self, turn: Turn, path: str) -> None:
        """Told when a turn has come to pass, and which path the checkpoint got in the end."""
        self.last = [*turn.last[:-1], *((path, time) for _, time in turn.last[-1:])]
        self._mark = turn.mark
