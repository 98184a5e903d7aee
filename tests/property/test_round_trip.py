"""Whatever is saved comes back bit for bit, by every way there is."""

from __future__ import annotations

import tempfile

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import ckptstore as ck
from ckptstore.bundle import BundleReader, BundleWriter, LazyArray, V1Source
from ckptstore.format.dtypes import STRING
from ckptstore.format.slices import TensorSlice
from ckptstore.format.table import TableReader
from ckptstore.format.v1 import V1Reader, V1Writer
from ckptstore.storage import MemoryStore, Payload
from tests.property import strategies as own
from tests.property.strategies import bits

UNQUANTISED = [d for d in own.STORABLE if not d.name.startswith(("q", "quint"))]
shard_sizes = st.none() | st.sampled_from([1, 2, 7, 64, 1000, 1 << 30]) | st.integers(1, 5000)


@given(items=st.dictionaries(own.names, own.tensors(UNQUANTISED), min_size=1, max_size=5), max_shard_bytes=shard_sizes)
def test_any_arrays_under_any_names_come_back_from_a_directory(items, max_shard_bytes):
    saved = {name: array for name, (_, array) in items.items()}
    with tempfile.TemporaryDirectory() as directory:
        prefix = ck.save(f"{directory}/m", saved, max_shard_bytes=max_shard_bytes)
        restored = ck.restore(prefix)
        assert {n: bits(a) for n, a in restored.items()} == {n: bits(a) for n, a in saved.items()}
        assert all(a.flags.writeable and a.dtype.isnative for a in restored.values())
        assert ck.verify(prefix).ok
        assert [name for name, _ in ck.list_variables(prefix)] == sorted(saved)


@given(items=st.dictionaries(own.names, own.tensors(), min_size=1, max_size=6), max_shard_bytes=shard_sizes)
def test_any_element_type_comes_back_from_a_bundle(items, max_shard_bytes):
    store = MemoryStore()
    writer = BundleWriter(store, "m", max_shard_bytes=max_shard_bytes)
    for name, (dtype, array) in items.items():
        writer.add(name, array, dtype=dtype)
    writer.finish()
    reader = BundleReader(store, "m")
    assert reader.names() == sorted(items, key=lambda n: n.encode("utf-8", "surrogateescape"))
    for name, array in reader.read(items).items():
        dtype, given_array = items[name]
        info = reader.info(name)
        assert bits(array) == bits(given_array)
        assert (info.dtype, info.shape) == (dtype, given_array.shape)


@given(tensor=own.partitioned(own.STORABLE), data=st.data(), max_shard_bytes=shard_sizes)
def test_any_tiling_reads_back_whole_and_by_any_index(tensor, data, max_shard_bytes):
    dtype, array, pieces = tensor
    store = MemoryStore()
    writer = BundleWriter(store, "m", max_shard_bytes=max_shard_bytes)
    writer.add("t", pieces, dtype=dtype)
    writer.add("other", np.float32(1))
    writer.finish()
    reader = BundleReader(store, "m")
    lazy = LazyArray(reader, reader.info("t"))
    assert reader.names() == ["other", "t"]
    assert bits(np.asarray(lazy)) == bits(array)
    for _ in range(5):
        index = data.draw(hnp.basic_indices(array.shape))
        assert bits(np.asarray(lazy[index], dtype=array.dtype)) == bits(np.asarray(array[index], dtype=array.dtype)), (
            index
        )


@given(tensor=own.tensors(), data=st.data())
def test_any_index_of_a_whole_tensor_is_that_of_numpy(tensor, data):
    dtype, array = tensor
    store = MemoryStore()
    writer = BundleWriter(store, "m")
    writer.add("before", np.arange(3))
    writer.add("t", array, dtype=dtype)
    writer.finish()
    reader = BundleReader(store, "m")
    lazy = LazyArray(reader, reader.info("t"))
    native = np.ascontiguousarray(array).reshape(array.shape).astype(dtype.as_numpy_dtype)
    for _ in range(5):
        index = data.draw(hnp.basic_indices(array.shape, allow_newaxis=True))
        assert bits(np.asarray(lazy[index], dtype=native.dtype)) == bits(
            np.asarray(native[index], dtype=native.dtype)
        ), index


@given(items=st.dictionaries(own.names, own.tensors(own.V1_STORABLE), min_size=1, max_size=4))
def test_any_arrays_of_v1_types_come_back_from_a_v1_file(items):
    items = {name: tensor for name, tensor in items.items() if not any("\ud800" <= c <= "\udfff" for c in name)}
    writer = V1Writer()
    for name, (dtype, array) in items.items():
        writer.add(name.encode(), array, dtype=dtype)
    store = MemoryStore()
    store.put("v1", Payload.of(writer.finish()))
    source = V1Source(store, "v1")
    assert sorted(source.names()) == sorted(items)
    restored = source.read(items)
    for name, (dtype, array) in items.items():
        assert bits(restored[name]) == bits(array)
        assert source.info(name).dtype is dtype


@given(tensor=own.partitioned(own.V1_STORABLE), data=st.data())
def test_any_tiling_of_v1_types_reads_back_from_several_files_by_any_index(tensor, data):
    dtype, array, pieces = tensor
    writers = [V1Writer(), V1Writer()]
    for number, (piece, part) in enumerate(pieces.pieces):
        writers[number % 2].add_slice(b"t", pieces.shape, piece, part, dtype=dtype)
    for writer in writers:
        writer.add(f"other{id(writer)}".encode(), 1.0)
    store = MemoryStore()
    for number, writer in enumerate(writers):
        store.put(f"v1-{number:05}-of-00002", Payload.of(writer.finish()))
    source = V1Source(store, "v1-?????-of-00002")
    lazy = LazyArray(source, source.info("t"))
    assert bits(np.asarray(lazy)) == bits(array)
    for _ in range(5):
        index = data.draw(hnp.basic_indices(array.shape))
        assert bits(np.asarray(lazy[index], dtype=array.dtype)) == bits(np.asarray(array[index], dtype=array.dtype)), (
            index
        )


@given(shape=own.shapes(3, min_side=1), data=st.data())
def test_any_slice_of_any_tiling_is_what_the_v1_reader_puts_together(shape, data):
    array = np.arange(np.prod(shape, dtype=int), dtype=np.int64).reshape(shape)
    writer = V1Writer()
    for box in data.draw(own.tilings(shape)):
        piece = TensorSlice(tuple((a, b - a) for a, b in box))
        writer.add_slice(b"t", shape, piece, array[tuple(slice(a, b) for a, b in box)])
    reader = V1Reader([TableReader.from_bytes(writer.finish())])
    box = [sorted((data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, n - 1)))) for n in shape]
    wanted = TensorSlice(tuple((a, b - a + 1) for a, b in box))
    assert bits(reader.read(b"t", wanted)) == bits(array[tuple(slice(a, b + 1) for a, b in box)])


@given(items=st.dictionaries(own.names, own.tensors([STRING]), min_size=1, max_size=3), step=st.integers(0, 2**63 - 1))
def test_any_step_of_a_manager_comes_back_with_what_was_said_of_it(items, step):
    saved = {name: array for name, (_, array) in items.items()}
    with tempfile.TemporaryDirectory() as directory, ck.CheckpointManager(directory) as manager:
        manager.save(step, saved, metrics={"loss": 0.5}, metadata={"é": [1, None, "\ud800"]})
        found, restored = manager.restore_or_initialize(dict)
        assert found == step
        assert {n: bits(a) for n, a in restored.items()} == {n: bits(a) for n, a in saved.items()}
        assert manager.metrics() == {"loss": 0.5}
        assert manager.metadata() == {"é": [1, None, "\ud800"]}
