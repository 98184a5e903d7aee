"""The collections of a graph: lists by key."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class GraphKeys:
    """The keys that TensorFlow uses; the names are tf.compat.v1.GraphKeys'."""

    GLOBAL_VARIABLES = "variables"
    LOCAL_VARIABLES = "local_variables"
    MODEL_VARIABLES = "model_variables"
    METRIC_VARIABLES = "metric_variables"
    TRAINABLE_VARIABLES = "trainable_variables"
    MOVING_AVERAGE_VARIABLES = "moving_average_variables"
    GLOBAL_STEP = "global_step"
    SAVERS = "savers"
    SAVEABLE_OBJECTS = "saveable_objects"
    TRAIN_OP = "train_op"
    SUMMARIES = "summaries"
    LOSSES = "losses"
    INIT_OP = "init_op"
    COND_CONTEXT = "cond_context"
    WHILE_CONTEXT = "while_context"
    QUEUE_RUNNERS = "queue_runners"


VARIABLES = (
    GraphKeys.GLOBAL_VARIABLES,
    GraphKeys.TRAINABLE_VARIABLES,
    GraphKeys.LOCAL_VARIABLES,
    GraphKeys.MODEL_VARIABLES,
    GraphKeys.METRIC_VARIABLES,
    GraphKeys.MOVING_AVERAGE_VARIABLES,
    GraphKeys.GLOBAL_STEP,
)
"""Those whose items are variables."""


class Collections:
    """Lists by key, in the words of tf.Graph."""

    def __init__(self) -> None:
        self._collections: dict[str, list[Any]] = {}

    def add_to_collection(self, name: str, value: Any) -> None:
        """Appends to a list."""
        self._collections.setdefault(name, []).append(value)

    def add_to_collections(self, names: Iterable[str], value: Any) -> None:
        """Appends to several lists."""
        for name in dict.fromkeys(names):
            self.add_to_collection(name, value)

    def get_collection(self, name: str, scope: str | None = None) -> list[Any]:
        """A copy of a list; with a scope only those items whose name begins with it."""
        items = self._collections.get(name, [])
        if scope is None:
            return list(items)
        return [item for item in items if getattr(item, "name", "").startswith(scope)]

    def get_collection_ref(self, name: str) -> list[Any]:
        """A list itself."""
        return self._collections.setdefault(name, [])

    def get_all_collection_keys(self) -> list[str]:
        """The keys of lists that hold something."""
        return [key for key, items in self._collections.items() if items]

    def clear_collection(self, name: str) -> None:
        """Empties a list."""
        self._collections.pop(name, None)
