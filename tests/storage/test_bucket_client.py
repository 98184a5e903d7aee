"""Clients that one store hands over to the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ckptstore as ck
from ckptstore.storage import Payload, Store, from_url
from ckptstore.storage._wrapper import innermost

pytest.importorskip("s3fs")
pytest.importorskip("gcsfs")

from ckptstore.storage._bucket_client import BucketClient
from tests.storage.conftest import BUCKET


@pytest.fixture(params=["s3", "gs"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def options(scheme: str, s3_options: dict[str, Any], gcs_server: Any) -> dict[str, Any]:
    return s3_options if scheme == "s3" else {"endpoint_url": gcs_server.url, "token": "anon"}


@pytest.fixture
def made(scheme: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The clients that are made."""
    from ckptstore.storage._gcs import GcsStore
    from ckptstore.storage._s3 import S3Store

    clients: list[Any] = []
    kind: Any = S3Store if scheme == "s3" else GcsStore
    make = kind._make_client
    monkeypatch.setattr(kind, "_make_client", lambda self: clients.append(make(self)) or clients[-1])
    return clients


def client(store: Store) -> Any:
    bucket = innermost(store)
    assert isinstance(bucket, BucketClient)
    return bucket._client.get()


def has_one(store: Store) -> bool:
    bucket: Any = innermost(store)
    return bool(bucket._client._made)


CALLS: dict[str, Callable[[str, dict[str, Any]], object]] = {
    "restore": lambda url, options: ck.restore(f"{url}/m", storage_options=options),
    "load_variable": lambda url, options: ck.load_variable(f"{url}/m", "w", storage_options=options),
    "verify": lambda url, options: ck.verify(f"{url}/m", storage_options=options),
    "verify a directory": lambda url, options: ck.verify(f"{url}/d", storage_options=options),
    "copy": lambda url, options: ck.copy_checkpoint(f"{url}/m", f"{url}/n", storage_options=options),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_makes_a_client_for_what_it_reads(
    scheme: str, options: dict[str, Any], made: list[Any], call: str
) -> None:
    url = f"{scheme}://{BUCKET}/run"
    ck.save(f"{url}/m", {"w": np.arange(3)}, storage_options=options)
    with ck.CheckpointManager(f"{url}/d", storage_options=options) as manager:
        manager.save(1, {"w": np.arange(3)})
    made.clear()
    CALLS[call](url, options)
    assert len(made) == (2 if call == "copy" else 1)  # one more for the copy


def test_a_client_goes_on_with_the_next_store(scheme: str, options: dict[str, Any]) -> None:
    first = from_url(f"{scheme}://{BUCKET}/a", options)
    first.put("k", Payload.of(b"1"))
    kept = client(first)
    with from_url(f"{scheme}://{BUCKET}", options, instead_of=first) as second:
        assert client(second) is kept
        assert second.get("a/k")[0] == b"1"
        first.close()  # is closed, and takes nothing from the other
        assert client(second) is kept
        assert first.get("k")[0] == b"1"  # and opens again, as every store
        assert client(first) is not kept
        first.close()
        assert client(second) is kept


@pytest.mark.parametrize(
    ("more", "goes_on"), [({"default_block_size": 1 << 20}, True), ({"max_concurrency": 99}, False), ({"a": 1}, False)]
)
def test_a_client_goes_on_only_if_the_options_would_make_the_same(
    scheme: str, options: dict[str, Any], more: dict[str, Any], goes_on: bool
) -> None:
    first = from_url(f"{scheme}://{BUCKET}/a", options)
    kept = client(first)
    bucket: Any = innermost(from_url(f"{scheme}://{BUCKET}", options | more, instead_of=first))
    assert (kept in bucket._client._made.values()) is goes_on
    assert not has_one(first)
    bucket.close()


def test_a_store_that_took_a_client_over_makes_its_next_by_itself(scheme: str, options: dict[str, Any]) -> None:
    first = from_url(f"{scheme}://{BUCKET}/a", options)
    assert client(first)
    with from_url(f"{scheme}://{BUCKET}", options, instead_of=first) as second:
        kept = client(second)
        second.close()
        assert client(second) is not kept
        assert not has_one(first)


def test_a_client_does_not_go_on_with_a_store_of_another_kind(
    scheme: str, options: dict[str, Any], tmp_path: Any
) -> None:
    local = from_url(tmp_path)
    first = from_url(f"{scheme}://{BUCKET}", options, instead_of=local)
    assert client(first)
    assert from_url(tmp_path, instead_of=first).url == str(tmp_path)
    assert not has_one(first)  # closed


def test_a_store_that_cannot_be_made_leaves_the_other_open(scheme: str, options: dict[str, Any]) -> None:
    with from_url(f"{scheme}://{BUCKET}", options) as first:
        kept = client(first)
        with pytest.raises(ck.UnsupportedError):
            from_url("nonsense://x", options, instead_of=first)
        assert client(first) is kept
