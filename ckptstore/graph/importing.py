"""A MetaGraphDef into a graph, as tf.compat.v1.train.import_meta_graph does.

Source: import_scoped_meta_graph in tensorflow/python/framework/meta_graph.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ckptstore._proto.graph_pb2 import GraphDef
from ckptstore._proto.meta_graph_pb2 import CollectionDef, MetaGraphDef
from ckptstore._proto.node_def_pb2 import NodeDef
from ckptstore._proto.saver_pb2 import SaverDef
from ckptstore._proto.variable_pb2 import VariableDef
from ckptstore.errors import DataLossError, InvalidArgumentError, UnsupportedError
from ckptstore.graph.collections import VARIABLES, GraphKeys
from ckptstore.graph.contexts import renamed
from ckptstore.graph.exporting import UNBOUND
from ckptstore.graph.graph import PRODUCER, Graph
from ckptstore.graph.meta_graph import collection_items
from ckptstore.graph.names import node_of, split_tensor
from ckptstore.graph.tensor import Tensor
from ckptstore.graph.variable import Variable

_SHOWN = 10


def import_graph(
    graph: Graph,
    meta: MetaGraphDef,
    *,
    clear_devices: bool = False,
    import_scope: str | None = None,
    input_map: Mapping[str, Tensor] | None = None,
) -> str:
    """Adds what a MetaGraphDef holds to a graph: nodes, functions and collections. Its variables get no values.

    Args:
        graph: Where to.
        meta: What.
        clear_devices: Forget where nodes are placed.
        import_scope: The scope to put it under; made unique.
        input_map: For inputs by the names that the nodes give them, what to take instead.

    Returns:
        The scope it is under; "" for none.

    Raises:
        InvalidArgumentError: The graph has nodes of the same names, or inputs from outside are not in `input_map`.
        DataLossError: The MetaGraphDef contradicts itself: all that is wrong with its nodes is listed.
        UnsupportedError: Only a newer TensorFlow can read it.
    """
    least = meta.graph_def.versions.min_consumer
    if least > PRODUCER:
        raise UnsupportedError(f"The graph is of version {least}, and this release reads up to {PRODUCER}; upgrade it.")
    for definition in meta.meta_info_def.stripped_op_list.op:
        graph.op_defs.setdefault(definition.name, definition)
    scope = ""
    if import_scope:
        with graph.name_scope(import_scope.rstrip("/")) as entered:
            scope = entered[:-1]
    _add_nodes(graph, meta.graph_def, scope, dict(input_map or {}), clear_devices=clear_devices)
    _add_collections(graph, meta, scope)
    return scope


def scoped_saver(saver_def: SaverDef, scope: str) -> SaverDef:
    """A SaverDef with the names of its nodes put under a scope."""
    out = SaverDef()
    out.CopyFrom(saver_def)
    if scope:
        for field in ("filename_tensor_name", "save_tensor_name", "restore_op_name"):
            if getattr(out, field):
                setattr(out, field, f"{scope}/{getattr(out, field)}")
    return out


def _add_nodes(
    graph: Graph, graph_def: GraphDef, scope: str, input_map: dict[str, Tensor], *, clear_devices: bool
) -> None:
    _check(graph_def, input_map)
    under = f"{scope}/" if scope else ""
    taken = [node.name for node in graph_def.node if under + node.name in graph]
    if taken:
        raise InvalidArgumentError(
            f"The graph has {len(taken)} of these nodes already ({', '.join(taken[:_SHOWN])}"
            f"{', ...' if len(taken) > _SHOWN else ''}). Pass import_scope, or another graph, or call "
            "reset_default_graph() before.",
            name=taken[0],
        )
    have = {function.signature.name: function for function in graph.library.function}
    for function in graph_def.library.function:
        other = have.get(function.signature.name)
        if other is not None and other != function:
            raise InvalidArgumentError(
                f"The graph has another function {function.signature.name!r} already; import into another graph.",
                name=function.signature.name,
            )
        if other is None:
            graph.library.function.add().CopyFrom(function)
    for node in graph_def.node:
        new = NodeDef()
        new.CopyFrom(node)
        if clear_devices:
            new.device = ""
        del new.input[:]
        new.input.extend(_mapped(name, input_map) or _put_under(name, under) for name in node.input)
        if under:
            new.name = under + node.name
            if "_class" in new.attr:
                classes = [_put_under(item.decode(), under).encode() for item in new.attr["_class"].list.s]
                del new.attr["_class"].list.s[:]
                new.attr["_class"].list.s.extend(classes)
            if new.op in ("Enter", "RefEnter"):
                new.attr["frame_name"].s = under.encode() + new.attr["frame_name"].s
        graph.import_node(new)


def _check(graph_def: GraphDef, input_map: Mapping[str, Any]) -> None:
    names: set[str] = set()
    problems: list[str] = []
    for node in graph_def.node:
        if not node.name or node.name in names:
            problems.append(f"two nodes are named {node.name!r}" if node.name else "a node has no name")
        names.add(node.name)
    unbound: list[str] = []
    for node in graph_def.node:
        for name in node.input:
            if node_of(name) in names or _mapped(name, input_map) is not None:
                continue
            if UNBOUND in name:
                unbound.append(name)
            else:
                problems.append(f"the input {name!r} of {node.name!r} is not there")
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise DataLossError(f"the graph contradicts itself: {'; '.join(problems[:_SHOWN])}{more}")
    if unbound:
        raise InvalidArgumentError(
            f"The graph is a part of another, and has inputs from outside of it: {', '.join(sorted(set(unbound)))}. "
            "Say in input_map what to take for each.",
            name=unbound[0],
        )


def _mapped(name: str, input_map: Mapping[str, Any]) -> str | None:
    """What an input is replaced by, or None if it stays."""
    plain = name.removeprefix("^")
    for key in (plain, f"{plain}:0", plain.removeprefix(UNBOUND), f"{plain.removeprefix(UNBOUND)}:0"):
        if key in input_map:
            found = input_map[key]
            if isinstance(found, Tensor):
                return f"^{found.op.name}" if name.startswith("^") else found.as_input
    return None


def _put_under(name: str, under: str) -> str:
    for mark in ("^", "loc:@"):
        if name.startswith(mark):
            return mark + under + name[len(mark) :]
    return under + name


def _add_collections(graph: Graph, meta: MetaGraphDef, scope: str) -> None:
    trainable = {
        definition.variable_name
        for definition in _items(GraphKeys.TRAINABLE_VARIABLES, meta.collection_def)
        if isinstance(definition, VariableDef)
    }
    old = _is_older(meta.meta_info_def.tensorflow_version, (1, 9))
    made: dict[bytes, Variable] = {}
    # The trainable ones first, as TensorFlow does.
    for key in sorted(meta.collection_def, key=lambda key: (key != GraphKeys.TRAINABLE_VARIABLES, key)):
        for item in _items(key, meta.collection_def):
            value = item
            if isinstance(item, VariableDef):
                if old:
                    item.trainable = item.variable_name in trainable
                value = _variable(graph, key, item, scope, made)
            elif meta.collection_def[key].WhichOneof("kind") == "node_list":
                value = _node(graph, key, item, scope)
            elif isinstance(item, bytes) and scope:
                value = _scoped_message(key, item, scope)
            graph.add_to_collection(key, value)


def _items(key: str, collections: Mapping[str, CollectionDef]) -> Sequence[Any]:
    if key not in collections or key == "unbound_inputs":
        return ()
    items = collection_items(key, collections[key])
    # old files have texts for variables in collections of their own making
    return items if key not in VARIABLES or all(isinstance(item, VariableDef) for item in items) else ()


def _variable(graph: Graph, key: str, definition: VariableDef, scope: str, made: dict[bytes, Variable]) -> Variable:
    data = definition.SerializeToString(deterministic=True)
    if data not in made:
        try:
            made[data] = Variable.from_proto(definition, graph, scope or None)
        except InvalidArgumentError as error:
            raise DataLossError(
                f"the collection {key!r} names the variable {definition.variable_name!r}, whose nodes are not all "
                f"there: {error.message}"
            ) from error
    return made[data]


def _node(graph: Graph, key: str, name: str, scope: str) -> Any:
    full = f"{scope}/{name}" if scope else name
    try:
        return graph.tensor(full) if split_tensor(full)[0] != full else graph.operation(full)
    except InvalidArgumentError as error:
        raise DataLossError(f"the collection {key!r} names {name!r}, which is not in the graph") from error


def _scoped_message(key: str, data: bytes, scope: str) -> bytes:
    """A message of a collection with the names in it put under a scope."""
    if key == GraphKeys.SAVERS:
        return scoped_saver(SaverDef.FromString(data), scope).SerializeToString(deterministic=True)
    return renamed(key, data, lambda name: _put_under(name, f"{scope}/"))


def _is_older(version: str, than: tuple[int, int]) -> bool:
    parts = version.split(".")
    try:
        return bool(version) and (int(parts[0]), int(parts[1])) < than
    except (ValueError, IndexError):
        return False
