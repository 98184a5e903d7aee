"""What time it is on the store: ages are differences of its times, and of no other clock's."""

from __future__ import annotations

import secrets

from ckptstore._clock import Clock
from ckptstore.checkpoint.state_file import PRIVATE_DIR
from ckptstore.errors import ClockSkewError
from ckptstore.storage import Payload, Store

MOST_SKEW = 300.0
"""The most seconds between this machine's clock and the store's."""


def store_time(store: Store, clock: Clock) -> float | None:
    """The store's time, told by a new object; None where it does not tell.

    Args:
        store: The store. (The object is deleted again.)
        clock: This machine's clock.

    Raises:
        ClockSkewError: The two are more than `MOST_SKEW` apart, so one of them is wrong.
    """
    key = f"{PRIVATE_DIR}/clock/{secrets.token_hex(16)}"
    before = clock.time()
    store.put(key, Payload.of(b""))
    after = clock.time()  # much later, if the store is slow or this process was suspended
    now = store.head(key).modified
    store.delete([key])
    if now is not None and not before - MOST_SKEW <= now <= after + MOST_SKEW:
        skew = before - now if now < before else after - now
        raise ClockSkewError(
            f"This machine's clock is {skew:+.0f} s off from that of {store.url}, so how old anything is cannot be "
            f"judged, and nothing was removed. Set the clock (more than {MOST_SKEW:.0f} s are refused).",
            path=store.url,
        )
    return now
