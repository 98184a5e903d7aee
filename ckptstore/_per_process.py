"""What each process must make for itself: connections, clients that keep them and locks do not survive a fork."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class ProcessLock:
    """A lock of which a child of a fork has its own: the parent's would stay locked if a thread held it by then.

    The thread that holds it may take it again, as the garbage collector may call a store's `close` anywhere.
    """

    def __init__(self) -> None:
        self._made: dict[int, threading.RLock] = {}

    def get(self) -> threading.RLock:
        """This process's."""
        return self._made.setdefault(os.getpid(), threading.RLock())


_lock = ProcessLock()


class PerProcess(Generic[T]):
    """A thing that is made when it is first needed, once in each process, also if several threads need it at once.

    All things of a process are made one after the other, since what they are made of may be shared: botocore's sessions
    are not for several threads.

    Args:
        make: Makes it.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: dict[int, T] = {}

    def get(self) -> T:
        """This process's."""
        process = os.getpid()
        try:
            return self._made[process]
        except KeyError:
            pass
        with _lock.get():
            try:
                return self._made[process]
            except KeyError:
                made = self._made[process] = self._make()
                return made

    def put(self, made: T) -> None:
        """Gives this process one that was made elsewhere."""
        self._made[os.getpid()] = made

    def pop(self) -> T | None:
        """Forgets this process's, and hands it out if it was made."""
        return self._made.pop(os.getpid(), None)
