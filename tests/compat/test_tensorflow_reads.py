"""TensorFlow reads what ckptstore wrote: tensors of every kind, by every one of its ways to read them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptstore as ck
from ckptstore.bundle import BundleWriter
from ckptstore.format.slices import TensorSlice
from ckptstore.format.v1 import V1Writer
from ckptstore.storage import from_url
from tests.compat.support import (
    NUMERIC,
    QUANTISED,
    QUIET,
    RETILED,
    V1_TYPES,
    VARIABLE_KINDS,
    assert_same,
    cut,
    partition_initializer,
    random_box,
    restore_v2,
    rng,
    sample,
    session,
    spec,
    tiling,
    v1,
)

tf = pytest.importorskip("tensorflow")
pytestmark = QUIET

SHAPES: list[tuple[int, ...]] = [(), (0,), (1,), (7,), (3, 0, 2), (2, 3), (1, 1, 1), (1, 2, 1, 3, 1, 2, 1, 2)]
STRINGS = {
    "scalar": np.array(b"hello", object),
    "empty scalar": np.array(b"", object),
    "mixed": np.array([b"", b"a", "h\u00e9llo \u4e16\u754c".encode(), b"\x00\xff\x00", b"x" * 127, b"y" * 128], object),
    "long": np.array([b"z" * 16384, b"w" * 100_000], object),
    "none": np.zeros((0,), object),
    "none of 3": np.zeros((3, 0), object),
    "matrix": np.array([[b"a", b"bc", b""], [b"def", b"\n", b"\xf0\x9f\x98\x80"]], object),
}
NAMES = [
    "a", "A", "a/b", "a/b/c", "a.b", "a-b", "a b", " ", "a:0", "a\\b", "/", "//", "..", "a/../b", "~", "%s", "*", "[a]",
    "?", "\n", "\t", "\x01", "\x7f", "\u00e9", "e\u0301", "\u4e16\u754c", "\U0001f600", "\ufeff", "\uffff",
    "k" * 300, "\u00df" * 200,
    "layer_with_weights-0/kernel/.ATTRIBUTES/VARIABLE_VALUE", "model.ckpt.index", "checkpoint", "None", "0",
]  # fmt: skip


def check_read(prefix: Path, want: dict[str, Any], dtypes: dict[str, str] | None = None) -> None:
    """By the reader and the restore op; and the listing."""
    reader = tf.train.load_checkpoint(str(prefix))
    assert tf.train.list_variables(str(prefix)) == [(name, list(np.shape(want[name]))) for name in sorted(want)]
    stored = reader.get_variable_to_dtype_map()
    for name, value in want.items():
        dtype = (dtypes or {}).get(name) or stored[name].name
        assert stored[name].name == dtype
        assert_same(reader.get_tensor(name), value, name)
        assert_same(restore_v2(prefix, name, dtype), value, name)


@pytest.mark.parametrize("dtype", [d for d in NUMERIC if d.name not in QUANTISED], ids=str)
def test_every_dtype_and_shape(dtype: ck.DType, tmp_path: Path) -> None:
    items = {f"t{i}": sample(dtype, shape, rng(i, dtype.as_datatype_enum)) for i, shape in enumerate(SHAPES)}
    ck.save(tmp_path / "m", items)
    check_read(tmp_path / "m", items, dict.fromkeys(items, dtype.name))


@pytest.mark.parametrize("name", sorted(QUANTISED))
def test_quantised(name: str, tmp_path: Path) -> None:
    items = {f"t{i}": sample(name, shape, rng(i)) for i, shape in enumerate(SHAPES)}
    with from_url(tmp_path) as store:
        writer = BundleWriter(store, "m")
        for key, value in items.items():
            writer.add(key, value, dtype=name)
        writer.finish()
    check_read(tmp_path / "m", items, dict.fromkeys(items, name))


def test_all_dtypes_in_one_file_and_one_call(tmp_path: Path) -> None:
    items = {d.name: sample(d, (5, 3), rng(d.as_datatype_enum)) for d in NUMERIC} | STRINGS
    with from_url(tmp_path) as store:
        writer = BundleWriter(store, "m", max_shard_bytes=100)
        for key, value in items.items():
            writer.add(key, value, dtype=key if key in QUANTISED else None)
        writer.finish()
    names = sorted(items)
    dtypes = [tf.as_dtype(n) if n not in STRINGS else tf.string for n in names]
    out = tf.raw_ops.RestoreV2(
        prefix=str(tmp_path / "m"), tensor_names=names, shape_and_slices=[""] * len(names), dtypes=dtypes
    )
    for name, got in zip(names, out, strict=True):
        assert_same(got.numpy(), items[name], name)


def test_strings(tmp_path: Path) -> None:
    items = STRINGS | {"random": sample("string", (40, 5), rng(3))}
    ck.save(tmp_path / "m", items)
    check_read(tmp_path / "m", items)


def test_python_values(tmp_path: Path) -> None:
    """What numpy makes of them is what TensorFlow reads."""
    ck.save(
        tmp_path / "m", {"i": 3, "f": 2.5, "b": True, "s": "h\u00e9", "l": [1, 2], "c": 1j, "n": {"x": {"y": [[1.0]]}}}
    )
    reader = tf.train.load_checkpoint(str(tmp_path / "m"))
    assert reader.get_tensor("i") == 3
    assert reader.get_tensor("s") == "h\u00e9".encode()
    assert reader.get_variable_to_dtype_map() == {
        "i": tf.int64, "f": tf.float64, "b": tf.bool, "s": tf.string, "l": tf.int64, "c": tf.complex128,
        "n/x/y": tf.float64,
    }  # fmt: skip


def test_arrays_that_are_not_contiguous_or_not_little_endian(tmp_path: Path) -> None:
    base = np.arange(60, dtype=np.float64).reshape(3, 4, 5)
    items = {
        "t": base.T,
        "step": base[::2, ::-1],
        "big": base.astype(">f8"),
        "big-complex": base.astype(">c8"),
        "f": np.asfortranarray(base),
    }
    ck.save(tmp_path / "m", items)
    check_read(tmp_path / "m", {k: np.ascontiguousarray(v.astype(v.dtype.newbyteorder("="))) for k, v in items.items()})


@pytest.mark.parametrize("max_shard_bytes", [None, 64])
def test_names(max_shard_bytes: int | None, tmp_path: Path) -> None:
    items = {name: np.array([i, -i], np.int32) for i, name in enumerate(NAMES)}
    ck.save(tmp_path / "m", items, max_shard_bytes=max_shard_bytes)
    check_read(tmp_path / "m", items)


@pytest.mark.parametrize("max_shard_bytes", [None, 3000])
def test_thousands_of_tensors(max_shard_bytes: int | None, tmp_path: Path) -> None:
    generator = rng(7)
    items = {
        f"tower_{i % 7}/{generator.bytes(16).hex()}/{'kernel' * (i % 5)}": sample(
            "float32", (int(generator.integers(0, 5)),), generator
        )
        for i in range(9000)
    }
    ck.save(tmp_path / "m", items, max_shard_bytes=max_shard_bytes)
    assert (tmp_path / "m.index").stat().st_size > 2 * 256 * 1024  # several blocks
    assert tf.train.list_variables(str(tmp_path / "m")) == [(n, list(v.shape)) for n, v in sorted(items.items())]
    names = list(items)
    out = tf.raw_ops.RestoreV2(
        prefix=str(tmp_path / "m"),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        dtypes=[tf.float32] * len(names),
    )
    for name, got in zip(names, out, strict=True):
        assert_same(got.numpy(), items[name], name)


@pytest.mark.parametrize("max_shard_bytes", [1, 16, 100, 1000])
def test_shards(max_shard_bytes: int, tmp_path: Path) -> None:
    generator = rng(max_shard_bytes)
    items = {f"v{i}": sample("int16", (int(generator.integers(0, 60)),), generator) for i in range(40)}
    value = sample("float32", (9, 4), generator)
    pieces = tiling(value.shape, generator, 6)
    ck.save(
        tmp_path / "m",
        items | {"part": ck.Partitioned(value.shape, [(p, cut(value, p)) for p in pieces])},
        max_shard_bytes=max_shard_bytes,
    )
    data = sorted(p.name for p in tmp_path.glob("m.data-*"))
    assert len(data) > 1
    assert data == [f"m.data-{i:05d}-of-{len(data):05d}" for i in range(len(data))]
    assert all((tmp_path / name).stat().st_size <= max(max_shard_bytes, 118) for name in data)
    check_read(tmp_path / "m", items | {"part": value})


@pytest.mark.parametrize("dtype", [d for d in NUMERIC if d.name in RETILED], ids=str)
def test_partitioned_in_random_tilings(dtype: ck.DType, tmp_path: Path) -> None:
    """Stored in one tiling, asked for in another: whole, by piece, by any box."""
    generator = rng(11, dtype.as_datatype_enum)
    for case, shape in enumerate([(13,), (10, 4), (6, 5, 3), (3, 2, 2, 2, 3)] * 2):
        value = sample(dtype, shape, generator)
        pieces = tiling(shape, generator, 1 + 2 * case)
        prefix = tmp_path / f"m{case}"
        with from_url(tmp_path) as store:
            writer = BundleWriter(store, prefix.name, max_shard_bytes=40 if case % 2 else None)
            writer.add("before", np.arange(3))
            writer.add("emb", ck.Partitioned(shape, [(p, cut(value, p)) for p in pieces]), dtype=dtype)
            writer.finish()
        check_read(prefix, {"before": np.arange(3), "emb": value}, {"emb": dtype.name})
        for piece in [*pieces, *(random_box(shape, generator) for _ in range(6))]:
            assert_same(restore_v2(prefix, "emb", dtype, spec(shape, piece)), cut(value, piece), str(piece))


@pytest.mark.parametrize("dtype", ["float16", "uint16", "uint64", "float8_e5m2", "int2", "string", "qint16"])
def test_partitioned_types_that_tensorflow_cannot_cut(dtype: str, tmp_path: Path) -> None:
    value = sample(dtype, (7, 4), rng(5))
    pieces = tiling(value.shape, rng(6), 5)
    with from_url(tmp_path) as store:
        writer = BundleWriter(store, "m")
        writer.add("emb", ck.Partitioned(value.shape, [(p, cut(value, p)) for p in pieces]), dtype=dtype)
        writer.finish()
    assert tf.train.list_variables(str(tmp_path / "m")) == [("emb", [7, 4])]
    for piece in pieces:
        assert_same(restore_v2(tmp_path / "m", "emb", dtype, spec(value.shape, piece)), cut(value, piece))


def test_whole_dimensions_and_plain_tensors_by_slices(tmp_path: Path) -> None:
    value = np.arange(40, dtype=np.float32).reshape(10, 4)
    dash = ck.Partitioned((10, 4), [("0,3:-", value[:3]), ("3,7:-", value[3:])])
    ck.save(tmp_path / "m", {"dash": dash, "plain": value, "one": ck.Partitioned((10, 4), [("-:-", value)])})
    check_read(tmp_path / "m", {"dash": value, "plain": value, "one": value})
    for name in ("dash", "plain", "one"):
        assert_same(restore_v2(tmp_path / "m", name, "float32", "10 4 2,5:1,2"), value[2:7, 1:3], name)


@pytest.mark.parametrize("parts", [1, 2, 3, 10, 12])
@pytest.mark.parametrize("axis", [0, 1])
def test_partitioned_split(parts: int, axis: int, tmp_path: Path) -> None:
    value = sample("float32", (10, 7), rng(parts))
    ck.save(tmp_path / "m", {"emb": ck.Partitioned.split(value, parts, axis)})
    check_read(tmp_path / "m", {"emb": value})


def test_many_pieces(tmp_path: Path) -> None:
    value = np.arange(6000, dtype=np.int64).reshape(3000, 2)
    ck.save(tmp_path / "m", {"emb": ck.Partitioned.split(value, 3000)})
    check_read(tmp_path / "m", {"emb": value})


# -- tf.compat.v1.train.Saver

VARIABLES: dict[str, Any] = {
    "dense/kernel": sample("float32", (3, 2), rng(1)),
    "dense/bias": np.array([0.5, -1.25], np.float64),
    "global_step": np.array(1200, np.int64),
    "flags": np.array([True, False]),
    "half": np.array([1.5, -2], np.float16),
    "vocab": np.array([b"the", b"", "\u00fcber".encode()], object),
    "complex": np.array([1 + 2j], np.complex64),
}


def _declare(use_resource: bool) -> dict[str, Any]:
    return {
        name: v1.get_variable(
            name.replace(" ", "_"), shape=value.shape, dtype=tf.string if value.dtype == object else value.dtype,
            initializer=lambda shape, dtype, **_: tf.zeros(shape, dtype), use_resource=use_resource,
        )
        for name, value in VARIABLES.items()
    }  # fmt: skip


@pytest.mark.parametrize("use_resource", VARIABLE_KINDS)
@pytest.mark.parametrize("max_shard_bytes", [None, 8])
def test_saver_restores(use_resource: bool, max_shard_bytes: int | None, tmp_path: Path) -> None:
    ck.save(tmp_path / "m", VARIABLES, max_shard_bytes=max_shard_bytes)
    with session() as s:
        variables = _declare(use_resource)
        v1.train.Saver().restore(s, str(tmp_path / "m"))  # nothing was initialised
        for name, variable in variables.items():
            assert_same(s.run(variable), VARIABLES[name], name)


@pytest.mark.parametrize("use_resource", VARIABLE_KINDS)
def test_saver_restores_by_other_names_and_ignores_the_rest(use_resource: bool, tmp_path: Path) -> None:
    ck.save(tmp_path / "m", {"x y/\u4e16": [1.0, 2.0], "unused": sample("float32", (9,), rng(2))})
    with session() as s:
        variable = v1.get_variable("v", [2], tf.float64, use_resource=use_resource)
        v1.train.Saver({"x y/\u4e16": variable}).restore(s, str(tmp_path / "m"))
        assert s.run(variable).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("use_resource", VARIABLE_KINDS)
@pytest.mark.parametrize("stored", ["plain", "same", "other tiling"])
@pytest.mark.parametrize("parts", [1, 3])
def test_saver_restores_partitioned_variables(use_resource: bool, stored: str, parts: int, tmp_path: Path) -> None:
    value = sample("float32", (10, 4), rng(9))
    pieces = {"plain": value, "same": ck.Partitioned.split(value, parts)}
    pieces["other tiling"] = ck.Partitioned(value.shape, [(p, cut(value, p)) for p in tiling(value.shape, rng(10), 7)])
    ck.save(tmp_path / "m", {"emb": pieces[stored], "w": value})
    with session() as s:
        emb = v1.get_variable(
            "emb", [10, 4], partitioner=v1.fixed_size_partitioner(parts), use_resource=use_resource,
            initializer=partition_initializer(np.zeros((10, 4), np.float32)),
        )  # fmt: skip
        w = v1.get_variable("w", [10, 4], use_resource=use_resource)
        v1.train.Saver().restore(s, str(tmp_path / "m"))
        assert_same(s.run(tf.convert_to_tensor(emb)), value)
        assert_same(s.run(w), value)


def test_init_from_checkpoint(tmp_path: Path) -> None:
    value = sample("float32", (10, 4), rng(12))
    ck.save(tmp_path / "m", {"old/emb": ck.Partitioned.split(value, 4), "old/b": value[0]})
    with session() as s:
        emb = v1.get_variable("new/emb", [10, 4], partitioner=v1.fixed_size_partitioner(3))
        b = v1.get_variable("new/b", [4])
        v1.train.init_from_checkpoint(str(tmp_path / "m"), {"old/": "new/"})
        s.run(v1.global_variables_initializer())
        assert_same(s.run(tf.convert_to_tensor(emb)), value)
        assert_same(s.run(b), value[0])


# -- V1 files


def _v1_values(generator: np.random.Generator) -> dict[str, tuple[str, Any]]:
    return {
        f"{name}/{i}": (name, sample(name, shape, generator))
        for name in sorted(V1_TYPES)
        for i, shape in enumerate([(), (4,), (2, 3)])
    }


def test_v1_restored(tmp_path: Path) -> None:
    values = _v1_values(rng(20))
    writer = V1Writer()
    for key, (dtype, value) in values.items():
        writer.add(key.encode(), value, dtype=dtype)
    (tmp_path / "m.ckpt").write_bytes(writer.finish())
    assert tf.train.list_variables(str(tmp_path / "m.ckpt")) == [
        (k, list(v.shape)) for k, (_, v) in sorted(values.items())
    ]
    reader = tf.train.load_checkpoint(str(tmp_path / "m.ckpt"))
    readable = {"float32", "float64", "int32", "int16", "int8", "uint8", "int64", "bool", "string"}
    for key, (dtype, value) in values.items():
        assert_same(restore_v2(tmp_path / "m.ckpt", key, dtype), value, key)
        if dtype in readable:
            assert_same(reader.get_tensor(key), value, key)


def test_v1_sliced_and_sharded(tmp_path: Path) -> None:
    generator = rng(21)
    value = sample("float32", (10, 4), generator)
    pieces = tiling(value.shape, generator, 6)
    writers = [V1Writer() for _ in range(3)]
    for i, piece in enumerate(pieces):
        writers[i % 3].add_slice(b"emb", value.shape, piece, cut(value, piece))
    writers[1].add("pl\u00e4in".encode(), value)
    for i, writer in enumerate(writers):
        (tmp_path / f"m-{i:05d}-of-00003").write_bytes(writer.finish())
    prefix = tmp_path / "m-?????-of-00003"
    assert_same(restore_v2(prefix, "emb", "float32"), value)
    assert_same(restore_v2(prefix, "pl\u00e4in", "float32", "10 4 3,2:-"), value[3:5])
    for _ in range(8):
        box = random_box(value.shape, generator)
        assert_same(restore_v2(prefix, "emb", "float32", spec(value.shape, box)), cut(value, box))


@pytest.mark.parametrize("use_resource", VARIABLE_KINDS)
def test_v1_saver_restores(use_resource: bool, tmp_path: Path) -> None:
    writer = V1Writer()
    for name, value in VARIABLES.items():
        writer.add(name.encode(), value)
    value = sample("float32", (10, 4), rng(22))
    for start in (0, 6):
        writer.add_slice(b"emb", (10, 4), TensorSlice(((start, 6 - start // 3), (0, 4))), value[start : start + 6])
    (tmp_path / "m.ckpt").write_bytes(writer.finish())
    with session() as s:
        variables = _declare(use_resource)
        emb = v1.get_variable(
            "emb", [10, 4], partitioner=v1.fixed_size_partitioner(3), use_resource=use_resource,
            initializer=partition_initializer(np.zeros((10, 4), np.float32)),
        )  # fmt: skip
        for version in (v1.train.SaverDef.V1, v1.train.SaverDef.V2):
            v1.train.Saver(write_version=version).restore(s, str(tmp_path / "m.ckpt"))
            for name, variable in variables.items():
                assert_same(s.run(variable), VARIABLES[name], name)
            assert_same(s.run(tf.convert_to_tensor(emb)), value)
