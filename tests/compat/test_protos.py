"""The schemas next to a real TensorFlow in one process: one pool of descriptors holds both."""

import importlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pool

from ckptstore._proto.fingerprint_pb2 import FingerprintDef
from ckptstore._proto.saved_model_pb2 import SavedModel
from ckptstore._proto.trackable_object_graph_pb2 import TrackableObjectGraph
from tests.proto.describe import describe_file
from tests.proto.unknown import unknown_fields

pytestmark = pytest.mark.compat

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
META = GOLDEN / "15_meta_pbtxt" / "rich.ckpt.meta"
MODULES = sorted(path.stem for path in (ROOT / "ckptstore" / "_proto").glob("*_pb2.py"))

RECORDED_VERSION = "2.21"  # of tests/proto/tensorflow_schema.json
TENSORFLOW_PACKAGES = (
    "tensorflow.core.framework",
    "tensorflow.core.protobuf",
    "tensorflow.core.util",
    "tensorflow.python.training",
)

IMPORT_TENSORFLOW = "import tensorflow"
IMPORT_OURS = "\n".join(f"import ckptstore._proto.{module}" for module in MODULES)
PARSE = """
import sys
from ckptstore._proto.meta_graph_pb2 import MetaGraphDef as ours
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef as theirs
from google.protobuf import text_format

encoded = open(sys.argv[1], "rb").read()
a, b = ours.FromString(encoded), theirs.FromString(encoded)
assert ours.DESCRIPTOR is not theirs.DESCRIPTOR
assert len(a.graph_def.node) > 0
assert a.SerializeToString(deterministic=True) == b.SerializeToString(deterministic=True)
assert text_format.MessageToString(a) == text_format.MessageToString(b)
graph = tensorflow.Graph()
with graph.as_default():
    tensorflow.compat.v1.train.import_meta_graph(theirs.FromString(a.SerializeToString()))
assert len(graph.get_operations()) >= len(a.graph_def.node)
"""


@pytest.mark.parametrize(
    "imports",
    [
        pytest.param([IMPORT_TENSORFLOW, IMPORT_OURS], id="tensorflow-first"),
        pytest.param([IMPORT_OURS, IMPORT_TENSORFLOW], id="ours-first"),
    ],
)
def test_both_in_one_process(imports: list[str]) -> None:
    pytest.importorskip("tensorflow")
    done = subprocess.run(
        [sys.executable, "-c", "\n".join([*imports, PARSE]), str(META)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", MODULES)
def test_schema_is_that_of_this_tensorflow(module: str) -> None:
    """Field by field; a TensorFlow of another version than the recorded one may have more or fewer of them."""
    tensorflow = pytest.importorskip("tensorflow")
    for package in TENSORFLOW_PACKAGES:
        if importlib.util.find_spec(f"{package}.{module}"):
            importlib.import_module(f"{package}.{module}")
    pool = descriptor_pool.Default()
    exact = tensorflow.__version__.startswith(f"{RECORDED_VERSION}.")

    messages, enums = describe_file(importlib.import_module(f"ckptstore._proto.{module}").DESCRIPTOR, "tensorflow")
    assert messages or enums
    for name, ours in messages.items():
        theirs = describe_file(pool.FindMessageTypeByName(name).file, "tensorflow")[0][name]
        if exact:
            assert ours == theirs
        assert ours["syntax"] == theirs["syntax"]
        for field in ours["fields"].keys() & theirs["fields"].keys():
            assert ours["fields"][field] == theirs["fields"][field], f"{name}.{field}"
    for name, values in enums.items():
        their_values = describe_file(pool.FindEnumTypeByName(name).file, "tensorflow")[1][name]
        if exact:
            assert values == their_values
        for value in values.keys() & their_values.keys():
            assert values[value] == their_values[value], f"{name}.{value}"


def test_object_graph() -> None:
    tensorflow = pytest.importorskip("tensorflow")
    path = next((GOLDEN / "10a_object_simple").rglob("*.index")).with_suffix("")
    encoded = tensorflow.train.load_checkpoint(str(path)).get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH")
    graph = TrackableObjectGraph.FromString(encoded)
    assert graph.nodes[0].children
    assert unknown_fields(graph) == []
    assert graph.ByteSize() == len(encoded)


def test_saved_model(tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")

    class Doubler(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = tf.Variable(2.0)
            self.table = {"a": tf.Variable([1, 2, 3])}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def double(self, x: Any) -> Any:
            return {"out": x * self.factor}

    module = Doubler()
    tf.saved_model.save(module, str(tmp_path), signatures=module.double.get_concrete_function())

    encoded = (tmp_path / "saved_model.pb").read_bytes()
    model = SavedModel.FromString(encoded)
    assert model.meta_graphs[0].object_graph_def.concrete_functions
    assert unknown_fields(model) == []
    assert model.ByteSize() == len(encoded)
    fingerprint = FingerprintDef.FromString((tmp_path / "fingerprint.pb").read_bytes())
    assert fingerprint.saved_model_checksum
    assert unknown_fields(fingerprint) == []
