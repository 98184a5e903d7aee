"""Data shards that the caller begins: TensorFlow's one per device, and none that is empty."""

from __future__ import annotations

import numpy as np
import pytest

from ckptstore.bundle import BundleReader, BundleWriter, Partitioned
from ckptstore.format.slices import slice_key
from ckptstore.storage import LocalStore, MemoryStore
from tests.support.golden import GOLDEN

F = np.float32


def written(store: MemoryStore) -> dict[str, bytes]:
    return {meta.key: store.get(meta.key)[0] for meta in store.list()}


@pytest.mark.parametrize(
    ("case", "prefix"),
    [("06a_sharded_one_device", "part.ckpt"), ("06b_sharded_devices", "sh.ckpt-3"), ("06d_max_shard_size", "mx/ck-1")],
)
def test_a_sharded_save_of_tensorflow_is_rebuilt_to_the_byte(case: str, prefix: str) -> None:
    """In one go, where TensorFlow writes a bundle for each device and merges them."""
    source = LocalStore(GOLDEN / case)
    reader = BundleReader(source, prefix)
    entries = dict(reader.index.entries())
    pieces = {slice_key(key, piece): (key, entry, piece) for key, entry in entries.items() for piece in entry.slices}
    store = MemoryStore()
    writer = BundleWriter(store, prefix)
    stored = sorted((e.shard, e.offset, e.size, key) for key, e in entries.items() if not e.slices)
    shard = 0
    for number, _, _, key in stored:
        if number != shard:
            writer.begin_shard()
            shard = number
        if key in pieces:
            name, full, piece = pieces[key]
            writer.add_slice(name.decode(), full.shape, piece, reader.read_box(name.decode(), piece.box(full.shape)))
        else:
            writer.add(key.decode(), reader.read([key.decode()])[key.decode()])
    writer.finish()
    files = {f"{prefix}.index", *(reader.files.key(n) for n in range(reader.header.num_shards))}
    assert written(store) == {name: source.get(name)[0] for name in files}


def test_a_shard_that_would_be_empty_is_not_made() -> None:
    store = MemoryStore()
    writer = BundleWriter(store, "m")
    writer.begin_shard()
    writer.add("a", F(1))
    writer.begin_shard()
    writer.begin_shard()
    writer.add("b", F(2))
    writer.begin_shard()
    writer.finish()
    assert sorted(written(store)) == ["m.data-00000-of-00002", "m.data-00001-of-00002", "m.index"]
    assert BundleReader(store, "m").read(["a", "b"]) == {"a": 1, "b": 2}


def test_a_tensor_without_elements_makes_a_shard() -> None:
    """TensorFlow's part of that device has an entry, and so is counted."""
    store = MemoryStore()
    writer = BundleWriter(store, "m")
    writer.add("a", np.empty((0, 2), F))
    writer.begin_shard()
    writer.add("b", F(2))
    writer.finish()
    reader = BundleReader(store, "m")
    assert reader.header.num_shards == 2
    assert reader.read(["a", "b"])["a"].shape == (0, 2)


def test_a_shard_that_was_begun_is_split_where_it_grows_too_large() -> None:
    store = MemoryStore()
    writer = BundleWriter(store, "m", max_shard_bytes=8)
    for name in "abc":
        writer.add(name, F(1))
    writer.begin_shard()
    writer.add("d", F(1))
    writer.finish()
    shards = [store.get(f"m.data-0000{n}-of-00003")[0] for n in range(3)]
    assert [len(shard) for shard in shards] == [8, 4, 4]


def test_a_partitioned_tensors_entry_bears_the_shard_of_its_first_piece() -> None:
    writer = BundleWriter(MemoryStore(), "m", max_shard_bytes=8)
    writer.add("a", np.zeros(2, F))
    writer.add("p", Partitioned([4], [("0,2", np.zeros(2, F)), ("2,2", np.ones(2, F))]))
    writer.finish()
    reader = BundleReader(writer._store, "m")
    assert dict(reader.index.entries())[b"p"].shard == 1
    assert reader.read(["p"])["p"].tolist() == [0, 0, 1, 1]


def test_it_can_be_written_once_more_elsewhere() -> None:
    store = MemoryStore()
    writer = BundleWriter(store, "r-1/m")
    writer.add_all({"a": F(1), "b": F(2)})
    writer.finish()
    assert writer.name("m") == "m"
    writer.move(store, "m")
    writer.finish()
    files = written(store)
    assert {key: data for key, data in files.items() if key.startswith("m.")} == {
        key[4:]: data for key, data in files.items() if key.startswith("r-1/")
    }
