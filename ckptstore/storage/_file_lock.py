"""A lock between processes: on a file of its own, held by an open description and so never longer than its process."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from typing import TYPE_CHECKING

from ckptstore.errors import StorageUnavailableError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ckptstore._clock import Clock

DEADLINE = 60.0
"""Seconds after which a lock that is held by others is an error. They hold it for one rename, or a few unlinks."""

_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.EPERM}
_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
_FIRST_WAIT, _LONGEST_WAIT = 0.0005, 0.05


@contextlib.contextmanager
def file_lock(file: bytes, clock: Clock, path: str) -> Iterator[None]:
    """Holds the lock; other threads wait as other processes do.

    Args:
        file: The lock's file. It is made together with its directory, and never removed: who removes a file while
            somebody waits for a lock on it lets two in. Neither needs to outlast a power cut.
        clock: For waiting.
        path: What is locked, for messages.

    Raises:
        StorageUnavailableError: Others held it for too long.
        UnsupportedError: The file system has no locks.
    """
    try:
        fd = os.open(file, _OPEN, 0o666)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):
            os.mkdir(os.path.dirname(file))
        fd = os.open(file, _OPEN, 0o666)
    try:
        _wait(fd, clock, path)
        try:
            yield
        finally:
            # Closing would not do: a process forked meanwhile has the same description open, perhaps for hours.
            fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


def _wait(fd: int, clock: Clock, path: str) -> None:
    begun, wait = clock.monotonic(), _FIRST_WAIT
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                raise UnsupportedError(
                    f"The file system of {path} has no locks ({error.strerror}), so two processes could overwrite each "
                    "other's commits there; mount it with locks (for NFS, without the option nolock), or use another.",
                    path=path,
                ) from error
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EINTR):
                raise
        else:
            return
        if clock.monotonic() - begun > DEADLINE:
            raise StorageUnavailableError(
                f"Others have held the lock on {path} for over {DEADLINE:.0f} s; look for a process that hangs, or a "
                "file server that lost its locks.",
                path=path,
            )
        clock.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT)
