"""FsspecStore over file systems that put whole objects, that rename, and that can do neither."""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractFileSystem

from ckptstore.errors import (
    DataLossError,
    NotFoundError,
    PermissionDeniedError,
    StorageError,
    StorageUnavailableError,
    UnsafePathError,
    UnsupportedError,
)
from ckptstore.storage import Capabilities, FsspecStore, Payload, Store, from_url
from ckptstore.testing import StoreTests


class TestMemory(StoreTests):
    """A protocol that puts whole objects."""

    @pytest.fixture
    def store(self) -> Iterator[Store]:
        self.root = f"/{uuid.uuid4().hex}"  # fsspec has one memory for the whole process
        with FsspecStore(f"memory:/{self.root}") as store:
            yield store
        MemoryFileSystem().rm(self.root, recursive=True) if MemoryFileSystem().exists(self.root) else None

    def raw_get(self, key: str) -> bytes:
        return MemoryFileSystem.store[f"{self.root}/{key}"].getvalue()

    def raw_put(self, key: str, data: bytes) -> None:
        MemoryFileSystem().pipe_file(f"{self.root}/{key}", data)

    def raw_keys(self) -> set[str]:
        start = f"{self.root}/"
        return {name.removeprefix(start) for name in MemoryFileSystem.store if name.startswith(start)}


class _FileTests(StoreTests):
    root: Path

    def raw_get(self, key: str) -> bytes:
        return (self.root / key).read_bytes()

    def raw_put(self, key: str, data: bytes) -> None:
        """As another program would that knows what it does: beside, then over."""
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.root.parent / uuid.uuid4().hex
        beside.write_bytes(data)
        beside.rename(path)

    def raw_keys(self) -> set[str]:
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()}


class TestRename(_FileTests):
    """A file system with a rename that replaces."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        self.root = tmp_path / "root"
        with FsspecStore(f"file://{self.root}") as store:
            yield store


class TestStack(_FileTests):
    """The same through what `from_url` makes of a scheme of one's own, which has no versions."""

    single_writer = True

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        fsspec.register_implementation("stubborn", StubbornFileSystem, clobber=True)
        self.root = tmp_path / "root"
        with from_url(f"stubborn://{self.root}") as store:
            yield store

    def test_readers_see_one_version_while_it_is_replaced(self, store: Store) -> None:
        """That is what `atomic_put` does not promise here."""
        assert not store.capabilities.atomic_put


class StubbornFileSystem(LocalFileSystem):
    """Its rename refuses an existing target without a word, as WebHDFS does through fsspec."""

    protocol = "stubborn"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("stubborn://"))

    def mv(self, path1: str, path2: str, **kwargs: Any) -> None:
        if not Path(path2).exists():
            Path(path1).rename(path2)


class CopyingFileSystem(LocalFileSystem):
    """Has no rename."""

    protocol = "copying"
    mv = AbstractFileSystem.mv


class TestCopy(_FileTests):
    """A file system whose move is a copy and a deletion."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        self.root = tmp_path / "root"
        with FsspecStore(str(self.root), filesystem=CopyingFileSystem(skip_instance_cache=True)) as store:
            yield store

    def test_readers_see_one_version_while_it_is_replaced(self, store: Store) -> None:
        """That is what `atomic_put` does not promise here."""
        assert not store.capabilities.atomic_put


class TestCapabilities:
    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("memory://x", Capabilities(durable=False)),
            ("file:///x", Capabilities(durable=False)),
            ("simplecache::memory://x", Capabilities(durable=False)),
        ],
    )
    def test_by_protocol(self, url: str, expected: Capabilities) -> None:
        store = from_url(url).inner if "simplecache" in url else FsspecStore(url)  # type: ignore[attr-defined]
        assert store.capabilities == expected

    def test_a_move_of_the_base_class_is_not_atomic(self) -> None:
        assert not FsspecStore("/x", filesystem=CopyingFileSystem(skip_instance_cache=True)).capabilities.atomic_put

    def test_a_rename_that_refuses_is_not_atomic(self) -> None:
        assert not FsspecStore("/x", filesystem=StubbornFileSystem(skip_instance_cache=True)).capabilities.atomic_put


class FailingFileSystem(LocalFileSystem):
    """Raises what it is told to raise, once the given number of calls of a verb have passed."""

    protocol = "failing"

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.errors: dict[str, BaseException] = {}

    def _check(self, verb: str) -> None:
        if verb in self.errors:
            raise self.errors[verb]

    def mv(self, *args: Any, **kwargs: Any) -> None:
        self._check("mv")
        super().mv(*args, **kwargs)

    def ls(self, path: str, *args: Any, **kwargs: Any) -> Any:
        self._check("ls " + path.rpartition("/")[2])
        return super().ls(path, *args, **kwargs)

    def rm_file(self, path: str) -> None:
        self._check("rm_file")
        super().rm_file(path)

    def info(self, *args: Any, **kwargs: Any) -> Any:
        self._check("info")
        return super().info(*args, **kwargs)


class TestFailures:
    @pytest.fixture
    def fs(self) -> FailingFileSystem:
        return FailingFileSystem(skip_instance_cache=True)

    @pytest.fixture
    def store(self, fs: FailingFileSystem, tmp_path: Path) -> FsspecStore:
        return FsspecStore(str(tmp_path), filesystem=fs)

    def test_a_rename_that_fails_leaves_nothing(
        self, store: FsspecStore, fs: FailingFileSystem, tmp_path: Path
    ) -> None:
        fs.errors["mv"] = PermissionError(13, "no")
        with pytest.raises((PermissionDeniedError, StorageError)):
            store.put("a", Payload.of(b"x"))
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("failing_call", [1, 2])
    def test_a_rename_that_fails_leaves_the_old_object(
        self, store: FsspecStore, fs: FailingFileSystem, tmp_path: Path, failing_call: int
    ) -> None:
        """Its protocol is not known to replace, so the older file is moved aside first."""
        store.put("a", Payload.of(b"old"))
        calls = 0
        rename = fs.mv

        def fail_once(source: str, target: str) -> None:
            nonlocal calls
            calls += 1
            if calls == failing_call:
                raise ConnectionResetError(104, "gone")
            rename(source, target)

        fs.mv = fail_once  # type: ignore[method-assign]
        with pytest.raises(StorageUnavailableError):
            store.put("a", Payload.of(b"new"))
        assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"old")]
        store.put("a", Payload.of(b"new"))
        assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"new")]

    def test_a_directory_that_cannot_be_read_is_not_left_out(self, store: FsspecStore, fs: FailingFileSystem) -> None:
        """fsspec's own `find` would leave it out without a word."""
        store.put("d/a", Payload.of(b"x"))
        store.put("e/a", Payload.of(b"x"))
        fs.errors["ls d"] = TimeoutError("too slow")
        with pytest.raises(StorageUnavailableError):
            list(store.list())

    def test_every_key_is_tried(self, store: FsspecStore, fs: FailingFileSystem) -> None:
        store.put("a", Payload.of(b"x"))
        fs.errors["rm_file"] = PermissionError(13, "no")
        with pytest.raises(PermissionDeniedError, match="2 of the objects could not be deleted: a, b"):
            store.delete(["a", "b"])

    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (FileNotFoundError(2, "x"), NotFoundError),
            (PermissionError(13, "x"), PermissionDeniedError),
            (ConnectionResetError(104, "x"), StorageUnavailableError),
            (EOFError(), StorageUnavailableError),
            (OSError("odd"), StorageError),
            (ValueError("odd"), StorageError),
            (NotImplementedError(), UnsupportedError),
        ],
    )
    def test_errors(
        self, store: FsspecStore, fs: FailingFileSystem, error: Exception, expected: type[Exception]
    ) -> None:
        fs.errors["info"] = error
        with pytest.raises(expected) as caught:
            store.head("a")
        assert type(caught.value) is expected
        assert caught.value.__cause__ is error

    def test_ctrl_c_is_ctrl_c(self, store: FsspecStore, fs: FailingFileSystem, tmp_path: Path) -> None:
        fs.errors["mv"] = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            store.put("a", Payload.of(b"x"))
        assert list(tmp_path.iterdir()) == []

    def test_an_object_that_shrinks_while_it_is_read(self, store: FsspecStore, tmp_path: Path) -> None:
        store.put("a", Payload.of(b"0123456789"))
        original = store._read

        def shrink_then_read(*args: Any) -> None:
            store._read = original  # type: ignore[method-assign]
            (tmp_path / "a").write_bytes(b"01")
            original(*args)

        store._read = shrink_then_read  # type: ignore[method-assign]
        assert store.get("a")[0] == b"01"


class TestTemporaryNames:
    NAME = ".ckptstore-tmp-" + "0" * 32

    def test_are_not_listed(self, tmp_path: Path) -> None:
        (tmp_path / self.NAME).write_bytes(b"half")
        (tmp_path / f"{self.NAME}x").write_bytes(b"somebody's")
        assert [meta.key for meta in FsspecStore(f"file://{tmp_path}").list()] == [f"{self.NAME}x"]

    def test_cannot_be_put(self, tmp_path: Path) -> None:
        with pytest.raises(UnsafePathError):
            FsspecStore(f"file://{tmp_path}").put(f"d/{self.NAME}", Payload.of(b"x"))

    def test_are_unfinished(self, tmp_path: Path) -> None:
        (tmp_path / "d").mkdir()
        for name in (self.NAME, f"d/{self.NAME}", f"{self.NAME}x", "a"):
            (tmp_path / name).write_bytes(b"half")
        store = FsspecStore(f"file://{tmp_path}")
        assert [(meta.key, meta.size) for meta in store.unfinished()] == [(self.NAME, 4), (f"d/{self.NAME}", 4)]
        assert [meta.key for meta in store.unfinished("d/")] == [f"d/{self.NAME}"]
        assert list(store.unfinished("../")) == []
        assert all(meta.modified for meta in store.unfinished())

    def test_can_be_deleted(self, tmp_path: Path) -> None:
        (tmp_path / self.NAME).write_bytes(b"half")
        store = FsspecStore(f"file://{tmp_path}")
        store.delete([meta.key for meta in store.unfinished()])
        assert list(tmp_path.iterdir()) == []


class TestPlaces:
    def test_archive_is_read_only(self, tmp_path: Path) -> None:
        import zipfile

        with zipfile.ZipFile(tmp_path / "run.zip", "w") as archive:
            archive.writestr("run/ckpt-1.index", b"index")
        with FsspecStore(f"zip://::{tmp_path}/run.zip") as store:
            assert [meta.key for meta in store.list()] == ["run/ckpt-1.index"]
            assert store.get("run/ckpt-1.index")[0] == b"index"
            assert not store.capabilities.atomic_put
            with pytest.raises((StorageError, UnsupportedError)):
                store.put("a", Payload.of(b"x"))
        with FsspecStore(f"zip://run::{tmp_path}/run.zip") as store:
            assert [meta.key for meta in store.list()] == ["ckpt-1.index"]

    def test_caches_are_gone_round(self) -> None:
        name = uuid.uuid4().hex
        store = from_url(f"simplecache::memory://{name}")
        store.put("a", Payload.of(b"one"))
        assert store.get("a")[0] == b"one"
        MemoryFileSystem().pipe_file(f"/{name}/a", b"two")
        assert store.get("a")[0] == b"two"

    def test_a_file_of_the_roots_name(self, tmp_path: Path) -> None:
        (tmp_path / "root").write_bytes(b"x")
        assert list(FsspecStore(f"file://{tmp_path}/root").list()) == []

    def test_a_directory_is_no_object(self, tmp_path: Path) -> None:
        (tmp_path / "d").mkdir()
        store = FsspecStore(f"file://{tmp_path}")
        for call in (store.get, store.head):
            with pytest.raises(NotFoundError, match="directory"):
                call("d")

    def test_short_object(self, tmp_path: Path) -> None:
        store = FsspecStore(f"file://{tmp_path}")
        store.put("a", Payload.of(b"0123"))
        with pytest.raises(DataLossError) as caught:
            store.read_into("a", [(2, memoryview(bytearray(5)))])
        assert caught.value.offset == 4


class TestSecrets:
    def test_repr_and_pickle(self) -> None:
        store = FsspecStore("memory://x", {"password": "hunter2222"})
        assert "hunter2222" not in repr(store)
        with pytest.raises(UnsupportedError) as caught:
            pickle.dumps(store)
        assert "hunter2222" not in str(caught.value)

    def test_without_options_it_can_be_pickled(self) -> None:
        store = pickle.loads(pickle.dumps(FsspecStore("memory://x")))
        assert store.url == "memory://x"

    def test_url_with_password(self) -> None:
        with pytest.raises(UnsafePathError) as caught:
            FsspecStore("sftp://me:hunter2@host/run")
        assert "hunter2" not in str(caught.value)
