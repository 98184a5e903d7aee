"""Copies within a bucket: what is asked of S3, and what becomes of servers that cannot do it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ckptstore.errors import NotFoundError, PreconditionFailedError, UnsupportedError
from ckptstore.storage import ObjectRange, Payload, Store, TransferStore
from ckptstore.storage._s3 import S3Store
from ckptstore.testing import InlineExecutor, StoreTests
from tests.storage.conftest import BUCKET
from tests.storage.s3_server import S3Server, canned
from tests.support.fasts3 import MIN_PART_SIZE, FastS3, S3Object

URL = f"s3://{BUCKET}/run"


@pytest.fixture(scope="module")
def server() -> Iterator[FastS3]:
    with FastS3() as server:
        yield server


class TestTransfersToAStrictServer(StoreTests):
    """Unlike moto, it looks at the condition on the source, and at its size."""

    @pytest.fixture
    def store(self, server: FastS3, _aio_session: Any) -> Iterator[Store]:
        server.reset(BUCKET)
        self.server = server
        inner = S3Store(URL, {"endpoint_url": server.url, "session": _aio_session})
        with TransferStore(inner, part_size=MIN_PART_SIZE, executor=InlineExecutor()) as store:
            yield store

    @property
    def _objects(self) -> dict[str, S3Object]:
        return self.server.buckets[BUCKET]

    def raw_get(self, key: str) -> bytes:
        return self._objects[f"run/{key}"].data

    def raw_put(self, key: str, data: bytes) -> None:
        self._objects[f"run/{key}"] = S3Object(data, f'"{hash(data):x}"', 1e9)

    def raw_keys(self) -> set[str]:
        assert not self.server.uploads
        return {key.removeprefix("run/") for key in self._objects}

    def test_a_range_of_a_small_object_is_not_copied(self, store: Store) -> None:
        """S3 copies ranges of objects above 5 MiB alone."""
        source = store.put("a", Payload.of(bytes(MIN_PART_SIZE)))
        with pytest.raises(UnsupportedError, match="write the bytes"):
            store.copy("b", [ObjectRange(source, 1, MIN_PART_SIZE)], tag="t")
        assert self.raw_keys() == {"a"}

    def test_a_name_that_some_servers_decode_twice_is_not_sent(self, store: Store) -> None:
        source = store.put("100%.a", Payload.of(b"data"))
        with pytest.raises(UnsupportedError, match="write the bytes"):
            store.copy("b", [ObjectRange.whole(source)], tag="t")
        store.copy("100%.b", [ObjectRange.whole(store.put("a", Payload.of(b"data")))], tag="t")
        assert self.raw_keys() == {"a", "100%.a", "100%.b"}

    def test_a_source_that_is_gone_is_named(self, store: Store) -> None:
        source = ObjectRange.whole(store.put("a", Payload.of(b"data")))
        store.put("a", Payload.of(b"other"))
        with pytest.raises(PreconditionFailedError) as changed:
            store.copy("b", [source], tag="t")
        store.delete(["a"])
        with pytest.raises(NotFoundError) as gone:
            store.copy("b", [source], tag="t")
        assert changed.value.path == gone.value.path == f"{URL}/a"
        assert self.raw_keys() == set()


@pytest.fixture
def store(s3_options: dict[str, Any]) -> Iterator[Store]:
    with TransferStore(S3Store(URL, s3_options), executor=InlineExecutor()) as store:
        yield store


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (501, b"<Error><Code>NotImplemented</Code></Error>"),
        (400, b"<Error><Code>NotImplemented</Code></Error>"),
        (200, b""),  # of one that takes it for a part without bytes
    ],
)
def test_a_server_that_cannot_copy_is_told_from_one_that_fails(
    s3_server: S3Server, boto: Any, store: Store, status: int, body: bytes
) -> None:
    source = ObjectRange.whole(store.put("a", Payload.of(b"data")))
    s3_server.fail_next(lambda call: "partNumber" in call.query, canned(status, body))
    with pytest.raises(UnsupportedError):
        store.copy("b", [source], tag="t")
    assert [item["Key"] for item in boto.list_objects_v2(Bucket=BUCKET)["Contents"]] == ["run/a"]
    assert not boto.list_multipart_uploads(Bucket=BUCKET).get("Uploads")


def test_a_condition_that_the_server_does_not_look_at_is_looked_at_here(store: Store, boto: Any) -> None:
    """moto is one of those."""
    source = ObjectRange.whole(store.put("a", Payload.of(b"data")))
    store.put("a", Payload.of(b"DATA"))
    with pytest.raises(PreconditionFailedError):
        store.copy("b", [source], tag="t")
    assert not boto.list_multipart_uploads(Bucket=BUCKET).get("Uploads")
