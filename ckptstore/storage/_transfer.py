"""Large objects in pieces, several at a time."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from typing import TYPE_CHECKING, TypeVar

from ckptstore._concurrency import make_executor, run_all
from ckptstore.errors import InvalidArgumentError
from ckptstore.storage._base import Payload
from ckptstore.storage._coalesce import plan_reads
from ckptstore.storage._wrapper import WrapperStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Executor

    from ckptstore.storage._base import ObjectMeta, ReadTarget, Store

T = TypeVar("T")

_MIB = 1 << 20


class TransferStore(WrapperStore):
    """Sends a large `put` as a multipart upload, and a large `read_into` as several ranges, `concurrency` at a time.

    It stands before the retries, so that each part and each range is tried again by itself:
    `TransferStore(RetryingStore(FsspecStore(s3://bucket/run)))`. Nothing is copied: parts are views of the payload,
    ranges are read straight into the targets.

    Args:
        inner: Where the pieces go.
        part_size: Bytes in a part of an upload, and the most in one ranged read. A store's own limits take precedence:
            parts grow where it wants larger ones, or would need too many.
        concurrency: The most pieces under way at once.
        max_gap: Reads this many bytes apart, or fewer, are fetched in one request, the bytes between them in vain.
        executor: Where the pieces run. None: threads of its own, made when first needed and ended by `close`.
    """

    def __init__(
        self,
        inner: Store,
        *,
        part_size: int = 16 * _MIB,
        concurrency: int = 8,
        max_gap: int = _MIB,
        executor: Executor | None = None,
    ) -> None:
        if part_size < 1 or concurrency < 1 or max_gap < 0:
            raise InvalidArgumentError(f"{part_size=}, {concurrency=}, {max_gap=}: nothing could be transferred.")
        super().__init__(inner)
        self._part_size = part_size
        self._concurrency = concurrency
        self._max_gap = max_gap
        self._given = executor
        self._own: tuple[int, Executor] | None = None  # with the process it was made in
        self._lock = threading.Lock()

    def put(self, key: str, payload: Payload) -> ObjectMeta:
        """See `Store.put`. On any failure, also a KeyboardInterrupt, the upload is aborted once no part is under way.

        The key then shows the older object, or, if nothing but the last reply was lost, the new one. When the abort
        fails too, the parts stay behind until a life-cycle rule of the bucket removes them, and the error raised
        is still the first one.
        """
        size = self._upload_part_size(payload.nbytes)
        if not self._inner.capabilities.multipart or payload.nbytes <= size:
            return self._inner.put(key, payload)
        upload = self._inner.create_upload(key)
        try:
            parts = self._run(
                functools.partial(self._inner.put_part, upload, number, part)
                for number, part in enumerate(split_payload(payload, size), start=1)
            )
            return self._inner.complete_upload(upload, parts)
        except BaseException:
            with contextlib.suppress(Exception):
                self._inner.abort_upload(upload)
            raise

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
        self._run(functools.partial(self._inner.read_into, key, request.targets, version=version) for request in plan)

    def close(self) -> None:
        """See `Store.close`. An executor that was handed in stays open."""
        with self._lock:
            own, self._own = self._own, None
        if own is not None and own[0] == os.getpid():
            own[1].shutdown(wait=True)
        self._inner.close()

    def _upload_part_size(self, nbytes: int) -> int:
        capabilities = self._inner.capabilities
        size = max(self._part_size, capabilities.min_part_size)
        if capabilities.max_parts and nbytes > size * capabilities.max_parts:
            size = -(-nbytes // capabilities.max_parts)  # rounded up
        return size

    def _run(self, calls: Iterator[Callable[[], T]]) -> list[T]:
        return run_all(self._executor(), calls, window=self._concurrency)

    def _executor(self) -> Executor:
        if self._given is not None:
            return self._given
        with self._lock:
            # After a fork the child has the pool but none of its threads, and would wait for them for ever.
            if self._own is None or self._own[0] != os.getpid():
                self._own = os.getpid(), make_executor(self._concurrency, "ckptstore-transfer")
            return self._own[1]


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
