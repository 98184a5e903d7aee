"""GcsStore against the emulator in tests/support/gcs: the contract, and what a network does to it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest

from ckptstore.errors import (
    NotFoundError,
    PermissionDeniedError,
    PreconditionFailedError,
    StorageError,
    StorageUnavailableError,
    UnsupportedError,
)
from ckptstore.storage import Payload, RetryingStore, RetryPolicy, Store, TransferStore, from_url
from ckptstore.testing import ManualClock, StoreTests

pytest.importorskip("gcsfs")

import aiohttp

from ckptstore.storage._gcs import GcsStore
from ckptstore.storage._gcs_http import timeouts
from tests.storage.conftest import BUCKET
from tests.support.gcs import GcsServer, Request

URL = f"gs://{BUCKET}/run"
MIB = 1 << 20


class RawGcs:
    """The server's objects, reached without our code."""

    def __init__(self, server: GcsServer) -> None:
        self._url = server.url

    def get(self, name: str) -> bytes:
        return self._send("GET", f"/download/storage/v1/b/{BUCKET}/o/{quote(name, safe='')}?alt=media")

    def describe(self, name: str) -> Any:
        return json.loads(self._send("GET", f"/storage/v1/b/{BUCKET}/o/{quote(name, safe='')}"))

    def put(self, name: str, data: bytes) -> None:
        self._send("POST", f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={quote(name, safe='')}", data)

    def names(self) -> list[str]:
        names: list[str] = []
        token = ""
        while True:
            page = json.loads(self._send("GET", f"/storage/v1/b/{BUCKET}/o?pageToken={quote(token)}"))
            names += [item["name"] for item in page.get("items", ())]
            token = page.get("nextPageToken", "")
            if not token:
                return names

    def uploads(self) -> int:
        """How many uploads nobody finished."""
        return self._send("GET", f"/{BUCKET}?uploads").count(b"<Upload>")

    def _send(self, method: str, path: str, data: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"{self._url}{path}", data=data, method=method)
        with urllib.request.urlopen(request) as reply:
            return reply.read()


@pytest.fixture
def raw(gcs_server: GcsServer) -> RawGcs:
    return RawGcs(gcs_server)


@pytest.fixture
def options(gcs_server: GcsServer) -> dict[str, Any]:
    return {"endpoint_url": gcs_server.url, "token": "anon"}


class _GcsTests(StoreTests):
    @pytest.fixture(autouse=True)
    def _raw(self, raw: RawGcs) -> None:
        self._gcs = raw

    def raw_get(self, key: str) -> bytes:
        return self._gcs.get(f"run/{key}")

    def raw_put(self, key: str, data: bytes) -> None:
        self._gcs.put(f"run/{key}", data)

    def raw_keys(self) -> set[str]:
        uploads = self._gcs.uploads()
        return {name.removeprefix("run/") for name in self._gcs.names()} | (
            {f"{uploads} uploads"} if uploads else set()
        )


class TestGcsStore(_GcsTests):
    @pytest.fixture
    def store(self, options: dict[str, Any]) -> Iterator[Store]:
        with GcsStore(URL, options) as store:
            yield store


class TestStack(_GcsTests):
    """The same through everything that `from_url` puts before the store."""

    @pytest.fixture
    def store(self, options: dict[str, Any]) -> Iterator[Store]:
        with from_url(URL, options) as store:
            yield store


@pytest.fixture
def store(options: dict[str, Any]) -> Iterator[GcsStore]:
    with GcsStore(URL, options) as store:
        yield store


@pytest.fixture
def retrying(store: GcsStore) -> RetryingStore:
    return RetryingStore(store, RetryPolicy(attempts=6), clock=ManualClock())


def anything(request: Request) -> bool:
    return True


def completing(call: Any) -> bool:
    return call.method == "POST" and "uploadId" in call.query


def watch(server: GcsServer) -> list[Request]:
    """All requests from now on, with headers and body."""
    seen: list[Request] = []

    def look(request: Request) -> bool:
        seen.append(request)
        return False

    server.fail_next(look)
    return seen


def read(store: Store, key: str, start: int, size: int, version: str | None = None) -> bytes:
    buffer = bytearray(size)
    store.read_into(key, [(start, memoryview(buffer))], version=version)
    return bytes(buffer)


class TestRequests:
    def test_one_for_each_verb(self, store: GcsStore, gcs_server: GcsServer) -> None:
        calls: list[Callable[[], object]] = [
            lambda: store.put("a", Payload.of(b"0123456789")),
            lambda: store.get("a"),
            lambda: store.head("a"),
            lambda: read(store, "a", 2, 3),
            lambda: list(store.list()),
            lambda: store.delete(["a"]),
        ]
        for call in calls:
            gcs_server.requests.clear()
            call()
            assert len(gcs_server.requests) == 1

    def test_put_says_how_the_object_is_to_be_kept(self, store: GcsStore, gcs_server: GcsServer, raw: RawGcs) -> None:
        seen = watch(gcs_server)
        store.put("a", Payload([b"1234", b"56789"]))
        assert b'"cacheControl": "no-store"' in seen[0].body
        assert seen[0].headers["accept-encoding"] == "identity"
        found = raw.describe("run/a")
        assert found["crc32c"] == "4waSgw=="  # 0xe3069283, the check value of CRC-32C
        assert "metadata" not in found  # so it has no tag

    def test_list_follows_pages(self, store: GcsStore, gcs_server: GcsServer) -> None:
        names = [f"{number:04d} &+%" for number in range(1001)]
        for name in names:
            store.put(name, Payload.of(b""))
        gcs_server.requests.clear()
        assert [meta.key for meta in store.list()] == names
        assert len(gcs_server.requests) == 2


class TestRetries:
    def test_503_then_fine(self, retrying: RetryingStore, gcs_server: GcsServer) -> None:
        gcs_server.fail_next(anything, 503, times=3)
        retrying.put("a", Payload.of(b"x"))
        assert len(gcs_server.requests) == 4

    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
    def test_attempts_do_not_multiply(self, retrying: RetryingStore, gcs_server: GcsServer, status: int) -> None:
        gcs_server.fail_next(anything, status, times=100)
        with pytest.raises(StorageUnavailableError):
            retrying.get("a")
        assert len(gcs_server.requests) == 6

    @pytest.mark.parametrize("status", [401, 403])
    def test_denied_is_not_tried_again(self, retrying: RetryingStore, gcs_server: GcsServer, status: int) -> None:
        gcs_server.fail_next(anything, status, times=100)
        with pytest.raises(PermissionDeniedError, match=f"the bucket '{BUCKET}'"):
            retrying.get("a")
        assert len(gcs_server.requests) == 1

    def test_lost_reply_to_put(self, retrying: RetryingStore, gcs_server: GcsServer, raw: RawGcs) -> None:
        gcs_server.fail_next(anything, after=True)
        retrying.put("a", Payload.of(b"x"))
        assert raw.get("run/a") == b"x"

    def test_nobody_listens(self) -> None:
        with (
            GcsStore(URL, {"endpoint_url": "http://127.0.0.1:9", "token": "anon"}) as store,
            pytest.raises(StorageUnavailableError),
        ):
            store.head("a")

    def test_one_of_many_deletions_fails_for_a_while(
        self, retrying: RetryingStore, gcs_server: GcsServer, raw: RawGcs
    ) -> None:
        for number in range(5):
            raw.put(f"run/{number}", b"")
        gcs_server.fail_next(lambda request: request.path.endswith("/3"), 503, times=2)
        retrying.delete([str(number) for number in range(5)])
        assert raw.names() == []

    def test_one_of_many_deletions_is_denied(self, store: GcsStore, gcs_server: GcsServer, raw: RawGcs) -> None:
        for number in range(5):
            raw.put(f"run/{number}", b"")
        gcs_server.fail_next(lambda request: request.path.endswith("/3"), 403, times=2)
        with pytest.raises(PermissionDeniedError, match=r"could not be deleted: 3\."):
            store.delete([str(number) for number in range(5)])
        assert raw.names() == ["run/3"]


class TestErrors:
    def test_missing_bucket(self, options: dict[str, Any]) -> None:
        with GcsStore("gs://nowhere/run", options) as store:
            calls: list[Callable[[], object]] = [
                lambda: store.get("a"),
                lambda: store.head("a"),
                lambda: read(store, "a", 0, 1),
                lambda: store.put("a", Payload.of(b"x")),
                lambda: list(store.list()),
                lambda: store.delete(["a"]),
                lambda: store.create_upload("a"),
            ]
            for call in calls:
                with pytest.raises(NotFoundError, match="bucket 'nowhere' does not exist"):
                    call()

    def test_object_replaced(self, store: GcsStore, raw: RawGcs) -> None:
        version = store.put("a", Payload.of(b"one")).version
        raw.put("run/a", b"two")
        with pytest.raises(PreconditionFailedError):
            read(store, "a", 0, 3, version)

    @pytest.mark.parametrize("header", ["Content-Encoding", "X-Goog-Stored-Content-Encoding"])
    def test_gzip_is_refused(self, store: GcsStore, header: str) -> None:
        """GCS would decompress such an object on the way, and ignore the range. The emulator knows no encodings."""
        with pytest.raises(UnsupportedError, match="'gzip'"):
            store._check_encoding({header: "gzip"}, "a")
        store._check_encoding({header: "identity"}, "a")

    def test_listings_are_never_old(self, store: GcsStore, raw: RawGcs) -> None:
        assert list(store.list()) == []
        raw.put("run/d/a", b"xy")
        assert [meta.size for meta in store.list()] == [2]
        raw.put("run/d/a", b"xyz")
        assert [meta.size for meta in store.list()] == [3]
        assert store.head("d/a").size == 3
        store.delete(["d/a"])
        assert list(store.list()) == []


class TestUploads:
    @pytest.fixture
    def stack(self, store: GcsStore) -> TransferStore:
        return TransferStore(
            RetryingStore(store, RetryPolicy(attempts=3), clock=ManualClock()), part_size=5 * MIB, concurrency=2
        )

    @pytest.fixture
    def payload(self) -> Payload:
        return Payload([b"a" * (5 * MIB), b"b" * (5 * MIB), b"c" * MIB])

    def test_large_put(self, stack: TransferStore, payload: Payload, gcs_server: GcsServer, raw: RawGcs) -> None:
        seen = watch(gcs_server)
        meta = stack.put("big", payload)
        found = raw.describe("run/big")
        assert raw.get("run/big") == payload.tobytes()
        assert found["generation"] == meta.version
        assert seen[0].headers["cache-control"] == "no-store"
        assert all("x-goog-hash" in request.headers for request in seen if request.method == "PUT")
        assert len(found["metadata"]["ckptstore-attempt"]) == 32

    def test_a_part_fails_for_a_while(
        self, stack: TransferStore, payload: Payload, gcs_server: GcsServer, raw: RawGcs
    ) -> None:
        gcs_server.fail_next(lambda request: request.query.get("partNumber") == "2", 503, times=2)
        stack.put("big", payload)
        assert sum(call.method == "PUT" for call in gcs_server.requests) == 5
        assert raw.get("run/big") == payload.tobytes()

    @pytest.mark.parametrize("status", [403, 503])
    def test_a_part_fails_for_good(
        self, stack: TransferStore, payload: Payload, gcs_server: GcsServer, raw: RawGcs, status: int
    ) -> None:
        gcs_server.fail_next(lambda request: request.query.get("partNumber") == "2", status, times=100)
        with pytest.raises(StorageError):
            stack.put("big", payload)
        assert raw.names() == []
        assert raw.uploads() == 0

    def test_lost_reply_to_complete(
        self, stack: TransferStore, payload: Payload, gcs_server: GcsServer, raw: RawGcs
    ) -> None:
        gcs_server.fail_next(completing, after=True)
        meta = stack.put("big", payload)
        assert meta == stack.head("big")
        assert meta.size == payload.nbytes
        assert sum(map(completing, gcs_server.requests)) == 1  # the object itself told that it is there
        assert raw.uploads() == 0

    def test_complete_never_arrives(self, stack: TransferStore, payload: Payload, gcs_server: GcsServer) -> None:
        gcs_server.fail_next(completing, 500)
        stack.put("big", payload)
        assert sum(map(completing, gcs_server.requests)) == 2

    def test_complete_of_an_aborted_upload_says_so(self, store: GcsStore, raw: RawGcs) -> None:
        raw.put("run/up", b"somebody else's")
        upload = store.create_upload("up")
        part = store.put_part(upload, 1, Payload.of(b"somebody else's"))
        store.abort_upload(upload)
        with pytest.raises(NotFoundError, match="upload of .* is gone"):
            store.complete_upload(upload, [part])


class TestPlaces:
    def test_bucket_root(self, options: dict[str, Any], raw: RawGcs) -> None:
        with from_url(f"gcs://{BUCKET}", options) as store:
            store.put("d/a", Payload.of(b"x"))
            assert raw.names() == ["d/a"]
            assert [meta.key for meta in store.list()] == ["d/a"]

    def test_directory_markers_are_no_objects(self, store: GcsStore, raw: RawGcs) -> None:
        for name in ("run/", "run/d/"):
            raw.put(name, b"")
        assert list(store.list()) == []

    @pytest.mark.parametrize(
        ("configured", "expected"),
        [
            (None, (10, 60)),
            (5, (5, 5)),
            (aiohttp.ClientTimeout(sock_connect=1, sock_read=2), (1, 2)),
            (aiohttp.ClientTimeout(total=7), (7, 7)),
            (aiohttp.ClientTimeout(connect=3, sock_read=2), (3, 2)),
        ],
    )
    def test_timeouts(self, configured: Any, expected: tuple[float, float]) -> None:
        """Ours, as gcsfs has none, or what the user gave gcsfs."""
        assert timeouts(configured) == expected
