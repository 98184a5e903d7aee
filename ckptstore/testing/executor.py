"""An executor without threads."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


class InlineExecutor(Executor):
    """Runs each call inside `submit`, in the submitting thread: concurrent code in a fixed order.

    Attributes:
        submitted: How many calls there were.
    """

    def __init__(self) -> None:
        self.submitted = 0
        self._open = True

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Calls `fn`; the future that comes back is done, with its result or its error.

        Raises:
            RuntimeError: The executor was shut down.
        """
        if not self._open:
            raise RuntimeError("cannot schedule new futures after shutdown")
        self.submitted += 1
        future: Future[T] = Future()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more calls."""
        self._open = False
