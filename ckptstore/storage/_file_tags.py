"""Tags of files: an extended attribute, where the file system has those."""

from __future__ import annotations

import contextlib
import errno
import hashlib
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


def set_name_tag(fd: int, name: bytes, tag: str) -> bool:
    """Gives one of the names of an open file a tag of its own; tells whether that was possible.

    A hard link shares its attributes with all other names of the file, so the attribute tells the name that it is for.
    """
    if not _KNOWN:
        return False
    try:
        os.setxattr(fd, _name_attribute(name), tag.encode("ascii"))
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        raise
    return True


def drop_name_tag(file: int | bytes, name: bytes) -> None:
    """Takes the tag of a name away, if it has one: a file that is linked for years has no room for those of all."""
    if _KNOWN:
        with contextlib.suppress(OSError):
            os.removexattr(file, _name_attribute(name))


def get_tag(file: int | bytes, name: bytes) -> str | None:
    """The tag of a file, by its name or descriptor; None if it has none, or cannot have one.

    Args:
        file: The file.
        name: The last part of its name: its own tag goes before that of the file.
    """
    if not _KNOWN:
        return None
    for attribute in (_name_attribute(name), _NAME):
        try:
            return os.getxattr(file, attribute).decode("ascii", "replace")
        except OSError:
            continue  # whatever the reason, a file whose tag cannot be told bears none
    return None


def _name_attribute(name: bytes) -> str:
    return f"{_NAME}.{hashlib.sha256(name).hexdigest()[:16]}"
