"""An HTTP/1.1 proxy on loopback that does to requests what networks and servers do, and counts them.

with FaultProxy(server.url) as proxy:
    proxy.rule("reset_after", method="PUT", times=1)
    S3Store("s3://bucket", {"endpoint_url": proxy.url})
    ...
    assert [call.fault for call in proxy.calls] == ["reset_after", None]

fault           what the client sees                               was the request carried out?
refuse          an error reply (`status`, `code`)                  no
refuse_after    an error reply                                     yes: nobody can tell
reset           the connection is reset after the request          no
reset_body      the connection is reset within the request         no
reset_after     the connection is reset in place of the reply      yes: nobody can tell
close_after     the connection is closed in place of the reply     yes: nobody can tell
truncate        the reply's body ends at `part` of it              yes
long            Content-Length is `extra` bytes too great          yes
stall           nothing for `seconds`, then a reset                no
stall_after     nothing for `seconds`, then a reset                yes: nobody can tell
stall_within    `part` of the body, nothing for `seconds`, reset   yes
corrupt_reply   one bit of the body is wrong, `part` of the way    yes
corrupt_request the server sees one wrong bit, `part` of the way   that is up to the server
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedReader
    from types import TracebackType

FAULTS = frozenset(
    [
        "refuse",
        "refuse_after",
        "reset",
        "reset_body",
        "reset_after",
        "close_after",
        "truncate",
        "long",
        "stall",
        "stall_after",
        "stall_within",
        "corrupt_reply",
        "corrupt_request",
    ]
)


@dataclass
class Rule:
    """Which requests go wrong, and how.

    Attributes:
        fault: One of the above.
        method: A regular expression for the whole method.
        target: One that is found in the path and query, as they were sent.
        skip: How many such requests are spared first.
        times: How many go wrong then; None: all.
        part: Where in the body, from 0 to 1.
        status: Of the error reply.
        code: Of the error reply, as S3 or GCS name it.
        seconds: How long nothing happens.
        extra: Bytes that Content-Length is too great by.
    """

    fault: str
    method: str = ".*"
    target: str = ""
    skip: int = 0
    times: int | None = 1
    part: float = 0.0
    status: int = 503
    code: str = "SlowDown"
    seconds: float = 60.0
    extra: int = 7

    def strikes(self, method: str, target: str) -> bool:
        """Whether a request is to go wrong; if so, one of the times is used up."""
        if not re.fullmatch(self.method, method) or not re.search(self.target, target):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return self.times is None or self.times >= 0


@dataclass
class Call:
    """One request: what was asked, and what was done to it."""

    method: str
    target: str
    fault: str | None


@dataclass
class Message:
    """A request or a reply: its first line and headers as they were sent, and its body."""

    head: bytes
    body: bytes

    @property
    def status(self) -> int:
        return int(self.head.split(b" ", 2)[1])

    def header(self, name: str) -> str:
        """The value of a header, empty if there is none."""
        return header(self.head, name)


class FaultProxy:
    """A proxy before one server, alive from `__enter__` to `__exit__`.

    Args:
        upstream: The server's URL, http://HOST:PORT.

    Attributes:
        calls: Every request, in order of arrival.
    """

    def __init__(self, upstream: str) -> None:
        where = urlsplit(upstream)
        self._upstream = (str(where.hostname), int(where.port or 80))
        self._rules: list[Rule] = []
        self.calls: list[Call] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> FaultProxy:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._listener.close()
        with self._lock:
            for open_socket in self._sockets:
                with contextlib.suppress(OSError):
                    open_socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    @property
    def url(self) -> str:
        """Where it is, for `endpoint_url`."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def rule(self, fault: str, **arguments: Any) -> Rule:
        """Makes requests go wrong. Of several rules that fit, the first that is not used up counts."""
        assert fault in FAULTS, fault
        rule = Rule(fault, **arguments)
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        """Drops rules and calls. What stalls goes on stalling."""
        with self._lock:
            self._rules.clear()
            self.calls.clear()

    def struck(self) -> int:
        """How many requests went wrong."""
        return sum(call.fault is not None for call in self.calls)

    # -- inside

    def _start(self, run: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=run, args=arguments, name="faultproxy", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        """One connection of a client's, and one to the server that lives as long."""
        with contextlib.suppress(OSError, ValueError), contextlib.ExitStack() as stack:
            self._watch(stack, client)
            server = socket.create_connection(self._upstream)
            self._watch(stack, server)
            from_client = stack.enter_context(client.makefile("rb"))
            from_server = stack.enter_context(server.makefile("rb"))
            while self._pass_on(client, server, from_client, from_server):
                pass

    def _watch(self, stack: contextlib.ExitStack, end: socket.socket) -> None:
        stack.enter_context(end)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._sockets.add(end)
        stack.callback(self._forget, end)

    def _forget(self, end: socket.socket) -> None:
        with self._lock:
            self._sockets.discard(end)

    def _pass_on(
        self, client: socket.socket, server: socket.socket, from_client: BufferedReader, from_server: BufferedReader
    ) -> bool:
        """One request and its reply. Returns whether the connection goes on."""
        head = read_head(from_client)
        method, target, _ = head.decode("latin-1").split(" ", 2)
        with self._lock:
            rule = next((rule for rule in self._rules if rule.strikes(method, target)), None)
            self.calls.append(Call(method, target, rule.fault if rule else None))
        fault = rule.fault if rule else ""
        if rule is None:
            rule = Rule("")
        if header(head, "expect"):
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = re.sub(rb"(?im)^expect:.*\r\n", b"", head)
        if fault == "reset_body":
            length = int(header(head, "content-length") or 0)
            from_client.read(length // 2)
            return _reset(client)
        request = Message(head, read_body(from_client, head))
        if fault == "reset":
            return _reset(client)
        if fault == "stall":
            self._ended.wait(rule.seconds)
            return _reset(client)
        if fault == "refuse":
            client.sendall(_refusal(rule, method, target))
            return True
        if fault == "corrupt_request":
            request.body = flipped(request.body, rule.part)
        server.sendall(request.head + request.body)
        reply = read_reply(from_server, method)
        return self._answer(client, reply, rule, method, target)

    def _answer(self, client: socket.socket, reply: Message, rule: Rule, method: str, target: str) -> bool:
        fault, body = rule.fault, reply.body
        if fault == "reset_after":
            return _reset(client)
        if fault == "close_after":
            return False
        if fault == "stall_after":
            self._ended.wait(rule.seconds)
            return _reset(client)
        if fault == "refuse_after":
            client.sendall(_refusal(rule, method, target))
            return True
        end = int(len(body) * rule.part)
        if fault == "truncate" and body:
            client.sendall(reply.head + body[:end])
            return False
        if fault == "stall_within" and body:
            client.sendall(reply.head + body[:end])
            self._ended.wait(rule.seconds)
            return _reset(client)
        if fault == "long" and method != "HEAD" and reply.header("content-length"):
            length = int(reply.header("content-length")) + rule.extra
            head = re.sub(rb"(?im)^content-length:.*\r\n", b"Content-Length: %d\r\n" % length, reply.head)
            client.sendall(head + body)
            return False
        client.sendall(reply.head + (flipped(body, rule.part) if fault == "corrupt_reply" else body))
        return reply.header("connection").lower() != "close"


def read_head(stream: BufferedReader) -> bytes:
    """The first line and the headers, up to the empty line and with it.

    Raises:
        ConnectionError: The stream ended.
    """
    lines = []
    while True:
        line: bytes = stream.readline()
        if not line:
            raise ConnectionError("the other end hung up")
        lines.append(line)
        if line == b"\r\n":
            return b"".join(lines)


def header(head: bytes, name: str) -> str:
    """The value of a header, empty if there is none."""
    found = re.search(rb"(?im)^%s:[ \t]*(.*?)[ \t]*\r\n" % name.encode(), head)
    return found[1].decode("latin-1") if found else ""


def read_body(stream: BufferedReader, head: bytes) -> bytes:
    """The body that belongs to a head, chunks and all as they were sent."""
    if "chunked" in header(head, "transfer-encoding").lower():
        body = bytearray()
        while True:
            line: bytes = stream.readline()
            body += line
            size = int(line.split(b";")[0], 16)
            if size == 0:
                return bytes(body + read_head(stream))
            body += _exactly(stream, size + 2)
    return _exactly(stream, int(header(head, "content-length") or 0))


def read_reply(stream: BufferedReader, method: str) -> Message:
    """A server's reply, those with a status of 1xx left out."""
    head = read_head(stream)
    while head.split(b" ", 2)[1].startswith(b"1"):
        head = read_head(stream)
    bodyless = method == "HEAD" or head.split(b" ", 2)[1] in (b"204", b"304")
    return Message(head, b"" if bodyless else read_body(stream, head))


def flipped(body: bytes, part: float) -> bytes:
    """A body with one bit flipped."""
    if not body:
        return body
    at = min(int(len(body) * part), len(body) - 1)
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


def _exactly(stream: BufferedReader, size: int) -> bytes:
    data: bytes = stream.read(size)
    if len(data) < size:
        raise ConnectionError(f"the body ended after {len(data)} of {size} bytes")
    return data


def _reset(client: socket.socket) -> bool:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close() sends RST
    return False


def _refusal(rule: Rule, method: str, target: str) -> bytes:
    message = "A test asked for this."
    if re.match(r"/(upload/|download/)?storage/v1", target):
        kind = "application/json"
        body = json.dumps({"error": {"code": rule.status, "message": message, "errors": [{"reason": rule.code}]}})
    else:
        kind = "application/xml"
        body = f"<?xml version='1.0'?><Error><Code>{rule.code}</Code><Message>{message}</Message></Error>"
    sent = "" if method == "HEAD" else body
    return f"HTTP/1.1 {rule.status} -\r\nContent-Type: {kind}\r\nContent-Length: {len(sent)}\r\n\r\n{sent}".encode()
