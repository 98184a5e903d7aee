"""The server: a socket, the two APIs behind it, and what a test may order and count."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from tests.support.gcs.faults import Fault
from tests.support.gcs.http import Connection, Reply, Request
from tests.support.gcs.json_api import JsonApi
from tests.support.gcs.objects import ObjectStore
from tests.support.gcs.xml_api import XmlApi

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

MIN_PART_SIZE = 5 << 20  # cloud.google.com/storage/quotas#requests: parts of XML multipart uploads, save the last


class Call(NamedTuple):
    """One request, as `GcsServer.requests` remembers it. The path is decoded."""

    method: str
    path: str
    query: Mapping[str, str]


class GcsServer:
    """An in-memory GCS on a free port of 127.0.0.1, alive from `__enter__` to `__exit__`.

    Args:
        now: The time of day in seconds since 1970, for the times in replies; generations never go back with it.
        min_part_size: The least bytes of every part but the last in an XML multipart upload; smaller ones are 400
            EntityTooSmall. Tests of other things may lower it.
        multipart_preconditions: Honour x-goog-if-generation-match in XML multipart uploads. Google documents that it
            refuses them there (400 NotImplemented), and so does this by default.

    Attributes:
        deaf: Take no notice of the JSON API's preconditions, as the emulators on the package index do.
        requests: Every request that arrived whole, in order of arrival, those that a fault hit too. The calls
            inside a batch are not requests.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.time,
        min_part_size: int = MIN_PART_SIZE,
        multipart_preconditions: bool = False,
    ) -> None:
        self.deaf = False
        self.requests: list[Call] = []
        self._faults: tuple[Fault, ...] = ()
        self._store = ObjectStore(now)
        self._json = JsonApi(self._store)
        self._xml = XmlApi(self._store, now, min_part_size=min_part_size, preconditions=multipart_preconditions)
        self._listener: _Listener | None = None

    @property
    def url(self) -> str:
        """Where it is, for `endpoint_url`: "http://127.0.0.1:PORT".

        Raises:
            RuntimeError: It is not running.
        """
        if self._listener is None:
            raise RuntimeError("The server is not running; enter it with a with statement.")
        return f"http://127.0.0.1:{self._listener.port}"

    def __enter__(self) -> GcsServer:
        self._listener = _Listener(self._answer)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    def reset(self) -> None:
        """Forgets buckets, uploads, faults and requests. Connections stay, and generations go on growing."""
        self.deaf = False
        self._faults = ()
        self._store.clear()
        self._json.clear()
        self._xml.clear()
        self.requests.clear()

    def fail_next(
        self,
        predicate: Callable[[Request], bool],
        status: int = 503,
        times: int = 1,
        *,
        after: bool = False,
        hang_up: bool = True,
    ) -> None:
        """Makes the next requests of some kind fail. Of several faults that fit, the one ordered first comes first.

        Args:
            predicate: Which requests. It is called in the server's threads.
            status: Answer with this HTTP status, and do nothing of what was asked.
            times: How often.
            after: Do what was asked, then hang up without a reply: a lost reply. Mind that HTTP clients repeat
                some requests (aiohttp: GET, PUT, DELETE) by themselves then.
            hang_up: False, with `after`: reply with the status in place of hanging up.
        """
        fault = Fault(predicate, status=status, times=times, after=after, hang_up=hang_up)
        self._faults = (*self._faults, fault)

    def _answer(self, request: Request) -> Reply | None:
        """The reply, or None for a hang-up. Runs in the connection's thread."""
        self.requests.append(Call(request.method, request.path, request.query))
        api: JsonApi | XmlApi = self._json if self._json.owns(request) else self._xml
        fault = next((fault for fault in self._faults if fault.strikes(request)), None)
        if self.deaf:
            request = replace(request, query={k: v for k, v in request.query.items() if "GenerationMatch" not in k})
        if fault is None:
            return api.answer(request)
        if fault.after:
            api.answer(request)
            if fault.hang_up:
                return None
        error = fault.error()
        return error.as_json() if api is self._json else error.as_xml()


class _Listener:
    """The listening socket, the thread that accepts, and a thread for every connection.

    Args:
        answer: Turns requests into replies.
    """

    def __init__(self, answer: Callable[[Request], Reply | None]) -> None:
        self._answer = answer
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._socket.setblocking(False)
        self._wake, self._woken = socket.socketpair()
        self._connections: dict[Connection, threading.Thread] = {}
        self._lock = threading.Lock()
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="gcs-accept", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hangs up on everybody, and returns when all threads have ended and all sockets are closed."""
        self._wake.close()
        self._thread.join()
        with self._lock:
            open_now = dict(self._connections)
        for connection in open_now:
            connection.abort()
        for thread in open_now.values():
            thread.join()

    def _accept(self) -> None:
        """Waits for connections, and for the end: closing a socket does not wake those that wait in accept()."""
        with self._socket, self._woken, selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while all(key.fileobj is not self._woken for key, _ in selector.select()):
                with contextlib.suppress(BlockingIOError, ConnectionAbortedError):  # it left before we came
                    accepted, _ = self._socket.accept()
                    accepted.setblocking(True)
                    self._start(Connection(accepted, self._answer))

    def _start(self, connection: Connection) -> None:
        thread = threading.Thread(target=self._serve, args=(connection,), name="gcs-connection", daemon=True)
        with self._lock:
            self._connections[connection] = thread
        thread.start()

    def _serve(self, connection: Connection) -> None:
        try:
            connection.serve()
        finally:
            with self._lock:
                self._connections.pop(connection, None)
