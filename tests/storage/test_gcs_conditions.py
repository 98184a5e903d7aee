"""GcsStore's conditional verbs: what they send, and what lost replies, races and lesser servers make of them."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest

from ckptstore._concurrency import make_executor, run_all
from ckptstore.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionFailedError,
    StorageUnavailableError,
    UnsafePathError,
    UnsupportedError,
)
from ckptstore.storage import (
    ObjectMeta,
    Payload,
    RetryingStore,
    RetryPolicy,
    Store,
    TransferStore,
    Upload,
    UploadNote,
    UploadPart,
    probe,
)
from ckptstore.testing import ManualClock

pytest.importorskip("gcsfs")

from ckptstore.storage._gcs import GcsStore
from tests.storage.conftest import BUCKET
from tests.support.gcs import GcsServer, Request

URL = f"gs://{BUCKET}/run"
MIB = 1 << 20
LOSSES = [{"after": True}, {"after": True, "hang_up": False, "status": 500}]


class RawGcs:
    """The server's objects, reached without our code."""

    def __init__(self, server: GcsServer) -> None:
        self._url = server.url

    def get(self, key: str) -> bytes:
        return self._send("GET", f"/download/storage/v1/b/{BUCKET}/o/{quote(f'run/{key}', safe='')}?alt=media")

    def put(self, key: str, data: bytes = b"") -> None:
        self._send("POST", f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={quote(f'run/{key}')}", data)

    def keys(self) -> list[str]:
        found = json.loads(self._send("GET", f"/storage/v1/b/{BUCKET}/o"))
        return [item["name"].removeprefix("run/") for item in found.get("items", ())]

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


@pytest.fixture
def store(options: dict[str, Any]) -> Iterator[GcsStore]:
    with GcsStore(URL, options) as store:
        yield store


@pytest.fixture
def retrying(store: GcsStore) -> RetryingStore:
    return RetryingStore(store, RetryPolicy(attempts=4), clock=ManualClock())


@pytest.fixture
def stack(retrying: RetryingStore) -> TransferStore:
    return TransferStore(retrying, part_size=5 * MIB, concurrency=2, journal="notes/")


@pytest.fixture
def large() -> Payload:
    return Payload([b"a" * (5 * MIB), b"b" * MIB])


def inserting(call: Any) -> bool:
    return call.query.get("uploadType") == "multipart"


def looking(call: Any) -> bool:
    return call.method == "GET" and "metadata" in call.query.get("fields", "") and call.query.get("prefix") is None


def deleting(call: Any) -> bool:
    return call.method == "DELETE"


def completing(call: Any) -> bool:
    return call.method == "POST" and "uploadId" in call.query


def composing(call: Any) -> bool:
    return call.path.endswith("/compose")


def of(data: bytes) -> Payload:
    return Payload.of(data)


def watch(server: GcsServer) -> list[Request]:
    """All requests from now on, with headers and body."""
    seen: list[Request] = []

    def look(request: Request) -> bool:
        seen.append(request)
        return False

    server.fail_next(look)
    return seen


class TestTags:
    def test_get_and_head_tell_them(self, store: GcsStore) -> None:
        made = store.create("a", of(b"x"), tag="t-1")
        assert made.tag == store.head("a").tag == store.get("a")[1].tag == "t-1"
        assert made == store.head("a")
        assert [meta.tag for meta in store.list()] == [None]

    def test_put_leaves_none(self, store: GcsStore) -> None:
        store.create("a", of(b"x"), tag="t-1")
        assert store.put("a", of(b"y")).tag is store.head("a").tag is store.get("a")[1].tag is None

    def test_what_is_no_tag(self, store: GcsStore, gcs_server: GcsServer) -> None:
        with pytest.raises(InvalidArgumentError):
            store.create("a", of(b"x"), tag="no tag")
        assert gcs_server.requests == []


class TestCreate:
    def test_one_request_says_it_all(self, store: GcsStore, gcs_server: GcsServer) -> None:
        store.create("a", of(b"x"), tag="t-1")
        [call] = gcs_server.requests
        assert call.query["ifGenerationMatch"] == "0"

    @pytest.mark.parametrize(("tag", "requests"), [(None, 1), ("t-2", 2)])
    def test_somebody_elses_object(
        self, store: GcsStore, gcs_server: GcsServer, raw: RawGcs, tag: str | None, requests: int
    ) -> None:
        store.create("a", of(b"theirs"), tag="t-1")
        gcs_server.requests.clear()
        with pytest.raises(AlreadyExistsError) as caught:
            store.create("a", of(b"ours"), tag=tag)
        assert caught.value.path == f"{URL}/a"
        assert len(gcs_server.requests) == requests
        assert raw.get("a") == b"theirs"

    def test_an_object_that_bears_no_tag(self, store: GcsStore, raw: RawGcs) -> None:
        raw.put("a", b"theirs")
        with pytest.raises(AlreadyExistsError):
            store.create("a", of(b"ours"), tag="t-1")

    @pytest.mark.parametrize("loss", LOSSES)
    def test_lost_reply(
        self, retrying: RetryingStore, gcs_server: GcsServer, raw: RawGcs, loss: dict[str, Any]
    ) -> None:
        gcs_server.fail_next(inserting, **loss)
        assert retrying.create("a", of(b"ours"), tag="t-1") == retrying.head("a")
        assert raw.get("a") == b"ours"

    def test_lost_reply_without_a_tag(self, retrying: RetryingStore, gcs_server: GcsServer) -> None:
        gcs_server.fail_next(inserting, after=True)
        with pytest.raises(AlreadyExistsError):
            retrying.create("a", of(b"ours"))

    def test_the_look_at_the_tag_fails_for_a_while(self, retrying: RetryingStore, gcs_server: GcsServer) -> None:
        """As long as it is not known whose object it is, nobody else is blamed."""
        gcs_server.fail_next(inserting, after=True)
        gcs_server.fail_next(looking, 503)
        assert retrying.create("a", of(b"ours"), tag="t-1").tag == "t-1"
        assert sum(map(looking, gcs_server.requests)) == 2

    def test_429_is_passing(self, retrying: RetryingStore, gcs_server: GcsServer) -> None:
        gcs_server.fail_next(inserting, 429, times=3)
        retrying.create("a", of(b"ours"), tag="t-1")
        assert len(gcs_server.requests) == 4

    def test_it_is_gone_when_it_is_looked_at(self, store: GcsStore, gcs_server: GcsServer) -> None:
        gcs_server.fail_next(inserting, 412)
        with pytest.raises(AlreadyExistsError):
            store.create("a", of(b"ours"), tag="t-1")

    def test_one_of_many_creates(self, store: GcsStore, raw: RawGcs) -> None:
        def create(number: int) -> bool:
            try:
                store.create("a", of(f"{number}".encode()), tag=f"t-{number}")
            except AlreadyExistsError:
                return False
            return True

        with make_executor(8, "test") as executor:
            won = run_all(executor, [partial(create, number) for number in range(8)], window=8)
        assert sum(won) == 1
        assert raw.get("a") == str(won.index(True)).encode()


class TestReplace:
    @pytest.fixture
    def old(self, store: GcsStore, gcs_server: GcsServer) -> ObjectMeta:
        meta = store.put("a", of(b"old"))
        gcs_server.requests.clear()
        return meta

    def test_one_request_says_it_all(self, store: GcsStore, gcs_server: GcsServer, old: ObjectMeta) -> None:
        meta = store.replace("a", of(b"new"), version=str(old.version), tag="t-1")
        [call] = gcs_server.requests
        assert call.query["ifGenerationMatch"] == old.version
        assert meta == store.head("a")
        assert meta.tag == "t-1"

    @pytest.mark.parametrize(("tag", "requests"), [(None, 1), ("t-1", 2)])
    def test_another_version(
        self, store: GcsStore, gcs_server: GcsServer, raw: RawGcs, old: ObjectMeta, tag: str | None, requests: int
    ) -> None:
        raw.put("a", b"theirs")
        gcs_server.requests.clear()
        with pytest.raises(PreconditionFailedError, match="start over"):
            store.replace("a", of(b"new"), version=str(old.version), tag=tag)
        assert len(gcs_server.requests) == requests
        assert raw.get("a") == b"theirs"

    @pytest.mark.parametrize("version", ["0", "1", "00", "-1", '"etag"', "", "v1"])
    def test_what_is_no_generation(self, store: GcsStore, raw: RawGcs, old: ObjectMeta, version: str) -> None:
        for key in ("a", "absent"):  # a generation of 0 is GCS' word for an object that is not there
            with pytest.raises(PreconditionFailedError):
                store.replace(key, of(b"new"), version=version)
        assert raw.keys() == ["a"]
        assert raw.get("a") == b"old"

    @pytest.mark.parametrize("tag", [None, "t-1"])
    def test_it_is_gone(self, store: GcsStore, raw: RawGcs, old: ObjectMeta, tag: str | None) -> None:
        store.delete(["a"])
        with pytest.raises(PreconditionFailedError):
            store.replace("a", of(b"new"), version=str(old.version), tag=tag)
        assert raw.keys() == []

    @pytest.mark.parametrize("loss", LOSSES)
    def test_lost_reply(
        self, retrying: RetryingStore, gcs_server: GcsServer, raw: RawGcs, old: ObjectMeta, loss: dict[str, Any]
    ) -> None:
        gcs_server.fail_next(inserting, **loss)
        assert retrying.replace("a", of(b"new"), version=str(old.version), tag="t-1") == retrying.head("a")
        assert raw.get("a") == b"new"

    def test_lost_reply_and_somebody_else_since(
        self, retrying: RetryingStore, gcs_server: GcsServer, raw: RawGcs, old: ObjectMeta
    ) -> None:
        tries: list[Request] = []

        def second_try(request: Request) -> bool:
            if inserting(request):
                tries.append(request)
                if len(tries) == 2:
                    raw.put("a", b"theirs")
            return False

        gcs_server.fail_next(second_try)
        gcs_server.fail_next(inserting, after=True)
        with pytest.raises(PreconditionFailedError):
            retrying.replace("a", of(b"new"), version=str(old.version), tag="t-1")
        assert raw.get("a") == b"theirs"

    def test_429_is_passing(self, retrying: RetryingStore, gcs_server: GcsServer, old: ObjectMeta) -> None:
        """GCS takes about one write a second of one object."""
        gcs_server.fail_next(inserting, 429, times=3)
        retrying.replace("a", of(b"new"), version=str(old.version), tag="t-1")
        assert len(gcs_server.requests) == 4

    def test_no_update_is_lost(self, options: dict[str, Any], raw: RawGcs) -> None:
        """Six writers with a store of their own count to ten each."""
        raw.put("count", b"0")

        def count(writer: int) -> None:
            with GcsStore(URL, options) as inner:
                store = TransferStore(RetryingStore(inner))
                for number in range(10):
                    while True:
                        data, meta = store.get("count")
                        new = of(str(int(data) + 1).encode())
                        try:
                            store.replace("count", new, version=str(meta.version), tag=f"w{writer}-{number}")
                        except PreconditionFailedError:
                            continue
                        break

        with make_executor(6, "test") as executor:
            run_all(executor, [partial(count, writer) for writer in range(6)], window=6)
        assert raw.get("count") == b"60"


class TestDeleteVersions:
    def test_only_what_is_as_it_was(self, store: GcsStore, gcs_server: GcsServer, raw: RawGcs) -> None:
        for key in "abcd":
            raw.put(key)
        told = list(store.list())
        raw.put("b", b"theirs")
        store.delete(["c"])
        gcs_server.requests.clear()
        assert list(store.delete_versions(iter(told))) == ["b"]
        asked = sorted(call.query["ifGenerationMatch"] for call in gcs_server.requests)
        assert asked == sorted(str(meta.version) for meta in told)
        assert raw.keys() == ["b"]

    def test_nothing(self, store: GcsStore, gcs_server: GcsServer) -> None:
        assert list(store.delete_versions([])) == []
        assert gcs_server.requests == []

    @pytest.mark.parametrize("version", ["0", "1", '"etag"'])
    def test_what_is_no_generation(self, store: GcsStore, raw: RawGcs, version: str) -> None:
        raw.put("a")
        assert list(store.delete_versions([ObjectMeta("a", 0, version), ObjectMeta("b", 0, version)])) == ["a"]
        assert raw.keys() == ["a"]

    def test_without_a_version_nothing_is_deleted(self, store: GcsStore, raw: RawGcs) -> None:
        raw.put("a")
        with pytest.raises(InvalidArgumentError):
            store.delete_versions([*store.list(), ObjectMeta("b", 0)])
        assert raw.keys() == ["a"]

    def test_errors_of_single_keys(self, store: GcsStore, gcs_server: GcsServer, raw: RawGcs) -> None:
        for key in "abc":
            raw.put(key)
        gcs_server.fail_next(lambda call: call.path.endswith("/b"), 403)
        with pytest.raises(PermissionDeniedError, match=r"could not be deleted: b\."):
            store.delete_versions(store.list())
        assert raw.keys() == ["b"]

    def test_passing_errors_of_single_keys(self, retrying: RetryingStore, gcs_server: GcsServer, raw: RawGcs) -> None:
        for key in "abc":
            raw.put(key)
        told = list(retrying.list())
        raw.put("c", b"theirs")
        gcs_server.fail_next(lambda call: call.path.endswith("/b"), 503)
        assert list(retrying.delete_versions(told)) == ["c"]
        assert raw.keys() == ["c"]

    @pytest.mark.parametrize("loss", LOSSES)
    def test_lost_reply(
        self, retrying: RetryingStore, gcs_server: GcsServer, raw: RawGcs, loss: dict[str, Any]
    ) -> None:
        raw.put("a")
        gcs_server.fail_next(deleting, **loss)
        assert list(retrying.delete_versions(retrying.list())) == []
        assert raw.keys() == []


class TestCreateOnlyUploads:
    """XML uploads know no preconditions, so the object comes together under a temporary name."""

    def send(self, store: Store, key: str = "d/up", **options: Any) -> tuple[Upload, list[UploadPart]]:
        upload = store.create_upload(key, **options)
        return upload, [store.put_part(upload, 1, of(b"ours"))]

    def test_completion(self, store: GcsStore, gcs_server: GcsServer, raw: RawGcs) -> None:
        seen = watch(gcs_server)
        upload, parts = self.send(store, tag="t-1", create_only=True)
        assert (upload.key, upload.tag, upload.create_only) == ("d/up", "t-1", True)
        meta = store.complete_upload(upload, parts)
        [composed] = [request for request in seen if composing(request)]
        assert composed.query["ifGenerationMatch"] == "0"
        assert composed.json()["destination"] == {
            "contentType": "application/octet-stream",
            "cacheControl": "no-store",
            "metadata": {"ckptstore-attempt": "t-1"},
        }
        assert not any("x-goog-if-generation-match" in request.headers for request in seen)
        assert meta == store.head("d/up")
        assert meta.tag == "t-1"
        assert raw.get("d/up") == b"ours"
        assert raw.keys() == ["d/up"]
        assert raw.uploads() == 0

    def test_others_need_no_temporary_name(self, store: GcsStore, gcs_server: GcsServer, raw: RawGcs) -> None:
        raw.put("d/up", b"older")
        upload, parts = self.send(store)
        assert len(upload.tag) == 32
        assert store.complete_upload(upload, parts).tag == upload.tag
        assert not any(map(composing, gcs_server.requests))
        assert raw.get("d/up") == b"ours"

    def test_conflict(self, store: GcsStore, raw: RawGcs) -> None:
        upload, parts = self.send(store, tag="t-1", create_only=True)
        store.create("d/up", of(b"theirs"), tag="t-2")
        with pytest.raises(AlreadyExistsError):
            store.complete_upload(upload, parts)
        store.abort_upload(upload)
        store.abort_upload(upload)
        assert raw.get("d/up") == b"theirs"
        assert raw.keys() == ["d/up"]
        assert raw.uploads() == 0

    @pytest.mark.parametrize("place", [completing, composing, deleting])
    @pytest.mark.parametrize("loss", LOSSES)
    def test_lost_reply(
        self, retrying: RetryingStore, gcs_server: GcsServer, raw: RawGcs, place: Any, loss: dict[str, Any]
    ) -> None:
        upload, parts = self.send(retrying, tag="t-1", create_only=True)
        gcs_server.fail_next(place, **loss)
        assert retrying.complete_upload(upload, parts) == retrying.head("d/up")
        assert raw.keys() == ["d/up"]

    @pytest.mark.parametrize("place", [completing, composing])
    @pytest.mark.parametrize("loss", LOSSES)
    def test_lost_reply_while_the_look_fails_too(
        self, retrying: RetryingStore, gcs_server: GcsServer, raw: RawGcs, place: Any, loss: dict[str, Any]
    ) -> None:
        upload, parts = self.send(retrying, tag="t-1", create_only=True)
        gcs_server.fail_next(place, **loss)
        gcs_server.fail_next(looking, 503, times=2)
        assert retrying.complete_upload(upload, parts) == retrying.head("d/up")
        assert raw.keys() == ["d/up"]
        assert raw.uploads() == 0

    @pytest.mark.parametrize("place", [completing, composing])
    @pytest.mark.parametrize("status", [500, 503, 429])
    def test_never_arrived(
        self, retrying: RetryingStore, gcs_server: GcsServer, raw: RawGcs, place: Any, status: int
    ) -> None:
        upload, parts = self.send(retrying, tag="t-1", create_only=True)
        gcs_server.fail_next(place, status, times=2)
        assert retrying.complete_upload(upload, parts) == retrying.head("d/up")
        assert raw.keys() == ["d/up"]

    def test_completed_twice(self, store: GcsStore) -> None:
        upload, parts = self.send(store, tag="t-1", create_only=True)
        assert store.complete_upload(upload, parts) == store.complete_upload(upload, parts)

    def test_a_conflict_stays_one_when_it_is_completed_again(self, store: GcsStore, raw: RawGcs) -> None:
        upload, parts = self.send(store, tag="t-1", create_only=True)
        raw.put("d/up", b"theirs")
        for _ in range(2):
            with pytest.raises(AlreadyExistsError):
                store.complete_upload(upload, parts)
        assert raw.get("d/up") == b"theirs"

    def test_completed_after_it_was_aborted(self, store: GcsStore, raw: RawGcs) -> None:
        upload, parts = self.send(store, tag="t-1", create_only=True)
        store.abort_upload(upload)
        with pytest.raises(NotFoundError, match="upload of .* is gone"):
            store.complete_upload(upload, parts)
        assert raw.keys() == []

    def test_aborted_after_it_was_completed(self, store: GcsStore, raw: RawGcs) -> None:
        upload, parts = self.send(store, tag="t-1", create_only=True)
        store.complete_upload(upload, parts)
        store.abort_upload(upload)
        assert raw.keys() == ["d/up"]

    def test_the_temporary_name_is_unfinished_business(
        self, store: GcsStore, gcs_server: GcsServer, raw: RawGcs
    ) -> None:
        upload, parts = self.send(store, tag="t-1", create_only=True)
        gcs_server.fail_next(composing, 403)
        with pytest.raises(PermissionDeniedError):
            store.complete_upload(upload, parts)
        assert list(store.list()) == []
        [left] = store.unfinished("d/")
        assert left.key.startswith("d/.ckptstore-tmp-")
        assert (left.size, left.modified is None) == (4, False)
        assert list(store.unfinished("elsewhere/")) == []
        store.delete([left.key])
        assert raw.keys() == []

    def test_a_dead_process_left_it_between_two_steps(
        self, store: GcsStore, gcs_server: GcsServer, raw: RawGcs
    ) -> None:
        """The note of an upload is all that is needed to clean up, whatever step it got to."""
        for place in ("parts", "composing"):
            upload, parts = self.send(store, tag="t-1", create_only=True)
            if place == "composing":
                gcs_server.fail_next(composing, 403)
                with pytest.raises(PermissionDeniedError):
                    store.complete_upload(upload, parts)
            store.abort_upload(UploadNote.from_bytes(UploadNote.of(upload).payload().tobytes()).upload())
            assert raw.keys() == []
            assert raw.uploads() == 0

    def test_a_foreign_id_deletes_nothing(self, store: GcsStore, gcs_server: GcsServer) -> None:
        for upload_id in ("", "x", "../a/x", "ckpt-1.index/x"):
            with pytest.raises(InvalidArgumentError):
                store.abort_upload(Upload("d/up", upload_id, "t-1", True))
        assert gcs_server.requests == []

    def test_nobody_may_write_a_temporary_name(self, store: GcsStore, gcs_server: GcsServer) -> None:
        key = f"d/.ckptstore-tmp-{'0' * 32}"
        for call in (
            lambda: store.put(key, of(b"x")),
            lambda: store.create(key, of(b"x")),
            lambda: store.replace(key, of(b"x"), version="5"),
            lambda: store.create_upload(key),
        ):
            with pytest.raises(UnsafePathError):
                call()
        assert gcs_server.requests == []

    @pytest.mark.parametrize("name", [".ckptstore-tmp-", f".ckptstore-tmp-{'0' * 31}", f"x.ckptstore-tmp-{'0' * 32}"])
    def test_names_that_resemble_it_are_not_hidden(self, store: GcsStore, name: str) -> None:
        store.put(f"d/{name}", of(b"x"))
        assert [meta.key for meta in store.list()] == [f"d/{name}"]
        assert list(store.unfinished()) == []


class TestLargeCreates:
    """Through `TransferStore`, with notes."""

    def test_it_goes_in_parts(self, stack: TransferStore, large: Payload, gcs_server: GcsServer, raw: RawGcs) -> None:
        assert stack.create("big", large, tag="t-1") == stack.head("big")
        assert raw.get("big") == large.tobytes()
        assert sum("partNumber" in call.query for call in gcs_server.requests) == 2
        assert raw.keys() == ["big"]

    def test_conflict(self, stack: TransferStore, large: Payload, raw: RawGcs) -> None:
        raw.put("big", b"theirs")
        with pytest.raises(AlreadyExistsError):
            stack.create("big", large, tag="t-1")
        assert raw.get("big") == b"theirs"
        assert raw.keys() == ["big"]
        assert raw.uploads() == 0

    def test_our_own_from_before(self, stack: TransferStore, large: Payload, raw: RawGcs) -> None:
        assert stack.create("big", large, tag="t-1") == stack.create("big", large, tag="t-1")
        assert raw.keys() == ["big"]
        assert raw.uploads() == 0

    @pytest.mark.parametrize("place", [completing, composing, deleting])
    @pytest.mark.parametrize("loss", LOSSES)
    def test_lost_reply(
        self,
        stack: TransferStore,
        large: Payload,
        gcs_server: GcsServer,
        raw: RawGcs,
        place: Any,
        loss: dict[str, Any],
    ) -> None:
        gcs_server.fail_next(place, **loss)
        assert stack.create("big", large, tag="t-1") == stack.head("big")
        assert raw.keys() == ["big"]
        assert raw.uploads() == 0

    @pytest.mark.parametrize("place", [completing, composing])
    def test_a_step_fails_for_good(
        self, stack: TransferStore, large: Payload, gcs_server: GcsServer, raw: RawGcs, place: Any
    ) -> None:
        gcs_server.fail_next(place, 503, times=100)
        with pytest.raises(StorageUnavailableError):
            stack.create("big", large, tag="t-1")
        assert raw.keys() == []
        assert raw.uploads() == 0


class TestMissingBucket:
    def test_every_verb(self, options: dict[str, Any]) -> None:
        with GcsStore("gs://nowhere/run", options) as store:
            for call in (
                lambda: store.create("a", of(b"x"), tag="t-1"),
                lambda: store.replace("a", of(b"x"), version="5", tag="t-1"),
                lambda: store.delete_versions([ObjectMeta("a", 0, "5"), ObjectMeta("b", 0, "5")]),
                lambda: store.create_upload("a", create_only=True),
                lambda: list(store.unfinished()),
            ):
                with pytest.raises(NotFoundError, match="bucket 'nowhere' does not exist"):
                    call()


class TestServers:
    """The opening probe finds out what a server is worth."""

    def test_gcs(self, store: GcsStore, gcs_server: GcsServer) -> None:
        assert probe(store, "probe") == store.capabilities
        gcs_server.requests.clear()
        assert probe(store, "probe") == store.capabilities
        assert len(gcs_server.requests) == 4

    def test_promises(self, store: GcsStore) -> None:
        promised = store.capabilities
        assert promised.create_only
        assert promised.compare_and_swap
        assert promised.conditional_delete
        assert promised.tags

    def test_one_that_ignores_conditions(self, store: GcsStore, gcs_server: GcsServer) -> None:
        gcs_server.deaf = True
        with pytest.raises(UnsupportedError, match="told not to"):
            probe(store, "probe")
