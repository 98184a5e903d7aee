import errno
import os
import random
import re
import resource
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading

import pytest

from ckptstore.errors import (
    DataLossError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionFailedError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
    UnsafePathError,
)
from ckptstore.storage import LocalStore, Payload, _posix
from ckptstore.storage._local import LOCK_KEY
from ckptstore.storage._temporary_file import TEMPORARY_NAME
from ckptstore.storage._walk import walk_files
from ckptstore.testing import StoreTests


class LocalTests(StoreTests):
    """The raw side of a LocalStore, for this and for what stands before one."""

    def raw_get(self, key):
        return (self.root / key).read_bytes()

    def raw_put(self, key, data):
        (self.root / key).parent.mkdir(parents=True, exist_ok=True)
        (self.root / key).write_bytes(data)

    def raw_keys(self):
        names = {str(p.relative_to(self.root)) for p in self.root.rglob("*") if not p.is_dir() or p.is_symlink()}
        return names - {LOCK_KEY}


class TestLocalStore(LocalTests):
    @pytest.fixture
    def store(self, tmp_path):
        self.root = tmp_path / "root"
        with LocalStore(self.root) as store:
            yield store


class TestLocalStoreWithoutSyncs(LocalTests):
    @pytest.fixture
    def store(self, tmp_path):
        self.root = tmp_path
        with LocalStore(tmp_path, durable=False) as store:
            yield store


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


@pytest.fixture
def store(root):
    return LocalStore(root)


def everything(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


# ---- durability and atomicity ----


@pytest.fixture
def system_calls(monkeypatch):
    """The order of the calls that matter, as "verb name"."""
    calls = []

    def spy(name, describe):
        real = getattr(os, name)

        def call(*args, **kwargs):
            calls.append(f"{name} {describe(*args)}")
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, call)

    def short(path):
        last = os.fsdecode(path).rpartition("/")[2]
        return "TEMP" if TEMPORARY_NAME.fullmatch(os.fsencode(last)) else last

    def of_fd(fd, *_):
        target = os.readlink(f"/proc/self/fd/{fd}")
        return short(target)

    spy("writev", of_fd)
    spy("fsync", of_fd)
    spy("replace", lambda source, target: f"{short(source)} {short(target)}")
    spy("mkdir", lambda path, *_: short(path))
    spy("unlink", lambda path, *_: short(path))
    return calls


def test_the_order_of_a_put(store, root, system_calls):
    root.mkdir()
    system_calls.clear()
    store.put("a", Payload.of(b"data"))
    put = ["writev TEMP", "fsync TEMP", "replace TEMP a", "fsync root"]
    assert system_calls == [f"fsync {root.parent.name}", *put]
    system_calls.clear()
    store.put("a", Payload.of(b"again"))
    assert system_calls == put


def test_new_directories_are_synced_too(store, root, system_calls):
    store.put("d/e/a", Payload.of(b"data"))
    above = root.parent.name
    assert system_calls == [
        "mkdir root", f"fsync {above}", "mkdir d", "fsync root", "mkdir e", "fsync d",
        "writev TEMP", "fsync TEMP", "replace TEMP a", "fsync e",
    ]  # fmt: skip


def test_missing_parents_of_the_root_are_made_and_synced(tmp_path, system_calls):
    LocalStore(tmp_path / "x" / "y" / "root").put("a", Payload.of(b"data"))
    made = [call for call in system_calls if not call.endswith(("TEMP", " a"))]
    above = tmp_path.name
    assert made[-7:] == ["mkdir x", f"fsync {above}", "mkdir y", "fsync x", "mkdir root", "fsync y", "fsync root"]


def test_directories_made_by_others_are_synced_once(store, root, system_calls):
    (root / "d").mkdir(parents=True)
    system_calls.clear()
    store.put("d/a", Payload.of(b""))
    assert system_calls[:2] == [f"fsync {root.parent.name}", "fsync root"]


def test_a_directory_removed_meanwhile_is_made_again(store, root):
    store.put("d/a", Payload.of(b"one"))
    (root / "d" / "a").unlink()
    (root / "d").rmdir()
    store.put("d/a", Payload.of(b"two"))
    assert store.get("d/a")[0] == b"two"


def test_deletion_syncs_each_directory_once(store, system_calls):
    for key in ["a", "d/b", "d/c"]:
        store.put(key, Payload.of(b""))
    system_calls.clear()
    store.delete(["d/b", "a", "d/c", "missing"])
    assert [c for c in system_calls if c != "unlink missing"] == [
        "unlink b", "unlink a", "unlink c", "fsync d", "fsync root",
    ]  # fmt: skip


def test_without_durability_nothing_is_synced(root, system_calls):
    store = LocalStore(root, durable=False)
    store.put("d/a", Payload.of(b"x"))
    store.delete(["d/a"])
    assert not store.capabilities.durable
    assert not [call for call in system_calls if call.startswith("fsync")]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_a_failed_sync_fails_the_put_and_is_not_repeated(store, root, monkeypatch, number):
    store.put("a", Payload.of(b"old"))
    synced = []

    def fsync(fd):
        synced.append(fd)
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(StorageError) as caught:
            store.put("a", Payload.of(b"new"))
    assert len(synced) == 1
    assert caught.value.errno == number
    assert everything(root) == ["a"]
    assert store.get("a")[0] == b"old"


def test_a_failed_sync_of_the_directory_fails_the_put(store, monkeypatch):
    store.put("a", Payload.of(b"old"))
    real = os.fsync

    def fsync(fd):
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EIO, "Input/output error")
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageError, match="kernel's log"):
        store.put("a", Payload.of(b"new"))


def test_a_file_system_that_cannot_sync_directories_is_no_failure(store, monkeypatch):
    real = os.fsync

    def fsync(fd):
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    store.put("d/a", Payload.of(b"data"))
    assert store.get("d/a")[0] == b"data"


@pytest.mark.parametrize("name", ["writev", "fsync", "replace", "close", "utime", "fstat"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupt_anywhere_leaves_the_old_object(store, root, monkeypatch, name, error):
    store.put("a", Payload.of(b"old"))
    real, once = getattr(os, name), [error]

    def interrupted(*args, **kwargs):
        if once and name not in ("close", "writev"):
            raise once.pop()
        result = real(*args, **kwargs)
        if once:
            raise once.pop()
        return result

    with monkeypatch.context() as patch:
        patch.setattr(os, name, interrupted)
        with pytest.raises(error):
            store.put("a", Payload.of(b"new"))
    assert everything(root) == ["a"]
    assert store.get("a")[0] == b"old"


def test_an_interrupt_just_after_the_rename_leaves_the_new_object(store, root, monkeypatch):
    store.put("a", Payload.of(b"old"))
    real = os.replace

    def replace(*args, **kwargs):
        real(*args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        store.put("a", Payload.of(b"new"))
    assert everything(root) == ["a"]
    assert store.get("a")[0] == b"new"


def test_a_killed_process_leaves_the_old_object_and_a_hidden_file(store, root):
    store.put("big", Payload.of(b"old"))
    script = """
import sys
from ckptstore.storage import LocalStore, Payload
class Slow(tuple):
    def __iter__(self):
        for index in range(1000):
            if index == 3:
                print("in the middle", flush=True)
                sys.stdin.read()
            yield memoryview(bytes(20 << 20))
payload = Payload([])
payload.buffers, payload.nbytes = Slow(), 1000 * (20 << 20)
LocalStore(sys.argv[1]).put("big", payload)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", script, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as child:
        assert child.stdout.readline() == b"in the middle\n"
        assert [meta.key for meta in store.list()] == ["big"]
        os.kill(child.pid, signal.SIGKILL)
    assert store.get("big")[0] == b"old"
    assert [meta.key for meta in store.list()] == ["big"]
    [left] = store.unfinished()
    assert left.size >= 40 << 20
    assert TEMPORARY_NAME.fullmatch(left.key.encode())
    store.delete([left.key])
    assert everything(root) == ["big"]


def test_readers_never_see_a_temporary_file(store, root):
    class Peeking(tuple):
        def __iter__(self):
            yield memoryview(b"half")
            seen.append([meta.key for meta in store.list()])
            seen.append([TEMPORARY_NAME.fullmatch(m.key.rpartition("/")[2].encode()) for m in store.unfinished()])
            seen.append(store.get("d/a")[0])
            yield memoryview(b"rest")

    seen = []
    store.put("d/a", Payload.of(b"old"))
    payload = Payload([])
    payload.buffers, payload.nbytes = Peeking(), 8
    store.put("d/a", payload)
    assert seen[0] == ["d/a"]
    assert len(seen[1]) == 1
    assert all(seen[1])
    assert seen[2] == b"old"
    assert store.get("d/a")[0] == b"halfrest"


def test_names_that_resemble_temporary_files_are_not_hidden(store, root):
    digits = "0123456789abcdef" * 2
    names = [
        f".ckptstore-tmp-{digits}x",
        f".ckptstore-tmp-{digits[:-1]}",
        f".ckptstore-tmp-{digits.upper()}",
        f"x.ckptstore-tmp-{digits}",
        f"ckptstore-tmp-{digits}",
        f".ckptstore-tmp-{digits}.index",
        f".ckptstore-tmp-{digits}/file",
    ]
    for name in names:
        store.put(name, Payload.of(b"x"))
    assert sorted(meta.key for meta in store.list()) == sorted(names)
    assert list(store.unfinished()) == []


def test_a_put_that_would_be_hidden_is_refused(store):
    with pytest.raises(UnsafePathError, match="temporary"):
        store.put("d/.ckptstore-tmp-" + "0" * 32, Payload.of(b"x"))


def test_a_link_planted_at_the_temporary_name_is_not_followed(store, root, tmp_path, monkeypatch):
    root.mkdir()
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    monkeypatch.setattr("secrets.token_hex", lambda n: "0" * 2 * n)
    (root / (".ckptstore-tmp-" + "0" * 32)).symlink_to(victim)
    with pytest.raises(StorageError):
        store.put("a", Payload.of(b"overwritten"))
    assert victim.read_bytes() == b"precious"


def test_the_mode_is_the_users_umask(store, root):
    old = os.umask(0o027)
    try:
        store.put("a", Payload.of(b"x"))
    finally:
        os.umask(old)
    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o640


def test_the_directory_swapped_during_a_put_gets_nothing(store, root, tmp_path):
    class Swapping(tuple):
        def __iter__(self):
            (root / "d").rename(root / "moved")
            (root / "d").symlink_to(elsewhere)
            yield memoryview(b"data")

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (root / "d").mkdir(parents=True)
    payload = Payload([])
    payload.buffers, payload.nbytes = Swapping(), 4
    store.put("d/a", payload)
    assert everything(elsewhere) == []
    assert (root / "moved" / "a").read_bytes() == b"data"


def test_versions_differ_where_inodes_and_time_stamps_repeat(store, monkeypatch):
    # As on kernels whose file times advance in steps of 4 ms: every new file gets the same time.
    real = os.open

    def opened(path, flags, *args, **kwargs):
        fd = real(path, flags, *args, **kwargs)
        if flags & os.O_CREAT:
            frozen.append(fd)
        return fd

    def utime(fd, ns):
        real_utime(fd, ns=(ns[0], 1_700_000_000_000_000_000 + ns[1] % 1_000_000))

    frozen, real_utime = [], os.utime
    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "utime", utime)
    versions = [store.put("a", Payload.of(b"%03d" % number)).version for number in range(50)]
    assert len(frozen) == 50
    assert len(set(versions)) == 50


# ---- reading ----


def test_ten_thousand_small_reads_take_no_more_calls_than_there_are_gaps(store, monkeypatch):
    data = random.Random(1).randbytes(10_000 * 8192)
    store.put("a", Payload.of(data))
    adjacent = [(4096 * n, memoryview(bytearray(4096))) for n in range(10_000)]
    spread = [(8192 * n, memoryview(bytearray(4096))) for n in range(10_000)]
    random.Random(2).shuffle(adjacent)
    calls = []
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, views, at: calls.append(at) or real(fd, views, at))
    for targets, expected in ((adjacent, 10), (spread, 10_000)):  # Linux takes 1024 buffers in a call
        calls.clear()
        store.read_into("a", targets)
        assert len(calls) == expected
        assert all(view == data[offset : offset + 4096] for offset, view in targets)


def test_adjacent_targets_are_read_in_one_call(store, monkeypatch):
    store.put("a", Payload.of(bytes(range(250)) * 100))
    calls = []
    real = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, views, at: calls.append((len(views), at)) or real(fd, views, at))
    store.read_into("a", [(10 * n, memoryview(bytearray(10))) for n in range(2000)])
    assert calls == [(1024, 0), (976, 10240)]


@pytest.mark.parametrize("at_most", [1, 7, 100, 4096])
def test_short_reads_are_completed(store, monkeypatch, at_most):
    data = random.Random(3).randbytes(5000)
    store.put("a", Payload.of(data))
    real = os.preadv

    def preadv(fd, views, at):
        left, cut = at_most, []
        for view in views:
            cut.append(view[:left])
            left -= len(cut[-1])
            if not left:
                break
        return real(fd, cut, at)

    monkeypatch.setattr(os, "preadv", preadv)
    buffers = [bytearray(1250) for _ in range(4)]
    store.read_into("a", [(1250 * n, memoryview(buffer)) for n, buffer in enumerate(buffers)])
    assert b"".join(buffers) == data


@pytest.mark.parametrize("at_most", [1, 7, 100, 4096])
def test_short_writes_are_completed(store, monkeypatch, at_most):
    real = os.writev

    def writev(fd, views):
        return real(fd, [b"".join(views)[:at_most]])

    monkeypatch.setattr(os, "writev", writev)
    data = random.Random(4).randbytes(5000)
    store.put("a", Payload([data[n : n + 33] for n in range(0, 5000, 33)]))
    assert store.get("a")[0] == data


def test_calls_stay_within_their_limits(store, monkeypatch):
    monkeypatch.setattr(_posix, "_MAX_CALL", 1000)
    monkeypatch.setattr(_posix, "_MAX_BUFFERS", 8)
    sizes = []
    for name in ("writev", "preadv"):
        real = getattr(os, name)

        def call(fd, views, *rest, real=real):
            sizes.append((len(views), sum(map(len, views))))
            return real(fd, views, *rest)

        monkeypatch.setattr(os, name, call)
    source = random.Random(5)
    buffers = [source.randbytes(source.choice([1, 10, 999, 1000, 1001, 5000])) for _ in range(200)]
    buffers += [b"x"] * 100
    store.put("a", Payload(buffers))
    targets, at = [], 0
    for buffer in buffers:
        targets.append((at, memoryview(bytearray(len(buffer)))))
        at += len(buffer)
    store.read_into("a", targets)
    assert [view.tobytes() for _, view in targets] == buffers
    assert max(count for count, _ in sizes) == 8
    assert max(size for _, size in sizes) == 1000


def test_a_file_that_shrinks_while_it_is_read(store, root, monkeypatch):
    store.put("a", Payload.of(bytes(1000)))
    real = os.preadv

    def preadv(fd, views, at):
        os.truncate(root / "a", 10)
        return real(fd, views, at)

    monkeypatch.setattr(os, "preadv", preadv)
    with pytest.raises(DataLossError) as caught:
        store.read_into("a", [(0, memoryview(bytearray(1000)))])
    assert caught.value.offset == 10


def test_a_file_changed_in_place_while_it_is_read(store, root, monkeypatch):
    version = store.put("a", Payload.of(bytes(1000))).version
    real = os.preadv

    def preadv(fd, views, at):
        (root / "a").write_bytes(b"x" * 1000)
        return real(fd, views, at)

    with monkeypatch.context() as patch:
        patch.setattr(os, "preadv", preadv)
        with pytest.raises(PreconditionFailedError):
            store.read_into("a", [(0, memoryview(bytearray(1000)))], version=version)

    def read(fd, size):
        data = real_read(fd, size)
        (root / "a").write_bytes(b"x" * 1001)
        return data

    real_read = os.read
    monkeypatch.setattr(os, "read", read)
    with pytest.raises(StorageUnavailableError, match="changed while"):
        store.get("a")


def test_a_put_during_a_read_does_not_disturb_it(store, monkeypatch):
    store.put("a", Payload.of(b"old" * 100))
    real = os.preadv

    def preadv(fd, views, at):
        monkeypatch.setattr(os, "preadv", real)
        store.put("a", Payload.of(b"new" * 100))
        return real(fd, views, at)

    monkeypatch.setattr(os, "preadv", preadv)
    target = bytearray(300)
    store.read_into("a", [(0, memoryview(target))])
    assert target == b"old" * 100


def test_targets_that_cannot_be_filled(store):
    store.put("a", Payload.of(b"0123456789"))
    with pytest.raises(InvalidArgumentError):
        store.read_into("a", [(-1, memoryview(bytearray(1)))])
    with pytest.raises(InvalidArgumentError):
        store.read_into("a", [(0, memoryview(b"read-only"))])


# ---- what is no regular file ----


@pytest.mark.parametrize("kind", ["fifo", "socket", "directory", "device", "link to a fifo"])
def test_what_is_no_file_is_refused_at_once(store, root, kind, tmp_path, monkeypatch):
    root.mkdir()
    path = root / "a"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        monkeypatch.chdir(root)  # a socket's path may have only 108 bytes
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("a")
    elif kind == "directory":
        (path / "b").mkdir(parents=True)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(tmp_path / "fifo")
        path.symlink_to(tmp_path / "fifo")
    done = threading.Event()
    errors = []

    def work():
        for call in (
            lambda: store.get("a"),
            lambda: store.head("a"),
            lambda: store.read_into("a", [(0, memoryview(bytearray(1)))]),
        ):
            with pytest.raises(StorageError) as caught:
                call()
            errors.append(caught.value)
        done.set()

    threading.Thread(target=work, daemon=True).start()
    assert done.wait(10), "it hangs"
    assert [type(error) for error in errors] == [StorageError] * 3
    assert {error.errno for error in errors} == {errno.EISDIR if kind == "directory" else errno.ENXIO}
    assert all(str(path) in str(error) for error in errors)
    assert list(store.list()) == []


def test_a_directory_is_neither_replaced_nor_deleted(store, root):
    (root / "a").mkdir(parents=True)
    with pytest.raises(StorageError, match="a directory has this name") as caught:
        store.put("a", Payload.of(b"x"))
    assert caught.value.errno == errno.EISDIR
    with pytest.raises(StorageError):
        store.delete(["a"])
    assert (root / "a").is_dir()
    assert everything(root) == []


def test_a_file_in_place_of_a_directory(store, root):
    store.put("a", Payload.of(b"file"))
    for call in (lambda: store.get("a/b"), lambda: store.head("a/b")):
        with pytest.raises(NotFoundError):
            call()
    assert list(store.list("a/")) == []
    store.delete(["a/b"])
    for key in ["a/b", "a/b/c"]:
        with pytest.raises(StorageError, match="a file stands where a directory is needed") as caught:
            store.put(key, Payload.of(b"x"))
        assert caught.value.errno == errno.ENOTDIR
    assert store.get("a")[0] == b"file"


def test_a_file_in_place_of_the_root(tmp_path):
    (tmp_path / "root").write_bytes(b"")
    store = LocalStore(tmp_path / "root")
    with pytest.raises(StorageError):
        store.put("a", Payload.of(b"x"))
    with pytest.raises(StorageError):
        list(store.list())


# ---- links ----


def test_links_to_files_are_files(store, root, tmp_path):
    root.mkdir()
    outside = tmp_path / "outside"
    outside.write_bytes(b"outside")
    (root / "link").symlink_to(outside)
    assert store.get("link")[0] == b"outside"
    assert [(meta.key, meta.size) for meta in store.list()] == [("link", 7)]
    store.put("link", Payload.of(b"ours"))
    assert not (root / "link").is_symlink()
    assert outside.read_bytes() == b"outside"
    (root / "link2").symlink_to(outside)
    store.delete(["link2"])
    assert outside.read_bytes() == b"outside"
    assert everything(root) == ["link"]


def test_links_to_directories_are_not_listed(store, root, tmp_path):
    root.mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x").write_bytes(b"x")
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "circle").symlink_to(root)
    (root / "self").symlink_to("self")
    (root / "nowhere").symlink_to("missing")
    for prefix in ["", "link", "link/", "circle/", "circle/link/"]:
        assert list(store.list(prefix)) == []


def test_the_root_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "real")
    store = LocalStore(tmp_path / "root")
    store.put("d/a", Payload.of(b"x"))
    assert [meta.key for meta in store.list()] == ["d/a"]
    assert (tmp_path / "real" / "d" / "a").read_bytes() == b"x"


# ---- names ----


def test_names_that_are_not_utf8(store, root):
    root.mkdir()
    raw = os.fsencode(root) + b"/caf\xe9"
    with open(raw, "wb") as file:
        file.write(b"latin")
    key = "caf\udce9"
    assert [meta.key for meta in store.list()] == [key]
    assert store.get(key)[0] == b"latin"
    store.put(key, Payload.of(b"new"))
    assert os.listdir(os.fsencode(root)) == [b"caf\xe9"]
    store.delete([key])
    assert everything(root) == []
    assert list(store.list("\ud800")) == []


def test_names_that_cannot_be_keys_are_not_listed(store, root):
    root.mkdir()
    (root / "line\nfeed").write_bytes(b"")
    (root / "fine").write_bytes(b"")
    assert [meta.key for meta in store.list()] == ["fine"]


def test_a_name_of_255_bytes(store):
    key = "d/" + "n" * 255
    store.put(key, Payload.of(b"x"))
    assert store.get(key)[0] == b"x"


def test_a_name_that_is_too_long(store):
    for call in (lambda: store.put("n" * 256, Payload.of(b"x")), lambda: store.get("n" * 256)):
        with pytest.raises(StorageError, match="shorter name") as caught:
            call()
        assert caught.value.errno == errno.ENAMETOOLONG


def test_deep_directories(store):
    key = "/".join(["d"] * 500)
    store.put(key, Payload.of(b"x"))
    assert [meta.key for meta in store.list()] == [key]


def test_listing_does_not_leave_the_root(store, root, tmp_path):
    store.put("a", Payload.of(b""))
    (tmp_path / "secret").write_bytes(b"")
    for prefix in ["../", "../s", "..", "/", "./", "a/../", str(tmp_path) + "/"]:
        assert list(store.list(prefix)) == []
        assert list(walk_files(os.fsencode(root), prefix.encode())) == []


def test_a_relative_root_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = LocalStore("run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.put("a", Payload.of(b"x"))
    assert (tmp_path / "run" / "a").read_bytes() == b"x"
    assert store.url == str(tmp_path / "run")


def test_the_root_directory_of_the_machine():
    store = LocalStore("/")
    assert store.url == "/"
    assert store.path("proc/version") == "/proc/version"
    assert [meta.key for meta in store.list("dev/null")] == []
    with pytest.raises(StorageUnavailableError):  # it claims to be empty and is not: no silent b""
        store.get("proc/version")


@pytest.mark.parametrize("root", ["", "nul\0"])
def test_roots_that_cannot_be(root):
    with pytest.raises(UnsafePathError):
        LocalStore(root)


def test_delete_of_a_str_is_refused(store, root):
    store.put("a", Payload.of(b""))
    with pytest.raises(InvalidArgumentError):
        store.delete("a")
    assert everything(root) == ["a"]


def test_a_bad_key_among_good_ones_deletes_nothing(store, root):
    store.put("a", Payload.of(b""))
    with pytest.raises(UnsafePathError):
        store.delete(["a", "../b"])
    assert everything(root) == ["a"]


# ---- errors ----


@pytest.mark.parametrize(
    ("number", "kind", "remedy"),
    [
        (errno.EACCES, PermissionDeniedError, "owner and mode"),
        (errno.EPERM, PermissionDeniedError, "owner and mode"),
        (errno.EROFS, PermissionDeniedError, "mounted read-only"),
        (errno.ENOSPC, StorageFullError, "free some space"),
        (errno.EDQUOT, StorageFullError, "raise the quota"),
        (errno.EIO, StorageError, "kernel's log"),
        (errno.EFBIG, StorageError, "ulimit -f"),
        (errno.EMFILE, StorageError, "ulimit -n"),
        (errno.ESTALE, StorageUnavailableError, "try again"),
        (errno.EAGAIN, StorageUnavailableError, "try again"),
        (errno.EINTR, StorageUnavailableError, "try again"),
        (errno.ETIMEDOUT, StorageUnavailableError, "try again"),
        (errno.EDOM, StorageError, "Could not "),
    ],
)
def test_errors_of_the_system(store, root, monkeypatch, number, kind, remedy):
    store.put("d/a", Payload.of(b"old"))

    def fail(*args, **kwargs):
        raise OSError(number, os.strerror(number))

    calls = {
        "writev": lambda: store.put("d/a", Payload.of(b"x")),
        "replace": lambda: store.put("d/a", Payload.of(b"x")),
        "read": lambda: store.get("d/a"),
        "preadv": lambda: store.read_into("d/a", [(0, memoryview(bytearray(1)))]),
        "stat": lambda: store.head("d/a"),
        "unlink": lambda: store.delete(["d/a"]),
        "scandir": lambda: list(store.list()),
    }
    for name, call in calls.items():
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            with pytest.raises(StorageError, match=re.escape(remedy)) as caught:
                call()
        error = caught.value
        assert type(error) is kind
        assert error.errno == number
        assert str(root) in str(error)
        assert str(root) in error.path
        cause = error
        while isinstance(cause, StorageError):
            cause = cause.__cause__
        assert type(cause).__mro__[-3:] == OSError.__mro__[-3:]
        assert everything(root) == ["d/a"]


def test_an_unreadable_directory_above_the_root_is_no_failure(store, monkeypatch, root):
    real = os.open

    def opened(path, *args, **kwargs):
        if os.fsdecode(path) == str(root.parent):
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", opened)
    store.put("a", Payload.of(b"x"))
    assert store.get("a")[0] == b"x"


def test_some_deletions_fail(store, root, monkeypatch):
    for key in "abc":
        store.put(key, Payload.of(b""))
    real = os.unlink

    def unlink(path, **kwargs):
        if path.endswith((b"/a", b"/b")):
            raise OSError(errno.EACCES, "Permission denied")
        real(path, **kwargs)

    monkeypatch.setattr(os, "unlink", unlink)
    with pytest.raises(PermissionDeniedError, match="2 of the objects could not be deleted: a, b") as caught:
        store.delete(["a", "b", "c"])
    assert isinstance(caught.value.__cause__, PermissionDeniedError)
    assert everything(root) == ["a", "b"]


def test_a_limit_of_the_process_is_no_half_written_file(store, root):
    # The kernel really stops the write in the middle, as a full disk does.
    store.put("a", Payload.of(b"old"))
    code = textwrap.dedent("""
        import resource, signal, sys
        from ckptstore.errors import StorageError
        from ckptstore.storage import LocalStore, Payload
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            LocalStore(sys.argv[1]).put("a", Payload([bytes(999)] * 1000))
        except StorageError as error:
            print(error.errno)
    """)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(root)], capture_output=True, text=True, env=environment, timeout=30, check=True
    )
    assert done.stdout.strip() == str(errno.EFBIG)
    assert everything(root) == ["a"]
    assert store.get("a")[0] == b"old"


def test_a_full_disk(store, root, monkeypatch):
    store.put("a", Payload.of(b"old"))
    room = [3000]
    real = os.writev

    def writev(fd, views):
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        data = b"".join(views)[: room[0]]
        room[0] -= len(data)
        return real(fd, [data])

    monkeypatch.setattr(os, "writev", writev)
    with pytest.raises(StorageFullError, match="free some space"):
        store.put("a", Payload([bytes(999)] * 10))
    assert everything(root) == ["a"]
    assert store.get("a")[0] == b"old"


def test_no_descriptor_is_left_open(store, root):
    store.put("d/a", Payload.of(b"data"))
    os.mkfifo(root / "fifo")

    def work():
        store.put("d/a", Payload.of(b"data"))
        store.get("d/a")
        store.read_into("d/a", [(0, memoryview(bytearray(1)))])
        list(store.list())
        store.delete(["missing"])
        for call in (
            lambda: store.get("fifo"),
            lambda: store.get("d"),
            lambda: store.get("d/a", limit=1),
            lambda: store.read_into("d/a", [(0, memoryview(bytearray(9)))]),
            lambda: store.put("d", Payload.of(b"")),
        ):
            with pytest.raises((StorageError, DataLossError)):
                call()

    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        work()
    assert len(os.listdir("/proc/self/fd")) == before
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > before


def test_an_empty_directory_can_be_removed(tmp_path):
    store = LocalStore(str(tmp_path))
    store.put("d/a", Payload.of(b"x"))
    store.delete(["d/a"])
    assert (tmp_path / "d").is_dir()  # somebody may be about to write into it
    store.remove_directory("d")
    assert not (tmp_path / "d").exists()
    store.put("d/a", Payload.of(b"x"))
    assert store.get("d/a")[0] == b"x"
