"""What a user hands over to be saved, made flat. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ckptstore.checkpoint import OBJECT_GRAPH_KEY, ObjectGraph
from ckptstore.errors import DataLossError, InvalidArgumentError


def flatten(items: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors by name; the names of nested mappings are joined by "/".

    Raises:
        InvalidArgumentError: It is no mapping, is empty, a name is not a str or is empty, or two come out the same.
    """
    if not isinstance(items, Mapping):
        raise InvalidArgumentError(f"What is saved must be a mapping of names to arrays, not a {type(items).__name__}.")
    out: dict[str, Any] = {}
    if _is_flat(items):
        out.update(items)
    else:
        _collect(items, "", out, set())
    if not out:
        raise InvalidArgumentError("There is nothing to save: a checkpoint holds at least one tensor.")
    return out


def _is_flat(items: Mapping[str, Any]) -> bool:
    """Whether it is arrays by name already, as the most are that have thousands of them; quickly told."""
    arrays = {*map(type, items.values())} == {np.ndarray} and {*map(type, items)} == {str}
    return arrays and "" not in items and OBJECT_GRAPH_KEY not in items


def _collect(items: Mapping[str, Any], scope: str, out: dict[str, Any], above: set[int]) -> None:
    if id(items) in above:
        raise InvalidArgumentError(f"The mapping at {scope.rstrip('/')!r} holds itself.")
    above.add(id(items))
    for name, value in items.items():
        if not isinstance(name, str) or not name:
            where = f" in {scope.rstrip('/')!r}" if scope else ""
            raise InvalidArgumentError(
                f"A tensor's name must be a str that is not empty, not {name!r}{where}.", name=repr(name)
            )
        full = scope + name
        if type(value) is not np.ndarray and isinstance(value, Mapping):  # most are arrays, and quickly told so
            _collect(value, full + "/", out, above)
        elif full in out:
            raise InvalidArgumentError(f"Two tensors come out under the name {full!r}.", name=full)
        elif full == OBJECT_GRAPH_KEY and not _is_object_graph(value):
            raise InvalidArgumentError(f"The name {full!r} is TensorFlow's own, for a graph of objects.", name=full)
        else:
            out[full] = value
    above.discard(id(items))


def _is_object_graph(value: Any) -> bool:
    graph: Any = np.asarray(value, dtype=object).tolist()
    if not isinstance(graph, bytes):
        return False
    try:
        return bool(ObjectGraph.parse(graph).paths)
    except DataLossError:
        return False
