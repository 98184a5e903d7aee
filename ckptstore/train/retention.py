"""What a manager keeps: TensorFlow's rule, or a policy."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from ckptstore._clock import Clock
from ckptstore.checkpoint import CheckpointDirectory
from ckptstore.checkpoint.policies import Candidate, Decision, Policy, decide
from ckptstore.checkpoint.retention import Sweep, sweep_as_manager
from ckptstore.checkpoint.writer import RetentionWarning
from ckptstore.errors import CheckpointError, NotFoundError, located
from ckptstore.format.ledger import Entry, Ledger
from ckptstore.format.naming import meta_name, parse_step
from ckptstore.graph import RunInfo

_log = logging.getLogger("ckptstore")

FileTimes = Callable[[], Mapping[str, float | None]]
Metrics = Callable[[Entry], Mapping[str, float]]


class Retention(Protocol):
    """Says what stays when there is a new checkpoint."""

    def sweep(self, listed: Sequence[Entry]) -> Sweep:
        """What becomes of a list, oldest first, that has just got its last entry. Changes nothing."""

    def decide(self, listed: Sequence[Entry]) -> list[Decision]:
        """The same, with reasons, for a list as it is."""

    def committed(self, entry: Entry, sweep: Sweep) -> None:
        """Told when a sweep has come to pass."""


class CountRetention:
    """tf.train.CheckpointManager's rule, and its memory.

    Args:
        max_to_keep: How many stay; None: all.
        every_n_hours: Of the others, preserve one every so many hours.
        ledger: What the state file said when the manager was made.
        file_times: When the checkpoints' files were written, by prefix.
        clock: Where the time comes from.
        path: The state file, for messages.
    """

    def __init__(
        self,
        max_to_keep: int | None,
        every_n_hours: float | None,
        *,
        ledger: Ledger | None,
        file_times: FileTimes,
        clock: Clock,
        path: str,
    ) -> None:
        self._max_to_keep = max_to_keep
        self._hours = every_n_hours
        self._file_times = file_times
        # From a state file it is taken over what the rule goes by, once, as TensorFlow does.
        now = clock.time()
        self._opened = now
        self._saved: dict[str, float] = {}  # when this manager saved what it saved
        self._let_go = float("-inf")
        # The first period counts from just before the manager was made, so that what it saves at once comes after.
        self._last_preserved = now - 1.0
        stored = ledger.last_preserved if ledger is not None else 0.0
        if stored > now:
            _log.warning("%s is %.0f s ahead of the clock, which was set back", path, stored - now)
        elif stored:
            self._last_preserved = self._let_go = stored

    def __repr__(self) -> str:
        hours = "" if self._hours is None else f", keep_checkpoint_every_n_hours={self._hours}"
        return f"max_to_keep={self._max_to_keep}{hours}"

    def sweep(self, listed: Sequence[Entry]) -> Sweep:
        """See `Retention.sweep`."""
        timed, left_alone = self._timed(listed)
        sweep = sweep_as_manager(timed, self._max_to_keep, self._hours, self._last_preserved)
        return replace(sweep, preserved=(*left_alone, *sweep.preserved))

    def decide(self, listed: Sequence[Entry]) -> list[Decision]:
        """See `Retention.decide`."""
        sweep = self.sweep(listed)
        why = {entry.identity: ("kept for ever: one every n hours",) for entry in sweep.preserved}
        why |= {entry.identity: ("more than max_to_keep",) for entry in sweep.removed}
        return [
            Decision(
                entry.prefix,
                parse_step(entry.prefix),
                keep=not any(entry.same(other) for other in sweep.removed),
                reasons=("pinned",) if entry.pinned else why.get(entry.identity, ("one of the newest",)),
            )
            for entry in listed
        ]

    def committed(self, entry: Entry, sweep: Sweep) -> None:
        """See `Retention.committed`."""
        self._last_preserved = sweep.mark
        if entry.time is not None:
            self._saved[entry.prefix] = entry.time

    def _timed(self, listed: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
        """The entries with the times that the rule goes by, and those that TensorFlow leaves alone.

        It leaves alone, and on the store, what is not newer than the last that was preserved. What is older can only be
        listed because the clock was set back, and is not forgotten for that.
        """
        if any(entry.time is None or not math.isfinite(entry.time) for entry in listed[:-1]):
            # TensorFlow's Saver lists checkpoints without times, and its CheckpointManager would then never delete
            # them. The files' own times stand in.
            times = self._file_times()
            return [
                replace(e, time=self._saved.get(e.prefix) or times.get(e.prefix) or self._opened) for e in listed[:-1]
            ] + [*listed[-1:]], []
        timed: list[Entry] = []
        left_alone: list[Entry] = []
        for entry in listed[:-1]:
            time = self._saved.get(entry.prefix, min(entry.time or 0.0, self._opened))
            forgotten = entry.prefix not in self._saved and time == self._let_go and not entry.pinned
            (left_alone if forgotten else timed).append(replace(entry, time=time))
        return [*timed, *listed[-1:]], left_alone


class PolicyRetention:
    """A policy, applied to every new list.

    Args:
        policy: The policy.
        metrics: What was saved with a checkpoint.
        clock: Where the time comes from.
    """

    def __init__(self, policy: Policy, *, metrics: Metrics, clock: Clock) -> None:
        self._policy = policy
        self._metrics = metrics
        self._clock = clock
        self._known: dict[tuple[str, str | None], Mapping[str, float]] = {}

    def __repr__(self) -> str:
        return repr(self._policy)

    def sweep(self, listed: Sequence[Entry]) -> Sweep:
        """See `Retention.sweep`. What cannot be judged stays, with a warning."""
        try:
            removed = {decision.path for decision in self.decide(listed) if not decision.keep}
        except CheckpointError as error:
            removed = set()
            warnings.warn(
                f"Nothing is removed with this save, as {self._policy!r} could not be applied: {error.message}",
                RetentionWarning,
                stacklevel=2,
            )
        return Sweep(
            tuple(entry for entry in listed if entry.prefix not in removed),
            (),
            tuple(entry for entry in listed if entry.prefix in removed),
            0.0,
        )

    def decide(self, listed: Sequence[Entry]) -> list[Decision]:
        """See `Retention.decide`."""
        return decide(candidates(listed, self._policy, self._metrics_of), self._policy, now=self._clock.time())

    def committed(self, entry: Entry, sweep: Sweep) -> None:
        """See `Retention.committed`."""
        for gone in sweep.removed:
            self._known.pop(gone.identity, None)

    def _metrics_of(self, entry: Entry) -> Mapping[str, float]:
        if entry.identity not in self._known:
            self._known[entry.identity] = self._metrics(entry)
        return self._known[entry.identity]


def latest_last(ledger: Ledger) -> tuple[Entry, ...]:
    """What is listed, the latest at the end: rules keep the last, and TensorFlow may have listed others behind it."""
    latest = [entry for entry in ledger.listed if entry.prefix == ledger.latest]
    return (*(entry for entry in ledger.listed if entry.prefix != ledger.latest), *latest)


def candidates(listed: Sequence[Entry], policy: Policy, metrics: Metrics) -> list[Candidate]:
    """What a policy decides about; metrics are read only if it goes by them."""
    return [
        Candidate(
            entry.prefix,
            parse_step(entry.prefix),
            entry.time,
            metrics(entry) if policy.metrics else {},
            pinned=entry.pinned,
        )
        for entry in listed
    ]


def stored_metrics(directory: CheckpointDirectory, prefix: str) -> Mapping[str, float]:
    """The metrics that were saved with a checkpoint; empty if there are none, or no `.meta` file.

    Raises:
        DataLossError: The `.meta` file is damaged.
    """
    try:
        data, meta = directory.store.get(meta_name(prefix))
    except NotFoundError:
        return {}
    with located(directory.store.path(meta.key)):
        return RunInfo.decode(data).metrics
