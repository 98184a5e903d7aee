"""V1 checkpoints as they go to a store: TensorFlow's files to the byte, and what cannot be one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ckptstore.bundle import Partitioned, TensorSink, V1BundleWriter, V1Source
from ckptstore.errors import IncompatibleTensorError, InvalidArgumentError
from ckptstore.format.slices import TensorSlice
from ckptstore.format.table import TableReader
from ckptstore.format.v1 import V1Reader
from ckptstore.storage import LocalStore, MemoryStore
from ckptstore.testing import FaultyStore
from tests.support.golden import GOLDEN

F = np.float32
CASES = [
    ("09a_v1_basic", "model.ckpt", ["model.ckpt"]),
    ("09b_v1_dtypes", "all.v1", ["all.v1"]),
    ("09c_v1_partitioned", "part.ckpt", ["part.ckpt"]),
    ("09d_v1_sharded", "sh.ckpt-3", [f"sh.ckpt-3-0000{n}-of-00004" for n in range(4)]),
]


def written(store: MemoryStore) -> dict[str, bytes]:
    return {meta.key: store.get(meta.key)[0] for meta in store.list()}


@pytest.mark.parametrize(("case", "prefix", "files"), CASES)
def test_what_tensorflow_wrote_is_rebuilt_to_the_byte(case: str, prefix: str, files: list[str]) -> None:
    source = LocalStore(GOLDEN / case)
    data = {name: source.get(name)[0] for name in files}
    store = MemoryStore()
    writer = V1BundleWriter(store, prefix, sharded=len(files) > 1)
    for name in files:
        if writer:
            writer.begin_shard()
        reader = V1Reader([TableReader.from_bytes(data[name])])
        for tensor in reader.tensors.values():
            for piece in tensor.slices:
                value = reader.read(tensor.name, piece)
                dtype = tensor.dtype if value.dtype != object else None
                if piece == TensorSlice.whole(len(tensor.shape)):
                    writer.add(tensor.name.decode(), value, dtype=dtype)
                else:
                    writer.add_slice(tensor.name.decode(), tensor.shape, piece, value, dtype=dtype)
    writer.finish()
    assert written(store) == data


def test_the_name_is_what_tensorflow_puts_into_the_state_file() -> None:
    plain = V1BundleWriter(MemoryStore(), "")
    assert plain.name("d/m-1") == "d/m-1"
    with pytest.raises(InvalidArgumentError, match="pattern"):
        plain.name("m-?????-of-00002")
    sharded = V1BundleWriter(MemoryStore(), "", sharded=True)
    for name in "ab":
        sharded.begin_shard()
        sharded.add(name, F(1))
    assert sharded.name("m-1") == "m-1-?????-of-00002"
    sink: TensorSink = sharded
    sink.move(MemoryStore(), "m-1")


@pytest.mark.parametrize("shards", [1, 3])
def test_the_last_file_comes_last(shards: int) -> None:
    """Without it nobody takes the others for a checkpoint."""
    store = FaultyStore(MemoryStore())
    writer = V1BundleWriter(store, "m", sharded=shards > 1)
    for number in range(shards):
        if number:
            writer.begin_shard()
        writer.add(f"t{number}", F(number))
    assert [meta.key for meta in writer.write_data()] == [f"m-0000{n}-of-0000{shards}" for n in range(shards - 1)]
    assert writer.write_index().key == ("m" if shards == 1 else f"m-0000{shards - 1}-of-0000{shards}")
    assert V1Source(store, writer.name("m")).names() == [f"t{n}" for n in range(shards)]


def test_one_shard_is_still_named_as_a_shard() -> None:
    store = MemoryStore()
    writer = V1BundleWriter(store, "m", sharded=True)
    writer.begin_shard()
    writer.add("a", F(1))
    writer.begin_shard()
    writer.finish()
    assert list(written(store)) == ["m-00000-of-00001"]


def test_it_can_be_written_once_more_elsewhere() -> None:
    store = MemoryStore()
    writer = V1BundleWriter(store, "r-1/m")
    writer.add_all({"b": F(2), "a": F(1)})
    writer.finish()
    writer.move(store, "m")
    writer.finish()
    assert store.get("m")[0] == store.get("r-1/m")[0]


def test_pieces_of_one_tensor_may_be_in_several_shards() -> None:
    store = MemoryStore()
    writer = V1BundleWriter(store, "m", sharded=True)
    writer.add_slice("p", (4,), TensorSlice.parse("0,2"), np.zeros(2, F))
    writer.begin_shard()
    writer.add_slice("p", (4,), TensorSlice.parse("2,2"), np.ones(2, F))
    writer.add("q", Partitioned([2], [("0,1", np.ones(1, F)), ("1,1", np.ones(1, F))]))
    writer.finish()
    assert len(writer) == 2
    found = V1Source(store, "m-?????-of-00002").read(["p", "q"])
    assert found["p"].tolist() == [0, 0, 1, 1]


WHOLE = TensorSlice.whole(1)
HALF = TensorSlice.parse("0,2")


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    ("shape", "piece", "value"),
    [
        ((4,), HALF, np.zeros(2, F)),  # the same piece
        ((4,), TensorSlice.parse("2,2"), np.zeros(2, np.int32)),  # another type
        ((5,), TensorSlice.parse("2,2"), np.zeros(2, F)),  # another shape
        ((4,), WHOLE, np.zeros(4, F)),  # the whole beside a piece
    ],
)
def test_pieces_that_contradict_each_other_are_refused(
    apart: bool, shape: tuple[int, ...], piece: TensorSlice, value: np.ndarray[Any, Any]
) -> None:
    store = MemoryStore()
    writer = V1BundleWriter(store, "m", sharded=True)
    writer.add_slice("p", (4,), HALF, np.zeros(2, F))
    if apart:
        writer.begin_shard()
    with pytest.raises(IncompatibleTensorError, match="before"):
        writer.add_slice("p", shape, piece, value)
    writer.finish()
    assert list(written(store)) == ["m-00000-of-00001"]  # what was refused began no shard


@pytest.mark.parametrize("apart", [False, True])
def test_a_name_is_used_once(apart: bool) -> None:
    writer = V1BundleWriter(MemoryStore(), "m", sharded=True)
    writer.add("a", F(1))
    if apart:
        writer.begin_shard()
    with pytest.raises(InvalidArgumentError, match="differ"):
        writer.add("a", F(1))


@pytest.mark.parametrize("name", ["", 3, None, "\udc80"])
def test_names_that_it_cannot_hold(name: Any) -> None:
    with pytest.raises(InvalidArgumentError):
        V1BundleWriter(MemoryStore(), "m").add(name, F(1))


def test_types_that_it_cannot_hold() -> None:
    with pytest.raises(IncompatibleTensorError, match="V2"):
        V1BundleWriter(MemoryStore(), "m").add("a", np.uint64(1))
    with pytest.raises(IncompatibleTensorError, match="no pieces"):
        V1BundleWriter(MemoryStore(), "m").add("a", Partitioned([0], []))


def test_nothing_is_no_checkpoint() -> None:
    with pytest.raises(InvalidArgumentError, match="nothing to save"):
        V1BundleWriter(MemoryStore(), "m").finish()


def test_one_file_has_no_shards() -> None:
    with pytest.raises(InvalidArgumentError, match="sharded=True"):
        V1BundleWriter(MemoryStore(), "m").begin_shard()
