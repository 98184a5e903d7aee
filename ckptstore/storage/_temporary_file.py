"""A new file under a name of its own, until it gets the one it is for."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from ckptstore.errors import UnsupportedError
from ckptstore.storage._base import check_tag
from ckptstore.storage._file_tags import set_tag
from ckptstore.storage._posix import write_all
from ckptstore.storage._write_back import begin_write_back, take_room

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ckptstore.storage._base import Payload

TEMPORARY_NAME = re.compile(rb"\.ckptstore-tmp-[0-9a-f]{32}")
"""The whole name of a temporary file, in the directory of the key it is written for.

`list` leaves out names that match it from end to end, and `put` refuses them. A process that was killed leaves its
temporary file behind: `Store.unfinished` finds it, `Store.delete` removes it.
"""

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})
"""What a file system answers that has no hard links, or not this one."""


@dataclass
class TemporaryFile:
    """A file that is written and, if that was asked for, on the disk.

    Everything is named relative to one open directory: if its path is swapped meanwhile, the bytes and the name still
    end up in the same place.

    Attributes:
        parent: The open directory.
        name: The name in it.
        status: What the file system says of the file.
        tag: The tag that it got; None also where the file system takes none.
    """

    parent: int
    name: bytes
    status: os.stat_result
    tag: str | None

    def rename(self, name: bytes) -> None:
        """Gives it its name, in place of what has that name."""
        os.replace(self.name, name, src_dir_fd=self.parent, dst_dir_fd=self.parent)

    def link(self, name: bytes, path: str) -> bool:
        """Gives it its name if nothing has that name, and tells whether it did.

        Args:
            name: The name.
            path: The whole of it, for messages.

        Raises:
            UnsupportedError: The file system has no hard links.
        """
        try:
            os.link(self.name, name, src_dir_fd=self.parent, dst_dir_fd=self.parent, follow_symlinks=False)
        except FileExistsError:
            # NFS repeats a request whose reply was lost, and then finds our own link.
            if os.stat(self.name, dir_fd=self.parent).st_nlink == 1:
                self.discard()
                return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            raise UnsupportedError(
                f"The file system of {path} has no hard links ({error.strerror}), so nothing could be created there "
                "without the risk of replacing somebody else's file; use another.",
                path=path,
            ) from error
        self.discard()
        return True

    def discard(self) -> None:
        """Removes the temporary name. It cannot be foreseen, and is nobody else's: that is right at every moment."""
        with contextlib.suppress(OSError):  # the first error tells more
            os.unlink(self.name, dir_fd=self.parent)


@contextlib.contextmanager
def temporary_file(
    parent: int, fill: Callable[[int], object], *, tag: str | None = None, durable: bool
) -> Iterator[TemporaryFile]:
    """Writes a new file; if the block fails, also by a KeyboardInterrupt, it is removed.

    Args:
        parent: The open directory.
        fill: Called with a descriptor, for the bytes.
        tag: Its tag, or None.
        durable: Whether to sync it.
    """
    if tag is not None:
        check_tag(tag)
    name = b".ckptstore-tmp-" + secrets.token_hex(16).encode()
    try:
        fd = os.open(name, _CREATE, 0o666, dir_fd=parent)
        try:
            fill(fd)
            _stamp(fd)
            tagged = tag is not None and set_tag(fd, tag)
            if durable:
                os.fsync(fd)
            status = os.fstat(fd)
        finally:
            os.close(fd)
        yield TemporaryFile(parent, name, status, tag if tagged else None)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=parent)
        raise


def fill_with(payload: Payload, *, durable: bool) -> Callable[[int], None]:
    """Writes a payload into a new file; `durable` if it will be synced."""

    def fill(fd: int) -> None:
        take_room(fd, payload.nbytes)
        size = write_all(fd, payload.buffers, partial(begin_write_back, fd) if durable else None)
        if size < payload.nbytes:
            os.ftruncate(fd, size)  # gives back the room that was taken for what never came

    return fill


def is_temporary(key: str) -> bool:
    """Whether a key is that of a temporary file."""
    return TEMPORARY_NAME.fullmatch(key.rpartition("/")[2].encode("utf-8", "surrogateescape")) is not None


def file_version(status: os.stat_result) -> str:
    """The version of a file. Not by the change time: renaming a file changes that, and the token is taken before."""
    return f"{status.st_ino:x}-{status.st_mtime_ns:x}-{status.st_size:x}"


def _stamp(fd: int) -> None:
    """Gives a new file a time stamp that no file with its inode number had before.

    File systems hand out a freed inode number again at once, and many kernels' time stamps advance in steps of 4 ms:
    of three quick puts of the same size, the third could look like the first. A random part below a millisecond tells
    them apart, and leaves the file server's time good enough for measuring age.
    """
    now = os.fstat(fd)
    stamp = now.st_mtime_ns - now.st_mtime_ns % 1_000_000 + secrets.randbelow(1_000_000)
    with contextlib.suppress(OSError):  # a file system without settable times; it keeps the one it has
        os.utime(fd, ns=(now.st_atime_ns, stamp))
