"""S3Store's conditional verbs: true conflicts, and what only looks like one."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from ckptstore.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionFailedError,
    StorageFullError,
    StorageUnavailableError,
    UnsupportedError,
    UploadConflictError,
)
from ckptstore.storage import ObjectMeta, Payload, RetryingStore, RetryPolicy, Store, TransferStore, probe
from ckptstore.testing import ManualClock

pytest.importorskip("s3fs")
pytest.importorskip("moto")

from ckptstore.storage._s3 import S3Store
from tests.storage.conftest import BUCKET
from tests.storage.s3_server import (
    Answer,
    Call,
    S3Server,
    ceph_16,
    ignores_conditions,
    lost_reply,
    lost_to,
    refusal,
    refuses_conditions,
)

URL = f"s3://{BUCKET}/run"
MIB = 1 << 20
TAG = "attempt:1"

LOST = pytest.mark.parametrize("lost", [lost_reply, lost_to(500, "InternalError")], ids=["hang-up", "500"])


@pytest.fixture
def store(s3_options: dict[str, Any]) -> Iterator[S3Store]:
    with S3Store(URL, s3_options) as store:
        yield store


@pytest.fixture
def retrying(store: S3Store) -> RetryingStore:
    return RetryingStore(store, RetryPolicy(attempts=4), clock=ManualClock())


def method(name: str) -> Callable[[Call], bool]:
    return lambda call: call.method == name


def of(data: bytes) -> Payload:
    return Payload.of(data)


def their(boto: Any, key: str, data: bytes, tag: str | None = None) -> None:
    metadata = {} if tag is None else {"ckptstore-attempt": tag}
    boto.put_object(Bucket=BUCKET, Key=f"run/{key}", Body=data, Metadata=metadata)


def raw(boto: Any, key: str) -> bytes:
    return boto.get_object(Bucket=BUCKET, Key=f"run/{key}")["Body"].read()


class TestCreate:
    def test_a_new_object(self, store: S3Store, s3_server: S3Server) -> None:
        meta = store.create("a", of(b"new"), tag=TAG)
        assert [call.method for call in s3_server.requests] == ["PUT"]
        assert (meta.key, meta.size, meta.tag) == ("a", 3, TAG)
        head = store.head("a")
        assert (head.version, head.tag) == (meta.version, TAG)
        assert store.get("a") == (b"new", head)
        assert [found.tag for found in store.list()] == [None]

    def test_somebody_elses(self, store: S3Store, s3_server: S3Server, boto: Any) -> None:
        their(boto, "a", b"theirs", tag="attempt:2")
        for tag, methods in ((None, ["PUT"]), (TAG, ["PUT", "HEAD"])):
            s3_server.requests.clear()
            with pytest.raises(AlreadyExistsError) as caught:
                store.create("a", of(b"ours"), tag=tag)
            assert caught.value.path == f"{URL}/a"
            assert [call.method for call in s3_server.requests] == methods
        assert raw(boto, "a") == b"theirs"

    def test_somebody_elses_without_a_tag(self, store: S3Store, boto: Any) -> None:
        their(boto, "a", b"theirs")
        with pytest.raises(AlreadyExistsError):
            store.create("a", of(b"ours"))
        with pytest.raises(AlreadyExistsError):
            store.create("a", of(b"ours"), tag=TAG)

    @LOST
    def test_lost_reply(self, retrying: RetryingStore, s3_server: S3Server, lost: Answer) -> None:
        s3_server.fail_next(method("PUT"), lost)
        meta = retrying.create("a", of(b"new"), tag=TAG)
        assert meta == retrying.head("a")
        assert s3_server.count("PUT") == 2

    def test_a_put_is_not_repeated_behind_our_back(self, store: S3Store, s3_server: S3Server) -> None:
        """No RetryingStore here, and nobody else sends a request again when a kept connection breaks."""
        list(store.list())  # so that there is a connection to keep
        s3_server.fail_next(method("PUT"), lost_reply)
        with pytest.raises(StorageUnavailableError):
            store.create("a", of(b"new"), tag=TAG)
        assert s3_server.count("PUT") == 1
        assert store.create("a", of(b"new"), tag=TAG) == store.head("a")

    def test_lost_reply_without_a_tag_shows_as_a_conflict(self, retrying: RetryingStore, s3_server: S3Server) -> None:
        s3_server.fail_next(method("PUT"), lost_to(500, "InternalError"))
        with pytest.raises(AlreadyExistsError):
            retrying.create("a", of(b"new"))

    def test_a_conflict_that_cannot_be_looked_at_is_none_yet(
        self, store: S3Store, retrying: RetryingStore, s3_server: S3Server
    ) -> None:
        store.create("a", of(b"new"), tag=TAG)
        s3_server.fail_next(method("HEAD"), refusal(503, "SlowDown"))
        with pytest.raises(StorageUnavailableError):
            store.create("a", of(b"new"), tag=TAG)
        s3_server.fail_next(method("HEAD"), refusal(503, "SlowDown"))
        assert retrying.create("a", of(b"new"), tag=TAG) == store.head("a")

    def test_racing_requests_are_tried_again(self, retrying: RetryingStore, s3_server: S3Server) -> None:
        s3_server.fail_next(method("PUT"), refusal(409, "ConditionalRequestConflict"), times=2)
        retrying.create("a", of(b"new"), tag=TAG)
        assert s3_server.count("PUT") == 3

    def test_a_tag_that_is_none(self, store: S3Store, s3_server: S3Server) -> None:
        with pytest.raises(InvalidArgumentError):
            store.create("a", of(b""), tag="two words")
        assert s3_server.requests == []


class TestReplace:
    def test_the_right_version(self, store: S3Store, s3_server: S3Server, boto: Any) -> None:
        first = store.create("a", of(b"one"), tag="t1")
        s3_server.requests.clear()
        assert first.version is not None
        second = store.replace("a", of(b"two"), version=first.version, tag="t2")
        assert len(s3_server.requests) == 1
        assert (second.tag, second.version) == ("t2", store.head("a").version)
        assert raw(boto, "a") == b"two"

    @pytest.mark.parametrize("tag", [None, TAG])
    def test_a_stale_version(self, store: S3Store, s3_server: S3Server, boto: Any, tag: str | None) -> None:
        version = store.put("a", of(b"one")).version
        their(boto, "a", b"theirs")
        s3_server.requests.clear()
        assert version is not None
        with pytest.raises(PreconditionFailedError):
            store.replace("a", of(b"two"), version=version, tag=tag)
        assert len(s3_server.requests) == (1 if tag is None else 2)
        assert raw(boto, "a") == b"theirs"

    @pytest.mark.parametrize("tag", [None, TAG])
    def test_a_missing_object(self, store: S3Store, tag: str | None) -> None:
        with pytest.raises(PreconditionFailedError):
            store.replace("missing", of(b"x"), version='"0"', tag=tag)

    def test_a_missing_object_at_a_server_that_says_412(self, store: S3Store, s3_server: S3Server) -> None:
        s3_server.fail_next(method("PUT"), refusal(412, "PreconditionFailed"), times=2)
        for tag in (None, TAG):
            with pytest.raises(PreconditionFailedError):
                store.replace("missing", of(b"x"), version='"0"', tag=tag)

    @LOST
    def test_lost_reply(self, retrying: RetryingStore, s3_server: S3Server, boto: Any, lost: Answer) -> None:
        version = retrying.create("a", of(b"one"), tag="t1").version
        assert version is not None
        s3_server.fail_next(method("PUT"), lost)
        meta = retrying.replace("a", of(b"two"), version=version, tag="t2")
        assert meta == retrying.head("a")
        assert raw(boto, "a") == b"two"

    def test_lost_reply_and_then_somebody_else(self, store: S3Store, s3_server: S3Server, boto: Any) -> None:
        version = store.create("a", of(b"one"), tag="t1").version
        assert version is not None
        s3_server.fail_next(method("PUT"), lost_to(500, "InternalError"))
        with pytest.raises(StorageUnavailableError):
            store.replace("a", of(b"two"), version=version, tag="t2")
        their(boto, "a", b"theirs", tag="t3")
        with pytest.raises(PreconditionFailedError):
            store.replace("a", of(b"two"), version=version, tag="t2")
        assert raw(boto, "a") == b"theirs"

    def test_racing_requests_are_tried_again(self, retrying: RetryingStore, s3_server: S3Server) -> None:
        version = retrying.put("a", of(b"one")).version
        assert version is not None
        s3_server.fail_next(method("PUT"), refusal(409, "ConditionalRequestConflict"))
        retrying.replace("a", of(b"two"), version=version, tag=TAG)
        assert retrying.head("a").tag == TAG

    def test_a_version_of_nothing_is_sent_with_quotes(self, store: S3Store, s3_server: S3Server) -> None:
        store.put("a", of(b"one"))
        with pytest.raises(PreconditionFailedError):
            store.replace("a", of(b"two"), version="1")
        assert s3_server.requests[-1].headers["if-match"] == '"1"'

    def test_a_weak_version_is_sent_as_it_is(self, store: S3Store, s3_server: S3Server) -> None:
        with pytest.raises(PreconditionFailedError):
            store.replace("a", of(b"two"), version='W/"abc"')
        assert s3_server.requests[-1].headers["if-match"] == 'W/"abc"'

    def test_more_than_fits_into_one_request(self, store: S3Store, s3_server: S3Server) -> None:
        payload = of(b"x")
        payload.nbytes = 6 << 30
        with pytest.raises(StorageFullError):
            TransferStore(store).replace("a", payload, version='"1"')
        assert s3_server.requests == []

    def test_a_server_that_refuses_its_own_version(self, store: S3Store, s3_server: S3Server) -> None:
        version = store.put("a", of(b"one")).version
        assert version is not None
        s3_server.fail_next(method("PUT"), refusal(412, "PreconditionFailed"), times=2)
        with pytest.raises(UnsupportedError, match="changes ETags"):
            store.replace("a", of(b"two"), version=version, tag=TAG)


class TestBareEtags:
    """Ceph up to 16 takes them without their quotes, and only so."""

    @pytest.fixture(autouse=True)
    def _ceph(self, s3_server: S3Server) -> None:
        s3_server.dialect = ceph_16

    def test_it_is_found_out_once(self, store: S3Store, s3_server: S3Server, boto: Any) -> None:
        version = store.create("a", of(b"0"), tag="t0").version
        counts = []
        for number in range(1, 4):
            s3_server.requests.clear()
            assert version is not None
            version = store.replace("a", of(b"%d" % number), version=version, tag=f"t{number}").version
            counts.append(len(s3_server.requests))
        assert counts == [3, 1, 1]
        assert raw(boto, "a") == b"3"

    def test_conflicts_stay_conflicts(self, store: S3Store, boto: Any) -> None:
        stale = store.create("a", of(b"0"), tag="t0").version
        assert stale is not None
        their(boto, "a", b"theirs")
        with pytest.raises(PreconditionFailedError):
            store.replace("a", of(b"1"), version=stale, tag=TAG)
        current = store.head("a").version
        assert current is not None
        store.replace("a", of(b"2"), version=current, tag=TAG)
        with pytest.raises(PreconditionFailedError):
            store.replace("a", of(b"3"), version=stale, tag="t3")
        with pytest.raises(PreconditionFailedError):
            store.replace("missing", of(b"3"), version=stale, tag="t3")
        assert raw(boto, "a") == b"2"

    def test_lost_reply_to_the_second_spelling(self, retrying: RetryingStore, s3_server: S3Server) -> None:
        version = retrying.create("a", of(b"0"), tag="t0").version
        assert version is not None
        s3_server.fail_next(
            lambda call: call.method == "PUT" and '"' not in call.headers["if-match"], lost_to(500, "InternalError")
        )
        assert retrying.replace("a", of(b"1"), version=version, tag=TAG) == retrying.head("a")

    def test_what_a_probe_finds(self, store: S3Store) -> None:
        capabilities = probe(store, "p")
        assert capabilities.compare_and_swap
        assert capabilities.create_only
        assert not capabilities.conditional_delete


class TestDeleteVersions:
    def test_only_what_it_was_told_of(self, store: S3Store, s3_server: S3Server, boto: Any) -> None:
        for key in ("a", "b", "c", "bystander"):
            store.put(key, of(key.encode()))
        listed = [meta for meta in store.list() if meta.key != "bystander"]
        their(boto, "b", b"replaced")
        boto.delete_object(Bucket=BUCKET, Key="run/c")
        s3_server.requests.clear()
        assert list(store.delete_versions(listed)) == ["b"]
        assert [call.method for call in s3_server.requests] == ["DELETE"] * 3
        assert [meta.key for meta in store.list()] == ["b", "bystander"]
        assert raw(boto, "b") == b"replaced"
        assert list(store.delete_versions([])) == []

    def test_several_go_at_once(self, store: S3Store, boto: Any) -> None:
        metas = [store.put(f"k{number:03d}", of(b"%d" % number)) for number in range(80)]
        for number in range(0, 80, 10):
            their(boto, f"k{number:03d}", b"other")
        spared = store.delete_versions(iter(metas))
        assert sorted(spared) == [f"k{number:03d}" for number in range(0, 80, 10)]
        assert [meta.key for meta in store.list()] == sorted(spared)

    @LOST
    def test_lost_replies(self, retrying: RetryingStore, s3_server: S3Server, boto: Any, lost: Answer) -> None:
        metas = [retrying.put(key, of(b"x")) for key in "abc"]
        s3_server.fail_next(method("DELETE"), lost, times=2)
        assert list(retrying.delete_versions(metas)) == []
        assert list(retrying.list()) == []

    def test_one_is_denied(self, store: S3Store, s3_server: S3Server) -> None:
        metas = [store.put(key, of(b"x")) for key in "abc"]
        s3_server.fail_next(
            lambda call: call.method == "DELETE" and call.path.endswith("/b"), refusal(403, "AccessDenied")
        )
        with pytest.raises(PermissionDeniedError, match=r"could not be deleted: b\."):
            store.delete_versions(metas)
        assert [meta.key for meta in store.list()] == ["b"]

    def test_racing_requests_are_tried_again(self, retrying: RetryingStore, s3_server: S3Server) -> None:
        meta = retrying.put("a", of(b"x"))
        s3_server.fail_next(method("DELETE"), refusal(409, "ConditionalRequestConflict"))
        assert list(retrying.delete_versions([meta])) == []
        assert list(retrying.list()) == []

    def test_without_a_version_nothing_is_deleted(self, store: S3Store, s3_server: S3Server) -> None:
        meta = store.put("a", of(b"x"))
        s3_server.requests.clear()
        with pytest.raises(InvalidArgumentError):
            store.delete_versions([meta, ObjectMeta("b", 1)])
        assert s3_server.requests == []


class TestUploads:
    @pytest.fixture
    def stack(self, retrying: RetryingStore) -> TransferStore:
        return TransferStore(retrying, part_size=5 * MIB, concurrency=2, journal="notes/")

    @pytest.fixture
    def payload(self) -> Payload:
        return Payload([b"a" * (5 * MIB), b"b" * MIB])

    def left(self, boto: Any) -> list[str]:
        uploads = boto.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
        objects = boto.list_objects_v2(Bucket=BUCKET).get("Contents", [])
        return [item["Key"] for item in (*objects, *uploads)]

    def test_a_new_object(self, stack: TransferStore, payload: Payload, s3_server: S3Server, boto: Any) -> None:
        meta = stack.create("big", payload, tag=TAG)
        assert meta.tag == TAG
        assert meta.version == stack.head("big").version
        assert stack.head("big").tag == TAG
        assert raw(boto, "big") == payload.tobytes()
        assert self.left(boto) == ["run/big"]
        assert next(call for call in s3_server.requests if completing(call)).headers["if-none-match"] == "*"

    def test_somebody_elses(self, stack: TransferStore, payload: Payload, boto: Any) -> None:
        their(boto, "big", b"theirs", tag="attempt:2")
        with pytest.raises(AlreadyExistsError):
            stack.create("big", payload, tag=TAG)
        assert raw(boto, "big") == b"theirs"
        assert self.left(boto) == ["run/big"]

    def test_a_plain_put_replaces_it_still(self, stack: TransferStore, payload: Payload, boto: Any) -> None:
        their(boto, "big", b"theirs")
        stack.put("big", payload)
        assert raw(boto, "big") == payload.tobytes()

    @LOST
    def test_lost_reply(
        self, stack: TransferStore, payload: Payload, s3_server: S3Server, boto: Any, lost: Answer
    ) -> None:
        s3_server.fail_next(completing, lost)
        assert stack.create("big", payload, tag=TAG) == stack.head("big")
        assert sum(map(completing, s3_server.requests)) == 1  # the object itself told that it is there
        assert self.left(boto) == ["run/big"]

    def test_412_about_our_own_object(
        self, store: S3Store, stack: TransferStore, payload: Payload, s3_server: S3Server
    ) -> None:
        def complete_and_refuse(server: S3Server, environ: Any, start_response: Any) -> Any:
            server.moto(environ, lambda *args: None)
            environ["CONTENT_LENGTH"] = "0"
            return refusal(412, "PreconditionFailed")(server, environ, start_response)

        s3_server.fail_next(completing, complete_and_refuse)
        assert stack.create("big", payload, tag=TAG) == stack.head("big")

    def test_an_earlier_try_of_ours(self, stack: TransferStore, payload: Payload, boto: Any) -> None:
        first = stack.create("big", payload, tag=TAG)
        again = stack.create("big", payload, tag=TAG)
        assert (again.version, again.tag) == (first.version, TAG)
        assert self.left(boto) == ["run/big"]

    def test_another_completion_under_way(
        self, stack: TransferStore, payload: Payload, s3_server: S3Server, boto: Any
    ) -> None:
        s3_server.fail_next(completing, refusal(409, "ConditionalRequestConflict"), times=2)
        assert stack.create("big", payload, tag=TAG).version == stack.head("big").version
        assert s3_server.count("POST", "uploads") == 3
        assert self.left(boto) == ["run/big"]

    def test_other_completions_for_ever(
        self, stack: TransferStore, payload: Payload, s3_server: S3Server, boto: Any
    ) -> None:
        s3_server.fail_next(completing, refusal(409, "ConditionalRequestConflict"), times=100)
        with pytest.raises(StorageUnavailableError, match="3 uploads") as caught:
            stack.create("big", payload, tag=TAG)
        assert isinstance(caught.value.__cause__, UploadConflictError)
        assert sum(map(completing, s3_server.requests)) == 3
        assert self.left(boto) == []

    def test_409_without_a_condition_is_a_passing_failure(
        self, stack: TransferStore, payload: Payload, s3_server: S3Server
    ) -> None:
        s3_server.fail_next(completing, refusal(409, "OperationAborted"))
        stack.put("big", payload)
        assert s3_server.count("POST", "uploads") == 1

    def test_what_cannot_be_looked_at_is_not_decided(
        self, store: S3Store, stack: TransferStore, payload: Payload, s3_server: S3Server, boto: Any
    ) -> None:
        their(boto, "big", b"theirs")
        s3_server.fail_next(method("HEAD"), refusal(503, "SlowDown"), times=2)
        with pytest.raises(AlreadyExistsError):
            stack.create("big", payload, tag=TAG)
        assert sum(map(completing, s3_server.requests)) == 3


def completing(call: Call) -> bool:
    return call.method == "POST" and "uploadId" in call.query


class TestServers:
    """Those that know less than S3, and a client that does."""

    def conditional(self, store: Store) -> list[Callable[[], object]]:
        upload = store.create_upload("up", create_only=True)
        part = store.put_part(upload, 1, of(b"x"))
        return [
            partial(store.create, "a", of(b"x")),
            partial(store.replace, "a", of(b"x"), version='"1"'),
            partial(store.delete_versions, [ObjectMeta("a", 1, '"1"')]),
            partial(store.complete_upload, upload, [part]),
        ]

    @pytest.mark.parametrize(("status", "code"), [(501, "NotImplemented"), (400, "NotImplemented")])
    def test_conditions_refused(self, store: S3Store, s3_server: S3Server, boto: Any, status: int, code: str) -> None:
        calls = self.conditional(store)
        s3_server.fail_next(lambda call: True, refusal(status, code), times=len(calls))
        for call in calls:
            with pytest.raises(UnsupportedError):
                call()
        with pytest.raises(NotFoundError):
            store.head("a")

    def test_missing_bucket(self, s3_server: S3Server, s3_options: dict[str, Any]) -> None:
        with S3Store("s3://nowhere/run", s3_options) as store:
            calls: list[Callable[[], object]] = [
                partial(store.create, "a", of(b"x")),
                partial(store.create, "a", of(b"x"), tag=TAG),
                partial(store.replace, "a", of(b"x"), version='"1"', tag=TAG),
                partial(store.create_upload, "a", create_only=True),
            ]
            for call in calls:
                with pytest.raises(NotFoundError, match="bucket 'nowhere' does not exist"):
                    call()
            s3_server.fail_next(method("DELETE"), refusal(404, "NoSuchBucket"))
            with pytest.raises(NotFoundError, match="bucket 'nowhere' does not exist"):
                store.delete_versions([ObjectMeta("a", 1, '"1"')])

    @pytest.mark.parametrize("dialect", [ignores_conditions, refuses_conditions])
    def test_a_probe_turns_down(self, store: S3Store, s3_server: S3Server, dialect: Answer) -> None:
        s3_server.dialect = dialect
        with pytest.raises(UnsupportedError):
            probe(store, "p")

    def test_a_probe_is_four_requests(self, store: S3Store, s3_server: S3Server) -> None:
        assert probe(store, "p") == store.capabilities
        assert len(s3_server.requests) == 5
        s3_server.requests.clear()
        assert probe(store, "p") == store.capabilities
        assert len(s3_server.requests) == 4
        assert [meta.key for meta in store.list()] == ["p"]

    @pytest.mark.parametrize(
        ("operation", "names"),
        [
            ("PutObject", ["IfMatch", "IfNoneMatch"]),
            ("DeleteObject", ["IfMatch"]),
            ("CompleteMultipartUpload", ["IfNoneMatch"]),
        ],
    )
    def test_an_old_botocore(
        self, store: S3Store, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, operation: str, names: list[str]
    ) -> None:
        refused = {"PutObject": (0, 1), "DeleteObject": (2,), "CompleteMultipartUpload": (3,)}[operation]
        calls = self.conditional(store)
        model = store._client.get().meta.service_model.operation_model(operation)
        for name in names:
            monkeypatch.delitem(model.input_shape.members, name)
        s3_server.requests.clear()
        for number in refused:
            with pytest.raises(UnsupportedError, match=r"aiobotocore>=2\.16"):
                calls[number]()
        assert s3_server.requests == []
        store.put("b", of(b"x"))


def test_no_write_is_lost(s3_options: dict[str, Any], s3_server: S3Server) -> None:
    """Eight writers add lines to one object, and now and then a reply is lost."""
    lines = [f"{writer}-{number}" for writer in range(8) for number in range(8)]
    with S3Store(URL, s3_options) as first:
        first.create("log", of(b""))
    s3_server.fail_next(method("PUT"), lost_to(500, "InternalError"), times=10)

    def write(writer: int) -> None:
        with S3Store(URL, s3_options) as inner:
            store = RetryingStore(inner, clock=ManualClock())
            for line in lines[8 * writer : 8 * writer + 8]:
                while True:
                    data, meta = store.get("log")
                    if line in data.decode().split():  # the reply was lost, and then somebody else wrote
                        break
                    assert meta.version is not None
                    with contextlib.suppress(PreconditionFailedError):
                        store.replace("log", of(data + f"{line}\n".encode()), version=meta.version, tag=line)
                        break

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with S3Store(URL, s3_options) as store:
        assert sorted(store.get("log")[0].decode().split()) == sorted(lines)
