"""Attributes of nodes: AttrValue to Python values and back.

s -> bytes        i -> int       f -> float      b -> bool      type -> DType (a reference type as its plain one)
shape -> tuple of int or None (None where the rank, or an extent, is not known)
tensor -> array   func -> NameAttrList           list -> list of these          placeholder -> str
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ckptstore._proto.attr_value_pb2 import AttrValue
from ckptstore._proto.tensor_pb2 import TensorProto
from ckptstore._proto.tensor_shape_pb2 import TensorShapeProto
from ckptstore.errors import DataLossError
from ckptstore.format.dtypes import DType, as_dtype, by_number
from ckptstore.format.tensor_proto import get_array

REFERENCE = 100
"""What is added to a type's number where an output is a reference to a variable (DT_FLOAT_REF)."""

Shape = tuple["int | None", ...] | None
"""A static shape: None where the rank is not known, and for an extent that is not."""


def base_dtype(number: int) -> DType:
    """The type of a number in a graph, that of a reference too.

    Raises:
        DataLossError: There is no such type.
    """
    return by_number(number - REFERENCE if number > REFERENCE else number)


def decode_shape(proto: TensorShapeProto) -> Shape:
    """A static shape."""
    if proto.unknown_rank:
        return None
    return tuple(None if dim.size < 0 else dim.size for dim in proto.dim)


def encode_shape(shape: Shape, proto: TensorShapeProto) -> None:
    """Puts a static shape into a message."""
    if shape is None:
        proto.unknown_rank = True
        return
    proto.SetInParent()
    for size in shape:
        proto.dim.add(size=-1 if size is None else size)


def decode_tensor(proto: TensorProto) -> np.ndarray[Any, Any]:
    """The array in a TensorProto that says its own type and shape.

    Raises:
        DataLossError: It holds too many values, or its shape is not known.
        UnsupportedError: It holds resources or variants.
    """
    if proto.tensor_shape.unknown_rank or any(dim.size < 0 for dim in proto.tensor_shape.dim):
        raise DataLossError("a constant has no full shape")
    return get_array(proto, base_dtype(proto.dtype), tuple(dim.size for dim in proto.tensor_shape.dim))


def decode_attribute(attr: AttrValue) -> Any:
    """The Python value of an attribute; None if it has none.

    Raises:
        DataLossError: It holds a type or a tensor that cannot be.
    """
    kind = attr.WhichOneof("value")
    if kind is None:
        return None
    value = getattr(attr, kind)
    if kind == "list":
        for field, items in value.ListFields():
            return [_decode(field.name, item) for item in items]
        return []
    return _decode(kind, value)


def decode_attributes(attrs: Mapping[str, AttrValue]) -> dict[str, Any]:
    """All attributes of a node but those that only tell of it: those that begin with "_"."""
    return {name: decode_attribute(attr) for name, attr in attrs.items() if not name.startswith("_")}


def _decode(kind: str, value: Any) -> Any:
    if kind == "type":
        return base_dtype(value)
    if kind == "shape":
        return decode_shape(value)
    if kind == "tensor":
        return decode_tensor(value)
    return value


def set_attribute(attr: AttrValue, kind: str, value: Any) -> None:
    """Puts a Python value into an attribute.

    Args:
        attr: The message.
        kind: The attribute's type as an OpDef spells it: "type", "shape", "list(string)" and so on.
        value: What `decode_attribute` would give; a "tensor" and a "func" are taken as messages.
    """
    if kind.startswith("list("):
        attr.list.SetInParent()
        inner = kind[len("list(") : -1]
        for item in value:
            _append(attr, inner, item)
    elif kind == "type":
        attr.type = _number(value)  # type: ignore[assignment]
    elif kind == "shape":
        encode_shape(value, attr.shape)
        attr.shape.SetInParent()
    elif kind == "tensor":
        attr.tensor.CopyFrom(value)
    elif kind == "func":
        attr.func.CopyFrom(value)
    else:
        setattr(attr, {"string": "s", "int": "i", "float": "f", "bool": "b"}[kind], _scalar(kind, value))


def _append(attr: AttrValue, kind: str, item: Any) -> None:
    if kind == "shape":
        encode_shape(item, attr.list.shape.add())
    elif kind == "type":
        attr.list.type.append(_number(item))  # type: ignore[arg-type]
    elif kind in ("tensor", "func"):
        getattr(attr.list, kind).add().CopyFrom(item)
    else:
        getattr(attr.list, {"string": "s", "int": "i", "float": "f", "bool": "b"}[kind]).append(_scalar(kind, item))


def _number(dtype: Any) -> int:
    return dtype if isinstance(dtype, int) else as_dtype(dtype).as_datatype_enum


def _scalar(kind: str, value: Any) -> Any:
    return value.encode("utf-8", "surrogateescape") if kind == "string" and isinstance(value, str) else value


def colocated_with(classes: Iterable[bytes]) -> list[str]:
    """The nodes that a `_class` attribute names: those of its "loc:@node" entries."""
    return [item[len(b"loc:@") :].decode("utf-8") for item in classes if item.startswith(b"loc:@")]
