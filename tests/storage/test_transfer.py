import os
import random
import re
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from ckptstore.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    PreconditionFailedError,
    StorageError,
    StorageUnavailableError,
    UnsupportedError,
    UploadConflictError,
)
from ckptstore.storage import (
    LocalStore,
    MemoryStore,
    ObjectRange,
    Payload,
    RetryingStore,
    TransferStore,
    UploadNote,
    _transfer,
)
from ckptstore.storage._transfer import split_payload
from ckptstore.testing import CrashError, Fault, FaultyStore, InlineExecutor, ManualClock
from tests.storage.test_local import LocalTests
from tests.storage.test_memory import MemoryTests
from tests.storage.test_retrying import faults_at_every_verb


class TestTransferStore(MemoryTests):
    @pytest.fixture
    def store(self):
        self.memory = MemoryStore(min_part_size=100, max_parts=1000, max_put_size=20_000)
        stack = TransferStore(
            RetryingStore(self.memory, clock=ManualClock()), part_size=1000, concurrency=3, max_gap=50
        )
        with stack as store:
            yield store

    def raw_put(self, key, data):
        self.memory._store_locked(key, data, None)  # `put` has a limit here


class TestTransferStoreWithNotes(MemoryTests):
    @pytest.fixture
    def store(self):
        self.memory = MemoryStore()
        with TransferStore(self.memory, part_size=1000, journal="notes/", executor=InlineExecutor()) as store:
            yield store


class TestTransferStoreWithLostReplies(MemoryTests):
    @pytest.fixture
    def store(self):
        self.memory = MemoryStore()
        retrying = RetryingStore(FaultyStore(self.memory, faults_at_every_verb("after")), clock=ManualClock())
        with TransferStore(retrying, part_size=10_000, max_gap=50, executor=InlineExecutor()) as store:
            yield store


class TestTransferStoreOverFiles(LocalTests):
    @pytest.fixture
    def store(self, tmp_path):
        self.root = tmp_path
        with TransferStore(LocalStore(tmp_path, durable=False), part_size=1000, max_gap=0) as store:
            yield store


def store_over(inner, **options):
    return TransferStore(inner, **({"part_size": 10, "executor": InlineExecutor(), "max_gap": 0} | options))


# ---- put ----


def test_small_puts_are_single():
    inner = FaultyStore(MemoryStore())
    with store_over(inner) as store:
        store.put("a", Payload.of(b"0123456789"))
    assert [call.verb for call in inner.calls] == ["put"]


def test_large_puts_are_uploads():
    inner = FaultyStore(MemoryStore())
    with store_over(inner) as store:
        meta = store.put("a", Payload([b"01234", b"56789abcdef", b"ghijk"]))
    assert [call.verb for call in inner.calls] == [
        "create_upload",
        "put_part",
        "put_part",
        "put_part",
        "complete_upload",
    ]
    assert inner.inner.get("a") == (b"0123456789abcdefghijk", meta)


def test_without_uploads_large_puts_are_single():
    inner = FaultyStore(MemoryStore(multipart=False))
    with store_over(inner) as store:
        store.put("a", Payload.of(b"x" * 1000))
    assert [call.verb for call in inner.calls] == ["put"]


@pytest.mark.parametrize(
    ("limits", "nbytes", "parts"),
    [
        ({}, 95, 10),
        ({"min_part_size": 30}, 95, 4),
        ({"min_part_size": 30}, 30, 0),
        ({"max_parts": 10}, 100, 10),
        ({"max_parts": 10}, 101, 10),
        ({"max_parts": 3}, 1000, 3),
        ({"max_parts": 3, "min_part_size": 30}, 1000, 3),
    ],
)
def test_part_sizes_respect_the_store(limits, nbytes, parts):
    inner = FaultyStore(MemoryStore(**limits))
    data = random.Random(nbytes).randbytes(nbytes)
    with store_over(inner) as store:
        store.put("a", Payload.of(data))
    assert inner.count("put_part") == parts
    assert inner.inner.get("a")[0] == data


@pytest.mark.parametrize(("nbytes", "parts"), [(10, 0), (11, 2), (30, 3), (31, 3), (95, 3), (121, 4), (1000, 25)])
def test_parts_grow_with_the_payload_as_long_as_there_are_enough_of_them(monkeypatch, nbytes, parts):
    monkeypatch.setattr(_transfer, "_PART", 10)
    monkeypatch.setattr(_transfer, "_MOST_PART", 40)
    inner = FaultyStore(MemoryStore())
    with store_over(inner, part_size=None, concurrency=3) as store:
        store.put("a", Payload.of(bytes(nbytes)))
    assert inner.count("put_part") == parts


def test_parts_are_views_of_the_payload():
    buffers = [bytearray(b"0123456789ab"), bytearray(b""), bytearray(b"cdefg")]
    parts = list(split_payload(Payload(buffers), 5))
    assert [part.tobytes() for part in parts] == [b"01234", b"56789", b"abcde", b"fg"]
    assert {id(view.obj) for part in parts for view in part.buffers} <= {id(buffer) for buffer in buffers}
    assert list(split_payload(Payload([]), 5)) == []


def test_parts_of_very_many_buffers_come_quickly():
    payload = Payload([b"x" * 10] * 200_000)
    begun = time.perf_counter()
    assert sum(part.nbytes for part in split_payload(payload, 1000)) == payload.nbytes
    assert time.perf_counter() - begun < 5


@pytest.mark.parametrize("verb", ["put_part", "complete_upload"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "error", [StorageError("no"), KeyboardInterrupt(), ValueError()], ids=lambda e: type(e).__name__
)
def test_a_failed_upload_is_aborted(verb, when, error):
    memory = MemoryStore()
    old = memory.put("a", Payload.of(b"old"))
    inner = FaultyStore(memory, [Fault(verb, first=2 if verb == "put_part" else 1, when=when, error=error)])
    with store_over(inner) as store, pytest.raises(type(error)) as caught:
        store.put("a", Payload.of(b"x" * 35))
    assert caught.value is error
    assert memory.pending_uploads == []
    assert inner.calls[-1].verb == "abort_upload"
    if (verb, when) != ("complete_upload", "after"):
        assert memory.head("a") == old


def test_an_abort_that_fails_does_not_mask_the_first_error():
    first = StorageError("the first")
    inner = FaultyStore(
        MemoryStore(), [Fault("put_part", error=first), Fault("abort_upload", error=StorageError("2nd"))]
    )
    with store_over(inner) as store, pytest.raises(StorageError) as caught:
        store.put("a", Payload.of(b"x" * 35))
    assert caught.value is first
    assert inner.count("abort_upload") == 1


def test_a_create_that_fails_needs_no_abort():
    inner = FaultyStore(MemoryStore(), [Fault("create_upload", error=StorageError("no"))])
    with store_over(inner) as store, pytest.raises(StorageError):
        store.put("a", Payload.of(b"x" * 35))
    assert [call.verb for call in inner.calls] == ["create_upload"]


def test_a_crash_leaves_an_upload_and_nothing_else():
    memory = MemoryStore()
    with (
        store_over(FaultyStore(memory, [Fault("put_part", first=2, when="crash")])) as store,
        pytest.raises(CrashError),
    ):
        store.put("a", Payload.of(b"x" * 35))
    assert list(memory.list()) == []
    assert len(memory.pending_uploads) == 1


def test_only_the_failing_part_is_repeated():
    inner = FaultyStore(MemoryStore(), [Fault("put_part", first=2, times=3)])
    with store_over(RetryingStore(inner, clock=ManualClock())) as store:
        store.put("a", Payload.of(b"x" * 35))
    assert inner.count("put_part") == 4 + 3
    assert inner.count("create_upload") == 1


class Slow(MemoryStore):
    """Takes its time for a part, and counts how many are under way."""

    def __init__(self):
        super().__init__()
        self.lock, self.running, self.most, self.began = threading.Lock(), 0, 0, threading.Event()

    def put_part(self, upload, number, payload):
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        self.began.set()
        time.sleep(0.01)
        with self.lock:
            self.running -= 1
        return super().put_part(upload, number, payload)


def test_parts_go_at_once_and_no_more_than_allowed():
    inner = Slow()
    with TransferStore(inner, part_size=10, concurrency=3) as store:
        store.put("a", Payload.of(bytes(200)))
    assert 2 <= inner.most <= 3


def test_abort_comes_after_the_last_part(monkeypatch):
    inner = Slow()
    running_at_abort = []
    abort = inner.abort_upload
    monkeypatch.setattr(inner, "abort_upload", lambda upload: (running_at_abort.append(inner.running), abort(upload)))

    from ckptstore import _concurrency

    real, interrupts = _concurrency.wait, [KeyboardInterrupt]

    def wait(futures, **kwargs):
        if interrupts:
            inner.began.wait(5)
            raise interrupts.pop()
        return real(futures, **kwargs)

    monkeypatch.setattr(_concurrency, "wait", wait)
    with TransferStore(inner, part_size=10, concurrency=3) as store, pytest.raises(KeyboardInterrupt):
        store.put("a", Payload.of(bytes(200)))
    assert running_at_abort == [0]
    assert inner.pending_uploads == []


# ---- create ----


def test_small_creates_are_single():
    inner = FaultyStore(MemoryStore())
    with store_over(inner, journal="notes/") as store:
        meta = store.create("a", Payload.of(b"0123456789"), tag="t-1")
    assert [call.verb for call in inner.calls] == ["create"]
    assert inner.inner.head("a") == meta
    assert meta.tag == "t-1"


def test_large_creates_are_uploads():
    inner = FaultyStore(MemoryStore())
    with store_over(inner) as store:
        meta = store.create("a", Payload.of(b"x" * 15), tag="t-1")
    assert [call.verb for call in inner.calls] == ["create_upload", "put_part", "put_part", "complete_upload"]
    assert inner.inner.head("a") == meta
    assert meta.tag == "t-1"


def test_without_uploads_large_creates_are_single():
    inner = FaultyStore(MemoryStore(multipart=False))
    with store_over(inner) as store:
        store.create("a", Payload.of(b"x" * 1000), tag="t-1")
    assert [call.verb for call in inner.calls] == ["create"]


@pytest.mark.parametrize("size", [5, 50])
def test_a_create_replaces_nothing(size):
    memory = MemoryStore()
    theirs = memory.create("a", Payload.of(b"theirs"), tag="t-2")
    for tag in ("t-1", None):
        with store_over(memory, journal="notes/") as store, pytest.raises(AlreadyExistsError):
            store.create("a", Payload.of(b"x" * size), tag=tag)
    assert [replace(meta, tag="t-2") for meta in memory.list()] == [theirs]
    assert memory.pending_uploads == []


@pytest.mark.parametrize("conflicts", [1, 2])
def test_a_create_that_meets_another_write_begins_anew(conflicts):
    memory = MemoryStore()
    inner = FaultyStore(memory, [Fault("complete_upload", times=conflicts, error=UploadConflictError("busy"))])
    with store_over(inner, journal="notes/") as store:
        store.create("a", Payload.of(b"x" * 35), tag="t-1")
    assert inner.count("create_upload") == conflicts + 1
    assert memory.get("a")[0] == b"x" * 35
    assert [meta.key for meta in memory.list()] == ["a"]
    assert memory.pending_uploads == []


def test_a_create_that_always_meets_another_write_gives_up():
    memory = MemoryStore()
    inner = FaultyStore(memory, [Fault("complete_upload", times=99, error=UploadConflictError("busy"))])
    with store_over(inner, journal="notes/") as store, pytest.raises(StorageUnavailableError) as caught:
        store.create("a", Payload.of(b"x" * 35), tag="t-1")
    assert inner.count("create_upload") == 3
    assert not isinstance(caught.value, UploadConflictError)
    assert list(memory.list()) == memory.pending_uploads == []


def test_replace_is_one_request_at_any_size():
    inner = FaultyStore(MemoryStore())
    version = inner.inner.put("a", Payload.of(b"old")).version
    with store_over(inner) as store:
        store.replace("a", Payload.of(b"x" * 1000), version=version)
    assert [call.verb for call in inner.calls] == ["replace"]


def test_a_large_create_whose_last_reply_was_lost():
    memory = MemoryStore()
    inner = FaultyStore(memory, [Fault("complete_upload", when="after")])
    with store_over(RetryingStore(inner, clock=ManualClock()), journal="notes/") as store:
        assert store.create("a", Payload.of(b"x" * 25), tag="t") == memory.head("a")
    assert [meta.key for meta in memory.list()] == ["a"]


# ---- copy ----


def source_in(store, size, key="source"):
    return ObjectRange.whole(store.put(key, Payload.of(os.urandom(size))))


def test_a_copy_is_an_upload_of_copied_parts(monkeypatch):
    monkeypatch.setattr(_transfer, "_COPIED_PART", 100)
    memory = MemoryStore(min_part_size=10)
    whole = source_in(memory, 250)
    inner = FaultyStore(memory)
    with store_over(inner, journal="notes/") as store:
        meta = store.copy("a", [replace(whole, start=30, stop=70), whole], tag="t-1")
    verbs = ["create_upload", "put", *["copy_part"] * 4, "complete_upload", "delete"]
    assert [call.verb for call in inner.calls] == verbs
    assert memory.head("a") == meta
    assert meta.tag == "t-1"
    source = memory.get("source")[0]
    assert memory.get("a")[0] == source[30:70] + source
    assert [meta.key for meta in memory.list()] == ["a", "source"]


def test_what_a_copy_is_cut_into_is_even_and_within_the_limits(monkeypatch):
    monkeypatch.setattr(_transfer, "_COPIED_PART", 100)
    memory = MemoryStore(min_part_size=60, max_parts=20)
    inner = FaultyStore(memory)
    sizes = []
    copy_part = memory.copy_part
    monkeypatch.setattr(memory, "copy_part", lambda *at: (sizes.append(at[2].stop - at[2].start), copy_part(*at))[1])
    with store_over(inner) as store:
        store.copy("a", [source_in(memory, 201, "x"), source_in(memory, 5, "y")], tag="t-1")
        assert sizes == [67, 67, 67, 5]
        sizes.clear()
        store.copy("b", [source_in(memory, 9001, "x")], tag="t-2")  # which would be 91 parts
    assert len(sizes) <= 20
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("sizes", [[9, 100], [10] * 21, [0], []], ids=["too small", "too many", "empty", "none"])
def test_what_parts_cannot_make_is_not_begun(sizes):
    memory = MemoryStore(min_part_size=10, max_parts=20)
    ranges = [source_in(memory, size, f"s{number}") for number, size in enumerate(sizes)]
    inner = FaultyStore(memory)
    with store_over(inner) as store, pytest.raises(UnsupportedError, match="write the bytes"):
        store.copy("a", ranges, tag="t-1")
    assert inner.calls == []


def test_only_the_copy_that_fails_is_repeated():
    memory = MemoryStore()
    inner = FaultyStore(memory, [Fault("copy_part", first=2, times=2)])
    with store_over(RetryingStore(inner, clock=ManualClock())) as store:
        store.copy("a", [source_in(memory, 50, "x"), source_in(memory, 60, "y"), source_in(memory, 70, "z")])
    assert inner.count("copy_part") == 5
    assert inner.count("create_upload") == 1


def test_a_copy_that_fails_is_aborted_and_leaves_no_note():
    memory = MemoryStore()
    source = source_in(memory, 50)
    memory.put("source", Payload.of(b"new"))
    with store_over(memory, journal="notes/") as store, pytest.raises(PreconditionFailedError):
        store.copy("a", [source], tag="t-1")
    assert [meta.key for meta in memory.list()] == ["source"]
    assert memory.pending_uploads == []


def test_a_copy_that_meets_another_write_begins_anew():
    memory = MemoryStore()
    source = source_in(memory, 50)
    inner = FaultyStore(memory, [Fault("complete_upload", error=UploadConflictError("busy"))])
    with store_over(inner) as store:
        store.copy("a", [source], tag="t-1")
    assert inner.count("create_upload") == 2
    assert memory.get("a")[0] == memory.get("source")[0]
    assert memory.pending_uploads == []


def test_a_store_that_copies_no_parts_copies_by_itself(tmp_path):
    inner = FaultyStore(LocalStore(tmp_path))
    with store_over(inner) as store:
        store.copy("a", [source_in(inner.inner, 50)], tag="t-1")
    assert [call.verb for call in inner.calls] == ["copy"]


# ---- notes ----


@pytest.mark.parametrize("verb", ["put", "create"])
def test_every_upload_is_noted_before_its_first_part(verb):
    inner = FaultyStore(MemoryStore())
    with store_over(inner, journal="notes/") as store:
        getattr(store, verb)("a", Payload.of(b"x" * 15))
    verbs = ["create_upload", "put", "put_part", "put_part", "complete_upload", "delete"]
    assert [call.verb for call in inner.calls] == verbs
    noted, forgotten = inner.calls[1].key, inner.calls[-1].key
    assert noted == forgotten
    assert re.fullmatch("notes/[0-9a-f]{32}", noted)
    assert [meta.key for meta in inner.inner.list()] == ["a"]


@pytest.mark.parametrize("create_only", [False, True])
def test_a_note_leads_to_the_upload_of_a_dead_process(create_only):
    memory = MemoryStore()
    inner = FaultyStore(memory, [Fault("put_part", first=2, when="crash")])
    with store_over(inner, journal="notes/") as store, pytest.raises(CrashError):
        (store.create if create_only else store.put)("a", Payload.of(b"x" * 35))
    [pending] = memory.pending_uploads
    [meta] = memory.list("notes/")
    note = UploadNote.from_bytes(memory.get(meta.key)[0])
    assert note.upload() == pending
    assert note.create_only is create_only
    memory.abort_upload(note.upload())
    assert memory.pending_uploads == []


def test_an_upload_that_failed_leaves_no_note():
    memory = MemoryStore()
    inner = FaultyStore(memory, [Fault("put_part", first=2, error=StorageError("no"))])
    with store_over(inner, journal="notes/") as store, pytest.raises(StorageError):
        store.put("a", Payload.of(b"x" * 35))
    assert list(memory.list()) == memory.pending_uploads == []


def test_the_note_stays_when_the_abort_fails():
    memory = MemoryStore()
    faults = [Fault("put_part", error=StorageError("1st")), Fault("abort_upload", error=StorageError("2nd"))]
    with store_over(FaultyStore(memory, faults), journal="notes/") as store, pytest.raises(StorageError, match="1st"):
        store.put("a", Payload.of(b"x" * 35))
    assert len(list(memory.list("notes/"))) == len(memory.pending_uploads) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_upload_that_cannot_be_noted_is_aborted(when):
    memory = MemoryStore()
    inner = FaultyStore(memory, [Fault("put", when=when, error=StorageError("no"))])
    with store_over(inner, journal="notes/") as store, pytest.raises(StorageError):
        store.put("a", Payload.of(b"x" * 35))
    assert inner.count("put_part") == 0
    assert list(memory.list()) == memory.pending_uploads == []


def test_a_note_too_many_fails_nothing():
    memory = MemoryStore()
    inner = FaultyStore(memory, [Fault("delete", error=StorageError("no"))])
    with store_over(inner, journal="notes/") as store:
        meta = store.put("a", Payload.of(b"x" * 35))
    assert memory.head("a") == meta
    [note] = memory.list("notes/")
    memory.abort_upload(UploadNote.from_bytes(memory.get(note.key)[0]).upload())
    assert memory.head("a") == meta


# ---- read_into ----


def test_close_reads_are_one_request():
    inner = FaultyStore(MemoryStore())
    inner.inner.put("a", Payload.of(b"0123456789"))
    one, two = bytearray(2), bytearray(2)
    with store_over(inner, max_gap=3) as store:
        store.read_into("a", [(0, memoryview(one)), (5, memoryview(two))])
    assert (one, two) == (b"01", b"56")
    assert [call.verb for call in inner.calls] == ["read_into"]


def test_far_reads_are_pinned_to_one_version():
    inner = FaultyStore(MemoryStore())
    inner.inner.put("a", Payload.of(bytes(range(100))))
    target = bytearray(95)
    with store_over(inner) as store:
        store.read_into("a", [(3, memoryview(target))])
    assert target == bytes(range(3, 98))
    assert [call.verb for call in inner.calls] == ["head"] + ["read_into"] * 10


def test_a_replacement_between_two_ranges_is_no_mixture():
    memory = MemoryStore()
    memory.put("a", Payload.of(b"old" * 10))

    class Replacing(FaultyStore):
        def read_into(self, key, targets, *, version=None):
            super().read_into(key, targets, version=version)
            memory.put("a", Payload.of(b"new" * 10))

    with store_over(Replacing(memory)) as store, pytest.raises(PreconditionFailedError):
        store.read_into("a", [(0, memoryview(bytearray(30)))])


def test_a_version_that_is_given_is_used():
    inner = FaultyStore(MemoryStore())
    version = inner.inner.put("a", Payload.of(bytes(30))).version
    with store_over(inner) as store:
        store.read_into("a", [(0, memoryview(bytearray(30)))], version=version)
        with pytest.raises(PreconditionFailedError):
            store.read_into("a", [(0, memoryview(bytearray(30)))], version="other")
    assert inner.count("head") == 0


# ---- executors ----


def test_its_own_threads_end_with_it():
    before = threading.active_count()
    store = TransferStore(MemoryStore(), part_size=10)
    assert threading.active_count() == before
    store.put("a", Payload.of(bytes(100)))
    assert any(thread.name.startswith("ckptstore-transfer") for thread in threading.enumerate())
    store.close()
    store.close()
    assert threading.active_count() == before


def test_an_executor_that_was_handed_in_stays_open():
    executor = InlineExecutor()
    with store_over(MemoryStore(), executor=executor) as store:
        store.put("a", Payload.of(bytes(100)))
    assert executor.submitted == 10
    assert executor.submit(int).result() == 0


def test_a_forked_child_makes_threads_of_its_own():
    script = """
import os
from ckptstore.storage import MemoryStore, Payload, TransferStore
store = TransferStore(MemoryStore(), part_size=10, concurrency=1)
store.put("a", Payload.of(bytes(100)))
child = os.fork()
if not child:
    store.put("b", Payload.of(bytes(100)))
    store.close()
    os._exit(store.head("b").size)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, env=environment, check=False
    )
    assert done.stdout.strip() == "100", done.stderr


@pytest.mark.parametrize("numbers", [{"part_size": 0}, {"concurrency": 0}, {"max_gap": -1}])
def test_numbers_that_cannot_be_meant(numbers):
    with pytest.raises(InvalidArgumentError):
        TransferStore(MemoryStore(), **numbers)


def test_repr():
    store = TransferStore(RetryingStore(MemoryStore()))
    assert repr(store) == "TransferStore(RetryingStore(MemoryStore(memory)))"
