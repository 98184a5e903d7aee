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
    CommitConflictError,
    DataLossError,
    FencedError,
    IncompatibleTensorError,
    InvalidArgumentError,
    MissingDependencyError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionFailedError,
    StateCorruptError,
    StateError,
    StateMissingError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
    TensorNotFoundError,
    UnsafePathError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from ckptstore._clock import Clock, SystemClock
    from ckptstore.bundle import LazyArray, Partitioned
    from ckptstore.checkpoint import CheckpointReader, Damage, VerifyReport
    from ckptstore.format.dtypes import DType
    from ckptstore.format.slices import TensorSlice
    from ckptstore.format.state import CheckpointState
    from ckptstore.train import (
        CheckpointManager,
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
    )

__all__ = [
    "AlreadyExistsError",
    "CheckpointError",
    "CheckpointExistsError",
    "CheckpointManager",
    "CheckpointNotFoundError",
    "CheckpointReader",
    "CheckpointState",
    "Clock",
    "CommitConflictError",
    "DType",
    "Damage",
    "DataLossError",
    "FencedError",
    "IncompatibleTensorError",
    "InvalidArgumentError",
    "LazyArray",
    "MissingDependencyError",
    "NotFoundError",
    "Partitioned",
    "PermissionDeniedError",
    "PreconditionFailedError",
    "RetentionWarning",
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
    "VerifyReport",
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
]

# Names are imported when they are first used: `ckptstore --help`, and a job that only wants to catch an error, should
# not wait for numpy.
_LAZY = {
    "CheckpointManager": "ckptstore.train",
    "CheckpointReader": "ckptstore.checkpoint",
    "CheckpointState": "ckptstore.format.state",
    "Clock": "ckptstore._clock",
    "DType": "ckptstore.format.dtypes",
    "Damage": "ckptstore.checkpoint",
    "LazyArray": "ckptstore.bundle",
    "Partitioned": "ckptstore.bundle",
    "RetentionWarning": "ckptstore.train",
    "SystemClock": "ckptstore._clock",
    "TensorSlice": "ckptstore.format.slices",
    "VerifyReport": "ckptstore.checkpoint",
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
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
