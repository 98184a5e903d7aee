"""Building graphs: names, scopes, devices, control inputs, operators, variables, collections."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import ckptstore as ck
from ckptstore.graph.devices import canonical, on_first_cpu
from ckptstore.graph.exporting import export_graph
from ckptstore.graph.graph import Graph


@pytest.fixture(autouse=True)
def graph() -> Iterator[Graph]:
    with ck.Graph().as_default() as fresh:
        yield fresh


def names(graph: Graph) -> list[str]:
    return [operation.name for operation in graph.operations]


def test_names_are_unique_whatever_their_case(graph: Graph) -> None:
    for name in ("a", "A", "a", "a_1", "b/c", "b/c"):
        ck.placeholder(np.float32, name=name)
    assert names(graph) == ["a", "A_1", "a_2", "a_1_1", "b/c", "b/c_1"]
    with ck.name_scope("s") as scope:
        ck.constant(1, name="x")
    with ck.name_scope("s"):
        ck.constant(1, name="x")
    with ck.name_scope(scope):
        ck.constant(1, name="x")
    assert names(graph)[6:] == ["s/x", "s_1/x", "s/x_1"]
    assert graph.unique_name("s", mark_as_used=False) == graph.unique_name("s") == "s_2"


@pytest.mark.parametrize("name", ["_a", "a b", "\u00e9", "-a", "a:0"])
def test_names_that_a_node_cannot_have(name: str) -> None:
    with pytest.raises(ck.InvalidArgumentError, match="cannot be the name of a node"):
        ck.constant(1, name=name)
    with pytest.raises(ck.InvalidArgumentError, match="cannot be the name of a node"):
        ck.Variable(1.0, name=name)


@pytest.mark.parametrize(
    ("name", "spelled", "cpu"),
    [
        ("", "", "/device:CPU:0"),
        ("/cpu:0", "/device:CPU:0", "/device:CPU:0"),
        ("/GPU:1", "/device:GPU:1", "/device:CPU:0"),
        ("/job:ps/task:3/gpu:0", "/job:ps/task:3/device:GPU:0", "/job:ps/task:3/device:CPU:0"),
        ("/device:CPU:*", "/device:CPU:*", "/device:CPU:0"),
    ],
)
def test_devices(name: str, spelled: str, cpu: str) -> None:
    assert canonical(name) == spelled
    assert on_first_cpu(name) == cpu
    with ck.device(name):
        assert ck.constant(1).device == spelled


def test_devices_within_devices() -> None:
    with ck.device("/job:ps/cpu:0"):
        with ck.device("/task:1"):
            assert ck.constant(1).device == "/job:ps/task:1/device:CPU:0"
        with ck.device(None):
            assert ck.constant(1).device == ""
    with pytest.raises(ck.InvalidArgumentError, match="is no device"):
        ck.device("cheap").__enter__()


def test_control_inputs(graph: Graph) -> None:
    a, b = ck.constant(1, name="a"), ck.constant(2, name="b")
    with ck.control_dependencies([b, a.op]):
        c = ck.constant(3, name="c")
        d = ck.raw_ops.Neg(x=c, name="d")
        with ck.control_dependencies(None):
            ck.constant(4, name="e")
    assert list(c.op.node_def.input) == ["^a", "^b"]
    assert list(d.op.node_def.input) == ["c"]  # it waits already
    assert graph.operation("e").control_inputs == ()
    assert [o.name for o in c.op.control_inputs] == ["a", "b"]
    assert a.op.get_attr("_has_manual_control_dependencies") is True
    assert ck.group(d, c, name="all").node_def.input == ["^c", "^d"]


BINARY: list[tuple[str, Callable[[Any, Any], Any]]] = [
    ("add", lambda a, b: a + b), ("sub", lambda a, b: a - b), ("mul", lambda a, b: a * b),
    ("truediv", lambda a, b: a / b), ("floordiv", lambda a, b: a // b), ("mod", lambda a, b: a % b),
    ("pow", lambda a, b: a**b), ("Less", lambda a, b: a < b), ("LessEqual", lambda a, b: a <= b),
    ("Greater", lambda a, b: a > b), ("GreaterEqual", lambda a, b: a >= b),
]  # fmt: skip


@pytest.mark.parametrize(("name", "apply"), BINARY, ids=[name for name, _ in BINARY])
@pytest.mark.parametrize("use_resource", [False, True])
def test_binary_operators(name: str, apply: Callable[[Any, Any], Any], use_resource: bool) -> None:
    """On variables, tensors and plain values on either side: the node's name, and what comes out."""
    x, y = np.float32([1.5, 4.0, 7.0]), np.float32([2.0, 3.0, 7.0])
    v = ck.Variable(x, name="v", use_resource=use_resource)
    t = ck.placeholder(np.float32, [3], name="t")
    expected = apply(x, y)
    for built in (apply(v, t), apply(v, y), apply(t, ck.constant(y)), apply(v, list(y))):
        got = built.eval({t: y if built.op.inputs[0] is not t else x})
        np.testing.assert_allclose(got, expected, rtol=1e-6)
    assert apply(v, t).op.name.startswith(name)
    if name[0].islower():
        np.testing.assert_allclose(apply(list(x), t).eval({t: y}), expected, rtol=1e-6)


def test_other_operators() -> None:
    x = np.arange(12, dtype=np.float32).reshape(3, 4) - 5
    t = ck.constant(x)
    np.testing.assert_array_equal((-t).eval(), -x)
    np.testing.assert_array_equal(abs(t).eval(), abs(x))
    np.testing.assert_array_equal((t @ x.T).eval(), x @ x.T)
    np.testing.assert_array_equal((x.T.tolist() @ t).eval(), x.T @ x)
    assert (t @ x.T).op.type == "MatMul"
    assert (ck.constant(x[None]) @ x.T[None]).op.type == "BatchMatMulV2"
    both = (t > 0.0) & (t < 3.0)
    np.testing.assert_array_equal(both.eval(), (x > 0) & (x < 3))
    np.testing.assert_array_equal((~both | (t > 9.0)).eval(), ~((x > 0) & (x < 3)) | (x > 9))
    for index in (
        1,
        -1,
        slice(None),
        slice(1, 3),
        slice(None, None, -1),
        (1, 2),
        (..., 1),
        (None, 0),
        (slice(0, 2), None),
    ):
        np.testing.assert_array_equal(t[index].eval(), x[index])
    assert (ck.constant(7) / ck.constant(2)).eval() == 3.5
    assert (ck.constant(b"a") + b"b").eval() == b"ab"


def test_what_is_no_value_yet() -> None:
    t = ck.placeholder(np.float32)
    with pytest.raises(TypeError, match="before the graph runs"):
        bool(t)
    with pytest.raises(TypeError, match="iterated"):
        iter(t)
    assert t in {t}
    assert t != ck.placeholder(np.float32)
    assert len({t, t}) == 1
    assert repr(t) == "<Tensor 'Placeholder:0' shape=? dtype=float32>"


def test_two_graphs_do_not_mix() -> None:
    here = ck.constant(1.0)
    with ck.Graph().as_default():
        there = ck.constant(2.0)
    with pytest.raises(ck.InvalidArgumentError, match="belongs to another graph"):
        here + there


def test_raw_ops(graph: Graph) -> None:
    values, indices = ck.raw_ops.TopKV2(input=[3.0, 1.0, 2.0], k=2, name="top")
    assert graph.run({"v": values, "i": [indices]})["v"].tolist() == [3.0, 2.0]
    assert graph.operation("top").get_attr("sorted") is True
    assert ck.raw_ops.NoOp(name="nothing").type == "NoOp"
    assert ck.raw_ops.AddN(inputs=[1.0, 2.0, 3.0]).eval() == 6.0
    assert "Conv2D" in dir(ck.raw_ops)
    with pytest.raises(AttributeError, match="Conv7D"):
        _ = ck.raw_ops.Conv7D
    with pytest.raises(ck.InvalidArgumentError, match="needs the inputs k"):
        ck.raw_ops.TopKV2(input=[1.0])
    with pytest.raises(ck.InvalidArgumentError, match="no attribute 'colour'"):
        ck.raw_ops.Neg(x=1.0, colour="red")
    with pytest.raises(ck.IncompatibleTensorError, match="must be float32"):
        ck.raw_ops.AddV2(x=ck.constant(1.0), y=ck.constant(1))
    with pytest.raises(ck.InvalidArgumentError, match="attribute 'dtype'"):
        ck.raw_ops.Placeholder()
    assert names(graph)[-1] != "Placeholder"


def test_constants() -> None:
    assert ck.constant(1.5).dtype.name == "float32"
    assert ck.constant(1).dtype.name == "int32"
    assert ck.constant(1 << 40).dtype.name == "int64"
    assert ck.constant(np.float64(1)).dtype.name == "float64"
    assert ck.constant([True]).dtype.name == "bool"
    assert ck.constant("text").eval() == b"text"
    assert ck.constant(7, np.float16, [2, 3]).eval().tolist() == [[7.0] * 3] * 2
    assert len(ck.constant(0.0, shape=[1000, 1000]).op.node_def.SerializeToString()) < 200
    assert ck.constant([1, 2, 3, 4], shape=[2, 2]).shape == (2, 2)
    with pytest.raises(ck.IncompatibleTensorError):
        ck.constant([1, 2, 3], shape=[2, 2])
    with pytest.raises(ck.IncompatibleTensorError):
        ck.constant(object())


@pytest.mark.parametrize("use_resource", [False, True])
def test_variables(use_resource: bool, graph: Graph) -> None:
    given = np.float32([1, 2])
    v = ck.Variable(given, name="v", use_resource=use_resource)
    given[0] = 99
    assert v.numpy().tolist() == [1, 2]
    assert (v.name, v.shape, v.dtype.name, v.trainable, v.device) == ("v:0", (2,), "float32", True, "")
    assert np.asarray(v).tolist() == [1, 2]
    v.assign(given)
    given[1] = 99
    assert v.numpy().tolist() == [99, 2]
    assert v.assign_add([1, 1]).assign_sub([0, 1]).numpy().tolist() == [100, 2]
    doubled = v * 2.0
    assert doubled.eval().tolist() == [200, 4]
    graph.run(v.initializer)
    assert v.numpy().tolist() == [1, 2]
    assert v.assign(doubled).numpy().tolist() == [2, 4]
    for wrong in (np.float32([1, 2, 3]), np.float64([1, 2]), "text", object()):
        with pytest.raises(ck.IncompatibleTensorError):
            v.assign(wrong)
    assert v.numpy().tolist() == [2, 4]
    assert ck.global_variables() == ck.trainable_variables() == [v]
    assert repr(v) == "<Variable 'v:0' shape=[2] dtype=float32>"
    w = ck.Variable(v + 1.0, name="w", trainable=False, use_resource=use_resource)
    assert w.numpy().tolist() == [3, 5]
    assert ck.trainable_variables() == [v]
    later = ck.Variable(lambda: np.zeros(2), name="later", initialize=False, use_resource=use_resource)
    assert not later.is_initialized()
    with pytest.raises(ck.InvalidArgumentError, match="no value yet"):
        later.numpy()
    graph.run(later.initializer)
    assert later.numpy().tolist() == [0, 0]


def test_a_large_initial_value_is_not_put_into_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ckptstore.graph.variable.MAX_CONSTANT", 1000)
    v = ck.Variable(np.ones((50, 50)), name="v")
    assert v.numpy().all()
    assert export_graph(v.graph).ByteSize() < 5000
    v.graph.run(v.initializer)
    assert not v.numpy().any()


def test_partitioned() -> None:
    whole = np.arange(20).reshape(4, 5)
    parts = ck.PartitionedVariable.split(whole, 3, axis=-1, name="p", devices=["/cpu:0", None, "/cpu:1"])
    assert [part.shape for part in parts] == [(4, 2), (4, 2), (4, 1)]
    assert [part.device for part in parts] == ["/device:CPU:0", "", "/device:CPU:1"]
    assert (parts.shape, parts.dtype.name, len(parts)) == ((4, 5), "int64", 3)
    assert parts.numpy().tolist() == whole.tolist()
    assert parts.assign(whole * 2)[2].numpy().tolist() == [[8], [18], [28], [38]]
    assert len(ck.PartitionedVariable.split(np.ones(2), 5, name="q")) == 2
    with pytest.raises(ck.IncompatibleTensorError, match="no dimension 2"):
        ck.PartitionedVariable.split(whole, 2, axis=2, name="r")
    with pytest.raises(ck.IncompatibleTensorError, match=r"\[4, 5\]"):
        parts.assign(whole.T)


def test_collections(graph: Graph) -> None:
    x = ck.placeholder(np.float32, name="s/x")
    graph.add_to_collections(["k", "l", "k"], x)
    graph.add_to_collection("k", ck.constant(1, name="t/y"))
    assert [item.name for item in graph.get_collection("k")] == ["s/x:0", "t/y:0"]
    assert [item.name for item in graph.get_collection("k", "t/")] == ["t/y:0"]
    assert graph.get_all_collection_keys() == ["k", "l"]
    graph.get_collection_ref("l").clear()
    graph.clear_collection("k")
    assert graph.get_all_collection_keys() == []
    assert ck.GraphKeys.GLOBAL_VARIABLES == "variables"


@pytest.mark.parametrize("items", [[1, "a"], [1, 2.5], [np.float32(1)], [True], [[1]], ["a", 1], [object()]])
def test_a_collection_that_cannot_be_written_is_left_out(items: list[Any], graph: Graph) -> None:
    graph.get_collection_ref("odd").extend(items)
    graph.add_to_collection("fine", 7)
    with pytest.warns(ck.MetaGraphWarning, match="'odd' is left out"):
        assert list(export_graph(graph).collection_def) == ["fine"]


def test_the_default_graph() -> None:
    inner = ck.get_default_graph()
    with pytest.raises(ck.InvalidArgumentError, match="inside of"):
        ck.reset_default_graph()
    with ck.Graph().as_default() as other:
        assert ck.get_default_graph() is other
    assert ck.get_default_graph() is inner


def test_what_is_not_there(graph: Graph) -> None:
    ck.constant(1, name="a")
    for name in ("b", "b:0", "a:1"):
        with pytest.raises(ck.InvalidArgumentError, match=name.split(":")[0]):
            graph.tensor(name)
    with pytest.raises(ck.InvalidArgumentError, match="no attribute 'size'"):
        graph.operation("a").get_attr("size")
    graph.finalize()
    with pytest.raises(ck.InvalidArgumentError, match="finalized"):
        ck.constant(2)


def test_global_step(graph: Graph) -> None:
    assert ck.get_global_step() is None
    step = ck.get_or_create_global_step()
    assert (step.name, step.dtype.name, step.trainable) == ("global_step:0", "int64", False)
    assert ck.get_or_create_global_step() == ck.get_global_step() == step
    with pytest.raises(ck.InvalidArgumentError, match="already exists"):
        ck.create_global_step()
    assert graph.get_collection(ck.GraphKeys.GLOBAL_STEP) == [step]
