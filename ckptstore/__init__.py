"""Saves and resumes machine-learning training in TensorFlow's own checkpoint files, without TensorFlow.

import ckptstore as ck

with ck.CheckpointManager("s3://bucket/run", max_to_keep=3) as manager:
    step, state = manager.restore_or_initialize(init)
    ...
    manager.save(step, state, metrics={"loss": loss})
"""

from ckptstore._clock import Clock, SystemClock
from ckptstore._version import __version__
from ckptstore.bundle import LazyArray, Partitioned
from ckptstore.checkpoint import CheckpointReader, Damage, VerifyReport
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
