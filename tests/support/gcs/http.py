"""HTTP/1.1 on one connection: requests in, replies out. Nothing here knows of GCS."""

from __future__ import annotations

import contextlib
import json
import re
import socket
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from io import BufferedReader

_MAX_LINE = 1 << 16
_ORIGIN = re.compile(r"^https?://[^/?]*")
_BODILESS = frozenset({204, 304})  # RFC 9110: no content, hence no Content-Length either
_REASONS = {status.value: status.phrase for status in HTTPStatus} | {
    308: "Resume Incomplete",  # these two have meanings of Google's own
    499: "Client Closed Request",
}


class MalformedRequestError(Exception):
    """The bytes on the wire are no HTTP request; the connection cannot be used any further."""


@dataclass(frozen=True)
class Request:
    """One request, body and all.

    Attributes:
        method: In capitals.
        raw_path: The path as it came, still percent-encoded, so that "%2F" in an object's name is not a separator.
        query: The decoded query; a name without "=" has the value "". Of a repeated name the last one counts.
        headers: By lower-case name.
        body: Decoded from any transfer coding.
    """

    method: str
    raw_path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def parse(cls, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Request:
        """A request from the parts of its first line; a target that is a whole URL loses the front of it."""
        raw_path, _, query = _ORIGIN.sub("", target).partition("?")
        return cls(method, raw_path, dict(parse_qsl(query, keep_blank_values=True)), headers, body)

    @property
    def path(self) -> str:
        """The decoded path, to be read by people and predicates."""
        return unquote(self.raw_path)

    @property
    def segments(self) -> tuple[str, ...]:
        """The decoded segments of the path."""
        return tuple(unquote(segment) for segment in self.raw_path.split("/")[1:])

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; {} when there is no body.

        Raises:
            ValueError: It is something else.
        """
        if not self.body:
            return {}
        value = json.loads(self.body)
        if not isinstance(value, dict):
            raise ValueError("The body is no JSON object.")
        return value


@dataclass(frozen=True)
class Reply:
    """What goes back: a status, a body, and headers besides those that describe the body."""

    status: int
    body: bytes | memoryview = b""
    content_type: str = "text/html; charset=UTF-8"
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def reason(self) -> str:
        """The status in words."""
        return _REASONS.get(self.status, "Unknown")

    def head(self) -> bytes:
        """The status line and the headers, up to and with the empty line."""
        lines = [f"HTTP/1.1 {self.status} {self.reason}", f"Date: {formatdate(usegmt=True)}"]
        if self.status not in _BODILESS:
            lines += [f"Content-Length: {len(self.body)}", f"Content-Type: {self.content_type}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class Connection:
    """One client's connection. `serve` runs in a thread of its own; `abort` may come from any other.

    Args:
        sock: The accepted socket. The connection owns it and closes it.
        answer: Turns a request into its reply, or into None: hang up without a word.
    """

    def __init__(self, sock: socket.socket, answer: Callable[[Request], Reply | None]) -> None:
        self._sock = sock
        self._answer = answer

    def serve(self) -> None:
        """Answers requests until the client leaves, asks to close, or `abort` is called.

        A client that vanishes is its own affair. Any other exception is a bug of the emulator, and is left to
        surface: pytest makes a failure of it.
        """
        with self._sock, self._sock.makefile("rb") as reader, contextlib.suppress(ConnectionError):
            with contextlib.suppress(OSError):  # EINVAL on macOS if the client has left already
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while self._serve_one(reader):
                pass

    def abort(self) -> None:
        """Makes `serve` return soon, also while it waits for the client."""
        with contextlib.suppress(OSError):  # the client, or serve itself, was faster
            self._sock.shutdown(socket.SHUT_RDWR)

    def _serve_one(self, reader: BufferedReader) -> bool:
        """Answers one request; True if another may follow on this connection."""
        try:
            request, keep_alive = self._read_request(reader)
        except MalformedRequestError as e:
            self._send(Reply(400, str(e).encode(), "text/plain", (("Connection", "close"),)))
            return False
        if request is None:
            return False
        reply = self._answer(request)
        if reply is None:
            return False
        self._send(reply, head_only=request.method == "HEAD")
        return keep_alive

    def _send(self, reply: Reply, *, head_only: bool = False) -> None:
        self._sock.sendall(reply.head())
        if not head_only and reply.status not in _BODILESS:
            self._sock.sendall(reply.body)

    def _read_request(self, reader: BufferedReader) -> tuple[Request | None, bool]:
        """The next request, or None at the end of the stream; and whether the connection stays open after it."""
        line = _read_line(reader, at_start=True)
        if not line:
            return None, False
        try:
            method, target, version = line.split(" ")
        except ValueError:
            raise MalformedRequestError(f"{line[:80]!r} is no request line.") from None
        headers = dict(_read_headers(reader))
        if headers.get("expect", "").lower() == "100-continue":
            self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = _read_body(reader, headers)
        keep_alive = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
        return Request.parse(method, target, headers, body), keep_alive


def _read_line(reader: BufferedReader, *, at_start: bool = False) -> str:
    """One line without its end; "" for an empty one, and for the end of the stream when that is allowed `at_start`."""
    line = reader.readline(_MAX_LINE)
    if line.endswith(b"\n"):
        return line.rstrip(b"\r\n").decode("latin-1")
    if at_start and not line:
        return ""
    if len(line) == _MAX_LINE:
        raise MalformedRequestError("A line is too long.")
    raise ConnectionAbortedError("The client left in the middle of a request.")


def _read_headers(reader: BufferedReader) -> list[tuple[str, str]]:
    headers: list[tuple[str, str]] = []
    while line := _read_line(reader):
        name, colon, value = line.partition(":")
        if not colon:
            raise MalformedRequestError(f"{line[:80]!r} is no header.")
        headers.append((name.strip().lower(), value.strip()))
    return headers


def _read_body(reader: BufferedReader, headers: Mapping[str, str]) -> bytes:
    """The whole body, so that the next request on the connection starts where it should, whatever the answer is."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        chunks = []
        while size := _number(_read_line(reader).partition(";")[0], base=16):
            chunks.append(_read_exactly(reader, size))
            if _read_line(reader):
                raise MalformedRequestError("A chunk is longer than its size says.")
        _read_headers(reader)  # trailers
        return b"".join(chunks)
    return _read_exactly(reader, _number(headers.get("content-length", "0"), base=10))


def _read_exactly(reader: BufferedReader, size: int) -> bytes:
    data = reader.read(size)
    if len(data) < size:
        raise ConnectionAbortedError("The client left in the middle of a body.")
    return data


def _number(text: str, *, base: int) -> int:
    try:
        value = int(text, base)
    except ValueError:
        value = -1
    if value < 0:
        raise MalformedRequestError(f"{text[:80]!r} is no length.")
    return value
