"""What other people's exceptions mean in ours.

Each backend has one context manager that catches whatever its client library raises and asks here, after it has
dealt with what it alone knows. Messages name the object and the remedy, and never carry a secret: what a server or a
library said goes through `redact` first.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import errno
import inspect
import re
import ssl
import traceback
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any

from ckptstore.errors import (
    AlreadyExistsError,
    CheckpointError,
    DataLossError,
    MissingDependencyError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionFailedError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
    UnsupportedError,
)

_TRANSIENT_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})
_TRANSIENT_ERRNOS = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EINTR,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.ENOTCONN,
        errno.EPIPE,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED_ERRNOS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})

# Libraries whose own, undocumented exceptions are about the connection, unless their name says otherwise.
_NETWORK_PACKAGES = frozenset(
    {"aiohttp", "asyncssh", "http", "paramiko", "requests", "smbprotocol", "socket", "urllib3"}
)
_BROKEN_TLS = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
_NOT_PASSING = re.compile("Auth|Certificate|InvalidURL|InvalidSchema|HostKey|Permission")

_SUSPENDABLE = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR

_SECRET_LENGTH = 6  # shorter option values ("eu", "true") are words, and would blank out the message
_USER_INFO = re.compile(r"://[^/\s]*@")
_QUERY = re.compile(r"(://[^\s?]*)\?[^\s'\"]*")


@contextlib.contextmanager
def translated(translate: Callable[[Exception], CheckpointError]) -> Iterator[None]:
    """Raises what `translate` makes of a foreign exception in its place, with the exception as its cause."""
    try:
        yield
    except (CheckpointError, MemoryError):
        raise
    except Exception as error:
        _let_go(error)
        raise translate(error) from error


def _let_go(error: BaseException) -> None:
    """Empties the frames that an exception came through, and those that called them and have ended.

    urllib3's and botocore's hold the exception that holds them, and with them the caller's buffers, until the garbage
    is collected.
    """
    for link in _chain(error):
        for frame, _ in traceback.walk_tb(link.__traceback__):
            caller: FrameType | None = frame
            with contextlib.suppress(RuntimeError):  # it is still running, and so are those that called it
                while caller is not None:
                    if not caller.f_code.co_flags & _SUSPENDABLE:  # to clear one that waits would be to end it
                        caller.clear()
                    caller = caller.f_back


def redact(text: str, secrets: tuple[str, ...] = ()) -> str:
    """A foreign text made fit for a message: one line of bounded length without credentials.

    User names and passwords in URLs, query strings (signatures live there), and every one of `secrets` are blanked.
    """
    for secret in secrets:
        text = text.replace(secret, "***")
    text = _QUERY.sub(r"\1?***", _USER_INFO.sub("://***@", text))
    return "".join(c if c.isprintable() else " " for c in text)[:300].strip()


def secrets_in(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Every text in storage options that may be a secret: all but the short ones, and those that name a place."""

    def texts(value: Any, name: str) -> Iterator[str]:
        if isinstance(value, Mapping):
            for inner, item in value.items():
                yield from texts(item, str(inner))
        elif isinstance(value, str | bytes) and not re.search("url|region|host|project|profile|name", name):
            yield value if isinstance(value, str) else value.decode("utf-8", "replace")

    found = {text for text in texts(options, "") if len(text) >= _SECRET_LENGTH}
    return tuple(sorted(found, key=len, reverse=True))


def from_status(status: int, path: str, *, said: str = "", remedy: str = "") -> CheckpointError:
    """The error for an HTTP status.

    Args:
        status: The reply's status.
        path: The object it was about.
        said: What the server said, already redacted.
        remedy: What to do if access was denied.
    """
    told = f" The server said: {said} (HTTP {status})." if said else f" (HTTP {status})"
    if status in (401, 403, 407):
        remedy = remedy or "Check the credentials and what they may do there."
        return PermissionDeniedError(f"Access to {path} was denied.{told} {remedy}", path=path)
    if status in (404, 410):
        return NotFoundError(f"There is no {path}.", path=path)
    if status == 412:
        return PreconditionFailedError(f"{path} was replaced: it is not the version that was asked for.", path=path)
    if status == 416:
        return DataLossError(f"{path} is shorter than it should be: it ends before the bytes asked for.", path=path)
    if status in (413, 507):
        return StorageFullError(f"There is no room for {path}.{told}", path=path)
    if status in (405, 501):
        return UnsupportedError(f"The server cannot do this with {path}.{told}", path=path)
    if status in _TRANSIENT_STATUSES:
        return StorageUnavailableError(f"The store did not answer for {path} as it should.{told}", path=path)
    if 300 <= status < 400:
        return StorageError(f"{path} is elsewhere: set the right region or endpoint.{told}", path=path)
    return StorageError(f"The store refused what was asked of {path}.{told}", path=path)


def from_exception(
    error: BaseException, path: str, *, secrets: tuple[str, ...] = (), remedy: str = ""
) -> CheckpointError:
    """The error for an exception of a library that is not known any better; the most specific answer first."""
    if isinstance(error, CheckpointError):
        return error
    said = redact(str(error), secrets)
    told = f" {type(error).__name__}: {said}" if said else f" {type(error).__name__}"
    denied = remedy or "Check the credentials and what they may do there."
    if isinstance(error, ImportError):
        return MissingDependencyError(f"A package that {path} needs is not installed.{told}", path=path)
    if isinstance(error, NotImplementedError):
        return UnsupportedError(f"{path} is on a store that cannot do this.{told}", path=path)
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return NotFoundError(f"There is no {path}.", path=path)
    if isinstance(error, IsADirectoryError):
        return NotFoundError(f"{path} is a directory and no object.", path=path)
    if isinstance(error, FileExistsError):
        return AlreadyExistsError(f"{path} is there already.{told}", path=path)
    if isinstance(error, PermissionError):
        return PermissionDeniedError(f"Access to {path} was denied.{told} {denied}", path=path)
    status = _http_status(error)
    if status is not None:
        return from_status(status, path, said=said, remedy=denied)
    if isinstance(error, OSError) and error.errno is not None:
        found = _from_errno(error.errno, path, told, denied)
        if found is not None:
            return found
    if _is_passing(error):
        return StorageUnavailableError(f"The store did not answer for {path}.{told}", path=path)
    if type(error).__module__.partition(".")[0] in _NETWORK_PACKAGES and "Auth" in type(error).__name__:
        return PermissionDeniedError(f"Access to {path} was denied.{told} {denied}", path=path)
    number = error.errno if isinstance(error, OSError) else None
    return StorageError(f"The store failed at {path}.{told}", path=path, errno=number)


def from_tls(error: BaseException, path: str, said: str) -> CheckpointError | None:
    """The error for a failure of TLS, or None if it is none.

    A wrong certificate stays wrong, and so does a server that speaks no TLS; a connection that breaks while it is used
    is one that breaks.
    """
    chain = [*_chain(error)]
    if not any("SSLError" in {kind.__name__ for kind in type(link).__mro__} for link in chain):
        return None
    broken = isinstance(error, ssl.SSLError) or any(isinstance(link, _BROKEN_TLS) for link in chain)
    if broken and not any(isinstance(link, ssl.SSLCertVerificationError) for link in chain):
        return StorageUnavailableError(f"The secure connection for {path} broke: {said}", path=path)
    return StorageError(f"No secure connection to the store of {path}: {said}", path=path)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, and what it was raised for."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _http_status(error: BaseException) -> int | None:
    """The HTTP status that an exception carries under one of its usual names (azure, aiohttp, gcsfs)."""
    for name in ("status_code", "status", "code"):
        value = getattr(error, name, None)
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if isinstance(value, int) and 300 <= value <= 599:
            return value
    return None


def _from_errno(number: int, path: str, told: str, denied: str) -> CheckpointError | None:
    if number == errno.ENOENT:
        return NotFoundError(f"There is no {path}.", path=path)
    if number in _DENIED_ERRNOS:
        return PermissionDeniedError(f"Access to {path} was denied.{told} {denied}", path=path, errno=number)
    if number in _FULL_ERRNOS:
        return StorageFullError(f"There is no room for {path}.{told}", path=path, errno=number)
    if number in _TRANSIENT_ERRNOS:
        return StorageUnavailableError(f"The store did not answer for {path}.{told}", path=path, errno=number)
    return None


def _is_passing(error: BaseException) -> bool:
    if isinstance(
        error, TimeoutError | asyncio.TimeoutError | concurrent.futures.CancelledError | ConnectionError | EOFError
    ):
        return True
    kind = type(error)
    if kind.__name__ == "FSTimeoutError":  # fsspec's: no OSError on Python 3.10
        return True
    return kind.__module__.partition(".")[0] in _NETWORK_PACKAGES and not _NOT_PASSING.search(kind.__name__)
