"""What foreign exceptions mean, and what goes over connections."""

from __future__ import annotations

import asyncio
import errno
import http.client
import io
import os
import pickle
import random

import pytest

from ckptstore import errors
from ckptstore.errors import StorageError, StorageUnavailableError, UnsupportedError
from ckptstore.storage import Payload
from ckptstore.storage._bodies import Body, PayloadReader, Scatter, receive, receive_all
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
        (http.client.IncompleteRead(b""), errors.StorageUnavailableError),
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
        reader = PayloadReader(Payload(pieces))
        out = bytearray()
        while chunk := reader.read(size):
            out += chunk
        assert out == b"".join(pieces)
        assert reader.tell() == len(reader) == len(out)

    def test_is_a_file_for_the_clients(self, pieces: list[bytes]) -> None:
        whole = b"".join(pieces)
        reader = PayloadReader(Payload(pieces))
        assert len(reader) == len(whole)
        assert reader.seek(0, os.SEEK_END) == len(whole)
        assert reader.read(5) == b""
        assert reader.seek(-10, os.SEEK_CUR) == len(whole) - 10
        assert bytes(reader.read()) == whole[-10:]
        reader.seek(3)
        assert bytes(reader.read(None)) == whole[3:]

    def test_hands_out_large_slices_however_little_is_asked_for(self) -> None:
        reader = PayloadReader(Payload.of(bytes(5 << 20)))
        sizes = []
        while chunk := reader.read(16 << 10):
            sizes.append(len(chunk))
        assert sizes == [1 << 20] * 5

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


def a_body(chunks: list[bytes]) -> Body:
    """A body that arrives in such pieces."""
    rest = io.BytesIO(b"".join(chunks))
    sizes = iter([len(chunk) for chunk in chunks])

    class Raw:
        def read(self, size: int) -> bytes:
            return rest.read(min(size, next(sizes, size)))

    return Body(Raw())


class TestScatter:
    @pytest.mark.parametrize("longest", [1000, 200_000])
    def test_deals_out_any_chunks(self, longest: int) -> None:
        source = random.Random(2)
        data = source.randbytes(10 * longest)
        for _ in range(50):
            ranges = [
                (source.randrange(9 * longest), source.randrange(longest)) for _ in range(source.randrange(1, 30))
            ]
            buffers = [bytearray(size) for _, size in ranges]
            targets = [(start, memoryview(buffer)) for (start, _), buffer in zip(ranges, buffers, strict=True)]
            wanted = [data[start : start + size] for start, size in ranges]
            steps = [1, 10, 1000, longest, 10 * longest]

            scatter = Scatter(targets)
            position = scatter.start
            while position < scatter.stop:
                step = min(source.choice(steps), scatter.stop - position)
                scatter.write(data[position : position + step])
                position += step
            assert [bytes(buffer) for buffer in buffers] == wanted

            for buffer in buffers:
                buffer[:] = bytes(len(buffer))
            scatter = Scatter(targets)
            run = io.BytesIO(data[scatter.start : scatter.stop])

            def read(view: memoryview, run: io.BytesIO = run, steps: list[int] = steps) -> int:
                return run.readinto(view[: source.choice(steps)])

            left = scatter.stop - scatter.start
            while left:
                left -= scatter.fill(read)
            assert [bytes(buffer) for buffer in buffers] == wanted

    def test_large_targets_are_read_into_and_small_ones_are_dealt_out(self) -> None:
        large, small = [bytearray(1 << 20) for _ in range(2)], [bytearray(100) for _ in range(50)]
        targets = [(0, memoryview(large[0]))]
        targets += [((1 << 20) + 200 * index, memoryview(buffer)) for index, buffer in enumerate(small)]
        targets += [((1 << 20) + 20_000, memoryview(large[1]))]
        sizes = []

        def read(view: memoryview) -> int:
            sizes.append(view.nbytes)
            return view.nbytes

        scatter = Scatter(targets)
        left = scatter.stop
        while left:
            left -= scatter.fill(read)
        assert sizes == [1 << 20, 20_000, 1 << 20]


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [([b"abc", b"de"], None), ([b"abc"], StorageUnavailableError), ([b"abc", b"def"], StorageError)],
)
def test_exactly_what_should_come_is_taken(chunks: list[bytes], expected: type[Exception] | None) -> None:
    got = bytearray(5)
    if expected is None:
        receive(a_body(chunks), Scatter([(7, memoryview(got))]), "x")
        assert got == receive_all(a_body(chunks), 5, "x") == b"abcde"
    else:
        with pytest.raises(expected) as caught:
            receive(a_body(chunks), Scatter([(7, memoryview(got))]), "x")
        assert type(caught.value) is expected
        with pytest.raises(expected) as caught:
            receive_all(a_body(chunks), 5, "x")
        assert type(caught.value) is expected


def test_what_a_reply_promises_is_not_allocated() -> None:
    with pytest.raises(StorageUnavailableError):
        receive_all(a_body([b"abc"]), 1 << 60, "x")
