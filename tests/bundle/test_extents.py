"""Reading in pieces: memory that is shared, tensors that are cut, and every byte checked all the same."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from ckptstore.bundle import BundleReader, BundleWriter, extents, fetching
from ckptstore.errors import DataLossError
from ckptstore.storage import LocalStore, MemoryStore, Payload


@pytest.fixture
def store():
    return MemoryStore()


def written(store, items):
    writer = BundleWriter(store, "m")
    writer.add_all(items)
    writer.finish()
    return BundleReader(store, "m")


def flip(store, position, key="m.data-00000-of-00001"):
    data = bytearray(store.get(key)[0])
    data[position] ^= 1
    store.put(key, Payload.of(bytes(data)))


def test_neighbours_share_memory_and_keep_their_values(store):
    items = {f"t{i:03d}": np.full((3, 2), i, np.float32) for i in range(300)}
    found = written(store, items).read(items)
    assert len({id(array.base) for array in found.values()}) == 1
    for name, array in items.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].flags.writeable
        assert found[name].flags.aligned


def test_writing_to_one_of_them_leaves_the_others(store):
    items = {f"t{i}": np.full(4, i) for i in range(5)}
    found = written(store, items).read(items)
    found["t2"][:] = 99
    np.testing.assert_array_equal(found["t1"], items["t1"])
    np.testing.assert_array_equal(found["t3"], items["t3"])


def test_no_array_is_out_of_line(store):
    items = {"a": np.arange(3, dtype=np.uint8), "b": np.arange(5, dtype=np.float64), "c": np.arange(2, dtype=np.int16)}
    found = written(store, items).read(items)
    for name, array in items.items():
        assert found[name].flags.aligned
        np.testing.assert_array_equal(found[name], array)


def test_memory_is_shared_up_to_a_bound(store, monkeypatch):
    monkeypatch.setattr(extents, "_ARENA", 1 << 20)
    monkeypatch.setattr(extents, "SHARED", 1 << 19)
    items = {f"t{i:03d}": np.zeros(8192, np.float32) for i in range(100)}  # 3.1 MiB
    found = written(store, items).read(items)
    bases = {id(array.base): array.base for array in found.values()}
    assert 3 < len(bases) < 10
    assert max(base.nbytes for base in bases.values()) <= 1 << 20


def test_small_tensors_of_some_megabytes_share_one_piece_of_memory(store):
    items = {f"t{i:03d}": np.full(8192, i, np.float32) for i in range(100)}
    found = written(store, items).read(items)
    assert len({id(array.base) for array in found.values()}) == 1
    assert all((found[name] == array).all() for name, array in items.items())


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_tensors_of_all_sizes_and_types_side_by_side(tmp_path, monkeypatch, seed, read_only):
    monkeypatch.setattr(extents, "SHARED", 4096)
    monkeypatch.setattr(extents, "_ARENA", 20_000)
    source = np.random.default_rng(seed)
    types = [np.bool_, np.int8, np.float16, np.float32, np.float64, np.complex128]
    items = {}
    for number in range(600):
        dtype = types[source.integers(len(types) if number % 100 < 50 else 2)]
        shape = tuple(source.integers(0, 7, source.integers(0, 4))) if source.integers(50) else (30_000,)
        items[f"t{source.integers(10**6):06d}"] = source.integers(0, 2, shape).astype(dtype)
    reader = written(LocalStore(tmp_path), items)
    names = [str(name) for name in source.permutation([*items])]
    found = reader.read(names, read_only=read_only)
    assert [*found] == names
    for name, array in items.items():
        np.testing.assert_array_equal(found[name], array)
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].flags.aligned
        assert found[name].flags.writeable is not read_only


def test_large_tensors_are_cut_and_checked_whole(store, monkeypatch):
    monkeypatch.setattr(fetching, "PIECE", 1000)
    items = {"large": np.arange(40_000, dtype=np.float32), "small": np.arange(5), "z": np.arange(70_001, dtype=np.int8)}
    found = written(store, items).read(items)
    for name, array in items.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("at", [0, 999, 1000, 80_000, 159_999])
def test_damage_in_any_piece_of_a_large_tensor_is_found(store, monkeypatch, at):
    monkeypatch.setattr(fetching, "PIECE", 1000)
    reader = written(store, {"large": np.arange(40_000, dtype=np.float32), "other": np.arange(5)})
    flip(store, at)
    reader = BundleReader(store, "m")
    with pytest.raises(DataLossError) as error:
        reader.read(["large", "other"])
    assert (error.value.name, error.value.offset) == ("large", 0)
    assert "data-00000-of-00001" in str(error.value)
    assert set(reader.read(["large"], verify=False)) == {"large"}


def test_damage_among_neighbours_names_the_one_it_hit(store):
    items = {f"t{i:03d}": np.zeros(16, np.float32) for i in range(300)}
    written(store, items)
    flip(store, 64 * 123 + 5)
    with pytest.raises(DataLossError) as error:
        BundleReader(store, "m").read(items)
    assert (error.value.name, error.value.offset) == ("t123", 64 * 123)


@pytest.mark.parametrize("seed", range(20))
def test_any_flipped_bit_among_neighbours_of_all_sizes_is_found_and_placed(store, monkeypatch, seed):
    monkeypatch.setattr(extents, "SHARED", 4096)
    source = np.random.default_rng(seed)
    items = {f"t{n:03d}": source.integers(0, 9, source.integers(0, 900)).astype(np.int16) for n in range(100)}
    reader = written(store, items)
    places = {name: reader.index.get(name) for name in items}
    name = str(source.choice([name for name in items if items[name].size]))
    flip(store, places[name].offset + int(source.integers(places[name].size)))
    wanted = [str(name) for name in source.permutation([*items])]
    with pytest.raises(DataLossError) as error:
        BundleReader(store, "m").read(wanted)
    assert (error.value.name, error.value.offset) == (name, places[name].offset)
    assert [*BundleReader(store, "m").read(wanted, verify=False)] == wanted


def test_two_neighbours_that_changed_places_are_found(store):
    written(store, {f"t{n}": np.full(100, n) for n in range(5)})
    data = bytearray(store.get("m.data-00000-of-00001")[0])
    data[800:1600], data[1600:2400] = data[1600:2400], data[800:1600]
    store.put("m.data-00000-of-00001", Payload.of(bytes(data)))
    with pytest.raises(DataLossError) as error:
        BundleReader(store, "m").read([f"t{n}" for n in range(5)])
    assert error.value.name == "t1"


def test_damage_that_is_gone_at_a_second_look_is_an_error_all_the_same(store, monkeypatch):
    items = {f"t{n}": np.full(100, n) for n in range(5)}
    reader = written(store, items)
    wrong, real = [1], fetching.crc32c
    monkeypatch.setattr(fetching, "crc32c", lambda data: real(data) ^ (wrong.pop() if wrong else 0))
    with pytest.raises(DataLossError, match="memory is failing"):
        reader.read(items)
    assert set(reader.read(items)) == set(items)


def test_arrays_are_made_while_others_read(tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "_AT_ONCE", 2)
    items = {f"t{n:04d}": np.full(2048, n) for n in range(1000)}  # 16 MiB
    reader = written(LocalStore(tmp_path), items)
    reading, made = threading.Event(), threading.Event()
    inner, arrays = reader.files.read_into, extents.Extent.arrays

    def slow(*args):
        reading.set()
        assert made.wait(10)
        inner(*args)

    def watched(extent):
        assert reading.wait(10)
        made.set()
        return arrays(extent)

    monkeypatch.setattr(reader.files, "read_into", slow)
    monkeypatch.setattr(extents.Extent, "arrays", watched)
    found = reader.read(items)
    assert all((found[name] == array).all() for name, array in items.items())


def test_a_checksum_of_nothing_is_checked_too(store):
    reader = written(store, {"empty": np.zeros((0, 3), np.float32), "a": np.zeros(1)})
    assert reader.read(["empty"])["empty"].shape == (0, 3)


def test_pieces_are_read_by_several_threads_where_there_are_cores(tmp_path, monkeypatch):
    store = LocalStore(tmp_path)
    monkeypatch.setattr(fetching, "PIECE", 1 << 16)
    monkeypatch.setattr(fetching, "_AT_ONCE", 2)
    items = {f"t{i}": np.full(1 << 17, i, np.float32) for i in range(4)}
    reader = written(store, items)
    both, threads = threading.Barrier(2, timeout=10), set()
    inner = store.read_into

    def slow(*args, **kwargs):
        if threading.current_thread() not in threads:
            threads.add(threading.current_thread())
            both.wait()
        inner(*args, **kwargs)

    monkeypatch.setattr(store, "read_into", slow)
    found = reader.read(items)
    assert len(threads) == 2
    assert all((found[name] == items[name]).all() for name in items)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ckptstore-read")]
