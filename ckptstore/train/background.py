"""Saves that go on while training does, one after the other, and that nobody can forget."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future

from ckptstore._concurrency import make_executor


class SaveFuture(Future[str]):
    """The path of a checkpoint that is being saved. `result()` is the acknowledgement.

    Attributes:
        heard: Whether somebody has asked for the outcome.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heard = False

    def result(self, timeout: float | None = None) -> str:
        """See `concurrent.futures.Future.result`."""
        try:
            return super().result(timeout)
        finally:
            self.heard = self.done()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """See `concurrent.futures.Future.exception`."""
        error = super().exception(timeout)
        self.heard = True
        return error


class BackgroundSaves:
    """Runs one save at a time, in a thread of its own.

    A save that fails is never passed over in silence: whoever asks for its result is told, else the next call of the
    manager; and if there is none, the process ends with a message and the exit code 1.
    """

    def __init__(self) -> None:
        self._executor: Executor | None = None
        self._last: SaveFuture | None = None
        self._lock = threading.Lock()

    def submit(self, save: Callable[[], str]) -> SaveFuture:
        """Begins a save, once the one before it is done.

        Raises:
            CheckpointError: The one before it failed, and nobody has asked for its result.
        """
        self.wait()
        future = SaveFuture()
        future.set_running_or_notify_cancel()

        def run() -> None:
            try:
                path = save()
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(path)

        with self._lock:
            if self._executor is None:
                self._executor = make_executor(1, "ckptstore-save-async")
                atexit.register(self._at_exit)
            self._last = future
            self._executor.submit(run)
        return future

    def wait(self) -> None:
        """Waits until nothing is being saved.

        Raises:
            CheckpointError: The last save failed, and nobody has asked for its result.
        """
        last, me = self._last, threading.current_thread().name
        if last is None or me.startswith("ckptstore-save-async"):
            return
        error = None if last.heard else last.exception()
        last.heard = True
        self._last = None
        if error is not None:
            raise error

    def close(self) -> None:
        """As `wait`; then ends the thread."""
        try:
            self.wait()
        finally:
            with self._lock:
                executor, self._executor = self._executor, None
            if executor is not None:
                executor.shutdown(wait=True)
                atexit.unregister(self._at_exit)

    def _at_exit(self) -> None:
        """The interpreter has waited for the thread. A save that failed and was not heard of ends in an exit code."""
        last = self._last
        error = None if last is None or last.heard else last.exception()
        if error is not None:
            sys.stdout.flush()
            sys.stderr.write(f"ckptstore: error: the last save failed, and nobody asked: {error}\n")
            sys.stderr.flush()
            os._exit(1)  # there is no other way to a code from here
