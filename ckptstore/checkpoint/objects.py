"""Object-based checkpoints, as tf.train.Checkpoint writes them: tensors by their place in a tree of objects.

    key            <path>/.ATTRIBUTES/<attribute>      attribute VARIABLE_VALUE for variables
    path           child names from the root, "." escaped as "..", then "/" as ".S", joined by "/"
    object graph   the string tensor _CHECKPOINTABLE_OBJECT_GRAPH: a TrackableObjectGraph with the root at node 0

TensorFlow restores by the names along the path, not by the key. Source: tensorflow/python/checkpoint/
graph_view.py and save_util.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from ckptstore._arguments import as_step
from ckptstore._proto.trackable_object_graph_pb2 import TrackableObjectGraph
from ckptstore.errors import DataLossError, InvalidArgumentError

OBJECT_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
SAVE_COUNTER = "save_counter"
VARIABLE_VALUE = "VARIABLE_VALUE"
_ATTRIBUTES = "/.ATTRIBUTES/"
_MAX_PATH_BYTES = 64 << 20  # of all paths together: a forged graph can have them as long as it likes
_PATH_COST = 16


def escape(name: str) -> str:
    """A child's name as part of a key."""
    return name.replace(".", "..").replace("/", ".S")


def _shown(name: str) -> str:
    """A child's name as part of an object path: as it is, unless the slash in it would be taken for a step."""
    return escape(name) if "/" in name else name


class ObjectGraph:
    """The tree of a checkpoint: which object path, and which variable name, has which key.

    Attributes:
        paths: Key of each value by object path ("layer/w"), in node order; where two paths lead to an object, by
            the first. Values that are not variables' are under path and attribute ("it/.ATTRIBUTES/py_state").
        full_names: Key of each variable by the name that TensorFlow's Saver would use.
    """

    def __init__(self, proto: TrackableObjectGraph) -> None:
        self._nodes = proto.nodes
        self.paths: dict[str, str] = {}
        self.full_names: dict[str, str] = {}
        parents = self._parents()
        budget = _MAX_PATH_BYTES
        for number, node in enumerate(proto.nodes):
            for attribute in node.attributes:
                if attribute.full_name:
                    self.full_names.setdefault(attribute.full_name, attribute.checkpoint_key)
                path = self._path(number, parents, budget)
                if path is None:
                    continue
                budget -= len(path) + _PATH_COST
                if attribute.name != VARIABLE_VALUE:
                    path += _ATTRIBUTES + attribute.name
                self.paths.setdefault(path, attribute.checkpoint_key)

    @classmethod
    def parse(cls, data: bytes) -> ObjectGraph:
        """Reads the value of the object graph tensor.

        Raises:
            DataLossError: It is no TrackableObjectGraph.
        """
        try:
            return cls(TrackableObjectGraph.FromString(data))
        except DecodeError as error:
            raise DataLossError("the object graph is no TrackableObjectGraph") from error

    def resolve(self, path: str) -> str | None:
        """The key of the variable at a path, by any of the ways that lead to it, or None."""
        if path in self.paths:
            return self.paths[path]
        number = 0
        for name in path.split("/") if path else ():
            children = self._nodes[number].children if number < len(self._nodes) else ()
            reached = [c.node_id for spell in (_shown, escape) for c in children if spell(c.local_name) == name]
            if not reached or not 0 <= reached[0] < len(self._nodes):
                return None
            number = reached[0]
        if number < len(self._nodes):
            for attribute in self._nodes[number].attributes:
                if attribute.name == VARIABLE_VALUE:
                    return str(attribute.checkpoint_key)
        return None

    def _parents(self) -> dict[int, tuple[int, str]]:
        """Through which node, and by which name, each node is first reached from the root."""
        parents: dict[int, tuple[int, str]] = {0: (-1, "")} if self._nodes else {}
        queue = deque(parents)
        while queue:
            number = queue.popleft()
            for child in self._nodes[number].children:
                if 0 <= child.node_id < len(self._nodes) and child.node_id not in parents:
                    parents[child.node_id] = (number, child.local_name)
                    queue.append(child.node_id)
        return parents

    def _path(self, number: int, parents: Mapping[int, tuple[int, str]], budget: int) -> str | None:
        """The path of a node that has a value, or None if no path leads to it."""
        if number not in parents:
            # Slot variables hang on no parent: their key says where they belong.
            return str(self._nodes[number].attributes[0].checkpoint_key).split(_ATTRIBUTES)[0]
        names: list[str] = []
        while number:
            number, name = parents[number]
            names.append(_shown(name))
            budget -= len(name) + _PATH_COST
            if budget < 0:
                raise DataLossError("the paths of the object graph take more room than any real model's")
        return "/".join(reversed(names))


@dataclass
class TrackedNode:
    """An object of a tree to be saved: named children, in order, and the value of a variable."""

    children: dict[str, TrackedNode] = field(default_factory=dict)
    value: Any = None
    full_name: str = ""


def object_items(items: Mapping[str, Any], save_counter: int) -> dict[str, Any]:
    """Turns names into an object-based checkpoint: what tf.train.Checkpoint(...) of the same tree would save.

    Each "/" in a name is a step down the tree. `tf.train.Checkpoint(layer=module)` restores "layer/w" into
    `module.w`.

    Args:
        items: Arrays by path.
        save_counter: TensorFlow's counter of saves, which numbers its next one.

    Returns:
        Arrays by key, in storage order, the object graph last.

    Raises:
        InvalidArgumentError: A name is also another one's parent, or is the counter's.
    """
    for name in items:
        try:
            name.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidArgumentError(f"The name {name!a} is not UTF-8, as object paths are.", name=name) from error
    root = TrackedNode()
    for name in sorted(items, key=lambda n: n.split("/", 1)[0]):
        node = root
        *parents, leaf = name.split("/")
        for part in parents:
            node = node.children.setdefault(part, TrackedNode())
        if leaf in node.children or not leaf or any(not part for part in parents) or name == SAVE_COUNTER:
            raise InvalidArgumentError(
                f"The name {name!r} cannot be an object path: it has an empty part, names a parent of other tensors, "
                f"or is {SAVE_COUNTER!r}.",
                name=name,
            )
        node.children[leaf] = TrackedNode(value=items[name], full_name=name)
    for name in items:
        node = root
        for part in name.split("/")[:-1]:
            node = node.children[part]
            if node.value is not None:
                raise InvalidArgumentError(f"The name {name!r} has a tensor for a parent.", name=name)
    root.children[SAVE_COUNTER] = TrackedNode(value=np.int64(as_step(save_counter)), full_name=SAVE_COUNTER)
    return tree_items(root)


def tree_items(root: TrackedNode) -> dict[str, Any]:
    """The tensors of a tree by key, in node order, and the object graph. An object may have several parents."""
    order: list[tuple[TrackedNode, str]] = [(root, "")]
    numbers = {id(root): 0}
    for node, path in order:  # grows while it runs: breadth first
        for name, child in node.children.items():
            if id(child) not in numbers:
                numbers[id(child)] = len(order)
                order.append((child, f"{path}/{escape(name)}" if path else escape(name)))
    proto = TrackableObjectGraph()
    out: dict[str, Any] = {}
    with_values = _with_values(node for node, _ in order)
    for node, path in order:
        message = proto.nodes.add()
        for name, child in node.children.items():
            message.children.add(node_id=numbers[id(child)], local_name=name)
        if node.value is not None:
            key = path + _ATTRIBUTES + VARIABLE_VALUE
            message.attributes.add(name=VARIABLE_VALUE, full_name=node.full_name, checkpoint_key=key)
            out[key] = node.value
        message.has_checkpoint_values.value = id(node) in with_values
    out[OBJECT_GRAPH_KEY] = proto.SerializeToString()
    return out


def _with_values(nodes: Iterable[TrackedNode]) -> set[int]:
    """The ids of the nodes that hold a value, or have one somewhere below them."""
    found: set[int] = set()
    backwards = list(nodes)[::-1]  # children mostly come after their parents, so one pass nearly always does
    while True:
        before = len(found)
        for node in backwards:
            if node.value is not None or any(id(child) in found for child in node.children.values()):
                found.add(id(node))
        if len(found) == before:
            return found
