"""The directories of a local store: made when they are needed, and on disk before what is in them counts."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from ckptstore.storage._posix import sync_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Directories:
    """The root of a store and what is below it. Raises OSErrors.

    Args:
        root: The root's absolute name.
        durable: Whether to sync anything at all.
    """

    def __init__(self, root: bytes, *, durable: bool) -> None:
        self._root = root
        self._durable = durable
        # Directories whose own entry, in their parent, is known to be on disk. When two threads settle the same one,
        # it is synced twice; so there is no lock.
        self._settled: set[bytes] = set()

    @contextlib.contextmanager
    def entered(self, directory: bytes) -> Iterator[int]:
        """The open directory, made if need be together with its parents."""
        self._settle(directory)
        try:
            fd = os.open(directory, _DIRECTORY)
        except FileNotFoundError:  # removed since this store settled it
            self._settled.clear()
            self._settle(directory)
            fd = os.open(directory, _DIRECTORY)
        try:
            yield fd
        finally:
            os.close(fd)

    def sync(self, directory: bytes) -> None:
        """Makes a directory's entries, and what is gone from it, stay so. One that is not there needs no sync."""
        if not self._durable:
            return
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            fd = os.open(directory, _DIRECTORY)
            try:
                sync_directory(fd)
            finally:
                os.close(fd)

    def existing(self) -> bytes:
        """The root, or the nearest directory above it that is there."""
        directory = self._root
        while not os.path.isdir(directory) and directory != os.path.dirname(directory):
            directory = os.path.dirname(directory)
        return directory

    def _settle(self, directory: bytes) -> None:
        """Makes a directory if it is missing, and its entry in its parent durable, once in this object's life.

        That includes directories which are already there: whoever made one, another host perhaps, may not have synced
        it yet, and a file is as lost without its directory as without its bytes.
        """
        if directory in self._settled:
            return
        parent = os.path.dirname(directory)
        below_root = len(directory) > len(self._root)
        if below_root or not os.path.isdir(parent):
            self._settle(parent)
        if not os.path.isdir(directory):
            try:
                os.mkdir(directory)
            except FileExistsError:
                if not os.path.isdir(directory):  # else made meanwhile
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), directory) from None
        # One may be allowed to pass through a directory (/home, say) and not to open it. Then only the machine's
        # owner can vouch for it.
        with contextlib.suppress(PermissionError):
            self.sync(parent)
        self._settled.add(directory)
