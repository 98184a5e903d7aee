"""The store suite and the manager against real servers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest

import ckptstore as ck
from ckptstore._concurrency import make_executor, run_all
from ckptstore.storage import Payload, Store, from_url
from ckptstore.testing import StoreTests
from tests.integration.endpoints import KINDS, Endpoint

os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")

# The clients by which the tests look at the servers have warnings of their own.
pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]


class _EndpointTests(StoreTests):
    kind: str

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        self.endpoint = Endpoint.named(self.kind)
        self.endpoint.clear()
        with from_url(self.endpoint.url, self.endpoint.options) as store:
            yield store
        self.endpoint.clear()

    def raw_get(self, key: str) -> bytes:
        return self.endpoint.get(key)

    def raw_put(self, key: str, data: bytes) -> None:
        self.endpoint.put(key, data)

    def raw_keys(self) -> set[str]:
        return self.endpoint.names()


class TestS3(_EndpointTests):
    kind = "S3"


class TestGcs(_EndpointTests):
    kind = "GCS"


class TestOther(_EndpointTests):
    kind = "OTHER"


@pytest.fixture(params=KINDS)
def endpoint(request: pytest.FixtureRequest) -> Iterator[Endpoint]:
    endpoint = Endpoint.named(request.param)
    endpoint.clear()
    yield endpoint
    endpoint.clear()


def test_a_job_saves_dies_and_resumes(endpoint: Endpoint) -> None:
    rng = np.random.default_rng(0)
    state = {"w": rng.normal(size=(300, 400)).astype(np.float32), "words": np.array([b"a", b""], dtype=object)}
    options = {"storage_options": endpoint.options}
    with ck.CheckpointManager(endpoint.url, max_to_keep=2, **options) as manager:
        for step in (1, 2, 3):
            manager.save(step, {**state, "step": np.int64(step)}, metrics={"loss": 1 / step})
    with ck.CheckpointManager(endpoint.url, max_to_keep=2, **options) as manager:
        step, items = manager.restore_or_initialize(dict)
        assert step == items["step"] == 3
        assert items["w"].tobytes() == state["w"].tobytes()
        assert manager.all_steps() == [2, 3]
        assert manager.best_step("loss") == 3
    assert ck.verify(endpoint.url, **options).ok
    assert {key.split(".")[0] for key in endpoint.names()} - {""} == {"checkpoint", "ckpt-2", "ckpt-3"}


def test_no_update_is_lost(endpoint: Endpoint) -> None:
    """Four writers count to five each, each with a store of its own."""
    with from_url(endpoint.url, endpoint.options) as store:
        if not store.capabilities.compare_and_swap:
            pytest.skip("cannot compare and swap")
        store.create("count", Payload.of(b"0"), tag="start")

    def count(writer: int) -> None:
        with from_url(endpoint.url, endpoint.options) as store:
            for number in range(5):
                while True:
                    data, meta = store.get("count")
                    try:
                        store.replace(
                            "count",
                            Payload.of(b"%d" % (int(data) + 1)),
                            version=str(meta.version),
                            tag=f"{writer}-{number}",
                        )
                    except ck.PreconditionFailedError:
                        continue
                    break

    with make_executor(4, "test") as executor:
        run_all(executor, [partial(count, writer) for writer in range(4)], window=4)
    assert endpoint.get("count") == b"20"


def test_a_large_create_replaces_nothing(endpoint: Endpoint) -> None:
    payload = Payload([b"x" * (20 << 20)])
    with from_url(endpoint.url, endpoint.options) as store:
        if not store.capabilities.create_only:
            pytest.skip("cannot tell whether an object is new")
        meta = store.create("big", payload, tag="first")
        assert meta.version == store.head("big").version
        assert store.create("big", payload, tag="first").version == meta.version
        with pytest.raises(ck.AlreadyExistsError):
            store.create("big", Payload([b"y" * (20 << 20)]), tag="second")
        assert store.head("big").version == meta.version
        assert endpoint.names() == {"big"}


def test_large_tensors_travel_in_parts(endpoint: Endpoint) -> None:
    big = np.arange(20 << 20, dtype=np.uint8).reshape(20, -1)
    prefix = f"{endpoint.url}/big"
    ck.save(prefix, {"big": big, "small": np.float32(1)}, storage_options=endpoint.options)
    assert ck.restore(prefix, storage_options=endpoint.options)["big"].tobytes() == big.tobytes()
    with ck.load_checkpoint(prefix, storage_options=endpoint.options) as reader:
        assert np.array_equal(reader["big"][7, 100:200], big[7, 100:200])


def test_damage_is_found(endpoint: Endpoint) -> None:
    prefix = f"{endpoint.url}/m"
    ck.save(prefix, {"a": np.arange(1000)}, storage_options=endpoint.options)
    data = bytearray(endpoint.get("m.data-00000-of-00001"))
    data[4000] ^= 1
    endpoint.put("m.data-00000-of-00001", bytes(data))
    with pytest.raises(ck.DataLossError, match="tensor 'a'"):
        ck.restore(prefix, storage_options=endpoint.options)


def test_a_bucket_that_does_not_exist(endpoint: Endpoint) -> None:
    scheme = endpoint.url.partition("://")[0]
    if scheme not in ("s3", "gs"):
        pytest.skip("has no buckets")
    with pytest.raises(ck.NotFoundError, match="no-such-bucket-of-ckptstore"):
        ck.CheckpointManager(f"{scheme}://no-such-bucket-of-ckptstore/run", storage_options=endpoint.options).save(
            1, {"v": 1}
        )
