"""What servers do with conditions: what the probe finds, that nothing is lost, and those that it must refuse."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import numpy as np
import pytest

import ckptstore as ck
from ckptstore.storage import Payload, probe
from tests.integration.endpoints import BUCKET, Endpoint, is_named
from tests.processes.child import Child, ended
from tests.processes.workers import count
from tests.support.ceph import CephGateway
from tests.support.stripping_proxy import StrippingProxy

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("default")]


def test_what_the_probe_finds(endpoint: Endpoint) -> None:
    with endpoint.store() as store:
        found = probe(store, ".ckptstore/probe")
        assert probe(store, ".ckptstore/probe") == found
        assert (found.create_only, found.compare_and_swap) == (
            store.capabilities.create_only,
            store.capabilities.compare_and_swap,
        )
        assert endpoint.names() <= {".ckptstore/probe"}


def test_no_update_of_four_processes_is_lost(endpoint: Endpoint) -> None:
    children: list[Child] = []
    with endpoint.store() as store, ended(children):
        store.create("count", Payload.of(b"0 0 0 0"), tag="start")
        children += [Child(f"counter {number}", count, endpoint, "count", number, 75) for number in range(4)]
        for child in children:
            assert child.wait_for("counted", 240), child.events
    assert endpoint.get("count") == b"75 75 75 75"
    assert sum(child.events[-1].about[0] for child in children) > 0  # they did meet


class TestBehindAProxyThatDropsConditions:
    """On a bucket that all the world may write to: whatever is signed, no proxy can take off."""

    __test__ = not is_named("S3")  # nobody's bucket but ours is opened to all the world

    @pytest.fixture
    def open_bucket(self, ceph: CephGateway) -> Iterator[str]:
        client, name = ceph.client(), f"{BUCKET}-open"
        client.create_bucket(Bucket=name)
        resources = [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"]
        statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": resources}
        client.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
        yield name
        for item in client.list_objects_v2(Bucket=name).get("Contents", ()):
            client.delete_object(Bucket=name, Key=item["Key"])
        client.delete_bucket(Bucket=name)

    def test_no_job_saves(self, ceph: CephGateway, open_bucket: str) -> None:
        items = {"w": np.arange(1000.0)}
        with contextlib.ExitStack() as stack:
            proxy = stack.enter_context(StrippingProxy(ceph.url))
            there = Endpoint(f"s3://{open_bucket}/run", given={"endpoint_url": proxy.url, "anon": True})
            manager = stack.enter_context(ck.CheckpointManager(there.url, storage_options=there.options))
            with pytest.raises(ck.UnsupportedError, match=r"though it was told not to.*look for a proxy"):
                manager.acquire()
            with pytest.raises(ck.UnsupportedError, match="no commit would be safe"):
                manager.save(1, items)
            assert isinstance(manager.save_async(2, items).exception(), ck.UnsupportedError)
            assert proxy.stripped > 0
            assert there.names() == {".ckptstore/probe"}
            assert manager.latest_step() is None

    def test_a_job_saves_without_the_proxy(self, ceph: CephGateway, open_bucket: str) -> None:
        """So it is the proxy that is refused, and not the open bucket."""
        options = {"endpoint_url": ceph.url, "anon": True}
        with ck.CheckpointManager(f"s3://{open_bucket}/run", storage_options=options) as manager:
            manager.save(1, {"w": np.arange(3)})
            assert manager.latest_step() == 1
