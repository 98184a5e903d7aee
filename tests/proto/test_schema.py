"""The schemas against TensorFlow's, which tensorflow_schema.json holds."""

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from google.protobuf.message import Message

import ckptstore._proto
from ckptstore._proto import (
    attr_value_pb2,
    graph_debug_info_pb2,
    meta_graph_pb2,
    tensor_pb2,
    tensor_slice_pb2,
    variable_pb2,
    versions_pb2,
)
from tests.proto.describe import describe_file

GENERATED = Path(ckptstore._proto.__path__[0])
SOURCES = GENERATED.parents[1] / "protos" / "ckptstore" / "_proto"
MODULES = sorted(path.stem for path in GENERATED.glob("*_pb2.py"))
EXPECTED: dict[str, Any] = json.loads(Path(__file__).with_name("tensorflow_schema.json").read_text())


def load(module: str) -> ModuleType:
    return importlib.import_module(f"ckptstore._proto.{module}")


@pytest.fixture(scope="module")
def described() -> tuple[dict[str, Any], dict[str, Any]]:
    messages: dict[str, Any] = {}
    enums: dict[str, Any] = {}
    for module in MODULES:
        more_messages, more_enums = describe_file(load(module).DESCRIPTOR, "tensorflow")
        assert not messages.keys() & more_messages.keys()
        messages |= more_messages
        enums |= more_enums
    return messages, enums


def test_same_messages(described: tuple[dict[str, Any], dict[str, Any]]) -> None:
    assert sorted(described[0]) == sorted(EXPECTED["messages"])


def test_same_enums(described: tuple[dict[str, Any], dict[str, Any]]) -> None:
    assert sorted(described[1]) == sorted(EXPECTED["enums"])


@pytest.mark.parametrize("name", sorted(EXPECTED["messages"]))
def test_same_message(name: str, described: tuple[dict[str, Any], dict[str, Any]]) -> None:
    assert described[0][name] == EXPECTED["messages"][name]


@pytest.mark.parametrize("name", sorted(EXPECTED["enums"]))
def test_same_enum(name: str, described: tuple[dict[str, Any], dict[str, Any]]) -> None:
    assert described[1][name] == EXPECTED["enums"][name]


def test_every_schema_is_generated_and_nothing_else() -> None:
    sources = sorted(f"{path.stem}_pb2" for path in SOURCES.glob("*.proto"))
    assert sources == MODULES
    assert sorted(path.stem for path in GENERATED.glob("*_pb2.pyi")) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_files_and_packages_are_our_own(module: str) -> None:
    """Names of TensorFlow's would clash with the real ones in protobuf's one pool of descriptors."""
    file = load(module).DESCRIPTOR
    assert file.name == f"ckptstore/_proto/{module.removesuffix('_pb2')}.proto"
    assert file.package.split(".")[0] == "ckptstore"


@pytest.mark.parametrize(
    ("message", "encoded"),
    [
        pytest.param(versions_pb2.VersionDef(producer=1), "0801", id="scalar"),
        pytest.param(versions_pb2.VersionDef(bad_consumers=[1, 2]), "1a020102", id="packed"),
        pytest.param(variable_pb2.SaveSliceInfoDef(full_shape=[-1]), "120affffffffffffffffff01", id="negative"),
        pytest.param(tensor_pb2.TensorProto(half_val=[0x3C00]), "6a028078", id="packed-half"),
        pytest.param(attr_value_pb2.AttrValue(b=False), "2800", id="zero-in-oneof"),
        pytest.param(tensor_slice_pb2.TensorSliceProto.Extent(start=0, length=0), "1000", id="extent"),
        pytest.param(
            graph_debug_info_pb2.GraphDebugInfo.FileLineCol(line=0, func=""), "10002200", id="zero-with-presence"
        ),
        pytest.param(
            meta_graph_pb2.MetaGraphDef.MetaInfoDef(function_aliases={"": ""}), "42040a001200", id="empty-map-entry"
        ),
    ],
)
def test_encoding(message: Message, encoded: str) -> None:
    assert message.SerializeToString().hex() == encoded
    assert type(message).FromString(bytes.fromhex(encoded)) == message


def test_both_forms_of_repeated_numbers_are_read() -> None:
    assert versions_pb2.VersionDef.FromString(bytes.fromhex("18011802")).bad_consumers == [1, 2]


def test_unknown_fields_survive() -> None:
    later = bytes.fromhex("0801") + bytes.fromhex("fa3e03616263")
    assert versions_pb2.VersionDef.FromString(later).SerializeToString() == later
