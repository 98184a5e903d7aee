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
import mmap
import os
import stat
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ckptstore._clock import SystemClock
from ckptstore.errors import StorageError, StorageUnavailableError, UnsafePathError, UnsupportedError
from ckptstore.storage._base import Capabilities, ObjectMeta, Store, check_key, check_tag, whole_object
from ckptstore.storage._clone import clone
from ckptstore.storage._coalesce import sort_targets
from ckptstore.storage._conditions import not_new, not_that_version
from ckptstore.storage._deletion import delete_each, key_list
from ckptstore.storage._directories import Directories
from ckptstore.storage._file_lock import file_lock
from ckptstore.storage._file_tags import drop_name_tag, get_tag, set_name_tag, takes_tags
from ckptstore.storage._links import link_file
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
    fill_with,
    is_temporary,
    temporary_file,
)
from ckptstore.storage._walk import walk_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ckptstore._clock import Clock
    from ckptstore.storage._base import ObjectRange, Payload, ReadTarget

LOCK_KEY = ".ckptstore/lock"
"""The file that `replace` and `delete_versions` lock. `list` leaves it out, also that of a store further below."""

# Before Python 3.13 every map holds a descriptor, of which a process has 1,024 at first.
_MAPPED: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}


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
        self._directories = Directories(self._root, durable=durable)
        self._tags: bool | None = None  # whether the file system takes them, once that is known
        self._clones: bool | None = None  # likewise for clones of files

    @property
    def url(self) -> str:
        """See `Store.url`: the absolute path."""
        return self._url

    @property
    def capabilities(self) -> Capabilities:
        """See `Store.capabilities`. Links and locks are taken for granted: the verbs say so where there are none."""
        tags = self._tags
        if tags is None:
            there = self._directories.existing()
            tags = takes_tags(there)
            if there == self._root:
                self._tags = tags
        return Capabilities(
            durable=self._durable,
            create_only=True,
            compare_and_swap=True,
            conditional_delete=True,
            tags=tags,
            maps=True,
            copies=True,
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
            tag = get_tag(fd, os.path.basename(self._file(key)))
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

    def map(self, key: str, *, version: str | None = None) -> memoryview | None:
        """See `Store.map`. None where the file system cannot map files."""
        with self._open(key) as (fd, meta):
            self._check_version(key, version, meta.version)
            if not meta.size:
                return memoryview(b"")
            try:
                return memoryview(mmap.mmap(fd, meta.size, access=mmap.ACCESS_READ, **_MAPPED))
            except OSError:
                return None

    def head(self, key: str) -> ObjectMeta:
        """See `Store.head`."""
        check_key(key)
        with os_errors(self.path(key), "look up", absent=ABSENT):
            status = os.stat(self._file(key))
            check_regular(status, self.path(key))
        return _meta(key, status, _tag_of(self._file(key)))

    def put(self, key: str, payload: Payload) -> ObjectMeta:
        """See `Store.put`. After any failure, also a KeyboardInterrupt, the temporary file is removed.

        Raises:
            UnsafePathError: The key is that of a temporary file or of the lock, which no listing would show.
            PermissionDeniedError: The directory or the file system is read-only for us.
            StorageFullError: No space or quota is left.
            StorageError: A sync failed, or anything else did. The bytes must then be written to a new file: a second
                sync of the same one would report success for pages that the kernel has already given up.
        """
        directory, name = self._split(key)
        with os_errors(self.path(key), "write"), self._directories.entered(directory) as parent:
            fill = fill_with(payload, durable=self._durable)
            with temporary_file(parent, fill, durable=self._durable) as new:
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
        with os_errors(self.path(key), "write"), self._directories.entered(directory) as parent:
            fill = fill_with(payload, durable=self._durable)
            with self._tagged(parent, fill, tag) as new:
                meta = self._publish(new, name, key, tag)
            if self._durable:
                sync_directory(parent)
        return meta

    def _publish(self, new: TemporaryFile, name: bytes, key: str, tag: str | None) -> ObjectMeta:
        """Gives a new file its name, unless there is another file; our own of an earlier try is as good."""
        if new.link(name, self.path(key)):
            return _meta(key, new.status, new.tag)
        there = self._own(key, tag)
        if there is None:
            raise not_new(self.path(key))
        return there

    def _own(self, key: str, tag: str | None) -> ObjectMeta | None:
        """The file at a key, if it bears a tag of ours."""
        there = self._file(key)
        return None if tag is None or _tag_of(there) != tag else _meta(key, os.stat(there), tag)

    def copy(self, key: str, ranges: Sequence[ObjectRange], *, tag: str | None = None) -> ObjectMeta:
        """See `Store.copy`: a clone that shares the blocks, or else a hard link; of whole files.

        A hard link shares the file's time stamp, too, and so its version.

        Raises:
            UnsupportedError: The file system has neither; or the file has too many names, one like this in another
                directory, or another owner; or the source is a symbolic link.
        """
        directory, name = self._split(key)
        source = whole_object(ranges, self.path(key))
        if tag is not None:
            check_tag(tag)
        with (
            self._open(source.key) as (fd, found),
            os_errors(self.path(key), "write"),
            self._directories.entered(directory) as parent,
        ):
            self._check_version(source.key, source.version or "", found.version)
            if self._durable:
                os.fsync(fd)  # whoever wrote it may not have done that
            meta = self._clone(fd, parent, name, key, tag) or self._link(fd, source, parent, name, key, tag)
            if self._durable:
                sync_directory(parent)
        return meta

    def _clone(self, source: int, parent: int, name: bytes, key: str, tag: str | None) -> ObjectMeta | None:
        if self._clones is False:
            return None

        def fill(fd: int) -> None:
            self._clones = clone(source, fd)

        with self._tagged(parent, fill, tag) as new:
            if self._clones:
                return self._publish(new, name, key, tag)
            new.discard()
        return None

    def _link(self, fd: int, source: ObjectMeta, parent: int, name: bytes, key: str, tag: str | None) -> ObjectMeta:
        path, file = self.path(key), self._file(source.key)
        with self._locked():  # or another's link of that name could be taken for ours: the file has one set of tags
            if _stat(self._file(key)) is not None:
                there = self._own(key, tag)
                if there is None:
                    raise not_new(path)
                return there
            tags = self.capabilities.tags
            if not set_name_tag(fd, os.path.basename(file), name, tag) and tags:
                raise UnsupportedError(
                    f"{path}: its file has no room for another tag, or such a name in another directory; write the "
                    "bytes instead.",
                    path=path,
                )
            try:
                status = link_file(file, fd, parent, name, path)
                if status is None:
                    raise not_that_version(self.path(source.key))
            except BaseException as error:
                drop_name_tag(fd, name)
                if isinstance(error, FileExistsError):
                    raise not_new(path) from error
                raise
        return _meta(key, status, tag if tags else None)

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
                self._directories.entered(directory) as parent,
                self._tagged(parent, fill_with(payload, durable=self._durable), tag) as new,
                self._locked(),
            ):
                found = _stat(file)
                if found is not None and tag is not None and _tag_of(file) == tag:
                    new.discard()
                    if self._durable:
                        sync_directory(parent)  # the earlier try may have failed just before that
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
        return (meta for meta in self._walk(prefix) if not is_temporary(meta.key) and not _is_lock(meta.key))

    def unfinished(self, prefix: str = "") -> Iterator[ObjectMeta]:
        """See `Store.unfinished`: the temporary files, in key order."""
        return (meta for meta in self._walk(prefix) if is_temporary(meta.key))

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store.delete`. The keys go one after the other; if one of them is no key, nothing is deleted.

        Directories stay, also empty ones: another process may be about to write into them. The directories touched
        are synced at the end, once each: a power cut before this returns may bring back any of the objects.
        """
        names = [_check(key) for key in key_list(keys)]

        def unlink(key: str) -> None:
            with os_errors(self.path(key), "delete"), contextlib.suppress(FileNotFoundError, NotADirectoryError):
                _unlink(self._file(key))

        try:
            delete_each(names, unlink)
        finally:
            self._sync_parents(names)

    def delete_versions(self, objects: Iterable[ObjectMeta]) -> Sequence[str]:
        """See `Store.delete_versions`. All are looked at and deleted under one hold of the lock.

        It holds against `create`, `replace` and other deletions; a `put` at the same moment does not take the lock.

        Raises:
            UnsupportedError: The file system has no locks.
            StorageUnavailableError: Others held the lock for a minute.
        """
        versions = {_check(meta.key): meta.version for meta in objects}
        spared: list[str] = []

        def unlink(key: str) -> None:
            file = self._file(key)
            with os_errors(self.path(key), "delete"):
                found = _stat(file)
                if found is None:
                    return
                if file_version(found) == versions[key]:
                    _unlink(file)
                else:
                    spared.append(key)

        try:
            if any(os.path.lexists(self._file(key)) for key in versions):
                with os_errors(self.url, "lock"), self._locked():
                    delete_each(list(versions), unlink)
        finally:
            self._sync_parents(versions)
        return spared

    def remove_directory(self, name: str) -> None:
        """See `Store.remove_directory`."""
        with contextlib.suppress(OSError):
            os.rmdir(self._file(_check(name)))

    # ---- files ----

    def _split(self, key: str) -> tuple[bytes, bytes]:
        directory, name = os.path.split(self._file(_check(key)))
        if TEMPORARY_NAME.fullmatch(name):
            raise UnsafePathError(f"{self.path(key)} is the name of a temporary file; choose another.", path=key)
        return directory, name

    @contextlib.contextmanager
    def _tagged(self, parent: int, fill: Callable[[int], object], tag: str | None) -> Iterator[TemporaryFile]:
        """As `temporary_file`; notes whether the file system takes tags."""
        with temporary_file(parent, fill, tag=tag, durable=self._durable) as new:
            if new.tag != tag:
                self._tags = False
            yield new

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        return file_lock(self._file(LOCK_KEY), self._clock, self._url)

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

    def _sync_parents(self, keys: Iterable[str]) -> None:
        """Syncs each directory once, also of what was not there: whoever removed it may not have synced it yet."""
        parents = {os.path.dirname(self._file(key)): key for key in keys}
        for directory, key in parents.items():
            with os_errors(self.path(key), "delete"):
                self._directories.sync(directory)

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


def _is_lock(key: str) -> bool:
    return f"/{key}".endswith(f"/{LOCK_KEY}")


def _check(key: str) -> str:
    """As `check_key`, for what may be written or deleted: two could hold a lock whose file is replaced."""
    if _is_lock(check_key(key)):
        raise UnsafePathError(f"The key {key!r} is that of a store's lock; choose another.", path=key)
    return key


def _meta(key: str, status: os.stat_result, tag: str | None = None) -> ObjectMeta:
    return ObjectMeta(key, status.st_size, file_version(status), status.st_mtime, tag)


def _tag_of(file: bytes) -> str | None:
    return get_tag(file, os.path.basename(file))


def _unlink(file: bytes) -> None:
    """Removes a name, and from a file that has others the tag that was this one's."""
    status = os.stat(file, follow_symlinks=False)
    if status.st_nlink > 1 and stat.S_ISREG(status.st_mode):
        drop_name_tag(file, os.path.basename(file))
    os.unlink(file)


def _stat(file: bytes) -> os.stat_result | None:
    try:
        return os.stat(file)
    except (FileNotFoundError, NotADirectoryError):
        return None
