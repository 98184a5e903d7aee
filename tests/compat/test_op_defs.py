"""ckptstore/graph/op_defs.pb against TensorFlow's own registry."""

from __future__ import annotations

import pytest

from ckptstore._proto.op_def_pb2 import OpDef
from ckptstore.graph.op_defs import op_defs
from tests.compat.support import QUIET

pytest.importorskip("tensorflow")
pytestmark = QUIET


def test_every_definition_is_tensorflows() -> None:
    from tensorflow.python.framework import op_def_registry

    assert len(op_defs()) > 380
    for name, definition in op_defs().items():
        theirs = op_def_registry.get(name)
        assert theirs is not None, name
        assert OpDef.FromString(theirs.SerializeToString()) == definition, name
