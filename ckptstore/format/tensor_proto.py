"""Arrays inside messages: TensorProto, as graphs and V1 checkpoints hold them.

A message holds the elements either as raw bytes (tensor_content) or in the list of its type; a list that is shorter
than the tensor repeats its last element, and an empty one means zeros.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ckptstore.errors import DataLossError, UnsupportedError
from ckptstore.format.coding import encode_varint
from ckptstore.format.dtypes import STRING, DType

if TYPE_CHECKING:
    from ckptstore._proto.tensor_pb2 import TensorProto

_FLOATS: dict[str, np.dtype[Any]] = {
    "float_val": np.dtype("<f4"), "scomplex_val": np.dtype("<f4"),
    "double_val": np.dtype("<f8"), "dcomplex_val": np.dtype("<f8"),
}  # fmt: skip
_MAX_RANK = 64  # numpy's
_LIST = {
    "float32": "float_val", "float64": "double_val", "int64": "int64_val", "bool": "bool_val",
    "uint32": "uint32_val", "uint64": "uint64_val", "complex64": "scomplex_val", "complex128": "dcomplex_val",
    "string": "string_val", "float16": "half_val", "bfloat16": "half_val",
}  # fmt: skip
_MAX_FILLED = 1 << 28  # elements that a message may leave to be filled in


def list_field(dtype: DType) -> str:
    """The name of the TensorProto field that holds elements of a type one by one.

    Raises:
        UnsupportedError: There is none.
    """
    if dtype.name in _LIST:
        return _LIST[dtype.name]
    if dtype.numpy is None:
        raise UnsupportedError(f"tensors of type {dtype} have no values that can be read")
    return "float8_val" if dtype.name.startswith("float") else "int_val"


def set_values(proto: TensorProto, dtype: DType, array: np.ndarray[Any, Any]) -> None:
    """Puts all elements into the list of their type, one by one, as V1 checkpoints hold them."""
    field = list_field(dtype)
    flat = array.reshape(-1)
    if field in _FLOATS:
        data = flat.view(_FLOATS[field]).tobytes()
        if data:  # straight to the wire, as it is read: field number, length, bytes
            number = type(proto).DESCRIPTOR.fields_by_name[field].number
            proto.MergeFromString(encode_varint(number << 3 | 2) + encode_varint(len(data)) + data)
    elif field == "float8_val":
        proto.float8_val = flat.tobytes()
    else:
        getattr(proto, field).extend((flat.view(np.uint16) if field == "half_val" else flat).tolist())


def get_array(proto: TensorProto, dtype: DType, shape: tuple[int, ...], *, exact: bool = False) -> np.ndarray[Any, Any]:
    """The array that a TensorProto holds.

    Args:
        proto: The message; its own dtype and shape are not looked at.
        dtype: Element type.
        shape: Extent per dimension.
        exact: Whether the list must hold every element: V1 checkpoints do not abbreviate.

    Raises:
        DataLossError: It holds too many or (if exact) too few elements.
    """
    count = math.prod(shape)
    field = list_field(dtype)
    if len(shape) > _MAX_RANK or math.prod(n for n in shape if n) * max(dtype.itemsize, 8) >> 63:
        raise DataLossError(f"the shape {list(shape)[:8]} is beyond what numpy can hold")
    if proto.tensor_content:
        if dtype == STRING or len(proto.tensor_content) != count * dtype.itemsize:
            raise DataLossError(f"{len(proto.tensor_content)} bytes do not make up {dtype} {list(shape)}")
        return np.array(np.frombuffer(proto.tensor_content, dtype=dtype.as_numpy_dtype).reshape(shape))
    flat = _values(proto, dtype, field)
    if flat.size > count or (exact and flat.size != count):
        raise DataLossError(f"{flat.size} values do not make up {dtype} {list(shape)}")
    if flat.size < count:
        if count > _MAX_FILLED:
            raise DataLossError(f"a message of {proto.ByteSize()} bytes claims {count} elements")
        filler = flat[-1] if flat.size else (b"" if dtype == STRING else np.zeros((), dtype.as_numpy_dtype)[()])
        whole = np.full(count, filler, dtype=dtype.as_numpy_dtype)
        whole[: flat.size] = flat
        flat = whole
    return flat.reshape(shape)


def _values(proto: TensorProto, dtype: DType, field: str) -> np.ndarray[Any, Any]:
    """The elements of the list of a type."""
    values: Any = getattr(proto, field)
    flat: np.ndarray[Any, Any]
    if dtype == STRING:
        flat = np.empty(len(values), dtype=object)
        flat[:] = list(values)
    elif field in _FLOATS:
        # Straight from the wire: Python's floats, which are doubles, would change the bits of a NaN.
        alone = type(proto)()
        alone.CopyFrom(proto)
        for other, _ in proto.ListFields():
            if other.name != field:
                alone.ClearField(other.name)
        wire = alone.SerializeToString()
        data = wire[len(wire) - len(values) * _FLOATS[field].itemsize :]
        flat = np.frombuffer(data, dtype=_FLOATS[field])
        if dtype.as_numpy_dtype.kind == "c":
            flat = flat[: flat.size // 2 * 2].view(dtype.as_numpy_dtype)
    elif field == "half_val":
        flat = (np.asarray(values, dtype=np.int64) & 0xFFFF).astype(np.uint16).view(dtype.as_numpy_dtype)
    elif field == "float8_val":
        flat = np.frombuffer(values, dtype=np.uint8).view(dtype.as_numpy_dtype)
    else:
        wide = np.dtype(np.int64) if field == "int_val" else dtype.as_numpy_dtype
        flat = np.asarray(values, dtype=wide).astype(dtype.as_numpy_dtype, copy=False)
    return flat
