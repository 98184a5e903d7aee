"""How much of a save is written."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from ckptstore.storage import Payload

Progress = Callable[[int, int], None]
"""Called with the bytes that are done, and the bytes that there are. What it raises ends the work."""

_STEP = 16 << 20  # bytes


class WriteProgress:
    """Adds up what a store has taken of several payloads, and tells it.

    A payload is asked for its buffers one after the other, so one is taken when the next is asked for. What a store
    holds ahead of writing it (parts under way) counts as taken; what is tried again does not count twice.

    Args:
        sizes: The bytes of each payload.
        tell: Told; by one thread at a time, but by any.
    """

    def __init__(self, sizes: Sequence[int], tell: Progress) -> None:
        self._total = sum(sizes)
        self._sizes = sizes
        self._taken = [0] * len(sizes)
        self._tell = tell
        self._lock = threading.Lock()

    def payload(self, number: int, buffers: Iterable[memoryview]) -> Payload:
        """The payload of the number, made of these buffers."""
        return Payload.lazy(_Watched(buffers, partial(self._reach, number)), self._sizes[number])

    def done(self, number: int) -> None:
        """All of a payload is written."""
        self._reach(number, self._sizes[number])

    def _reach(self, number: int, position: int) -> None:
        with self._lock:
            if position > self._taken[number] or not self._total:
                self._taken[number] = position
                self._tell(sum(self._taken), self._total)


@dataclass(frozen=True, slots=True)
class _Watched:
    """Buffers that tell up to where they were asked for, and are cut so that there is something to tell."""

    buffers: Iterable[memoryview]
    reach: Callable[[int], None]

    def __iter__(self) -> Iterator[memoryview]:
        position = told = 0
        for buffer in self.buffers:
            for start in range(0, buffer.nbytes, _STEP):
                piece = buffer[start : start + _STEP]
                yield piece
                position += piece.nbytes
                if position - told >= _STEP:
                    told = position
                    self.reach(position)
