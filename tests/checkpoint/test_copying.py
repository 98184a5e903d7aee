"""Copies between stores that fail, tensor by tensor and file by file."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptstore as ck
from ckptstore.bundle import BundleReader, BundleWriter, stream
from ckptstore.checkpoint.copying import Source, copy_files, copy_tensors
from ckptstore.checkpoint.publication import Publication
from ckptstore.checkpoint.selection import select_names
from ckptstore.storage import LocalStore, MemoryStore, Payload, Store, TransferStore
from ckptstore.testing import CrashError, Fault, FaultyStore
from tests.support.golden import GOLDEN, same_bits

ITEMS = {
    "a": np.arange(3000.0),
    "b/w": ck.Partitioned.split(np.arange(400, dtype=np.int32).reshape(40, 10), 3),
    "b/words": np.array([b"x" * 700, b"", b"yz"], object),
    "empty": np.zeros((0, 3)),
    "z": np.array(True),
}


def saved(store: Store, prefix: str = "m", **kwargs: Any) -> Store:
    writer = BundleWriter(store, prefix, **kwargs)
    writer.add_all(ITEMS)
    writer.finish()
    return store


def contents(store: Store) -> dict[str, bytes]:
    return {meta.key: store.get(meta.key)[0] for meta in store.list()}


@pytest.fixture(params=[1 << 25, 1000, 7], ids=str)
def _any_piece(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "PIECE", request.param)


@pytest.mark.usefixtures("_any_piece")
@pytest.mark.parametrize("max_shard_bytes", [None, 2000, 1])
def test_the_same_bytes_whatever_the_pieces(max_shard_bytes: int | None, tmp_path: Path) -> None:
    source = saved(MemoryStore(), max_shard_bytes=max_shard_bytes)
    for target in (MemoryStore(), LocalStore(str(tmp_path), durable=False)):
        progress: list[tuple[int, int]] = []
        copied = copy_files(
            Source.open(source, "m"), Publication(target, "m"), lambda *at, seen=progress: seen.append(at)
        )
        assert contents(target) == contents(source)
        assert copied.tensors == len(ITEMS)
        assert copied.files[-1].endswith("m.index")
        assert progress[-1][0] == progress[-1][1] > 0


@pytest.mark.usefixtures("_any_piece")
def test_every_flipped_bit_is_found_and_nothing_is_left(tmp_path: Path) -> None:
    source = saved(MemoryStore())
    data = source.get("m.data-00000-of-00001")[0]
    for position in range(0, len(data), 997):
        broken = bytearray(data)
        broken[position] ^= 4
        source.put("m.data-00000-of-00001", Payload.of(bytes(broken)))
        for number, target in enumerate([MemoryStore(), LocalStore(str(tmp_path), durable=False)]):
            with pytest.raises(ck.DataLossError) as caught:
                copy_files(Source.open(source, "m"), Publication(target, "m"))
            assert caught.value.name in ITEMS
            assert caught.value.path == source.path("m.data-00000-of-00001")
            with pytest.raises(ck.DataLossError):
                copy_tensors(Source.open(source, "m"), Publication(target, "n"), lambda names: {n: n for n in names})
            assert not contents(target), number
            assert not list(target.unfinished())


def test_a_multipart_upload_of_damaged_bytes_is_aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "PIECE", 4000)
    source = saved(MemoryStore())
    data = bytearray(source.get("m.data-00000-of-00001")[0])
    inner = MemoryStore(multipart=True, min_part_size=1)
    target = TransferStore(inner, part_size=2000)
    copy_files(Source.open(source, "m"), Publication(target, "m"))
    assert contents(inner) == contents(source)
    data[-1] ^= 1
    source.put("m.data-00000-of-00001", Payload.of(data))
    with pytest.raises(ck.DataLossError):
        copy_files(Source.open(source, "m"), Publication(target, "n"))
    assert not inner.pending_uploads
    assert not list(inner.list("n"))


@pytest.mark.parametrize("when", ["before", "after", "crash"])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["files", "tensors"])
def test_a_store_that_fails_shows_no_checkpoint(when: Any, number: int, kind: str) -> None:
    source = saved(MemoryStore(), max_shard_bytes=2500)
    inner = MemoryStore()
    inner.put("other.index", Payload.of(b"somebody else's"))
    faulty = FaultyStore(inner, [Fault("create", number, when=when)])
    target = Publication(faulty, "m")
    opened = Source.open(source, "m")
    try:
        if kind == "files":
            copy_files(opened, target)
        else:
            copy_tensors(opened, target, lambda names: {name: f"new/{name}" for name in names})
    except (ck.StorageUnavailableError, CrashError):
        left = set(contents(inner)) - {"other.index"}
        assert "m.index" not in left
        if when != "crash":
            assert not left
    else:
        assert number > faulty.count("create")
        assert BundleReader(inner, "m").names()
    assert inner.get("other.index")[0] == b"somebody else's"


def test_what_cannot_be_deleted_is_no_checkpoint() -> None:
    source = saved(MemoryStore(), max_shard_bytes=2500)
    inner = MemoryStore()
    faulty = FaultyStore(inner, [Fault("create", 3), Fault("delete_versions", times=9), Fault("delete", times=9)])
    with pytest.raises(ck.StorageUnavailableError, match="create"):
        copy_files(Source.open(source, "m"), Publication(faulty, "m"))
    assert contents(inner)
    assert "m.index" not in contents(inner)


@pytest.mark.usefixtures("_any_piece")
def test_a_file_system_that_cannot_create() -> None:
    source, inner = saved(MemoryStore()), MemoryStore()
    faulty = FaultyStore(inner, [Fault("create", times=9, error=ck.UnsupportedError("no hard links"))])
    copy_files(Source.open(source, "m"), Publication(faulty, "m"))
    assert contents(inner) == contents(source)
    faulty.plan.append(Fault("put", 4))
    with pytest.raises(ck.StorageUnavailableError):
        copy_files(Source.open(source, "m"), Publication(faulty, "n"))
    assert contents(inner) == contents(source)


@pytest.mark.usefixtures("_any_piece")
@pytest.mark.parametrize("case", ["ok_plain", "big_endian", "gap_between_tensors", "snappy_blocks"])
def test_what_other_writers_write(case: str) -> None:
    source, target = LocalStore(str(GOLDEN / "20_hand_made" / case)), MemoryStore()
    opened = Source.open(source, "c")
    copy_files(opened, Publication(target, "c"))
    assert contents(target).items() <= contents(source).items()
    copy_tensors(opened, Publication(target, "n"), lambda names: {name: f"n/{name}" for name in names})
    old, new = BundleReader(source, "c"), BundleReader(target, "n")
    for name, value in old.read(old.names()).items():
        assert same_bits(new.read([f"n/{name}"])[f"n/{name}"], value)


def test_files_of_somebody_else_stay() -> None:
    source, inner = saved(MemoryStore()), MemoryStore()
    target = Publication(inner, "m")
    target.claim()
    inner.put("m.index", Payload.of(b"theirs"))
    with pytest.raises(ck.CheckpointExistsError, match="meanwhile"):
        copy_files(Source.open(source, "m"), target)
    assert contents(inner) == {"m.index": b"theirs"}


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "PIECE", 1 << 20)
    source = LocalStore(str(tmp_path / "a"), durable=False)
    writer = BundleWriter(source, "m")
    big = np.arange(8 << 20, dtype=np.float64)
    writer.add_all({"big": big, "small": np.ones(3)})
    writer.finish()
    target = LocalStore(str(tmp_path / "b"), durable=False)
    tracemalloc.start()
    try:
        copy_files(Source.open(source, "m"), Publication(target, "m"))
        copy_tensors(Source.open(source, "m"), Publication(target, "n"), lambda _: {"big": "x", "small": "a"})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < big.nbytes / 3  # 16 MiB go to a local disk at once
    np.testing.assert_array_equal(BundleReader(target, "n").read(["x"])["x"], big)


def test_an_index_that_lies() -> None:
    for case in ("data_missing", "data_truncated", "size_field_wrong", "slices_overlap", "index_truncated"):
        source, inner = LocalStore(str(GOLDEN / "20_hand_made" / case)), MemoryStore()
        for kind in (copy_files, lambda s, t: copy_tensors(s, t, lambda names: {n: n for n in names})):
            with pytest.raises(ck.DataLossError):
                kind(Source.open(source, "c"), Publication(inner, "c"))
        assert not contents(inner), case


@pytest.mark.parametrize("name", ["checkpoint", "m.index", "m.meta", "m.data-00000-of-00001"])
def test_names_that_no_checkpoint_can_have(name: str) -> None:
    with pytest.raises(ck.InvalidArgumentError):
        Publication(MemoryStore(), name)


# -- which tensors, under which names

NAMES = ["a/b", "a/c", "a/d/e", "ab", "x"]


@pytest.mark.parametrize(
    ("kwargs", "want"),
    [
        ({"rename": {"x": "y"}}, {"a/b": "a/b", "a/c": "a/c", "a/d/e": "a/d/e", "ab": "ab", "x": "y"}),
        ({"rename": {"a/": "n/"}}, {"a/b": "n/b", "a/c": "n/c", "a/d/e": "n/d/e", "ab": "ab", "x": "x"}),
        (
            {"rename": {"a/": "n/", "a/d/": "m/", "a/b": "q"}, "include": "a/*"},
            {"a/b": "q", "a/c": "n/c", "a/d/e": "m/e"},
        ),
        ({"rename": {"/": "n/"}, "exclude": ["a/*"]}, {"ab": "n/ab", "x": "n/x"}),
        ({"rename": {"a/": "/"}, "include": ["a/?"]}, {"a/b": "b", "a/c": "c"}),
        ({"rename": {"a/b": "x", "x": "a/b"}, "include": ["a/b", "x"]}, {"a/b": "x", "x": "a/b"}),
    ],
)  # fmt: skip
def test_selection(kwargs: Any, want: dict[str, str]) -> None:
    assert select_names(NAMES, **kwargs) == want


@pytest.mark.parametrize(
    ("kwargs", "error", "words"),
    [
        ({"rename": {"a/b": "a/c"}}, ck.InvalidArgumentError, "Both"),
        ({"rename": {"a/": "/", "ab": "b"}}, ck.InvalidArgumentError, "'b'"),
        ({"rename": {"a/bb": "c", "q/": "r/"}}, ck.TensorNotFoundError, "near: 'a/b'"),
        ({"rename": {"a/": "b"}}, ck.InvalidArgumentError, "scope"),
        ({"rename": {"x": "y/"}}, ck.InvalidArgumentError, "give a name"),
        ({"rename": {"x": np.ones(1)}}, ck.InvalidArgumentError, "name only"),
        ({"rename": {"x": "y"}, "exclude": "x"}, ck.InvalidArgumentError, "left out"),
        ({"include": "nothing*"}, ck.InvalidArgumentError, "No tensor"),
        ({"exclude": "*"}, ck.InvalidArgumentError, "No tensor"),
    ],
)
def test_selections_that_cannot_be_meant(kwargs: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        select_names(NAMES, path="p", **kwargs)
    if error is ck.TensorNotFoundError:
        assert caught.value.missing == ("q/", "a/bb")
        assert "strict" not in str(caught.value)


def test_an_object_graph_stays_with_all_its_tensors() -> None:
    names = [*NAMES, "_CHECKPOINTABLE_OBJECT_GRAPH"]
    assert len(select_names(names, exclude="none*")) == len(names)
    for kwargs in ({"rename": {"x": "y"}}, {"exclude": "x"}):
        with pytest.raises(ck.UnsupportedError, match="--exclude _CHECKPOINTABLE"):
            select_names(names, **kwargs)
    assert "y" in select_names(names, rename={"x": "y"}, exclude="_CHECK*").values()
