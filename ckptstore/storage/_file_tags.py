"""Tags of files: an extended attribute, where the file system has those.

    user.ckptstore.tag            the tag of a file that was written under its only name
    user.ckptstore.tag.<digest>   that of one of the names of a file that has several; empty: it bears none

Hard links share the attributes of their file, so those tell the name that they are for. It is the last part of the name
alone, for directories are moved. Names that are alike, in different directories, cannot each have one.
"""

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
    return _write(fd, _NAME, tag)


def set_name_tag(fd: int, old: bytes, new: bytes, tag: str | None) -> bool:
    """Says which tag a name bears that an open file is about to get; tells whether that was possible.

    It is not where the tag would also be that of another name of the file. The old name keeps its own.

    Args:
        fd: The file. Nobody else may do so at the same moment.
        old: The last part of a name that it has.
        new: The last part of the one to come.
        tag: The new name's tag, or None.
    """
    if new == old:
        return False
    # The first name gets one of its own, too: else a copy of a copy could be given a name like it.
    if _read(fd, _attribute(old)) is None and not _write(fd, _attribute(old), _read(fd, _NAME) or ""):
        return False
    # With one name alone, what is there is of a name that went without us.
    if _read(fd, _attribute(new)) is not None and os.fstat(fd).st_nlink > 1:
        return False
    return _write(fd, _attribute(new), tag or "")


def drop_name_tag(file: int | bytes, name: bytes) -> None:
    """Takes the tag of a name away, if it has one: a file that is linked for years has no room for those of all."""
    if _KNOWN:
        with contextlib.suppress(OSError):
            os.removexattr(file, _attribute(name))


def get_tag(file: int | bytes, name: bytes) -> str | None:
    """The tag of a file, by its name or descriptor; None if it has none, or cannot have one.

    Args:
        file: The file.
        name: The last part of its name: its own tag goes before that of the file.
    """
    own = _read(file, _attribute(name))
    return (_read(file, _NAME) if own is None else own) or None


def _attribute(name: bytes) -> str:
    return f"{_NAME}.{hashlib.sha256(name).hexdigest()[:16]}"


def _read(file: int | bytes, attribute: str) -> str | None:
    if not _KNOWN:
        return None
    try:
        return os.getxattr(file, attribute).decode("ascii", "replace")
    except OSError:
        return None  # whatever the reason, a file whose tag cannot be told bears none


def _write(fd: int, attribute: str, tag: str) -> bool:
    if not _KNOWN:
        return False
    try:
        os.setxattr(fd, attribute, tag.encode("ascii"))
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        raise
    return True
