"""The manager, readers and pruners on S3 and GCS: what they cost, and every request of them going wrong."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import ckptstore as ck
from ckptstore.checkpoint import CheckpointDirectory
from ckptstore.checkpoint.policies import LatestN, decide
from ckptstore.checkpoint.pruning import Pruner
from ckptstore.storage import Store, from_url
from ckptstore.testing import ManualClock
from ckptstore.train.retention import candidates
from tests.protocol.nth_fault import KINDS, DatedStore, Plan
from tests.protocol.operations import OPERATIONS, aftermath, prepare, run
from tests.protocol.world import World
from tests.storage.conftest import BUCKET
from tests.storage.s3_server import S3Server, ignores_conditions

URL = f"s3://{BUCKET}/run"
ITEMS = {"w": np.arange(6.0), "b": np.zeros(3, np.float32)}

numbers = itertools.count()


def counted(server: S3Server, call: Callable[[], object]) -> int:
    before = len(server.requests)
    call()
    return len(server.requests) - before


def test_how_many_requests_it_takes(s3_server: S3Server, s3_options: dict[str, Any]) -> None:
    """The budget: a small save 12, a restore of the latest 6, and 8 more to take a directory over."""
    with ck.CheckpointManager(URL, max_to_keep=2, storage_options=s3_options) as manager:
        assert counted(s3_server, lambda: manager.save(0, ITEMS)) <= 20
        saves = [counted(s3_server, lambda s=step: manager.save(s, ITEMS)) for step in range(1, 40)]  # type: ignore[misc]
        assert max(saves) <= 12
        assert counted(s3_server, manager.restore) <= 6
    assert counted(s3_server, lambda: ck.restore(URL, storage_options=s3_options)) <= 6
    with ck.CheckpointManager(URL, max_to_keep=2, storage_options=s3_options) as manager:
        assert counted(s3_server, manager.acquire) <= 8
        manager.save(40, ITEMS)  # collects what its predecessor has left
        assert counted(s3_server, lambda: manager.save(41, ITEMS)) <= 12
    with ck.CheckpointManager(URL, max_to_keep=2, storage_options=s3_options) as manager:
        manager.save(42, ITEMS)
    assert not [call for call in s3_server.requests if call.method == "HEAD"]


@pytest.mark.parametrize("removed", [1, 12])
def test_pruning_takes_as_few_lists_for_many_as_for_one(
    s3_server: S3Server, s3_options: dict[str, Any], removed: int
) -> None:
    with ck.CheckpointManager(URL, max_to_keep=None, storage_options=s3_options) as manager:
        for step in range(13):
            manager.save(step, ITEMS)
    with from_url(URL, s3_options) as store:
        before = len(s3_server.requests)
        policy = LatestN(13 - removed)
        report = Pruner(CheckpointDirectory(store), ck.SystemClock()).prune(
            lambda listed, now: decide(candidates(listed, policy, lambda _: {}), policy, now=now), grace=0.0
        )
    calls = s3_server.requests[before:]
    assert len(report.removed) == removed
    deletes = [call for call in calls if call.method in ("DELETE", "POST")]
    others = [call for call in calls if call not in deletes]
    assert len(others) <= 16
    assert sum("list-type=2" in call.query for call in calls) == 2
    assert not [call for call in calls if call.path.endswith(".meta") and call.method == "GET"]


def test_a_server_that_ignores_conditions_is_refused(s3_server: S3Server, s3_options: dict[str, Any]) -> None:
    s3_server.dialect = ignores_conditions
    with ck.CheckpointManager(URL, storage_options=s3_options) as manager:
        with pytest.raises(ck.UnsupportedError, match="though it was told not to"):
            manager.acquire()
        with pytest.raises(ck.UnsupportedError, match="no commit would be safe"):
            manager.save(1, ITEMS)


@pytest.fixture
def bucket(request: pytest.FixtureRequest) -> Iterator[Callable[[], Store]]:
    """New directories on one of the two."""
    if request.param == "s3":
        scheme, options = "s3", request.getfixturevalue("s3_options")
    else:
        server = request.getfixturevalue("gcs_server")
        scheme, options = "gs", {"endpoint_url": server.url, "token": "anon", "project": "p"}
    stores: list[Store] = []

    def make() -> Store:
        stores.append(from_url(f"{scheme}://{BUCKET}/run-{next(numbers)}", options))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


def requests(make: Callable[[], Store], name: str) -> int:
    clock = ManualClock()
    world = World(DatedStore(make(), clock), clock)
    prepare(world, name)
    return len(run(world, name, []).requests)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("bucket", ["s3", "gcs"], indirect=True)
def test_every_request_goes_wrong_in_some_way(bucket: Callable[[], Store], name: str) -> None:
    """Some of the requests, each with another kind of fault: all products run by night."""
    for number in range(1 + len(name) % 5, requests(bucket, name) + 1, 9):
        one_fault(bucket, name, number, KINDS[(number + len(name)) % len(KINDS)])


@pytest.mark.nightly
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("bucket", ["s3", "gcs"], indirect=True)
def test_every_request_goes_wrong_in_every_way(bucket: Callable[[], Store], name: str, kind: str) -> None:
    for number in range(1, requests(bucket, name) + 1):
        one_fault(bucket, name, number, kind)


def one_fault(make: Callable[[], Store], name: str, number: int, kind: str) -> None:
    clock = ManualClock()
    world = World(DatedStore(make(), clock), clock)
    prepare(world, name)
    aftermath(world, run(world, name, [Plan(number, kind)]))
