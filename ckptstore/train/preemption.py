"""Being told to leave: save now, then go."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from ckptstore.errors import InvalidArgumentError

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from typing_extensions import Self


class Preemption:
    """Turns the signal by which a machine is taken away into a question that the training loop can ask.

    A save that is under way when the signal comes is finished; nothing is interrupted. The loop then saves once more,
    and leaves. Schedulers kill what has not left after a while (Kubernetes after 30 s unless told otherwise): a process
    that dies in that last save has lost that save and nothing else.

    ```python
    with ck.Preemption() as preemption:
        for step in range(start, end):
            state = train(state)
            if preemption.requested or manager.should_save(step):
                manager.save(step, state)
            preemption.leave_if_requested()
    ```

    A second signal does what the first would have done without this.

    Args:
        signals: Which signals mean it; by default SIGTERM.
        on_request: Called once, from the main thread, when the first one comes. It must not save: the training loop may
            be in the middle of a step, or of a save.

    Raises:
        InvalidArgumentError: No signals are given.
    """

    def __init__(
        self,
        signals: tuple[signal.Signals, ...] = (signal.SIGTERM,),
        *,
        on_request: Callable[[], object] | None = None,
    ) -> None:
        if not signals:
            raise InvalidArgumentError("No signals are given; by default SIGTERM means that it is time to leave.")
        self._signals = signals
        self._on_request = on_request
        self._previous: dict[signal.Signals, Any] = {}
        self._received: signal.Signals | None = None
        self._told = False  # whether the loop knows of it

    @property
    def requested(self) -> bool:
        """Whether it is time to leave."""
        self._told = self._received is not None
        return self._told

    @property
    def exit_code(self) -> int:
        """What a shell says of a process that the signal ended: 143 for SIGTERM; 0 if none came."""
        return 0 if self._received is None else 128 + self._received

    def leave_if_requested(self) -> None:
        """Ends the process, by SystemExit with `exit_code`, if it is time to leave.

        A signal that came since `requested` was asked ends it the next time: the loop has not made its last save yet.
        """
        if self._told:
            self._leave()
        self._told = self._received is not None

    def __enter__(self) -> Self:
        """Begins to listen.

        Raises:
            InvalidArgumentError: This is not the main thread, where alone Python takes signals.
        """
        if threading.current_thread() is not threading.main_thread():
            raise InvalidArgumentError("Signals can only be taken in the main thread; enter it there.")
        for number in self._signals:
            self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in list(self._previous):
            self._restore(number)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        again = self._received is not None
        self._received = signal.Signals(number)
        if again:
            self._restore(self._received)
            os.kill(os.getpid(), number)
        elif self._on_request is not None:
            self._on_request()

    def _restore(self, number: signal.Signals) -> None:
        # None: somebody set it from outside of Python, and only the default can be set from here.
        previous = self._previous.pop(number, signal.SIG_DFL)
        signal.signal(number, signal.SIG_DFL if previous is None else previous)

    def _leave(self) -> NoReturn:
        raise SystemExit(self.exit_code)
