"""Whole programs of TensorFlow 1, run here as in TensorFlow's sessions: variables, branches, loops and functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pytest

from ckptstore._proto.graph_pb2 import GraphDef
from ckptstore.graph.evaluator import Evaluator, supported_ops
from ckptstore.graph.kernels import KERNELS
from tests.compat.support import QUIET, session, tf, v1
from tests.compat.test_evaluator import C64, C128, CASES, F32, F64, INTS, REAL, SMALL, assert_close, data

pytestmark = QUIET

RANDOM = {
    "RandomUniform",
    "RandomStandardNormal",
    "TruncatedNormal",
    "RandomUniformInt",
    "RandomShuffle",
    "Multinomial",
}
NEURAL = {
    "activation",
    "blocks",
    "boxes",
    "convolution",
    "image",
    "loss",
    "normalization",
    "pooling",
    "quantization",
    "ranking",
}
"""Modules of kernels that are compared elsewhere."""
NOT_MADE = {"PlaceholderV2", "_SwitchN"}
"""TensorFlow's Python makes none of these: one is in old graphs only, the other in graphs that were optimised."""


class Program(NamedTuple):
    """What to feed, and what to fetch, one run after the other."""

    feeds: dict[str, Any]
    runs: list[Any]


PROGRAMS: dict[str, Callable[[], Program]] = {}


def program(function: Callable[[], Program]) -> Callable[[], Program]:
    PROGRAMS[function.__name__] = function
    return function


def names(tensors: Any) -> Any:
    return tf.nest.map_structure(lambda item: item.name, tensors)


@program
def constants() -> Program:
    values = [data((2, 3), d) for d in [*REAL, *INTS, *SMALL, np.bool_, C64, C128]]
    made = [tf.constant(v) for v in values] + [tf.constant([b"a", b"b"]), tf.constant("text"), tf.zeros([2, 0])]
    with tf.control_dependencies([tf.raw_ops.ControlTrigger(), tf.raw_ops.PrintV2(input="printed")]):
        return Program({}, [names(made), tf.no_op().name])


@program
def checks() -> Program:
    x = v1.placeholder(tf.float32, [None], name="x")
    with tf.control_dependencies([v1.Assert(tf.reduce_all(x > 0), [x]), v1.assert_rank(x, 1)]):
        return Program({"x:0": [1.0, 2.0]}, [tf.identity(x).name])


def variables(resource: bool) -> Program:
    v = v1.get_variable("v", initializer=data((4, 2)), use_resource=resource)
    unset = v1.get_variable("unset", initializer=data((2,)), use_resource=resource, collections=[])
    indices = tf.constant([2, 0, 2])
    steps = [
        v1.is_variable_initialized(v),
        v1.is_variable_initialized(unset),
        v1.assign_add(v, tf.ones([4, 2])),
        v1.assign_sub(v, tf.fill([4, 2], 0.5)),
        v1.scatter_update(v, [1, 3], data((2, 2), seed=3)),
        v1.scatter_add(v, indices, data((3, 2), seed=4)),
        v1.scatter_sub(v, indices, data((3, 2), seed=5)),
        v1.gather(v, indices),
        v1.gather_nd(v, [[0, 1], [3, 0]]),
        v1.assign(v, data((4, 2), seed=6)),
        tf.shape(v),
    ]
    if resource:
        steps += [v.sparse_read(indices), v.gather_nd([[1, 1]]), tf.raw_ops.VariableShape(input=v.handle)]
        with tf.control_dependencies([tf.raw_ops.DisableCopyOnRead(resource=v.handle)]):
            steps.append(v.read_value() + 1)
    return Program({}, [names(step) for step in steps])


@program
def reference_variables() -> Program:
    return variables(resource=False)


@program
def resource_variables() -> Program:
    return variables(resource=True)


@program
def reference_identity() -> Program:
    v = v1.get_variable("v", initializer=1.0, use_resource=False)
    return Program({}, [names(tf.raw_ops.RefIdentity(input=v._ref())), tf.identity(v).name])


@program
def reference_control_flow() -> Program:
    raw = tf.raw_ops
    v = v1.get_variable("v", initializer=data((2,)), use_resource=False)
    no, yes = raw.RefSwitch(data=v._ref(), pred=v1.placeholder(tf.bool, [], name="p"))
    merged = raw.RefMerge(inputs=[no, yes])
    inside = raw.RefEnter(data=v._ref(), frame_name="frame")
    outside = raw.RefExit(data=raw.RefNextIteration(data=inside))
    return Program({"p:0": True}, [names([tf.identity(merged.output), merged.value_index, tf.identity(outside)])])


@program
def old_variable() -> Program:
    v = tf.raw_ops.Variable(shape=[2], dtype=tf.float32, name="old")
    assigned = tf.raw_ops.Assign(ref=v, value=[1.0, 2.0])
    with tf.control_dependencies([assigned]):
        return Program({}, [assigned.name, tf.identity(v).name])


def optimized(make: Callable[[], Any], resource: bool) -> Program:
    v = v1.get_variable("v", initializer=data((3,)), use_resource=resource)
    gradient = tf.stack([v[0] * 2, v[1] - 4, v[2]])
    step = make().apply_gradients([(gradient, v)])
    return Program({}, [step.name, step.name, step.name, tf.identity(v).name])


OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "gradient_descent": lambda: v1.train.GradientDescentOptimizer(0.1),
    "momentum": lambda: v1.train.MomentumOptimizer(0.1, 0.9),
    "nesterov": lambda: v1.train.MomentumOptimizer(0.1, 0.9, use_nesterov=True),
    "adagrad": lambda: v1.train.AdagradOptimizer(0.1),
    "rms_prop": lambda: v1.train.RMSPropOptimizer(0.1, momentum=0.5),
    "adam": lambda: v1.train.AdamOptimizer(0.1),
}
for _name, _make in OPTIMIZERS.items():
    PROGRAMS[f"{_name}_reference"] = lambda make=_make: optimized(make, resource=False)  # type: ignore[misc]
    PROGRAMS[f"{_name}_resource"] = lambda make=_make: optimized(make, resource=True)  # type: ignore[misc]


@program
def conditions() -> Program:
    x = v1.placeholder(tf.float32, [], name="x")
    inner = v1.cond(x > 0, lambda: v1.cond(x > 2, lambda: x * 2, lambda: x * 3), lambda: -x)
    case = v1.case([(x > 5, lambda: x - 5), (x > 1, lambda: x - 1)], default=lambda: x, exclusive=False)
    looped = v1.cond(x > 0, lambda: v1.while_loop(lambda i: i < 10.0, lambda i: i + x, [x]), lambda: x)
    return Program({"x:0": 2.0}, [names([inner, case, looped])])


@program
def conditions_not_taken() -> Program:
    return conditions()._replace(feeds={"x:0": -2.0})


@program
def nested_loops() -> Program:
    x = v1.placeholder(tf.float32, [2], name="x")

    def inner(j: Any, part: Any) -> Any:
        return j + 1, v1.cond(tf.equal(j % 2, 0), lambda: part + x, lambda: part * 1.5)

    def outer(i: Any, total: Any) -> Any:
        rounds, part = v1.while_loop(lambda j, _: j < i, inner, [tf.constant(0), total])

        def longer() -> Any:
            return v1.while_loop(lambda k, _: k < 3, lambda k, p: (k + 1, p + 1.0), [tf.constant(0), part])[1]

        return i + 1, v1.cond(rounds > 2, lambda: part - x, longer)

    made = v1.while_loop(lambda i, _: i < 6, outer, [tf.constant(0), x])
    return Program({"x:0": [1.0, 2.0]}, [names(made)])


@program
def dynamic_loop_over_arrays() -> Program:
    x = v1.placeholder(tf.float32, [None, 3, 2], name="x")
    w = v1.get_variable("w", initializer=data((4, 2)), use_resource=False)
    inputs = tf.TensorArray(tf.float32, tf.shape(x)[0]).unstack(x)
    outputs = tf.TensorArray(tf.float32, tf.shape(x)[0], element_shape=[3, 2])

    def body(t: Any, state: Any, written: Any) -> Any:
        state = tf.math.sin(tf.matmul(tf.concat([inputs.read(t), state], 1), w))
        return t + 1, state, written.write(t, state)

    start = [tf.constant(0), tf.zeros([3, 2]), outputs]
    _, state, written = v1.while_loop(lambda t, _s, _o: t < tf.shape(x)[0], body, start)
    grown = tf.TensorArray(tf.float32, 0, dynamic_size=True, infer_shape=False, clear_after_read=False)
    grown = grown.split(x[0], [1, 2])
    with tf.control_dependencies([tf.TensorArray(tf.float32, 1).close()]):
        size = written.size()
    return Program({"x:0": data((5, 3, 2))}, [names([state, written.stack(), size, grown.concat(), grown.size()])])


@contextmanager
def loops_as_functions(wanted: bool) -> Iterator[None]:
    """Branches and loops become nodes that call functions, or those of TensorFlow 1: Switch, Enter and so on."""
    before = v1.control_flow_v2_enabled()
    (v1.enable_control_flow_v2 if wanted else v1.disable_control_flow_v2)()
    try:
        yield
    finally:
        (v1.enable_control_flow_v2 if before else v1.disable_control_flow_v2)()


def functional(control_flow: Callable[[], Any]) -> Any:
    with loops_as_functions(True):
        return control_flow()


@program
def functional_control_flow() -> Program:
    x = v1.placeholder(tf.float32, [2], name="x")
    v = v1.get_variable("v", initializer=data((2,)), use_resource=True)

    def body(i: Any, value: Any, written: Any) -> Any:
        with tf.control_dependencies([v.assign_add([1.0, 2.0] + 0 * value)]):
            value = v1.cond(tf.reduce_sum(value) > 3, lambda: value - v, lambda: value * 2)
        return i + 1, value, written.write(i, value)

    def control_flow() -> Any:
        start = [tf.constant(0), x, tf.TensorArray(tf.float32, 4, element_shape=[2])]
        _, value, written = v1.while_loop(lambda i, _s, _o: i < 4, body, start)
        picked = tf.switch_case(tf.constant(1), [lambda: x, lambda: x + v, lambda: x * v])
        with tf.control_dependencies([value]):
            return [value, written.stack(), written.gather([1, 3]), written.size(), tf.identity(picked)[:0]]

    return Program({"x:0": [1.0, 0.5]}, [names(functional(control_flow))])


@program
def stateless_control_flow() -> Program:
    x = v1.placeholder(tf.float32, [], name="x")

    def control_flow() -> Any:
        looped = v1.while_loop(lambda i: i < 10.0, lambda i: i * 2, [x])
        picked = tf.switch_case(tf.cast(x, tf.int32), [lambda: x, lambda: -x])
        return [looped, v1.cond(x > 1, lambda: x, lambda: -x), picked]

    return Program({"x:0": 1.0}, [names(functional(control_flow))])


@program
def functions() -> Program:
    x = v1.placeholder(tf.float32, [3], name="x")
    v = v1.get_variable("v", initializer=data((3,)), use_resource=True)

    @tf.function
    def inner(a: Any) -> Any:
        top, rest = tf.split(a, [1, 2])
        return tf.concat([rest, top], 0), a * v

    @tf.function
    def outer(a: Any) -> Any:
        turned, scaled = inner(a)
        v.assign_add(turned)
        return inner(scaled)[0] + v

    @tf.function
    def pure(a: Any) -> Any:
        return a * 2

    return Program({"x:0": [1.0, 2.0, 3.0]}, [names([outer(x), pure(x)]), v.read_value().name])


@program
def lists() -> Program:
    raw = tf.raw_ops
    made = raw.TensorListFromTensor(tensor=data((3, 2)), element_shape=[2])
    empty = raw.EmptyTensorList(element_shape=[2], max_num_elements=-1, element_dtype=tf.float32)
    reserved = raw.TensorListReserve(element_shape=[-1], num_elements=3, element_dtype=tf.float32)
    pushed = raw.TensorListPushBack(input_handle=made, tensor=[7.0, 8.0])
    popped, last = raw.TensorListPopBack(input_handle=pushed, element_shape=[2], element_dtype=tf.float32)
    item = raw.TensorListSetItem(input_handle=reserved, index=1, item=[4.0, 5.0])
    resized = raw.TensorListResize(input_handle=made, size=5)
    rows = raw.TensorListFromTensor(tensor=data((3, 2, 4)), element_shape=[2, 4])
    joined = raw.TensorListConcatV2(
        input_handle=rows, element_shape=[-1, 4], leading_dims=tf.zeros([0], tf.int64), element_dtype=tf.float32
    )

    def stack(handle: Any) -> Any:
        return raw.TensorListStack(input_handle=handle, element_shape=[2], element_dtype=tf.float32, num_elements=-1)

    read = [
        raw.TensorListGetItem(input_handle=item, index=1, element_shape=[2], element_dtype=tf.float32),
        raw.TensorListGather(input_handle=made, indices=[2, 0], element_shape=[2], element_dtype=tf.float32),
        raw.TensorListLength(input_handle=resized),
        raw.TensorListElementShape(input_handle=made, shape_type=tf.int32),
    ]
    stacks = [stack(handle) for handle in (made, empty, pushed, popped, item, resized)]
    return Program({}, [names([*stacks, last, joined[0], joined[1], *read])])


def in_session(make: Callable[[], Program]) -> Any:
    """The graph, the program, the variables before, what TensorFlow gives, and the variables after."""
    options = v1.GraphOptions()
    options.rewrite_options.disable_meta_optimizer = True
    with session(graph_options=options) as sess:
        with loops_as_functions(False):
            made = make()
        found = v1.global_variables()
        sess.run(v1.global_variables_initializer())
        start = {v.op.name: sess.run(v) for v in found}
        want = [sess.run(fetches, made.feeds) for fetches in made.runs]
        end = {v.op.name: sess.run(v) for v in found}
        return GraphDef.FromString(sess.graph.as_graph_def().SerializeToString()), made, start, want, end


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_gives_what_tensorflow_gives(name: str) -> None:
    graph_def, made, ours, want, end = in_session(PROGRAMS[name])
    evaluator = Evaluator(graph_def, ours)
    for fetches, theirs in zip(made.runs, want, strict=True):
        got = evaluator.run(fetches, made.feeds)
        for a, b in zip(tf.nest.flatten(got), tf.nest.flatten(theirs), strict=True):
            assert_close(a, b, f"{name}: {fetches}")
    for variable, value in end.items():
        assert_close(np.asarray(ours[variable]), np.asarray(value), f"{name}: {variable}")


def test_random_tensors_have_their_shape_type_and_range() -> None:
    with tf.Graph().as_default() as made:
        shape = [2000, 3]
        fetches = names(
            {
                "uniform": tf.random.uniform(shape, seed=1),
                "normal": tf.random.normal(shape, dtype=tf.float64),
                "truncated": tf.random.truncated_normal(shape),
                "integers": tf.random.uniform(shape, 2, 9, tf.int64),
                "shuffled": tf.random.shuffle(tf.range(100), seed=3),
                "drawn": tf.raw_ops.Multinomial(logits=[[-2.0, 0.0], [0.0, -50.0]], num_samples=2000),
            }
        )
        graph_def = GraphDef.FromString(made.as_graph_def().SerializeToString())
    assert {node.op for node in graph_def.node} >= RANDOM
    evaluator = Evaluator(graph_def)
    got = evaluator.run(fetches)
    for name, (dtype, low, high, mean) in {
        "uniform": (F32, 0, 1, 0.5),
        "normal": (F64, -9, 9, 0),
        "truncated": (F32, -2, 2, 0),
        "integers": (np.int64, 2, 8, 5),
    }.items():
        array = got[name]
        assert (array.shape, array.dtype) == ((2000, 3), dtype)
        assert low <= array.min()
        assert array.max() <= high
        assert abs(array.mean() - mean) < 0.2
    assert sorted(got["shuffled"].tolist()) == list(range(100))
    assert got["shuffled"].tolist() != list(range(100))
    assert 0.8 < got["drawn"][0].mean() < 0.95
    assert not got["drawn"][1].any()
    again, later = Evaluator(graph_def).run(fetches["uniform"]), evaluator.run(fetches["uniform"])
    assert (again == got["uniform"]).all()
    assert (later != got["uniform"]).any()


def test_every_op_that_can_be_run_is_compared() -> None:
    ops = set()
    for make in PROGRAMS.values():
        graph_def = in_session(make)[0]
        bodies = [graph_def.node, *(function.node_def for function in graph_def.library.function)]
        ops |= {node.op for body in bodies for node in body}
    neural = {op for op, function in KERNELS.items() if function.__module__.rpartition(".")[2] in NEURAL}
    assert set(supported_ops()) - ops - {op for op, cases in CASES.items() if cases} - RANDOM - neural == NOT_MADE
