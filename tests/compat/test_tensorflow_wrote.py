"""ckptstore reads what this TensorFlow writes, now and here: random values and tilings, from a fixed seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptstore as ck
from tests.compat.support import (
    NUMERIC,
    QUIET,
    V1_TYPES,
    VARIABLE_KINDS,
    assert_all_same,
    assert_same,
    cut,
    partition_initializer,
    random_box,
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

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def check_reads(path: Any, want: dict[str, Any]) -> None:
    """By every way in; and the maps are TensorFlow's own."""
    assert_all_same(ck.restore(path), want)
    assert ck.list_variables(path) == [(name, list(np.shape(want[name]))) for name in sorted(want)]
    assert ck.verify(path).damages == []
    with ck.load_checkpoint(path) as reader:
        assert sorted(reader) == sorted(want)
        for name, value in want.items():
            assert_same(reader.get_tensor(name), value, name)
            assert_same(np.asarray(reader[name]), value, name)
            if not name.endswith(":0"):  # which is dropped, as TensorFlow does
                assert_same(ck.load_variable(path, name), value, name)


def check_maps(path: Any) -> None:
    theirs = tf.train.load_checkpoint(str(path))
    with ck.load_checkpoint(path) as ours:
        assert ours.get_variable_to_shape_map() == theirs.get_variable_to_shape_map()
        assert {n: d.name for n, d in ours.get_variable_to_dtype_map().items()} == {
            n: d.name for n, d in theirs.get_variable_to_dtype_map().items()
        }
        assert ck.list_variables(path) == tf.train.list_variables(str(path))
        for name in theirs.get_variable_to_shape_map():
            assert ours.has_tensor(name)
            assert_same(ours.get_tensor(name), theirs.get_tensor(name), name)


@pytest.mark.parametrize("dtype", NUMERIC, ids=str)
def test_every_dtype(dtype: ck.DType, tmp_path: Path) -> None:
    items = {f"t{i}": sample(dtype, shape, rng(50, i)) for i, shape in enumerate(SHAPES)}
    save_v2(tmp_path / "m", [(n, tensor(v, dtype), "") for n, v in items.items()])
    check_reads(tmp_path / "m", items)
    check_maps(tmp_path / "m")
    with ck.load_checkpoint(tmp_path / "m") as reader:
        assert {reader.info(n).dtype for n in items} == {dtype}


def test_strings_and_names(tmp_path: Path) -> None:
    items = STRINGS | {"random": sample("string", (60, 7), rng(51))}
    save_v2(tmp_path / "s", [(n, tensor(v), "") for n, v in items.items()])
    check_reads(tmp_path / "s", items)
    check_maps(tmp_path / "s")
    items = {name: np.int32(i) for i, name in enumerate(NAMES)}
    save_v2(tmp_path / "n", [(n, tensor(v), "") for n, v in items.items()])
    check_reads(tmp_path / "n", items)
    check_maps(tmp_path / "n")


def test_thousands(tmp_path: Path) -> None:
    generator = rng(52)
    items = {f"{generator.bytes(20).hex()}/w": sample("float32", (i % 4,), generator) for i in range(6000)}
    save_v2(tmp_path / "m", [(n, tensor(v), "") for n, v in items.items()])
    assert (tmp_path / "m.index").stat().st_size > 256 * 1024
    assert_all_same(ck.restore(tmp_path / "m"), items)
    check_maps(tmp_path / "m")


def test_variants_are_listed_and_left_out(tmp_path: Path) -> None:
    values = tf.raw_ops.TensorListFromTensor(tensor=tf.constant([[1.0, 2.0]]), element_shape=tf.constant([2]))
    save_v2(tmp_path / "m", [("list", values, ""), ("plain", tf.constant([1.0]), "")])
    assert ck.list_variables(tmp_path / "m") == tf.train.list_variables(str(tmp_path / "m"))
    assert ck.verify(tmp_path / "m").damages == []
    assert_all_same(ck.restore(tmp_path / "m", strict=False), {"plain": np.float32([1.0])})
    with pytest.raises(ck.UnsupportedError):
        ck.restore(tmp_path / "m")


@pytest.mark.parametrize("dtype", [*NUMERIC, "string"], ids=str)
def test_random_tilings(dtype: Any, tmp_path: Path) -> None:
    """Of every type: TensorFlow writes more of them than it can cut again. Over one file and over several."""
    name = str(dtype)
    generator = rng(53, len(name))
    for case, shape in enumerate([(13,), (10, 4), (6, 5, 3), (2, 3, 2, 2)]):
        value = sample(dtype, shape, generator)
        pieces = tiling(shape, generator, 2 + 3 * case)
        rows = [("emb", tensor(cut(value, p), dtype), spec(shape, p)) for p in pieces]
        path = tmp_path / f"m{case}"
        if case % 2 and len(rows) > 1:
            parts = [tmp_path / f"temp{case}" / f"part-{i:05d}-of-00002" for i in range(2)]
            parts[0].parent.mkdir()
            save_v2(parts[0], rows[::2])
            save_v2(parts[1], rows[1::2])
            tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=[str(p) for p in parts], destination_prefix=str(path))
        else:
            save_v2(path, rows)
        check_reads(path, {"emb": value})
        with ck.load_checkpoint(path) as reader:
            for _ in range(6):
                index = tuple(slice(a, b) for a, b in random_box(shape, generator).box(shape))
                assert_same(reader["emb"][index], value[index])


# -- Savers

FULL = sample("float32", (10, 4), rng(60))
TALL = sample("int32", (2, 130), rng(61))


def _graph(use_resource: bool) -> dict[str, Any]:
    for name, value in VARIABLES.items():
        v1.get_variable(name, initializer=tensor(np.asarray(value)), use_resource=use_resource)
    for name, value, parts, axis in (("emb", FULL, 3, 0), ("conv/k", TALL, 2, 1), ("single", FULL, 1, 0)):
        v1.get_variable(
            name, value.shape, dtype=value.dtype, initializer=partition_initializer(value), use_resource=use_resource,
            partitioner=v1.fixed_size_partitioner(parts, axis=axis),
        )  # fmt: skip
    return VARIABLES | {"emb": FULL, "conv/k": TALL, "single": FULL}


@pytest.mark.parametrize("use_resource", VARIABLE_KINDS)
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("sharded", [False, True])
def test_savers(use_resource: bool, version: int, sharded: bool, tmp_path: Path) -> None:
    """Of both versions; sharded over several devices."""
    with session(device_count={"CPU": 4}) as s:
        numbers = iter(range(1000))

        def device(op: Any) -> str:
            return f"/cpu:{next(numbers) % 4}" if op.type in ("VariableV2", "VarHandleOp") else ""

        with tf.Graph.device(s.graph, device):
            want = _graph(use_resource)
        s.run(v1.global_variables_initializer())
        saver = v1.train.Saver(sharded=sharded, write_version=version, max_to_keep=2)
        for step in range(3):
            path = saver.save(s, str(tmp_path / "model.ckpt"), global_step=step)
    assert len(list(tmp_path.glob("model.ckpt-2*-of-*"))) >= (4 if sharded else version - 1)
    check_reads(path, want)
    check_reads(tmp_path, want)  # by the state file
    assert ck.latest_checkpoint(tmp_path) == tf.train.latest_checkpoint(str(tmp_path)) == path
    state, theirs = ck.get_checkpoint_state(tmp_path), tf.train.get_checkpoint_state(str(tmp_path))
    assert state is not None
    assert list(state.all_model_checkpoint_paths) == list(theirs.all_model_checkpoint_paths)
    with ck.load_checkpoint(path) as reader:
        for piece in (slice(2, 7), slice(None, None, -1), slice(9, 10)):
            assert_same(reader["emb"][piece, 1:3], FULL[piece, 1:3])
        assert_same(reader["conv/k"][:, 60:70], TALL[:, 60:70])


def test_v1_types(tmp_path: Path) -> None:
    items = {f"{n}/{i}": (n, sample(n, s, rng(62, i))) for n in sorted(V1_TYPES) for i, s in enumerate(SHAPES)}
    tf.raw_ops.SaveSlices(
        filename=str(tmp_path / "m"), tensor_names=list(items), shapes_and_slices=[""] * len(items),
        data=[tensor(v, n) for n, v in items.values()],
    )  # fmt: skip
    check_reads(tmp_path / "m", {key: value for key, (_, value) in items.items()})


@pytest.mark.parametrize("dtype", sorted(V1_TYPES))
def test_v1_tilings(dtype: str, tmp_path: Path) -> None:
    generator = rng(63)
    value = sample(dtype, (9, 5), generator)
    pieces = tiling(value.shape, generator, 9)
    for i in range(2):
        tf.raw_ops.SaveSlices(
            filename=str(tmp_path / f"m-{i:05d}-of-00002"), tensor_names=["emb"] * len(pieces[i::2]),
            shapes_and_slices=[spec(value.shape, p) for p in pieces[i::2]],
            data=[tensor(cut(value, p), dtype) for p in pieces[i::2]],
        )  # fmt: skip
    check_reads(tmp_path / "m-?????-of-00002", {"emb": value})


@pytest.mark.parametrize("use_resource", VARIABLE_KINDS)
def test_moving_averages_and_slots(use_resource: bool, tmp_path: Path) -> None:
    """A whole training graph: Adam's slots, moving averages, step; the averages restored as the variables."""
    with session() as s:
        w = v1.get_variable("layer/w", initializer=FULL, use_resource=use_resource)
        emb = v1.get_variable(
            "emb", [10, 4], initializer=partition_initializer(FULL), partitioner=v1.fixed_size_partitioner(2),
            use_resource=use_resource,
        )  # fmt: skip
        step = v1.train.get_or_create_global_step()
        loss = tf.reduce_sum(tf.square(tf.where(tf.math.is_finite(w), w, tf.zeros_like(w)))) + tf.reduce_sum(
            tf.convert_to_tensor(emb)
        )
        train = v1.train.AdamOptimizer(0.1).minimize(loss, global_step=step)
        average = v1.train.ExponentialMovingAverage(0.9, step)
        with tf.control_dependencies([train]):
            update = average.apply([w, *emb])
        s.run(v1.variables_initializer([w, *emb]))  # before the averages, which begin with their values
        s.run(v1.global_variables_initializer())
        for _ in range(3):
            s.run(update)
        path = v1.train.Saver().save(s, str(tmp_path / "m"), global_step=step)
        want = {v.op.name: s.run(v) for v in v1.global_variables() if "part_" not in v.op.name}
        for suffix in ("", "/Adam", "/Adam_1", "/ExponentialMovingAverage"):
            parts = [v for v in v1.global_variables() if v.op.name in (f"emb/part_0{suffix}", f"emb/part_1{suffix}")]
            want["emb" + suffix] = np.concatenate([s.run(v) for v in parts])
    check_reads(path, want)
    got = ck.restore(path, assignment_map={"layer/w/ExponentialMovingAverage": "layer/w", "global_step": "step"})
    assert_all_same(got, {"layer/w": want["layer/w/ExponentialMovingAverage"], "step": np.int64(3)})
    assert set(want) >= {"layer/w/Adam_1", "beta1_power", "emb/Adam", "global_step"}


# -- tf.train.Checkpoint


def check_objects(path: Any, want: dict[str, Any]) -> None:
    """By object path, by key, and all at once."""
    assert_all_same(ck.restore(path), want)
    with ck.load_checkpoint(path) as reader:
        for name, value in want.items():
            assert_same(reader.get_tensor(name), value, name)
            # keys escape dots, object paths do not
            key = name if "/.ATTRIBUTES/" in name else name.replace("a.b", "a..b") + VALUE
            assert_same(reader.get_tensor(key), value, key)
    check_maps(path)


class Layer(tf.Module):  # type: ignore[misc]
    def __init__(self, number: int) -> None:
        super().__init__(name=f"layer{number}")
        self.w = tf.Variable(sample("float32", (4, 3), rng(70, number)), name="w")
        self.table = {"a.b": tf.Variable(np.arange(3)), "c/d": [tf.Variable("text"), tf.Variable(True)]}


class Net(tf.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.layers = [Layer(0), Layer(1)]
        self.first = self.layers[0]
        self.pair = (tf.Variable(1.0), Layer(2))
        self.half = tf.Variable(np.float16([1.5]), name="half_name")


def layer_items(path: str, layer: Any) -> dict[str, Any]:
    return {
        f"{path}/w": layer.w.numpy(),
        f"{path}/table/a.b": np.arange(3),
        f"{path}/table/c.Sd/0": np.array(b"text", object),
        f"{path}/table/c.Sd/1": np.bool_(True),
    }


def test_nested_objects(tmp_path: Path) -> None:
    net = Net()
    root = tf.Variable(3)
    path = tf.train.Checkpoint(net=net, n=root).save(str(tmp_path / "ckpt"))
    assert ck.latest_checkpoint(tmp_path) == path
    want = {"n": np.int32(3), "net/half": np.float16([1.5]), "net/pair/0": np.float32(1.0)}
    # the first layer has two paths; it goes by the shorter one
    for where, layer in (("net/first", net.first), ("net/layers/1", net.layers[1]), ("net/pair/1", net.pair[1])):
        want |= layer_items(where, layer)
    check_objects(path, want)
    with ck.load_checkpoint(tmp_path) as reader:
        for other, name in (("net/layers/0/w", "net/first/w"), ("net/layers/0/table/c.Sd/0", "net/first/table/c.Sd/0")):
            assert_same(reader.get_tensor(other), want[name])
        assert_same(reader.get_tensor("half_name"), want["net/half"])
        assert reader.get_tensor("save_counter") == 1


@pytest.mark.parametrize("nbytes", [64, 200, 10_000])
def test_max_shard_size(nbytes: int, tmp_path: Path) -> None:
    """TensorFlow cuts variables to fit into files. (Into very small ones it loops for ever: 16 bytes.)"""
    generator = rng(71, nbytes)
    values = {
        f"v{i}": sample("float32", shape, generator) for i, shape in enumerate([(7,), (20, 5), (3, 4, 5), (), (1, 9)])
    }
    values["d"] = sample("float64", (11, 2), generator)
    values["b"] = sample("bool", (30,), generator)
    options = tf.train.CheckpointOptions(
        experimental_sharding_callback=tf.train.experimental.MaxShardSizePolicy(nbytes)
    )
    path = tf.train.Checkpoint(**{n: tf.Variable(v) for n, v in values.items()}).save(str(tmp_path / "ckpt"), options)
    assert len(list(tmp_path.glob("ckpt-1.data-*"))) > (nbytes < 1000)
    check_objects(path, values)
    with ck.load_checkpoint(path) as reader:
        assert_same(reader["v1"][3:17, 1:4], values["v1"][3:17, 1:4])
    assert ck.verify(path).damages == []


def test_v1_optimizer_slots_as_objects(tmp_path: Path) -> None:
    w, b = tf.Variable(np.ones((3, 2), np.float32), name="w"), tf.Variable(np.zeros(2, np.float32), name="b")
    optimizer = v1.train.AdamOptimizer(0.1)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(w)) + tf.reduce_sum(b)
    optimizer.apply_gradients(zip(tape.gradient(loss, [w, b]), [w, b], strict=True))
    path = tf.train.Checkpoint(net=tf.train.Checkpoint(w=w, b=b), opt=optimizer).save(str(tmp_path / "ckpt"))
    want = {"net/w": w.numpy(), "net/b": b.numpy()}
    for name, variable in (("w", w), ("b", b)):
        for slot in ("m", "v"):
            want[f"net/{name}/.OPTIMIZER_SLOT/opt/{slot}"] = optimizer.get_slot(variable, slot).numpy()
    for name in ("beta1_power", "beta2_power"):
        want[f"opt/{name}"] = dict(
            zip(("beta1_power", "beta2_power"), optimizer._get_beta_accumulators(), strict=True)
        )[name].numpy()
    got = ck.restore(path)
    assert {k: v for k, v in got.items() if not k.startswith("net/") and k != "net/save_counter"}.keys() >= {
        "opt/beta1_power"
    }
    for name, value in want.items():
        assert_same(got[name], value, name)
    with ck.load_checkpoint(path) as reader:
        for variable in (w, b, optimizer.get_slot(w, "m"), optimizer.get_slot(b, "v")):
            assert_same(reader.get_tensor(variable.name.removesuffix(":0")), variable.numpy(), variable.name)
    check_maps(path)


def test_keras_model_and_optimizer(tmp_path: Path) -> None:
    model = tf.keras.Sequential(
        [
            tf.keras.Input((3,)),
            tf.keras.layers.Dense(4, name="d1"),
            tf.keras.layers.BatchNormalization(name="bn"),
            tf.keras.layers.Dense(1, name="d2"),
        ]
    )
    optimizer = tf.keras.optimizers.Adam(0.01)
    model.compile(optimizer, "mse")
    model.train_on_batch(np.ones((2, 3), np.float32), np.ones((2, 1), np.float32))
    path = tf.train.Checkpoint(model=model, optimizer=optimizer).save(str(tmp_path / "ckpt"))
    check_maps(path)
    got = ck.restore(path)
    stored = sorted(np.asarray(v).tobytes() for v in got.values())
    live = {id(v): v for v in (*model.variables, *optimizer.variables)}
    for variable in live.values():
        assert np.asarray(variable).tobytes() in stored, variable.path
    with ck.load_checkpoint(path) as reader:
        for variable in model.weights:
            assert_same(reader.get_tensor(variable.path), variable.numpy(), variable.path)


def test_other_trackables(tmp_path: Path) -> None:
    """What is no variable: lookup tables, random generators, iterators, and a variable at the root."""
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
    table.insert(tf.constant(["a", "b"]), tf.constant([1, 2], tf.int64))
    generator = tf.random.Generator.from_seed(7)
    iterator = iter(tf.data.Dataset.range(5))
    next(iterator)
    path = tf.train.Checkpoint(table=table, generator=generator, iterator=iterator, v=tf.Variable(2.0)).save(
        str(tmp_path / "c")
    )
    got = ck.restore(path, strict=False)
    assert got["v"] == 2.0
    assert_same(got["generator/_state_var"], generator.state.numpy())
    theirs = tf.train.load_checkpoint(path).get_variable_to_shape_map()
    assert {n for n in theirs if "table" in n} == {n for n in ck.load_checkpoint(path) if "table" in n}
    keys = [n for n in got if n.startswith("table") and "keys" in n]
    assert len(keys) == 1
    assert sorted(got[keys[0]].tolist()) == [b"a", b"b"]
    with pytest.raises(ck.UnsupportedError, match="variant"):
        ck.restore(path)  # an iterator's state, which nothing but TensorFlow can read
    single = tf.train.Checkpoint(tf.Variable(2.5)).write(str(tmp_path / "single"))
    assert_same(ck.load_checkpoint(single).get_tensor("/.ATTRIBUTES/VARIABLE_VALUE"), np.float32(2.5))
    assert [v.tolist() for v in ck.restore(single).values()] == [2.5]


def test_saved_model(tmp_path: Path) -> None:
    net = Net()
    tf.saved_model.save(net, str(tmp_path / "model"))
    got = ck.restore(tmp_path / "model" / "variables" / "variables")
    assert_same(got["half"], np.float16([1.5]))
    for name, value in layer_items("pair/1", net.pair[1]).items():
        assert_same(got[name], value, name)
