import pytest

from ckptstore.errors import (
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)
from ckptstore.storage import LocalStore, MemoryStore, Payload, RetryingStore, RetryPolicy, Upload
from ckptstore.testing import Fault, FaultyStore, ManualClock
from tests.storage.test_local import LocalTests
from tests.storage.test_memory import MemoryTests

VERBS = [
    "get", "read_into", "head", "put", "create", "replace", "list", "unfinished", "delete", "delete_versions",
    "create_upload", "put_part", "complete_upload", "abort_upload",
]  # fmt: skip


def faults_at_every_verb(when):
    """The 1st, 2nd and 4th call of every verb fail: every call of a short test is hit at least once."""
    return [Fault(verb, first=first, times=times, when=when) for verb in VERBS for first, times in ((1, 2), (4, 1))]


class TestRetryingStore(MemoryTests):
    @pytest.fixture
    def store(self):
        self.memory = MemoryStore()
        with RetryingStore(self.memory, clock=ManualClock()) as store:
            yield store


class TestRetryingStoreWithRefusals(MemoryTests):
    """Every verb fails before it does anything, and has to be repeated."""

    @pytest.fixture
    def store(self):
        self.memory = MemoryStore()
        with RetryingStore(FaultyStore(self.memory, faults_at_every_verb("before")), clock=ManualClock()) as store:
            yield store


class TestRetryingStoreWithLostReplies(MemoryTests):
    """Every verb does its work and then fails, and is repeated though it was done."""

    @pytest.fixture
    def store(self):
        self.memory = MemoryStore()
        with RetryingStore(FaultyStore(self.memory, faults_at_every_verb("after")), clock=ManualClock()) as store:
            yield store


class TestRetryingStoreOverFilesWithLostReplies(LocalTests):
    @pytest.fixture
    def store(self, tmp_path):
        self.root = tmp_path
        inner = FaultyStore(LocalStore(tmp_path, durable=False), faults_at_every_verb("after"))
        with RetryingStore(inner, clock=ManualClock()) as store:
            yield store


def calls_of(store, upload):
    part = None
    return {
        "get": lambda: store.get("a"),
        "read_into": lambda: store.read_into("a", [(0, memoryview(bytearray(1)))]),
        "head": lambda: store.head("a"),
        "put": lambda: store.put("a", Payload.of(b"again")),
        "create": lambda: store.create("new", Payload.of(b"new"), tag="t1"),
        "replace": lambda: store.replace("a", Payload.of(b"again"), version=store.head("a").version, tag="t1"),
        "list": lambda: list(store.list()),
        "unfinished": lambda: list(store.unfinished()),
        "delete": lambda: store.delete(["b"]),
        "delete_versions": lambda: store.delete_versions([store.head("a")]),
        "create_upload": lambda: store.create_upload("a"),
        "put_part": lambda: store.put_part(upload, 1, Payload.of(b"part")),
        "complete_upload": lambda: store.complete_upload(upload, [part] if part else []),
        "abort_upload": lambda: store.abort_upload(upload),
    }


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def faulty():
    memory = MemoryStore()
    memory.put("a", Payload.of(b"data"))
    return FaultyStore(memory)


@pytest.mark.parametrize("verb", VERBS)
def test_attempts_are_bounded(verb, faulty, clock):
    faulty.plan = [Fault(verb, times=1000)]
    store = RetryingStore(faulty, clock=clock)
    upload = Upload("a", "x", "0" * 32) if verb == "create_upload" else faulty.inner.create_upload("a")
    with pytest.raises(StorageUnavailableError, match=r"failed as planned\. Given up after 6 attempts in \d+\.\d s\."):
        calls_of(store, upload)[verb]()
    assert faulty.count(verb) == 6
    assert len(clock.sleeps) == 5


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    "error",
    [
        StorageError("no"),
        NotFoundError("no"),
        PermissionDeniedError("no"),
        StorageFullError("no"),
        ValueError("no"),
        KeyboardInterrupt("no"),
        ConnectionResetError("no"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_other_errors_are_raised_as_they_are(verb, error, faulty, clock):
    faulty.plan = [Fault(verb, times=1000, error=error)]
    store = RetryingStore(faulty, clock=clock)
    with pytest.raises(type(error)) as caught:
        calls_of(store, faulty.inner.create_upload("a"))[verb]()
    assert caught.value is error
    assert faulty.count(verb) == 1
    assert clock.sleeps == []


def test_the_last_error_keeps_its_marks(faulty, clock):
    low = ConnectionResetError("reset by peer")
    error = StorageUnavailableError("The server is away.", path="s3://b/a", name="w", errno=104)
    error.__cause__ = low
    faulty.plan = [Fault("get", times=1000, error=error)]
    with pytest.raises(StorageUnavailableError) as caught:
        RetryingStore(faulty, clock=clock).get("a")
    raised = caught.value
    assert (raised.path, raised.name, raised.errno) == ("s3://b/a", "w", 104)
    assert str(raised).startswith("The server is away. Given up after 6 attempts in ")
    assert raised.__cause__ is error
    assert raised.__cause__.__cause__ is low


def test_one_attempt_is_no_retry(faulty, clock):
    faulty.plan = [Fault("get", times=1000)]
    with pytest.raises(StorageUnavailableError, match=r"after 1 attempt in 0\.0 s"):
        RetryingStore(faulty, RetryPolicy(attempts=1), clock=clock).get("a")
    assert faulty.count("get") == 1


def test_waits_grow_to_their_limit(faulty, clock):
    faulty.plan = [Fault("get", times=1000)]
    with pytest.raises(StorageUnavailableError):
        RetryingStore(faulty, RetryPolicy(attempts=10, total=1e9, initial=0.5, max_wait=20), clock=clock).get("a")
    expected = [0.5, 1, 2, 4, 8, 16, 20, 20, 20]
    assert len(clock.sleeps) == len(expected)
    for slept, least in zip(clock.sleeps, expected, strict=True):
        assert least <= slept <= least + 1


def test_total_time_is_bounded(faulty, clock):
    class Slow(FaultyStore):
        def get(self, key, *, limit=None):
            clock.advance(50)
            return super().get(key, limit=limit)

    slow = Slow(faulty.inner, [Fault("get", times=1000)])
    with pytest.raises(StorageUnavailableError, match=r"after 3 attempts in 15\d\.\d s"):
        RetryingStore(slow, clock=clock).get("a")


def test_a_failure_that_passes_is_not_seen(faulty, clock):
    faulty.plan = [Fault("get", times=5)]
    assert RetryingStore(faulty, clock=clock).get("a")[0] == b"data"
    assert faulty.count("get") == 6


def test_each_call_has_its_own_attempts(faulty, clock):
    faulty.plan = [Fault("get", first=1, times=5), Fault("get", first=7, times=5)]
    store = RetryingStore(faulty, clock=clock)
    assert store.get("a")[0] == store.get("a")[0] == b"data"
    assert faulty.count("get") == 12


def test_list_that_breaks_off_starts_over(clock):
    class Breaking(MemoryStore):
        broken = 2

        def list(self, prefix=""):
            for number, meta in enumerate(super().list(prefix)):
                if number == 2 and self.broken:
                    self.broken -= 1
                    raise StorageUnavailableError("The second page did not come.")
                yield meta

    inner = Breaking()
    for key in "abcd":
        inner.put(key, Payload.of(b""))
    assert [meta.key for meta in RetryingStore(inner, clock=clock).list()] == ["a", "b", "c", "d"]
    assert len(clock.sleeps) == 2


def test_delete_of_an_iterator_is_repeated_in_full(faulty, clock):
    faulty.plan = [Fault("delete")]
    RetryingStore(faulty, clock=clock).delete(iter(["a"]))
    assert list(faulty.inner.list()) == []


def test_complete_whose_reply_was_lost(faulty, clock):
    faulty.plan = [Fault("complete_upload", when="after", times=3)]
    store = RetryingStore(faulty, clock=clock)
    upload = store.create_upload("up")
    meta = store.complete_upload(upload, [store.put_part(upload, 1, Payload.of(b"part"))])
    assert meta == faulty.inner.head("up")
    assert faulty.count("complete_upload") == 4


def test_create_upload_whose_reply_was_lost_leaves_an_orphan(faulty, clock):
    faulty.plan = [Fault("create_upload", when="after")]
    upload = RetryingStore(faulty, clock=clock).create_upload("up")
    assert upload in faulty.inner.pending_uploads
    assert len(faulty.inner.pending_uploads) == 2


def test_a_crash_is_not_retried(faulty, clock):
    faulty.plan = [Fault("put", when="crash")]
    with pytest.raises(BaseException, match="in the middle of a put"):
        RetryingStore(faulty, clock=clock).put("a", Payload.of(b"new"))
    assert faulty.inner.get("a")[0] == b"data"
    with pytest.raises(BaseException, match="is dead"):
        faulty.get("a")


@pytest.mark.parametrize(
    "numbers", [{"attempts": 0}, {"attempts": -1}, {"total": -1}, {"initial": -0.1}, {"max_wait": float("nan")}]
)
def test_policies_that_cannot_be_followed(numbers):
    with pytest.raises(InvalidArgumentError):
        RetryPolicy(**numbers)


def test_repr(tmp_path):
    assert repr(RetryingStore(LocalStore(tmp_path))) == f"RetryingStore(LocalStore({tmp_path}))"
