"""Every verb of the stores of S3 and GCS, through a proxy on which everything goes wrong that goes wrong on networks.

What comes back is right, or a StorageError, in a time that is bounded; and what is on the server afterwards is what was
there before, or what was asked for. What no store can tell, a flipped bit in a reply, restoring a checkpoint can.
"""

from __future__ import annotations

import contextlib
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import ckptstore as ck
from ckptstore._clock import SystemClock
from ckptstore.errors import AlreadyExistsError, PreconditionFailedError, StorageError, StorageUnavailableError
from ckptstore.storage import ObjectMeta, ObjectRange, Payload, RetryingStore, RetryPolicy, Store, TransferStore
from ckptstore.storage._gcs import GcsStore
from ckptstore.storage._s3 import S3Store
from tests.storage.conftest import BUCKET
from tests.support.fasts3 import FastS3
from tests.support.faultproxy import FaultProxy
from tests.support.gcs import GcsServer
from tests.support.managers import manager_on

OLD = bytes(range(256)) * 16
NEW = OLD[::-1]
LARGE = np.arange((6 << 20) // 8, dtype=np.uint64).tobytes()  # two parts
READ_SECONDS = 0.3
POLICY = RetryPolicy(attempts=4, total=60.0, initial=0.01, max_wait=0.1)
LONGEST = POLICY.attempts * READ_SECONDS + 4.0  # the last on a machine that is busy


class HurriedClock(SystemClock):
    """The machine's clock, but that nobody waits between two attempts for long."""

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds / 1000)


@dataclass
class Setting:
    """A server, and the ways to it.

    Attributes:
        proxy: On the way of `store`.
        store: What is tested, with everything that `from_url` puts before it.
        direct: The same place without a proxy.
    """

    proxy: FaultProxy
    store: Store
    direct: Store


@pytest.fixture(scope="module", params=["s3", "gcs"])
def setting(request: pytest.FixtureRequest, _aio_session: Any) -> Iterator[Setting]:
    with contextlib.ExitStack() as stack:
        make: Callable[[str], Store]
        if request.param == "s3":
            server: FastS3 | GcsServer = stack.enter_context(FastS3())
            server.reset(BUCKET)
            times = {"connect_timeout": 5, "read_timeout": READ_SECONDS}
            options: dict[str, Any] = {"session": _aio_session, "config_kwargs": times}
            make = lambda url: S3Store(f"s3://{BUCKET}/run", {**options, "endpoint_url": url})  # noqa: E731
        else:
            import aiohttp

            server = stack.enter_context(GcsServer())
            body = b'{"name": "%s"}' % BUCKET.encode()
            headers = {"Content-Type": "application/json"}
            urllib.request.urlopen(
                urllib.request.Request(f"{server.url}/storage/v1/b?project=p", data=body, headers=headers)
            ).close()
            options = {
                "token": "anon",
                "project": "p",
                "requests_timeout": aiohttp.ClientTimeout(sock_connect=5, sock_read=READ_SECONDS),
            }
            make = lambda url: GcsStore(f"gs://{BUCKET}/run", {**options, "endpoint_url": url})  # noqa: E731
        proxy = stack.enter_context(FaultProxy(server.url))
        retrying = RetryingStore(make(proxy.url), POLICY, clock=HurriedClock())
        store = stack.enter_context(TransferStore(retrying, part_size=5 << 20, max_gap=1024))
        yield Setting(proxy, store, stack.enter_context(make(server.url)))


@pytest.fixture
def versions(setting: Setting) -> dict[str, str]:
    """The objects "a" and "b", alone, and the versions of "a" before and now."""
    setting.proxy.clear()
    setting.direct.delete([meta.key for meta in [*setting.direct.list(), *setting.direct.unfinished()]])
    before = setting.direct.put("a", Payload.of(b"older"))
    now = setting.direct.put("a", Payload.of(OLD))
    setting.direct.put("b", Payload.of(OLD))
    return {"before": str(before.version), "now": str(now.version)}


Call = Callable[[Setting, dict[str, str]], object]


def found(direct: Store, key: str) -> bytes | None:
    try:
        return direct.get(key)[0]
    except ck.NotFoundError:
        return None


def get(setting: Setting, versions: dict[str, str]) -> None:
    data, meta = setting.store.get("a")
    assert (data, meta.version) == (OLD, versions["now"])


def read_into(setting: Setting, versions: dict[str, str]) -> None:
    whole, tail = bytearray(len(OLD)), bytearray(100)
    targets = [(len(OLD) - 100, memoryview(tail)), (0, memoryview(whole))]
    setting.store.read_into("a", targets, version=versions["now"])
    assert (whole, tail) == (OLD, OLD[-100:])


def head(setting: Setting, versions: dict[str, str]) -> None:
    meta = setting.store.head("a")
    assert (meta.size, meta.version) == (len(OLD), versions["now"])


def list_(setting: Setting, versions: dict[str, str]) -> None:
    assert [(meta.key, meta.size) for meta in setting.store.list()] == [("a", len(OLD)), ("b", len(OLD))]


def put(setting: Setting, versions: dict[str, str]) -> None:
    setting.store.put("a", Payload.of(NEW))
    assert found(setting.direct, "a") == NEW


def create(setting: Setting, versions: dict[str, str]) -> None:
    meta = setting.store.create("new", Payload.of(NEW), tag="ours")
    data, there = setting.direct.get("new")
    assert (data, there.tag, there.version) == (NEW, "ours", meta.version)


def create_what_is_there(setting: Setting, versions: dict[str, str]) -> None:
    with pytest.raises(AlreadyExistsError):
        setting.store.create("a", Payload.of(NEW), tag="ours")
    assert found(setting.direct, "a") == OLD


def replace(setting: Setting, versions: dict[str, str]) -> None:
    meta = setting.store.replace("a", Payload.of(NEW), version=versions["now"], tag="ours")
    data, there = setting.direct.get("a")
    assert (data, there.tag, there.version) == (NEW, "ours", meta.version)


def replace_another_version(setting: Setting, versions: dict[str, str]) -> None:
    with pytest.raises(PreconditionFailedError):
        setting.store.replace("a", Payload.of(NEW), version=versions["before"], tag="ours")
    assert found(setting.direct, "a") == OLD


def delete(setting: Setting, versions: dict[str, str]) -> None:
    setting.store.delete(["a", "absent"])
    assert [meta.key for meta in setting.direct.list()] == ["b"]


def delete_versions(setting: Setting, versions: dict[str, str]) -> None:
    b = setting.direct.head("b")
    spared = setting.store.delete_versions([ObjectMeta("a", 0, versions["before"]), b])
    assert list(spared) == ["a"]
    assert [meta.key for meta in setting.direct.list()] == ["a"]


def upload(setting: Setting, versions: dict[str, str]) -> None:
    """Create, two parts, and complete."""
    setting.store.put("large", Payload.of(LARGE))
    assert found(setting.direct, "large") == LARGE


def upload_what_is_new(setting: Setting, versions: dict[str, str]) -> None:
    meta = setting.store.create("large", Payload.of(LARGE), tag="ours")
    data, there = setting.direct.get("large")
    assert (data == LARGE, there.tag, there.version) == (True, "ours", meta.version)


def copy(setting: Setting, versions: dict[str, str]) -> None:
    meta = setting.store.copy("new", [ObjectRange.whole(setting.direct.head("a"))], tag="ours")
    data, there = setting.direct.get("new")
    assert (data, there.tag, there.version) == (OLD, "ours", meta.version)


def copy_to_what_is_there(setting: Setting, versions: dict[str, str]) -> None:
    with pytest.raises(AlreadyExistsError):
        setting.store.copy("b", [ObjectRange.whole(setting.direct.head("a"))], tag="ours")
    assert found(setting.direct, "b") == OLD


def copy_of_another_version(setting: Setting, versions: dict[str, str]) -> None:
    source = ObjectMeta("a", len(b"older"), versions["before"])
    with pytest.raises(PreconditionFailedError):
        setting.store.copy("new", [ObjectRange.whole(source)], tag="ours")
    assert found(setting.direct, "new") is None


def abort(setting: Setting, versions: dict[str, str]) -> None:
    begun = setting.direct.create_upload("large")
    setting.direct.put_part(begun, 1, Payload.of(NEW))
    setting.store.abort_upload(begun)
    with pytest.raises(StorageError):
        setting.direct.complete_upload(begun, [])


READS = [get, read_into, head, list_]
WRITES = [put, create, create_what_is_there, replace, replace_another_version, delete, delete_versions, abort]
COPIES = [copy, copy_to_what_is_there, copy_of_another_version]
UPLOADS = [upload, upload_what_is_new]
VERBS = [*READS, *WRITES, *COPIES, *UPLOADS]

# Once or twice, and then no more: it has to work.
PASSING: dict[str, dict[str, Any]] = {
    "503 twice": {"fault": "refuse", "times": 2},
    "429 twice": {"fault": "refuse", "times": 2, "status": 429, "code": "rateLimitExceeded"},
    "500": {"fault": "refuse", "status": 500, "code": "InternalError"},
    "reset": {"fault": "reset"},
    "reset twice": {"fault": "reset", "times": 2},
    "reset within the request": {"fault": "reset_body"},
    "reset, but done": {"fault": "reset_after"},
    "hung up, but done": {"fault": "close_after"},
    "503, but done": {"fault": "refuse_after"},
    "stalled": {"fault": "stall"},
    "stalled, but done": {"fault": "stall_after"},
    "stalled within the reply": {"fault": "stall_within", "part": 0.5},
    "too long": {"fault": "long"},
    **{f"reply cut at {n}/16": {"fault": "truncate", "part": n / 16} for n in range(16)},
}
# Those that an upload meets at each of its requests.
DURING_UPLOADS = ("503 twice", "reset", "reset, but done", "503, but done", "reply cut at 8/16")

# For ever: an error, or a result if the server has done it all.
LASTING: dict[str, dict[str, Any]] = {
    "503": {"fault": "refuse", "times": None},
    "429": {"fault": "refuse", "times": None, "status": 429, "code": "rateLimitExceeded"},
    "reset": {"fault": "reset", "times": None},
    "reset, but done": {"fault": "reset_after", "times": None},
    "stalled": {"fault": "stall", "times": None},
    "reply cut": {"fault": "truncate", "times": None, "part": 0.5},
    "too long": {"fault": "long", "times": None},
}


@pytest.mark.parametrize("verb", VERBS)
def test_what_passes_is_not_noticed(setting: Setting, versions: dict[str, str], verb: Call) -> None:
    for name, rule in PASSING.items():
        if verb not in READS and name.endswith("/16") and not name.endswith(("0/16", "8/16")):
            continue  # most replies to writes have no body to speak of
        for skip in range(4 if verb in (*COPIES, *UPLOADS) and name in DURING_UPLOADS else 1):
            reset(setting, versions)
            setting.proxy.rule(**rule, skip=skip)
            begun = time.monotonic()
            with told(f"{name}, after {skip} requests"):
                verb(setting, versions)
            assert time.monotonic() - begun < LONGEST, name


@pytest.mark.parametrize("verb", VERBS)
def test_what_lasts_is_an_error_in_time(setting: Setting, versions: dict[str, str], verb: Call) -> None:
    for name, rule in LASTING.items():
        reset(setting, versions)
        setting.proxy.rule(**rule)
        begun = time.monotonic()
        error = outcome(verb, setting, versions)
        if error is None:
            assert rule["fault"] in ("truncate", "long"), f"{name} went unnoticed"
        else:
            # A write that was done, and whose replies are all lost, may show as another's.
            assert isinstance(error, StorageUnavailableError) or verb not in READS, (name, error)
        assert time.monotonic() - begun < 2 * LONGEST, name  # an upload that failed is aborted on top
        whole(setting)


@pytest.mark.parametrize("verb", [put, create, replace, upload, upload_what_is_new, delete])
@pytest.mark.parametrize("part", [0.35, 0.5, 0.9])
def test_a_flipped_bit_in_a_request_is_found(
    setting: Setting, versions: dict[str, str], verb: Call, part: float
) -> None:
    """By the CRC-32C that is sent with every object and every part."""
    large = verb in UPLOADS
    setting.proxy.rule("corrupt_request", method="PUT|POST", part=part, target="partNumber" if large else "")
    error = outcome(verb, setting, versions)
    if verb is not delete:  # GCS' has no body
        assert setting.proxy.struck() == 1
    assert error is None or "crc32c" in str(error), error
    whole(setting)


@pytest.mark.parametrize("setting", ["s3", "gcs"], indirect=True)
def test_a_storm_outlasts_the_policy_and_no_more(setting: Setting, versions: dict[str, str]) -> None:
    """By the clock on the wall: no attempt begins after `total`."""
    inner = setting.store
    while not isinstance(inner, S3Store | GcsStore):
        inner = inner._inner  # type: ignore[attr-defined]
    setting.proxy.rule("refuse", times=None)
    begun = time.monotonic()
    with pytest.raises(StorageUnavailableError, match="Given up after"):
        RetryingStore(inner, RetryPolicy(attempts=1000, total=1.0, initial=0.01, max_wait=0.01)).get("a")
    assert 1.0 <= time.monotonic() - begun < 4.0  # the last wait, of a second at most, and an attempt


ITEMS = {"w": np.arange(5000.0), "layer/b": np.arange(7, dtype=np.int32)}


@pytest.mark.parametrize(
    "rule",
    [
        *[{"fault": "corrupt_reply", "part": n / 16} for n in (0, 3, 8, 13, 16)],
        *[
            pytest.param({"fault": "corrupt_reply", "part": n / 16}, marks=pytest.mark.nightly)
            for n in (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15)
        ],
        *[{"fault": "long", "extra": -n} for n in (1, 100)],
    ],
    ids=lambda rule: f"{rule['fault']} {rule.get('part', rule.get('extra'))}",
)
@pytest.mark.parametrize("times", [1, None])
def test_a_reply_that_lies_never_restores_wrong_data(
    setting: Setting, versions: dict[str, str], rule: dict[str, Any], times: int | None
) -> None:
    manager = manager_on(setting.store)  # not closed: the store is everybody's
    manager.save(1, ITEMS)
    setting.proxy.clear()
    manager.restore()
    for skip in range(len(setting.proxy.calls)):
        setting.proxy.clear()
        setting.proxy.rule(**rule, method="GET", skip=skip, times=times)
        try:
            restored = manager.restore()
        except ck.CheckpointError:
            continue
        assert restored.keys() == ITEMS.keys()
        assert all(restored[name].tobytes() == ITEMS[name].tobytes() for name in ITEMS)
    setting.proxy.clear()


def outcome(verb: Call, setting: Setting, versions: dict[str, str]) -> StorageError | None:
    """The error that a verb ends with, if it does not end well."""
    try:
        verb(setting, versions)
    except StorageError as error:
        return error
    return None


def reset(setting: Setting, versions: dict[str, str]) -> None:
    """Everything as it was before the verb."""
    setting.proxy.clear()
    strays = [meta.key for meta in [*setting.direct.list(), *setting.direct.unfinished()] if meta.key not in "ab"]
    setting.direct.delete(strays)
    versions["before"] = str(setting.direct.put("a", Payload.of(b"older")).version)
    versions["now"] = str(setting.direct.put("a", Payload.of(OLD)).version)
    setting.direct.put("b", Payload.of(OLD))


def whole(setting: Setting) -> None:
    """What is there is what was there before, or what was asked for; nothing else, and no part of it."""
    setting.proxy.clear()
    for meta in setting.direct.list():
        data = found(setting.direct, meta.key)
        assert data in (OLD, NEW, LARGE), f"{meta.key} holds something else"
    assert found(setting.direct, "b") in (OLD, None)


@contextlib.contextmanager
def told(name: str) -> Iterator[None]:
    """Says what went wrong on the wire when a test fails."""
    try:
        yield
    except BaseException as error:
        raise AssertionError(f"{name}: {error!r}") from error
