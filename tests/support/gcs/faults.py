"""Failures that a test orders, so that what a client does about them can be seen without a broken network."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from tests.support.gcs.errors import GcsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.gcs.http import Request


class Fault:
    """A failure of the next requests of some kind.

    Args:
        predicate: Which requests. It runs in the connection's thread, without any lock held.
        status: The HTTP status to answer with, in place of doing anything.
        times: How often.
        after: Do what is asked, and then lose the reply.
        hang_up: How it is lost: by hanging up without one. False: the status is answered in its place.
    """

    def __init__(
        self, predicate: Callable[[Request], bool], *, status: int, times: int, after: bool, hang_up: bool
    ) -> None:
        self._predicate = predicate
        self._status = status
        self._left = times
        self._lock = threading.Lock()
        self.after = after
        self.hang_up = hang_up

    def strikes(self, request: Request) -> bool:
        """Whether this request is to fail; if so, one of the times is used up."""
        if not self._predicate(request):
            return False
        with self._lock:
            self._left -= 1
            return self._left >= 0

    def error(self) -> GcsError:
        """The refusal that takes the place of the answer."""
        return GcsError(self._status, "backendError", "InjectedFault", "A test asked for this failure.")
