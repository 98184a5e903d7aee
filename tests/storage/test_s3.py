"""S3Store against moto: the contract, and what a network does to it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ckptstore.errors import (
    DataLossError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionFailedError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
    UnsupportedError,
)
from ckptstore.storage import Payload, RetryingStore, RetryPolicy, Store, TransferStore, from_url
from ckptstore.testing import ManualClock, StoreTests

pytest.importorskip("s3fs")
pytest.importorskip("moto")

from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from ckptstore.storage._s3 import S3Store
from tests.storage.conftest import BUCKET
from tests.storage.s3_server import Call, S3Server, canned, hang_up, lost_reply, refusal

URL = f"s3://{BUCKET}/run"
MIB = 1 << 20


class _S3Tests(StoreTests):
    @pytest.fixture(autouse=True)
    def _raw(self, boto: Any) -> None:
        self._boto = boto

    def raw_get(self, key: str) -> bytes:
        return self._boto.get_object(Bucket=BUCKET, Key=f"run/{key}")["Body"].read()

    def raw_put(self, key: str, data: bytes) -> None:
        self._boto.put_object(Bucket=BUCKET, Key=f"run/{key}", Body=data)

    def raw_keys(self) -> set[str]:
        """Objects, and uploads that nobody finished."""
        pages = self._boto.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="run/")
        uploads = self._boto.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
        return {item["Key"].removeprefix("run/") for page in pages for item in page.get("Contents", [])} | {
            f"upload of {upload['Key']}" for upload in uploads
        }


class TestS3Store(_S3Tests):
    @pytest.fixture
    def store(self, s3_options: dict[str, Any]) -> Iterator[Store]:
        with S3Store(URL, s3_options) as store:
            yield store


class TestStack(_S3Tests):
    """The same through everything that `from_url` puts before the store."""

    @pytest.fixture
    def store(self, s3_options: dict[str, Any]) -> Iterator[Store]:
        with from_url(URL, s3_options) as store:
            yield store


@pytest.fixture
def store(s3_options: dict[str, Any]) -> Iterator[S3Store]:
    with S3Store(URL, s3_options) as store:
        yield store


@pytest.fixture
def retrying(store: S3Store) -> RetryingStore:
    return RetryingStore(store, RetryPolicy(attempts=6), clock=ManualClock())


def anything(call: Call) -> bool:
    return True


def reading(call: Call) -> bool:
    return call.method == "GET"


def completing(call: Call) -> bool:
    return call.method == "POST" and "uploadId" in call.query


def raw_keys(boto: Any) -> list[str]:
    return [item["Key"] for item in boto.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


def raw_uploads(boto: Any) -> list[Any]:
    return boto.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])


def read(store: Store, key: str, start: int, size: int, version: str | None = None) -> bytes:
    buffer = bytearray(size)
    store.read_into(key, [(start, memoryview(buffer))], version=version)
    return bytes(buffer)


class TestRequests:
    """One request where one is enough."""

    def test_one_for_each_verb(self, store: S3Store, s3_server: S3Server) -> None:
        calls: list[Callable[[], object]] = [
            lambda: store.put("a", Payload.of(b"0123456789")),
            lambda: store.get("a"),
            lambda: store.head("a"),
            lambda: read(store, "a", 2, 3),
            lambda: list(store.list()),
            lambda: store.delete(["a", "b"]),
        ]
        for call in calls:
            s3_server.requests.clear()
            call()
            assert len(s3_server.requests) == 1

    def test_scattered_targets_are_one_range(self, store: S3Store, s3_server: S3Server) -> None:
        store.put("a", Payload.of(bytes(range(100))))
        s3_server.requests.clear()
        late, early = bytearray(3), bytearray(4)
        store.read_into("a", [(90, memoryview(late)), (10, memoryview(early))])
        assert [call.headers["range"] for call in s3_server.requests] == ["bytes=10-92"]
        assert (late, early) == (bytes(range(90, 93)), bytes(range(10, 14)))

    def test_nothing_is_read_for_an_empty_target(self, store: S3Store, s3_server: S3Server) -> None:
        store.read_into("missing", [(3, memoryview(bytearray()))])
        assert s3_server.requests == []

    def test_put_sends_a_checksum_and_signs_no_payload(self, store: S3Store, s3_server: S3Server) -> None:
        store.put("a", Payload([b"1234", b"56789"]))
        headers = s3_server.requests[0].headers
        assert headers["x-amz-checksum-crc32c"] == "4waSgw=="  # 0xe3069283, the check value of CRC-32C
        assert headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"

    def test_delete_of_many_takes_one_for_a_thousand(self, store: S3Store, s3_server: S3Server) -> None:
        store.delete(f"k{number}" for number in range(2500))
        assert s3_server.count("POST", "delete") == len(s3_server.requests) == 3

    def test_list_follows_pages(self, store: S3Store, s3_server: S3Server) -> None:
        keys = [f"run/{number:04d} &+%" for number in range(1001)]
        for key in keys:
            s3_backends[DEFAULT_ACCOUNT_ID]["aws"].put_object(BUCKET, key, b"")  # 1,001 requests would take seconds
        assert [f"run/{meta.key}" for meta in store.list()] == keys
        assert len(s3_server.requests) == 2


class TestRetries:
    """Ours are the only ones."""

    def test_503_then_fine(self, retrying: RetryingStore, s3_server: S3Server) -> None:
        s3_server.fail_next(anything, refusal(503, "SlowDown"), times=3)
        retrying.put("a", Payload.of(b"x"))
        assert len(s3_server.requests) == 4

    @pytest.mark.parametrize(
        ("status", "code"),
        [
            (503, "SlowDown"),
            (500, "InternalError"),
            (502, "BadGateway"),
            (504, "GatewayTimeout"),
            (429, "TooManyRequests"),
            (400, "RequestTimeout"),
            (400, "BadDigest"),
        ],
    )
    def test_attempts_do_not_multiply(
        self, retrying: RetryingStore, s3_server: S3Server, status: int, code: str
    ) -> None:
        s3_server.fail_next(anything, refusal(status, code), times=100)
        with pytest.raises(StorageUnavailableError):
            retrying.get("a")
        assert len(s3_server.requests) == 6

    def test_a_reply_that_is_no_xml(self, store: S3Store, s3_server: S3Server) -> None:
        s3_server.fail_next(anything, canned(503, b"<html><p>busy", {"Content-Type": "text/html"}))
        with pytest.raises(StorageUnavailableError):
            list(store.list())

    def test_hang_up(self, store: S3Store, s3_server: S3Server) -> None:
        s3_server.fail_next(anything, hang_up, times=10)
        with pytest.raises(StorageUnavailableError):
            store.get("a")
        assert len(s3_server.requests) == 1

    def test_nobody_listens(self) -> None:
        with S3Store(URL, {"endpoint_url": "http://127.0.0.1:9"}) as store, pytest.raises(StorageUnavailableError):
            store.head("a")

    def test_read_time_out(self, s3_server: S3Server) -> None:
        def stall(server: S3Server, environ: Any, start_response: Any) -> Any:
            time.sleep(0.6)
            return refusal(500, "InternalError")(server, environ, start_response)

        s3_server.fail_next(anything, stall, times=2)
        options = {"endpoint_url": s3_server.url, "config_kwargs": {"read_timeout": 0.2}}
        with S3Store(URL, options) as store, pytest.raises(StorageUnavailableError):
            store.get("a")

    def test_truncated_bodies_are_passing(self, store: S3Store, s3_server: S3Server) -> None:
        head = {"Content-Length": "10", "ETag": '"e"', "Last-Modified": "Sun, 22 Nov 2026 20:00:00 GMT"}
        s3_server.fail_next(reading, canned(200, b"01234", head, cut=True))
        with pytest.raises(StorageUnavailableError):
            store.get("a")
        s3_server.fail_next(reading, canned(206, b"01234", {**head, "Content-Range": "bytes 0-9/20"}, cut=True))
        with pytest.raises(StorageUnavailableError):
            read(store, "a", 0, 10)

    def test_users_options_win(self, s3_server: S3Server) -> None:
        options = {"endpoint_url": s3_server.url, "config_kwargs": {"retries": {"total_max_attempts": 2}}}
        s3_server.fail_next(anything, refusal(500, "InternalError"), times=10)
        with S3Store(URL, options) as store, pytest.raises(StorageUnavailableError):
            store.get("a")
        assert len(s3_server.requests) == 2


class TestErrors:
    def test_missing_bucket(self, s3_server: S3Server) -> None:
        with S3Store("s3://nowhere/run", {"endpoint_url": s3_server.url}) as store:
            calls: list[Callable[[], object]] = [
                lambda: store.get("a"),
                lambda: read(store, "a", 0, 1),
                lambda: store.put("a", Payload.of(b"x")),
                lambda: list(store.list()),
                lambda: store.delete(["a"]),
                lambda: store.create_upload("a"),
            ]
            for call in calls:
                with pytest.raises(NotFoundError, match="bucket 'nowhere' does not exist"):
                    call()
            with pytest.raises(NotFoundError):
                store.head("a")

    @pytest.mark.parametrize(
        ("status", "code"),
        [
            (403, "AccessDenied"),
            (403, "SignatureDoesNotMatch"),
            (403, "InvalidAccessKeyId"),
            (400, "ExpiredToken"),
            (403, "RequestTimeTooSkewed"),
        ],
    )
    def test_denied(self, retrying: RetryingStore, s3_server: S3Server, status: int, code: str) -> None:
        s3_server.fail_next(anything, refusal(status, code), times=10)
        with pytest.raises(PermissionDeniedError) as caught:
            retrying.get("a")
        assert isinstance(caught.value, PermissionError)
        assert caught.value.path == f"{URL}/a"
        assert len(s3_server.requests) == 1

    def test_denied_names_the_bucket(self, store: S3Store, s3_server: S3Server) -> None:
        s3_server.fail_next(anything, canned(403, b""))  # a reply to HEAD has no body
        with pytest.raises(PermissionDeniedError, match=f"the bucket '{BUCKET}'"):
            store.head("a")

    def test_no_credentials(self, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        with (
            S3Store(URL, {"endpoint_url": s3_server.url}) as store,
            pytest.raises(PermissionDeniedError, match="AWS_ACCESS_KEY_ID"),
        ):
            store.get("a")

    @pytest.mark.parametrize(
        ("status", "code", "expected"),
        [
            (507, "InsufficientStorage", StorageFullError),
            (400, "XMinioStorageFull", StorageFullError),
            (501, "NotImplemented", UnsupportedError),
            (412, "PreconditionFailed", PreconditionFailedError),
            (409, "OperationAborted", StorageUnavailableError),
            (400, "InvalidArgument", StorageError),
        ],
    )
    def test_other_codes(
        self, store: S3Store, s3_server: S3Server, status: int, code: str, expected: type[Exception]
    ) -> None:
        s3_server.fail_next(anything, refusal(status, code), times=100)
        with pytest.raises(expected) as caught:
            store.put("a", Payload.of(b"x"))
        assert type(caught.value) is expected

    def test_bucket_in_another_region(self, store: S3Store, s3_server: S3Server, boto: Any) -> None:
        """botocore goes where S3 points to, which is no retry; the payload is sent again from its beginning."""
        elsewhere = canned(
            301,
            b"<Error><Code>PermanentRedirect</Code></Error>",
            {"Content-Type": "application/xml", "x-amz-bucket-region": "eu-west-1"},
        )
        s3_server.fail_next(anything, elsewhere)
        store.put("a", Payload([b"0123", b"456"]))
        assert len(s3_server.requests) == 2
        assert boto.get_object(Bucket=BUCKET, Key="run/a")["Body"].read() == b"0123456"

    def test_secrets_stay_out(self, s3_server: S3Server) -> None:
        secret = "wJalrXUtnFEMI/K7MDENG"
        s3_server.fail_next(anything, refusal(400, "Odd", f"you said {secret} and http://me:pw@host/?sig=abcdefg"))
        with S3Store(URL, {"endpoint_url": s3_server.url, "key": "AKIAKEY", "secret": secret}) as store:
            with pytest.raises(StorageError) as caught:
                store.get("a")
            for hidden in (secret, "me:pw", "abcdefg"):
                assert hidden not in str(caught.value)
                assert hidden not in repr(store)


class TestReplies:
    """A reply is believed as far as it can be checked."""

    @pytest.fixture(autouse=True)
    def _object(self, store: S3Store) -> None:
        store.put("a", Payload.of(bytes(range(100))))

    def test_range_ignored(self, store: S3Store, s3_server: S3Server) -> None:
        s3_server.fail_next(reading, canned(200, bytes(100)))
        with pytest.raises(StorageError, match="ignores the range"):
            read(store, "a", 10, 20)
        s3_server.fail_next(reading, canned(200, bytes(100)))
        with pytest.raises(StorageError, match="ignores the range"):
            read(store, "a", 0, 20)

    def test_another_range(self, store: S3Store, s3_server: S3Server) -> None:
        s3_server.fail_next(reading, canned(206, bytes(20), {"Content-Range": "bytes 0-19/100"}))
        with pytest.raises(StorageError, match="ignores the range"):
            read(store, "a", 10, 20)

    @pytest.mark.parametrize("length", [19, 21])
    def test_another_length(self, store: S3Store, s3_server: S3Server, length: int) -> None:
        s3_server.fail_next(reading, canned(206, bytes(length), {"Content-Range": "bytes 10-29/100"}))
        with pytest.raises(StorageUnavailableError, match=f"{length} bytes"):
            read(store, "a", 10, 20)

    def test_more_than_was_asked_for(self, store: S3Store, s3_server: S3Server) -> None:
        s3_server.fail_next(reading, canned(206, bytes(21), {"Content-Range": "bytes 10-30/100"}))
        with pytest.raises(StorageError, match="other bytes"):
            read(store, "a", 10, 20)

    def test_endless_body(self, store: S3Store, s3_server: S3Server) -> None:
        def endless(server: S3Server, environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("206 Endless", [("Content-Range", "bytes 10-29/100")])
            for _ in range(1000):
                yield bytes(1000)

        s3_server.fail_next(reading, endless)
        with pytest.raises(StorageError, match="more of"):
            read(store, "a", 10, 20)

    def test_object_shorter_than_the_range(self, store: S3Store) -> None:
        with pytest.raises(DataLossError) as caught:
            read(store, "a", 90, 20)
        assert caught.value.offset == 100

    def test_no_content_length(self, store: S3Store, s3_server: S3Server) -> None:
        def chunked(server: S3Server, environ: Any, start_response: Any) -> Iterator[bytes]:
            start_response("200 Chunked", [])
            yield b"x"

        s3_server.fail_next(reading, chunked)
        with pytest.raises(StorageError, match="size"):
            store.get("a", limit=10)

    def test_the_limit_holds_before_the_body(self, store: S3Store, s3_server: S3Server) -> None:
        s3_server.fail_next(reading, canned(200, b"", {"Content-Length": str(1 << 40)}, cut=True))
        with pytest.raises(StorageError, match="more than the 1000 allowed"):
            store.get("a", limit=1000)


class TestVersions:
    def test_object_replaced_between_ranges(self, store: S3Store, boto: Any) -> None:
        store.put("a", Payload.of(bytes(300_000)))
        gate = threading.Event()
        ranged = TransferStore(store, part_size=100_000, concurrency=1)
        original = store.read_into

        def replace_then_read(key: str, targets: Any, *, version: str | None = None) -> None:
            if gate.is_set():
                boto.put_object(Bucket=BUCKET, Key="run/a", Body=b"\1" * 300_000)
            gate.set()
            original(key, targets, version=version)

        store.read_into = replace_then_read  # type: ignore[method-assign]
        with pytest.raises(PreconditionFailedError):
            read(ranged, "a", 0, 300_000)

    def test_listings_are_never_old(self, store: S3Store, boto: Any) -> None:
        assert list(store.list()) == []
        boto.put_object(Bucket=BUCKET, Key="run/d/a", Body=b"xy")
        assert [meta.size for meta in store.list()] == [2]
        boto.put_object(Bucket=BUCKET, Key="run/d/a", Body=b"xyz")
        assert [meta.size for meta in store.list()] == [3]
        assert store.head("d/a").size == 3
        assert store.get("d/a")[0] == b"xyz"
        boto.delete_object(Bucket=BUCKET, Key="run/d/a")
        assert list(store.list()) == []
        with pytest.raises(NotFoundError):
            store.head("d/a")


class TestUploads:
    @pytest.fixture
    def stack(self, store: S3Store) -> TransferStore:
        return TransferStore(
            RetryingStore(store, RetryPolicy(attempts=3), clock=ManualClock()), part_size=5 * MIB, concurrency=2
        )

    @pytest.fixture
    def payload(self) -> Payload:
        return Payload([b"a" * (5 * MIB), b"b" * (5 * MIB), b"c" * MIB])

    def test_large_put(self, stack: TransferStore, payload: Payload, s3_server: S3Server, boto: Any) -> None:
        meta = stack.put("big", payload)
        assert s3_server.count("PUT") == 3
        found = boto.get_object(Bucket=BUCKET, Key="run/big")
        assert found["Body"].read() == payload.tobytes()
        assert found["ETag"] == meta.version
        assert len(found["Metadata"]["ckptstore-attempt"]) == 32
        assert all("x-amz-checksum-crc32c" in call.headers for call in s3_server.requests if call.method == "PUT")

    def test_a_part_fails_for_a_while(
        self, stack: TransferStore, payload: Payload, s3_server: S3Server, boto: Any
    ) -> None:
        s3_server.fail_next(lambda call: "partNumber=2" in call.query, refusal(503, "SlowDown"), times=2)
        stack.put("big", payload)
        assert s3_server.count("PUT") == 5
        assert boto.get_object(Bucket=BUCKET, Key="run/big")["Body"].read() == payload.tobytes()

    @pytest.mark.parametrize("code", [(403, "AccessDenied"), (503, "SlowDown")])
    def test_a_part_fails_for_good(
        self, stack: TransferStore, payload: Payload, s3_server: S3Server, boto: Any, code: tuple[int, str]
    ) -> None:
        s3_server.fail_next(lambda call: "partNumber=2" in call.query, refusal(*code), times=100)
        with pytest.raises(StorageError):
            stack.put("big", payload)
        assert raw_keys(boto) == []
        assert raw_uploads(boto) == []

    def test_lost_reply_to_complete(
        self, stack: TransferStore, payload: Payload, s3_server: S3Server, boto: Any
    ) -> None:
        s3_server.fail_next(completing, lost_reply)
        meta = stack.put("big", payload)
        assert meta == stack.head("big")
        assert meta.size == payload.nbytes
        assert sum(map(completing, s3_server.requests)) == 1  # the object itself told that it is there
        assert raw_uploads(boto) == []

    def test_complete_never_arrives(
        self, stack: TransferStore, payload: Payload, s3_server: S3Server, boto: Any
    ) -> None:
        s3_server.fail_next(completing, refusal(500, "InternalError"))
        stack.put("big", payload)
        assert sum(map(completing, s3_server.requests)) == 2

    def test_complete_says_200_and_error(
        self, stack: TransferStore, payload: Payload, s3_server: S3Server, boto: Any
    ) -> None:
        s3_server.fail_next(completing, refusal(200, "InternalError"), times=100)
        with pytest.raises(StorageUnavailableError):
            stack.put("big", payload)
        assert raw_keys(boto) == []
        assert raw_uploads(boto) == []

    def test_complete_of_an_aborted_upload_says_so(self, store: S3Store, boto: Any) -> None:
        boto.put_object(Bucket=BUCKET, Key="run/up", Body=b"somebody else's")
        upload = store.create_upload("up")
        part = store.put_part(upload, 1, Payload.of(b"somebody else's"))
        boto.abort_multipart_upload(Bucket=BUCKET, Key="run/up", UploadId=upload.upload_id)
        with pytest.raises(NotFoundError, match="upload of .* is gone"):
            store.complete_upload(upload, [part])

    @pytest.mark.parametrize("etag", ["", "0123456789abcdef0123456789abcdef-1"])
    def test_a_reply_without_the_etag(self, store: S3Store, s3_server: S3Server, etag: str) -> None:
        """Ceph's reply to Complete has an empty one, and one without quotes if it is asked again."""
        upload = store.create_upload("up")
        part = store.put_part(upload, 1, Payload.of(b"x"))

        def complete(server: S3Server, environ: Any, start_response: Any) -> Any:
            server.moto(environ, lambda *args: None)
            start_response("200 OK", [("Content-Type", "application/xml")])
            return [f"<CompleteMultipartUploadResult><ETag>{etag}</ETag></CompleteMultipartUploadResult>".encode()]

        s3_server.fail_next(completing, complete)
        assert store.complete_upload(upload, [part]) == store.head("up")


class TestDelete:
    def test_errors_of_single_keys(self, store: S3Store, s3_server: S3Server) -> None:
        body = (
            b"<DeleteResult><Error><Key>run/b</Key><Code>AccessDenied</Code><Message>no</Message></Error>"
            b"<Error><Key>run/c</Key><Code>NoSuchKey</Code></Error></DeleteResult>"
        )
        s3_server.fail_next(anything, canned(200, body, {"Content-Type": "application/xml"}))
        with pytest.raises(PermissionDeniedError, match=r"could not be deleted: b\."):
            store.delete(["a", "b", "c"])

    def test_passing_errors_of_single_keys_are_tried_again(
        self, retrying: RetryingStore, s3_server: S3Server, boto: Any
    ) -> None:
        boto.put_object(Bucket=BUCKET, Key="run/a", Body=b"")
        body = b"<DeleteResult><Error><Key>run/a</Key><Code>InternalError</Code></Error></DeleteResult>"
        s3_server.fail_next(lambda call: "delete" in call.query, canned(200, body))
        retrying.delete(["a"])
        assert raw_keys(boto) == []

    @pytest.mark.parametrize(("status", "code"), [(501, "NotImplemented"), (400, "InvalidRequest")])
    def test_no_bulk_delete(self, store: S3Store, s3_server: S3Server, boto: Any, status: int, code: str) -> None:
        for key in ("run/a", "run/b", "run/c"):
            boto.put_object(Bucket=BUCKET, Key=key, Body=b"")
        s3_server.requests.clear()
        s3_server.fail_next(lambda call: call.method == "POST", refusal(status, code))
        store.delete(["a", "b", "missing"])
        assert s3_server.count("DELETE") == 3
        assert raw_keys(boto) == ["run/c"]

    def test_no_bulk_delete_and_one_is_denied(self, store: S3Store, s3_server: S3Server, boto: Any) -> None:
        for key in ("run/a", "run/b", "run/c"):
            boto.put_object(Bucket=BUCKET, Key=key, Body=b"")
        s3_server.fail_next(lambda call: call.method == "POST", refusal(501, "NotImplemented"))
        s3_server.fail_next(lambda call: call.path.endswith("/b"), refusal(403, "AccessDenied"))
        with pytest.raises(PermissionDeniedError, match=r"could not be deleted: b\."):
            store.delete(["a", "b", "c"])
        assert raw_keys(boto) == ["run/b"]


class TestPlaces:
    def test_bucket_root(self, s3_server: S3Server, boto: Any) -> None:
        with from_url(f"s3://{BUCKET}", {"endpoint_url": s3_server.url}) as store:
            store.put("d/a", Payload.of(b"x"))
            assert raw_keys(boto) == ["d/a"]
            assert [meta.key for meta in store.list()] == ["d/a"]
            assert store.path("d/a") == f"s3://{BUCKET}/d/a"

    def test_directory_markers_are_no_objects(self, store: S3Store, boto: Any) -> None:
        for key in ("run/", "run/d/", "run//odd"):
            boto.put_object(Bucket=BUCKET, Key=key, Body=b"")
        assert list(store.list()) == []

    def test_neighbours_are_out_of_sight(self, store: S3Store, boto: Any) -> None:
        boto.put_object(Bucket=BUCKET, Key="running/a", Body=b"")
        assert list(store.list()) == []


def test_a_store_works_on_both_sides_of_a_fork(s3_server: S3Server, boto: Any) -> None:
    code = f"""
import os
from ckptstore.storage import Payload, from_url
store = from_url({URL!r}, {{"endpoint_url": {s3_server.url!r}}})
store.put("before", Payload.of(b"1"))
child = os.fork()
store.put("child" if child == 0 else "parent", Payload.of(b"2"))
if child == 0:
    os._exit(0)
raise SystemExit(os.waitpid(child, 0)[1])
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=env, check=True, timeout=60)
    assert raw_keys(boto) == ["run/before", "run/child", "run/parent"]
