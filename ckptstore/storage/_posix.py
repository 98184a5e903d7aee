"""File descriptors: gathered writes, scattered reads, synced directories, and what an errno means to us."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from ckptstore.errors import (
    DataLossError,
    NotFoundError,
    PermissionDeniedError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Sequence

    from ckptstore.storage._base import ReadTarget

_MAX_BUFFERS = 1024  # IOV_MAX on Linux, macOS and the BSDs: the most buffers in one writev or preadv

# The most bytes in one call. Far below the kernel's limit of 2 GiB, which would cut a call short, and small enough for
# Ctrl-C to be seen between two calls; larger ones are not faster (measured: 16 MiB pieces 4.4 GB/s, 1 GiB 4.0 GB/s).
_MAX_CALL = 16 << 20

# Bytes from which on a call of its own costs nothing to speak of. To go on collecting would keep buffers that are made
# when they are asked for, and each would take fresh memory.
_ALONE = 256 << 10

ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})
"""No such file: also when a file stands where the key has a directory."""

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_PASSING = {
    errno.EAGAIN,
    errno.EINTR,
    errno.ESTALE,  # a network file system lost the handle; a fresh open may work
    errno.ETIMEDOUT,
    errno.ECONNRESET,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
}
_REMEDY = {
    errno.ENOENT: "its directory was removed meanwhile; stop whoever does that, then try again",
    errno.EIO: "the disk or the network file system is failing: look at the kernel's log before trusting this volume",
    errno.ENAMETOOLONG: "choose a shorter name: most file systems allow 255 bytes between two slashes",
    errno.EISDIR: "a directory has this name; choose another name, or move the directory away",
    errno.ENOTDIR: "a file stands where a directory is needed; choose another name, or move the file away",
    errno.EFBIG: "the file is larger than the file system or the process's limit (ulimit -f) allows",
    errno.EMFILE: "too many files are open in this process; raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine",
    errno.ELOOP: "the symbolic links lead in a circle; remove the link",
    errno.ENXIO: "it is a socket, FIFO or device and no regular file; remove it, or choose another name",
}


@contextlib.contextmanager
def os_errors(path: str, doing: str, *, absent: Container[int] = ()) -> Iterator[None]:
    """Turns an OSError inside the block into ours.

    Args:
        path: The full name of the file, for the message.
        doing: The verb, for the message: "read", "write" ...
        absent: The numbers that here mean that the object does not exist, usually `ABSENT` or none.

    Raises:
        NotFoundError: One of `absent`.
        PermissionDeniedError: EACCES, EPERM, EROFS.
        StorageFullError: ENOSPC, EDQUOT.
        StorageUnavailableError: EAGAIN, EINTR, ESTALE, ETIMEDOUT and a network that cannot be reached.
        StorageError: Every other number.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise _translate(error, path, doing, absent) from error


def _translate(error: OSError, path: str, doing: str, absent: Container[int]) -> StorageError:
    number = error.errno
    what = f"Could not {doing} {path}: {error.strerror or error}"
    if number in absent:
        return NotFoundError(f"There is no file {path}; check the name and the directory.", path=path)
    if number in _DENIED:
        remedy = "the file system is mounted read-only" if number == errno.EROFS else "check its owner and mode"
        return PermissionDeniedError(f"{what}; {remedy}.", path=path, errno=number)
    if number in _FULL:
        remedy = "raise the quota" if number == errno.EDQUOT else "free some space"
        return StorageFullError(f"{what}; {remedy}, then save again.", path=path, errno=number)
    if number in _PASSING:
        return StorageUnavailableError(f"{what}; this may pass: try again.", path=path, errno=number)
    remedy = _REMEDY.get(number or 0, "")
    return StorageError(f"{what}{'; ' if remedy else ''}{remedy}.", path=path, errno=number)


def open_regular(file: bytes, path: str) -> tuple[int, os.stat_result]:
    """Opens a regular file for reading; the caller closes the descriptor.

    Raises:
        StorageError: It is a directory (errno EISDIR), or a FIFO, socket or device (errno ENXIO).
    """
    # O_NONBLOCK: opening a FIFO without a writer would hang. It does nothing to regular files.
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        status = os.fstat(fd)
        check_regular(status, path)
    except BaseException:
        os.close(fd)
        raise
    return fd, status


def check_regular(status: os.stat_result, path: str) -> None:
    """Raises StorageError unless `status` is that of a regular file; `path` is for the message."""
    if not stat.S_ISREG(status.st_mode):
        number = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.ENXIO
        raise StorageError(f"Cannot use {path} as a file: {_REMEDY[number]}.", path=path, errno=number)


def write_all(fd: int, buffers: Iterable[memoryview], written: Callable[[int, int], object] | None = None) -> int:
    """Writes flat views of bytes one after the other, from the beginning of an empty file on.

    Buffers may be made when they are asked for: of large ones two are held at most, of others what two calls write.

    Args:
        fd: The file's descriptor.
        buffers: The bytes.
        written: Told, once some 8 to 24 MiB more have been written, where they begin and how many there are; not of the
            last ones.

    Returns:
        How many bytes there were.
    """
    told = position = 0
    for batch, size in _batches(buffers):
        _write_batch(fd, batch, size)
        position += size
        if written is not None and position - told >= _MAX_CALL // 2:
            written(told, position - told)
            told = position
    return position


def _batches(buffers: Iterable[memoryview]) -> Iterator[tuple[list[memoryview], int]]:
    """What to write in one call each, and how many bytes that is."""
    if type(buffers) is tuple:  # they are all there, so that small ones can be counted many at a time
        for start in range(0, len(buffers), _MAX_BUFFERS):
            batch = [*buffers[start : start + _MAX_BUFFERS]]
            size = sum(map(len, batch))
            if size <= _MAX_CALL:
                yield batch, size
            else:
                yield from _cut(batch)
    else:
        yield from _cut(buffers)


def _cut(buffers: Iterable[memoryview]) -> Iterator[tuple[list[memoryview], int]]:
    batch: list[memoryview] = []
    size = 0
    alone = min(_ALONE, _MAX_CALL)
    for whole in buffers:
        buffer, count = whole, len(whole)
        if batch and (count >= alone or size + count > _MAX_CALL):
            yield batch, size
            batch, size = [], 0
        if count >= alone:
            while count > _MAX_CALL:
                yield [buffer[:_MAX_CALL]], _MAX_CALL
                buffer = buffer[_MAX_CALL:]
                count -= _MAX_CALL
        batch.append(buffer)
        size += count
        if len(batch) == _MAX_BUFFERS or size >= alone:
            yield batch, size
            batch, size = [], 0
    if batch:
        yield batch, size


def _write_batch(fd: int, batch: list[memoryview], size: int) -> None:
    while size:
        written = os.writev(fd, batch)
        size -= written
        if size:  # cut short: by a signal, a nearly full disk or a limit; the next call completes it or says why not
            batch = _after(batch, written)


def read_all(fd: int, size: int) -> bytes:
    """Reads up to `size` bytes from the descriptor's position; fewer only when the file ends."""
    pieces: list[bytes] = []
    while size > 0:
        piece = os.read(fd, size)
        if not piece:
            break
        pieces.append(piece)
        size -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def read_targets(fd: int, targets: Sequence[ReadTarget], path: str) -> None:
    """Fills targets straight from the file, with one system call for each run of adjacent ones.

    Args:
        fd: A regular file's descriptor. Its position is neither used nor moved.
        targets: As `sort_targets` hands them out.
        path: The full name of the file, for the message.

    Raises:
        DataLossError: The file ends before a target does.
    """
    batch: list[memoryview] = []
    start = position = 0
    for offset, buffer in targets:
        for begin in range(0, buffer.nbytes, _MAX_CALL):
            piece = buffer if buffer.nbytes <= _MAX_CALL else buffer[begin : begin + _MAX_CALL]
            at = offset + begin
            adjacent = at == position and len(batch) < _MAX_BUFFERS and at + piece.nbytes - start <= _MAX_CALL
            if batch and not adjacent:
                _read_batch(fd, batch, start, position - start, path)
                batch = []
            if not batch:
                start = at
            batch.append(piece)
            position = at + piece.nbytes
    if batch:
        _read_batch(fd, batch, start, position - start, path)


def _read_batch(fd: int, batch: list[memoryview], start: int, size: int, path: str) -> None:
    while size:
        count = os.preadv(fd, batch, start)
        if not count:
            raise short_file(path, start, start + size)
        start += count
        size -= count
        if size:
            batch = _after(batch, count)


def short_file(path: str, size: int, wanted: int) -> DataLossError:
    """The error for a file of `size` bytes that should have had `wanted`."""
    return DataLossError(
        f"{path} ends at byte {size}, but bytes up to {wanted} were asked for; "
        "it is truncated: restore it from a copy.",
        path=path,
        offset=size,
    )


def _after(batch: list[memoryview], count: int) -> list[memoryview]:
    """What is left of a batch once its first `count` bytes are done."""
    for index, view in enumerate(batch):
        if count < view.nbytes:
            return [view[count:], *batch[index + 1 :]]
        count -= view.nbytes
    return []


def sync_directory(fd: int) -> None:
    """Makes the directory's entries survive a power cut, where the file system knows of such a thing."""
    try:
        os.fsync(fd)
    except OSError as error:
        # Some network and user-space file systems answer that directories cannot be synced. That is no failed write:
        # they make entries durable by themselves, or not at all, and nothing here can change it.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
