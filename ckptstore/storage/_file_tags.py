"""Tags of files: an extended attribute, where the file system has those."""

from __future__ import annotations

import errno
import os

_NAME = "user.ckptstore.tag"
_UNSUPPORTED = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS, errno.ENOSPC, errno.E2BIG, errno.EACCES}
_ABSENT = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_KNOWN = hasattr(os, "setxattr")  # Linux alone


def takes_tags(directory: bytes) -> bool:
    """Whether the file system of a directory knows of tags. Only a look: nothing is written."""
    if not _KNOWN:
        return False
    try:
        os.getxattr(directory, _NAME)
    except OSError as error:
        return error.errno not in _ABSENT
    return True


def set_tag(fd: int, tag: str) -> bool:
    """Gives an open file its tag; tells whether that was possible."""
    if not _KNOWN:
        return False
    try:
        os.setxattr(fd, _NAME, tag.encode("ascii"))
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        raise
    return True


def get_tag(file: int | bytes) -> str | None:
    """The tag of a file, by its name or descriptor; None if it has none, or cannot have one."""
    if not _KNOWN:
        return None
    try:
        return os.getxattr(file, _NAME).decode("ascii", "replace")
    except OSError:
        return None  # whatever the reason, a file whose tag cannot be told bears none
