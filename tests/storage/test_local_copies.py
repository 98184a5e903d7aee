"""Copies on a disk: clones where the file system has them, else hard links; each name with a tag of its own."""

from __future__ import annotations

import errno
import os
import sys

import pytest

from ckptstore.errors import AlreadyExistsError, PreconditionFailedError, UnsupportedError
from ckptstore.storage import LocalStore, ObjectRange, Payload, _file_tags, _local

DATA = os.urandom(50_000)


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path)


@pytest.fixture
def source(store):
    return ObjectRange.whole(store.create("a", Payload.of(DATA), tag="t1"))


def attributes(path):
    return sorted(name for name in os.listxattr(path) if name.startswith("user.ckptstore"))


@pytest.fixture
def links(monkeypatch):
    monkeypatch.setattr(_local, "clone", lambda source, target: False)


@pytest.fixture
def clones(monkeypatch):
    def clone(source, target):
        os.write(target, os.pread(source, 1 << 30, 0))
        return True

    monkeypatch.setattr(_local, "clone", clone)


def test_a_link_takes_no_room(store, source, tmp_path, links):
    store.copy("d/b", [source], tag="t2")
    assert os.stat(tmp_path / "d" / "b").st_ino == os.stat(tmp_path / "a").st_ino


def test_a_clone_is_a_file_of_its_own(store, source, tmp_path, clones):
    meta = store.copy("d/b", [source], tag="t2")
    assert os.stat(tmp_path / "d" / "b").st_ino != os.stat(tmp_path / "a").st_ino
    assert (store.get("d/b")[0], store.head("d/b").tag) == (DATA, "t2")
    assert meta.version != source.meta.version
    with pytest.raises(AlreadyExistsError):
        store.copy("d/b", [source], tag="t3")
    assert store.copy("d/b", [source], tag="t2").version == meta.version
    assert {meta.key for meta in store.list()} == {"a", "d/b"}
    assert not list(store.unfinished())


def test_a_tag_goes_with_its_name(store, source, tmp_path, links):
    for number in range(3):
        store.copy(f"b{number}", [source], tag=f"c{number}")
    assert len(attributes(tmp_path / "a")) == 5  # one of the file, and one of each name
    store.delete(["b0"])
    store.delete_versions([store.head("b1")])
    assert len(attributes(tmp_path / "a")) == 3
    store.delete(["a"])
    assert store.head("b2").tag == "c2"


def test_a_file_can_be_linked_for_ever_if_old_names_go(store, source, links):
    for number in range(300):
        store.copy(f"b{number}", [source], tag="x" * 45)
        if number:
            store.delete([f"b{number - 1}"])
    assert store.get("b299")[0] == DATA


def test_a_name_that_somebody_else_gave_it_bears_no_tag_of_ours(store, source, tmp_path, links):
    store.copy("b", [source], tag="t2")
    os.link(tmp_path / "b", tmp_path / "theirs")
    assert store.head("theirs").tag == "t1"  # that of the file: its place in the tag tells that it is not this name's
    os.unlink(tmp_path / "a")
    assert store.head("b").tag == "t2"


def test_the_same_name_in_another_directory_would_have_the_same_tag(store, links):
    first = store.create("a/x", Payload.of(DATA), tag="t1")
    with pytest.raises(UnsupportedError, match="write the bytes"):
        store.copy("b/x", [ObjectRange.whole(first)], tag="t2")
    other = store.copy("b/y", [ObjectRange.whole(first)], tag="t3")
    with pytest.raises(UnsupportedError, match="write the bytes"):
        store.copy("c/x", [ObjectRange.whole(other)], tag="t4")
    assert [store.head(key).tag for key in ("a/x", "b/y")] == ["t1", "t3"]
    assert [meta.key for meta in store.list()] == ["a/x", "b/y"]
    store.delete(["a/x"])
    store.copy("c/x", [ObjectRange.whole(other)], tag="t5")
    assert [store.head(key).tag for key in ("b/y", "c/x")] == ["t3", "t5"]


def test_a_tag_that_a_dead_process_left_is_in_nobodys_way(store, source, tmp_path, links):
    store.copy("b", [source], tag="t2")
    os.unlink(tmp_path / "b")
    assert store.copy("b", [source], tag="t3").tag == store.head("b").tag == "t3"


def test_a_copy_without_a_tag_has_not_that_of_its_source(store, source, links):
    assert store.copy("b", [source]).tag is None
    assert store.head("b").tag is store.get("b")[1].tag is None
    assert store.head("a").tag == "t1"


def test_a_symbolic_link_is_not_linked(store, source, tmp_path, links):
    os.symlink("a", tmp_path / "s")
    with pytest.raises(UnsupportedError, match="write the bytes"):
        store.copy("b", [ObjectRange.whole(store.head("s"))], tag="t2")
    assert not (tmp_path / "b").exists()


def test_a_map_holds_no_descriptor_where_python_can_do_without(store, source):
    before = len(os.listdir("/proc/self/fd"))
    maps = [store.map("a") for _ in range(20)]
    kept = len(os.listdir("/proc/self/fd")) - before
    assert kept == (0 if sys.version_info >= (3, 13) else 20)
    assert all(view == DATA for view in maps)


def test_without_room_for_a_tag_the_bytes_are_to_be_written(store, source, tmp_path, links, monkeypatch):
    real = os.setxattr

    def full(file, name, value):
        if name != "user.ckptstore.tag":
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file, name, value)

    monkeypatch.setattr(_file_tags.os, "setxattr", full)
    with pytest.raises(UnsupportedError, match="tag"):
        store.copy("b", [source], tag="t2")
    assert os.listdir(tmp_path) == ["a"] or set(os.listdir(tmp_path)) == {"a", ".ckptstore"}


@pytest.mark.parametrize("number", [errno.EMLINK, errno.EPERM, errno.EXDEV])
def test_without_links_the_bytes_are_to_be_written(store, source, tmp_path, links, monkeypatch, number):
    def refused(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(_local.os, "link", refused)
    with pytest.raises(UnsupportedError, match="write the bytes"):
        store.copy("b", [source], tag="t2")
    assert len(attributes(tmp_path / "a")) == 2  # of the file, and of the name that it has


def test_a_file_replaced_at_the_moment_of_linking(store, source, tmp_path, links, monkeypatch):
    real = os.link

    def link(*arguments, **options):
        os.replace(tmp_path / "other", tmp_path / "a")
        real(*arguments, **options)

    (tmp_path / "other").write_bytes(b"other")
    monkeypatch.setattr(_local.os, "link", link)
    with pytest.raises(PreconditionFailedError):
        store.copy("b", [source], tag="t2")
    assert not (tmp_path / "b").exists()


def test_the_real_system_is_asked_once(store, source, tmp_path):
    first = store.copy("b", [source], tag="t2")
    assert store._clones in (True, False)
    assert store.copy("c", [source], tag="t3").size == first.size
    assert store.get("c")[0] == DATA
