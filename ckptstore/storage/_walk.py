"""The files below a directory, in the order of their keys."""

from __future__ import annotations

import os
import stat
from errno import ELOOP, ENOENT, ENOTDIR
from typing import TYPE_CHECKING

from ckptstore.storage._posix import os_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOTHING = (b"", b".", b"..")


def walk_files(root: bytes, prefix: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    """Every regular file whose key starts with `prefix`: its key and its status.

    A key is the path below `root`. Links to files count as files, links to directories are left alone. What appears
    or disappears during the walk may or may not be in it. A root that does not exist has no files.

    Args:
        root: The directory; it may be a link to one.
        prefix: The beginning of a key; not necessarily a whole segment.

    Yields:
        Pairs by ascending key, compared as bytes.
    """
    above, slash, _ = prefix.rpartition(b"/")
    segments = above.split(b"/") if slash else []
    if b"\0" in prefix or any(segment in _NOTHING for segment in segments):
        return  # no key starts like that; above all, nothing outside of the root is looked at
    directory = root
    for segment in segments:
        directory += b"/" + segment
        if not _is_directory(directory):
            return

    pending = _children(root, above + slash)
    while pending:
        key = pending.pop()
        if not key.startswith(prefix):
            continue
        if key.endswith(b"/"):
            pending.extend(_children(root, key))
            continue
        status = _status(root + b"/" + key)
        if status is not None and stat.S_ISREG(status.st_mode):
            yield key, status


def _children(root: bytes, base: bytes) -> list[bytes]:
    """The keys in the directory `base` ("" or ending in "/"), the last one first; directories end in "/".

    With that "/" they sort as all the keys in them do: "a-b" comes before "a/b", although "a" comes before "a-b".
    """
    directory = root + b"/" + base
    with os_errors(os.fsdecode(directory).rstrip("/"), "list"):
        try:
            with os.scandir(directory) as entries:
                names = [e.name + b"/" if e.is_dir(follow_symlinks=False) else e.name for e in entries]
        except FileNotFoundError:
            return []
        except NotADirectoryError:
            if not base:
                raise
            return []  # replaced by a file meanwhile
    return sorted((base + name for name in names), reverse=True)


def _is_directory(directory: bytes) -> bool:
    with os_errors(os.fsdecode(directory), "list"):
        try:
            return stat.S_ISDIR(os.lstat(directory).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False


def _status(file: bytes) -> os.stat_result | None:
    with os_errors(os.fsdecode(file), "look up"):
        try:
            return os.stat(file)
        except OSError as error:
            if error.errno in (ENOENT, ENOTDIR, ELOOP):  # removed meanwhile, or a link that leads nowhere
                return None
            raise
