"""A process that tells what it does over a pipe, and can be killed or suspended at any moment."""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import pathlib
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

# Forked from a process that has everything imported, and no threads: a start takes 10 ms in place of a second.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.processes.workers", "tests.processes.preloaded"])


class Event(NamedTuple):
    """Something that a process told.

    Attributes:
        what: What happened, in a word.
        time: When, by a clock that all processes of the machine share.
        about: What else there is to tell.
    """

    what: str
    time: float
    about: Any


class Teller:
    """The process's own end of the pipe."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def __call__(self, what: str, about: Any = None) -> None:
        """Tells of something that has just happened."""
        self._pipe.send(Event(what, time.monotonic(), about))


class Child:
    """A process, from its start to its end.

    Args:
        name: What it is called in messages.
        work: What it does: a function of a module, called with a `Teller` and the arguments.
        arguments: They are pickled.

    Attributes:
        events: What it told and `poll` has read, in order.
        pipe: Where it tells.
    """

    def __init__(self, name: str, work: Callable[..., None], *arguments: Any) -> None:
        self.name = name
        self.events: list[Event] = []
        self.pipe, theirs = _CONTEXT.Pipe(duplex=False)
        self._process = _CONTEXT.Process(target=_run, args=(theirs, work, *arguments), name=name, daemon=True)
        self._process.start()
        theirs.close()  # so that its end is the pipe's

    def poll(self) -> list[Event]:
        """What it told since the last call, without waiting."""
        new: list[Event] = []
        with contextlib.suppress(EOFError, OSError):
            while self.pipe.poll():
                new.append(self.pipe.recv())
        self.events += new
        return new

    def wait_for(self, what: str, seconds: float = 60.0) -> bool:
        """Waits until it has told something. False: it ended without, or takes too long."""
        deadline = time.monotonic() + seconds
        while True:
            running = self.is_running
            self.poll()
            if any(event.what == what for event in self.events):
                return True
            if not running or time.monotonic() > deadline:
                return False
            wait([self.pipe, self._process.sentinel], timeout=0.2)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended; a suspended process has not."""
        return self._process.is_alive()

    def kill(self) -> list[Event]:
        """Ends it on the spot, as a power cut of its machine would; returns the last that it told."""
        self._process.kill()
        self._process.join()
        return self.poll()

    def suspend(self) -> None:
        """Stops it in the middle of whatever it does. A thread that waits for the disk stops when it has its answer."""
        os.kill(self.pid, signal.SIGSTOP)
        while any(state not in "tTZX" for state in self._states()):
            time.sleep(0.001)

    def _states(self) -> list[str]:
        """What each of its threads does, in the letters of proc(5); another system's stop at once."""
        found = []
        for file in pathlib.Path(f"/proc/{self.pid}/task").glob("*/stat"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found.append(file.read_text().rpartition(")")[2].split()[0])
        return found

    def dump(self) -> None:
        """Makes it write where each of its threads stands, to standard error: for when it is stuck."""
        os.kill(self.pid, signal.SIGUSR1)
        time.sleep(0.5)

    def resume(self) -> None:
        """Lets it go on where it was."""
        os.kill(self.pid, signal.SIGCONT)

    @property
    def pid(self) -> int:
        """Its number."""
        assert self._process.pid is not None
        return self._process.pid

    def close(self) -> None:
        """Ends it if need be, and lets go of the pipe."""
        self.kill()
        self.pipe.close()


@contextlib.contextmanager
def ended(children: Sequence[Child]) -> Iterator[None]:
    """Ends all that are in the list when the block is left."""
    try:
        yield
    finally:
        for child in children:
            child.close()


def listen(children: Sequence[Child], seconds: float) -> Iterator[tuple[Child, Event]]:
    """What processes tell within so long. It takes that long, whatever they tell; with 0 it does not wait."""
    deadline = time.monotonic() + seconds
    while True:
        for child in [*children]:
            for event in child.poll():
                yield child, event
        left = deadline - time.monotonic()
        if left <= 0:
            return
        running = [child.pipe for child in children if child.is_running]  # a pipe at its end is always ready
        wait(running, timeout=left) if running else time.sleep(left)


def _run(pipe: Connection, work: Callable[..., None], *arguments: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's affair
    faulthandler.register(signal.SIGUSR1)
    tell = Teller(pipe)
    try:
        work(tell, *arguments)
    except BrokenPipeError:
        os._exit(1)  # nobody listens any more
    except BaseException:
        with contextlib.suppress(OSError):
            tell("failed", traceback.format_exc())
        os._exit(1)
