"""A directory on a POSIX file system.

    put      create a temporary file beside the key, write, fsync, rename it to the key, fsync the directory
    create   the same, but link it to the key, which fails if there is a file
    replace  the same as put, but rename under the store's lock, and only if the key's file is the one that was read

A key's segments are directory entries, in UTF-8; what is not UTF-8 on disk is surrogateescape in the key, whatever the
locale says. A symbolic link to a file is read like a file, replaced (not written through) by `put` and removed (not
followed) by `delete`; `list` does not descend into a link to a directory. The root itself may be a link.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from ckptstore._clock import SystemClock
from ckptstore.errors import StorageError, StorageUnavailableError, UnsafePathError
from ckptstore.storage._base import Capabilities, ObjectMeta, Store, check_key
from ckptstore.storage._coalesce import sort_targets
from ckptstore.storage._conditions import not_new, not_that_version
from ckptstore.storage._deletion import delete_each, key_list
from ckptstore.storage._file_lock import file_lock
from ckptstore.storage._file_tags import get_tag
from ckptstore.storage._posix import (
    ABSENT,
    check_regular,
    open_regular,
    os_errors,
    read_all,
    read_targets,
    short_file,
    sync_directory,
)
from ckptstore.storage._temporary_file import (
    TEMPORARY_NAME,
    TemporaryFile,
    file_version,
    is_temporary,
    temporary_file,
)
from ckptstore.storage._walk import walk_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ckptstore._clock import Clock
    from ckptstore.storage._base import Payload, ReadTarget

LOCK_KEY = ".ckptstore/lock"
"""The file that `replace` and `delete_versions` lock. `list` leaves it out."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class LocalStore(Store):
    """Files below one directory, which the first `put` makes.

    Args:
        root: The directory. A relative one is resolved now, so that a later chdir does not move the store.
        durable: Sync files and directories, so that what `put` wrote and `delete` removed stays so after a power cut.
            False is faster, and as safe against everything else.
        clock: For waiting for the store's lock.
    """

    def __init__(self, root: str | os.PathLike[str], *, durable: bool = True, clock: Clock | None = None) -> None:
        path = os.fspath(root)
        if not path or "\0" in path:
            raise UnsafePathError(f"{path!r} is no directory name; use '.' for the current one.", path=path)
        self._url = os.path.abspath(path)
        self._root = os.fsencode(self._url)
        self._durable = durable
        self._clock: Clock = clock or SystemClock()
        self._tags = True  # until the file system refuses one
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
        return Capabilities(
            durable=self._durable, create_only=True, compare_and_swap=True, conditional_delete=True, tags=self._tags
        )

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
            tag = get_tag(fd)
            if not whole or file_version(os.fstat(fd)) != meta.version:
                raise StorageUnavailableError(
                    f"{self.path(key)} was changed while it was read; try again when its writer is done.",
                    path=self.path(key),
                )
        return data, replace(meta, tag=tag)

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
            self._check_version(key, version, file_version(os.fstat(fd)))  # somebody may have written in place

    def head(self, key: str) -> ObjectMeta:
        """See `Store.head`."""
        check_key(key)
        with os_errors(self.path(key), "look up", absent=ABSENT):
            status = os.stat(self._file(key))
            check_regular(status, self.path(key))
        return _meta(key, status, get_tag(self._file(key)))

    def put(self, key: str, payload: Payload) -> ObjectMeta:
        """See `Store.put`. After any failure, also a KeyboardInterrupt, the temporary file is removed.

        Raises:
            UnsafePathError: The key's last segment is a `TEMPORARY_NAME`, which no listing would show.
            PermissionDeniedError: The directory or the file system is read-only for us.
            StorageFullError: No space or quota is left.
            StorageError: A sync failed, or anything else did. The bytes must then be written to a new file: a second
                sync of the same one would report success for pages that the kernel has already given up.
        """
        directory, name = self._split(key)
        with os_errors(self.path(key), "write"), self._entered(directory) as parent:
            with temporary_file(parent, payload, durable=self._durable) as new:
                new.rename(name)
            if self._durable:
                sync_directory(parent)
        return _meta(key, new.status)

    def create(self, key: str, payload: Payload, *, tag: str | None = None) -> ObjectMeta:
        """See `Store.create`. The tag is an extended attribute, where the file system has those.

        Raises:
            UnsupportedError: The file system has no hard links.
        """
        directory, name = self._split(key)
        with os_errors(self.path(key), "write"), self._entered(directory) as parent:
            with self._tagged(parent, payload, tag) as new:
                meta = _meta(key, new.status, new.tag)
                if not new.link(name, self.path(key)):
                    there = self._file(key)
                    if tag is None or get_tag(there) != tag:
                        raise not_new(self.path(key))
                    meta = _meta(key, os.stat(there), tag)
            if self._durable:
                sync_directory(parent)
        return meta

    def replace(self, key: str, payload: Payload, *, version: str, tag: str | None = None) -> ObjectMeta:
        """See `Store.replace`. The lock is held for no longer than the renaming.

        Raises:
            UnsupportedError: The file system has no locks.
            StorageUnavailableError: Others held the lock for a minute.
        """
        directory, name = self._split(key)
        file = self._file(key)
        with os_errors(self.path(key), "write"):
            if not os.path.lexists(file):
                raise not_that_version(self.path(key))
            with (
                self._entered(directory) as parent,
                self._tagged(parent, payload, tag) as new,
                self._locked(),
            ):
                found = _stat(file)
                if found is not None and tag is not None and get_tag(file) == tag:
                    new.discard()
                    return _meta(key, found, tag)
                if found is None or file_version(found) != version:
                    raise not_that_version(self.path(key))
                new.rename(name)
                if self._durable:
                    sync_directory(parent)  # nobody may build on it before it is there to stay
        return _meta(key, new.status, new.tag)

    def list(self, prefix: str = "") -> Iterator[ObjectMeta]:
        """See `Store.list`. One directory at a time is held in memory.

        Left out are temporary files, the lock, whatever is no regular file nor a link to one, and files whose names
        cannot be keys (those with control characters).
        """
        return (meta for meta in self._walk(prefix) if not is_temporary(meta.key) and meta.key != LOCK_KEY)

    def unfinished(self, prefix: str = "") -> Iterator[ObjectMeta]:
        """See `Store.unfinished`: the temporary files, in key order."""
        return (meta for meta in self._walk(prefix) if is_temporary(meta.key))

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
            self._sync_all(touched)

    def delete_versions(self, objects: Iterable[ObjectMeta]) -> Sequence[str]:
        """See `Store.delete_versions`. All are looked at and deleted under one hold of the lock."""
        metas = [*objects]
        for meta in metas:
            check_key(meta.key)
        spared: list[str] = []
        versions = {meta.key: meta.version for meta in metas}
        if not any(os.path.lexists(self._file(key)) for key in versions):
            return spared

        def unlink(key: str) -> None:
            file = self._file(key)
            with os_errors(self.path(key), "delete"):
                found = _stat(file)
                if found is None:
                    return
                if file_version(found) != versions[key]:
                    spared.append(key)
                    return
                os.unlink(file)
                touched[os.path.dirname(file)] = key

        touched: dict[bytes, str] = {}
        try:
            with os_errors(self.url, "lock"), self._locked():
                delete_each(list(versions), unlink)
        finally:
            self._sync_all(touched)
        return spared

    # ---- files ----

    def _split(self, key: str) -> tuple[bytes, bytes]:
        directory, name = os.path.split(self._file(check_key(key)))
        if TEMPORARY_NAME.fullmatch(name):
            raise UnsafePathError(f"{self.path(key)} is the name of a temporary file; choose another.", path=key)
        return directory, name

    @contextlib.contextmanager
    def _tagged(self, parent: int, payload: Payload, tag: str | None) -> Iterator[TemporaryFile]:
        """As `temporary_file`; notes whether the file system takes tags."""
        with temporary_file(parent, payload, tag=tag, durable=self._durable) as new:
            self._tags = self._tags and new.tag == tag
            yield new

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        file = self._file(LOCK_KEY)
        self._settle(os.path.dirname(file))
        return file_lock(file, self._clock, self._url)

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
            raise not_that_version(self.path(key))

    def _sync_all(self, directories: Mapping[bytes, str]) -> None:
        if self._durable:
            for directory, key in directories.items():
                with os_errors(self.path(key), "delete"), contextlib.suppress(FileNotFoundError):
                    _sync(directory)

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


def _meta(key: str, status: os.stat_result, tag: str | None = None) -> ObjectMeta:
    return ObjectMeta(key, status.st_size, file_version(status), status.st_mtime, tag)


def _stat(file: bytes) -> os.stat_result | None:
    try:
        return os.stat(file)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _sync(directory: bytes) -> None:
    fd = os.open(directory, _DIRECTORY)
    try:
        sync_directory(fd)
    finally:
        os.close(fd)
