"""A clock that goes when it is told to."""

from __future__ import annotations

import threading


class ManualClock:
    """A `Clock` on which a sleep takes no time but has passed.

    Safe to use from several threads: each sleep moves the one clock on.

    Args:
        start: What `time` says at first, in seconds since 1970. `monotonic` begins at 0.

    Attributes:
        sleeps: How long each sleep was, in order.
    """

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._time = start
        self._monotonic = 0.0
        self._lock = threading.Lock()
        self.sleeps: list[float] = []

    def time(self) -> float:
        """Seconds since 1970 on this clock."""
        return self._time

    def monotonic(self) -> float:
        """Seconds that passed on this clock."""
        return self._monotonic

    def sleep(self, seconds: float) -> None:
        """Notes the wait, and moves on by it at once."""
        with self._lock:
            self.sleeps.append(seconds)
        self.advance(max(seconds, 0.0))

    def advance(self, seconds: float) -> None:
        """Lets time pass.

        Args:
            seconds: At least 0; see `set_time` for a clock that is set back.
        """
        if seconds < 0:
            raise ValueError(f"Time does not run backwards ({seconds} s); use set_time.")
        with self._lock:
            self._time += seconds
            self._monotonic += seconds

    def set_time(self, time: float) -> None:
        """Sets the calendar time, as an administrator may, and leaves `monotonic` alone."""
        with self._lock:
            self._time = time
