"""Saves and resumes machine-learning training in TensorFlow's own checkpoint files, without TensorFlow.

```python
import ckptstore as ck

with ck.CheckpointManager("s3://bucket/run", max_to_keep=3) as manager:
    step, state = manager.restore_or_initialize(init)
    ...
    manager.save(step, state, metrics={"loss": loss})
```
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ckptstore._version import __version__
from ckptstore.errors import (
    AlreadyExistsError,
    CheckpointError,
    CheckpointExistsError,
    CheckpointNotFoundError,
    CheckpointPrunedError,
    ClockSkewError,
    CommitConflictError,
    CommitUnknownError,
    DataLossError,
    FencedError,
    IncompatibleTensorError,
    InvalidArgumentError,
    MissingDependencyError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionFailedError,
    SaveAbortedError,
    StateCorruptError,
    StateError,
    StateMissingError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
    TensorNotFoundError,
    UnsafePathError,
    UnsupportedError,
    UploadConflictError,
)

if TYPE_CHECKING:
    from ckptstore._clock import Clock, SystemClock
    from ckptstore._proto.saver_pb2 import SaverDef
    from ckptstore.bundle import LazyArray, Partitioned
    from ckptstore.checkpoint import CheckpointReader, Damage, VerifyReport
    from ckptstore.checkpoint.comparison import TensorDifference, ValueDifference
    from ckptstore.checkpoint.copying import CopiedCheckpoint
    from ckptstore.checkpoint.policies import (
        AnyOf,
        BestN,
        Decision,
        EveryNHours,
        EveryNSteps,
        LatestN,
        Policy,
        Within,
    )
    from ckptstore.checkpoint.restored import Restored, RestoreReport
    from ckptstore.checkpoint.writer import RetentionWarning
    from ckptstore.format.dtypes import DType
    from ckptstore.format.slices import TensorSlice
    from ckptstore.format.state import CheckpointState
    from ckptstore.graph import raw_ops
    from ckptstore.graph.collections import GraphKeys
    from ckptstore.graph.default import (
        constant,
        control_dependencies,
        device,
        global_variables,
        group,
        matmul,
        moving_average_variables,
        name_scope,
        placeholder,
        trainable_variables,
    )
    from ckptstore.graph.evaluator import supported_ops
    from ckptstore.graph.exporting import MetaGraphWarning
    from ckptstore.graph.freeze import convert_variables_to_constants
    from ckptstore.graph.graph import Graph, get_default_graph, reset_default_graph
    from ckptstore.graph.meta_graph import MetaGraph
    from ckptstore.graph.partitioned_variable import PartitionedVariable
    from ckptstore.graph.slice_info import SaveSliceInfo
    from ckptstore.graph.subgraph import extract_sub_graph
    from ckptstore.graph.tensor import Operation, Tensor
    from ckptstore.graph.training_nodes import remove_training_nodes
    from ckptstore.graph.variable import Variable
    from ckptstore.train.checkpoint_management import (
        checkpoint_exists,
        checkpoints_iterator,
        get_checkpoint_mtimes,
        get_checkpoint_state,
        latest_checkpoint,
        remove_checkpoint,
        update_checkpoint_state,
        wait_for_new_checkpoint,
    )
    from ckptstore.train.checkpoint_manager import CheckpointManager
    from ckptstore.train.checkpoint_utils import (
        init_from_checkpoint,
        list_variables,
        load_checkpoint,
        load_variable,
        restore,
        save,
        verify,
    )
    from ckptstore.train.copies import convert_checkpoint, copy_checkpoint
    from ckptstore.train.differences import diff_checkpoints
    from ckptstore.train.global_step import create_global_step, get_global_step, get_or_create_global_step
    from ckptstore.train.importing import freeze_graph, import_meta_graph
    from ckptstore.train.meta_graph_files import export_meta_graph, load_meta_graph
    from ckptstore.train.moving_averages import ExponentialMovingAverage
    from ckptstore.train.preemption import Preemption
    from ckptstore.train.saver import Saver

__all__ = [
    "AlreadyExistsError",
    "AnyOf",
    "BestN",
    "CheckpointError",
    "CheckpointExistsError",
    "CheckpointManager",
    "CheckpointNotFoundError",
    "CheckpointPrunedError",
    "CheckpointReader",
    "CheckpointState",
    "Clock",
    "ClockSkewError",
    "CommitConflictError",
    "CommitUnknownError",
    "CopiedCheckpoint",
    "DType",
    "Damage",
    "DataLossError",
    "Decision",
    "EveryNHours",
    "EveryNSteps",
    "ExponentialMovingAverage",
    "FencedError",
    "Graph",
    "GraphKeys",
    "IncompatibleTensorError",
    "InvalidArgumentError",
    "LatestN",
    "LazyArray",
    "MetaGraph",
    "MetaGraphWarning",
    "MissingDependencyError",
    "NotFoundError",
    "Operation",
    "Partitioned",
    "PartitionedVariable",
    "PermissionDeniedError",
    "Policy",
    "PreconditionFailedError",
    "Preemption",
    "RestoreReport",
    "Restored",
    "RetentionWarning",
    "SaveAbortedError",
    "SaveSliceInfo",
    "Saver",
    "SaverDef",
    "StateCorruptError",
    "StateError",
    "StateMissingError",
    "StorageError",
    "StorageFullError",
    "StorageUnavailableError",
    "SystemClock",
    "Tensor",
    "TensorDifference",
    "TensorNotFoundError",
    "TensorSlice",
    "UnsafePathError",
    "UnsupportedError",
    "UploadConflictError",
    "ValueDifference",
    "Variable",
    "VerifyReport",
    "Within",
    "__version__",
    "checkpoint_exists",
    "checkpoints_iterator",
    "constant",
    "control_dependencies",
    "convert_checkpoint",
    "convert_variables_to_constants",
    "copy_checkpoint",
    "create_global_step",
    "device",
    "diff_checkpoints",
    "export_meta_graph",
    "extract_sub_graph",
    "freeze_graph",
    "get_checkpoint_mtimes",
    "get_checkpoint_state",
    "get_default_graph",
    "get_global_step",
    "get_or_create_global_step",
    "global_variables",
    "group",
    "import_meta_graph",
    "init_from_checkpoint",
    "latest_checkpoint",
    "list_variables",
    "load_checkpoint",
    "load_meta_graph",
    "load_variable",
    "matmul",
    "moving_average_variables",
    "name_scope",
    "placeholder",
    "raw_ops",
    "remove_checkpoint",
    "remove_training_nodes",
    "reset_default_graph",
    "restore",
    "save",
    "supported_ops",
    "trainable_variables",
    "update_checkpoint_state",
    "verify",
    "wait_for_new_checkpoint",
]

# Names are imported when they are first used: `ckptstore --help`, and a job that only wants to catch an error, should
# not wait for numpy.
_LAZY = {
    "AnyOf": "ckptstore.checkpoint.policies",
    "BestN": "ckptstore.checkpoint.policies",
    "CheckpointManager": "ckptstore.train.checkpoint_manager",
    "CheckpointReader": "ckptstore.checkpoint",
    "CheckpointState": "ckptstore.format.state",
    "Clock": "ckptstore._clock",
    "CopiedCheckpoint": "ckptstore.checkpoint.copying",
    "DType": "ckptstore.format.dtypes",
    "Damage": "ckptstore.checkpoint",
    "Decision": "ckptstore.checkpoint.policies",
    "EveryNHours": "ckptstore.checkpoint.policies",
    "EveryNSteps": "ckptstore.checkpoint.policies",
    "ExponentialMovingAverage": "ckptstore.train.moving_averages",
    "Graph": "ckptstore.graph.graph",
    "GraphKeys": "ckptstore.graph.collections",
    "LatestN": "ckptstore.checkpoint.policies",
    "LazyArray": "ckptstore.bundle",
    "MetaGraph": "ckptstore.graph.meta_graph",
    "MetaGraphWarning": "ckptstore.graph.exporting",
    "Operation": "ckptstore.graph.tensor",
    "Partitioned": "ckptstore.bundle",
    "PartitionedVariable": "ckptstore.graph.partitioned_variable",
    "Policy": "ckptstore.checkpoint.policies",
    "Preemption": "ckptstore.train.preemption",
    "RestoreReport": "ckptstore.checkpoint.restored",
    "Restored": "ckptstore.checkpoint.restored",
    "RetentionWarning": "ckptstore.checkpoint.writer",
    "SaveSliceInfo": "ckptstore.graph.slice_info",
    "Saver": "ckptstore.train.saver",
    "SaverDef": "ckptstore._proto.saver_pb2",
    "SystemClock": "ckptstore._clock",
    "Tensor": "ckptstore.graph.tensor",
    "TensorDifference": "ckptstore.checkpoint.comparison",
    "TensorSlice": "ckptstore.format.slices",
    "ValueDifference": "ckptstore.checkpoint.comparison",
    "Variable": "ckptstore.graph.variable",
    "VerifyReport": "ckptstore.checkpoint",
    "Within": "ckptstore.checkpoint.policies",
    "checkpoint_exists": "ckptstore.train.checkpoint_management",
    "checkpoints_iterator": "ckptstore.train.checkpoint_management",
    "constant": "ckptstore.graph.default",
    "control_dependencies": "ckptstore.graph.default",
    "convert_checkpoint": "ckptstore.train.copies",
    "convert_variables_to_constants": "ckptstore.graph.freeze",
    "copy_checkpoint": "ckptstore.train.copies",
    "create_global_step": "ckptstore.train.global_step",
    "device": "ckptstore.graph.default",
    "diff_checkpoints": "ckptstore.train.differences",
    "export_meta_graph": "ckptstore.train.meta_graph_files",
    "extract_sub_graph": "ckptstore.graph.subgraph",
    "freeze_graph": "ckptstore.train.importing",
    "get_checkpoint_mtimes": "ckptstore.train.checkpoint_management",
    "get_checkpoint_state": "ckptstore.train.checkpoint_management",
    "get_default_graph": "ckptstore.graph.graph",
    "get_global_step": "ckptstore.train.global_step",
    "get_or_create_global_step": "ckptstore.train.global_step",
    "global_variables": "ckptstore.graph.default",
    "group": "ckptstore.graph.default",
    "import_meta_graph": "ckptstore.train.importing",
    "init_from_checkpoint": "ckptstore.train.checkpoint_utils",
    "latest_checkpoint": "ckptstore.train.checkpoint_management",
    "list_variables": "ckptstore.train.checkpoint_utils",
    "load_checkpoint": "ckptstore.train.checkpoint_utils",
    "load_meta_graph": "ckptstore.train.meta_graph_files",
    "load_variable": "ckptstore.train.checkpoint_utils",
    "matmul": "ckptstore.graph.default",
    "moving_average_variables": "ckptstore.graph.default",
    "name_scope": "ckptstore.graph.default",
    "placeholder": "ckptstore.graph.default",
    "raw_ops": "ckptstore.graph.raw_ops",
    "remove_checkpoint": "ckptstore.train.checkpoint_management",
    "remove_training_nodes": "ckptstore.graph.training_nodes",
    "reset_default_graph": "ckptstore.graph.graph",
    "restore": "ckptstore.train.checkpoint_utils",
    "save": "ckptstore.train.checkpoint_utils",
    "supported_ops": "ckptstore.graph.evaluator",
    "trainable_variables": "ckptstore.graph.default",
    "update_checkpoint_state": "ckptstore.train.checkpoint_management",
    "verify": "ckptstore.train.checkpoint_utils",
    "wait_for_new_checkpoint": "ckptstore.train.checkpoint_management",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(_LAZY[name])
    value = module if _LAZY[name].endswith(f".{name}") else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
