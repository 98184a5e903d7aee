"""Freezing beside TensorFlow's own: the same messages where its result can be run, and the same values always."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from ckptstore._proto.graph_pb2 import GraphDef
from ckptstore.graph.freeze import convert_variables_to_constants, freeze, needed_variables
from ckptstore.graph.subgraph import extract_sub_graph
from ckptstore.graph.training_nodes import remove_training_nodes
from tests.compat.support import QUIET, VARIABLE_KINDS, assert_same, partition_initializer, rng, session, tf, v1
from tests.support.golden import GOLDEN, expectation, expected_tensors

pytestmark = QUIET

WIDTH = 4
RESOURCE = pytest.mark.parametrize("resource", VARIABLE_KINDS)


def as_written() -> Any:
    """A session that runs a graph as it is: sums in another order would differ in their last bits."""
    options = v1.GraphOptions()
    options.optimizer_options.opt_level = v1.OptimizerOptions.L0
    options.rewrite_options.disable_meta_optimizer = True
    return session(graph_options=options)


def ours(graph_def: Any) -> GraphDef:
    return GraphDef.FromString(graph_def.SerializeToString())


def run(graph_def: GraphDef, fetch: str, feed: dict[str, Any]) -> Any:
    with as_written() as sess:
        tf.import_graph_def(v1.GraphDef.FromString(graph_def.SerializeToString()), name="")
        return sess.run(fetch, {k: v for k, v in feed.items() if k.split(":")[0] in {n.name for n in graph_def.node}})


def comparable(graph_def: GraphDef) -> GraphDef:
    """The graph with its frozen functions numbered by where they are, and without what TensorFlow gets wrong.

    Its numbers are from a global counter. What a function gives back it takes from an output that a node no longer
    has, and a While keeps the static shape of a handle: neither can be imported.
    """
    new = {
        function.signature.name: re.sub(r"_frozen_\d+$", f"_frozen_{number}", function.signature.name)
        for number, function in enumerate(graph_def.library.function)
    }
    graph_def = ours(graph_def)
    for function in graph_def.library.function:
        function.signature.name = new[function.signature.name]
        for argument in list(function.arg_attr):
            if not function.arg_attr[argument].attr:  # TensorFlow makes these by looking for them
                del function.arg_attr[argument]
        reads = {node.name for node in function.node_def if node.op == "Identity"}
        for result, source in list(function.ret.items()):
            if source.endswith(":value:0") and source.split(":")[0] in reads:
                function.ret[result] = source.replace(":value:", ":output:")
    for node in itertools.chain(graph_def.node, *(f.node_def for f in graph_def.library.function)):
        if node.op == "While":
            node.attr.pop("_output_shapes", None)
        for attr in node.attr.values():
            for func in [attr.func] if attr.HasField("func") else attr.list.func:
                func.name = new.get(func.name, func.name)
    return graph_def


def assert_same_graph(got: GraphDef, want: Any) -> None:
    got, want = comparable(got), comparable(ours(want))
    assert [(n.name, n.op, list(n.input)) for n in got.node] == [(n.name, n.op, list(n.input)) for n in want.node]
    for a, b in zip(got.node, want.node, strict=True):
        assert a == b
    assert [f.signature.name for f in got.library.function] == [f.signature.name for f in want.library.function]
    for a, b in zip(got.library.function, want.library.function, strict=True):
        assert a == b
    assert got == want


def values_of(sess: Any) -> dict[str, np.ndarray[Any, Any]]:
    variables = v1.global_variables()
    return dict(zip([v.op.name for v in variables], sess.run(variables), strict=True))


@contextmanager
def control_flow(functional: bool) -> Iterator[None]:
    """Loops and conditionals as functions (While, If), or as TensorFlow 1 wrote them (Enter, Switch)."""
    before = v1.control_flow_v2_enabled()
    (v1.enable_control_flow_v2 if functional else v1.disable_control_flow_v2)()
    try:
        yield
    finally:
        (v1.enable_control_flow_v2 if before else v1.disable_control_flow_v2)()


class Model:
    """Random layers, one upon the other."""

    def __init__(self, seed: int, resource: bool) -> None:
        self._rng = rng(seed, 40)
        self._resource = resource
        self._number = itertools.count()

    def variable(self, *shape: int) -> Any:
        value = self._rng.normal(size=shape).astype(np.float32)
        return v1.get_variable(f"v{next(self._number)}", initializer=value, use_resource=self._resource)

    def dense(self, x: Any) -> Any:
        return tf.nn.relu(tf.matmul(x, self.variable(WIDTH, WIDTH)) + self.variable(WIDTH))

    def shared(self, x: Any) -> Any:
        w = self.variable(WIDTH, WIDTH)
        return tf.matmul(tf.matmul(x, w), w + w)

    def embedding(self, x: Any) -> Any:
        ids = tf.cast(tf.abs(tf.round(x[:, 0])), tf.int32) % 5
        return x + tf.nn.embedding_lookup(self.variable(5, WIDTH), ids)

    def partitioned(self, x: Any) -> Any:
        full = self._rng.normal(size=(7, WIDTH)).astype(np.float32)
        table = v1.get_variable(
            f"p{next(self._number)}",
            shape=full.shape,
            initializer=partition_initializer(full),
            partitioner=v1.fixed_size_partitioner(3),
            use_resource=self._resource,
        )
        ids = tf.cast(tf.abs(tf.round(x[:, 1])), tf.int32) % 7
        return x + v1.nn.embedding_lookup(table, ids) + tf.reduce_sum(tf.convert_to_tensor(table), 0)

    def gather_nd(self, x: Any) -> Any:
        return x + tf.gather_nd(self.variable(3, WIDTH), [[1]])

    def loop(self, x: Any) -> Any:
        w = self.variable(WIDTH, WIDTH)
        count = self._rng.integers(1, 4)
        return tf.while_loop(lambda i, _: i < int(count), lambda i, y: (i + 1, tf.tanh(tf.matmul(y, w))), [0, x])[1]

    def nested_loop(self, x: Any) -> Any:
        w, b = self.variable(WIDTH, WIDTH), self.variable(WIDTH)

        def inner(i: Any, y: Any) -> Any:
            return i + 1, tf.while_loop(lambda j, _: j < 2, lambda j, z: (j + 1, tf.tanh(z @ w + b)), [0, y])[1]

        return tf.while_loop(lambda i, _: i < 2, inner, [0, x])[1]

    def conditional(self, x: Any) -> Any:
        w, b = self.variable(WIDTH, WIDTH), self.variable(WIDTH)
        return tf.cond(
            tf.reduce_sum(x) > 0,
            lambda: tf.matmul(x, w),
            lambda: tf.matmul(x, w) + tf.cond(tf.reduce_sum(x) > -1, lambda: b, lambda: b * 2.0),
        )

    def switch_case(self, x: Any) -> Any:
        w, b = self.variable(WIDTH), self.variable(WIDTH)
        number = tf.cast(tf.abs(tf.reduce_sum(x)), tf.int32) % 3
        return tf.switch_case(number, [lambda: x + w, lambda: x * b, lambda: x - w * b])

    def function(self, x: Any) -> Any:
        w = self.variable(WIDTH, WIDTH)

        @tf.function(autograph=False)
        def inner(y: Any) -> Any:
            return tf.tanh(tf.matmul(y, w))

        @tf.function(autograph=False)
        def outer(y: Any) -> Any:
            return inner(y) + inner(y * 2.0)

        return outer(x)

    def checked(self, x: Any) -> Any:
        return tf.identity(tf.debugging.check_numerics(x, "bad")) + tf.stop_gradient(x)

    def build(self, layers: list[str]) -> Any:
        x = v1.placeholder(tf.float32, [None, WIDTH], name="x")
        y = x
        for layer in layers:
            y = getattr(self, layer)(y)
        return tf.identity(y, name="out")


PLAIN = ["dense", "shared", "embedding", "partitioned", "gather_nd", "checked"]
FLOW = ["loop", "nested_loop", "conditional", "switch_case"]
FEED = {"x:0": rng(41).normal(size=(3, WIDTH)).astype(np.float32)}


def check(seed: int, resource: bool, functional: bool, layers: list[str], train: bool = False) -> None:
    with control_flow(functional), as_written() as sess:
        out = Model(seed, resource).build(layers)
        if train:
            v1.train.AdamOptimizer(0.1).minimize(tf.reduce_sum(out))
            v1.train.Saver()
        sess.run(v1.global_variables_initializer())
        want = sess.run(out, FEED)
        graph_def = sess.graph.as_graph_def(add_shapes=bool(seed % 2))
        values = values_of(sess)
        theirs = v1.graph_util.convert_variables_to_constants(sess, graph_def, ["out"])
        assert_same_graph(
            extract_sub_graph(ours(graph_def), ["out"]), v1.graph_util.extract_sub_graph(graph_def, ["out"])
        )
    got = convert_variables_to_constants(ours(graph_def), values, ["out"])
    assert_same_graph(got, theirs)
    np.testing.assert_array_equal(run(got, "out:0", FEED), want)
    pruned = remove_training_nodes(got, ["out"])
    np.testing.assert_array_equal(run(pruned, "out:0", FEED), want)
    if "checked" not in layers:  # TensorFlow's would lose an input; of any, it loses all but the nodes
        same = v1.GraphDef.FromString(got.SerializeToString())
        assert list(pruned.node) == list(ours(v1.graph_util.remove_training_nodes(same, ["out"])).node)
    needed = needed_variables(ours(graph_def), "out")
    frozen = freeze(ours(graph_def), {name: values[name] for name in needed}, "out:0")
    assert not [n for n in frozen.node if n.op in ("VariableV2", "VarHandleOp", "SaveV2", "CheckNumerics")]
    np.testing.assert_array_equal(run(frozen, "out:0", FEED), want)


@RESOURCE
@pytest.mark.parametrize("seed", range(6))
def test_random_models(seed: int, resource: bool) -> None:
    layers = rng(seed, 42).choice(PLAIN, 5).tolist()
    check(seed, resource, False, layers, train=True)


@RESOURCE
@pytest.mark.parametrize("functional", [False, True], ids=["v1", "v2"])
@pytest.mark.parametrize("layer", FLOW)
def test_control_flow(layer: str, functional: bool, resource: bool) -> None:
    check(0, resource, functional, ["dense", layer, "dense"])
    check(1, resource, functional, [layer, layer], train=layer != "nested_loop")


@RESOURCE
@pytest.mark.parametrize("seed", range(4))
def test_random_models_with_control_flow(seed: int, resource: bool) -> None:
    layers = rng(seed, 43).choice(PLAIN + FLOW, 5).tolist()
    check(seed, resource, bool(seed % 2), layers)


def test_functions() -> None:
    check(0, True, True, ["function", "dense", "function"])
    check(1, True, True, ["function", "loop", "conditional"])


@pytest.mark.parametrize("functional", [False, True], ids=["v1", "v2"])
def test_embeddings_in_branches_and_loops(functional: bool) -> None:
    """TensorFlow leaves ResourceGather in functions as it is, and its axis outside of a loop: neither can be run."""
    with control_flow(functional), as_written() as sess:
        x = v1.placeholder(tf.float32, [None, WIDTH], name="x")
        table = v1.get_variable("table", initializer=rng(44).normal(size=(5, WIDTH)), dtype=tf.float64)
        ids = tf.constant([[0, 1, 2], [2, 3, 4]])

        def step(i: Any, y: Any) -> Any:
            return i + 1, y + tf.cast(tf.reduce_sum(tf.nn.embedding_lookup(table, ids[i]), 0), tf.float32)

        y = tf.while_loop(lambda i, _: i < 2, step, [0, x])[1]
        nd = tf.cond(tf.reduce_sum(y) > 0, lambda: tf.gather_nd(table, [[1], [2]]), lambda: tf.gather_nd(table, [[3]]))
        shape = tf.cond(tf.reduce_sum(y) > 0, lambda: tf.shape(table), lambda: tf.shape(table) * 2)
        extra = tf.reduce_sum(tf.gather(table, [[0], [1], [1], [0], [1]], batch_dims=1)) + tf.reduce_sum(nd)
        tf.add(y, tf.cast(extra, tf.float32) + tf.cast(shape[0], tf.float32), name="out")
        sess.run(v1.global_variables_initializer())
        want, values, graph_def = sess.run("out:0", FEED), values_of(sess), ours(sess.graph.as_graph_def())
    for frozen in (freeze(graph_def, values, "out"), convert_variables_to_constants(graph_def, values, "out")):
        np.testing.assert_array_equal(run(frozen, "out:0", FEED), want)


def test_a_function_called_with_a_variable_that_stays_and_one_that_does_not() -> None:
    with as_written() as sess:
        x = v1.placeholder(tf.float32, [None, WIDTH], name="x")
        v, w = (
            v1.get_variable(n, initializer=rng(i).normal(size=WIDTH), use_resource=True) for i, n in enumerate("vw")
        )

        @tf.function(autograph=False)
        def read(handle: Any) -> Any:
            return tf.raw_ops.ReadVariableOp(resource=handle, dtype=tf.float64) * 2.0

        tf.add(x, tf.cast(read(v.handle) + read(w.handle), tf.float32), name="out")
        sess.run(v1.global_variables_initializer())
        want, values, graph_def = sess.run("out:0", FEED), values_of(sess), ours(sess.graph.as_graph_def())
    frozen = freeze(graph_def, values, "out", variable_names_blacklist=["w"])
    with as_written() as sess:
        tf.import_graph_def(v1.GraphDef.FromString(frozen.SerializeToString()), name="")
        handle = sess.graph.get_tensor_by_name("w:0")
        sess.run(tf.raw_ops.AssignVariableOp(resource=handle, value=tf.constant(values["w"])))
        np.testing.assert_array_equal(sess.run("out:0", FEED), want)


def test_variables_of_every_type() -> None:
    with as_written() as sess:
        types = ("float16", "bfloat16", "float64", "int8", "uint8", "int64", "uint16", "complex64", "bool", "string")
        for number, name in enumerate(types):
            dtype = tf.as_dtype(name)
            value = np.array([b"a", b""], object) if name == "string" else np.array([1, 0], dtype.as_numpy_dtype)
            variable = v1.get_variable(name, initializer=tf.constant(value, dtype), use_resource=bool(number % 2))
            tf.identity(variable, name=f"out_{name}")
        sess.run(v1.global_variables_initializer())
        outputs = [f"out_{name}" for name in types]
        want, values = sess.run([f"{name}:0" for name in outputs]), values_of(sess)
        graph_def = sess.graph.as_graph_def()
        theirs = v1.graph_util.convert_variables_to_constants(sess, graph_def, outputs)
    got = convert_variables_to_constants(ours(graph_def), values, outputs)
    assert_same_graph(got, theirs)
    frozen = freeze(ours(graph_def), values, outputs)
    for name, value in zip(outputs, want, strict=True):
        assert_same(run(frozen, f"{name}:0", {}), value, name)


@pytest.mark.parametrize("kind", ["ref", "res"])
def test_the_golden_graphs_run(kind: str) -> None:
    case = GOLDEN / "16_frozen"
    values = {t.name: t.value for t in expected_tensors() if t.case == case.name and t.prefix == f"{kind}.ckpt"}
    expected = expectation(case.name)[f"run_{kind}"]
    graph_def = GraphDef.FromString((case / f"{kind}_graph.pb").read_bytes())
    got = run(freeze(graph_def, values, "out"), expected["fetch"], expected["feed"])
    np.testing.assert_array_equal(got, np.array(expected["value"], np.float32))


class TestOpenCV:
    """OpenCV reads a GraphDef itself, and knows only what a plain model is made of."""

    @staticmethod
    def frozen(build: Any, feed: np.ndarray[Any, Any], resource: bool) -> tuple[bytes, Any]:
        with session() as sess:
            x = v1.placeholder(tf.float32, [1, *feed.shape[1:]], name="x")
            model = Model(7, resource)
            out = tf.nn.softmax(build(model, x), name="out")
            v1.train.MomentumOptimizer(0.1, 0.9).minimize(tf.reduce_sum(out))
            v1.train.Saver()
            sess.run(v1.global_variables_initializer())
            want = sess.run(out, {x: feed})
            graph_def, values = ours(sess.graph.as_graph_def()), values_of(sess)
        return freeze(graph_def, values, out).SerializeToString(), want

    @staticmethod
    def assert_gives(data: bytes, blob: np.ndarray[Any, Any], want: np.ndarray[Any, Any]) -> None:
        import cv2  # not above: the module is looked at, and left out, where there is no TensorFlow

        net = cv2.dnn.readNetFromTensorflow(np.frombuffer(data, np.uint8))
        net.setInput(blob)
        np.testing.assert_allclose(net.forward(), want, rtol=1e-4, atol=1e-6)

    @RESOURCE
    def test_a_perceptron(self, resource: bool) -> None:
        def build(model: Model, x: Any) -> Any:
            hidden = tf.nn.relu(tf.nn.bias_add(tf.matmul(x, model.variable(6, 8)), model.variable(8)))
            return tf.matmul(tf.identity(hidden), model.variable(8, 3)) + model.variable(3)

        feed = rng(45).normal(size=(1, 6)).astype(np.float32)
        data, want = self.frozen(build, feed, resource)
        self.assert_gives(data, feed, want)

    @RESOURCE
    def test_a_convolutional_network(self, resource: bool) -> None:
        def build(model: Model, x: Any) -> Any:
            y = tf.nn.conv2d(x, model.variable(3, 3, 3, 5), 1, "SAME")
            y = tf.nn.relu(tf.nn.bias_add(y, model.variable(5)))
            y = tf.identity(tf.debugging.check_numerics(tf.nn.max_pool2d(y, 2, 2, "VALID"), "bad"))
            y = tf.nn.relu(tf.nn.conv2d(y, model.variable(3, 3, 5, 4), 2, "SAME") + model.variable(4))
            variance = v1.get_variable("variance", initializer=tf.constant([0.5, 1, 2, 3]), use_resource=resource)
            scale, offset, mean = (model.variable(4) for _ in range(3))
            y = v1.nn.fused_batch_norm(y, scale, offset, mean, variance, is_training=False)[0]
            return tf.matmul(tf.reshape(y, [1, 16]), model.variable(16, 3)) + model.variable(3)

        feed = rng(46).normal(size=(1, 8, 8, 3)).astype(np.float32)
        data, want = self.frozen(build, feed, resource)
        self.assert_gives(data, np.ascontiguousarray(feed.transpose(0, 3, 1, 2)), want)
