"""The servers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.integration.endpoints import BUCKET, KINDS, Endpoint, is_named
from tests.support.ceph import CephGateway

os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")


@pytest.fixture(scope="session")
def ceph() -> Iterator[CephGateway]:
    """Ceph's gateway with one bucket, `BUCKET`. Where it is not installed, the tests fail."""
    with pytest.MonkeyPatch.context() as patch, CephGateway() as gateway:
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        gateway.make_bucket(BUCKET)
        yield gateway


@pytest.fixture(scope="session")
def find(request: pytest.FixtureRequest) -> Callable[[str], Endpoint]:
    """Finds the endpoint of a kind, or starts it."""

    def find(kind: str) -> Endpoint:
        if is_named(kind):
            return Endpoint.named(kind)
        gateway: CephGateway = request.getfixturevalue("ceph")
        options = {"endpoint_url": gateway.url, "key": gateway.access_key, "secret": gateway.secret_key}
        return Endpoint(f"s3://{BUCKET}/it", given=options)

    return find


@pytest.fixture(params=KINDS)
def endpoint(request: pytest.FixtureRequest, find: Callable[[str], Endpoint]) -> Iterator[Endpoint]:
    """An empty place on each kind of server."""
    endpoint = find(request.param)
    endpoint.clear()
    yield endpoint
    endpoint.clear()
