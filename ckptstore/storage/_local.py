"""A directory on a POSIX file system.

    put = create a temporary file beside the key, write, fsync, rename it to the key, fsync the directory

A key's segments are directory entries, in UTF-8; what is not UTF-8 on disk is surrogateescape in the key, whatever the
locale says. A symbolic link to a file is read like a file, replaced (not written through) by `put` and removed (not
followed) by `delete`; `list` does not descend into a link to a directory. The root itself may be a link.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from typing import TYPE_CHECKING

from ckptstore.errors import PreconditionFailedError, StorageError, StorageUnavailableError, UnsafePathError
from ckptstore.storage._base import Capabilities, ObjectMeta, Store, check_key
from ckptstore.storage._coalesce import sort_targets
from ckptstore.storage._deletion import delete_each, key_list
from ckptstore.storage._posix import (
    ABSENT,
    check_regular,
    open_regular,
    os_errors,
    read_all,
    read_targets,
    short_file,
    sync_directory,
    write_all,
)
from ckptstore.storage._walk import walk_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ckptstore.storage._base import Payload, ReadTarget

TEMPORARY_NAME = re.compile(rb"\.ckptstore-tmp-[0-9a-f]{32}")
"""The whole name of a temporary file, in the directory of the key it is written for.

`list` leaves out names that match it from end to end, and `put` refuses them; nothing else is ever hidden. A process
that was killed leaves its temporary file behind: `LocalStore.temporaries` finds it, `LocalStore.delete` removes it.
"""

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class LocalStore(Store):
    """Files below one directory, which the first `put` makes.

    Args:
        root: The directory. A relative one is resolved now, so that a later chdir does not move the store.
        durable: Sync files and directories, so that what `put` wrote and `delete` removed stays so after a power cut.
            False is faster, and as safe against everything else.
    """

    def __init__(self, root: str | os.PathLike[str], *, durable: bool = True) -> None:
        path = os.fspath(root)
        if not path or "\0" in path:
            raise UnsafePathError(f"{path!r} is no directory name; use '.' for the current one.", path=path)
        self._url = os.path.abspath(path)
        self._root = os.fsencode(self._url)
        self._durable = durable
        # Directories whose own entry, in their parent, is known to be on disk. When two threads settle the same one,
        # it is synced twice; so there is no lock.
        self._settled: set[bytes] = set()

    @property
    def url(self) -> str:
        """See `Store.url`: the absolute path."""
        return self._url

    @property
    def capabilities(self) -> Capabilities:
        """See `Store.capabilities`."""
        return Capabilities(durable=self._durable)

    def path(self, key: str) -> str:
        """See `Store.path`."""
        return os.path.join(self._url, key) if key else self._url

    def get(self, key: str, *, limit: int | None = None) -> tuple[bytes, ObjectMeta]:
        """See `Store.get`. A file that somebody changes in place meanwhile is a StorageUnavailableError."""
        with self._open(key) as (fd, meta):
            if limit is not None and meta.size > limit:
                raise StorageError(
                    f"{self.path(key)} has {meta.size} bytes, and at most {limit} are accepted here; "
                    "check that it is the file it should be.",
                    path=self.path(key),
                    errno=errno.EFBIG,
                )
            data = read_all(fd, meta.size)
            whole = len(data) == meta.size and not os.read(fd, 1)
            if not whole or _version(os.fstat(fd)) != meta.version:
                raise StorageUnavailableError(
                    f"{self.path(key)} was changed while it was read; try again when its writer is done.",
                    path=self.path(key),
                )
        return data, meta

    def read_into(self, key: str, targets: Sequence[ReadTarget], *, version: str | None = None) -> None:
        """See `Store.read_into`. All targets are read from one open file, whatever is renamed over it meanwhile."""
        check_key(key)
        wanted = sort_targets(targets)
        if not wanted:
            return
        stop = max(offset + view.nbytes for offset, view in wanted)
        with self._open(key) as (fd, meta):
            self._check_version(key, version, meta.version)
            if stop > meta.size:
                raise short_file(self.path(key), meta.size, stop)
            read_targets(fd, wanted, self.path(key))
            self._check_version(key, version, _version(os.fstat(fd)))  # somebody may have written in place

    def head(self, key: str) -> ObjectMeta:
        """See `Store.head`."""
        check_key(key)
        with os_errors(self.path(key), "look up", absent=ABSENT):
            status = os.stat(self._file(key))
            check_regular(status, self.path(key))
        return _meta(key, status)

    def put(self, key: str, payload: Payload) -> ObjectMeta:
        """See `Store.put`. After any failure, also a KeyboardInterrupt, the temporary file is removed.

        Raises:
            UnsafePathError: The key's last segment is a `TEMPORARY_NAME`, which no listing would show.
            PermissionDeniedError: The directory or the file system is read-only for us.
            StorageFullError: No space or quota is left.
            StorageError: A sync failed, or anything else did. The bytes must then be written to a new file: a second
                sync of the same one would report success for pages that the kernel has already given up.
        """
        directory, name = os.path.split(self._file(check_key(key)))
        if TEMPORARY_NAME.fullmatch(name):
            raise UnsafePathError(f"{self.path(key)} is the name of a temporary file; choose another.", path=key)
        with os_errors(self.path(key), "write"), self._entered(directory) as parent:
            meta = self._write_and_rename(parent, name, key, payload)
            if self._durable:
                sync_directory(parent)
        return meta

    def list(self, prefix: str = "") -> Iterator[ObjectMeta]:
        """See `Store.list`. One directory at a time is held in memory.

        Left out are temporary files, whatever is no regular file nor a link to one, and files whose names cannot be
        keys (those with control characters).
        """
        return (meta for meta in self._walk(prefix) if not _is_temporary(meta.key))

    def temporaries(self, prefix: str = "") -> Iterator[ObjectMeta]:
        """The temporary files, in key order: of puts under way, and of those that died in the middle.

        Nothing here tells the two apart but their age.
        """
        return (meta for meta in self._walk(prefix) if _is_temporary(meta.key))

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store.delete`. The keys go one after the other; if one of them is no key, nothing is deleted.

        Directories stay, also empty ones: another process may be about to write into them. The directories touched
        are synced at the end, once each: a power cut before this returns may bring back any of the objects.
        """
        touched: dict[bytes, str] = {}

        def unlink(key: str) -> None:
            file = self._file(key)
            with os_errors(self.path(key), "delete"), contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(file)
                touched[os.path.dirname(file)] = key

        try:
            delete_each([check_key(key) for key in key_list(keys)], unlink)
        finally:
            if self._durable:
                for directory, key in touched.items():
                    with os_errors(self.path(key), "delete"), contextlib.suppress(FileNotFoundError):
                        _sync(directory)

    # ---- files ----

    def _file(self, key: str) -> bytes:
        return os.path.join(self._root, key.encode("utf-8", "surrogateescape"))

    @contextlib.contextmanager
    def _open(self, key: str) -> Iterator[tuple[int, ObjectMeta]]:
        check_key(key)
        with os_errors(self.path(key), "read", absent=ABSENT):
            fd, status = open_regular(self._file(key), self.path(key))
            try:
                yield fd, _meta(key, status)
            finally:
                os.close(fd)

    def _check_version(self, key: str, wanted: str | None, found: str | None) -> None:
        if wanted is not None and wanted != found:
            raise PreconditionFailedError(
                f"{self.path(key)} was replaced or changed since it was looked up; start over from its new contents.",
                path=self.path(key),
            )

    def _write_and_rename(self, parent: int, name: bytes, key: str, payload: Payload) -> ObjectMeta:
        # Everything is named relative to one open directory: if its path is swapped meanwhile, the bytes and the name
        # still end up in the same place. The random name cannot be foreseen by others who may write to the directory,
        # and is never anyone else's to keep: unlinking it is right at every moment, also after the rename.
        temporary = b".ckptstore-tmp-" + secrets.token_hex(16).encode()
        try:
            fd = os.open(temporary, _CREATE, 0o666, dir_fd=parent)
            try:
                write_all(fd, payload.buffers)
                _stamp(fd)
                if self._durable:
                    os.fsync(fd)
                meta = _meta(key, os.fstat(fd))
            finally:
                os.close(fd)
            os.replace(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException:
            with contextlib.suppress(OSError):  # the first error tells more
                os.unlink(temporary, dir_fd=parent)
            raise
        return meta

    # ---- directories ----

    def _walk(self, prefix: str) -> Iterator[ObjectMeta]:
        try:
            start = prefix.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return  # no key starts like that
        for name, status in walk_files(self._root, start):
            key = name.decode("utf-8", "surrogateescape")
            try:
                check_key(key)
            except UnsafePathError:
                continue  # no verb could be told to read or delete it
            yield _meta(key, status)

    @contextlib.contextmanager
    def _entered(self, directory: bytes) -> Iterator[int]:
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

    def _settle(self, directory: bytes) -> None:
        """Makes a directory if it is missing, and its entry in its parent durable, once in this store's life.

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
        if self._durable:
            # One may be allowed to pass through a directory (/home, say) and not to open it. Then only the machine's
            # owner can vouch for it.
            with contextlib.suppress(PermissionError):
                _sync(parent)
        self._settled.add(directory)


def _is_temporary(key: str) -> bool:
    return TEMPORARY_NAME.fullmatch(key.rpartition("/")[2].encode("utf-8", "surrogateescape")) is not None


def _meta(key: str, status: os.stat_result) -> ObjectMeta:
    return ObjectMeta(key, status.st_size, _version(status), status.st_mtime)


def _version(status: os.stat_result) -> str:
    # Not the change time: renaming a file changes it, and the token is taken before.
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


def _sync(directory: bytes) -> None:
    fd = os.open(directory, _DIRECTORY)
    try:
        sync_directory(fd)
    finally:
        os.close(fd)
