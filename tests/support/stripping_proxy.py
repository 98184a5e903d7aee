"""A proxy that drops headers of requests, as some do that stand before object stores, and passes on all else.

It fits unsigned requests only: S3's signature covers the headers.
"""

from __future__ import annotations

import re
import socket
from io import BufferedReader

from tests.support.faultproxy import Call, FaultProxy, header, read_body, read_head, read_reply


class StrippingProxy(FaultProxy):
    """A proxy before one server, alive from `__enter__` to `__exit__`. It obeys no rules, only counts.

    Args:
        upstream: The server's URL, http://HOST:PORT.
        names: The headers that it drops.

    Attributes:
        stripped: How many headers it dropped.
    """

    def __init__(self, upstream: str, names: tuple[str, ...] = ("If-Match", "If-None-Match")) -> None:
        super().__init__(upstream)
        self._pattern = re.compile(rb"(?im)^(?:%s):.*\r\n" % "|".join(names).encode())
        self.stripped = 0

    def __enter__(self) -> StrippingProxy:
        super().__enter__()
        return self

    def _pass_on(
        self, client: socket.socket, server: socket.socket, from_client: BufferedReader, from_server: BufferedReader
    ) -> bool:
        head = read_head(from_client)
        method, target, _ = head.decode("latin-1").split(" ", 2)
        if header(head, "expect"):
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = re.sub(rb"(?im)^expect:.*\r\n", b"", head)
        body = read_body(from_client, head)
        head, stripped = self._pattern.subn(b"", head)
        with self._lock:
            self.calls.append(Call(method, target, None))
            self.stripped += stripped
        server.sendall(head + body)
        reply = read_reply(from_server, method)
        client.sendall(reply.head + reply.body)
        return reply.header("connection").lower() != "close"
