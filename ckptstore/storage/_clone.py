"""Copies of files that share their blocks, where the file system can do that: XFS and Btrfs on Linux.

A clone is a file of its own: it can be changed, tagged and deleted like any other. Only a damage of the medium would
hit both.
"""

from __future__ import annotations

import errno
import sys

_FICLONE = 0x40049409  # _IOW(0x94, 9, int), linux/fs.h
_UNSUPPORTED = {errno.EOPNOTSUPP, errno.EINVAL, errno.EXDEV, errno.ENOTTY, errno.ENOSYS, errno.EPERM, errno.EBADF}


def clone(source: int, target: int) -> bool:
    """Makes an empty file that is open for writing a clone of another; tells whether the file system can.

    Raises:
        OSError: It can, and something went wrong.
    """
    if not sys.platform.startswith("linux"):
        return False
    import fcntl  # noqa: PLC0415 - not there on every system

    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        raise
    return True
