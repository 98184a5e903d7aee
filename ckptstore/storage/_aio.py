"""Between our synchronous verbs and the asyncio clients: running coroutines, sending and receiving without copies.

s3fs and gcsfs keep one event loop on a thread of its own. A verb builds its request on the caller's thread, hands
one coroutine to that loop with `run`, and waits. `PayloadReader` lets the client send a payload's buffers as they
are, `Scatter` lays the bytes that arrive straight into the caller's.
"""

from __future__ import annotations

import asyncio
import base64
import bisect
import concurrent.futures
import io
import itertools
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar

import crc32c

from ckptstore.errors import StorageError, StorageUnavailableError, UnsupportedError
from ckptstore.storage._base import Payload, ReadTarget
from ckptstore.storage._coalesce import sort_targets

T = TypeVar("T")

_CLEAN_UP_SECONDS = 10.0  # what a cancelled coroutine gets to close its connection
_GATHER_BELOW = 16 << 10  # pieces under this size are joined, as a system call costs more than the copy


def run(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine on a loop that turns on another thread, and waits for its result.

    Whatever interrupts the wait (Ctrl-C above all) cancels the coroutine and waits for its clean-up, so no
    request goes on in the background, and nothing writes to the caller's buffers any more. `fsspec.asyn.sync`
    leaves the coroutine running, and `Future.cancel` does not wait.

    Raises:
        UnsupportedError: Called on the loop's own thread, where waiting would be for ever.
    """
    if _running_loop() is loop:
        coroutine.close()
        raise UnsupportedError(
            "A store was called from its own I/O thread; call it from another (asyncio.to_thread does)."
        )
    call = _Call(loop, coroutine)
    try:
        return call.wait()
    finally:
        # The error holds this frame, and the frame would hold the error: a cycle that keeps the caller's buffers.
        del call, coroutine


class _Call(Generic[T]):
    """A coroutine under way on another thread's loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> None:
        self._loop = loop
        self._coroutine = coroutine
        self._task: asyncio.Task[T] | None = None
        self._outcome: concurrent.futures.Future[T] = concurrent.futures.Future()

    def wait(self) -> T:
        """Starts it, and waits for its end, also after an interruption."""
        try:
            self._loop.call_soon_threadsafe(self._start)
            return self._outcome.result()
        except BaseException:
            if not self._outcome.done():  # so it is the waiting that was interrupted
                self._loop.call_soon_threadsafe(self._cancel)
                concurrent.futures.wait([self._outcome], timeout=_CLEAN_UP_SECONDS)
            raise
        finally:
            del self  # see `run`

    def _start(self) -> None:
        self._task = self._loop.create_task(self._coroutine)
        self._task.add_done_callback(self._finish)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _finish(self, task: asyncio.Task[T]) -> None:
        self._task = None
        if task.cancelled():
            self._outcome.set_exception(concurrent.futures.CancelledError())
        elif (error := task.exception()) is not None:
            self._outcome.set_exception(error)
        else:
            self._outcome.set_result(task.result())


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def gather(calls: Iterable[Callable[[], Awaitable[object]]], *, limit: int) -> None:
    """Makes calls, at most `limit` at a time. When one fails, the others are stopped before its error is raised."""
    gate = asyncio.Semaphore(limit)

    async def one(call: Callable[[], Awaitable[object]]) -> None:
        async with gate:
            await call()

    tasks = [asyncio.ensure_future(one(call)) for call in calls]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def crc32c_base64(payload: Payload) -> str:
    """The CRC-32C of a payload as S3 and GCS spell it: four bytes, big-endian, in base 64."""
    value = 0
    for view in payload.buffers:
        value = crc32c.crc32c(view, value)
    return base64.b64encode(value.to_bytes(4, "big")).decode("ascii")


class PayloadReader(io.BytesIO):
    """A request body that hands out slices of a payload's buffers.

    It is a `BytesIO` by type alone, since that is what botocore and aiohttp take without converting: they check
    `isinstance` and then call `read`, `seek`, `tell`, `getbuffer` and `len`. Nothing is joined, and nothing is copied
    but runs of small pieces (a few KiB at a time), so that thousands of scalars do not take thousands of system calls.
    """

    def __init__(self, payload: Payload) -> None:
        super().__init__()
        self._views = tuple(payload.buffers)  # of a lazy one they are made here
        self._ends = list(itertools.accumulate(view.nbytes for view in self._views))
        self._size = payload.nbytes
        self._position = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes as bytes or as a memoryview; an empty one at the end. A negative size reads the rest."""
        left = self._size - self._position
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted <= 0:
            return b""
        index = bisect.bisect_right(self._ends, self._position)
        first = self._slice(index, wanted)
        if first.nbytes == wanted or (size is not None and size > 0 and first.nbytes >= _GATHER_BELOW):
            self._position += first.nbytes
            return first  # type: ignore[return-value]  # a memoryview, which is what makes it cheap
        pieces = [first]
        got = first.nbytes
        self._position += got
        while got < wanted:
            index += 1
            pieces.append(self._slice(index, wanted - got))
            got += pieces[-1].nbytes
            self._position += pieces[-1].nbytes
        return b"".join(pieces)

    def _slice(self, index: int, size: int) -> memoryview:
        start = self._position - (self._ends[index] - self._views[index].nbytes)
        return self._views[index][start : start + size]

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Goes to another position, as in every file."""
        self._position = max(0, (0, self._position, self._size)[whence] + offset)
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def getbuffer(self) -> memoryview:
        """Something whose `len` is the size of the whole: the one thing that aiohttp does with it."""
        return _Extent(self._size)  # type: ignore[return-value]

    def getvalue(self) -> bytes:
        """One copy of all the bytes."""
        return b"".join(self._views)

    def __len__(self) -> int:
        return self._size


class _Extent:
    """A length, dressed as the memoryview that `BytesIO.getbuffer` gives."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        return self._size

    def __enter__(self) -> _Extent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class Scatter:
    """Deals out one contiguous run of an object's bytes to the targets that want parts of it.

    Args:
        targets: Offsets and writable buffers, in any order; they may overlap.

    Attributes:
        start: The first byte that any target wants.
        stop: The end of the last one; equal to `start` if nothing is wanted.
    """

    def __init__(self, targets: Sequence[ReadTarget]) -> None:
        self._targets = sort_targets(targets)
        self._first = 0  # the first target that is not known to be full: a long list is not walked from its head
        self.start = self._targets[0][0] if self._targets else 0
        self.stop = max((offset + buffer.nbytes for offset, buffer in self._targets), default=0)
        self._position = self.start

    def write(self, chunk: bytes | memoryview) -> None:
        """Takes the next bytes of the run."""
        source = memoryview(chunk)
        begin, end = self._position, self._position + source.nbytes
        self._position = end
        for index in range(self._first, len(self._targets)):
            offset, buffer = self._targets[index]
            if offset >= end:
                break
            low, high = max(offset, begin), min(offset + buffer.nbytes, end)
            if low < high:
                buffer[low - offset : high - offset] = source[low - begin : high - begin]
            if index == self._first and offset + buffer.nbytes <= end:
                self._first += 1


async def receive(read: Callable[[], Awaitable[bytes]], sink: Callable[[bytes], None], size: int, path: str) -> None:
    """Moves exactly `size` bytes from a reply's body to a sink.

    Args:
        read: Gives the next bytes of the body, and none at its end.
        sink: Takes them.
        size: How many there must be.
        path: For messages.

    Raises:
        StorageUnavailableError: The body ended early: a lost connection.
        StorageError: The body goes on after its end; the rest is not read.
    """
    left = size
    while chunk := await read():
        left -= len(chunk)
        if left < 0:
            raise StorageError(
                f"The server sends more of {path} than the {size} bytes it was asked for; look for a proxy in between.",
                path=path,
            )
        sink(chunk)
    if left:
        raise StorageUnavailableError(
            f"The connection ended {left} bytes before the end of {path}, of {size} bytes.", path=path
        )
