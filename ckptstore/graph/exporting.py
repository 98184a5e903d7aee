"""A graph to a MetaGraphDef, as tf.compat.v1.train.export_meta_graph does.

Source: export_scoped_meta_graph and create_meta_graph_def in tensorflow/python/framework/meta_graph.py.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from ckptstore._proto.function_pb2 import FunctionDefLibrary
from ckptstore._proto.graph_pb2 import GraphDef
from ckptstore._proto.meta_graph_pb2 import CollectionDef, MetaGraphDef
from ckptstore._proto.node_def_pb2 import NodeDef
from ckptstore._proto.op_def_pb2 import OpDef
from ckptstore._proto.saver_pb2 import SaverDef
from ckptstore._version import __version__
from ckptstore.graph.collections import VARIABLES, GraphKeys
from ckptstore.graph.contexts import name_in, renamed
from ckptstore.graph.graph import Graph
from ckptstore.graph.tensor import Operation, Tensor
from ckptstore.graph.variable import Variable

TENSORFLOW_VERSION = "2.21.0"
"""The TensorFlow whose ops and attributes are written."""

UNBOUND = "$unbound_inputs_"
"""Stands before the name of an input that comes from outside of an exported scope."""

_SAVER_OPS = frozenset(["SaveV2", "SaveSlices", "Save", "RestoreV2", "RestoreSlice", "Restore", "MergeV2Checkpoints"])


class MetaGraphWarning(UserWarning):
    """Something of a graph could not be written into a `.meta` file, which is whole but for that."""


def export_graph(
    graph: Graph,
    saver_def: SaverDef | None = None,
    *,
    collection_list: Iterable[str] | None = None,
    export_scope: str | None = None,
    clear_devices: bool = False,
    clear_extraneous_savers: bool = False,
    strip_default_attrs: bool = False,
) -> MetaGraphDef:
    """The MetaGraphDef of a graph.

    Args:
        graph: The graph.
        saver_def: The Saver to be told of.
        collection_list: The keys of the collections that are written. None: all.
        export_scope: Only what is below this scope, without it in the names. Inputs from outside get another name and
            are listed in the collection "unbound_inputs".
        clear_devices: Leave out where nodes are placed.
        clear_extraneous_savers: Leave out the nodes of other Savers.
        strip_default_attrs: Leave out attributes that have the op's default, for older TensorFlows to read.
    """
    out = MetaGraphDef()
    scope = (export_scope or "").rstrip("/")
    left_out = _saver_scopes(graph, saver_def) if clear_extraneous_savers else ()
    unbound = _write_nodes(graph, out.graph_def, scope, left_out, clear_devices=clear_devices)
    info = out.meta_info_def
    info.stripped_op_list.op.extend(stripped_ops(graph, out.graph_def))
    info.tensorflow_version = TENSORFLOW_VERSION
    info.tensorflow_git_version = f"ckptstore {__version__}"
    if strip_default_attrs:
        _strip_defaults(graph, out.graph_def)
        info.stripped_default_attrs = True
    if saver_def is not None:
        out.saver_def.CopyFrom(saver_def)
    keys = graph.get_all_collection_keys() if collection_list is None else list(collection_list)
    if clear_extraneous_savers:
        keys = [key for key in keys if key != GraphKeys.SAVERS]
        if saver_def is not None:
            out.collection_def[GraphKeys.SAVERS].bytes_list.value.append(saver_def.SerializeToString())
    for key in keys:
        collection = _collection(key, graph.get_collection(key), scope, left_out)
        if collection is not None:
            out.collection_def[key].CopyFrom(collection)
    if unbound:
        out.collection_def["unbound_inputs"].bytes_list.value.extend(item.encode() for item in sorted(unbound))
    return out


def stripped_ops(graph: Graph, graph_def: GraphDef) -> list[OpDef]:
    """The definitions of the ops that a graph uses, by name; those that are not known are left out.

    Functions are followed from nodes that call them by their own name, and from calls of partitioned ones.
    """
    functions = {function.signature.name: function for function in graph_def.library.function}
    used: set[str] = set()
    waiting = [list(graph_def.node)]
    followed: set[str] = set()
    while waiting:
        for node in waiting.pop():
            calls = [node.op] if node.op in functions else []
            if node.op in ("PartitionedCall", "StatefulPartitionedCall") and "f" in node.attr:
                calls.append(node.attr["f"].func.name)
            if node.op not in functions:
                used.add(node.op)
            for name in calls:
                if name in functions and name not in followed:
                    followed.add(name)
                    waiting.append(list(functions[name].node_def))
    return [definition for op in sorted(used) if (definition := graph.op_def(op)) is not None]


def without_scope(name: str, scope: str) -> str:
    """A name of any kind ("a", "^a", "loc:@a") without a scope before it."""
    return re.sub(rf"([\^]|loc:@|^){re.escape(scope)}/+(.*)", r"\1\2", name, count=1) if scope else name


def _write_nodes(graph: Graph, out: GraphDef, scope: str, left_out: Sequence[str], *, clear_devices: bool) -> set[str]:
    whole = graph.as_graph_def(add_shapes=True)
    unbound: set[str] = set()
    for node in whole.node:
        if (scope and not node.name.startswith(scope)) or node.name.startswith(tuple(left_out)):
            continue
        new = out.node.add()
        new.CopyFrom(node)
        if scope:
            _take_out(new, scope, unbound)
        if clear_devices:
            new.device = ""
    if scope or clear_devices or whole.HasField("library"):  # TensorFlow writes an empty one, too
        out.library.CopyFrom(whole.library)
    if clear_devices:
        _clear_devices(out.library)
    out.versions.CopyFrom(whole.versions)
    return unbound


def _take_out(node: NodeDef, scope: str, unbound: set[str]) -> None:
    for number, name in enumerate(node.input):
        plain = name.removeprefix("^")
        if plain.startswith(scope):
            node.input[number] = without_scope(name, scope)
        else:
            node.input[number] = name[: len(name) - len(plain)] + UNBOUND + plain
            unbound.add(node.input[number])
    node.name = without_scope(node.name, scope)
    if "_class" in node.attr:
        classes = [item.decode() for item in node.attr["_class"].list.s]
        inside = [item for item in classes if item.partition("@")[2].startswith(scope)]
        node.attr["_class"].list.Clear()
        node.attr["_class"].list.s.extend(without_scope(item, scope).encode() for item in inside)
    if node.op in ("Enter", "RefEnter"):
        node.attr["frame_name"].s = without_scope(node.attr["frame_name"].s.decode(), scope).encode()


def _clear_devices(library: FunctionDefLibrary) -> None:
    for function in library.function:
        for node in function.node_def:
            node.device = ""


def _strip_defaults(graph: Graph, graph_def: GraphDef) -> None:
    for nodes in (graph_def.node, *(function.node_def for function in graph_def.library.function)):
        for node in nodes:
            definition = graph.op_def(node.op)
            for attr in definition.attr if definition is not None else ():
                if attr.HasField("default_value") and node.attr.get(attr.name) == attr.default_value:
                    del node.attr[attr.name]


def _saver_scopes(graph: Graph, saver_def: SaverDef | None) -> tuple[str, ...]:
    """The scopes of Savers but this one."""
    own = "" if saver_def is None else saver_def.filename_tensor_name.rpartition("/")[0]
    scopes = {operation.name.rpartition("/")[0] for operation in graph.operations if operation.type in _SAVER_OPS}
    return tuple(sorted(f"{scope}/" for scope in scopes if scope and scope != own))


def _collection(key: str, items: Sequence[Any], scope: str, left_out: Sequence[str]) -> CollectionDef | None:
    out = CollectionDef()
    kept = [item for item in items if _is_inside(key, item, scope, left_out)]
    try:
        if key in VARIABLES or key == GraphKeys.SAVERS:
            for item in kept:
                encoded = item.to_proto(scope or None).SerializeToString(deterministic=True)
                out.bytes_list.value.append(encoded)
        elif kept:
            _add_items(out, key, kept, scope)
    except (AttributeError, TypeError, ValueError) as error:
        warnings.warn(
            f"The collection {key!r} is left out of the MetaGraph, as TensorFlow leaves it out: its items are not all "
            f"names, numbers or nodes ({error}).",
            MetaGraphWarning,
            stacklevel=3,
        )
        return None
    return out if out.WhichOneof("kind") is not None else None


def _is_inside(key: str, item: Any, scope: str, left_out: Sequence[str]) -> bool:
    """Whether an item is part of what is exported. Texts count as names, as in TensorFlow."""
    name = item if isinstance(item, str) else getattr(item, "name", None)
    if isinstance(item, bytes):
        name = name_in(key, item)
        name = item.decode("utf-8", "replace") if name is None and scope else name
    if not isinstance(name, str):
        return True
    return name.startswith(scope) and not name.startswith(tuple(left_out))


def _add_items(out: CollectionDef, key: str, items: Sequence[Any], scope: str) -> None:
    first = items[0]
    if isinstance(first, str | bytes):
        texts = [item.encode() if isinstance(item, str) else item for item in items]
        if scope:
            texts = [renamed(key, item, lambda name: without_scope(name, scope)) for item in texts]
        out.bytes_list.value.extend(texts)
    elif type(first) is int:
        if any(type(item) is not int for item in items):
            raise TypeError("a list of numbers of several kinds")
        out.int64_list.value.extend(items)
    elif type(first) is float:
        if any(type(item) not in (int, float) for item in items):
            raise TypeError("a list of numbers of several kinds")
        out.float_list.value.extend(items)
    else:
        out.node_list.SetInParent()
        for item in items:
            if not isinstance(item, Operation | Tensor | Variable):
                raise TypeError(f"a {type(item).__name__}")
            out.node_list.value.append(without_scope(item.name, scope))
