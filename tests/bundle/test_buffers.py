"""What is written of many arrays: every byte once, small ones joined, and nothing kept."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from ckptstore.bundle import BundleReader, BundleWriter, Partitioned, builder
from ckptstore.bundle.buffers import Buffers
from ckptstore.bundle.builder import BundleBuilder
from ckptstore.errors import IncompatibleTensorError, InvalidArgumentError
from ckptstore.format.dtypes import DTYPES
from ckptstore.storage import from_url
from ckptstore.storage._memory import MemoryStore


def test_buffers_are_the_bytes_in_order_any_number_of_times():
    large = np.arange(3, dtype=np.int64)
    small = [np.full((2, 3), n % 1000, np.int16) for n in range(300_000)]
    buffers = Buffers()
    buffers.extend([memoryview(large).cast("B"), memoryview(b"")])
    buffers.extend_small(small, 12 * len(small))
    buffers.extend([memoryview(b"end")])
    expected = large.tobytes() + b"".join(array.tobytes() for array in small) + b"end"
    assert buffers.nbytes == len(expected)
    for _ in range(2):
        views = [*buffers]
        assert b"".join(views) == expected
        assert all(view.nbytes for view in views)
        assert len(views) == 2 + -(-12 * len(small) // (1 << 20))
    assert buffers.payload().nbytes == len(expected)
    assert b"".join(buffers.payload().buffers) == expected
    assert buffers.payload().tobytes() == expected
    assert b"".join(buffers.payload().part(20, 50).buffers) == expected[20:50]


def _one_by_one(items) -> tuple[bytes, bytes]:
    return _written(items, lambda writer: [writer.add(name, value) for name, value in items.items()])


def _at_once(items) -> tuple[bytes, bytes]:
    return _written(items, lambda writer: writer.add_all(items))


def _written(items, add, **options) -> tuple[bytes, bytes]:
    store = MemoryStore()
    writer = BundleWriter(store, "m", **options)
    add(writer)
    writer.finish()
    return store.get("m.data-00000-of-00001")[0], store.get("m.index")[0]


def _items(count: int):
    kinds = [
        lambda n: np.full(n % 5 + 1, n, np.float32),
        lambda n: np.full((2, n % 3), n, np.int64),  # some are empty
        np.float64,
        lambda n: f"text {n}",
        lambda n: np.asfortranarray(np.full((2, 3), n, np.int32)),
        lambda n: np.full(20_000, n, np.uint64),  # large
        lambda n: np.full(3, n, ">f4"),
        lambda n: np.array(n % 2 == 0),
    ]
    return {f"layer_{n:05d}/part": kinds[min(n % 40, 7) if n % 7 == 0 else 0](n) for n in range(count)}


@pytest.mark.parametrize("count", [1, 15, 16, 17, 300, 3000])
def test_adding_all_comes_to_the_same_bytes_as_adding_each(count):
    items = _items(count)
    assert _at_once(items) == _one_by_one(items)
    backwards = dict(reversed(items.items()))
    assert _at_once(backwards) == _one_by_one(backwards)


@pytest.mark.parametrize("alike", [True, False])
def test_plain_arrays_come_to_the_same_bytes_too(alike):
    kinds = [(np.float32, (3, 4)), (np.int8, (3, 4)), (np.float32, (12,)), (np.float32, ())]
    items = {
        f"t{n:04d}": np.full(kinds[0 if alike else n % 4][1], n % 99, kinds[0 if alike else n % 4][0])
        for n in range(500)
    }
    assert _at_once(items) == _one_by_one(items)


KINDS = [*dict.fromkeys(dtype.numpy for dtype in DTYPES if dtype.itemsize)]


@pytest.mark.parametrize("kinds", [*([kind] for kind in KINDS), KINDS], ids=lambda k: "all" if k[1:] else str(k[0]))
def test_arrays_of_every_type_come_to_the_bytes_of_arrays_that_are_not_contiguous(kinds):
    """Whose bytes are taken from a copy."""
    items = {f"t{n:04d}": np.array([n % 2, -1, 0]).astype(kinds[n % len(kinds)]) for n in range(99)}
    apart = {name: np.repeat(array, 2)[::2] for name, array in items.items()}
    assert _at_once(items) == _one_by_one(items) == _one_by_one(apart)


def test_an_index_that_failed_is_made_again_with_every_checksum(monkeypatch):
    made = []
    for fails in (True, False):
        bundle = BundleBuilder()
        bundle.add_all({f"{n:04d}": np.full(10, n, np.float32) for n in range(3000)} | {"x": np.ones(20_000)})
        with monkeypatch.context() as patch:
            if fails:
                patch.setattr(builder, "mask_all", lambda crcs: 1 / 0)
                with pytest.raises(ZeroDivisionError):
                    bundle.prepare_index()
        made.append(bundle.index())
    assert made[0] == made[1]


def test_many_small_tensors_come_back(tmp_path):
    items = _items(3000)
    with from_url(tmp_path) as store:
        writer = BundleWriter(store, "m")
        writer.add_all(items)
        writer.finish()
        for read_only in (False, True):
            found = BundleReader(store, "m").read([*items], read_only=read_only)
            for name, value in items.items():
                expected = np.array(value.encode(), object) if isinstance(value, str) else np.asarray(value)
                np.testing.assert_array_equal(found[name], expected)


def test_several_shards_are_cut_as_one_by_one():
    items = {f"{n:04d}": np.full(100, n, np.float32) for n in range(100)}
    store = MemoryStore()
    writer = BundleWriter(store, "m", max_shard_bytes=4000)
    writer.add_all(items)
    writer.finish()
    assert len(writer.shards) == 10
    found = BundleReader(store, "m").read([*items])
    assert all((found[name] == value).all() for name, value in items.items())


@pytest.mark.parametrize("name", ["", 3, "\ud800"])
def test_a_name_among_many_that_is_none_is_refused(name):
    items = {f"{n:04d}": np.full(10, n, np.float32) for n in range(100)} | {name: np.zeros(1, np.float32)}
    with pytest.raises(InvalidArgumentError):
        BundleWriter(MemoryStore(), "m").add_all(items)


def test_a_name_among_many_that_is_there_already_is_refused_by_name():
    items = {f"{n:04d}": np.full(10, n, np.float32) for n in range(100)}
    writer = BundleWriter(MemoryStore(), "m")
    writer.add("0042", 1.0)
    with pytest.raises(InvalidArgumentError, match="'0042'"):
        writer.add_all(items)


def test_small_tensors_beside_a_partitioned_one():
    table = np.arange(20, dtype=np.float32).reshape(10, 2)
    items = {"a": Partitioned.split(table, 3)} | {f"{n:04d}": np.full(10, n, np.float32) for n in range(100)}
    store = MemoryStore()
    writer = BundleWriter(store, "m")
    writer.add_all(items)
    with pytest.raises(InvalidArgumentError, match="'a'"):
        writer.add_all({f"b{n}": np.zeros(1) for n in range(20)} | {"a": np.zeros(1)})
    writer = BundleWriter(store, "m")
    writer.add_all(items)
    writer.finish()
    found = BundleReader(store, "m").read([*items])
    np.testing.assert_array_equal(found["a"], table)
    assert all((found[f"{n:04d}"] == n).all() for n in range(100))


def test_two_names_of_the_same_bytes_are_refused():
    items = {f"{n:04d}": np.full(10, n, np.float32) for n in range(100)}
    twice = items | {"\u00e9": np.zeros(1, np.float32), "\udcc3\udca9": np.zeros(1, np.float32)}
    with pytest.raises(InvalidArgumentError, match="names must differ"):
        BundleWriter(MemoryStore(), "m").add_all(twice)


def test_what_cannot_be_stored_among_many_is_named():
    items = {f"{n:04d}": np.full(10, n, np.float32) for n in range(100)} | {"bad": np.zeros(2, "datetime64[s]")}
    with pytest.raises(IncompatibleTensorError, match="'bad'"):
        BundleWriter(MemoryStore(), "m").add_all(items)


def test_writing_many_small_tensors_takes_little_memory(tmp_path):
    items = {f"{n:05d}": np.full(16_000, n, np.float32) for n in range(600)}  # 37 MiB
    with from_url(tmp_path) as store:
        writer = BundleWriter(store, "m")
        writer.add_all(items)
        tracemalloc.start()
        try:
            writer.finish()
            assert tracemalloc.get_traced_memory()[1] < 4 << 20
        finally:
            tracemalloc.stop()
        assert writer.shards[0].nbytes == sum(array.nbytes for array in items.values())
