"""The servers and the proxy that other tests stand on."""

from __future__ import annotations

import http.client
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from ckptstore.storage import Store
from ckptstore.storage._s3 import S3Store
from ckptstore.testing import StoreTests
from tests.support.fasts3 import FastS3, S3Object
from tests.support.faultproxy import FAULTS, FaultProxy

BODY = b"0123456789abcdef"


@pytest.fixture(scope="module")
def server() -> Iterator[FastS3]:
    with FastS3() as server:
        yield server


@pytest.fixture(scope="module")
def session() -> Any:
    """One for all tests: each of its own would read botocore's descriptions anew."""
    from aiobotocore.session import AioSession

    return AioSession()


@pytest.fixture
def proxy(server: FastS3) -> Iterator[FaultProxy]:
    server.reset("bucket")
    with FaultProxy(server.url) as proxy:
        yield proxy


class Client:
    """One connection to a proxy."""

    def __init__(self, proxy: FaultProxy) -> None:
        self._connection = http.client.HTTPConnection(proxy.url.removeprefix("http://"), timeout=5)

    def __call__(self, method: str, key: str, body: bytes | None = None) -> tuple[int, bytes]:
        try:
            self._connection.request(method, f"/bucket/{key}", body)
            reply = self._connection.getresponse()
            return reply.status, reply.read()
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[Client]:
    client = Client(proxy)
    yield client
    client.close()


class TestFastS3(StoreTests):
    """The server is an S3 as far as our own suite can tell."""

    @pytest.fixture
    def store(self, server: FastS3, session: Any) -> Iterator[Store]:
        server.reset("bucket")
        self.objects = server.buckets["bucket"]
        options = {"endpoint_url": server.url, "key": "k", "secret": "s", "session": session}
        with S3Store("s3://bucket/run", options) as store:
            yield store

    def raw_get(self, key: str) -> bytes:
        return self.objects[f"run/{key}"].data

    def raw_put(self, key: str, data: bytes) -> None:
        self.objects[f"run/{key}"] = S3Object(data, f'"{hash(data):x}"', 1e9)

    def raw_keys(self) -> set[str]:
        return {key.removeprefix("run/") for key in self.objects}


def test_the_proxy_passes_on_what_no_rule_is_about(proxy: FaultProxy, client: Client) -> None:
    proxy.rule("refuse", method="PUT", target="other")
    assert client("PUT", "a", BODY)[0] == 200
    assert client("GET", "a") == (200, BODY)
    assert client("HEAD", "a") == (200, b"")
    assert client("GET", "b")[0] == 404
    assert [(call.method, call.target, call.fault) for call in proxy.calls] == [
        ("PUT", "/bucket/a", None), ("GET", "/bucket/a", None), ("HEAD", "/bucket/a", None), ("GET", "/bucket/b", None),
    ]  # fmt: skip


BEFORE = ["refuse", "reset", "reset_body", "stall"]
AFTER = ["refuse_after", "reset_after", "close_after", "stall_after"]
REPLIES = ["truncate", "long", "stall_within", "corrupt_reply", "corrupt_request"]


def test_every_fault_has_a_test() -> None:
    assert {*BEFORE, *AFTER, *REPLIES} == FAULTS


@pytest.mark.parametrize("fault", [*BEFORE, *AFTER])
def test_a_request_is_carried_out_or_not_and_the_reply_is_lost(
    proxy: FaultProxy, client: Client, server: FastS3, fault: str
) -> None:
    proxy.rule(fault, method="PUT", seconds=0.05)
    try:
        assert client("PUT", "a", BODY)[0] == 503
    except (ConnectionError, http.client.HTTPException):
        assert "refuse" not in fault
    assert ("a" in server.buckets["bucket"]) == (fault in AFTER)
    assert client("PUT", "a", BODY)[0] == 200
    assert proxy.struck() == 1


@pytest.mark.parametrize("fault", ["truncate", "long", "stall_within"])
def test_a_body_falls_short(proxy: FaultProxy, client: Client, fault: str) -> None:
    client("PUT", "a", BODY)
    proxy.rule(fault, method="GET", part=0.5, seconds=0.05)
    with pytest.raises((ConnectionError, http.client.IncompleteRead)) as caught:
        client("GET", "a")
    if isinstance(caught.value, http.client.IncompleteRead):
        assert caught.value.partial == (BODY if fault == "long" else BODY[:8])
    assert client("GET", "a") == (200, BODY)


def test_a_bit_is_flipped_on_the_way(proxy: FaultProxy, client: Client, server: FastS3) -> None:
    proxy.rule("corrupt_request", method="PUT", part=0.5)
    client("PUT", "a", BODY)
    assert server.buckets["bucket"]["a"].data == b"012345679" + BODY[9:]
    client("PUT", "a", BODY)
    proxy.rule("corrupt_reply", method="GET", part=1.0)
    assert client("GET", "a")[1] == BODY[:-1] + b"g"


def test_rules_are_counted(proxy: FaultProxy, client: Client) -> None:
    client("PUT", "a", BODY)
    proxy.rule("refuse", method="GET", skip=1, times=2, status=429)
    assert [client("GET", "a")[0] for _ in range(5)] == [200, 429, 429, 200, 200]
    proxy.rule("refuse", times=None)
    assert [client("GET", "a")[0] for _ in range(3)] == [503] * 3
    proxy.clear()
    assert client("GET", "a")[0] == 200
    assert len(proxy.calls) == 1


def test_the_server_ends_with_the_one_who_started_it() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.fasts3", "--bucket", "b"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        where = process.stdout.readline().decode().strip().removeprefix("http://")
        connection = http.client.HTTPConnection(where, timeout=5)
        connection.request("HEAD", "/b")
        assert connection.getresponse().status == 200
        connection.close()
        process.communicate(timeout=10)
    assert process.returncode == 0
