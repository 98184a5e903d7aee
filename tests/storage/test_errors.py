"""What foreign exceptions mean, and the pieces between our verbs and the asyncio clients."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import pickle
import random
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from ckptstore import errors
from ckptstore.errors import StorageError, StorageUnavailableError, UnsupportedError
from ckptstore.storage import Payload
from ckptstore.storage._aio import PayloadReader, Scatter, gather, receive, run
from ckptstore.storage._foreign import from_exception, from_status, redact, secrets_in
from ckptstore.storage._gcs_errors import from_reply
from ckptstore.storage._s3_errors import from_code


class HttpLikeError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__("odd")
        self.status_code = status


STATUSES = {
    301: errors.StorageError,
    400: errors.StorageError,
    401: errors.PermissionDeniedError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    405: errors.UnsupportedError,
    408: errors.StorageUnavailableError,
    410: errors.NotFoundError,
    412: errors.PreconditionFailedError,
    416: errors.DataLossError,
    429: errors.StorageUnavailableError,
    500: errors.StorageUnavailableError,
    501: errors.UnsupportedError,
    503: errors.StorageUnavailableError,
    507: errors.StorageFullError,
}


@pytest.mark.parametrize(("status", "expected"), STATUSES.items())
def test_from_status(status: int, expected: type[Exception]) -> None:
    assert type(from_status(status, "s3://b/a")) is expected
    found = from_exception(HttpLikeError(status), "abfs://b/a")
    assert type(found) is expected
    assert found.path == "abfs://b/a"
    assert "abfs://b/a" in str(found)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (FileNotFoundError(), errors.NotFoundError),
        (IsADirectoryError(), errors.NotFoundError),
        (FileExistsError(), errors.AlreadyExistsError),
        (PermissionError(), errors.PermissionDeniedError),
        (OSError(errno.EROFS, "x"), errors.PermissionDeniedError),
        (OSError(errno.ENOSPC, "x"), errors.StorageFullError),
        (OSError(errno.EDQUOT, "x"), errors.StorageFullError),
        (OSError(errno.ECONNRESET, "x"), errors.StorageUnavailableError),
        (OSError(errno.EIO, "x"), errors.StorageError),
        (TimeoutError(), errors.StorageUnavailableError),
        (asyncio.TimeoutError(), errors.StorageUnavailableError),
        (ImportError("paramiko"), errors.MissingDependencyError),
        (NotImplementedError(), errors.UnsupportedError),
        (RuntimeError("odd"), errors.StorageError),
    ],
)
def test_from_exception(error: Exception, expected: type[Exception]) -> None:
    assert type(from_exception(error, "x://a")) is expected


def test_wrong_region() -> None:
    error = from_code(301, "PermanentRedirect", "elsewhere", "s3://b/a", "b")
    assert "region_name" in str(error)


@pytest.mark.parametrize("status", [400, 501])
def test_what_a_server_says_it_has_not(status: int) -> None:
    assert type(from_code(status, "NotImplemented", "If-None-Match", "s3://b/a", "b")) is UnsupportedError


def test_too_many_writes_of_one_object_are_passing() -> None:
    body = b'{"error": {"code": 429, "message": "slow", "errors": [{"reason": "rateLimitExceeded"}]}}'
    assert type(from_reply(429, body, "gs://b/a", "b")) is StorageUnavailableError


@pytest.mark.parametrize(("status", "expected"), [(412, errors.PreconditionFailedError), (404, errors.NotFoundError)])
def test_a_condition_that_does_not_hold(status: int, expected: type[Exception]) -> None:
    assert type(from_code(status, "PreconditionFailed", "", "s3://b/a", "b")) is expected
    assert type(from_reply(status, b"", "gs://b/a", "b")) is expected


def test_errno_is_kept() -> None:
    found = from_exception(OSError(errno.EIO, "x"), "x://a")
    assert isinstance(found, StorageError)
    assert found.errno == errno.EIO


def test_ours_stays_ours() -> None:
    error = errors.DataLossError("x")
    assert from_exception(error, "x://a") is error


def test_errors_can_be_pickled() -> None:
    error = pickle.loads(pickle.dumps(from_status(503, "s3://b/a")))
    assert isinstance(error, StorageUnavailableError)
    assert error.path == "s3://b/a"


def test_redact() -> None:
    text = "GET https://me:pw@host/a?sig=abc failed\nwith KEY12345"
    assert redact(text, ("KEY12345",)) == "GET https://***@host/a?*** failed with ***"
    assert len(redact("x" * 1000)) == 300


def test_secrets_in() -> None:
    options = {
        "key": "AKIAKEY",
        "anon": False,
        "endpoint_url": "https://host.example",
        "client_kwargs": {"region_name": "eu-west-1", "aws_session_token": b"a-longer-token"},
    }
    assert secrets_in(options) == ("a-longer-token", "AKIAKEY")


class TestPayloadReader:
    @pytest.fixture
    def pieces(self) -> list[bytes]:
        source = random.Random(1)
        return [source.randbytes(source.choice([0, 1, 5, 100, 20_000, 70_000])) for _ in range(200)]

    @pytest.mark.parametrize("size", [1, 7, 1000, 1 << 16, 1 << 18])
    def test_reads_all(self, pieces: list[bytes], size: int) -> None:
        pieces = pieces[:20] if size == 1 else pieces
        reader = PayloadReader(Payload(pieces))
        out = bytearray()
        while chunk := reader.read(size):
            assert len(chunk) <= size
            out += chunk
        assert out == b"".join(pieces)
        assert reader.tell() == len(reader) == len(out)

    def test_is_a_bytesio_for_the_clients(self, pieces: list[bytes]) -> None:
        whole = b"".join(pieces)
        reader = PayloadReader(Payload(pieces))
        assert isinstance(reader, io.BytesIO)
        with reader.getbuffer() as extent:
            assert len(extent) == len(whole)
        assert reader.seek(0, os.SEEK_END) == len(whole)
        assert reader.read(5) == b""
        assert reader.seek(-10, os.SEEK_CUR) == len(whole) - 10
        assert bytes(reader.read()) == whole[-10:]
        reader.seek(3)
        assert bytes(reader.read(None)) == whole[3:]
        assert reader.getvalue() == whole

    def test_copies_nothing_of_a_large_buffer(self) -> None:
        data = bytearray(1 << 20)
        chunk = PayloadReader(Payload.of(data)).read(1 << 16)
        data[0] = 1
        assert chunk[0] == 1

    def test_small_pieces_go_out_together(self) -> None:
        reader = PayloadReader(Payload([b"abcd"] * 10_000))
        assert len(reader.read(1 << 16)) == 40_000

    def test_of_nothing(self) -> None:
        assert PayloadReader(Payload([])).read(10) == b""


def test_scatter_deals_out_any_chunks() -> None:
    source = random.Random(2)
    data = source.randbytes(10_000)
    for _ in range(50):
        ranges = [(source.randrange(9000), source.randrange(1000)) for _ in range(source.randrange(1, 30))]
        buffers = [bytearray(size) for _, size in ranges]
        scatter = Scatter([(start, memoryview(buffer)) for (start, _), buffer in zip(ranges, buffers, strict=True)])
        position = scatter.start
        while position < scatter.stop:
            step = min(source.choice([1, 10, 1000]), scatter.stop - position)
            scatter.write(data[position : position + step])
            position += step
        assert [bytes(b) for b in buffers] == [data[start : start + size] for start, size in ranges]


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [([b"abc", b"de"], None), ([b"abc"], StorageUnavailableError), ([b"abc", b"def"], StorageError)],
)
def test_receive_takes_exactly_what_it_should(chunks: list[bytes], expected: type[Exception] | None) -> None:
    got: list[bytes] = []
    rest = [*chunks, b""]

    async def read() -> bytes:
        return rest.pop(0)

    if expected is None:
        asyncio.run(receive(read, got.append, 5, "x"))
        assert b"".join(got) == b"abcde"
    else:
        with pytest.raises(expected) as caught:
            asyncio.run(receive(read, got.append, 5, "x"))
        assert type(caught.value) is expected


class TestRun:
    @pytest.fixture
    def loop(self) -> Iterator[asyncio.AbstractEventLoop]:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        yield loop
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    def test_result_and_error(self, loop: asyncio.AbstractEventLoop) -> None:
        async def double(number: int) -> int:
            if number < 0:
                raise ValueError("negative")
            return 2 * number

        assert run(loop, double(4)) == 8
        with pytest.raises(ValueError, match="negative"):
            run(loop, double(-1))

    def test_ctrl_c_waits_for_the_clean_up(self, loop: asyncio.AbstractEventLoop) -> None:
        happened: list[str] = []

        async def work() -> None:
            happened.append("begun")
            threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGINT]).start()
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                await asyncio.sleep(0.1)
                happened.append("cleaned up")
                raise

        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            run(loop, work())
        assert happened == ["begun", "cleaned up"]
        assert time.monotonic() - begun < 5

    def test_on_the_loop_itself(self, loop: asyncio.AbstractEventLoop) -> None:
        async def nothing() -> None:
            pass

        async def inside() -> None:
            run(loop, nothing())

        with pytest.raises(UnsupportedError, match="I/O thread"):
            run(loop, inside())

    def test_an_error_lets_go_of_the_buffers(self, loop: asyncio.AbstractEventLoop) -> None:
        data = bytearray(10)

        async def fail(view: memoryview) -> None:
            raise ValueError(view.nbytes)

        def call() -> None:
            with pytest.raises(ValueError, match="10"):
                run(loop, fail(memoryview(data)))

        call()
        data.extend(b"x")  # a BufferError while a view of it is alive


class TestGather:
    def test_no_more_at_once_than_allowed(self) -> None:
        now, most = 0, 0

        async def one() -> None:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0)
            now -= 1

        asyncio.run(gather((one for _ in range(50)), limit=4))
        assert (now, most) == (0, 4)

    def test_a_failure_stops_the_others_first(self) -> None:
        happened: list[str] = []

        async def wait() -> None:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                happened.append("stopped")
                raise

        async def fail() -> None:
            await asyncio.sleep(0)
            raise ValueError("odd")

        with pytest.raises(ValueError, match="odd"):
            asyncio.run(gather([wait, wait, fail], limit=3))
        assert happened == ["stopped", "stopped"]
