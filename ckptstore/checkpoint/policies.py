"""Which checkpoints to keep: rules that are joined by `|`. Pure.

    LatestN(5) | EveryNHours(2) | BestN(3, "val_loss")

What any rule keeps stays; so do pinned checkpoints, and the newest. Checkpoints come in the order of the state file,
oldest first: "newest" is the last of that list, whatever clocks and steps say. Every decision has its reasons.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from ckptstore._arguments import as_count, as_hours
from ckptstore.errors import InvalidArgumentError

FUTURE = 300.0
"""How many seconds a time may be ahead of now and still be believed."""

_HOUR = 3600.0
_NO_TIME = "when it was saved is not known"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A checkpoint to be judged.

    Attributes:
        path: Its name.
        step: Its step, or None.
        time: When it was saved, in seconds since 1970, or None.
        metrics: The numbers that were saved with it.
        pinned: Whether a user said that it must stay.
    """

    path: str
    step: int | None
    time: float | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a checkpoint, and why.

    Attributes:
        path: Its name.
        step: Its step, or None.
        keep: Whether it stays.
        reasons: Why it does, by each rule that keeps it; or why it goes.
    """

    path: str
    step: int | None
    keep: bool
    reasons: tuple[str, ...]


class Policy(abc.ABC):
    """A rule, or several: says what to keep. Join them by `|`."""

    __slots__ = ()

    @property
    def metrics(self) -> frozenset[str]:
        """The metrics that it goes by. Only then does anybody have to look them up."""
        return frozenset()

    @abc.abstractmethod
    def kept(self, candidates: Sequence[Candidate], now: float) -> Mapping[int, str]:
        """What it keeps.

        Args:
            candidates: Oldest first.
            now: Seconds since 1970; times after it are not believed.

        Returns:
            The reason, by the position among the candidates.
        """

    def __or__(self, other: Policy) -> AnyOf:
        if not isinstance(other, Policy):
            return NotImplemented
        return AnyOf((self, other))


@dataclass(frozen=True, slots=True, repr=False)
class AnyOf(Policy):
    """Keeps what any of its rules keeps.

    Attributes:
        policies: The rules, at least one.
    """

    policies: tuple[Policy, ...]

    def __post_init__(self) -> None:
        if not self.policies or not all(isinstance(policy, Policy) for policy in self.policies):
            raise InvalidArgumentError("A policy without rules would keep nothing; give at least one.")
        object.__setattr__(self, "policies", tuple(part for policy in self.policies for part in _parts(policy)))

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.policies))

    @property
    def metrics(self) -> frozenset[str]:
        """See `Policy.metrics`."""
        return frozenset().union(*(policy.metrics for policy in self.policies))

    def kept(self, candidates: Sequence[Candidate], now: float) -> Mapping[int, str]:
        """See `Policy.kept`. The reasons are joined by commas."""
        out: dict[int, str] = {}
        for policy in self.policies:
            for index, reason in policy.kept(candidates, now).items():
                out[index] = f"{out[index]}, {reason}" if index in out else reason
        return out


@dataclass(frozen=True, slots=True)
class LatestN(Policy):
    """Keeps the newest n.

    Attributes:
        n: How many, from 1.
    """

    n: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", as_count(self.n, "n"))

    def kept(self, candidates: Sequence[Candidate], now: float) -> Mapping[int, str]:
        """See `Policy.kept`."""
        return dict.fromkeys(range(max(0, len(candidates) - self.n), len(candidates)), f"one of the newest {self.n}")


@dataclass(frozen=True, slots=True)
class EveryNHours(Policy):
    """Keeps the oldest, and from each one that it keeps the next that was saved n hours later, or more.

    So what it kept once it keeps when it is asked again. Where a clock was set back, what was saved after that begins a
    new series. What has no time that can be believed stays, and does not count.

    Attributes:
        hours: How many, over 0.
    """

    hours: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "hours", _finite_hours(self.hours))

    def kept(self, candidates: Sequence[Candidate], now: float) -> Mapping[int, str]:
        """See `Policy.kept`."""
        out: dict[int, str] = {}
        last: float | None = None
        for index, candidate in enumerate(candidates):
            time = _believed(candidate, now)
            if time is None:
                out[index] = _NO_TIME
            elif last is None or time < last or time >= last + self.hours * _HOUR:
                out[index] = f"one for every {self.hours:g} h"
                last = time
        return out


@dataclass(frozen=True, slots=True)
class EveryNSteps(Policy):
    """Keeps those whose step is a multiple of n.

    Attributes:
        n: From 1.
    """

    n: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", as_count(self.n, "n"))

    def kept(self, candidates: Sequence[Candidate], now: float) -> Mapping[int, str]:
        """See `Policy.kept`. What has no step is not kept."""
        return {
            index: f"its step is a multiple of {self.n}"
            for index, candidate in enumerate(candidates)
            if candidate.step is not None and candidate.step % self.n == 0
        }


@dataclass(frozen=True, slots=True)
class Within(Policy):
    """Keeps those that were saved within so many hours before the newest time among them.

    Not before now: a run that has ended is not to be emptied by a pruner that goes on. What has no time that can be
    believed stays.

    Attributes:
        hours: How many, over 0.
    """

    hours: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "hours", _finite_hours(self.hours))

    def kept(self, candidates: Sequence[Candidate], now: float) -> Mapping[int, str]:
        """See `Policy.kept`."""
        times = [_believed(candidate, now) for candidate in candidates]
        newest = max((time for time in times if time is not None), default=0.0)
        reason = f"within {self.hours:g} h of the newest"
        return {
            index: _NO_TIME if time is None else reason
            for index, time in enumerate(times)
            if time is None or time >= newest - self.hours * _HOUR
        }


@dataclass(frozen=True, slots=True)
class BestN(Policy):
    """Keeps the n with the least, or greatest, value of a metric; of equals the newest.

    What has no such metric, or NaN, is not among the best.

    Attributes:
        n: How many, from 1.
        metric: Its name.
        mode: "min" or "max": which is best.
    """

    n: int
    metric: str
    mode: Literal["min", "max"] = "min"

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", as_count(self.n, "n"))
        if not isinstance(self.metric, str) or not self.metric:
            raise InvalidArgumentError(f"metric must be the name of one, not {self.metric!r}.")
        if self.mode not in ("min", "max"):
            raise InvalidArgumentError(f"mode must be 'min' or 'max', not {self.mode!r}.")

    @property
    def metrics(self) -> frozenset[str]:
        """See `Policy.metrics`."""
        return frozenset((self.metric,))

    def kept(self, candidates: Sequence[Candidate], now: float) -> Mapping[int, str]:
        """See `Policy.kept`."""
        sign = -1.0 if self.mode == "min" else 1.0
        ranked = sorted(
            (
                (sign * value, index)
                for index, candidate in enumerate(candidates)
                if (value := candidate.metrics.get(self.metric)) is not None and not math.isnan(value)
            ),
            reverse=True,
        )
        return {index: f"one of the best {self.n} by {self.metric}" for _, index in ranked[: self.n]}


def decide(candidates: Sequence[Candidate], policy: Policy, *, now: float, limit: int | None = None) -> list[Decision]:
    """Decides about every checkpoint.

    Args:
        candidates: Oldest first; the last is the newest, and stays.
        policy: What else stays.
        now: Seconds since 1970.
        limit: The most that may go at once, the oldest first; None: all that no rule keeps.

    Returns:
        A decision for each candidate, in their order.
    """
    reasons = policy.kept(candidates, now)
    out: list[Decision] = []
    removals = 0
    for index, candidate in enumerate(candidates):
        why = [reasons[index]] if index in reasons else []
        if candidate.pinned:
            why.append("pinned")
        if index == len(candidates) - 1 and not why:
            why.append("the newest")
        keep = bool(why)
        if not keep and limit is not None and removals >= limit:
            keep, why = True, [f"not more than {limit} are removed at once"]
        removals += not keep
        out.append(Decision(candidate.path, candidate.step, keep, tuple(why) or ("no rule keeps it",)))
    return out


def removal_limit(count: int) -> int:
    """The most of so many checkpoints that a pruner removes at once unless told otherwise: half of them, rounded up.

    A flood of new checkpoints, whose times or metrics are wrong, then cannot push out all good ones in one night.
    """
    return (count + 1) // 2


def _parts(policy: Policy) -> tuple[Policy, ...]:
    return policy.policies if isinstance(policy, AnyOf) else (policy,)


def _finite_hours(value: float) -> float:
    hours = as_hours(value, "hours")
    if math.isinf(hours):
        raise InvalidArgumentError("hours must be finite.")
    return hours


def _believed(candidate: Candidate, now: float) -> float | None:
    time = candidate.time
    return time if time is not None and math.isfinite(time) and 0 <= time <= now + FUTURE else None
