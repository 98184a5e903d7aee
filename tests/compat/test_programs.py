"""The same small programs, written with TensorFlow and with ckptstore, record the same nodes."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import ckptstore as ck
from ckptstore._proto.graph_pb2 import GraphDef
from ckptstore.graph.attributes import decode_shape
from tests.compat.support import QUIET, v1

tf = pytest.importorskip("tensorflow")
pytestmark = QUIET

OURS = SimpleNamespace(
    variable=lambda value, name, resource: ck.Variable(value, name=name, use_resource=resource),
    placeholder=ck.placeholder,
    constant=ck.constant,
    raw=ck.raw_ops,
    scope=ck.name_scope,
    device=ck.device,
    after=ck.control_dependencies,
    group=ck.group,
    float32=np.float32,
)
THEIRS = SimpleNamespace(
    variable=lambda value, name, resource: v1.Variable(value, name=name, use_resource=resource),
    placeholder=v1.placeholder,
    constant=tf.constant,
    raw=tf.raw_ops,
    scope=v1.name_scope,
    device=v1.device,
    after=v1.control_dependencies,
    group=lambda *items, name: tf.group(*items, name=name),
    float32=tf.float32,
)
V = np.float32([[1, 2], [3, 4]])


def nested(api: Any, v: Any) -> None:
    with api.scope("a"):
        api.constant(1.0, name="x")
        with api.scope("b"):
            _ = v * 3.0
        with api.scope("b"):
            api.constant(1.0, name="x")
    with api.scope("a"):
        api.constant(1.0, name="x")


def placed(api: Any, v: Any) -> None:
    with api.device("/job:worker/task:1"):
        api.constant(1.0)
        with api.device("/gpu:0"):
            _ = api.constant(2.0) * 2.0
        with api.device(None):
            api.constant(3.0)


def ordered(api: Any, v: Any) -> None:
    a, b = api.constant(1.0, name="a"), api.constant(2.0, name="b")
    with api.after([b, a]):
        c = api.constant(3.0, name="c")
        d = api.raw.Neg(x=c, name="d")
        with api.after(None):
            api.constant(4.0, name="e")
    api.group(d, a, name="all")


PROGRAMS: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda api, v: v + v,
    "add a number": lambda api, v: v + 1.0,
    "add to a number": lambda api, v: 1.0 + v,
    "subtract": lambda api, v: v - [1.0, 2.0],
    "subtract from": lambda api, v: [1.0, 2.0] - v,
    "multiply": lambda api, v: v * v * 2.0,
    "divide": lambda api, v: v / 2.0,
    "divide by": lambda api, v: 2.0 / v,
    "floor divide": lambda api, v: v // 2.0,
    "modulo": lambda api, v: v % 2.0,
    "power": lambda api, v: v**2.0,
    "matrix product": lambda api, v: v @ V,
    "matrix product with": lambda api, v: V.tolist() @ v,
    "negate": lambda api, v: -v,
    "magnitude": lambda api, v: abs(v),
    "compare": lambda api, v: [v < 1.0, v <= 1.0, v > 1.0, v >= 1.0],
    "logic": lambda api, v: ~((v < 1.0) & (v > 0.0)) | (v > 9.0),
    "row": lambda api, v: v[0],
    "slices": lambda api, v: v[..., 1:],
    "new axis": lambda api, v: v[None, :, ::-1],
    "many of a name": lambda api, v: [api.constant(1.0), api.constant(2), api.constant([b"a", b"b"]), v + v, v + v],
    "scopes": nested,
    "devices": placed,
    "control": ordered,
    "raw": lambda api, v: [
        api.raw.Relu(features=api.constant(V), name="r"),
        api.raw.Sum(input=api.constant(V), axis=[0], keep_dims=True),
        api.raw.Reshape(tensor=api.constant(V), shape=[-1], name="flat"),
        api.raw.ConcatV2(values=[api.constant(V), api.constant(V)], axis=1),
        api.raw.Softmax(logits=api.constant(V)),
        api.raw.Cast(x=api.constant(V), DstT=np.dtype("int32") if api is OURS else tf.int32),
        api.raw.Pack(values=[api.constant(1), api.constant(2)]),
        api.raw.NoOp(name="nothing"),
    ],
    "fed": lambda api, v: api.placeholder(api.float32, [None, 2], name="x") @ v,
    "of strings": lambda api, v: api.constant(["a", "bc"], name="words"),
    "of other types": lambda api, v: [
        api.constant(np.arange(5)), api.constant(np.float16([1.5, 2])), api.constant([True, False]),
        api.constant(np.complex64([1 + 2j])), api.constant(np.zeros((0, 2), np.float32)), api.constant(7, name="n"),
        api.constant(np.uint16([1, 2])), api.constant(np.float64(3)), api.constant(np.int8([1, -1])),
    ],
}  # fmt: skip


def recorded(api: Any, program: Callable[[Any, Any], Any], resource: bool) -> GraphDef:
    if api is OURS:
        with ck.Graph().as_default() as graph:
            program(api, api.variable(V, "v", resource))
        return graph.as_graph_def(add_shapes=True)
    with tf.Graph().as_default() as graph:
        program(api, api.variable(V, "v", resource))
    return GraphDef.FromString(graph.as_graph_def(add_shapes=True).SerializeToString())


@pytest.mark.parametrize("resource", [False, True], ids=["ref", "resource"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_same_nodes(name: str, resource: bool) -> None:
    """Names, ops, inputs, devices and attributes. A shape may be unknown here, and must not be another."""
    ours, theirs = (recorded(api, PROGRAMS[name], resource) for api in (OURS, THEIRS))
    assert [node.name for node in ours.node] == [node.name for node in theirs.node]
    for node, other in zip(ours.node, theirs.node, strict=True):
        said, known = (
            [decode_shape(s) for s in n.attr.pop("_output_shapes").list.shape] if "_output_shapes" in n.attr else []
            for n in (node, other)
        )
        assert len(said) == len(known)
        for shape, true in zip(said, known, strict=True):
            assert shape is None or all(a is None or a == b for a, b in zip(shape, true, strict=True))
        assert node == other
