"""MetaGraphs: graph, saver, collections and the rest of a `.meta` file, to look at and to write in any form.

binary    what `.meta` files hold: maps in the order in which TensorFlow 2.21 writes them
text      protobuf's text format, as TensorFlow's export_meta_graph(as_text=True) prints it
JSON      protobuf's JSON mapping: lowerCamelCase names, bytes in base64, 64-bit integers as strings
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format, text_format
from google.protobuf.message import DecodeError

from ckptstore._proto.graph_pb2 import GraphDef
from ckptstore._proto.meta_graph_pb2 import CollectionDef, MetaGraphDef, SignatureDef
from ckptstore._proto.node_def_pb2 import NodeDef
from ckptstore._proto.saver_pb2 import SaverDef
from ckptstore._proto.variable_pb2 import VariableDef
from ckptstore.errors import DataLossError, InvalidArgumentError, UnsupportedError
from ckptstore.format.dtypes import DType
from ckptstore.graph.attributes import Shape, base_dtype, decode_shape
from ckptstore.graph.collections import VARIABLES, GraphKeys
from ckptstore.graph.names import split_tensor


@dataclass(frozen=True, slots=True)
class VariableInfo:
    """What a MetaGraph says of a variable.

    Attributes:
        name: The name of its node.
        dtype: Its element type.
        shape: Its static shape.
        trainable: Whether it is one of the trainable variables.
        is_resource: Whether it is a resource (VarHandleOp), and not a reference.
        device: Where it is placed; "" for anywhere.
        part_of: The name of the partitioned variable that it is a part of, or None.
    """

    name: str
    dtype: DType
    shape: Shape
    trainable: bool
    is_resource: bool
    device: str
    part_of: str | None = None


class MetaGraph:
    """A MetaGraphDef.

    Attributes:
        proto: The message itself.
    """

    def __init__(self, proto: MetaGraphDef) -> None:
        self.proto = proto

    # -- forms

    @classmethod
    def from_bytes(cls, data: bytes) -> MetaGraph:
        """Reads one in any form: binary, text or JSON.

        Raises:
            DataLossError: It is none, is cut short, or is empty. (TensorFlow takes an empty file for an empty graph.)
        """
        if not data.strip():
            raise DataLossError("it is empty, and no MetaGraphDef")
        if data.lstrip()[:1] == b"{":
            return cls._parsed_json(data)
        try:
            return cls(MetaGraphDef.FromString(data))
        except DecodeError as error:
            problem = error
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise DataLossError(
                f"it is no MetaGraphDef, or is cut short or damaged ({len(data)} bytes: {problem})"
            ) from problem
        try:
            return cls(text_format.Parse(text, MetaGraphDef()))
        except (text_format.ParseError, RecursionError) as error:
            raise DataLossError(f"it is no MetaGraphDef in binary, text or JSON form ({error})") from error

    @classmethod
    def _parsed_json(cls, data: bytes) -> MetaGraph:
        try:
            return cls(json_format.Parse(data, MetaGraphDef()))
        except (json_format.ParseError, UnicodeDecodeError, RecursionError, ValueError, TypeError) as error:
            raise DataLossError(f"it is no MetaGraphDef in JSON form ({error})") from error

    def to_bytes(self) -> bytes:
        """The binary form."""
        return self.proto.SerializeToString(deterministic=True)

    def to_text(self) -> str:
        """The text form."""
        return text_format.MessageToString(self.proto)

    def to_json(self) -> str:
        """The JSON form.

        Raises:
            UnsupportedError: It holds an Any of a type that is not known here, which JSON cannot show.
        """
        try:
            return json_format.MessageToJson(self.proto)
        except (TypeError, ValueError) as error:
            raise UnsupportedError(
                f"The MetaGraph cannot be JSON ({error}); use the text form, which can show everything."
            ) from error

    # -- what is in it

    @property
    def graph_def(self) -> GraphDef:
        """The graph."""
        return self.proto.graph_def

    @property
    def meta_info_def(self) -> MetaGraphDef.MetaInfoDef:
        """By which TensorFlow it was written, and the ops that it uses."""
        return self.proto.meta_info_def

    @property
    def saver_def(self) -> SaverDef | None:
        """How TensorFlow saves and restores the graph, or None where it cannot."""
        return self.proto.saver_def if self.proto.HasField("saver_def") else None

    @property
    def collection_def(self) -> Mapping[str, CollectionDef]:
        """The collections as messages."""
        return self.proto.collection_def

    @property
    def signature_def(self) -> Mapping[str, SignatureDef]:
        """The signatures as messages."""
        return self.proto.signature_def

    @property
    def nodes(self) -> Mapping[str, NodeDef]:
        """The nodes by name, in their order."""
        return {node.name: node for node in self.graph_def.node}

    def node(self, name: str) -> NodeDef:
        """The node of a name.

        Raises:
            InvalidArgumentError: There is none.
        """
        wanted = split_tensor(name)[0]
        for node in self.graph_def.node:
            if node.name == wanted:
                return node
        raise InvalidArgumentError(f"The graph has no node {wanted!r}.", name=wanted)

    @property
    def ops(self) -> Mapping[str, int]:
        """How often each op is used, functions included, by name."""
        counts = Counter(node.op for node in self.graph_def.node)
        for function in self.graph_def.library.function:
            counts.update(node.op for node in function.node_def)
        return dict(sorted(counts.items()))

    @property
    def devices(self) -> Mapping[str, int]:
        """How many nodes are placed on each device; "" for anywhere."""
        return dict(sorted(Counter(node.device for node in self.graph_def.node).items()))

    @property
    def variables(self) -> list[VariableInfo]:
        """The variables, in the order of their nodes."""
        known = {
            split_tensor(definition.variable_name)[0]: (key, definition)
            for key in reversed(VARIABLES)
            for definition in self._variable_defs(key)
        }
        trainable = {split_tensor(d.variable_name)[0] for d in self._variable_defs(GraphKeys.TRAINABLE_VARIABLES)}
        out = []
        for node in self.graph_def.node:
            if node.op not in ("VariableV2", "Variable", "VarHandleOp"):
                continue
            part_of = None
            if node.name in known and known[node.name][1].HasField("save_slice_info_def"):
                part_of = known[node.name][1].save_slice_info_def.full_name
            out.append(
                VariableInfo(
                    node.name,
                    base_dtype(node.attr["dtype"].type),
                    decode_shape(node.attr["shape"].shape),
                    node.name in trainable,
                    node.op == "VarHandleOp",
                    node.device,
                    part_of,
                )
            )
        return out

    @property
    def collections(self) -> dict[str, list[Any]]:
        """The collections as Python values, by key: names of nodes, numbers, bytes, and VariableDefs as such."""
        return {key: collection_items(key, self.collection_def[key]) for key in sorted(self.collection_def)}

    @property
    def signatures(self) -> dict[str, dict[str, dict[str, str]]]:
        """By key: the names of input and output tensors, by what the signature calls them."""
        return {
            key: {
                "inputs": {name: info.name for name, info in sorted(signature.inputs.items())},
                "outputs": {name: info.name for name, info in sorted(signature.outputs.items())},
            }
            for key, signature in sorted(self.signature_def.items())
        }

    def _variable_defs(self, key: str) -> list[VariableDef]:
        if key not in self.collection_def:
            return []
        return [item for item in collection_items(key, self.collection_def[key]) if isinstance(item, VariableDef)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MetaGraph) and self.proto == other.proto

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<MetaGraph of {len(self.graph_def.node)} nodes>"


def collection_items(key: str, collection: CollectionDef) -> list[Any]:
    """The items of a collection; those that are variables as VariableDefs.

    Raises:
        DataLossError: One of them is damaged.
    """
    kind = collection.WhichOneof("kind")
    if kind is None:
        return []
    items = list(getattr(collection, kind).value)
    if kind != "bytes_list" or key not in VARIABLES:
        return items
    try:
        return [VariableDef.FromString(item) for item in items]
    except DecodeError as error:
        raise DataLossError(f"the collection {key!r} holds what is no VariableDef") from error
