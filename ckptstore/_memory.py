"""Fresh memory for large arrays, in huge pages where the system has them.

Most of what it takes to read a file from the page cache is to take the memory that it goes to, page by page. numpy asks
for huge pages, too, but its memory begins and ends anywhere, so up to 2 MiB at either end come in small ones; on a
virtual machine those few hundred cost a quarter of the time for a tensor of 32 MiB (measured).
"""

from __future__ import annotations

import contextlib
import mmap
from typing import Any, TypeAlias

import numpy as np

HUGE_PAGE = 2 << 20
"""Bytes of a huge page of x86-64, and of Arm with small pages of 4 KiB."""

LARGE = 2 * HUGE_PAGE
"""Bytes, from which on `allocate` does better than numpy."""

_Bytes: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"


def allocate(size: int) -> _Bytes:
    """Memory of so many bytes, with anything in it, aligned for every type.

    Raises:
        MemoryError: There is none.
    """
    if size < LARGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.empty(size, np.uint8)
    try:
        # A huge page more than that, for the kernel may begin it anywhere; what is not touched costs nothing.
        memory = mmap.mmap(-1, size + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (OSError, OverflowError) as error:
        raise MemoryError(f"{size} bytes cannot be had ({error})") from error
    data = np.frombuffer(memory, np.uint8)
    start = -data.ctypes.data % HUGE_PAGE
    with contextlib.suppress(OSError):  # a kernel without huge pages
        # The end that does not fill one stays in small pages: it shall not take more memory than it has bytes.
        memory.madvise(mmap.MADV_HUGEPAGE, start, size // HUGE_PAGE * HUGE_PAGE)
    return data[start : start + size]
