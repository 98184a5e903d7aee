"""Copies of what is to be saved, taken before the training goes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from ckptstore._concurrency import make_executor, run_all
from ckptstore.bundle import Partitioned
from ckptstore.format.tensor import as_array

_CUT = 32 << 20  # bytes that one thread copies at a time
_AT_ONCE = min(4, os.cpu_count() or 1)
_CONVERTED = (bool, int, float, complex, str, bytes, list, tuple)  # numpy makes new arrays of these


class Staging:
    """Memory that state is copied into, and that is used again by the next copy.

    To copy into memory that was used before takes half the time of copying into new memory. So it is kept: as much as
    one state takes, until `forget`. The copies of one call are valid until the next.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int], np.ndarray[Any, Any]] = {}

    def copies(self, items: Mapping[str, Any]) -> dict[str, Any]:
        """What is to be saved, in memory that nobody else can change.

        An array that cannot change is not copied: one that is read-only down to the array or bytes that own its
        memory. (Whoever makes such an array writable again, or has a view from before it was made read-only, must not
        write to it before the save is done.)

        Args:
            items: By flat names.

        Raises:
            IncompatibleTensorError: One cannot be stored.
        """
        before, self._kept = self._kept, {}
        work: list[Callable[[], None]] = []
        out = {name: self._value(name, value, before, work) for name, value in items.items()}
        before.clear()  # what this state has no more
        if len(work) <= 1 or _AT_ONCE == 1:
            run_all(None, work, window=1)
        else:
            executor = make_executor(_AT_ONCE, "ckptstore-stage")
            try:
                run_all(executor, work, window=2 * _AT_ONCE)
            finally:
                executor.shutdown(wait=True)
        return out

    def forget(self) -> None:
        """Lets go of the memory."""
        self._kept.clear()

    def _value(
        self,
        name: str,
        value: Any,
        before: dict[tuple[str, int], np.ndarray[Any, Any]],
        work: list[Callable[[], None]],
    ) -> Any:
        if isinstance(value, Partitioned):
            pieces = [
                (piece, self._copy((name, number), array, before, work))
                for number, (piece, array) in enumerate(value.pieces)
            ]
            return Partitioned(value.shape, pieces)
        return self._copy((name, 0), value, before, work)

    def _copy(
        self,
        key: tuple[str, int],
        value: Any,
        before: dict[tuple[str, int], np.ndarray[Any, Any]],
        work: list[Callable[[], None]],
    ) -> np.ndarray[Any, Any]:
        array, dtype = as_array(value, key[0])
        if not dtype.itemsize or _is_made_here(array, value) or _cannot_change(array):  # strings are always made here
            return array
        memory = before.pop(key, None)
        if memory is None or (memory.dtype, memory.shape) != (array.dtype, array.shape):
            memory = np.empty_like(array, order="C", subok=False)
        self._kept[key] = memory
        source, target = array.reshape(-1), memory.reshape(-1)
        step = max(1, _CUT // dtype.itemsize)
        if array.nbytes <= _CUT:
            work.append(partial(np.copyto, memory, array))
        else:
            work += [
                partial(np.copyto, target[start : start + step], source[start : start + step])
                for start in range(0, array.size, step)
            ]
        return memory


def _is_made_here(array: np.ndarray[Any, Any], value: Any) -> bool:
    """Whether an array was made of a value just now; what `__array__` hands out may be memory that others write to."""
    if isinstance(value, np.ndarray):
        return not np.may_share_memory(array, value)
    return type(value) in _CONVERTED or isinstance(value, np.generic)


def _cannot_change(array: Any) -> bool:
    """Whether an array, and all that it is a view of, is read-only, and ends where memory is owned."""
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return False
        array = array.base
    return array is None or isinstance(array, bytes)
