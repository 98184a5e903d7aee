"""MetaGraphs that contradict themselves: one typed error that says where, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import ckptstore as ck
from ckptstore._proto.meta_graph_pb2 import MetaGraphDef
from ckptstore._proto.variable_pb2 import VariableDef
from tests.support.golden import GOLDEN

Change = Callable[[Any], Any]


def changed(change: Change) -> ck.Graph:
    """A golden MetaGraph with something wrong in it, imported; its Saver restores, and the graph runs."""
    proto = MetaGraphDef.FromString((GOLDEN / "01a_basic_ref" / "model.ckpt.meta").read_bytes())
    change(proto)
    graph = ck.Graph()
    saver = ck.import_meta_graph(proto, graph=graph)
    if saver is not None:
        saver.restore(GOLDEN / "01a_basic_ref" / "model.ckpt")
        graph.run("y:0", {"x:0": np.zeros((1, 3), np.float32)})
    return graph


def variable(field: str, value: str) -> Change:
    def change(proto: Any) -> None:
        for key in ("variables", "trainable_variables"):
            items = proto.collection_def[key].bytes_list.value
            definition = VariableDef.FromString(items[0])
            setattr(definition, field, value)
            items[0] = definition.SerializeToString()

    return change


def node(name: str, change: Change) -> Change:
    return lambda proto: change(next(n for n in proto.graph_def.node if n.name == name))


LOSS, ANY, NAMES = ck.DataLossError, ck.CheckpointError, "save/RestoreV2/tensor_names"

WRONG: list[tuple[str, Change, type[Exception], str]] = [
    ("two of a name", lambda p: p.graph_def.node.add().CopyFrom(p.graph_def.node[0]), LOSS, "two nodes"),
    ("no name", lambda p: p.graph_def.node.add(op="NoOp"), LOSS, "a node has no name"),
    ("no such input", node("y", lambda n: n.input.append("gone")), LOSS, "'gone' of 'y'"),
    ("no such output", node("MatMul", lambda n: n.input.__setitem__(0, "x:3")), ANY, "x:3|x"),
    ("no such control input", node("y", lambda n: n.input.append("^gone")), LOSS, r"'\^gone' of 'y'"),
    ("of another age", lambda p: setattr(p.graph_def.versions, "min_consumer", 9999), ck.UnsupportedError, "9999"),
    ("an unknown op", node("MatMul", lambda n: setattr(n, "op", "Mangle")), ck.UnsupportedError, "Mangle.*MatMul"),
    ("a circle", node("MatMul", lambda n: n.input.__setitem__(0, "y")), LOSS, "MatMul|y"),
    ("a collection of nothing", lambda p: p.collection_def["c"].node_list.value.append("gone:0"), LOSS, "'c'"),
    ("no initializer", variable("initializer_name", ""), LOSS, "dense/kernel"),
    ("no snapshot", variable("snapshot_name", "gone:0"), LOSS, "dense/kernel"),
    ("no variable", variable("variable_name", "x:0"), LOSS, "x"),
    ("a damaged item", lambda p: p.collection_def["variables"].bytes_list.value.append(b"\xff"), LOSS, "var"),
    ("no restore op", lambda p: setattr(p.saver_def, "restore_op_name", "gone"), ANY, "gone"),
    ("a constant of an unknown type",
     node(NAMES, lambda n: setattr(n.attr["value"].tensor, "dtype", 77)), LOSS, "77"),
    ("fewer names than outputs",
     node(NAMES, lambda n: n.attr["value"].tensor.string_val.pop()), ANY, "."),
    ("names that are numbers",
     node(NAMES, lambda n: setattr(n.attr["value"].tensor, "dtype", 3)), ANY, "."),
    ("a slice that is none", node("save/RestoreV2/shape_and_slices",
     lambda n: n.attr["value"].tensor.string_val.__setitem__(0, b"7 x")), LOSS, "7 x"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "error", "text"), [w[1:] for w in WRONG], ids=[w[0] for w in WRONG])
def test_one_error(change: Change, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        changed(change)
    assert isinstance(caught.value, ck.CheckpointError)


FINE: list[tuple[str, Change]] = [
    ("a collection of no kind", lambda p: p.collection_def["empty"].SetInParent()),
    ("an odd version", lambda p: setattr(p.meta_info_def, "tensorflow_version", "x.y")),
    ("no meta info", lambda p: p.ClearField("meta_info_def")),
    ("no shapes", lambda p: [n.attr.pop("_output_shapes", None) for n in p.graph_def.node]),
    ("no versions", lambda p: p.graph_def.ClearField("versions")),
    ("an unknown attribute", node("y", lambda n: n.attr["_mine"].SetInParent())),
    ("any order", lambda p: p.graph_def.node.sort(key=lambda n: n.name, reverse=True)),
    ("no collections", lambda p: p.ClearField("collection_def")),
]


@pytest.mark.parametrize("change", [change for _, change in FINE], ids=[name for name, _ in FINE])
def test_what_tensorflow_takes_too(change: Change) -> None:
    assert changed(change).operation("y").type == "AddV2"


def test_random_damage() -> None:
    """Flipped, dropped and doubled bytes: a result or a typed error, and nothing else."""
    data = (GOLDEN / "12a_while_v1" / "wh.ckpt.meta").read_bytes()
    generator = np.random.default_rng(4)
    outcomes = set()
    for _ in range(400):
        wrong = bytearray(data)
        for _ in range(int(generator.integers(1, 4))):
            at = int(generator.integers(len(wrong)))
            match int(generator.integers(3)):
                case 0:
                    wrong[at] ^= 1 << int(generator.integers(8))
                case 1:
                    del wrong[at : at + int(generator.integers(1, 9))]
                case _:
                    wrong[at:at] = wrong[at : at + int(generator.integers(1, 9))]
        graph = ck.Graph()
        try:
            saver = ck.import_meta_graph(_parsed(bytes(wrong)), graph=graph)
            if saver is not None:
                saver.restore(GOLDEN / "12a_while_v1" / "wh.ckpt")
                graph.run("z:0", {"x:0": np.float32([1, 1])})
            outcomes.add("fine")
        except ck.CheckpointError as error:
            outcomes.add(type(error).__name__)
    assert {"fine", "DataLossError"} <= outcomes


def _parsed(data: bytes) -> Any:
    from ckptstore.graph.meta_graph import MetaGraph

    return MetaGraph.from_bytes(data)
