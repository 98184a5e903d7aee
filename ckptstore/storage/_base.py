"""What a store is: keys to bytes, in a handful of verbs.

A `Store` is one directory, bucket prefix or in-memory dictionary. A key is a relative, literal, "/"-joined name
below it: no character in it is ever a pattern. Every verb's docstring is its contract; every backend and every
wrapper passes the same `ckptstore.testing.StoreTests`.

Stores are safe to use from several threads at once. They raise `ckptstore.errors.StorageError` subclasses and
nothing foreign. They know nothing of checkpoints.
"""

from __future__ import annotations

import abc
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from ckptstore.errors import InvalidArgumentError, UnsafePathError, UnsupportedError

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Buffer, Self

ReadTarget: TypeAlias = "tuple[int, memoryview]"
"""Where to read and whereto: an offset in the object, in bytes, and the writable buffer to fill from it."""

_MAX_KEY_BYTES = 1024  # S3's and GCS's limit; POSIX allows more per path and less (255) per segment


@dataclass(frozen=True, slots=True)
class ObjectMeta:
    """What a store tells of one object.

    Attributes:
        key: The key, relative to the store.
        size: In bytes.
        version: An opaque token that changes when the bytes do (ETag, generation, inode and time stamp), or None
            where the store has nothing of the kind. Hand it back to read exactly these bytes. Putting the same bytes
            again may leave it as it is.
        modified: Seconds since 1970 by the store's clock, or None where the store does not tell.
        tag: What `create` or `replace` was told to keep with the object, or None. `get` and `head` tell it; a listing
            does not.
    """

    key: str
    size: int
    version: str | None = None
    modified: float | None = None
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store can promise. Whoever needs a promise asks here first.

    Attributes:
        atomic_put: A key never shows part of a put, not even when the process dies in the middle of it.
        durable: Once `put` returns, the bytes survive the power being cut.
        pinned_reads: `read_into(version=...)` refuses an object that was replaced.
        create_only: Of several `create` of one key, by whomever, one alone succeeds.
        compare_and_swap: Of several `replace` of one version, by whomever, one alone succeeds.
        conditional_delete: `delete_versions` spares an object that was replaced, at whatever moment.
        tags: `get` and `head` tell an object's tag.
        multipart: The upload verbs work.
        min_part_size: The least bytes of every part but the last, in bytes.
        max_parts: The most parts in one upload.
        max_put_size: The most bytes in one `put`, or None for no limit.
        maps: `map` works.
        copies: `copy` works for one whole object.
        range_copies: `copy` works for ranges, of which each but the last has at least `min_part_size` bytes.
        part_copies: `copy_part` works.
        concurrency: How many reads are worth having under way at once; 0: no more than there are processors.
    """

    atomic_put: bool = True
    durable: bool = True
    pinned_reads: bool = True
    create_only: bool = False
    compare_and_swap: bool = False
    conditional_delete: bool = False
    tags: bool = False
    multipart: bool = False
    min_part_size: int = 0
    max_parts: int = 0
    max_put_size: int | None = None
    maps: bool = False
    copies: bool = False
    range_copies: bool = False
    part_copies: bool = False
    concurrency: int = 0


class Payload:
    """The bytes of one put: a sequence of buffers that are written one after the other, and never copied here.

    A payload can be read any number of times, so a failed attempt can start over.

    Args:
        buffers: C-contiguous buffers of any element type. They must not change until the put has returned.
    """

    __slots__ = ("buffers", "nbytes")

    def __init__(self, buffers: Iterable[Buffer]) -> None:
        views = [_flat(b) for b in buffers]
        self.buffers: tuple[memoryview, ...] = tuple([v for v in views if v.nbytes])
        self.nbytes: int = sum([v.nbytes for v in self.buffers])

    @classmethod
    def of(cls, data: Payload | Buffer) -> Payload:
        """Wraps one buffer; hands a payload back as it is."""
        return data if isinstance(data, Payload) else cls((data,))

    @classmethod
    def lazy(cls, buffers: Iterable[memoryview], nbytes: int) -> Payload:
        """The payload of flat views of bytes that are made when they are asked for, and each time anew.

        Where a store takes a payload's buffers one after the other, as for a large object all from `from_url` do but
        those that take it in one piece of memory, no more of them exist than are under way.

        Args:
            buffers: May be iterated over any number of times. None is empty. What it raises ends the put.
            nbytes: How many bytes there are.
        """
        payload = cls(())
        made = _Lazy()
        made.source = buffers
        payload.buffers, payload.nbytes = made, nbytes
        return payload

    def part(self, start: int, stop: int) -> Payload:
        """The payload of the bytes from `start` up to `stop`, without copying them."""
        out: list[memoryview] = []
        position = 0
        for view in self.buffers:
            end = position + view.nbytes
            if end > start and position < stop:
                out.append(view[max(0, start - position) : stop - position])
            position = end
            if position >= stop:
                break
        return Payload(out)

    def tobytes(self) -> bytes:
        """One copy of all the bytes."""
        return b"".join(self.buffers)

    def __len__(self) -> int:
        return self.nbytes

    def __repr__(self) -> str:
        return f"Payload({self.nbytes} bytes)"


class _Lazy(tuple[memoryview, ...]):
    """Buffers that are there while they are iterated over: nothing else can be done with it."""

    source: Iterable[memoryview]

    def __iter__(self) -> Iterator[memoryview]:
        return iter(self.source)


def _flat(buffer: Buffer) -> memoryview:
    """The bytes of a buffer. What is flat already stays as it is: there may be a million of them."""
    view = buffer if type(buffer) is memoryview else memoryview(buffer)
    if view.format == "B" and view.ndim == 1 and view.c_contiguous:
        return view
    return view.cast("B") if view.nbytes else memoryview(b"")


@dataclass(frozen=True, slots=True)
class ObjectRange:
    """Some bytes of an object, or all of them.

    Attributes:
        meta: The object, and which version of it.
        start: Where they begin.
        stop: Where they end.
    """

    meta: ObjectMeta
    start: int
    stop: int

    @classmethod
    def whole(cls, meta: ObjectMeta) -> ObjectRange:
        """All bytes of an object."""
        return cls(meta, 0, meta.size)

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the object."""
        return self.start == 0 and self.stop == self.meta.size


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart upload under way: what the store called it, and what tells our own object from another's.

    Attributes:
        key: The key that the finished object will have.
        upload_id: The store's name for the upload.
        tag: Kept with the object, and its tag once it is complete. By it a completed upload whose reply was lost is
            recognised.
        create_only: Whether completion fails if there is an object of that key.
    """

    key: str
    upload_id: str
    tag: str
    create_only: bool = False
    extra: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class UploadPart:
    """One part that the store has taken: its number (from 1), its tag and whatever checksum goes with it."""

    number: int
    tag: str
    size: int
    checksum: str | None = None


class Store(abc.ABC):
    """Keys to bytes."""

    @property
    @abc.abstractmethod
    def url(self) -> str:
        """Where this is, for messages: a path or URL without credentials and without a trailing slash."""

    @property
    @abc.abstractmethod
    def capabilities(self) -> Capabilities:
        """What this store can promise."""

    @abc.abstractmethod
    def get(self, key: str, *, limit: int | None = None) -> tuple[bytes, ObjectMeta]:
        """Reads a whole object; bytes and meta data belong to one and the same version.

        Args:
            key: The key.
            limit: The most bytes to accept. A larger object is a StorageError (errno EFBIG), found out without
                reading all of it.

        Raises:
            NotFoundError: There is no such object (or bucket).
        """

    @abc.abstractmethod
    def read_into(self, key: str, targets: Sequence[ReadTarget], *, version: str | None = None) -> None:
        """Fills each target's buffer with the object's bytes from the target's offset on.

        Targets may come in any order, and may overlap. An empty list, or empty buffers, read nothing, and need not
        find out whether the object is there. A network
        store does it in one request from the first byte wanted to the last; `TransferStore` plans larger reads.

        Args:
            key: The key.
            targets: Offsets and writable, contiguous buffers of bytes.
            version: Read this version only (from `ObjectMeta.version`). None: whatever is there.

        Raises:
            NotFoundError: There is no such object.
            PreconditionFailedError: The object is another version.
            DataLossError: The object ends before a target does. The buffers' contents are then undefined.
        """

    def map(self, key: str, *, version: str | None = None) -> memoryview | None:
        """The object's bytes as read-only memory into which the system loads what is touched.

        It stays what it is when the object is replaced or deleted, and for as long as somebody holds on to it. (Should
        somebody shorten the file in place, which nothing here does, then the system kills the process that touches
        what is gone.)

        Args:
            key: The key.
            version: Map this version only (from `ObjectMeta.version`). None: whatever is there.

        Returns:
            The bytes, or None if this store cannot do that for this object; `read_into` reads it.

        Raises:
            NotFoundError: There is no such object. (A store that cannot map need not find that out.)
            PreconditionFailedError: The object is another version; likewise.
        """
        del key, version
        return None

    @abc.abstractmethod
    def head(self, key: str) -> ObjectMeta:
        """What the store tells of one object.

        Raises:
            NotFoundError: There is no such object.
        """

    @abc.abstractmethod
    def put(self, key: str, payload: Payload) -> ObjectMeta:
        """Writes a whole object, in place of an older one where there is one.

        Atomic: a reader sees the old object or the new one, never a part or a mixture, and also after a failure
        or a kill in the middle. With `Capabilities.durable` the bytes survive a power cut once this returns.
        Repeating it with the same payload is harmless. Parent directories come by themselves.
        """

    def create(self, key: str, payload: Payload, *, tag: str | None = None) -> ObjectMeta:
        """Writes an object where there is none: as `put`, but it never replaces anything.

        Args:
            key: The key.
            payload: The bytes.
            tag: Kept with the object (see `check_tag`). An object of this very tag is our own, from an earlier try
                whose reply was lost; it is handed back as if this one had written it. So a tag must never be used for
                two different payloads. None: an earlier try of ours shows as somebody else's object.

        Raises:
            AlreadyExistsError: There is an object of that key. It is as it was.
            UnsupportedError: The store has no such verb (`Capabilities.create_only`).
        """
        raise UnsupportedError(f"{self!r} cannot tell whether an object is new.", path=key)

    def replace(self, key: str, payload: Payload, *, version: str, tag: str | None = None) -> ObjectMeta:
        """Writes an object in place of one version of it: compare and swap.

        Args:
            key: The key.
            payload: The bytes.
            version: What must be there now (from `ObjectMeta.version`).
            tag: As in `create`: if the object that is there bears it, it is the one we wrote.

        Raises:
            PreconditionFailedError: The object is another version, or gone. It is as it was.
            UnsupportedError: The store has no such verb (`Capabilities.compare_and_swap`).
        """
        raise UnsupportedError(f"{self!r} cannot compare and swap.", path=key)

    def delete_versions(self, objects: Iterable[ObjectMeta]) -> Sequence[str]:
        """Deletes objects, each only while it is the version told of. One that is not there is no error.

        Several may go at once; nothing is said of the order.

        Args:
            objects: As `list` or `head` tell of them. Each has a version.

        Returns:
            The keys that are another version now, and are as they were.

        Raises:
            StorageError: One or more could not be deleted; the message names them. The others are gone.
            UnsupportedError: The store has no such verb (`Capabilities.conditional_delete`).
        """
        raise UnsupportedError(f"{self!r} cannot delete by version.", path=None)

    def unfinished(self, prefix: str = "") -> Iterator[ObjectMeta]:
        """What writes under way, or dead ones, keep below a prefix and `list` leaves out. `delete` removes it.

        Nothing but their age tells the two apart. A store that keeps nothing of the kind has none.
        """
        del prefix
        return iter(())

    def copy(self, key: str, ranges: Sequence[ObjectRange], *, tag: str | None = None) -> ObjectMeta:
        """As `create`, of bytes that are in this store already and do not pass through this process.

        The object is independent of the sources: each may be deleted, or replaced by `put`, and leaves the others as
        they are. (On a disk they may share blocks or the whole file, and so a damage of the medium.)

        Args:
            key: The key.
            ranges: What it consists of, in order: one whole object, or, where the store has `range_copies`, any.
            tag: As in `create`.

        Raises:
            AlreadyExistsError: As in `create`.
            NotFoundError: A source is gone.
            PreconditionFailedError: A source is another version; or its version is not known.
            UnsupportedError: The store cannot do that, or cannot do it here: write the bytes instead.
        """
        raise UnsupportedError(f"{self!r} cannot copy objects.", path=key)

    @abc.abstractmethod
    def list(self, prefix: str = "") -> Iterator[ObjectMeta]:
        """All objects whose key starts with the string `prefix`, at any depth, in ascending key order (by UTF-8).

        A missing directory or prefix is an empty list; a missing bucket is a NotFoundError. What was put before
        the call began is in it. Temporary files of unfinished puts are not.
        """

    @abc.abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Deletes objects. A key that is not there is no error.

        Order: one key is gone before the next is tried, unless the store has a bulk delete, in which case nothing
        is said of the order within one call.

        Raises:
            StorageError: One or more could not be deleted; the message names them. The others are gone.
        """

    def remove_directory(self, name: str) -> None:  # noqa: B027 - most stores have none
        """Removes a directory below the store's own, if it is empty. Nobody may write into it at the same moment.

        Stores without directories do nothing, and what cannot be removed stays.

        Args:
            name: The keys in it would begin with this and a "/".
        """

    def create_upload(self, key: str, *, tag: str | None = None, create_only: bool = False) -> Upload:
        """Begins a multipart upload. Nothing shows at the key until `complete_upload`.

        Args:
            key: The key that the object will have.
            tag: As in `create`. None: one made up here.
            create_only: Whether `complete_upload` is to be as `create` is, and not as `put`.
        """
        raise UnsupportedError(f"{self!r} has no multipart uploads.", path=key)

    def put_part(self, upload: Upload, number: int, payload: Payload) -> UploadPart:
        """Sends one part (numbered from 1). Repeating it is harmless; parts may come in any order."""
        raise UnsupportedError(f"{self!r} has no multipart uploads.", path=upload.key)

    def copy_part(self, upload: Upload, number: int, source: ObjectRange) -> UploadPart:
        """As `put_part`, of bytes that are in this store already and do not pass through this process.

        Raises:
            NotFoundError: The source is gone.
            PreconditionFailedError: It is another version; or its version is not known.
            UnsupportedError: The store cannot do that, or not with this source.
        """
        raise UnsupportedError(f"{self!r} cannot copy parts of objects.", path=upload.key)

    def complete_upload(self, upload: Upload, parts: Sequence[UploadPart]) -> ObjectMeta:
        """Publishes the object, atomically. Repeating it after a lost reply is harmless.

        Raises:
            AlreadyExistsError: The upload is create-only, and there is an object of that key. It is as it was.
        """
        raise UnsupportedError(f"{self!r} has no multipart uploads.", path=upload.key)

    def abort_upload(self, upload: Upload) -> None:
        """Drops an upload and its parts. One that is not there any more is no error."""
        raise UnsupportedError(f"{self!r} has no multipart uploads.", path=upload.key)

    def close(self) -> None:  # noqa: B027 - a store that holds nothing has nothing to do
        """Lets go of connections and threads. Closing twice is harmless."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url})"

    def path(self, key: str) -> str:
        """The full name of a key, for messages."""
        return f"{self.url}/{key}" if key else self.url


def whole_object(ranges: Sequence[ObjectRange], path: str) -> ObjectMeta:
    """The one object that all of the ranges are; for stores that copy nothing else.

    Raises:
        UnsupportedError: They are something else; `path` is for the message.
    """
    if len(ranges) != 1 or not ranges[0].is_whole:
        raise UnsupportedError(f"{path}: this store copies whole objects only; write the bytes instead.", path=path)
    return ranges[0].meta


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TAG = re.compile(r"[0-9A-Za-z._:-]{1,200}")


def check_tag(tag: str) -> str:
    """Hands back a tag that every store can keep.

    Raises:
        InvalidArgumentError: It is not 1 to 200 of the characters 0-9, A-Z, a-z, ".", "_", ":" and "-".
    """
    if not _TAG.fullmatch(tag):
        raise InvalidArgumentError(f"{tag!r} is no tag: 1 to 200 ASCII letters, digits and . _ : - only.")
    return tag


def check_key(key: str) -> str:
    """Hands back a key that is safe to use on every store.

    Raises:
        UnsafePathError: It is empty, absolute, over 1,024 bytes, has a control character, or an empty, "." or ".."
            segment.
    """
    if not isinstance(key, str) or not key:
        raise UnsafePathError(f"{key!r} is no key: it must be a non-empty str.", path=str(key))
    if _CONTROL.search(key):
        raise UnsafePathError(f"The key {key!r} has a control character in it; choose another name.", path=key)
    if any(segment in ("", ".", "..") for segment in key.split("/")):
        raise UnsafePathError(
            f"The key {key!r} has an empty, '.' or '..' segment; use a plain relative name.", path=key
        )
    try:
        size = len(key.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError as error:
        raise UnsafePathError(
            f"The key {key!r} has a lone surrogate in it, which no store can hold.", path=key
        ) from error
    if size > _MAX_KEY_BYTES:
        raise UnsafePathError(f"The key {key[:60]!r}... is longer than {_MAX_KEY_BYTES} bytes.", path=key)
    return key
