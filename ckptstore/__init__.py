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
    from ckptstore.bundle import LazyArray, Partitioned
    from ckptstore.checkpoint import CheckpointReader, Damage, VerifyReport
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
    from ckptstore.format.dtypes import DType
    from ckptstore.format.slices import TensorSlice
    from ckptstore.format.state import CheckpointState
    from ckptstore.train import (
        CheckpointManager,
        Preemption,
        RetentionWarning,
        checkpoint_exists,
        checkpoints_iterator,
        get_checkpoint_mtimes,
        get_checkpoint_state,
        latest_checkpoint,
        list_variables,
        load_checkpoint,
        load_variable,
        remove_checkpoint,
        restore,
        save,
        update_checkpoint_state,
        verify,
        wait_for_new_checkpoint,
    )

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
    "DType",
    "Damage",
    "DataLossError",
    "Decision",
    "EveryNHours",
    "EveryNSteps",
    "FencedError",
    "IncompatibleTensorError",
    "InvalidArgumentError",
    "LatestN",
    "LazyArray",
    "MissingDependencyError",
    "NotFoundError",
    "Partitioned",
    "PermissionDeniedError",
    "Policy",
    "PreconditionFailedError",
    "Preemption",
    "RetentionWarning",
    "SaveAbortedError",
    "StateCorruptError",
    "StateError",
    "StateMissingError",
    "StorageError",
    "StorageFullError",
    "StorageUnavailableError",
    "SystemClock",
    "TensorNotFoundError",
    "TensorSlice",
    "UnsafePathError",
    "UnsupportedError",
    "UploadConflictError",
    "VerifyReport",
    "Within",
    "__version__",
    "checkpoint_exists",
    "checkpoints_iterator",
    "get_checkpoint_mtimes",
    "get_checkpoint_state",
    "latest_checkpoint",
    "list_variables",
    "load_checkpoint",
    "load_variable",
    "remove_checkpoint",
    "restore",
    "save",
    "update_checkpoint_state",
    "verify",
    "wait_for_new_checkpoint",
]

# Names are imported when they are first used: `ckptstore --help`, and a job that only wants to catch an error, should
# not wait for numpy.
_LAZY = {
    "AnyOf": "ckptstore.checkpoint.policies",
    "BestN": "ckptstore.checkpoint.policies",
    "CheckpointManager": "ckptstore.train",
    "CheckpointReader": "ckptstore.checkpoint",
    "CheckpointState": "ckptstore.format.state",
    "Clock": "ckptstore._clock",
    "DType": "ckptstore.format.dtypes",
    "Damage": "ckptstore.checkpoint",
    "Decision": "ckptstore.checkpoint.policies",
    "EveryNHours": "ckptstore.checkpoint.policies",
    "EveryNSteps": "ckptstore.checkpoint.policies",
    "LatestN": "ckptstore.checkpoint.policies",
    "LazyArray": "ckptstore.bundle",
    "Partitioned": "ckptstore.bundle",
    "Policy": "ckptstore.checkpoint.policies",
    "Preemption": "ckptstore.train",
    "RetentionWarning": "ckptstore.train",
    "SystemClock": "ckptstore._clock",
    "TensorSlice": "ckptstore.format.slices",
    "VerifyReport": "ckptstore.checkpoint",
    "Within": "ckptstore.checkpoint.policies",
    "checkpoint_exists": "ckptstore.train",
    "checkpoints_iterator": "ckptstore.train",
    "get_checkpoint_mtimes": "ckptstore.train",
    "get_checkpoint_state": "ckptstore.train",
    "latest_checkpoint": "ckptstore.train",
    "list_variables": "ckptstore.train",
    "load_checkpoint": "ckptstore.train",
    "load_variable": "ckptstore.train",
    "remove_checkpoint": "ckptstore.train",
    "restore": "ckptstore.train",
    "save": "ckptstore.train",
    "update_checkpoint_state": "ckptstore.train",
    "verify": "ckptstore.train",
    "wait_for_new_checkpoint": "ckptstore.train",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
