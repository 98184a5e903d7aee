"""Threads: the only module that makes them, and the only place where work under way is bounded.

Everything else takes a standard `concurrent.futures.Executor`, or None to work in the calling thread.
"""

from __future__ import annotations

import threading
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait

# Imported by its module, because `concurrent.futures` loads it on first use, and a first use while the interpreter is
# ending is an error.
from concurrent.futures.thread import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from ckptstore.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

_working_for = threading.local()  # .executors: those whose calls this thread is running just now


def make_executor(max_workers: int, name: str) -> Executor:
    """A pool of threads, each begun when it is first needed and named `name_0`, `name_1` ...

    Args:
        max_workers: The most threads, at least 1.
        name: What the threads are called in stack dumps.
    """
    return ThreadPoolExecutor(max_workers, thread_name_prefix=name)


def run_all(
    executor: Executor | None,
    calls: Iterable[Callable[[], T]],
    *,
    window: int,
    meanwhile: Callable[[], object] | None = None,
    share: bool = False,
) -> list[T]:
    """Runs every call and hands back their results, in the order of `calls`.

    Calls are taken from the iterable one by one, and only while fewer than `window` are under way: what a call holds
    on to (a part, a buffer) exists at most `window` times.

    The first error, of a call or of the iterable, or a KeyboardInterrupt while waiting, ends it: no further call is
    taken, those not begun are cancelled, those running are waited for, and then it is raised. So nothing is running
    any more when this returns or raises, except after a second KeyboardInterrupt, which does not wait.

    Args:
        executor: Where to run. None: in this thread, one after the other. A thread that is itself running a call for
            this executor also works inline, since waiting for its own pool could last for ever.
        calls: Functions without arguments. They may be run in any order.
        window: The most calls under way at once, at least 1.
        meanwhile: Something to do in this thread once the first calls are under way. An error of it counts like one of
            a call.
        share: This thread runs calls, too, instead of waiting for those of others: for work that keeps processors busy.
            One more call than `window` is under way then.
    """
    if window < 1:
        raise InvalidArgumentError(f"window={window}; at least one call must be allowed at a time.")
    if executor is None or executor in _executors_here():
        if meanwhile is not None:
            meanwhile()
        return [call() for call in calls]

    results: dict[int, T] = {}
    pending: dict[Future[T], tuple[int, Callable[[], T]]] = {}
    leisure = [] if meanwhile is None else [meanwhile]

    def collect() -> None:
        while leisure:
            leisure.pop()()
        if share:
            done = {future for future in pending if future.done()}
        else:
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
        for future in sorted(done, key=lambda future: pending[future][0]):  # of several errors, the earliest call's
            results[pending[future][0]] = future.result()
            del pending[future]

    try:
        for number, call in enumerate(calls):
            if len(pending) >= window:
                collect()
            future = _submit(executor, call) if len(pending) < window else None
            if future is None:
                results[number] = call()
            else:
                pending[future] = number, call
        while pending or leisure:
            if share and not leisure:
                for future in reversed(pending):  # what nobody has begun
                    if future.cancel():
                        number, call = pending.pop(future)
                        results[number] = call()
                        break
                else:
                    share = False
            collect()
    except BaseException:
        wait([future for future in pending if not future.cancel()])
        raise
    return [results[number] for number in range(len(results))]


def _executors_here() -> list[Executor]:
    executors: list[Executor] | None = getattr(_working_for, "executors", None)
    if executors is None:
        executors = _working_for.executors = []
    return executors


def _submit(executor: Executor, call: Callable[[], T]) -> Future[T] | None:
    """Hands a call to the executor; None when the executor takes no more because it was shut down."""

    def run() -> T:
        executors = _executors_here()
        executors.append(executor)
        try:
            return call()
        finally:
            executors.pop()

    try:
        return executor.submit(run)
    except RuntimeError as error:
        # At the end of the interpreter all pools are shut down while their threads still finish what they have. An
        # asynchronous save that is under way then must be able to send its remaining parts. There is no class and no
        # attribute to tell this from other RuntimeErrors, only the text.
        if "shutdown" not in str(error):
            raise
        return None
