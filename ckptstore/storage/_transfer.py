"""Large objects in pieces, several at a time."""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from ckptstore._concurrency import make_executor, run_all
from ckptstore._per_process import ProcessLock
from ckptstore.errors import InvalidArgumentError, StorageUnavailableError, UnsupportedError, UploadConflictError
from ckptstore.storage._base import ObjectRange, Payload
from ckptstore.storage._coalesce import plan_reads
from ckptstore.storage._upload_notes import UploadNote
from ckptstore.storage._wrapper import WrapperStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Executor

    from ckptstore.storage._base import Capabilities, ObjectMeta, ReadTarget, Store, Upload, UploadPart

T = TypeVar("T")
Parts: TypeAlias = "Callable[[Upload], Iterator[Callable[[], UploadPart]]]"
"""What the parts of an upload are: the calls that send them."""

_MIB = 1 << 20
_PART = 16 * _MIB
_MOST_PART = 48 * _MIB  # 100 Mbit/s, shared by 24, take 100 s for it, which leaves time to try again
_COPIED_PART = 256 * _MIB  # S3 copies up to 5 GiB in one request, and is faster with several at once
_UPLOADS = 3  # how often a create is sent anew because another write of the key was under way


class TransferStore(WrapperStore):
    """Sends a large `put` or `create` as a multipart upload, and a large `read_into` as several ranges.

    Up to `concurrency` pieces are under way at a time. `replace` is for small objects, and stays one request.

    It stands before the retries, so that each part and each range is tried again by itself:
    `TransferStore(RetryingStore(FsspecStore(s3://bucket/run)))`. Nothing is copied: parts are views of the payload,
    ranges are read straight into the targets.

    Args:
        inner: Where the pieces go.
        part_size: Bytes in a part of an upload, and the most in one ranged read. A store's own limits take precedence:
            parts grow where it wants larger ones, or would need too many. None: 16 MiB, and for uploads up to 48, as
            long as there are enough parts to be sent at once: each costs CPU time of its own.
        concurrency: The most pieces under way at once.
        max_gap: Reads this many bytes apart, or fewer, are fetched in one request, the bytes between them in vain.
        executor: Where the pieces run. None: threads of its own, made when first needed and ended by `close`.
        journal: A key prefix. Before its first part is sent, every upload is noted below it (`UploadNote`), until it is
            completed or aborted: by the note somebody else can abort the upload of a process that died. None: no notes.
    """

    def __init__(
        self,
        inner: Store,
        *,
        part_size: int | None = None,
        concurrency: int = 24,
        max_gap: int = _MIB,
        executor: Executor | None = None,
        journal: str | None = None,
    ) -> None:
        if (part_size is not None and part_size < 1) or concurrency < 1 or max_gap < 0:
            raise InvalidArgumentError(f"{part_size=}, {concurrency=}, {max_gap=}: nothing could be transferred.")
        super().__init__(inner)
        self._part_size = part_size or _PART
        self._most_part = part_size or _MOST_PART
        self._concurrency = concurrency
        self._max_gap = max_gap
        self._given = executor
        self._journal = journal
        self._own: tuple[int, Executor] | None = None  # with the process it was made in
        self._lock = ProcessLock()

    def put(self, key: str, payload: Payload) -> ObjectMeta:
        """See `Store.put`. On any failure, also a KeyboardInterrupt, the upload is aborted once no part is under way.

        The key then shows the older object, or, if nothing but the last reply was lost, the new one. When the abort
        fails too, the parts stay behind until `journal` leads somebody to them, or a life-cycle rule of the bucket
        removes them, and the error raised is still the first one.
        """
        if self._is_small(payload):
            return self._inner.put(key, payload)
        return self._upload(key, self._sent(payload), tag=None, create_only=False)

    def create(self, key: str, payload: Payload, *, tag: str | None = None) -> ObjectMeta:
        """See `Store.create`. On any failure a large one is aborted, as in `put`.

        Raises:
            StorageUnavailableError: Also if other writes of the key were under way at every completion.
        """
        if self._is_small(payload):
            return self._inner.create(key, payload, tag=tag)
        return self._repeat(key, lambda: self._upload(key, self._sent(payload), tag=tag, create_only=True))

    def _repeat(self, key: str, upload: Callable[[], ObjectMeta]) -> ObjectMeta:
        uploads = 0
        while True:
            uploads += 1
            try:
                return upload()
            except UploadConflictError as error:
                if uploads == _UPLOADS:
                    raise StorageUnavailableError(
                        f"{_UPLOADS} uploads of {self.path(key)} met other writes of it; try again when its other "
                        "writer is done.",
                        path=self.path(key),
                    ) from error

    @property
    def capabilities(self) -> Capabilities:
        """See `Store.capabilities`: those of the inner store, and `copy` where that can copy parts."""
        inner = replace(self._inner.capabilities, concurrency=self._concurrency)
        return replace(inner, copies=True, range_copies=True) if inner.part_copies else inner

    def copy(self, key: str, ranges: Sequence[ObjectRange], *, tag: str | None = None) -> ObjectMeta:
        """See `Store.copy`. Where the inner store can copy parts, it is a multipart upload of copied parts."""
        inner = self._inner.capabilities
        if not inner.part_copies:
            return self._inner.copy(key, ranges, tag=tag)
        size = sum(source.stop - source.start for source in ranges)
        pieces = [*_split_ranges(ranges, max(_COPIED_PART, -(-size // (inner.max_parts // 2 or 1))))]
        small = any(piece.stop - piece.start < inner.min_part_size for piece in pieces[:-1])
        if not pieces or small or 0 < inner.max_parts < len(pieces):
            raise UnsupportedError(
                f"{self.path(key)} cannot be put together of copied parts, which would be none, too small or too many; "
                "write the bytes instead.",
                path=self.path(key),
            )
        return self._repeat(key, lambda: self._upload(key, self._copied(pieces), tag=tag, create_only=True))

    def read_into(self, key: str, targets: Sequence[ReadTarget], *, version: str | None = None) -> None:
        """See `Store.read_into`. All ranges are of one version where the store can pin one.

        Raises:
            PreconditionFailedError: Also without `version`, if the object is replaced between two of the ranges.
        """
        plan = plan_reads(targets, max_gap=self._max_gap, max_request=self._part_size)
        if len(plan) <= 1:
            self._inner.read_into(key, targets, version=version)
            return
        if version is None and self._inner.capabilities.pinned_reads:
            version = self._inner.head(key).version
        self._run(partial(self._inner.read_into, key, request.targets, version=version) for request in plan)

    def close(self) -> None:
        """See `Store.close`. An executor that was handed in stays open."""
        with self._lock.get():
            own, self._own = self._own, None
        if own is not None and own[0] == os.getpid():
            own[1].shutdown(wait=True)
        self._inner.close()

    def _is_small(self, payload: Payload) -> bool:
        """Whether a payload goes in one request."""
        return not self._inner.capabilities.multipart or payload.nbytes <= self._upload_part_size(payload.nbytes)

    def _sent(self, payload: Payload) -> Parts:
        """The parts of a payload."""

        def parts(upload: Upload) -> Iterator[Callable[[], UploadPart]]:
            size = self._upload_part_size(payload.nbytes)
            for number, part in enumerate(split_payload(payload, size), start=1):
                yield partial(self._inner.put_part, upload, number, part)

        return parts

    def _copied(self, pieces: Sequence[ObjectRange]) -> Parts:
        """The parts of other objects."""

        def parts(upload: Upload) -> Iterator[Callable[[], UploadPart]]:
            for number, piece in enumerate(pieces, start=1):
                yield partial(self._inner.copy_part, upload, number, piece)

        return parts

    def _upload(self, key: str, calls: Parts, *, tag: str | None, create_only: bool) -> ObjectMeta:
        upload = self._inner.create_upload(key, tag=tag, create_only=create_only)
        note = None
        try:
            if self._journal is not None:
                note = f"{self._journal}{secrets.token_hex(16)}"
                self._inner.put(note, UploadNote.of(upload).payload())
            meta = self._inner.complete_upload(upload, self._run(calls(upload)))
        except BaseException:
            with contextlib.suppress(Exception):
                self._inner.abort_upload(upload)
                self._forget(note)  # unless the abort failed: then somebody else can do it
            raise
        with contextlib.suppress(Exception):  # the object is there; a note too many does no harm
            self._forget(note)
        return meta

    def _forget(self, note: str | None) -> None:
        if note is not None:
            self._inner.delete([note])

    def _upload_part_size(self, nbytes: int) -> int:
        capabilities = self._inner.capabilities
        even = -(-nbytes // self._concurrency)
        size = max(self._part_size, min(even, self._most_part), capabilities.min_part_size)
        if capabilities.max_parts and nbytes > size * capabilities.max_parts:
            size = -(-nbytes // capabilities.max_parts)  # rounded up
        return size

    def _run(self, calls: Iterator[Callable[[], T]]) -> list[T]:
        return run_all(self._executor(), calls, window=self._concurrency)

    def _executor(self) -> Executor:
        if self._given is not None:
            return self._given
        with self._lock.get():
            # After a fork the child has the pool but none of its threads, and would wait for them for ever.
            if self._own is None or self._own[0] != os.getpid():
                self._own = os.getpid(), make_executor(self._concurrency, "ckptstore-transfer")
            return self._own[1]


def _split_ranges(ranges: Sequence[ObjectRange], size: int) -> Iterator[ObjectRange]:
    """The ranges in pieces of about `size` bytes; each range is cut evenly, so that no piece is much smaller."""
    for source in ranges:
        length = source.stop - source.start
        count = -(-length // size)
        cuts = [source.start + length * number // count for number in range(count + 1)] if count else []
        yield from (ObjectRange(source.meta, start, stop) for start, stop in pairwise(cuts))


def split_payload(payload: Payload, size: int) -> Iterator[Payload]:
    """The payload in parts of `size` bytes, the last one shorter, without copying.

    One pass over the buffers in all, however many there are (`Payload.part` would take one for each part).
    """
    part: list[memoryview] = []
    room = size
    for buffer in payload.buffers:
        begin = 0
        while begin < buffer.nbytes:
            piece = buffer[begin : begin + room]
            part.append(piece)
            begin += piece.nbytes
            room -= piece.nbytes
            if not room:
                yield Payload(part)
                part, room = [], size
    if part:
        yield Payload(part)
