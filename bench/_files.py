"""Files between the measurements: made durable, thrown out of the page cache."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator


def files(directory: str) -> Iterator[str]:
    for parent, _, names in os.walk(directory):
        yield from (os.path.join(parent, name) for name in names)


def sync(directory: str) -> None:
    """fsync of every file, then of every directory: what a program adds that wants a durable checkpoint."""
    for path in files(directory):
        _fsync(path, os.O_RDONLY)
    for parent, _, _ in os.walk(directory):
        _fsync(parent, os.O_RDONLY | os.O_DIRECTORY)


def drop(directory: str) -> float | None:
    """Asks the kernel to forget the files' pages, for which they must be synced.

    Returns:
        The part of the pages that is still there; None where the system does not tell.
    """
    resident = pages = 0
    for path in files(directory):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            found = _resident(fd)
        finally:
            os.close(fd)
        if found is None:
            return None
        resident += sum(found)
        pages += len(found)
    return resident / pages if pages else None


def _resident(fd: int) -> list[int] | None:
    """1 for every page of a file that is in the page cache, else 0. (A read that must not wait would start one.)"""
    size = os.fstat(fd).st_size
    mincore = getattr(ctypes.CDLL(None), "mincore", None)
    if not size or mincore is None:
        return [] if mincore else None
    with mmap.mmap(fd, size, access=mmap.ACCESS_COPY) as mapped:
        out = (ctypes.c_ubyte * -(-size // mmap.PAGESIZE))()
        start = ctypes.c_char.from_buffer(mapped)
        failed = mincore(ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(size), out)
        del start  # else the mapping cannot be closed
    return None if failed else [page & 1 for page in out]


def _fsync(path: str, flags: int) -> None:
    fd = os.open(path, flags)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
