"""The evaluator: what TensorFlow recorded of the golden graphs, scheduling, deadness and errors."""

from __future__ import annotations

from collections import namedtuple
from typing import Any, NamedTuple

import numpy as np
import pytest

from ckptstore._proto.attr_value_pb2 import NameAttrList
from ckptstore._proto.graph_pb2 import GraphDef
from ckptstore._proto.meta_graph_pb2 import MetaGraphDef
from ckptstore._proto.node_def_pb2 import NodeDef
from ckptstore.errors import DataLossError, IncompatibleTensorError, InvalidArgumentError, UnsupportedError
from ckptstore.format.dtypes import DType, as_dtype
from ckptstore.graph.attributes import encode_shape
from ckptstore.graph.evaluator import Evaluator, supported_ops
from ckptstore.graph.tensors import make_tensor_proto
from tests.support.golden import GOLDEN, expectation, expected_tensors

FLOAT, INT = as_dtype("float32"), as_dtype("int32")


def values(case: str, prefix: str) -> dict[str, np.ndarray[Any, Any]]:
    found = {t.name: t.value for t in expected_tensors() if t.case == case and t.prefix == prefix}
    assert found
    return found


def meta_graph(case: str, prefix: str) -> GraphDef:
    return MetaGraphDef.FromString((GOLDEN / case / f"{prefix}.meta").read_bytes()).graph_def


def assert_recorded(got: Any, want: Any) -> None:
    np.testing.assert_allclose(got, np.asarray(want, np.float32), rtol=1e-6)
    assert got.dtype == np.float32


# -- graphs made here


class Named(NamedTuple):
    """What a tensor of TensorFlow is, as far as it matters here."""

    name: str


class Builder:
    """Nodes, one after the other."""

    def __init__(self, producer: int = 2474) -> None:
        self.graph_def = GraphDef()
        self.graph_def.versions.producer = producer

    def __call__(self, name: str, op: str, *inputs: str, **attrs: Any) -> str:
        node = self.graph_def.node.add(name=name, op=op, input=inputs)
        set_attrs(node, attrs)
        return name

    def const(self, name: str, value: Any, dtype: Any = None) -> str:
        proto = make_tensor_proto(value, None if dtype is None else as_dtype(dtype))
        node = self.graph_def.node.add(name=name, op="Const")
        node.attr["dtype"].type = proto.dtype
        node.attr["value"].tensor.CopyFrom(proto)
        return name

    def placeholder(self, name: str, shape: Any = None, dtype: DType = FLOAT) -> str:
        node = self.graph_def.node.add(name=name, op="Placeholder")
        node.attr["dtype"].type = dtype.as_datatype_enum
        encode_shape(shape, node.attr["shape"].shape)
        node.attr["shape"].shape.SetInParent()
        return name

    def variable(self, name: str, shape: Any = (), op: str = "VariableV2", dtype: DType = FLOAT) -> str:
        self.placeholder(name, shape, dtype)
        self.graph_def.node[-1].op = op
        return name

    def run(self, fetches: Any, feeds: Any = None, variables: Any = None) -> Any:
        return Evaluator(self.graph_def, variables).run(fetches, feeds)


def set_attrs(node: NodeDef, attrs: dict[str, Any]) -> None:
    for key, value in attrs.items():
        attr = node.attr[key]
        if isinstance(value, DType):
            attr.type = value.as_datatype_enum
        elif isinstance(value, NameAttrList):
            attr.func.CopyFrom(value)
        elif isinstance(value, bool):
            attr.b = value
        elif isinstance(value, int):
            attr.i = value
        elif isinstance(value, bytes):
            attr.s = value
        elif isinstance(value, list):
            attr.list.SetInParent()
            for item in value:
                if isinstance(item, DType):
                    attr.list.type.append(item.as_datatype_enum)
                else:
                    attr.list.func.add().CopyFrom(item)
        else:
            raise AssertionError(value)


def counting_loop(build: Builder, limit: int, *, name: str = "loop", start: str = "zero", pred: str = "") -> str:
    """while i < limit: i += 1; the nodes of tf.while_loop, and the name of its result."""
    build(f"{name}/enter", "Enter", start, T=INT, frame_name=name.encode())
    build(f"{name}/merge", "Merge", f"{name}/enter", f"{name}/next", T=INT, N=2)
    build.const(f"{name}/limit", np.int32(limit))
    build.graph_def.node[-1].input.append(f"^{name}/merge")
    build(f"{name}/less", "Less", f"{name}/merge", f"{name}/limit", T=INT)
    build(f"{name}/cond", "LoopCond", f"{name}/less")
    build(f"{name}/switch", "Switch", f"{name}/merge", f"{name}/cond", T=INT)
    build(f"{name}/body", "Identity", f"{name}/switch:1", T=INT)
    build.const(f"{name}/one", np.int32(1))
    build.graph_def.node[-1].input.append(f"^{name}/body")
    build(f"{name}/add", "AddV2", f"{name}/body", f"{name}/one", T=INT)
    build(f"{name}/next", "NextIteration", f"{name}/add", T=INT)
    return build(f"{name}/exit", "Exit", f"{name}/switch", T=INT)


def function(build: Builder, name: str, inputs: list[tuple[str, DType]], outputs: list[tuple[str, DType]]) -> Any:
    made = build.graph_def.library.function.add()
    made.signature.name = name
    for arg, dtype in inputs:
        made.signature.input_arg.add(name=arg, type=dtype.as_datatype_enum)  # type: ignore[arg-type]
    for arg, dtype in outputs:
        made.signature.output_arg.add(name=arg, type=dtype.as_datatype_enum)  # type: ignore[arg-type]
    return made


# -- golden graphs


@pytest.mark.parametrize(
    ("case", "prefix", "run"),
    [
        ("01a_basic_ref", "model.ckpt", "run"),
        ("01b_basic_resource", "model.ckpt", "run"),
        ("09a_v1_basic", "model.ckpt", "run"),
        ("12a_while_v1", "wh.ckpt", "run"),
        ("12b_while_v2", "wh2.ckpt", "run"),
        ("16_frozen", "ref.ckpt", "run_ref"),
        ("16_frozen", "res.ckpt", "run_res"),
    ],
)
def test_golden_graph_gives_what_tensorflow_recorded(case: str, prefix: str, run: str) -> None:
    recorded = expectation(case)[run]
    evaluator = Evaluator(meta_graph(case, prefix), values(case, prefix))
    assert_recorded(evaluator.run(recorded["fetch"], recorded["feed"]), recorded["value"])


@pytest.mark.parametrize("kind", ["ref", "res"])
@pytest.mark.parametrize("name", ["graph", "frozen", "sub", "frozen_blacklist_b"])
def test_golden_parts_give_the_same(kind: str, name: str) -> None:
    recorded = expectation("16_frozen")[f"run_{kind}"]
    graph_def = GraphDef.FromString((GOLDEN / "16_frozen" / f"{kind}_{name}.pb").read_bytes())
    got = Evaluator(graph_def, values("16_frozen", f"{kind}.ckpt")).run(recorded["fetch"], recorded["feed"])
    assert_recorded(got, recorded["value"])


def test_golden_training_and_averages_give_the_checkpoint_that_tensorflow_wrote() -> None:
    variables: dict[str, np.ndarray[Any, Any]] = {}
    evaluator = Evaluator(meta_graph("11_ema", "ema.ckpt-4"), variables)
    evaluator.run("init")
    for _ in range(4):
        evaluator.run("ExponentialMovingAverage", {"x:0": [1.0, 2.0]})
    want = values("11_ema", "ema.ckpt-4")
    assert variables.keys() == want.keys()
    for name, value in want.items():
        np.testing.assert_allclose(variables[name], value, rtol=1e-6, err_msg=name)


# -- scheduling


def test_only_what_is_needed_runs() -> None:
    build = Builder()
    build.placeholder("x")
    build("never", "NoSuchOp", "x")
    build.const("c", np.float32(2))
    assert build.run("c:0") == 2


def test_a_fed_tensor_cuts_off_what_it_would_be_computed_from() -> None:
    build = Builder()
    build("before", "NoSuchOp")
    build("y", "Square", "before", T=FLOAT)
    build("z", "Neg", "y", T=FLOAT)
    assert build.run("z:0", {"y:0": 3.0}) == -3
    assert build.run(["y:0", "z:0"], {"y": 3.0}) == [3, -3]


def test_control_inputs_run_before_and_every_node_runs_once() -> None:
    build = Builder()
    build.variable("v")
    build.const("one", np.float32(1))
    build("add", "AssignAdd", "v", "one", T=FLOAT)
    build("read", "Identity", "v", "^add", T=FLOAT)
    build("again", "Identity", "v", "^add", "^read", T=FLOAT)
    variables = {"v": np.float32(5)}
    assert build.run(["read:0", "again:0", "add"], None, variables) == [6, 6, None]
    assert variables == {"v": 6}


def test_depth_and_width_are_not_limited() -> None:
    build = Builder()
    build.const("n0", np.float32(0))
    build.const("one", np.float32(1))
    for i in range(20_000):
        build(f"n{i + 1}", "AddV2", f"n{i}", "one", T=FLOAT)
    assert build.run("n20000:0") == 20_000


def test_results_do_not_share_memory_with_variables() -> None:
    build = Builder()
    build.variable("v", (2,))
    build("read", "Identity", "v", T=FLOAT)
    variables = {"v": np.zeros(2, np.float32)}
    build.run("read:0", None, variables)[:] = 9
    assert variables["v"].tolist() == [0, 0]


@pytest.mark.parametrize(("op", "change", "total"), [("Identity", "AssignAdd", 2), ("Neg", "AssignAdd", 1)])
def test_what_was_read_by_reference_changes_with_the_variable(op: str, change: str, total: float) -> None:
    build = Builder()
    build.variable("v", (1,))
    build.const("one", np.ones(1, np.float32))
    build("read", op, "v", T=FLOAT)
    build("add", change, "v", "one", "^read", T=FLOAT)
    build("sum", "AddV2", "read", "add", T=FLOAT)
    given = np.zeros(1, np.float32)
    assert build.run("sum:0", None, {"v": given}).tolist() == [total]
    assert given.tolist() == [0]


def test_a_variable_assigned_from_another_does_not_share_its_memory() -> None:
    build = Builder()
    build.variable("v", (1,))
    build.variable("w", (1,))
    build.const("one", np.ones(1, np.float32))
    build("read", "Identity", "v", T=FLOAT)
    build("copy", "Assign", "w", "read", T=FLOAT)
    build("add", "AssignAdd", "v", "one", "^copy", T=FLOAT)
    variables = {"v": np.zeros(1, np.float32)}
    build.run("add", None, variables)
    assert (variables["v"].tolist(), variables["w"].tolist()) == ([1], [0])


def test_what_was_read_from_a_handle_stays() -> None:
    build = Builder()
    build.variable("v", (1,), "VarHandleOp")
    build.const("one", np.ones(1, np.float32))
    build("read", "ReadVariableOp", "v", dtype=FLOAT)
    build("add", "AssignAddVariableOp", "v", "one", "^read", dtype=FLOAT)
    build("after", "ReadVariableOp", "v", "^add", dtype=FLOAT)
    build("sum", "AddV2", "read", "after", T=FLOAT)
    assert build.run("sum:0", None, {"v": np.zeros(1, np.float32)}).tolist() == [1]


# -- fetches and feeds


def test_nests_of_fetches_keep_their_form() -> None:
    build = Builder()
    build.const("a", np.float32(1))
    build.const("b", np.asarray(b"text", object), "string")
    pair = namedtuple("pair", ["x", "y"])
    got = build.run({"p": pair("a:0", ["b:0", "a"]), "t": ("a:0",), "o": Named("a:0"), "e": []})
    assert got == {"p": pair(1, [b"text", None]), "t": (1,), "o": 1, "e": []}
    assert type(got["p"].x) is np.float32


def test_feeds_are_converted_where_nothing_is_lost() -> None:
    build = Builder()
    build.placeholder("x", (None, 2))
    build.placeholder("n", None, INT)
    build.placeholder("s", None, as_dtype("string"))
    assert build.run("x:0", {"x:0": [[1, 2]]}).dtype == np.float32
    assert build.run("n:0", {Named("n:0"): np.float64(3)}) == 3
    assert build.run("s:0", {"s:0": ["a", b"b"]}).tolist() == [b"a", b"b"]
    for name, bad, reason in [
        ("x", [1, 2], "shape"),
        ("x", [[1, 2, 3]], "shape"),
        ("x", [["a", "b"]], "cannot be fed"),
        ("x", [[1, 2], [3]], "cannot be fed"),
        ("n", 1.5, "without changing"),
        ("n", 1 << 40, "cannot be fed"),
        ("s", [1], "no string"),
    ]:
        with pytest.raises(InvalidArgumentError, match=reason) as caught:
            build.run(f"{name}:0", {f"{name}:0": bad})
        assert caught.value.name == f"{name}:0"


def test_placeholders_of_old_graphs_with_a_scalars_shape_take_any() -> None:
    for producer, fits in [(21, True), (22, False)]:
        build = Builder(producer)
        build.placeholder("x", ())
        if fits:
            assert build.run("x:0", {"x:0": [1.0, 2.0]}).shape == (2,)
        else:
            with pytest.raises(InvalidArgumentError, match="shape"):
                build.run("x:0", {"x:0": [1.0, 2.0]})


def test_a_default_stands_in_for_a_feed() -> None:
    build = Builder()
    build.const("c", np.float32(4))
    build("x", "PlaceholderWithDefault", "c", dtype=FLOAT)
    assert build.run("x:0") == 4
    assert build.run("x:0", {"x:0": 5.0}) == 5


# -- variables


def test_variables_are_named_by_their_node_or_shared_name() -> None:
    build = Builder()
    build.variable("h", (2,), "VarHandleOp")
    build.graph_def.node[-1].attr["shared_name"].s = b"shared"
    build("read", "ReadVariableOp", "h", dtype=FLOAT)
    build("set", "VarIsInitializedOp", "h")
    with pytest.raises(InvalidArgumentError, match=r"'shared' has no value yet: restore a checkpoint or assign") as e:
        build.run("read:0")
    assert e.value.name == "shared"
    assert build.run("set:0") == np.False_
    assert build.run(["read:0", "h:0"], None, {"shared": np.ones(2, np.float32)})[0].tolist() == [1, 1]


def test_assignments_are_written_through_and_checked() -> None:
    build = Builder()
    build.variable("v", (2,))
    build.const("good", np.ones(2, np.float32))
    build.const("bad", np.ones(3, np.float32))
    build("set", "Assign", "v", "good", T=FLOAT)
    build("wrong", "Assign", "v", "bad", T=FLOAT)
    build("loose", "Assign", "v", "bad", T=FLOAT, validate_shape=False)
    variables: dict[str, Any] = {}
    assert build.run("set:0", None, variables).tolist() == [1, 1]
    assert variables["v"].tolist() == [1, 1]
    with pytest.raises(InvalidArgumentError, match=r"'wrong' failed: \[3\] is not the shape"):
        build.run("wrong", None, variables)
    build.run("loose", None, variables)
    assert variables["v"].shape == (3,)


def test_a_value_of_another_type_is_refused() -> None:
    build = Builder()
    build.variable("v", (2,))
    build("read", "Identity", "v", T=FLOAT)
    with pytest.raises(IncompatibleTensorError, match="'v' is float32, and the value given for it float64"):
        build.run("read:0", None, {"v": np.zeros(2)})


# -- branches and loops


def conditional(build: Builder) -> None:
    build.placeholder("p", (), as_dtype("bool"))
    build.placeholder("x", None)
    build("switch", "Switch", "x", "p", T=FLOAT)
    build("yes", "Neg", "switch:1", T=FLOAT)
    build("no", "Square", "switch:0", T=FLOAT)
    build("merge", "Merge", "no", "yes", T=FLOAT, N=2)


def test_a_merge_takes_the_branch_that_lives() -> None:
    build = Builder()
    conditional(build)
    for pred, value, index in [(True, -3, 1), (False, 9, 0)]:
        assert build.run(["merge:0", "merge:1"], {"p": pred, "x": 3.0}) == [value, index]
    with pytest.raises(InvalidArgumentError, match="'yes:0' has no value: it is on a branch that was not taken"):
        build.run("yes:0", {"p": False, "x": 3.0})


def test_what_a_dead_branch_controls_does_not_run() -> None:
    build = Builder()
    conditional(build)
    build.variable("v")
    build.const("one", np.float32(1))
    build("add", "AssignAdd", "v", "one", "^yes", T=FLOAT)
    for pred, value in [(True, 6), (False, 5)]:
        variables = {"v": np.float32(5)}
        build.run("add", {"p": pred, "x": 1.0}, variables)
        assert variables["v"] == value


@pytest.mark.parametrize(("index", "value"), [(0, 3), (1, -3), (2, 9), (7, 9)])
def test_one_of_many_branches_lives(index: int, value: float) -> None:
    build = Builder()
    build.placeholder("x")
    build.graph_def.node[-1].op = "PlaceholderV2"
    build.const("i", np.int32(index))
    build("switch", "_SwitchN", "x", "i", T=FLOAT, num_outs=3)
    build("b", "Neg", "switch:1", T=FLOAT)
    build("c", "Square", "switch:2", T=FLOAT)
    build("merge", "Merge", "switch:0", "b", "c", T=FLOAT, N=3)
    assert build.run("merge:0", {"x": 3.0}) == value


@pytest.mark.parametrize("limit", [0, 1, 7, 3000])
def test_a_loop_counts(limit: int) -> None:
    build = Builder()
    build.const("zero", np.int32(0))
    counting_loop(build, limit)
    assert build.run(["loop/exit:0", "loop/exit"]) == [limit, None]
    with pytest.raises(InvalidArgumentError, match="inside of a loop"):
        build.run("loop/add:0")


def test_a_loop_on_a_branch_that_is_not_taken_is_dead() -> None:
    build = Builder()
    build.placeholder("p", (), as_dtype("bool"))
    build.const("zero", np.int32(0))
    build("switch", "Switch", "zero", "p", T=INT)
    counting_loop(build, 5, start="switch:1")
    counting_loop(build, 9, name="second", start="loop/exit")
    build("merge", "Merge", "switch:0", "second/exit", T=INT, N=2)
    assert build.run("merge:0", {"p": True}) == 9
    assert build.run("merge:0", {"p": False}) == 0
    with pytest.raises(InvalidArgumentError, match="branch that was not taken"):
        build.run("second/exit:0", {"p": False})


# -- functions


def double(build: Builder, name: str = "double") -> NameAttrList:
    made = function(build, name, [("a", FLOAT)], [("r", FLOAT)])
    set_attrs(made.node_def.add(name="s", op="Add", input=["a", "a"]), {"T": FLOAT})
    made.ret["r"] = "s:z:0"
    return NameAttrList(name=name)


def test_functions_are_called_by_their_name_and_by_a_call() -> None:
    build = Builder()
    build.placeholder("x")
    called = double(build)
    build("named", "double", "x")
    build("called", "PartitionedCall", "x", f=called, Tin=[FLOAT], Tout=[FLOAT])
    assert build.run(["named:0", "called:0"], {"x": 3.0}) == [6, 6]


def test_a_function_takes_its_attributes_from_the_caller() -> None:
    build = Builder()
    build.placeholder("x")
    made = function(build, "typed", [], [])
    made.signature.input_arg.add(name="a", type_attr="T")
    made.signature.output_arg.add(name="r", type_attr="T")
    made.signature.attr.add(name="T", type="type")
    made.signature.attr.add(name="D", type="type")
    made.node_def.add(name="c", op="Cast", input=["a"]).attr["DstT"].placeholder = "D"
    made.ret["r"] = "c:y:0"
    build("as_int", "typed", "x", T=FLOAT, D=INT)
    build("as_double", "typed", "x", T=FLOAT, D=as_dtype("float64"))
    got = build.run(["as_int:0", "as_double:0"], {"x": 3.5})
    assert got == [3, 3.5]
    assert type(got[0]) is np.int32


def test_what_is_in_a_function_for_its_effect_runs() -> None:
    build = Builder()
    build.variable("h", (), "VarHandleOp")
    build.const("one", np.float32(1))
    made = function(build, "bump", [("v", as_dtype("resource")), ("by", FLOAT)], [])
    set_attrs(made.node_def.add(name="add", op="AssignAddVariableOp", input=["v", "by"]), {"dtype": FLOAT})
    build("call", "StatefulPartitionedCall", "h", "one", f=NameAttrList(name="bump"), Tout=[])
    variables = {"h": np.float32(1)}
    build.run("call", None, variables)
    assert variables["h"] == 2


@pytest.mark.parametrize(("pred", "value"), [(True, 6), (False, 3), (0, 3), (2, 6)])
def test_if_calls_one_branch(pred: Any, value: float) -> None:
    build = Builder()
    build.placeholder("x")
    build.const("p", np.asarray(pred))
    same = function(build, "same", [("a", FLOAT)], [("r", FLOAT)])
    same.ret["r"] = "a"
    build(
        "if",
        "If",
        "p",
        "x",
        then_branch=double(build),
        else_branch=NameAttrList(name="same"),
        Tin=[FLOAT],
        Tout=[FLOAT],
    )
    assert build.run("if:0", {"x": 3.0}) == value


@pytest.mark.parametrize(("index", "value"), [(0, 6), (1, 3), (-1, 3), (9, 3)])
def test_case_calls_the_last_branch_for_what_is_out_of_range(index: int, value: float) -> None:
    build = Builder()
    build.placeholder("x")
    build.const("i", np.int32(index))
    same = function(build, "same", [("a", FLOAT)], [("r", FLOAT)])
    same.ret["r"] = "a"
    build("case", "Case", "i", "x", branches=[double(build), NameAttrList(name="same")], Tin=[FLOAT], Tout=[FLOAT])
    assert build.run("case:0", {"x": 3.0}) == value


# -- errors


def test_unknown_names_are_told_with_the_nearest() -> None:
    build = Builder()
    build.const("weights", np.float32(1))
    for fetches, feeds in [("wieghts:0", None), ("weights:0", {"wieghts:0": 1})]:
        with pytest.raises(InvalidArgumentError, match="near: 'weights'") as caught:
            build.run(fetches, feeds)
        assert caught.value.name == "wieghts:0"
    with pytest.raises(InvalidArgumentError, match="has 1 outputs"):
        build.run("weights:1")
    with pytest.raises(InvalidArgumentError, match="Expected the name"):
        build.run([3])


def test_all_ops_that_cannot_be_run_are_told_before_anything_runs() -> None:
    build = Builder()
    build.variable("v")
    build.const("one", np.float32(1))
    build("add", "AssignAdd", "v", "one", T=FLOAT)
    build("odd", "OddOp", "^add")
    build("odder", "OdderOp", "odd")
    made = function(build, "inner", [], [])
    made.node_def.add(name="deep", op="DeepOp")
    made.control_ret["c"] = "deep"
    build("call", "inner")
    variables = {"v": np.float32(1)}
    with pytest.raises(UnsupportedError) as caught:
        build.run(["odder", "call"], None, variables)
    for text in ("DeepOp (node 'deep')", "OddOp (node 'odd')", "OdderOp (node 'odder')", "MatMul"):
        assert text in str(caught.value)
    assert variables["v"] == 1


def test_saving_through_a_graph_points_to_the_saver() -> None:
    graph_def = meta_graph("01a_basic_ref", "model.ckpt")
    with pytest.raises(UnsupportedError, match=r"use Saver\.save and Saver\.restore: .*RestoreV2 \(node"):
        Evaluator(graph_def, {}).run("save/restore_all")


def test_placeholders_that_are_not_fed_are_told_together() -> None:
    build = Builder()
    build.placeholder("x")
    build.placeholder("y")
    build("z", "Add", "x", "y", T=FLOAT)
    with pytest.raises(InvalidArgumentError, match="not fed: 'x', 'y'"):
        build.run("z:0")
    build.run("x", {"x": 1.0})


def test_a_failing_kernel_is_told_with_its_inputs() -> None:
    build = Builder()
    build.const("a", np.zeros((2, 3), np.float32))
    build.const("b", np.zeros((2, 2), np.float32))
    build("m", "MatMul", "a", "b", T=FLOAT)
    with pytest.raises(InvalidArgumentError, match=r"The MatMul 'm' failed: .*float32 \[2, 3\], float32 \[2, 2\]") as e:
        build.run("m:0")
    assert e.value.name == "m"


def test_malformed_graphs_are_data_loss() -> None:
    build = Builder()
    build("lost", "Identity", "nowhere", T=FLOAT)
    build("after", "NoOp", "^nowhere")
    build("a", "Identity", "b", T=FLOAT)
    build("b", "Identity", "a", T=FLOAT)
    build("call", "PartitionedCall", f=NameAttrList(name="missing"))
    for fetch, reason, name in [
        ("lost:0", "not there", "lost"),
        ("after", "not there", "after"),
        ("a:0", "waits for itself", "a"),
        ("call", "not in the library", "missing"),
    ]:
        with pytest.raises(DataLossError, match=reason) as caught:
            build.run(fetch)
        assert caught.value.name == name
    build("a", "NoOp")
    with pytest.raises(DataLossError, match="two nodes are named 'a'"):
        build.run("a")


def test_supported_ops_are_sorted_and_told_once() -> None:
    ops = supported_ops()
    assert ops == sorted(set(ops))
    assert {"MatMul", "Switch", "While", "Placeholder", "VarHandleOp"} <= set(ops)
    assert "SaveV2" not in ops
