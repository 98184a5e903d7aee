"""create, replace and delete_versions on a LocalStore: links, locks, tags, and file systems that lack them."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ckptstore.errors import (
    AlreadyExistsError,
    PreconditionFailedError,
    StorageError,
    StorageUnavailableError,
    UnsafePathError,
    UnsupportedError,
)
from ckptstore.storage import LocalStore, ObjectMeta, Payload
from ckptstore.storage._file_lock import DEADLINE
from ckptstore.storage._local import LOCK_KEY
from ckptstore.testing import ManualClock

NO_TAGS = [errno.ENOTSUP, errno.ENOSYS]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(root: Path, clock: ManualClock) -> LocalStore:
    return LocalStore(root, clock=clock)


@pytest.fixture
def old(store: LocalStore) -> ObjectMeta:
    return store.put("a", Payload.of(b"old"))


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what is synced."""
    names: list[str] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        names.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    return names


def everything(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()} - {LOCK_KEY}


def failing(number: int) -> Any:
    def call(*args: Any, **kwargs: Any) -> None:
        raise OSError(number, os.strerror(number))

    return call


def swap(store: LocalStore, old: ObjectMeta, tag: str | None = None) -> ObjectMeta:
    return store.replace("a", Payload.of(b"new"), version=old.version or "", tag=tag)


# ---- create ----


def test_create_syncs_the_file_and_its_directory(store: LocalStore, old: ObjectMeta, synced: list[str]) -> None:
    store.create("b", Payload.of(b"x"), tag="t1")
    assert [name.startswith(".ckptstore-tmp-") for name in synced] == [True, False]
    assert synced[1] == "root"


def test_our_own_object_is_synced_before_it_counts(store: LocalStore, old: ObjectMeta, synced: list[str]) -> None:
    """The earlier attempt may have died between giving the name and syncing it."""
    version = old.version or ""
    store.create("b", Payload.of(b"x"), tag="t1")
    store.replace("a", Payload.of(b"new"), version=version, tag="t1")
    for again in (
        lambda: store.create("b", Payload.of(b"x"), tag="t1"),
        lambda: store.replace("a", Payload.of(b"new"), version=version, tag="t1"),
    ):
        synced.clear()
        again()
        assert synced[-1] == "root"


def test_a_link_whose_reply_was_lost(store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS sends the request again, and the server finds the link that the first one made."""
    real = os.link

    def link(*args: Any, **kwargs: Any) -> None:
        real(*args, **kwargs)
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(os, "link", link)
    meta = store.create("a", Payload.of(b"data"))
    assert everything(root) == {"a"}
    assert store.head("a").version == meta.version
    monkeypatch.setattr(os, "link", real)
    with pytest.raises(AlreadyExistsError):
        store.create("a", Payload.of(b"other"))
    assert everything(root) == {"a"}


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_links(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "link", failing(number))
    with pytest.raises(UnsupportedError, match=r"no hard links .* use another") as caught:
        store.create("a", Payload.of(b"data"))
    assert caught.value.path == store.path("a")
    assert everything(root) == set()


def test_create_does_not_write_through_a_link(store: LocalStore, root: Path, tmp_path: Path) -> None:
    root.mkdir()
    (tmp_path / "victim").write_bytes(b"precious")
    for name, target in (("a", tmp_path / "victim"), ("b", tmp_path / "nothing")):
        (root / name).symlink_to(target)
        with pytest.raises(AlreadyExistsError):
            store.create(name, Payload.of(b"x"), tag="t1")
    assert everything(tmp_path) == {"victim", "root/a", "root/b"}
    assert (tmp_path / "victim").read_bytes() == b"precious"


# ---- tags ----


@pytest.mark.parametrize("number", NO_TAGS)
def test_a_file_system_without_tags(root: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    for name in ("setxattr", "getxattr"):
        monkeypatch.setattr(os, name, failing(number))
    store = LocalStore(root)
    assert not store.capabilities.tags
    old = store.create("a", Payload.of(b"old"), tag="t1")
    assert (old.tag, store.head("a").tag) == (None, None)
    with pytest.raises(AlreadyExistsError):
        store.create("a", Payload.of(b"old"), tag="t1")
    assert swap(store, old, "t2").tag is None
    with pytest.raises(PreconditionFailedError):
        swap(store, old, "t2")


def test_a_file_system_that_refuses_a_tag_has_none(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some know of extended attributes, and take none of ours (a quota, a policy)."""
    monkeypatch.setattr(os, "setxattr", failing(errno.EPERM))
    assert store.create("a", Payload.of(b"x"), tag="t1").tag is None
    assert not store.capabilities.tags


def test_whether_there_are_tags_is_found_out_without_a_trace(tmp_path: Path) -> None:
    try:
        os.setxattr(tmp_path, "user.test", b"x")
    except OSError:
        expected = False
    else:
        expected = True
    before = os.stat(tmp_path)
    assert LocalStore(tmp_path).capabilities.tags == expected
    assert LocalStore(tmp_path / "not" / "yet").capabilities.tags == expected
    assert os.listdir(tmp_path) == []
    assert (os.stat(tmp_path).st_mtime_ns, os.listxattr(tmp_path)) == (
        before.st_mtime_ns,
        ["user.test"] if expected else [],
    )


def test_a_tag_has_no_say_in_the_version(store: LocalStore, root: Path) -> None:
    meta = store.create("a", Payload.of(b"x"), tag="t1")
    os.removexattr(root / "a", "user.ckptstore.tag")
    assert (store.head("a").version, store.head("a").tag) == (meta.version, None)


# ---- the lock ----


@pytest.fixture
def taken(store: LocalStore, root: Path, old: ObjectMeta) -> Iterator[int]:
    """The store's lock, held by somebody else."""
    (root / ".ckptstore").mkdir()
    fd = os.open(root / LOCK_KEY, os.O_RDWR | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    yield fd
    os.close(fd)


def test_a_lock_that_is_never_given_back(
    store: LocalStore, root: Path, clock: ManualClock, old: ObjectMeta, taken: int
) -> None:
    for call in (lambda: swap(store, old), lambda: store.delete_versions([old])):
        begun = clock.monotonic()
        with pytest.raises(StorageUnavailableError, match=r"held the lock .* look for a process that hangs"):
            call()
        assert DEADLINE <= clock.monotonic() - begun <= DEADLINE + 1
    assert everything(root) == {"a"}
    assert store.get("a")[0] == b"old"


def test_a_lock_that_is_given_back(root: Path, old: ObjectMeta, taken: int) -> None:
    class Releasing(ManualClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if len(self.sleeps) == 3:
                fcntl.flock(taken, fcntl.LOCK_UN)

    clock = Releasing()
    swap(LocalStore(root, clock=clock), old)
    assert len(clock.sleeps) == 3
    assert sum(clock.sleeps) < 0.1


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM])
def test_a_file_system_without_locks(
    store: LocalStore, root: Path, old: ObjectMeta, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(fcntl, "flock", failing(number))
    for call in (lambda: swap(store, old), lambda: store.delete_versions([old])):
        with pytest.raises(UnsupportedError, match=r"no locks .* mount it with locks"):
            call()
    assert everything(root) == {"a"}
    assert store.get("a")[0] == b"old"


def test_a_child_forked_while_the_lock_is_held_does_not_keep_it(root: Path) -> None:
    """It inherits the open description, and lives on: a data loader's worker, for example."""
    script = """
import os, sys
from ckptstore.storage import LocalStore, Payload
root = sys.argv[1]
store = LocalStore(root)
meta = store.put("a", Payload.of(b"old"))
real, children = os.replace, []
def replace(*args, **kwargs):
    if not children:
        children.append(os.fork())
        if not children[0]:
            os.close(1)
            sys.stdin.read()
            os._exit(0)
    real(*args, **kwargs)
os.replace = replace
meta = store.replace("a", Payload.of(b"new"), version=meta.version)
store.replace("a", Payload.of(b"newer"), version=meta.version)
print("done", flush=True)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", script, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as child:
        assert child.stdout is not None
        ready, _, _ = select.select([child.stdout], [], [], 20)
        if not ready:
            child.kill()
        assert child.stdin is not None
        child.stdin.close()
        assert child.stdout.read() == b"done\n"


def test_many_processes_lose_nothing(root: Path) -> None:
    script = """
import sys
from ckptstore.errors import PreconditionFailedError
from ckptstore.storage import LocalStore, Payload
store = LocalStore(sys.argv[1], durable=False)
for _ in range(100):
    while True:
        data, meta = store.get("n")
        try:
            store.replace("n", Payload.of(b"%d" % (int(data) + 1)), version=meta.version)
            break
        except PreconditionFailedError:
            pass
"""
    store = LocalStore(root, durable=False)
    store.put("n", Payload.of(b"0"))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    children = [subprocess.Popen([sys.executable, "-c", script, str(root)], env=environment) for _ in range(3)]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    assert store.get("n")[0] == b"300"


def test_the_lock_is_made_again_if_somebody_removed_it(store: LocalStore, root: Path, old: ObjectMeta) -> None:
    new = swap(store, old)
    (root / LOCK_KEY).unlink()
    (root / ".ckptstore").rmdir()
    newer = store.replace("a", Payload.of(b"newer"), version=new.version or "")
    (root / LOCK_KEY).unlink()
    assert store.delete_versions([newer]) == []
    assert everything(root) == set()


def test_the_lock_is_no_object(store: LocalStore, root: Path, old: ObjectMeta) -> None:
    new = swap(store, old)
    assert (root / LOCK_KEY).stat().st_size == 0
    assert [meta.key for meta in store.list()] == ["a"]
    assert list(store.list(".ckptstore/")) == list(store.unfinished()) == []
    assert [meta.key for meta in LocalStore(root.parent).list()] == ["root/a"]
    for key in (LOCK_KEY, f"d/{LOCK_KEY}"):
        for call in (
            lambda key=key: store.put(key, Payload.of(b"x")),
            lambda key=key: store.create(key, Payload.of(b"x")),
            lambda key=key: store.replace(key, Payload.of(b"x"), version=new.version or ""),
            lambda key=key: store.delete([key]),
            lambda key=key: store.delete_versions([ObjectMeta(key, 0, new.version)]),
        ):
            with pytest.raises(UnsafePathError, match="lock"):
                call()
    assert (root / LOCK_KEY).exists()
    store.put("lock", Payload.of(b"x"))
    store.put(".ckptstore/lock.index", Payload.of(b"x"))
    assert [meta.key for meta in store.list()] == [".ckptstore/lock.index", "a", "lock"]


def test_a_link_planted_at_the_lock_is_not_followed(
    store: LocalStore, root: Path, old: ObjectMeta, tmp_path: Path
) -> None:
    (root / ".ckptstore").mkdir()
    (root / LOCK_KEY).symlink_to(tmp_path / "victim")
    with pytest.raises(StorageError):
        swap(store, old)
    assert not (tmp_path / "victim").exists()


def test_nothing_is_written_for_what_cannot_be(store: LocalStore, root: Path) -> None:
    root.mkdir()
    with pytest.raises(PreconditionFailedError):
        store.replace("d/a", Payload.of(b"x"), version="1-2-3")
    assert store.delete_versions([ObjectMeta("d/a", 0, "1-2-3")]) == []
    assert list(root.iterdir()) == []


# ---- deletion ----


@pytest.mark.parametrize(
    "call",
    [lambda store, _: store.delete(["a", "d/b"]), lambda store, metas: store.delete_versions(metas)],
    ids=["delete", "delete_versions"],
)
def test_a_deletion_that_could_not_be_synced_is_synced_by_the_next(
    store: LocalStore, call: Any, synced: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    metas = [store.put(key, Payload.of(b"x")) for key in ("a", "d/b")]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(errno.ESTALE))
        with pytest.raises(StorageUnavailableError):
            call(store, metas)
    assert list(store.list()) == []
    synced.clear()
    call(store, metas)
    assert sorted(synced) == ["d", "root"]
