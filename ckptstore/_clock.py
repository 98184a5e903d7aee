"""Time, as an argument: whoever waits, dates or measures takes a `Clock`, so that tests need not wait."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the time and lets it pass. All numbers are seconds."""

    def time(self) -> float:
        """Seconds since 1970-01-01 UTC. It may jump, in either direction, when the machine's clock is set."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment in the past. It never runs backwards; only differences mean anything."""
        ...

    def sleep(self, seconds: float) -> None:
        """Returns no sooner than `seconds` from now. Zero and less return at once."""
        ...


class SystemClock:
    """The machine's own clock."""

    def time(self) -> float:
        """See `Clock.time`."""
        return time.time()

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`."""
        if seconds > 0:
            time.sleep(seconds)

    def __repr__(self) -> str:
        return "SystemClock()"
