"""Arrays to TensorProtos, as TensorFlow's Python writes them.

More than one element of a plain type: raw bytes. One element, none, or a type such as string or bool: the list of the
type. Source: tensorflow/python/framework/tensor_util.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ckptstore._proto.tensor_pb2 import TensorProto
from ckptstore.format.dtypes import DType
from ckptstore.format.tensor import as_array
from ckptstore.format.tensor_proto import set_values

_LISTED = frozenset(["string", "bool", "uint16", "complex64", "complex128"])
"""Types of which each element stands for itself, as of those of less than a byte."""


def make_tensor_proto(value: Any, dtype: DType | None = None) -> TensorProto:
    """The message of an array.

    Args:
        value: An array, or anything that numpy makes one of. Python's floats become float32 and its ints int32, as in
            TensorFlow, where no type is given.
        dtype: The element type.

    Raises:
        IncompatibleTensorError: It cannot be stored.
    """
    array, found = as_array(to_array(value, dtype), "", dtype)
    proto = TensorProto()
    proto.dtype = found.as_datatype_enum  # type: ignore[assignment]
    proto.tensor_shape.SetInParent()
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if array.size > 1 and found.name not in _LISTED and not found.low_bits:
        proto.tensor_content = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    else:
        set_values(proto, found, array)
    return proto


def to_array(value: Any, dtype: DType | None = None) -> np.ndarray[Any, Any]:
    """An array of what a user gives as a constant, of TensorFlow's default types where it says none itself.

    Raises:
        IncompatibleTensorError: A number does not fit the type.
    """
    if dtype is not None and dtype.name == "string":
        return np.asarray(value, dtype=object)
    if dtype is not None and dtype.numpy is not None:
        return np.asarray(value, dtype=dtype.numpy)
    array = np.asarray(value)
    if isinstance(value, np.ndarray | np.generic) or hasattr(value, "__array__"):
        return array
    if array.dtype.kind == "f":
        return array.astype(np.float32)
    if array.dtype == np.int64 and (array.size == 0 or -(1 << 31) <= array.min() <= array.max() < 1 << 31):
        return array.astype(np.int32)
    return array


def filled(dtype: DType, shape: tuple[int, ...]) -> TensorProto:
    """A tensor of zeros (or empty strings) of any size, in a few bytes: one value stands for all."""
    zero = np.array(b"", object) if dtype.name == "string" else np.zeros((), dtype.as_numpy_dtype)
    proto = make_tensor_proto(zero, dtype)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto
