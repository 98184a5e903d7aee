"""What becomes of connections, and of the caller's buffers, when S3Store and GcsStore are interrupted or fail."""

from __future__ import annotations

import gc
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import pytest

from ckptstore.errors import StorageError, StorageUnavailableError
from ckptstore.storage import Payload, Store
from ckptstore.storage._foreign import from_tls

pytest.importorskip("s3fs")
pytest.importorskip("gcsfs")

from ckptstore.storage._gcs import GcsStore
from ckptstore.storage._s3 import S3Store

HALF = b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 0-999999/2000000\r\nContent-Length: 1000000\r\n\r\n" + bytes(
    500_000
)


class MuteServer:
    """Sends the beginning of a reply to every request, and nothing more.

    Attributes:
        reply: What it sends.
        until: What ends a request.
        accepted: How many connections there were.
        replied: Set when it has sent its reply to one.
        closed: Set when the client closes one.
    """

    def __init__(self) -> None:
        self.reply = b""
        self.until = b"\r\n\r\n"
        self.accepted = 0
        self.replied = threading.Event()
        self.closed = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> MuteServer:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.accepted += 1
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(30)
            asked = b""
            try:
                while not asked or self.until not in asked:
                    received = connection.recv(65536)
                    if not received:
                        return
                    asked += received
                connection.sendall(self.reply)
                self.replied.set()
                while connection.recv(65536):
                    pass
            except ConnectionError:
                pass
            finally:
                self.closed.set()


@pytest.fixture
def server() -> Iterator[MuteServer]:
    with MuteServer() as server:
        yield server


Make = Callable[[float], Store]


@pytest.fixture(params=["s3", "gcs"])
def make(request: pytest.FixtureRequest, server: MuteServer, _aio_session: Any) -> Iterator[Make]:
    """Makes a store on the server, which waits so many seconds for a reply."""
    stores: list[Store] = []

    def make(seconds: float) -> Store:
        if request.param == "s3":
            times = {"read_timeout": seconds}
            options = {"endpoint_url": server.url, "session": _aio_session, "config_kwargs": times}
            stores.append(S3Store("s3://bucket/run", options))
        else:
            options = {"endpoint_url": server.url, "token": "anon", "requests_timeout": seconds}
            stores.append(GcsStore("gs://bucket/run", options))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


CALLS: dict[str, Callable[[Store, bytearray], object]] = {
    "head": lambda store, data: store.head("a"),
    "put": lambda store, data: store.put("a", Payload.of(data)),
    "get": lambda store, data: store.get("a"),
    "read_into": lambda store, data: store.read_into("a", [(0, memoryview(data))]),
}


@pytest.fixture
def _no_gc() -> Iterator[None]:
    """No garbage is collected: Python drops a KeyboardInterrupt in a collector's callback, and hypothesis has one."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_gc")
@pytest.mark.parametrize("call", CALLS)
def test_ctrl_c_ends_a_request_at_once_and_leaves_none_behind(make: Make, server: MuteServer, call: str) -> None:
    server.reply = HALF if call in ("get", "read_into") else b""
    store = make(20)
    data = bytearray(1_000_000)
    sent: list[float] = []
    over = threading.Event()

    def interrupt() -> None:
        server.replied.wait(20)
        if not over.wait(0.3):  # by then it waits for more
            sent.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

    interruption = threading.Thread(target=interrupt)
    interruption.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            CALLS[call](store, data)
    finally:  # if it failed otherwise, no later test is interrupted
        over.set()
        server.replied.set()
        interruption.join()
    assert time.monotonic() - sent[0] < 5
    assert server.closed.wait(5)
    assert server.accepted == 1
    if call in ("get", "read_into"):  # and nobody writes to the buffer any more
        assert data[500_000:] == bytes(500_000)


@pytest.mark.usefixtures("_no_gc")
@pytest.mark.parametrize(("call", "reply"), [("put", b""), ("read_into", b""), ("read_into", HALF)])
def test_an_error_lets_go_of_the_buffers(make: Make, server: MuteServer, call: str, reply: bytes) -> None:
    """The clients' frames hold the errors that hold the frames: until the garbage is collected."""
    server.reply = reply
    store = make(0.2)
    data = bytearray(1_000_000)

    def fail() -> None:
        with pytest.raises(StorageUnavailableError):
            CALLS[call](store, data)

    fail()
    data.extend(b"x")  # a BufferError while a view of it is alive
    assert server.closed.wait(5)


def test_a_connection_is_used_again_after_a_whole_body_and_only_then(
    s3_server: Any, gcs_server: Any, s3_options: dict[str, Any]
) -> None:
    with (
        S3Store("s3://bucket/run", s3_options) as s3,
        GcsStore("gs://bucket/run", {"endpoint_url": gcs_server.url, "token": "anon"}) as gcs,
    ):
        for store in (s3, gcs):
            store.put("a", Payload.of(bytes(300_000)))
            opened = connections(store)
            for _ in range(3):
                store.get("a")
                store.read_into("a", [(100, memoryview(bytearray(100_000)))])
                store.head("a")
            assert connections(store) == opened
            with pytest.raises(StorageError, match="more than the 10 allowed"):
                store.get("a", limit=10)
            assert store.get("a")[0] == bytes(300_000)
            assert connections(store) == opened + 1


def connections(store: Any) -> int:
    """How many connections a store has opened."""
    if isinstance(store, S3Store):
        manager = store._client.get()._endpoint.http_session._manager
    else:
        manager = store._client.get()._adapter.poolmanager
    (pool,) = [manager.pools[key] for key in manager.pools.keys()]  # noqa: SIM118 - it refuses to be iterated
    return int(pool.num_connections)


class TestTls:
    def wrapped(self, cause: Exception) -> Exception:
        """As botocore and requests raise it."""
        import botocore.exceptions

        try:
            try:
                raise cause
            except ssl.SSLError as error:
                raise botocore.exceptions.SSLError(endpoint_url="https://x", error=error)  # noqa: B904
        except Exception as error:
            return error

    def test_a_wrong_certificate_stays_wrong(self) -> None:
        found = from_tls(self.wrapped(ssl.SSLCertVerificationError(1, "self-signed")), "s3://b/a", "said")
        assert type(found) is StorageError
        assert type(from_tls(self.wrapped(ssl.SSLError(1, "WRONG_VERSION_NUMBER")), "s3://b/a", "x")) is StorageError

    def test_a_connection_that_breaks_may_be_tried_again(self) -> None:
        for error in (self.wrapped(ssl.SSLEOFError(8, "EOF")), ssl.SSLError(1, "BAD_RECORD_MAC")):
            assert type(from_tls(error, "s3://b/a", "said")) is StorageUnavailableError

    def test_others_are_none(self) -> None:
        assert from_tls(ConnectionResetError(), "s3://b/a", "said") is None

    @pytest.mark.parametrize("kind", ["s3", "gcs"])
    def test_certificates_are_read_once(
        self, server: MuteServer, monkeypatch: pytest.MonkeyPatch, s3_options: dict[str, Any], kind: str
    ) -> None:
        """And not for every connection, which takes 20 ms of CPU time."""
        loads: list[Any] = []
        original = ssl.SSLContext.load_verify_locations

        def load(self: ssl.SSLContext, *args: Any, **kwargs: Any) -> None:
            loads.append(args)
            original(self, *args, **kwargs)

        monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", load)
        server.reply, server.until = b"no TLS", b""
        url = {"endpoint_url": server.url.replace("http:", "https:")}
        made = S3Store("s3://b/r", s3_options | url) if kind == "s3" else GcsStore("gs://b/r", {**url, "token": "anon"})
        with made as store:
            for _ in range(3):
                with pytest.raises(StorageError):
                    store.head("a")
        assert server.accepted == 3
        assert len(loads) == 1
