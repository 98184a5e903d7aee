"""Files between the measurements: made durable, thrown out of the page cache."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

_SAMPLES = 256


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
        The part of the pages, by a sample, that is still there; None where the system cannot tell.
    """
    cached = looked = 0
    for path in files(directory):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            size = os.fstat(fd).st_size
            for i in range(_SAMPLES if size else 0):
                found = _is_cached(fd, size * i // _SAMPLES)
                if found is None:
                    return None
                cached += found
                looked += 1
        finally:
            os.close(fd)
    return cached / looked if looked else None


def _is_cached(fd: int, offset: int) -> bool | None:
    if not hasattr(os, "RWF_NOWAIT"):
        return None
    try:
        os.preadv(fd, [bytearray(1)], offset, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            return False
        return None
    return True


def _fsync(path: str, flags: int) -> None:
    fd = os.open(path, flags)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
