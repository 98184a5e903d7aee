"""ExponentialMovingAverage: values, names, collections, and what a Saver makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptstore as ck
from tests.support.golden import GOLDEN, expectation


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    with ck.Graph().as_default():
        yield


def test_golden_11() -> None:
    """The values that TensorFlow had after four updates, whose step was the number of updates."""
    said = expectation("11_ema")
    arrays = np.load(GOLDEN / "11_ema" / "expected.npz")
    final = {item["name"]: arrays[item["npz"]].view(item["tf_name"]).reshape(item["shape"]) for item in said["tensors"]}
    w = ck.Variable(np.array([1.0, 2.0], "f"), name="layer/w")
    b = ck.Variable(np.float32(0), name="b")
    fixed = ck.Variable(np.int64(3), name="fixed", trainable=False)
    step = ck.get_or_create_global_step()
    ema = ck.ExponentialMovingAverage(0.9, num_updates=step)
    x = np.array([1.0, 2.0], np.float32)
    ema.apply([w, b])  # makes the averages, of the initial values
    for number in range(1, 5):
        error = 2 * (w.numpy() * x + b.numpy() - 1.0)
        w.assign(w.numpy() - np.float32(0.1) * error * x)
        b.assign(b.numpy() - np.float32(0.1) * error.sum(dtype=np.float32))
        step.assign(number)
        ema.apply([w, b])
    assert ema.average_name(w) == said["average_names"]["layer/w"]
    assert [v.op.name for v in ck.moving_average_variables()] == said["moving_average_variables"]
    found = {key: v.op.name for key, v in ema.variables_to_restore().items()}
    assert found == said["variables_to_restore"]
    for variable in (w, b, fixed, step, ema.average(w), ema.average(b)):
        np.testing.assert_allclose(variable.numpy(), final[variable.op.name], rtol=1e-6)
    path = ck.Saver().save("ema.ckpt", global_step=step)
    assert dict(ck.list_variables(path)) == {name: list(value.shape) for name, value in final.items()}


def test_averages_of_a_checkpoint_in_one_call() -> None:
    w = ck.Variable(np.float32(0), name="w")
    ck.Variable(np.int64(7), name="count", trainable=False)
    ema = ck.ExponentialMovingAverage(0.5)
    for value in (0.0, 4.0, 8.0):
        w.assign(np.float32(value))
        ema.apply()
    ck.Saver().save("m")
    assert ema.restore_averages("m").used[-1] == ("w", "w/ExponentialMovingAverage")
    assert w.numpy() == 5.0
    with ck.Graph().as_default():  # an evaluation has no averages of its own
        plain = ck.Variable(np.float32(0), name="w")
        ck.Saver(ck.ExponentialMovingAverage(0.5).variables_to_restore()).restore("m")
        assert plain.numpy() == 5.0


@pytest.mark.parametrize("use_resource", [False, True])
def test_parts(use_resource: bool) -> None:
    """Saved under the name of the whole, and found there. (TensorFlow asks for the name of a part.)"""
    whole = np.arange(10, dtype=np.float32).reshape(5, 2)
    emb = ck.PartitionedVariable.split(whole, 2, name="emb", use_resource=use_resource)
    ema = ck.ExponentialMovingAverage(0.5)
    ema.apply([emb])
    emb.assign(whole + 2)
    ema.apply([emb])
    assert ema.average(emb).numpy().tolist() == (whole + 1).tolist()
    assert [part.op.name for part in ema.average(emb)] == [f"emb/part_{i}/ExponentialMovingAverage" for i in range(2)]
    assert list(ema.variables_to_restore()) == ["emb/ExponentialMovingAverage"]
    ck.Saver().save("m")
    assert dict(ck.list_variables("m")) == {"emb": [5, 2], "emb/ExponentialMovingAverage": [5, 2]}
    ema.restore_averages("m")
    assert emb.numpy().tolist() == (whole + 1).tolist()


@pytest.mark.parametrize("use_resource", [False, True])
def test_the_operation_makes_the_same_update(use_resource: bool) -> None:
    w = ck.Variable(np.float32([1, 2]), name="w", use_resource=use_resource)
    ema = ck.ExponentialMovingAverage(0.75, num_updates=3)
    op = ema.apply([w])
    w.assign([3.0, 6.0])
    op.run()
    first = ema.average(w).numpy()
    again = ck.ExponentialMovingAverage(0.75, num_updates=3, name="again")
    w.assign([1.0, 2.0])
    again.apply([w])
    w.assign([3.0, 6.0])
    again.apply([w])
    assert first.tolist() == again.average(w).numpy().tolist()
    np.testing.assert_allclose(first, [1 + (1 - 4 / 13) * 2, 2 + (1 - 4 / 13) * 4], rtol=1e-6)
    graph = ck.Graph()
    ck.Saver().save("m")
    imported = ck.import_meta_graph("m.meta", graph=graph)
    assert imported is not None
    imported.restore("m")
    graph.run(op.name)
    assert graph.values["w/ExponentialMovingAverage"].tolist() != first.tolist()


def test_of_a_tensor() -> None:
    """It begins at zero; with zero_debias the first average is the first value."""
    x = ck.placeholder(np.float32, [2], name="x")
    y = x * 2.0
    plain, fair = ck.ExponentialMovingAverage(0.5), ck.ExponentialMovingAverage(0.5, zero_debias=True, name="fair")
    ops = [plain.apply([y]), fair.apply([y])]
    for value in ([1.0, 2.0], [3.0, 2.0]):
        ck.get_default_graph().run(ops, {x: value})
    assert plain.average(y).numpy().tolist() == [3.5, 3.0]
    np.testing.assert_allclose(fair.average(y).numpy(), np.array([3.5, 3.0]) / 0.75)
    assert {v.op.name for v in ck.global_variables()} == {
        "mul/ExponentialMovingAverage", "mul/fair", "mul/fair/biased", "mul/fair/local_step",
    }  # fmt: skip


def test_names_before_and_after() -> None:
    w = ck.Variable(np.float32(1), name="scope/w")
    ema = ck.ExponentialMovingAverage(0.5, name="EMA2")
    assert ema.average_name(w) == "scope/w/EMA2"
    assert ema.average(w) is None
    with ck.name_scope("outer"):
        ema.apply([w])
    assert ema.average(w).op.name == ema.average_name(w) == "scope/w/EMA2"
    assert not ema.average(w).trainable


@pytest.mark.parametrize("decay", [-0.1, 1.1, float("nan")])
def test_decays_that_cannot_be(decay: float) -> None:
    with pytest.raises(ck.InvalidArgumentError, match="decay"):
        ck.ExponentialMovingAverage(decay)


@pytest.mark.parametrize("value", [np.int32(1), np.array(b"x", object)])
def test_types_that_cannot_be(value: Any) -> None:
    v = ck.Variable(value, name="v")
    with pytest.raises(ck.IncompatibleTensorError, match="half, float, or double"):
        ck.ExponentialMovingAverage(0.5).apply([v])
    with pytest.raises(ck.InvalidArgumentError):
        ck.ExponentialMovingAverage(0.5).apply([np.ones(2)])
    with pytest.raises(ck.InvalidArgumentError, match="no variables"):
        ck.ExponentialMovingAverage(0.5).apply([])
