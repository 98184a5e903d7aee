"""TensorFlow's element types and their numpy counterparts.

Numbers and names: tensorflow/core/framework/types.proto. Sub-byte types are stored one element per byte, in the low
bits; quantised types are plain integers in numpy, as TensorFlow's reader hands them back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from ckptstore.errors import DataLossError, IncompatibleTensorError


@dataclass(frozen=True, slots=True)
class DType:
    """One element type; the attribute names are tf.DType's.

    Attributes:
        name: TensorFlow's Python name, such as "float32" or "bfloat16".
        as_datatype_enum: The number in files.
        numpy: The numpy dtype of arrays, or None for what numpy cannot hold (variant, resource).
        low_bits: How many bits of a stored byte carry the value, or 0 for whole bytes.
        itemsize: Bytes per stored element; 0 for strings, variants and resources, whose elements differ in size.
    """

    name: str
    as_datatype_enum: int
    numpy: np.dtype[Any] | None
    low_bits: int = 0
    itemsize: int = 0

    @property
    def as_numpy_dtype(self) -> np.dtype[Any]:
        """The numpy dtype.

        Raises:
            IncompatibleTensorError: numpy has none.
        """
        if self.numpy is None:
            raise IncompatibleTensorError(f"A tensor of type {self.name} cannot be a numpy array.")
        return self.numpy

    @property
    def proto_name(self) -> str:
        """The name in types.proto, such as "DT_FLOAT"."""
        return "DT_" + _PROTO_NAMES.get(self.name, self.name).upper()

    def __str__(self) -> str:
        return self.name


# TensorFlow's Python names and types.proto's differ for these.
_PROTO_NAMES = {"float32": "float", "float64": "double", "float16": "half"}


def _table() -> tuple[DType, ...]:
    def ml(name: str) -> Any:
        return getattr(ml_dtypes, name)

    def at(number: int, name: str, dtype: Any, low_bits: int = 0) -> DType:
        if dtype is None or dtype is object:
            return DType(name, number, None if dtype is None else np.dtype(dtype))
        return DType(name, number, np.dtype(dtype), low_bits, np.dtype(dtype).itemsize)

    return (
        at(1, "float32", np.float32),
        at(2, "float64", np.float64),
        at(3, "int32", np.int32),
        at(4, "uint8", np.uint8),
        at(5, "int16", np.int16),
        at(6, "int8", np.int8),
        at(7, "string", object),
        at(8, "complex64", np.complex64),
        at(9, "int64", np.int64),
        at(10, "bool", np.bool_),
        at(11, "qint8", np.int8),
        at(12, "quint8", np.uint8),
        at(13, "qint32", np.int32),
        at(14, "bfloat16", ml("bfloat16")),
        at(15, "qint16", np.int16),
        at(16, "quint16", np.uint16),
        at(17, "uint16", np.uint16),
        at(18, "complex128", np.complex128),
        at(19, "float16", np.float16),
        at(20, "resource", None),
        at(21, "variant", None),
        at(22, "uint32", np.uint32),
        at(23, "uint64", np.uint64),
        at(24, "float8_e5m2", ml("float8_e5m2")),
        at(25, "float8_e4m3fn", ml("float8_e4m3fn")),
        at(26, "float8_e4m3fnuz", ml("float8_e4m3fnuz")),
        at(27, "float8_e4m3b11fnuz", ml("float8_e4m3b11fnuz")),
        at(28, "float8_e5m2fnuz", ml("float8_e5m2fnuz")),
        at(29, "int4", ml("int4"), 4),
        at(30, "uint4", ml("uint4"), 4),
        at(31, "int2", ml("int2"), 2),
        at(32, "uint2", ml("uint2"), 2),
        at(33, "float4_e2m1fn", ml("float4_e2m1fn"), 4),
    )


DTYPES = _table()
"""Every element type, by ascending number."""

_BY_NUMBER = {d.as_datatype_enum: d for d in DTYPES}
_BY_NAME = {d.name: d for d in DTYPES} | {d.proto_name: d for d in DTYPES}
_QUANTISED = {"qint8", "quint8", "qint32", "qint16", "quint16"}
_BY_NUMPY = {d.numpy: d for d in DTYPES if d.numpy is not None and d.name not in _QUANTISED}

PLAIN: Mapping[np.dtype[Any], DType] = {dtype: d for dtype, d in _BY_NUMPY.items() if d.itemsize and not d.low_bits}
"""The numbers whose arrays are what is stored, byte for byte."""

STRING = _BY_NAME["string"]
VARIANT = _BY_NAME["variant"]
RESOURCE = _BY_NAME["resource"]


def by_number(number: int) -> DType:
    """The type of a number in a file.

    Raises:
        DataLossError: There is no such type.
    """
    try:
        return _BY_NUMBER[number]
    except KeyError:
        raise DataLossError(
            f"unknown dtype number {number}: the file is damaged, or written by a newer TensorFlow"
        ) from None


def from_numpy(dtype: np.dtype[Any]) -> DType:
    """The type that holds arrays of a numpy dtype, of either byte order.

    Raises:
        IncompatibleTensorError: TensorFlow has none.
    """
    if dtype.kind in "SU":
        return STRING
    found = _BY_NUMPY.get(dtype)
    if found is None and dtype.kind != "T":  # numpy's own strings have no byte order
        found = _BY_NUMPY.get(dtype.newbyteorder("="))
    if found is None:
        raise IncompatibleTensorError(
            f"A numpy array of dtype {dtype} cannot be stored; convert it to one of "
            + ", ".join(sorted({str(d) for d in _BY_NUMPY if d is not None and d != np.dtype(object)}))
            + ", or an object array of bytes."
        )
    return found


def as_dtype(value: Any) -> DType:
    """The type that a user means: a DType, a name ("bfloat16", "DT_FLOAT"), a number, a numpy dtype or scalar type.

    Raises:
        IncompatibleTensorError: It names none.
    """
    if isinstance(value, DType):
        return value
    if isinstance(value, str) and value in _BY_NAME:
        return _BY_NAME[value]
    if isinstance(value, int) and value in _BY_NUMBER:
        return _BY_NUMBER[value]
    if isinstance(number := getattr(value, "as_datatype_enum", None), int):  # a tf.DType
        return by_number(number)
    try:
        return from_numpy(np.dtype(value))
    except TypeError as error:
        raise IncompatibleTensorError(f"{value!r} is not a dtype.") from error
