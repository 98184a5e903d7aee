"""Which checkpoints TensorFlow keeps: its two rules, to the letter. Pure.

Source: Saver._MaybeDeleteOldCheckpoints in tensorflow/python/training/saver.py, CheckpointManager._sweep in
tensorflow/python/checkpoint/checkpoint_management.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ckptstore.format.ledger import Entry

_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Sweep:
    """What becomes of a list.

    Attributes:
        listed: What stays in it, oldest first.
        preserved: What leaves it and stays on the store for ever.
        removed: What leaves it and is deleted.
        mark: The rule's memory for the next time, in seconds since 1970: for the manager the time of the newest
            preserved checkpoint (last_preserved_timestamp), for the Saver the end of the current period.
    """

    listed: tuple[Entry, ...]
    preserved: tuple[Entry, ...]
    removed: tuple[Entry, ...]
    mark: float


def sweep_as_manager(
    listed: Sequence[Entry], max_to_keep: int | None, keep_checkpoint_every_n_hours: float | None, last_preserved: float
) -> Sweep:
    """tf.train.CheckpointManager's rule: of those over max_to_keep, one is preserved if it was saved at least n hours
    after the last that was preserved.

    What a user has pinned stays, and does not count.
    """
    counted = [entry for entry in listed if not entry.pinned]
    preserved: list[Entry] = []
    removed: list[Entry] = []
    while max_to_keep is not None and len(counted) > max_to_keep:
        oldest = counted.pop(0)
        hours, time = keep_checkpoint_every_n_hours, oldest.time
        if hours and time is not None and time - hours * _HOUR >= last_preserved:
            last_preserved = time
            preserved.append(oldest)
        else:
            removed.append(oldest)
    return Sweep(_without(listed, (*preserved, *removed)), tuple(preserved), tuple(removed), last_preserved)


def sweep_as_saver(
    listed: Sequence[Entry], max_to_keep: int | None, keep_checkpoint_every_n_hours: float, next_period: float
) -> Sweep:
    """tf.train.Saver's rule: at most one leaves the list per save, and is preserved if it was saved after the current
    period of n hours, counted from when the Saver was made. Without max_to_keep (None or 0) the newest alone is listed,
    and all others are preserved.

    What a user has pinned stays, and does not count.

    Args:
        listed: The Saver's own list, oldest first, the new one at its end. What others have listed is not the Saver's
            to remove, and joins the list of the outcome.
        max_to_keep: How many stay.
        keep_checkpoint_every_n_hours: The length of a period.
        next_period: When the current one ends: `Sweep.mark` of the time before.
    """
    if not max_to_keep:
        return Sweep(tuple(listed[-1:]), tuple(listed[:-1]), (), next_period)
    counted = [entry for entry in listed if not entry.pinned]
    if len(counted) <= max_to_keep:
        return Sweep(tuple(listed), (), (), next_period)
    oldest = counted[0]
    rest = _without(listed, (oldest,))
    if oldest.time is not None and oldest.time > next_period:
        return Sweep(rest, (oldest,), (), next_period + keep_checkpoint_every_n_hours * _HOUR)
    return Sweep(rest, (), (oldest,), next_period)


def _without(listed: Sequence[Entry], gone: Sequence[Entry]) -> tuple[Entry, ...]:
    leaving = {entry.identity for entry in gone}
    return tuple(entry for entry in listed if entry.identity not in leaving)
