"""One directory of checkpoints: its state file, what is read from it, what is removed from it."""

from ckptstore.checkpoint.assignment import Assignment, plan_assignment
from ckptstore.checkpoint.directory import CheckpointDirectory, StoredCheckpoint
from ckptstore.checkpoint.objects import OBJECT_GRAPH_KEY, ObjectGraph, object_items
from ckptstore.checkpoint.reader import CheckpointReader, open_source
from ckptstore.checkpoint.verification import Damage, VerifyReport, verify_checkpoint, verify_directory

__all__ = [
    "OBJECT_GRAPH_KEY",
    "Assignment",
    "CheckpointDirectory",
    "CheckpointReader",
    "Damage",
    "ObjectGraph",
    "StoredCheckpoint",
    "VerifyReport",
    "object_items",
    "open_source",
    "plan_assignment",
    "verify_checkpoint",
    "verify_directory",
]
