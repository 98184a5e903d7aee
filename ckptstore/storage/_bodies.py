"""What goes over a connection, without copies: payloads sent as they lie, replies read into place.

`PayloadReader` lets http.client send a payload's buffers as they are. `Scatter` lays the bytes of a reply where they
are wanted; `receive` and `receive_all` see to it that they are exactly as many as they should be.
"""

from __future__ import annotations

import base64
import bisect
import contextlib
import functools
import itertools
import os
import ssl
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import crc32c

from ckptstore.errors import StorageError, StorageUnavailableError
from ckptstore.storage._base import Payload, ReadTarget
from ckptstore.storage._coalesce import sort_targets

_GATHER_BELOW = 16 << 10  # pieces under this size are joined, as a system call costs more than the copy
_HANDED_OUT = 1 << 20  # the least that a read of a request's body gives, where that is one piece
_DIRECT = 64 << 10  # targets from this size on are read into, smaller ones are dealt out from a buffer
_BUFFER = 256 << 10


def crc32c_base64(payload: Payload) -> str:
    """The CRC-32C of a payload as S3 and GCS spell it: four bytes, big-endian, in base 64."""
    value = 0
    for view in payload.buffers:
        value = crc32c.crc32c(view, value)
    return base64.b64encode(value.to_bytes(4, "big")).decode("ascii")


class PayloadReader:
    """A request body that hands out slices of a payload's buffers.

    It has what botocore, urllib3 and http.client look for in a file: `read`, `seek`, `tell` and `len`. Nothing is
    joined, and nothing is copied but runs of small pieces (a few KiB at a time), so that thousands of scalars do not
    take thousands of system calls.
    """

    def __init__(self, payload: Payload) -> None:
        self._views = tuple(payload.buffers)  # of a lazy payload they are made here
        self._ends = list(itertools.accumulate(view.nbytes for view in self._views))
        self._size = payload.nbytes
        self._position = 0

    def read(self, size: int | None = -1, /) -> bytes | memoryview:
        """The next bytes; empty at the end. A negative size reads the rest.

        A slice of one buffer may be up to 1 MiB, however little is asked for. urllib3 and http.client ask for 16 KiB at
        a time, or 128 under botocore, and send whatever they get with one `sendall`; a file's blocks would cost a turn
        of Python for each. Whoever reads a request's body to its end, as all of them do, sees the same bytes.
        """
        left = self._size - self._position
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted <= 0:
            return b""
        index = bisect.bisect_right(self._ends, self._position)
        first = self._slice(index, max(wanted, _HANDED_OUT))
        if first.nbytes >= wanted or first.nbytes >= _GATHER_BELOW:
            self._position += first.nbytes
            return first
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

    def __len__(self) -> int:
        return self._size


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
        self._buffer = memoryview(b"")

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

    def fill(self, read: Callable[[memoryview], int]) -> int:
        """Takes what one call of `read` lays into a buffer as the next bytes of the run, and tells how many they are.

        That buffer is a large target itself, if no other wants the same bytes, or else one to deal them out from.
        """
        while self._end(self._first) <= self._position:
            self._first += 1
        offset, target = self._targets[self._first]
        if offset <= self._position and self._is_direct(self._first):
            got = read(target[self._position - offset :])
            self._position += got
            return got
        if not self._buffer:
            self._buffer = memoryview(bytearray(min(_BUFFER, self.stop - self.start)))
        room = self._buffer[: self._up_to_direct() - self._position]
        got = read(room)
        self.write(room[:got])
        return got

    def _end(self, index: int) -> int:
        offset, target = self._targets[index]
        return offset + target.nbytes

    def _is_direct(self, index: int) -> bool:
        """Whether a target is large, and the only one that still wants its bytes."""
        alone = index + 1 == len(self._targets) or self._targets[index + 1][0] >= self._end(index)
        return alone and self._targets[index][1].nbytes >= _DIRECT

    def _up_to_direct(self) -> int:
        """Where the next target begins that can be read into, or the end of the run; no further than a buffer away."""
        limit = min(self._position + len(self._buffer), self.stop)
        covered = self._position
        for index in range(self._first, len(self._targets)):
            offset = self._targets[index][0]
            if offset >= limit:
                break
            if offset >= covered and offset > self._position and self._is_direct(index):
                return offset
            covered = max(covered, self._end(index))
        return limit


class Body:
    """The body of a reply, read straight from its connection where that can be had.

    Args:
        raw: urllib3's response, not yet read.
        read: Reads the body by itself, where one must not go below it: what somebody checks or decodes on the way.
    """

    def __init__(self, raw: Any, read: Callable[[int], bytes] | None = None) -> None:
        self._raw = raw
        # urllib3's own reads copy: they are half as fast, and take 1.5 to 2.5 times the CPU time.
        below = getattr(raw, "_original_response", None) if read is None else None
        self._readinto: Callable[[memoryview], int] | None = getattr(below, "readinto", None)
        self._read = read or raw.read

    def readinto(self, view: memoryview) -> int:
        """Fills a buffer, or as much of it as the body has left. 0: it is at its end."""
        if self._readinto is not None:
            return self._readinto(view)
        data = self._read(min(view.nbytes, _BUFFER))
        view[: len(data)] = data
        return len(data)

    def end(self) -> None:
        """Gives the connection back: the body was read to its end."""
        if self._readinto is not None:  # else urllib3 has read it, and seen to that itself
            self._raw.release_conn()

    def close(self) -> None:
        """Closes the connection: nobody else must be given the rest of the body."""
        self._raw.close()


@contextlib.contextmanager
def open_body(body: Body) -> Iterator[Body]:
    """Gives the connection back after the block; closes it if the block raises."""
    try:
        yield body
    except BaseException:
        body.close()
        raise
    body.end()


def load_certificates_once(context: ssl.SSLContext) -> None:
    """Keeps urllib3 from loading the certificates anew for each connection of a pool, which takes 20 ms of CPU time."""
    loaded: Any = functools.cache(context.load_verify_locations)
    context.load_verify_locations = loaded  # type: ignore[method-assign]


def receive(body: Body, scatter: Scatter, path: str) -> None:
    """Reads a body that is exactly the run that a `Scatter` deals out.

    Raises:
        StorageUnavailableError: It ended early: a lost connection.
        StorageError: It goes on after its end; the rest is not read.
    """
    size = left = scatter.stop - scatter.start
    while left:
        got = scatter.fill(body.readinto)
        if not got:
            raise _short(left, size, path)
        left -= got
    _see_end(body, size, path)


def receive_all(body: Body, size: int, path: str) -> bytes:
    """A body of exactly `size` bytes. No more memory is taken than has arrived, whatever a reply promises.

    Raises:
        StorageError: As for `receive`.
    """
    chunks: list[memoryview] = []
    left = size
    while left:
        chunk = memoryview(bytearray(min(left, _HANDED_OUT)))
        got = body.readinto(chunk)
        if not got:
            raise _short(left, size, path)
        chunks.append(chunk[:got])
        left -= got
    _see_end(body, size, path)
    return b"".join(chunks)


def _see_end(body: Body, size: int, path: str) -> None:
    if body.readinto(memoryview(bytearray(1))):
        raise StorageError(
            f"The server sends more of {path} than the {size} bytes it was asked for; look for a proxy in between.",
            path=path,
        )


def _short(left: int, size: int, path: str) -> StorageUnavailableError:
    return StorageUnavailableError(
        f"The connection ended {left} bytes before the end of {path}, of {size} bytes.", path=path
    )
