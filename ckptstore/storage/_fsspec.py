"""Any file system that fsspec knows, as a Store.

    put:  the protocol writes whole objects at once (_protocols says so):  pipe_file
          any other:  open a temporary name beside the key -> write -> close -> the file system's own rename

fsspec's verbs are used one literal name at a time. `rm`, `cat`, `get`, `mv` and `copy` of its base class expand
patterns, and a key may well contain a bracket; `with fs.open(..., "wb")` publishes half a file when its block
raises; `find` leaves out directories that it could not read. None of them is called here.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ckptstore.errors import (
    DataLossError,
    NotFoundError,
    PreconditionFailedError,
    StorageError,
    StorageUnavailableError,
    UnsafePathError,
    UnsupportedError,
)
from ckptstore.storage._base import Capabilities, ObjectMeta, Store, check_key
from ckptstore.storage._bodies import Scatter
from ckptstore.storage._coalesce import sort_targets
from ckptstore.storage._deletion import delete_each, key_list
from ckptstore.storage._foreign import from_exception, secrets_in, translated
from ckptstore.storage._protocols import has_own_rename, replace, traits_of
from ckptstore.storage._temporary_file import is_temporary
from ckptstore.storage._url import refuse_credentials

if TYPE_CHECKING:
    from ckptstore.storage._base import Payload, ReadTarget

_WRITE_SIZE = 16 << 20  # a file object may copy what it is given, so it is given this much at a time
_STEADY_READS = 3  # how often `get` begins again because the object was replaced meanwhile


class FsspecStore(Store):
    """A directory of any file system that fsspec knows: sftp, smb, hdfs, abfs, memory, or one of your own.

    The file system object is made when it is first needed, once in each process, so a store made before a fork works
    after it. A store cannot be pickled when it has storage options, since these may hold secrets.

    Args:
        url: Any fsspec URL, also a chained one.
        storage_options: What the file system's class takes.
        filesystem: A file system object to use instead of making one; `url` is then a path in it, with or without
            scheme.
    """

    def __init__(
        self, url: str, storage_options: Mapping[str, Any] | None = None, *, filesystem: Any | None = None
    ) -> None:
        refuse_credentials(url)
        self._url = url.rstrip("/") if not url.endswith("://") else url
        self._options = dict(storage_options or {})
        self._secrets = secrets_in(self._options)
        self._given = filesystem
        # By process, since neither a connection nor fsspec's event loop survives a fork. No lock: one that another
        # thread held during the fork would stay locked, and two threads making a file system each is no harm.
        self._made: dict[int, tuple[Any, str]] = {}

    @property
    def url(self) -> str:
        """See `Store.url`."""
        return self._url

    @property
    def capabilities(self) -> Capabilities:
        """See `Store.capabilities`. Makes the file system object, as only its class tells."""
        with self._errors():
            fs = self._fs()
        traits = traits_of(fs)
        return Capabilities(
            atomic_put=traits.whole_puts or (traits.replacing_rename and has_own_rename(fs)),
            durable=traits.durable,
            pinned_reads=bool(traits.version),
        )

    def get(self, key: str, *, limit: int | None = None) -> tuple[bytes, ObjectMeta]:
        """See `Store.get`. Reads again when the object was replaced between asking for its size and its end."""
        check_key(key)
        with self._errors(key):
            before = self._info(key)
            for _ in range(_STEADY_READS):
                if limit is not None and before.size > limit:
                    raise too_large(self.path(key), before.size, limit)
                data = bytearray(before.size)
                whole = True
                try:
                    self._read(key, [(0, memoryview(data))])
                except DataLossError:
                    whole = False  # shrunk since
                after = self._info(key)
                if whole and before == after:
                    return bytes(data), after
                before = after
        raise StorageUnavailableError(f"{self.path(key)} changes while it is read.", path=self.path(key))

    def read_into(self, key: str, targets: Sequence[ReadTarget], *, version: str | None = None) -> None:
        """See `Store.read_into`. The version is looked at after the reading: versions never come back."""
        check_key(key)
        wanted = sort_targets(targets)
        if not wanted:
            return
        with self._errors(key):
            try:
                self._read(key, wanted)
            finally:  # an object that was replaced by a shorter one is first of all another version
                if version is not None and self._info(key).version != version:
                    raise PreconditionFailedError(
                        f"{self.path(key)} was replaced: it is not the version that was asked for.",
                        path=self.path(key),
                    )

    def head(self, key: str) -> ObjectMeta:
        """See `Store.head`."""
        check_key(key)
        with self._errors(key):
            return self._info(key)

    def put(self, key: str, payload: Payload) -> ObjectMeta:
        """See `Store.put`."""
        check_key(key)
        if is_temporary(key):
            raise UnsafePathError(f"The key {key!r} has the form of a temporary file; choose another.", path=key)
        with self._errors(key):
            fs, name = self._fs(), self._name(key)
            if traits_of(fs).whole_puts:
                fs.pipe_file(name, payload.tobytes())  # most classes take nothing but bytes
            else:
                self._write_and_rename(fs, name, payload)
            found = self._info(key)
        if found.size != payload.nbytes:
            raise StorageError(
                f"{self.path(key)} has {found.size} bytes after {payload.nbytes} were written to it; another "
                "process may have written it too, or the file system cannot be trusted.",
                path=self.path(key),
            )
        return found

    def list(self, prefix: str = "") -> Iterator[ObjectMeta]:
        """See `Store.list`. The whole listing is read before the first object is handed out."""
        return iter([meta for meta in self._found(prefix) if not is_temporary(meta.key)])

    def unfinished(self, prefix: str = "") -> Iterator[ObjectMeta]:
        """See `Store.unfinished`: temporary files, and older ones that were moved aside."""
        return iter([meta for meta in self._found(prefix) if is_temporary(meta.key)])

    def _found(self, prefix: str) -> Sequence[ObjectMeta]:
        folder = prefix.rpartition("/")[0]
        if folder and any(segment in ("", ".", "..") for segment in folder.split("/")):
            return []  # no key begins like this, and the file system must not resolve it
        with self._errors():
            found = [meta for meta in self._walk(folder) if meta.key.startswith(prefix)]
        return sorted(found, key=lambda meta: meta.key.encode("utf-8", "surrogateescape"))

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store.delete`."""
        delete_each([check_key(key) for key in key_list(keys)], self._delete_one)

    def close(self) -> None:
        """See `Store.close`. A store that is used again opens again."""
        self._made.pop(os.getpid(), None)

    def __reduce__(self) -> tuple[type[FsspecStore], tuple[str]]:
        if self._options or self._given is not None:
            raise UnsupportedError(
                f"{self!r} has storage options, which may hold secrets, so it cannot be pickled; make it from its "
                "URL in the other process."
            )
        return type(self), (self._url,)

    def _fs(self) -> Any:
        """This process's file system object."""
        return self._place()[0]

    def _name(self, key: str) -> str:
        """A key as the file system names it."""
        root = self._place()[1]
        return f"{root}/{key}" if key else root

    def _place(self) -> tuple[Any, str]:
        place = self._made.get(os.getpid())
        if place is None:
            place = self._made.setdefault(os.getpid(), self._make())
        return place

    def _make(self) -> tuple[Any, str]:
        """Makes the file system, and tells its name for the store's root, without a trailing slash."""
        if self._given is not None:
            fs, root = self._given, self._given._strip_protocol(self._url)  # noqa: SLF001 - fsspec has no public one
        else:
            import fsspec  # noqa: PLC0415 - a local job never loads it

            # A file system object shared with the rest of the program may have a listing cache, or get one.
            fs, root = fsspec.core.url_to_fs(self._url, skip_instance_cache=True, **self._options)
            fs.dircache.use_listings_cache = False
        return fs, _slashless(root, fs.root_marker)

    def _errors(self, key: str = "") -> contextlib.AbstractContextManager[None]:
        """Turns what the file system raises into our errors."""
        return translated(functools.partial(from_exception, path=self.path(key), secrets=self._secrets))

    def _info(self, key: str) -> ObjectMeta:
        fs = self._fs()
        name = self._name(key)
        fs.invalidate_cache(fs._parent(name))  # noqa: SLF001 - what a wrapped file system may remember
        info = fs.info(name)
        if info.get("type", "file") == "directory":
            raise NotFoundError(f"{self.path(key)} is a directory and no object.", path=self.path(key))
        return self._meta(key, info)

    def _meta(self, key: str, info: Mapping[str, Any]) -> ObjectMeta:
        size = info.get("size")
        if size is None:
            raise UnsupportedError(f"The server does not tell the size of {self.path(key)}.", path=self.path(key))
        values = [info.get(name) for name in traits_of(self._fs()).version]
        # The same moment is a datetime in one reply and a number in another (memory://).
        parts = [repr(_seconds(value)) if isinstance(value, datetime) else str(value) for value in values if value]
        return ObjectMeta(key, int(size), "-".join(parts) or None, _modified(info))

    def _read(self, key: str, wanted: Sequence[ReadTarget]) -> None:
        fs, name = self._fs(), self._name(key)
        if fs.async_impl:  # a server: one request from the first byte to the last
            scatter = Scatter(wanted)
            if scatter.start < scatter.stop:
                data = fs.cat_file(name, start=scatter.start, end=scatter.stop)
                if len(data) < scatter.stop - scatter.start:
                    raise self._short(key, scatter.start + len(data))
                scatter.write(memoryview(data)[: scatter.stop - scatter.start])
            return
        with fs.open(name, "rb") as file:
            for offset, view in wanted:
                file.seek(offset)
                done = 0
                while done < view.nbytes:
                    got = _read_some(file, view[done:])
                    if not got:
                        raise self._short(key, offset + done)
                    done += got

    def _short(self, key: str, size: int) -> DataLossError:
        path = self.path(key)
        return DataLossError(f"{path} ends at byte {size}, before the bytes asked for.", path=path, offset=size)

    def _write_and_rename(self, fs: Any, name: str, payload: Payload) -> None:
        folder = fs._parent(name)  # noqa: SLF001 - fsspec has no public one
        fs.makedirs(folder, exist_ok=True)
        temporary = f"{folder.rstrip('/')}/.ckptstore-tmp-{secrets.token_hex(16)}"
        try:
            file = fs.open(temporary, "wb")
            try:
                for view in payload.buffers:
                    for start in range(0, view.nbytes, _WRITE_SIZE):
                        _write_all(file, view[start : start + _WRITE_SIZE])
            finally:
                file.close()  # after a failure too: only the temporary name can show half a file
            replace(fs, temporary, name)
        except BaseException:
            with contextlib.suppress(Exception):
                fs.rm_file(temporary)
            raise

    def _walk(self, folder: str) -> Iterator[ObjectMeta]:
        """Every object below a directory of the store, in no order."""
        fs, root = self._fs(), self._name("")
        pending = [self._name(folder) or fs.root_marker]
        while pending:
            name = pending.pop()
            fs.invalidate_cache(name)
            try:
                entries = fs.ls(name, detail=True)
            except (FileNotFoundError, NotADirectoryError):
                continue  # there is none, or it was removed since its parent was read
            for info in entries:
                child = str(info["name"])
                if child.rstrip("/") == name.rstrip("/"):
                    continue  # a file of the directory's name, or the directory itself
                key = _below(root, child)
                if key is None:
                    continue
                if info.get("type") == "directory":
                    if not info.get("islink"):  # which could lead in a circle
                        pending.append(child)
                elif is_key(key):
                    yield self._meta(key, info)

    def _delete_one(self, key: str) -> None:
        with self._errors(key), contextlib.suppress(FileNotFoundError):
            self._fs().rm_file(self._name(key))


def too_large(path: str, size: int, limit: int) -> StorageError:
    """What `Store.get` raises for an object over its limit."""
    return StorageError(f"{path} has {size} bytes, more than the {limit} allowed.", path=path, errno=errno.EFBIG)


def is_key(name: str) -> bool:
    """Whether a name found in a store can be a key. Others (a marker "run/", a control character) are not ours."""
    try:
        check_key(name)
    except UnsafePathError:
        return False
    return True


def _read_some(file: Any, view: memoryview) -> int:
    if hasattr(file, "readinto"):
        return int(file.readinto(view) or 0)
    data = file.read(view.nbytes)
    view[: len(data)] = data
    return len(data)


def _write_all(file: Any, view: memoryview) -> None:
    while view.nbytes:
        written = file.write(view)
        # A raw file may take less than all of it; some classes tell nothing, and those take all.
        view = view[written if isinstance(written, int) and 0 < written < view.nbytes else view.nbytes :]


def _below(root: str, name: str) -> str | None:
    """The key of a name that the file system has listed, or None for one that is not below the root."""
    start = f"{root}/"
    if name.startswith(start):
        return name[len(start) :]
    if not root:  # the root of an archive: its names have no slash in front
        return name.lstrip("/")
    return None


def _slashless(root: str, root_marker: str) -> str:
    return root.rstrip("/") if root.rstrip("/") else root_marker.rstrip("/")


def _modified(info: Mapping[str, Any]) -> float | None:
    """The time stamp under one of its usual names; "created" last, as a file keeps it when it is written again."""
    for name in ("mtime", "LastModified", "last_modified", "modified", "updated", "created"):
        value = info.get(name)
        if isinstance(value, datetime):
            return _seconds(value)
        if isinstance(value, int | float):
            return float(value)
    return None


def _seconds(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
