"""tf.train.Checkpoint restores what ckptstore saved object by object, and goes on from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptstore as ck
from tests.compat.support import QUIET, VARIABLE_KINDS, assert_same, rng, sample, session, tensor, v1

tf = pytest.importorskip("tensorflow")
pytestmark = QUIET


def zeros(value: Any) -> Any:
    array = np.asarray(value)
    return tf.Variable(tf.zeros(array.shape, tensor(array).dtype))


def restore(path: Any, **tree: Any) -> Any:
    checkpoint = tf.train.Checkpoint(**tree)
    status = checkpoint.restore(str(path))
    status.assert_consumed()
    status.assert_existing_objects_matched()
    return checkpoint


def test_variables_modules_lists_and_dicts(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "n": np.int64(5),
        "layer/w": sample("float32", (4, 3), rng(1)),
        "layer/b": np.zeros(3, np.float16),
        "layer/inner/x": np.array([b"s", b""], object),
        "lst/0": np.float32(1),
        "lst/1": np.float32(2),
        "lst/2/w": np.float64(3),
        "dct/a": np.bool_(True),
        "dct/b.c": np.array([1 + 2j]),
        "dct/\u00e4 \u4e16": np.int8([1]),
        "a.b": np.uint8([7]),
        "tuple/0": np.float32([4]),
    }
    path = ck.save(tmp_path / "m", values, object_based=True, save_counter=41)

    module, inner = tf.Module(), tf.Module()
    module.w, module.b, module.inner = zeros(values["layer/w"]), zeros(values["layer/b"]), inner
    inner.x = tf.Variable(["", ""])
    last = tf.Module()
    last.w = zeros(np.float64(0))
    tree = {
        "n": zeros(values["n"]),
        "layer": module,
        "lst": [zeros(values["lst/0"]), zeros(values["lst/1"]), last],
        "dct": {key: zeros(values[f"dct/{key}"]) for key in ("a", "b.c", "\u00e4 \u4e16")},
        "a.b": zeros(values["a.b"]),
        "tuple": (zeros(values["tuple/0"]),),
    }
    checkpoint = restore(path, **tree)
    got = {
        "n": tree["n"], "layer/w": module.w, "layer/b": module.b, "layer/inner/x": inner.x, "lst/0": tree["lst"][0],
        "lst/1": tree["lst"][1], "lst/2/w": last.w, "a.b": tree["a.b"], "tuple/0": tree["tuple"][0],
    }  # fmt: skip
    got |= {f"dct/{key}": v for key, v in tree["dct"].items()}
    assert got.keys() == values.keys()
    for name, variable in got.items():
        assert_same(variable.numpy(), values[name], name)

    assert int(checkpoint.save_counter) == 41
    again = checkpoint.save(str(tmp_path / "ckpt"))
    assert again == str(tmp_path / "ckpt-42")
    back = ck.restore(again)
    assert back.keys() == values.keys()
    for name, value in values.items():
        assert_same(back[name], value, name)


def test_round_and_round(tmp_path: Path) -> None:
    """By turns, eight times: each goes on from what the other saved, and the numbers go on too."""
    w, lst = tf.Variable(np.zeros(3)), [tf.Variable(0), tf.Variable(0)]
    state = {"w": np.zeros(3), "lst/0": np.int32(0), "lst/1": np.int32(0)}
    counter = 0
    for _ in range(8):
        counter += 1
        state = {"w": state["w"] + 1, "lst/0": state["lst/0"] + np.int32(1), "lst/1": state["lst/1"] + np.int32(2)}
        path = ck.save(tmp_path / f"ours-{counter}", state, object_based=True, save_counter=counter)
        checkpoint = restore(path, w=w, lst=lst)
        w.assign_add(np.ones(3))
        lst[1].assign_add(5)
        path = checkpoint.save(str(tmp_path / "theirs"))
        counter += 1
        assert path == str(tmp_path / f"theirs-{counter}")
        state = ck.restore(path)
    assert state["w"].tolist() == [16.0] * 3
    assert (state["lst/0"], state["lst/1"]) == (8, 56)


@pytest.mark.parametrize("max_shard_bytes", [None, 1, 50])
def test_random_trees(max_shard_bytes: int | None, tmp_path: Path) -> None:
    """Trees of dicts, of random shape, with names that need escaping. (With a child named ".ATTRIBUTES", TensorFlow
    cannot restore what it saved itself.)"""
    parts = ["a", "b.c", ".", "..", "x y", "w", "\u00e4", "0", "S", ".S", "a.Sb", "VARIABLE_VALUE", "OPTIMIZER_SLOT"]
    for seed in range(15):
        generator = rng(80, seed)

        def grow(depth: int, generator: Any = generator) -> dict[str, Any]:
            out: dict[str, Any] = {}
            for i in generator.permutation(len(parts))[: int(generator.integers(1, 5))]:
                if depth and generator.random() < 0.6:
                    out[parts[i]] = grow(depth - 1)
                else:
                    out[parts[i]] = sample("int32", (int(generator.integers(0, 4)),), generator)
            return out

        tree = {f"k{i}": grow(3) for i in range(3)}
        path = ck.save(tmp_path / f"m{seed}", tree, object_based=True, max_shard_bytes=max_shard_bytes)

        def variables(node: Any) -> Any:
            return {k: variables(v) for k, v in node.items()} if isinstance(node, dict) else zeros(node)

        mine = variables(tree)
        restore(path, **mine)

        def check(node: Any, want: Any) -> None:
            if isinstance(want, dict):
                for key, value in want.items():
                    check(node[key], value)
            else:
                assert_same(node.numpy(), want)

        check(mine, tree)
        again = tf.train.Checkpoint(**mine).write(str(tmp_path / f"again{seed}"))
        ours, theirs = ck.restore(path), ck.restore(again)
        assert ours.keys() == theirs.keys()


def test_partitioned_in_an_object(tmp_path: Path) -> None:
    value = sample("float32", (10, 4), rng(2))
    path = ck.save(tmp_path / "m", {"layer/emb": ck.Partitioned.split(value, 3)}, object_based=True)
    module = tf.Module()
    module.emb = zeros(value)
    restore(path, layer=module)
    assert_same(module.emb.numpy(), value)


def test_objects_made_after_the_restore(tmp_path: Path) -> None:
    """TensorFlow restores later what is not there yet."""
    path = ck.save(tmp_path / "m", {"layer/w": np.arange(3.0), "unused/x": 1}, object_based=True)
    module = tf.Module()
    checkpoint = tf.train.Checkpoint(layer=module)
    status = checkpoint.restore(path)
    module.w = tf.Variable(np.zeros(3))
    assert module.w.numpy().tolist() == [0, 1, 2]
    status.assert_existing_objects_matched()
    with pytest.raises(AssertionError, match="unused"):
        status.assert_consumed()


def test_a_model_and_its_optimizer(tmp_path: Path) -> None:
    """What ckptstore read of a Keras model under training, saved anew, is the same model to TensorFlow."""

    def make(seed: int) -> tuple[Any, Any]:
        tf.keras.utils.set_random_seed(seed)
        model = tf.keras.Sequential([tf.keras.Input((3,)), tf.keras.layers.Dense(2), tf.keras.layers.Dense(1)])
        model.compile(tf.keras.optimizers.Adam(0.1 * seed), "mse")
        model.train_on_batch(np.ones((2, 3), np.float32), np.zeros((2, 1), np.float32))
        return model, tf.train.Checkpoint(model=model)

    model, checkpoint = make(1)
    other, other_checkpoint = make(2)
    read = {name: v for name, v in ck.restore(checkpoint.save(str(tmp_path / "a"))).items() if "/.ATTR" not in name}
    path = ck.save(tmp_path / "ours", read, object_based=True, save_counter=9)
    other_checkpoint.restore(path).expect_partial()
    for ours, theirs in zip(other.weights, model.weights, strict=True):
        assert_same(ours.numpy(), theirs.numpy(), theirs.path)
    assert other_checkpoint.save(str(tmp_path / "b")).endswith("b-10")


@pytest.mark.parametrize("use_resource", VARIABLE_KINDS)
def test_saver_restores_by_full_name(use_resource: bool, tmp_path: Path) -> None:
    path = ck.save(tmp_path / "m", {"layer/w": np.arange(3, dtype=np.float32), "b": 1.5}, object_based=True)
    with session() as s:
        w = v1.get_variable("layer/w", [3], use_resource=use_resource)
        v1.train.Saver().restore(s, str(path))
        assert s.run(w).tolist() == [0, 1, 2]


def test_object_checkpoint_restores_by_name(tmp_path: Path) -> None:
    """A checkpoint without an object graph: tf.train.Checkpoint falls back on the variables' names."""
    path = ck.save(tmp_path / "m", {"dense/w": np.arange(3, dtype=np.float32)})
    module = tf.Module()
    module.v = tf.Variable(np.zeros(3, np.float32), name="dense/w")
    checkpoint = tf.train.Checkpoint(m=module)
    checkpoint.restore(str(path)).initialize_or_restore()
    assert module.v.numpy().tolist() == [0, 1, 2]
