"""The bytes of a data file that is to be written: arrays' own memory, one after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from ckptstore.storage import Payload

_JOINED = 1 << 20  # bytes of small arrays that are handed out together


class Buffers:
    """Buffers, which take no memory of their own but for the few that are made when they are asked for.

    Small arrays are joined, a megabyte at a time: to make a view of each, and to hand each to the system, costs more
    than to copy it within the processor's cache.

    Attributes:
        nbytes: How many bytes there are.
    """

    def __init__(self) -> None:
        self.nbytes = 0
        self._parts: list[memoryview | Sequence[np.ndarray[Any, Any]]] = []

    def extend(self, views: Iterable[memoryview]) -> None:
        """Appends flat views of bytes."""
        for view in views:
            if view.nbytes:
                self._parts.append(view)
                self.nbytes += view.nbytes

    def extend_small(self, arrays: Sequence[np.ndarray[Any, Any]], nbytes: int) -> None:
        """Appends small C-contiguous arrays, of so many bytes together."""
        self._parts.append(arrays)
        self.nbytes += nbytes

    def __iter__(self) -> Iterator[memoryview]:
        """The buffers in order, none of them empty."""
        for part in self._parts:
            if isinstance(part, memoryview):
                yield part
            else:
                yield from _joined(part)

    def payload(self) -> Payload:
        """All of them, to be put."""
        return Payload.lazy(self, self.nbytes)


def _joined(arrays: Sequence[np.ndarray[Any, Any]]) -> Iterator[memoryview]:
    begin = start = 0
    for number, end in enumerate(accumulate(array.nbytes for array in arrays), start=1):
        if end - start >= _JOINED or number == len(arrays):
            yield memoryview(b"".join(arrays[begin:number]))  # type: ignore[arg-type]  # as in tensor.empty
            begin, start = number, end
