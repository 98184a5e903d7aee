"""Room is taken and write-back begun where the system can do that; nothing depends on it."""

from __future__ import annotations

import errno
import os
import sys
import weakref

import pytest

from ckptstore.errors import StorageError, StorageFullError
from ckptstore.storage import LocalStore, Payload, _write_back

DATA = os.urandom(3 << 20)


@pytest.fixture
def system(monkeypatch):
    """The calls to the C library, each answered as planned: 0 is done, else the error."""
    calls: list[tuple] = []
    answers: dict[str, list[int]] = {"fallocate": [], "sync_file_range": []}

    def function(name, *_):
        def call(fd, *arguments):
            calls.append((name, *arguments))
            return answers[name].pop(0) if answers[name] else 0

        return call

    monkeypatch.setattr(_write_back, "_function", function)
    return calls, answers


def begun(calls):
    """The ranges whose write-back was begun, which must follow each other from the beginning on."""
    ranges = [(offset, size) for name, offset, size, _ in calls if name == "sync_file_range"]
    position = 0
    for offset, size in ranges:
        assert offset == position
        position += size
    return [size for _, size in ranges]


def test_room_for_all_and_write_back_of_nearly_all(tmp_path, system):
    calls, _ = system
    LocalStore(tmp_path).put("a", Payload([DATA, os.urandom(40 << 20)]))
    assert calls[0] == ("fallocate", 1, 0, 43 << 20)
    sizes = begun(calls)
    assert max(sizes) <= 32 << 20
    assert sum(sizes) >= 35 << 20  # the fsync, which comes next, begins the rest


def test_write_back_of_many_small_buffers(tmp_path, system):
    calls, _ = system
    LocalStore(tmp_path).put("a", Payload([bytes(100)] * 300_000))
    sizes = begun(calls)
    assert min(sizes) >= 8 << 20
    assert sum(sizes) >= 16 << 20


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM])
def test_a_file_system_without_it_is_written_all_the_same(tmp_path, system, number):
    _, answers = system
    answers["fallocate"] = [number]
    answers["sync_file_range"] = [number] * 10
    store = LocalStore(tmp_path)
    store.put("a", Payload.of(DATA))
    assert store.get("a")[0] == DATA


def test_an_interrupted_call_is_not_made_again(tmp_path, system):
    """A timer that is quicker than the file system would interrupt it for ever."""
    calls, answers = system
    answers["fallocate"] = [errno.EINTR, errno.EINTR]
    LocalStore(tmp_path).put("a", Payload.of(DATA))
    assert [call[0] for call in calls] == ["fallocate"]


def test_a_full_disk_is_told_before_anything_is_written(tmp_path, system, monkeypatch):
    _, answers = system
    answers["fallocate"] = [errno.ENOSPC]
    monkeypatch.setattr(os, "writev", lambda *_: pytest.fail("something was written"))
    with pytest.raises(StorageFullError):
        LocalStore(tmp_path).put("a", Payload.of(DATA))
    assert os.listdir(tmp_path) == []


def test_small_files_and_those_that_need_not_last_are_left_alone(tmp_path, system):
    calls, _ = system
    LocalStore(tmp_path).put("a", Payload.of(b"small"))
    assert calls == []
    LocalStore(tmp_path, durable=False).put("a", Payload.of(DATA))
    assert [call[0] for call in calls] == ["fallocate"]


def test_what_never_came_is_no_zeros(tmp_path):
    payload = Payload.of(DATA)
    payload.nbytes += 5 << 20
    meta = LocalStore(tmp_path).put("a", payload)
    assert meta.size == len(DATA)
    assert (tmp_path / "a").read_bytes() == DATA


class Piece(bytearray):
    """Bytes of which can be told when they are gone."""

    __hash__ = object.__hash__


class Lazy(tuple):
    """Buffers that are made when they are asked for, and counted as long as they are there."""

    def __iter__(self):
        self.alive = weakref.WeakSet()
        self.most = 0
        for size in self.sizes:
            made = Piece(size)
            self.alive.add(made)
            self.most = max(self.most, len(self.alive))
            yield memoryview(made)
            del made
            self.left(len(self.alive))


def lazy_payload(sizes, left=lambda alive: None):
    payload = Payload(())
    payload.buffers, payload.nbytes = Lazy(), sum(sizes)
    payload.buffers.sizes, payload.buffers.left = sizes, left
    return payload


@pytest.mark.parametrize("size", [32 << 20, 16 << 20, (16 << 20) + 1])
def test_of_large_buffers_made_one_by_one_two_are_held(tmp_path, size):
    held = []
    payload = lazy_payload([size] * 4, held.append)
    assert LocalStore(tmp_path).put("a", payload).size == 4 * size
    assert payload.buffers.most <= 2
    assert max(held) <= 1


def test_of_small_buffers_made_one_by_one_two_calls_worth_is_held(tmp_path):
    payload = lazy_payload([5 << 20] * 10 + [10] * 5000)
    LocalStore(tmp_path).put("a", payload)
    assert payload.buffers.most <= 2 * 1024
    payload = lazy_payload([5 << 20] * 10)
    LocalStore(tmp_path).put("a", payload)
    assert payload.buffers.most <= 4


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt(), MemoryError()])
def test_buffers_that_cannot_be_made_leave_nothing(tmp_path, error):
    written = []

    def left(_):
        written.append(os.listdir(tmp_path))
        if len(written) == 3:
            raise error

    with pytest.raises(StorageError if isinstance(error, OSError) else type(error)):
        LocalStore(tmp_path).put("a", lazy_payload([17 << 20] * 5, left))
    assert [len(names) for names in written] == [1, 1, 1]
    assert os.listdir(tmp_path) == []


def test_a_hundred_thousand_buffers_take_a_hundred_calls(tmp_path, system, monkeypatch):
    calls, _ = system
    sizes = []
    real = os.writev
    monkeypatch.setattr(os, "writev", lambda fd, views: sizes.append(len(views)) or real(fd, views))
    LocalStore(tmp_path).put("a", Payload([bytes(64)] * 100_000))
    assert sizes == [1024] * 97 + [672]
    assert [call[0] for call in calls] == ["fallocate"]


def test_the_system_here_does_what_it_is_asked(tmp_path):
    """Only that no argument is wrong: an error would be passed over in silence."""
    with open(tmp_path / "a", "wb") as file:
        _write_back.take_room(file.fileno(), 5 << 20)
        status = os.fstat(file.fileno())
        assert status.st_size == 0
        if _write_back._function("fallocate", *_write_back._FALLOCATE)(file.fileno(), 1, 0, 1 << 20) == 0:
            assert status.st_blocks * 512 >= 5 << 20
        file.write(DATA)
        file.flush()
        _write_back.begin_write_back(file.fileno(), 0, len(DATA))
    assert (tmp_path / "a").read_bytes() == DATA


def test_errors_of_the_c_library_are_told_apart(tmp_path):
    with open(tmp_path / "a", "wb") as file, open(tmp_path / "a", "rb") as reader:
        call = _write_back._function("fallocate", *_write_back._FALLOCATE)
        assert call(file.fileno(), 1, 0, -1) in (errno.EINVAL, errno.ENOSYS)
        assert call(reader.fileno(), 1, 0, 10) in (errno.EBADF, errno.ENOSYS)


@pytest.mark.parametrize("missing", ["_ctypes", None])
def test_where_there_is_no_such_function(monkeypatch, tmp_path, missing):
    _write_back._function.cache_clear()
    if missing:  # a Python that was built without libffi
        monkeypatch.delitem(sys.modules, "ctypes", raising=False)
        monkeypatch.setitem(sys.modules, missing, None)
    try:
        name = "fallocate" if missing else "no_such_function_in_any_library"
        assert _write_back._function(name)(0) == errno.ENOSYS
        store = LocalStore(tmp_path)
        store.put("a", Payload([DATA] * 20))
        assert store.get("a")[0] == DATA * 20
    finally:
        _write_back._function.cache_clear()
