"""Graphs that ckptstore writes: TensorFlow imports, restores, runs, trains and saves them; and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptstore as ck
from tests.compat.support import QUIET, session, v1

tf = pytest.importorskip("tensorflow")
pytestmark = QUIET


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    with ck.Graph().as_default():
        yield


KERNEL = np.float32([[0.5, -1.0], [2.0, 0.25], [1.0, 1.0]])
X = np.float32([[1.0, 2.0, 3.0], [0.0, -1.0, 1.0]])


def model(use_resource: bool, *, parts: int = 0, devices: bool = False) -> tuple[list[Any], ck.Tensor]:
    """A dense layer: its variables, and what it puts out."""
    x = ck.placeholder(np.float32, [None, 3], name="x")
    with ck.device("/cpu:1" if devices else ""):
        b = ck.Variable(np.float32([0.5, -0.5]), name="layer/b", use_resource=use_resource)
    with ck.device("/cpu:0" if devices else ""):
        if parts:
            w: Any = ck.PartitionedVariable.split(KERNEL, parts, name="layer/w", use_resource=use_resource)
            kernel = ck.raw_ops.ConcatV2(values=list(w), axis=0, name="kernel")
        else:
            w = kernel = ck.Variable(KERNEL, name="layer/w", use_resource=use_resource)
    y = ck.raw_ops.Softmax(logits=x @ kernel + b, name="y")
    return [w, b], y


@pytest.mark.parametrize("use_resource", [False, True], ids=["ref", "resource"])
@pytest.mark.parametrize("parts", [0, 2], ids=["whole", "parts"])
@pytest.mark.parametrize(
    "options",
    [{}, {"sharded": True}, {"write_version": ck.SaverDef.V1}, {"write_version": ck.SaverDef.V1, "sharded": True},
     {"reshape": True}],
    ids=["v2", "v2-sharded", "v1", "v1-sharded", "reshape"],
)  # fmt: skip
def test_the_whole_circle(use_resource: bool, parts: int, options: dict[str, Any]) -> None:
    """We save; TensorFlow imports, initialises, restores, runs, trains, saves; we restore that, and import it."""
    (w, b), y = model(use_resource, parts=parts, devices=bool(options.get("sharded")))
    saver = ck.Saver(**options)
    w.assign(KERNEL * np.float32(0.5))
    b.assign(np.float32([1.0, 2.0]))
    path = saver.save("ours/m", global_step=1)
    expected = y.eval({"x:0": X})
    with session(device_count={"CPU": 2}) as running:
        theirs = v1.train.import_meta_graph("ours/m-1.meta")
        running.run(v1.global_variables_initializer())
        initial = running.run("y:0", {"x:0": X})
        np.testing.assert_allclose(initial, softmax(X @ KERNEL + np.float32([0.5, -0.5])), rtol=1e-5)
        theirs.restore(running, path)
        np.testing.assert_allclose(running.run("y:0", {"x:0": X}), expected, rtol=1e-5)
        assert len(v1.trainable_variables()) == len(v1.global_variables()) == (parts or 1) + 1
        loss = tf.reduce_sum(tf.square(running.graph.get_tensor_by_name("y:0") - np.float32([[0, 1], [1, 0]])))
        train = v1.train.GradientDescentOptimizer(0.1).minimize(loss)
        for _ in range(3):
            running.run(train, {"x:0": X})
        trained = running.run("y:0", {"x:0": X})
        assert np.abs(trained - expected).max() > 1e-3
        Path("theirs").mkdir()  # TensorFlow makes none for some forms
        again = theirs.save(running, "theirs/m", global_step=2)
    saver.restore(again)
    np.testing.assert_allclose(y.eval({"x:0": X}), trained, rtol=1e-5)
    graph = ck.Graph()
    imported = ck.import_meta_graph("theirs/m-2.meta", graph=graph)
    assert imported is not None
    imported.restore(again)
    np.testing.assert_allclose(graph.run("y:0", {"x:0": X}), trained, rtol=1e-5)
    assert imported.save("back/m") in ("back/m", "back/m-?????-of-00001", "back/m-?????-of-00002")


def softmax(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize("scope", [None, "copy"])
def test_exported_forms(as_text: bool, scope: str | None) -> None:
    model(False)
    saver = ck.Saver()
    path = saver.save("m")
    saver.export_meta_graph("g.meta", as_text=as_text, clear_devices=True)
    with session() as running:
        theirs = v1.train.import_meta_graph("g.meta", import_scope=scope)
        theirs.restore(running, path)
        under = f"{scope}/" if scope else ""
        value = running.run(f"{under}y:0", {f"{under}x:0": X})
    np.testing.assert_allclose(value, softmax(X @ KERNEL + np.float32([0.5, -0.5])), rtol=1e-5)


def test_arrays_that_come_from_no_graph() -> None:
    """A Saver of a mapping, and a manager that was asked for graphs."""
    items = {
        "w": KERNEL,
        "n": np.int64(7),
        "s": np.array([b"a", b"bc"], object),
        "odd name \u00e9": np.ones(3, np.float16),
    }
    path = ck.Saver(items).save("m")
    with ck.CheckpointManager("run", meta_graph=True) as manager:
        other = manager.save(5, {**items, "parts": ck.Partitioned.split(np.arange(6.0).reshape(3, 2), 2)})
    for prefix in (path, other):
        with session() as running:
            saver = v1.train.import_meta_graph(f"{prefix}.meta")
            running.run(v1.global_variables_initializer())
            saver.restore(running, prefix)
            values = {v.op.name: running.run(v) for v in v1.global_variables()}
        assert values["w"].tolist() == KERNEL.tolist()
        assert values["n"] == 7
        assert values["s"].tolist() == [b"a", b"bc"]
        assert values["odd_name__"].tolist() == [1, 1, 1]
    assert [values[f"parts/part_{i}"].tolist() for i in range(2)] == [[[0, 1], [2, 3]], [[4, 5]]]


@pytest.mark.parametrize("use_resource", [False, True], ids=["ref", "resource"])
def test_tensorflows_own_variables(use_resource: bool) -> None:
    """Eager tf.Variables as what a Saver saves and restores."""
    del use_resource
    w, n = tf.Variable(KERNEL, name="w"), tf.Variable(np.int64(3), name="n")
    path = ck.Saver([w, n]).save("m")
    w.assign(KERNEL * 0)
    assert ck.Saver({"w": w}).restore(path).unused == ("n",)
    assert w.numpy().tolist() == KERNEL.tolist()
    half = tf.Variable(tf.cast(KERNEL, tf.bfloat16), name="half")
    saved = ck.Saver([half]).save("h")
    assert tf.train.load_variable(saved, "half").tolist() == half.numpy().tolist()


def test_averages_are_tensorflows() -> None:
    """The same updates in a session and here: values, names, and checkpoints that either restores."""
    start, moves = np.float32([1.0, -2.0]), [np.float32([0.5, 0.25]), np.float32([-3.0, 1.0]), np.float32([7.0, 7.0])]
    with session() as running:
        tf_w = v1.Variable(start, name="w", use_resource=True)
        steps = v1.Variable(np.int64(0), name="steps", trainable=False, use_resource=True)
        tf_ema = tf.train.ExponentialMovingAverage(0.9, num_updates=steps)
        op = tf_ema.apply([tf_w])
        running.run(v1.global_variables_initializer())
        for number, move in enumerate(moves):
            tf_w.load(move, running)
            steps.load(number, running)
            running.run(op)
        expected = running.run(tf_ema.average(tf_w))
        theirs = v1.train.Saver().save(running, "theirs")
        names = sorted(v.op.name for v in v1.global_variables())
        restored = {key: v.op.name for key, v in tf_ema.variables_to_restore().items()}
    w = ck.Variable(start, name="w", use_resource=True)
    count = ck.Variable(np.int64(0), name="steps", trainable=False, use_resource=True)
    ema = ck.ExponentialMovingAverage(0.9, num_updates=count)
    ema.apply([w])
    for number, move in enumerate(moves):
        w.assign(move)
        count.assign(number)
        ema.apply([w])
    assert ema.average(w).numpy().tolist() == expected.tolist()
    assert sorted(v.op.name for v in ck.global_variables()) == names
    assert {key: v.op.name for key, v in ema.variables_to_restore().items()} == restored
    ck.Saver().restore(theirs)
    ck.Saver(ema.variables_to_restore()).restore(theirs)
    assert w.numpy().tolist() == expected.tolist()
