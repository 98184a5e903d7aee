"""What users drive, in tf.train's words."""

from ckptstore.checkpoint.writer import RetentionWarning
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
from ckptstore.train.checkpoint_utils import list_variables, load_checkpoint, load_variable, restore, save, verify
from ckptstore.train.preemption import Preemption

__all__ = [
    "CheckpointManager",
    "Preemption",
    "RetentionWarning",
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
