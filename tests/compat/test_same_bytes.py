"""ckptstore writes exactly the bytes that this TensorFlow writes for the same values."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptstore as ck
from ckptstore.bundle import BundleWriter
from ckptstore.bundle.merge import merge_indexes
from ckptstore.format.slices import TensorSlice
from ckptstore.format.v1 import V1Writer
from ckptstore.storage import from_url
from tests.compat.support import (
    NUMERIC,
    QUANTISED,
    QUIET,
    V1_TYPES,
    VARIABLE_KINDS,
    contents,
    cut,
    partition_initializer,
    rng,
    sample,
    save_v2,
    session,
    spec,
    tensor,
    tiling,
    v1,
)
from tests.compat.test_tensorflow_reads import NAMES, SHAPES, STRINGS, VARIABLES

tf = pytest.importorskip("tensorflow")
pytestmark = QUIET


def write_theirs(prefix: Path, items: dict[str, Any]) -> None:
    """Pieces in their order, tensors in the order of names, as the Saver does it."""
    rows = []
    for name in sorted(items):
        value = items[name]
        if isinstance(value, ck.Partitioned):
            rows += [(name, tensor(part), spec(value.shape, piece)) for piece, part in value.pieces]
        else:
            rows.append((name, tensor(value), ""))
    save_v2(prefix, rows)


def check_same(directory: Path, items: dict[str, Any]) -> None:
    for side in ("ours", "theirs"):
        (directory / side).mkdir(parents=True)
    ck.save(directory / "ours" / "m", items)
    write_theirs(directory / "theirs" / "m", items)
    ours, theirs = contents(directory / "ours"), contents(directory / "theirs")
    assert ours.keys() == theirs.keys() == {"m.index", "m.data-00000-of-00001"}
    for name, data in theirs.items():
        assert ours[name] == data, name


@pytest.mark.parametrize("dtype", [d for d in NUMERIC if d.name not in QUANTISED], ids=str)
def test_every_dtype(dtype: ck.DType, tmp_path: Path) -> None:
    check_same(tmp_path, {f"t{i}": sample(dtype, shape, rng(i, 1)) for i, shape in enumerate(SHAPES)})


def test_quantised(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (tmp_path / "theirs").mkdir()
    items = [
        (f"{name}/{i}", sample(name, shape, rng(i)), name)
        for name in sorted(QUANTISED)
        for i, shape in enumerate(SHAPES)
    ]
    with from_url(tmp_path / "ours") as store:
        writer = BundleWriter(store, "m")
        for key, value, dtype in items:
            writer.add(key, value, dtype=dtype)
        writer.finish()
    save_v2(tmp_path / "theirs" / "m", [(key, tensor(value, dtype), "") for key, value, dtype in items])
    assert contents(tmp_path / "ours") == contents(tmp_path / "theirs")


def test_strings_and_names(tmp_path: Path) -> None:
    check_same(tmp_path / "strings", STRINGS | {"random": sample("string", (60, 7), rng(2))})
    check_same(tmp_path / "names", {name: sample("float32", (i % 3,), rng(i)) for i, name in enumerate(NAMES)})


@pytest.mark.parametrize("seed", range(25))
def test_random_checkpoints(seed: int, tmp_path: Path) -> None:
    """Random names, types, shapes and tilings together: also indexes of several blocks."""
    generator = rng(100, seed)
    types = [d.name for d in NUMERIC if d.name not in QUANTISED] + ["string"]
    alphabet = "ab/._-0\u00e9\u4e16 "
    items: dict[str, Any] = {}
    for _ in range(int(generator.integers(1, 400 if seed % 5 else 4000))):
        name = "".join(alphabet[i] for i in generator.integers(0, len(alphabet), int(generator.integers(1, 60))))
        dtype = types[int(generator.integers(len(types)))]
        shape = tuple(int(n) for n in generator.integers(0, 5, int(generator.integers(0, 5))))
        value = sample(dtype, shape, generator)
        if value.size and shape and generator.random() < 0.3:
            pieces = tiling(shape, generator, int(generator.integers(0, 8)))
            items[name] = ck.Partitioned(shape, [(p, cut(value, p)) for p in pieces])
        else:
            items[name] = value
    check_same(tmp_path, items)


def test_sliced(tmp_path: Path) -> None:
    """Whole dimensions, a piece that is everything, long extents, thousands of pieces."""
    value = np.arange(40, dtype=np.float32).reshape(10, 4)
    long = np.arange(70_000, dtype=np.int8)
    check_same(
        tmp_path,
        {
            "emb": ck.Partitioned.split(value, 3),
            "dash": ck.Partitioned((10, 4), [("0,3:-", value[:3]), ("3,7:-", value[3:])]),
            "mixed": ck.Partitioned((10, 4), [("5,5:0,4", value[5:]), ("0,5:-", value[:5])]),
            "everything": ck.Partitioned((10, 4), [("-:-", value)]),
            "everything spelt out": ck.Partitioned((10, 4), [("0,10:0,4", value)]),
            "everything by one": ck.Partitioned((10, 4), [("0,10:-", value)]),
            "long": ck.Partitioned.split(long, 9),
            "thousands": ck.Partitioned.split(np.arange(9000, dtype=np.int32), 3000),
            "em": value,
            "emb/": value,
            "\u4e16": ck.Partitioned.split(value, 2, 1),
        },
    )


@pytest.mark.parametrize("use_resource", VARIABLE_KINDS)
def test_saver(use_resource: bool, tmp_path: Path) -> None:
    value = sample("float32", (10, 4), rng(9))
    names = {name: f"key \u4e16/{name}" for name in VARIABLES}
    with session() as s:
        variables = {
            names[name]: v1.get_variable(name, initializer=tensor(np.asarray(v)), use_resource=use_resource)
            for name, v in VARIABLES.items()
        }
        for parts in (1, 3, 4):
            variables[f"emb{parts}"] = v1.get_variable(
                f"emb{parts}", [10, 4], partitioner=v1.fixed_size_partitioner(parts), use_resource=use_resource,
                initializer=partition_initializer(value),
            )  # fmt: skip
        s.run(v1.global_variables_initializer())
        v1.train.Saver(variables).save(s, str(tmp_path / "theirs" / "m"), write_meta_graph=False, write_state=False)
    ck.save(
        tmp_path / "ours" / "m",
        {names[n]: v for n, v in VARIABLES.items()} | {f"emb{n}": ck.Partitioned.split(value, n) for n in (1, 3, 4)},
    )
    assert contents(tmp_path / "ours") == contents(tmp_path / "theirs")


def test_restored_and_saved_again(tmp_path: Path) -> None:
    """What TensorFlow wrote, through ckptstore and back, is the same file."""
    items = {d.name: sample(d, (3, 2), rng(d.as_datatype_enum)) for d in NUMERIC if d.name not in QUANTISED} | STRINGS
    (tmp_path / "theirs").mkdir()
    write_theirs(tmp_path / "theirs" / "m", items)
    ck.save(tmp_path / "ours" / "m", ck.restore(tmp_path / "theirs" / "m"))
    assert contents(tmp_path / "ours") == contents(tmp_path / "theirs")


def test_merge(tmp_path: Path) -> None:
    """The index over several parts is MergeV2Checkpoints' one."""
    generator = rng(31)
    value = sample("float32", (12, 3), generator)
    pieces = tiling(value.shape, generator, 8)
    parts = []
    for number in range(4):
        rows = [(f"v{number}/{i}", tensor(sample("int64", (i,), generator)), "") for i in range(5)]
        rows += [("emb", tensor(cut(value, p)), spec(value.shape, p)) for p in pieces[number::4]]
        prefix = tmp_path / "m_temp" / f"part-{number:05d}-of-00004"
        prefix.parent.mkdir(exist_ok=True)
        save_v2(prefix, rows)
        parts.append(prefix)
    indexes = [Path(f"{p}.index").read_bytes() for p in parts]
    data = [Path(f"{p}.data-00000-of-00001").read_bytes() for p in parts]
    ours = merge_indexes(indexes)
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=[str(p) for p in parts], destination_prefix=str(tmp_path / "m"))
    assert ours.index == (tmp_path / "m.index").read_bytes()
    for number, (part, shard) in enumerate(ours.shards):
        assert shard == 0
        assert (tmp_path / f"m.data-{number:05d}-of-00004").read_bytes() == data[part]


# -- V1


def test_v1(tmp_path: Path) -> None:
    generator = rng(40)
    rows = [
        (f"{name}/{i}", name, sample(name, shape, generator), None)
        for name in sorted(V1_TYPES)
        for i, shape in enumerate([(), (0,), (4,), (2, 3), (1, 2, 1, 3, 1, 2, 1)])
    ]
    rows += [(f"many/{i:05d}", "int16", sample("int16", (9,), generator), None) for i in range(3000)]
    check_same_v1(tmp_path / "whole", rows, ())
    value = sample("float32", (10, 4), generator)
    rows = [("emb", "float32", cut(value, piece), piece) for piece in tiling(value.shape, generator, 6)]
    rows += [("one", "float32", value, TensorSlice(((0, 10), (0, 4)))), ("plain", "float32", value, None)]
    check_same_v1(tmp_path / "sliced", rows, value.shape)


def check_same_v1(path: Path, rows: list[tuple[str, str, Any, TensorSlice | None]], shape: tuple[int, ...]) -> None:
    """SaveSlices, other than SaveV2, sorts by name itself; its sort is not stable, and leaves the order of pieces alone
    only where there are few of them."""
    writer = V1Writer()
    rows = sorted(rows, key=lambda row: row[0])
    for name, dtype, part, piece in rows:
        if piece is None:
            writer.add(name.encode(), part, dtype=dtype)
        else:
            writer.add_slice(name.encode(), shape, piece, part, dtype=dtype)
    tf.raw_ops.SaveSlices(
        filename=str(path),
        tensor_names=[row[0] for row in rows],
        shapes_and_slices=["" if row[3] is None else spec(shape, row[3]) for row in rows],
        data=[tensor(part, dtype) for _, dtype, part, _ in rows],
    )
    assert writer.finish() == path.read_bytes()


def test_v1_saver(tmp_path: Path) -> None:
    with session() as s:
        for name, value in VARIABLES.items():
            v1.get_variable(name, initializer=tensor(np.asarray(value)))
        s.run(v1.global_variables_initializer())
        saver = v1.train.Saver(write_version=v1.train.SaverDef.V1)
        saver.save(s, str(tmp_path / "m"), write_meta_graph=False, write_state=False)
    writer = V1Writer()
    for name in sorted(VARIABLES):
        writer.add(name.encode(), VARIABLES[name])
    assert os.listdir(tmp_path) == ["m"]
    assert writer.finish() == (tmp_path / "m").read_bytes()


# -- object-based


def test_object_based(tmp_path: Path) -> None:
    """tf.train.Checkpoint of the same tree writes the same two files, if its variables are named by their paths."""
    values = {
        "b": np.arange(3, dtype=np.float32),
        "layer/w": sample("float32", (3, 2), rng(1)),
        "layer/deep/er/x": np.float64(2.5),
        "layer/b": np.array([b"s", b""], object),
        "lst/0": np.int32(1),
        "lst/1": np.int32(2),
        "a.b/c.d": np.arange(4),
        "z": np.bool_(True),
    }

    def variable(name: str) -> Any:
        v = tf.Variable(tensor(np.asarray(values[name])), name="n")
        v._handle_name = name + ":0"
        return v

    kwargs = {
        "b": variable("b"),
        "layer": {
            "w": variable("layer/w"),
            "deep": {"er": {"x": variable("layer/deep/er/x")}},
            "b": variable("layer/b"),
        },
        "lst": [variable("lst/0"), variable("lst/1")],
        "a.b": {"c.d": variable("a.b/c.d")},
        "z": variable("z"),
    }
    checkpoint = tf.train.Checkpoint(**kwargs)
    checkpoint.save_counter.assign(4)
    checkpoint.write(str(tmp_path / "theirs" / "m"))
    ck.save(tmp_path / "ours" / "m", values, object_based=True, save_counter=4)
    ours, theirs = contents(tmp_path / "ours"), contents(tmp_path / "theirs")
    assert ck.load_checkpoint(tmp_path / "ours" / "m").objects.full_names == (
        ck.load_checkpoint(tmp_path / "theirs" / "m").objects.full_names
    )
    assert ours == theirs
