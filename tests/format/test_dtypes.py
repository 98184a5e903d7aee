"""Element types against TensorFlow's own schema."""

from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from ckptstore.errors import DataLossError, IncompatibleTensorError
from ckptstore.format import dtypes
from ckptstore.format.dtypes import DTYPES, as_dtype, by_number, from_numpy

SCHEMA = json.loads((Path(__file__).parents[1] / "proto" / "tensorflow_schema.json").read_text())
NUMBERS = {n: v for n, v in SCHEMA["enums"]["tensorflow.DataType"].items() if 0 < v < 100}
SIZES = {
    "float32": 4, "float64": 8, "int32": 4, "uint8": 1, "int16": 2, "int8": 1, "complex64": 8, "int64": 8, "bool": 1,
    "qint8": 1, "quint8": 1, "qint32": 4, "bfloat16": 2, "qint16": 2, "quint16": 2, "uint16": 2, "complex128": 16,
    "float16": 2, "uint32": 4, "uint64": 8, "float8_e5m2": 1, "float8_e4m3fn": 1, "float8_e4m3fnuz": 1,
    "float8_e4m3b11fnuz": 1, "float8_e5m2fnuz": 1, "int4": 1, "uint4": 1, "int2": 1, "uint2": 1, "float4_e2m1fn": 1,
    "string": 0, "variant": 0, "resource": 0,
}  # fmt: skip


def test_every_type_of_tensorflow_is_there_under_its_name_and_number():
    assert {d.proto_name: d.as_datatype_enum for d in DTYPES} == NUMBERS


def test_names_are_unique_and_found_by_either_spelling():
    assert len({d.name for d in DTYPES}) == len(DTYPES)
    for dtype in DTYPES:
        assert as_dtype(dtype) is as_dtype(dtype.name) is as_dtype(dtype.proto_name) is dtype
        assert by_number(dtype.as_datatype_enum) is as_dtype(dtype.as_datatype_enum) is dtype
        assert str(dtype) == dtype.name


def test_element_sizes_are_those_of_the_format():
    assert {d.name: d.itemsize for d in DTYPES} == SIZES


@pytest.mark.parametrize("number", [0, -1, 34, 77, 100, 101, 133, 2**31 - 1, -(2**31)])
def test_an_unknown_number_is_data_loss(number):
    with pytest.raises(DataLossError, match="dtype"):
        by_number(number)


def test_numpy_dtypes_of_either_byte_order_are_known():
    for dtype in DTYPES:
        if dtype.numpy is None or dtype.name.startswith(("q", "string")):
            continue
        assert from_numpy(dtype.numpy) is dtype
        assert from_numpy(dtype.numpy.newbyteorder(">")) is dtype
        assert as_dtype(dtype.numpy.type) is dtype
    assert from_numpy(np.dtype(np.longlong)).name == "int64"
    assert from_numpy(np.dtype(np.intc)).name == "int32"
    assert from_numpy(np.dtype(ml_dtypes.bfloat16)).name == "bfloat16"


@pytest.mark.parametrize("dtype", [object, "S5", "U3", "S0"])
def test_text_and_objects_are_strings(dtype):
    assert from_numpy(np.dtype(dtype)) is dtypes.STRING


@pytest.mark.parametrize(
    "dtype",
    [
        np.dtype("M8[s]"),
        np.dtype("m8[ns]"),
        np.dtype([("a", "f4"), ("b", ">i2")]),
        np.dtype("V7"),
        np.dtype(np.longdouble),
        np.dtype(np.clongdouble),
        np.dtype(ml_dtypes.float8_e3m4),
        np.dtypes.StringDType() if hasattr(np.dtypes, "StringDType") else np.dtype("V1"),
    ],
    ids=str,
)
def test_numpy_dtypes_that_tensorflow_does_not_have_are_refused(dtype):
    with pytest.raises(IncompatibleTensorError, match="cannot be stored"):
        from_numpy(dtype)


@pytest.mark.parametrize("value", ["float33", "", "DT_NONE", 999, -5, 1.5, [1], b"x"])
def test_what_names_no_dtype_is_refused(value):
    with pytest.raises(IncompatibleTensorError):
        as_dtype(value)


def test_a_tensorflow_dtype_is_taken_by_its_number():
    class TfDType:
        as_datatype_enum = 11

    assert as_dtype(TfDType()).name == "qint8"


def test_variants_and_resources_have_no_numpy_dtype():
    for dtype in (dtypes.VARIANT, dtypes.RESOURCE):
        with pytest.raises(IncompatibleTensorError, match="numpy"):
            _ = dtype.as_numpy_dtype
