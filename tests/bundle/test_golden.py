"""What TensorFlow wrote: read equal, and written again to the byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ckptstore.bundle import BundleBuilder, BundleReader, merge_indexes
from ckptstore.checkpoint import CheckpointReader, open_source
from ckptstore.errors import DataLossError, UnsupportedError
from ckptstore.format.dtypes import STRING
from ckptstore.format.slices import slice_key
from ckptstore.format.table import TableReader, TableWriter
from ckptstore.storage import LocalStore
from tests.support.golden import GOLDEN, Expected, expected_tensors, index_files, same_bits

EXPECTED = list(expected_tensors())


def _id(value: object) -> str:
    return f"{value.case}-{value.name[:30]!a}" if isinstance(value, Expected) else str(value)


@pytest.mark.parametrize("expected", EXPECTED, ids=_id)
def test_every_tensor_reads_equal(expected: Expected) -> None:
    reader = CheckpointReader(open_source(LocalStore(GOLDEN / expected.case), expected.prefix))
    info = reader.info(expected.name)
    assert (info.dtype.name, info.shape) == (expected.dtype, expected.value.shape)
    got = np.asarray(reader[expected.name])
    assert same_bits(got, expected.value), (got, expected.value)
    assert same_bits(np.asarray(reader[expected.name][...]), expected.value)


def test_enough_was_recorded() -> None:
    assert len(EXPECTED) > 240
    assert len(index_files()) > 60


def _reader(index: Path) -> BundleReader:
    return BundleReader(LocalStore(index.parent), index.name.removesuffix(".index"))


@pytest.mark.parametrize("index", index_files(), ids=lambda p: str(p.relative_to(GOLDEN)))
def test_index_and_data_are_rebuilt_to_the_byte(index: Path) -> None:
    """From nothing but names, values and the shard each tensor was in."""
    reader = _reader(index)
    entries = dict(reader.index.entries())
    pieces = {slice_key(key, piece): (key, entry, piece) for key, entry in entries.items() for piece in entry.slices}
    builders = [BundleBuilder() for _ in range(reader.header.num_shards)]
    # tensors of no bytes lie at the same offset as the next one: the index does not tell their order, and it is free
    for key, entry in sorted(entries.items(), key=lambda item: (item[1].shard, item[1].offset, item[1].size)):
        if entry.slices:
            continue
        builder = builders[entry.shard]
        if key in pieces:
            name, full, piece = pieces[key]
            box = piece.box(full.shape)
            value = reader.read_box(name.decode("utf-8", "surrogateescape"), box)
            builder.add_slice(name.decode("utf-8", "surrogateescape"), full.shape, piece, value)
            continue
        name = key.decode("utf-8", "surrogateescape")
        if entry.dtype.numpy is None:
            builder.add_encoded(name, reader.raw(name)[0])
        else:
            dtype = None if entry.dtype == STRING else entry.dtype
            builder.add(name, reader.read([name])[name], dtype=dtype)
    parts = [builder.index() for builder in builders]
    if len(parts) == 1:
        assert parts[0] == index.read_bytes()
    else:
        merged = merge_indexes(parts)
        assert [part for part, _ in merged.shards] == list(range(len(parts)))
        assert merged.index == index.read_bytes()
    for shard, builder in enumerate(builders):
        assert b"".join(builder.shards[0]) == (index.parent / reader.files.key(shard)).read_bytes()


@pytest.mark.parametrize("index", index_files(), ids=lambda p: str(p.relative_to(GOLDEN)))
def test_tables_are_rebuilt_to_the_byte(index: Path) -> None:
    data = index.read_bytes()
    table = TableWriter()
    for key, value in TableReader.from_bytes(data):
        table.add(key, value)
    assert table.finish() == data


def test_parts_merge_as_tensorflow_merges_them() -> None:
    case = GOLDEN / "06c_parts_unmerged"
    parts = [f"part-0000{i}-of-00002{x}" for x in ("", "x") for i in (0, 1)]
    before = case / "m_temp_before_merge"
    merged = merge_indexes([(before / f"{part}.index").read_bytes() for part in parts])
    assert merged.index == (case / "m.index").read_bytes()
    for number, (part, shard) in enumerate(merged.shards):
        source = before / f"{parts[part]}.data-0000{shard}-of-00001"
        assert source.read_bytes() == (case / f"m.data-0000{number}-of-00004").read_bytes()


def test_every_value_of_the_large_indexes() -> None:
    reader = _reader(GOLDEN / "13a_large_index" / "big.index")
    values = reader.read(reader.names())
    assert {name: float(v) for name, v in values.items()} == {f"layer_{i:04d}/w": i * 0.5 for i in range(5000)}
    reader = _reader(GOLDEN / "13b_large_index_blocks" / "big.index")
    values = reader.read(reader.names())
    assert len(values) == 5000
    assert all(int(v) == int(name.rpartition("/")[2]) for name, v in values.items())


def test_a_hole_between_slices_is_an_error_and_its_pieces_are_readable() -> None:
    reader = _reader(GOLDEN / "05c_slices_raw" / "raw.index")
    with pytest.raises(DataLossError, match="hole.*cover 12 of 24") as caught:
        reader.read(["hole"])
    assert caught.value.name == "hole"
    assert reader.read_box("hole", ((3, 4), (0, 6))).tolist() == [[18, 19, 20, 21, 22, 23]]


def test_variants_are_listed_and_carried_but_not_read() -> None:
    reader = CheckpointReader(open_source(LocalStore(GOLDEN / "02b_variant"), "variant"))
    assert list(reader) == ["list", "plain"]
    assert reader.info("list").dtype.name == "variant"
    with pytest.raises(UnsupportedError, match="variant"):
        reader.get_tensor("list")
    with pytest.raises(UnsupportedError, match="'list' is of type variant.*strict=False"):
        reader.restore()
    assert list(reader.restore(strict=False)) == ["plain"]


def test_the_readers_own_words() -> None:
    """Shapes, types and names agree with what TensorFlow's CheckpointReader says."""
    compared = 0
    for expected in {(e.case, e.prefix): e for e in EXPECTED}.values():
        from tests.support.golden import expectation

        said = expectation(expected.case).get("reader")
        if said is None or said["prefix"] != expected.prefix:
            continue
        reader = CheckpointReader(open_source(LocalStore(GOLDEN / expected.case), expected.prefix))
        shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
        assert [[name, shapes[name], dtypes[name].name] for name in sorted(shapes)] == said["variables"]
        compared += 1
    assert compared >= 15


def test_names_in_any_order_decode_each_block_once() -> None:
    """A restore in the order of a hash once took a whole block apart for every tensor."""
    reader = _reader(GOLDEN / "13b_large_index_blocks" / "big.index")
    loaded: list[tuple[int, int]] = []
    load = reader.index._table._load
    reader.index._table._load = lambda handle: loaded.append(handle) or load(handle)  # type: ignore[func-returns-value,method-assign]
    names = sorted(reader.names(), key=lambda name: name[::-1])
    assert len(reader.read(names)) == 5000
    assert len(loaded) == len(set(loaded)) == 1  # the other was taken apart for the header
