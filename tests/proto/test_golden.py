"""The schemas against files that TensorFlow wrote."""

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import text_format
from google.protobuf.message import Message

from ckptstore._proto import control_flow_pb2, graph_pb2, meta_graph_pb2, queue_runner_pb2, saver_pb2, variable_pb2
from ckptstore._proto.checkpoint_state_pb2 import CheckpointState
from tests.proto.unknown import unknown_fields

GOLDEN = Path(__file__).parents[1] / "golden"

COLLECTION_ITEMS: dict[str, type[Message]] = {
    "variables": variable_pb2.VariableDef,
    "trainable_variables": variable_pb2.VariableDef,
    "local_variables": variable_pb2.VariableDef,
    "model_variables": variable_pb2.VariableDef,
    "metric_variables": variable_pb2.VariableDef,
    "moving_average_variables": variable_pb2.VariableDef,
    "global_step": variable_pb2.VariableDef,
    "savers": saver_pb2.SaverDef,
    "queue_runners": queue_runner_pb2.QueueRunnerDef,
    "cond_context": control_flow_pb2.CondContextDef,
    "while_context": control_flow_pb2.WhileContextDef,
}


def find(*patterns: str) -> list[Any]:
    paths = sorted({path for pattern in patterns for path in GOLDEN.rglob(pattern)})
    assert paths, f"no golden file is called {' or '.join(patterns)}"
    return [pytest.param(path, id=str(path.relative_to(GOLDEN))) for path in paths]


META = find("*.meta", "*.mg")
GRAPHS = find("*.pb")
META_TEXTS = find("*.meta.as_text.pbtxt", "exported.pbtxt", "rich.pbtxt")
GRAPH_TEXTS = find("graph.pbtxt")
STATES = find("checkpoint", "latest_padded", "state_*")


def assert_parses(message: Message, path: Path) -> None:
    assert message.ParseFromString(path.read_bytes()) == path.stat().st_size
    assert unknown_fields(message) == []
    assert message.ListFields()
    assert type(message).FromString(message.SerializeToString()) == message
    assert text_format.Parse(text_format.MessageToString(message), type(message)()) == message


@pytest.mark.parametrize("path", META)
def test_meta_graph(path: Path) -> None:
    message = meta_graph_pb2.MetaGraphDef()
    assert_parses(message, path)
    text = path.with_name(f"{path.name}.as_text.pbtxt")
    if text.exists():
        assert text_format.MessageToString(message).encode() == text.read_bytes()
        assert text_format.Parse(text.read_bytes(), meta_graph_pb2.MetaGraphDef()) == message


@pytest.mark.parametrize("path", META)
def test_collection_items(path: Path) -> None:
    message = meta_graph_pb2.MetaGraphDef.FromString(path.read_bytes())
    for key, collection in message.collection_def.items():
        if collection.WhichOneof("kind") == "bytes_list" and key in COLLECTION_ITEMS:
            for encoded in collection.bytes_list.value:
                item = COLLECTION_ITEMS[key].FromString(encoded)
                assert unknown_fields(item) == []
                assert item.ByteSize() == len(encoded)
                assert COLLECTION_ITEMS[key].FromString(item.SerializeToString()) == item


@pytest.mark.parametrize("path", GRAPHS)
def test_graph(path: Path) -> None:
    message = graph_pb2.GraphDef()
    assert_parses(message, path)
    text = path.with_suffix(".pbtxt")
    if text.exists():
        assert text_format.MessageToString(message).encode() == text.read_bytes()


@pytest.mark.parametrize("path", META_TEXTS)
def test_meta_graph_text(path: Path) -> None:
    message = text_format.Parse(path.read_bytes(), meta_graph_pb2.MetaGraphDef())
    assert text_format.MessageToString(message).encode() == path.read_bytes()


@pytest.mark.parametrize("path", GRAPH_TEXTS)
def test_graph_text(path: Path) -> None:
    message = text_format.Parse(path.read_bytes(), graph_pb2.GraphDef())
    assert text_format.MessageToString(message).encode() == path.read_bytes()


@pytest.mark.parametrize("path", STATES)
def test_checkpoint_state(path: Path) -> None:
    text = path.read_text("utf-8")
    state = text_format.Parse(text, CheckpointState())
    assert state.model_checkpoint_path
    assert text_format.Parse(text_format.MessageToString(state), CheckpointState()) == state


def test_every_text_rendering_has_its_meta_graph() -> None:
    for path in GOLDEN.rglob("*.as_text.pbtxt"):
        assert path.with_name(path.name.removesuffix(".as_text.pbtxt")).exists()
