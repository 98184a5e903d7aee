"""Freezing: what TensorFlow made of the golden graphs, and what it does not do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ckptstore._proto.graph_pb2 import GraphDef
from ckptstore._proto.node_def_pb2 import NodeDef
from ckptstore.errors import (
    DataLossError,
    IncompatibleTensorError,
    InvalidArgumentError,
    TensorNotFoundError,
    UnsupportedError,
)
from ckptstore.format.dtypes import as_dtype
from ckptstore.graph.attributes import decode_tensor
from ckptstore.graph.freeze import convert_variables_to_constants, freeze, needed_variables
from ckptstore.graph.subgraph import extract_sub_graph
from ckptstore.graph.training_nodes import remove_training_nodes
from tests.support.golden import GOLDEN, expected_tensors

FLOAT, INT, HANDLE = (as_dtype(name).as_datatype_enum for name in ("float32", "int32", "resource"))
ONES = np.ones(2, np.float32)
KINDS = pytest.mark.parametrize("kind", ["ref", "res"])


def golden(name: str) -> GraphDef:
    return GraphDef.FromString((GOLDEN / "16_frozen" / f"{name}.pb").read_bytes())


def values(kind: str) -> dict[str, np.ndarray[Any, Any]]:
    found = {t.name: t.value for t in expected_tensors() if t.case == "16_frozen" and t.prefix == f"{kind}.ckpt"}
    assert found
    return found


def node(name: str, op: str, *inputs: str, **types: int) -> NodeDef:
    made = NodeDef(name=name, op=op, input=inputs)
    for attr, number in types.items():
        made.attr[attr].type = number
    return made


def variable(name: str, shape: tuple[int, ...] = (), op: str = "VarHandleOp") -> NodeDef:
    made = node(name, op, dtype=FLOAT)
    made.attr["shape"].shape.SetInParent()
    for size in shape:
        made.attr["shape"].shape.dim.add(size=size)
    return made


def graph(*nodes: NodeDef) -> GraphDef:
    made = GraphDef(node=nodes)
    made.versions.producer = 2474
    return made


def names(graph_def: GraphDef) -> list[str]:
    return [n.name for n in graph_def.node]


def by_name(graph_def: GraphDef) -> dict[str, NodeDef]:
    return {n.name: n for n in graph_def.node}


def add_function(
    graph_def: GraphDef, name: str, nodes: list[NodeDef], arguments: dict[str, int], results: dict[str, tuple[str, int]]
) -> Any:
    function = graph_def.library.function.add()
    function.signature.name = name
    for argument, number in arguments.items():
        function.signature.input_arg.add(name=argument, type=number)
    for result, (source, number) in results.items():
        function.signature.output_arg.add(name=result, type=number)
        function.ret[result] = source
    function.node_def.extend(nodes)
    return function


def call(name: str, function: str, *inputs: str, types: list[int]) -> NodeDef:
    made = node(name, "StatefulPartitionedCall", *inputs)
    made.attr["Tin"].list.type.extend(types)
    made.attr["Tout"].list.type.append(FLOAT)
    made.attr["f"].func.name = function
    return made


class TestGolden:
    @KINDS
    def test_the_sub_graph_is_tensorflows(self, kind: str) -> None:
        assert extract_sub_graph(golden(f"{kind}_graph"), ["out"]) == golden(f"{kind}_sub")

    @KINDS
    def test_the_constants_are_tensorflows(self, kind: str) -> None:
        got = convert_variables_to_constants(golden(f"{kind}_graph"), values(kind), ["out"])
        assert got == golden(f"{kind}_frozen")

    @KINDS
    def test_what_is_left_out_stays_a_variable(self, kind: str) -> None:
        got = convert_variables_to_constants(
            golden(f"{kind}_graph"), values(kind), ["out"], variable_names_blacklist=["b"]
        )
        assert got == golden(f"{kind}_frozen_blacklist_b")

    @KINDS
    def test_a_list_of_those_to_convert(self, kind: str) -> None:
        got = convert_variables_to_constants(
            golden(f"{kind}_graph"), values(kind), ["out"], variable_names_whitelist=["w", "emb:0"]
        )
        assert got == golden(f"{kind}_frozen_blacklist_b")

    @KINDS
    def test_training_nodes_go_as_in_tensorflow_but_the_check_hands_on_its_input(self, kind: str) -> None:
        frozen = golden(f"{kind}_frozen")
        want = golden(f"{kind}_rtn")
        by_name(want)["out"].input.append("add_1")
        want.versions.CopyFrom(frozen.versions)
        want.library.CopyFrom(frozen.library)
        assert remove_training_nodes(frozen, ["out"]) == want

    @KINDS
    def test_nothing_is_changed_in_place(self, kind: str) -> None:
        before = golden(f"{kind}_graph")
        freeze(before, values(kind), ["out"])
        assert before == golden(f"{kind}_graph")
        frozen = golden(f"{kind}_frozen")
        remove_training_nodes(frozen, ["out"])
        assert frozen == golden(f"{kind}_frozen")

    @KINDS
    def test_freeze_leaves_the_forward_part(self, kind: str) -> None:
        frozen = freeze(golden(f"{kind}_graph"), values(kind), "out:0")
        assert [n.op for n in frozen.node if n.op in ("Identity", "CheckNumerics", "VariableV2", "VarHandleOp")] == []
        assert by_name(frozen)["out"].input == ["add_1"]
        assert {n.op for n in frozen.node} == {
            *("Placeholder", "Const", "MatMul", "AddV2", "GatherV2", "Sum", "Softmax"),
        }
        assert all(not n.device and "_class" not in n.attr for n in frozen.node)
        assert np.array_equal(decode_tensor(by_name(frozen)["w"].attr["value"].tensor), values(kind)["w"])
        assert frozen.versions == golden(f"{kind}_graph").versions

    @KINDS
    def test_only_the_variables_that_the_outputs_need_are_read(self, kind: str) -> None:
        whole = golden(f"{kind}_graph")
        assert needed_variables(whole, "out") == ["w", "b", "emb"]
        assert needed_variables(whole, ["mid:0"]) == ["w"]
        frozen = freeze(whole, {"w:0": values(kind)["w"]}, ["mid"])
        assert names(frozen) == ["x", "w", "MatMul", "mid"]


class TestOutputs:
    def test_names_tensors_and_objects_with_names(self) -> None:
        class Named:
            name = "c:0"

            def __iter__(self) -> Any:
                raise TypeError("a tensor of TensorFlow")

        chain = graph(
            node("a", "Placeholder", dtype=FLOAT), node("b", "Relu", "a", T=FLOAT), node("c", "Relu", "a", T=FLOAT)
        )
        for given, kept in (("b", "ab"), ("b:0", "ab"), (Named(), "ac"), (["b:0", "b", Named()], "abc"), ({"c"}, "ac")):
            assert names(freeze(chain, {}, given)) == list(kept)

    def test_unknown_outputs_are_named_with_the_nearest(self) -> None:
        chain = graph(node("logits", "Placeholder"), node("labels", "Placeholder"))
        with pytest.raises(InvalidArgumentError, match=r"'logit' \(near: 'logits'\), 'labels:3' \(near: 'labels'\)"):
            freeze(chain, {}, ["logit", "labels:3"])
        with pytest.raises(InvalidArgumentError, match=r"'logit:0' \(near: 'logits'"):
            extract_sub_graph(chain, ["logit:0"])
        with pytest.raises(InvalidArgumentError, match="protect"):
            remove_training_nodes(chain, ["protect"])

    @pytest.mark.parametrize("outputs", [None, 3, [b"out"], [None]])
    def test_what_is_no_name(self, outputs: Any) -> None:
        with pytest.raises(InvalidArgumentError, match="Expected the name"):
            freeze(graph(), {}, outputs)

    def test_no_output_at_all(self) -> None:
        with pytest.raises(InvalidArgumentError, match="No outputs"):
            freeze(graph(), {}, [])

    def test_an_input_that_is_not_there(self) -> None:
        with pytest.raises(DataLossError, match="'a' takes 'b:1'"):
            extract_sub_graph(graph(node("a", "Relu", "b:1")), ["a"])


class TestPlaces:
    @staticmethod
    def placed() -> GraphDef:
        out = node("out", "Relu", "x", T=FLOAT)
        out.attr["_class"].list.s.extend([b"loc:@beside", b"loc:@gone"])
        out.device = "/device:GPU:0"
        return graph(node("x", "Placeholder", dtype=FLOAT), variable("beside", (2,)), out)

    def test_a_node_that_shares_a_device_is_part_of_a_sub_graph_but_of_no_frozen_graph(self) -> None:
        assert names(extract_sub_graph(self.placed(), ["out"])) == ["x", "beside", "out"]
        assert needed_variables(self.placed(), ["out"]) == []
        assert names(freeze(self.placed(), {}, ["out"])) == ["x", "out"]

    def test_devices_go_unless_they_are_wanted(self) -> None:
        assert by_name(freeze(self.placed(), {}, ["out"]))["out"].device == ""
        assert by_name(freeze(self.placed(), {}, ["out"], clear_devices=False))["out"].device == "/device:GPU:0"


class TestValues:
    def test_all_variables_without_values_are_named_with_the_nearest(self) -> None:
        two = graph(variable("dense/kernel"), variable("dense/bias"), node("out", "Op", "^dense/kernel", "^dense/bias"))
        with pytest.raises(
            TensorNotFoundError, match=r"'dense/kernel' \(near: 'dense/kernels'\), 'dense/bias'"
        ) as caught:
            freeze(two, {"dense/kernels:0": np.float32(1)}, ["out"])
        assert caught.value.missing == ("dense/kernel", "dense/bias")

    def test_all_values_that_do_not_fit_are_named(self) -> None:
        two = graph(variable("a", (2, -1)), variable("b"), node("out", "Op", "^a", "^b"))
        with pytest.raises(
            IncompatibleTensorError, match=r"'a' is float32 \[2, '\?'\], its value float32 \[3\]; 'b' is"
        ):
            freeze(two, {"a": np.zeros(3, np.float32), "b": np.float64(1)}, ["out"])
        assert len(freeze(two, {"a": np.zeros((2, 5), np.float32), "b": np.float32(1)}, ["out"]).node) == 3

    def test_more_than_a_message_can_hold(self) -> None:
        huge = graph(variable("v", (1 << 29,)), node("out", "Identity", "v", T=FLOAT))
        value = np.zeros(1 << 29, np.float32)  # never touched, so it takes no memory
        with pytest.raises(UnsupportedError, match="2147483648 bytes"):
            freeze(huge, {"v": value}, ["out"])


class TestReads:
    def test_gather_in_batches(self) -> None:
        gather = node("g", "ResourceGather", "v", "ids", "^ids", dtype=FLOAT, Tindices=INT)
        gather.attr["batch_dims"].i = 1
        got = by_name(
            freeze(
                graph(variable("v", (2, 3)), node("ids", "Placeholder", dtype=INT), gather, node("g/axis", "NoOp")),
                {"v": np.zeros((2, 3), np.float32)},
                ["g"],
            )
        )
        assert (got["g"].op, list(got["g"].input)) == ("GatherV2", ["v", "ids", "g/axis"])
        assert got["g"].attr["batch_dims"].i == 1
        assert decode_tensor(got["g/axis"].attr["value"].tensor) == 1

    def test_new_nodes_are_in_the_order_of_what_needs_them(self) -> None:
        gathers = [node(f"g{k}", "ResourceGather", "v", "ids", dtype=FLOAT, Tindices=INT) for k in range(2)]
        whole = graph(variable("v", (2,)), node("ids", "Placeholder", dtype=INT), *gathers)
        assert names(freeze(whole, {"v": ONES}, ["g0", "g1"]))[-2:] == ["g0/axis", "g1/axis"]

    def test_the_axis_takes_a_free_name(self) -> None:
        gather = node("g", "ResourceGather", "v", "g/axis", dtype=FLOAT, Tindices=INT)
        got = freeze(graph(variable("v", (2,)), node("g/axis", "Placeholder", dtype=INT), gather), {"v": ONES}, ["g"])
        assert names(got) == ["v", "g/axis", "g", "g/axis_1"]
        assert by_name(got)["g"].input == ["v", "g/axis", "g/axis_1"]

    def test_the_axis_is_in_the_loop_of_the_gather(self) -> None:
        """TensorFlow leaves it outside: "inputs from different frames"."""
        got = by_name(
            freeze(
                graph(
                    variable("v", (2,)),
                    node("ids", "Placeholder", dtype=INT),
                    node("inside", "Enter", "v", T=HANDLE),
                    node("ids_inside", "Enter", "ids", T=INT),
                    node("g", "ResourceGather", "inside:0", "ids_inside", dtype=FLOAT, Tindices=INT),
                ),
                {"v": ONES},
                ["g"],
            )
        )
        assert got["g/axis"].input == ["^inside"]

    def test_gather_nd_and_shape(self) -> None:
        got = convert_variables_to_constants(
            graph(
                variable("v", (2,)),
                node("ids", "Placeholder", dtype=INT),
                node("g", "ResourceGatherNd", "v", "ids", dtype=FLOAT, Tindices=INT),
                node("s", "VariableShape", "v", out_type=INT),
            ),
            {"v": ONES},
            ["g", "s"],
        )
        assert by_name(got)["g"] == node("g", "GatherNd", "v", "ids", Tparams=FLOAT, Tindices=INT)
        assert by_name(got)["s"] == node("s", "Shape", "v", T=FLOAT, out_type=INT)

    def test_a_handle_carried_around_a_loop(self) -> None:
        """TensorFlow's own function stops at the Merge, and what it gives cannot be imported."""
        merge = node("merge", "Merge", "enter", "next", T=HANDLE)
        merge.attr["N"].i = 2
        got = by_name(
            convert_variables_to_constants(
                graph(
                    variable("v", (2,)),
                    node("p", "Placeholder", dtype=10),
                    node("enter", "Enter", "v", T=HANDLE),
                    merge,
                    node("switch", "Switch", "merge", "p", T=HANDLE),
                    node("next", "NextIteration", "switch:1", T=HANDLE),
                    node("which", "Identity", "merge:1", T=INT),
                    node("read", "ReadVariableOp", "switch", dtype=FLOAT),
                ),
                {"v": ONES},
                ["read", "which"],
            )
        )
        assert {n.attr["T"].type for n in got.values() if "T" in n.attr and n.name != "which"} == {FLOAT}
        assert got["which"].attr["T"].type == INT
        assert (got["read"].op, list(got["read"].input)) == ("Identity", ["switch"])

    def test_references_become_values_on_the_way(self) -> None:
        got = by_name(
            convert_variables_to_constants(
                graph(
                    variable("v", (2,), "VariableV2"),
                    node("p", "Placeholder", dtype=10),
                    node("switch", "RefSwitch", "v", "p", T=FLOAT),
                    node("out", "Relu", "switch:1", T=FLOAT),
                ),
                {"v": ONES},
                ["out"],
            )
        )
        assert [n.op for n in got.values()] == ["Const", "Placeholder", "Switch", "Relu"]

    def test_the_old_op_of_variables(self) -> None:
        old = graph(variable("v", (2,), "Variable"), node("out", "Relu", "v", T=FLOAT))
        assert [n.op for n in freeze(old, {"v": ONES}, ["out"]).node] == ["Const", "Relu"]

    @pytest.mark.parametrize(
        ("writer", "op"),
        [
            (node("write", "AssignVariableOp", "v", "c", dtype=FLOAT), "VarHandleOp"),
            (node("write", "Assign", "v", "c", T=FLOAT), "VariableV2"),
        ],
    )
    def test_a_node_that_writes_is_named(self, writer: NodeDef, op: str) -> None:
        written = graph(
            variable("v", (2,), op), node("c", "Placeholder", dtype=FLOAT), writer, node("out", "Relu", "c", "^write")
        )
        with pytest.raises(UnsupportedError, match=rf"'write' \({writer.op}\)"):
            freeze(written, {"v": ONES}, ["out"])
        assert freeze(written, {}, ["out"], variable_names_blacklist=["v"]).node[0].op == op

    def test_a_merge_of_a_variable_that_stays_and_one_that_does_not(self) -> None:
        mixed = graph(
            variable("v", (2,)),
            variable("w", (2,)),
            node("merge", "Merge", "v", "w", T=HANDLE),
            node("out", "ReadVariableOp", "merge", dtype=FLOAT),
        )
        assert len(freeze(mixed, {"v": ONES, "w": ONES}, ["out"]).node) == 4
        with pytest.raises(UnsupportedError, match=r"'merge' \(Merge\) takes variables of which some are to stay"):
            freeze(mixed, {"v": ONES}, ["out"], variable_names_blacklist="w:0")


class TestFunctions:
    @staticmethod
    def reader(graph_def: GraphDef, name: str = "read_7") -> None:
        add_function(
            graph_def,
            name,
            [node("r", "ReadVariableOp", "v", dtype=FLOAT), node("y", "Relu", "r:value:0", T=FLOAT)],
            {"v": HANDLE},
            {"out": ("y:activations:0", FLOAT), "raw": ("r:value:0", FLOAT)},
        )

    def test_a_function_reads_a_constant(self) -> None:
        calling = graph(variable("v", (2,)), call("out", "read_7", "v", types=[HANDLE]))
        self.reader(calling)
        got = convert_variables_to_constants(calling, {"v": ONES}, ["out"])
        (function,) = got.library.function
        assert function.signature.name == by_name(got)["out"].attr["f"].func.name == "read_frozen_0"
        assert by_name(got)["out"].attr["Tin"].list.type == [FLOAT]
        assert function.signature.input_arg[0].type == FLOAT
        assert function.node_def[0] == node("r", "Identity", "v", T=FLOAT)
        assert function.node_def[1].input == ["r:output:0"]
        assert function.ret == {"out": "y:activations:0", "raw": "r:output:0"}

    def test_a_function_that_is_also_called_with_a_variable_that_stays(self) -> None:
        """TensorFlow's own function leaves the other call without a function."""
        calling = graph(
            variable("v", (2,)),
            variable("w", (2,)),
            call("a", "read_7", "v", types=[HANDLE]),
            call("b", "read_7", "w", types=[HANDLE]),
        )
        self.reader(calling)
        got = convert_variables_to_constants(calling, {"v": ONES}, ["a", "b"], variable_names_blacklist=["w"])
        assert [f.signature.name for f in got.library.function] == ["read_7", "read_frozen_0"]
        assert got.library.function[0] == calling.library.function[0]
        assert by_name(got)["b"] == by_name(calling)["b"]

    def test_functions_that_call_functions_and_gather(self) -> None:
        calling = graph(
            variable("v", (2,)),
            node("i", "Placeholder", dtype=INT),
            call("out", "outer", "i", "v", types=[INT, HANDLE]),
        )
        add_function(
            calling,
            "outer",
            [call("inner", "inner_3", "v", "i", types=[HANDLE, INT])],
            {"i": INT, "v": HANDLE},
            {"out": ("inner:output:0", FLOAT)},
        )
        add_function(
            calling,
            "inner_3",
            [node("g", "ResourceGather", "v", "i", dtype=FLOAT, Tindices=INT)],
            {"v": HANDLE, "i": INT},
            {"out": ("g:output:0", FLOAT)},
        )
        add_function(calling, "never_called", [], {}, {})
        got = convert_variables_to_constants(calling, {"v": ONES}, ["out"])
        assert [f.signature.name for f in got.library.function] == ["outer_frozen_0", "inner_frozen_1", "never_called"]
        outer, inner, _ = got.library.function
        assert outer.node_def[0].attr["f"].func.name == "inner_frozen_1"
        assert outer.node_def[0].attr["Tin"].list.type == [FLOAT, INT]
        assert inner.node_def[0].input == ["v", "i", "g/axis:output:0"]
        assert [n.name for n in inner.node_def] == ["g", "g/axis"]
        assert [f.signature.name for f in freeze(calling, {"v": ONES}, "out").library.function] == [
            *("outer_frozen_0", "inner_frozen_1"),
        ]

    def test_a_loop_hands_the_variable_on(self) -> None:
        loop = node("loop", "While", "x", "v")
        loop.attr["T"].list.type.extend([FLOAT, HANDLE])
        for shape in ((5,), ()):
            made = loop.attr["output_shapes"].list.shape.add()
            for size in shape:
                made.dim.add(size=size)
        loop.attr["body"].func.name, loop.attr["cond"].func.name = "body", "cond"
        calling = graph(
            variable("v", (2,)),
            node("x", "Placeholder", dtype=FLOAT),
            loop,
            node("out", "ReadVariableOp", "loop:1", dtype=FLOAT),
        )
        add_function(
            calling,
            "body",
            [node("same", "Identity", "v", T=HANDLE), node("r", "ReadVariableOp", "v", dtype=FLOAT)],
            {"x": FLOAT, "v": HANDLE},
            {"x_out": ("r:value:0", FLOAT), "v_out": ("same:output:0", HANDLE)},
        )
        add_function(calling, "cond", [], {"x": FLOAT, "v": HANDLE}, {"go": ("x", FLOAT)})
        got = convert_variables_to_constants(calling, {"v": ONES}, ["out"])
        new = by_name(got)["loop"]
        assert new.attr["T"].list.type == [FLOAT, FLOAT]
        assert [[d.size for d in s.dim] for s in new.attr["output_shapes"].list.shape] == [[5], [2]]
        body, cond = got.library.function
        assert new.attr["body"].func.name == body.signature.name == "body_frozen_0"
        assert [a.type for a in body.signature.output_arg] == [FLOAT, FLOAT]
        assert [a.type for a in cond.signature.input_arg] == [FLOAT, FLOAT]
        assert by_name(got)["out"].op == "Identity"

    def test_a_call_that_gives_a_variable_back(self) -> None:
        calling = graph(variable("v", (2,)), call("out", "same", "v", types=[HANDLE]))
        add_function(calling, "same", [], {"v": HANDLE}, {"out": ("v", HANDLE)})
        with pytest.raises(UnsupportedError, match="'out' .* gives back a variable"):
            freeze(calling, {"v": ONES}, ["out"])

    def test_a_write_in_a_function_is_named_with_it(self) -> None:
        calling = graph(variable("v", (2,)), call("out", "f", "v", types=[HANDLE]))
        add_function(calling, "f", [node("w", "AssignVariableOp", "v", "v", dtype=FLOAT)], {"v": HANDLE}, {})
        with pytest.raises(UnsupportedError, match=r"'w' \(AssignVariableOp\) in the function 'f_frozen_0'"):
            freeze(calling, {"v": ONES}, ["out"])

    def test_a_function_that_is_called_in_a_loop(self) -> None:
        calling = graph(
            variable("v", (2,)),
            node("i", "Placeholder", dtype=INT),
            node("inside", "Enter", "v", T=HANDLE),
            node("i_inside", "Enter", "i", T=INT),
            call("out", "gather", "inside", "i_inside", types=[HANDLE, INT]),
        )
        gather = node("g", "ResourceGather", "v", "i", dtype=FLOAT, Tindices=INT)
        add_function(calling, "gather", [gather], {"v": HANDLE, "i": INT}, {"out": ("g:output:0", FLOAT)})
        (function,) = freeze(calling, {"v": ONES}, ["out"]).library.function
        assert by_name(GraphDef(node=function.node_def))["g/axis"].input == []

    def test_a_call_with_fewer_types_than_inputs(self) -> None:
        calling = graph(variable("v", (2,)), call("out", "read_7", "v", types=[]))
        self.reader(calling)
        with pytest.raises(DataLossError, match="fewer types"):
            freeze(calling, {"v": ONES}, ["out"])

    def test_a_function_that_is_not_there(self) -> None:
        with pytest.raises(DataLossError, match="calls 'gone'"):
            freeze(graph(variable("v", (2,)), call("out", "gone", "v", types=[HANDLE])), {"v": ONES}, ["out"])


class TestTrainingNodes:
    def test_inputs_in_every_spelling(self) -> None:
        got = remove_training_nodes(
            graph(
                node("x", "Split"),
                node("i", "Identity", "x:1"),
                node("chk", "CheckNumerics", "i:0"),
                node("stop", "StopGradient", "chk:0"),
                node("out", "Op", "stop:0", "chk", "x", "i"),
            )
        )
        assert names(got) == ["x", "out"]
        assert by_name(got)["out"].input == ["x:1", "x:1", "x", "x:1"]
        assert got.versions.producer == 2474

    def test_what_stays(self) -> None:
        pair = node("pair", "Op", "x")
        pair.attr["_class"].list.s.append(b"loc:@shared")
        kept = graph(
            node("x", "Placeholder"),
            node("shared", "Identity", "x"),
            node("first", "Identity", "x"),
            node("after", "Identity", "x", "^first"),
            node("safe", "CheckNumerics", "x"),
            pair,
            node("out", "Op", "shared", "first", "after", "safe"),
        )
        assert remove_training_nodes(kept, ["safe:0"]) == kept

    def test_a_control_input_from_a_check_goes_unless_it_is_the_only_input(self) -> None:
        got = by_name(
            remove_training_nodes(
                graph(
                    node("x", "Placeholder"),
                    node("one", "CheckNumerics", "x"),
                    node("two", "CheckNumerics", "one"),
                    node("c", "Const", "^two", "^one"),
                    node("out", "Op", "x", "c", "^two"),
                )
            )
        )
        assert got["c"].input == ["^x"]
        assert got["out"].input == ["x", "c"]

    def test_nodes_in_a_circle_do_not_hang(self) -> None:
        circle = graph(node("a", "Identity", "b"), node("b", "Identity", "a"), node("out", "Op", "a"))
        assert names(remove_training_nodes(circle)) == ["out"]
