"""Room is taken and write-back begun where the system can do that; nothing depends on it."""

from __future__ import annotations

import errno
import os

import pytest

from ckptstore.errors import StorageFullError
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
            number = answers[name].pop(0) if answers[name] else 0
            _write_back.ctypes.set_errno(number)
            return -1 if number else 0

        return call

    monkeypatch.setattr(_write_back, "_function", function)
    return calls, answers


def test_room_for_all_and_write_back_of_every_byte(tmp_path, system):
    calls, _ = system
    LocalStore(tmp_path).put("a", Payload([DATA, os.urandom(40 << 20)]))
    assert calls[0] == ("fallocate", 0, 0, 43 << 20)
    begun = [(offset, size) for name, offset, size, _ in calls[1:] if name == "sync_file_range"]
    position = 0
    for offset, size in begun:
        assert offset == position
        assert size <= 16 << 20
        position += size
    assert position == 43 << 20


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM])
def test_a_file_system_without_it_is_written_all_the_same(tmp_path, system, number):
    _, answers = system
    answers["fallocate"] = [number]
    answers["sync_file_range"] = [number] * 10
    store = LocalStore(tmp_path)
    store.put("a", Payload.of(DATA))
    assert store.get("a")[0] == DATA


def test_an_interrupted_call_is_made_again(tmp_path, system):
    calls, answers = system
    answers["fallocate"] = [errno.EINTR, errno.EINTR]
    LocalStore(tmp_path).put("a", Payload.of(DATA))
    assert [call[0] for call in calls[:3]] == ["fallocate"] * 3


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


def test_the_system_here_does_what_it_is_asked(tmp_path):
    """Only that no argument is wrong: an error would be passed over in silence."""
    with open(tmp_path / "a", "wb") as file:
        _write_back.take_room(file.fileno(), 5 << 20)
        if _write_back._function("fallocate", *[_write_back.ctypes.c_int] * 2, *[_write_back.ctypes.c_int64] * 2):
            assert os.fstat(file.fileno()).st_size in (0, 5 << 20)
        file.write(DATA)
        file.flush()
        _write_back.begin_write_back(file.fileno(), 0, len(DATA))
    assert (tmp_path / "a").read_bytes()[: len(DATA)] == DATA


def test_where_there_is_no_such_function(monkeypatch, tmp_path):
    assert _write_back._function("no_such_function_in_any_library") is None
    monkeypatch.setattr(_write_back, "_function", lambda *_: None)
    store = LocalStore(tmp_path)
    store.put("a", Payload.of(DATA))
    assert store.get("a")[0] == DATA
