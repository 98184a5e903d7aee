"""Arrays inside messages."""

from __future__ import annotations

import numpy as np
import pytest

from ckptstore._proto.tensor_pb2 import TensorProto
from ckptstore.errors import DataLossError, UnsupportedError
from ckptstore.format.dtypes import DTYPES, as_dtype
from ckptstore.format.tensor_proto import get_array, list_field, set_values
from tests.property.limits import bounded

NUMERIC = [d for d in DTYPES if d.itemsize]
FIELDS = {
    "float32": "float_val", "float64": "double_val", "int64": "int64_val", "bool": "bool_val", "uint32": "uint32_val",
    "uint64": "uint64_val", "complex64": "scomplex_val", "complex128": "dcomplex_val", "string": "string_val",
    "float16": "half_val", "bfloat16": "half_val", "int8": "int_val", "quint16": "int_val", "int2": "int_val",
    "float8_e5m2": "float8_val", "float4_e2m1fn": "float8_val",
}  # fmt: skip


def sample(dtype, count=6) -> np.ndarray:
    values = np.arange(count) % 2
    if dtype.name == "string":
        out = np.empty(count, object)
        out[:] = [b"x" * i for i in range(count)]
        return out
    return values.astype(dtype.as_numpy_dtype)


@pytest.mark.parametrize(("name", "field"), FIELDS.items())
def test_each_type_has_the_list_that_tensorflow_uses(name, field):
    assert list_field(as_dtype(name)) == field


@pytest.mark.parametrize("name", ["variant", "resource"])
def test_types_without_values_are_unsupported(name):
    with pytest.raises(UnsupportedError):
        list_field(as_dtype(name))


@pytest.mark.parametrize("dtype", [*NUMERIC, as_dtype("string")], ids=str)
def test_values_come_back_from_their_list(dtype):
    for shape in ((6,), (2, 3), (6, 1, 1)):
        proto = TensorProto()
        array = sample(dtype).reshape(shape)
        set_values(proto, dtype, array)
        found = get_array(proto, dtype, shape, exact=True)
        assert found.shape == shape
        assert found.dtype == array.dtype
        assert found.tolist() == array.tolist()


@pytest.mark.parametrize("dtype", [d for d in NUMERIC if d.as_numpy_dtype.kind in "iu" and not d.low_bits], ids=str)
def test_the_extremes_of_an_integer_type_come_back(dtype):
    info = np.iinfo(dtype.as_numpy_dtype)
    array = np.array([info.min, info.max, 0], dtype.as_numpy_dtype)
    proto = TensorProto()
    set_values(proto, dtype, array)
    assert get_array(proto, dtype, (3,), exact=True).tolist() == array.tolist()


@pytest.mark.parametrize("dtype", NUMERIC, ids=str)
def test_raw_bytes_win_over_the_list(dtype):
    array = sample(dtype)
    proto = TensorProto(tensor_content=array.tobytes(), int_val=[7])
    assert get_array(proto, dtype, (2, 3)).tobytes() == array.tobytes()
    for broken in (array.tobytes()[:-1], array.tobytes() + b"\x00"):
        with pytest.raises(DataLossError):
            get_array(TensorProto(tensor_content=broken), dtype, (6,))


def test_a_short_list_repeats_its_last_element_and_an_empty_one_is_zeros():
    assert get_array(TensorProto(float_val=[1, 2]), as_dtype("float32"), (4,)).tolist() == [1, 2, 2, 2]
    assert get_array(TensorProto(int_val=[-3]), as_dtype("int8"), (2, 2)).tolist() == [[-3, -3], [-3, -3]]
    assert get_array(TensorProto(), as_dtype("bool"), (2,)).tolist() == [False, False]
    assert get_array(TensorProto(), as_dtype("string"), (2,)).tolist() == [b"", b""]
    assert get_array(TensorProto(string_val=[b"a"]), as_dtype("string"), (2,)).tolist() == [b"a", b"a"]
    assert get_array(TensorProto(scomplex_val=[1, 2]), as_dtype("complex64"), (2,)).tolist() == [1 + 2j, 1 + 2j]
    assert get_array(TensorProto(half_val=[0x3C00]), as_dtype("float16"), (2,)).tolist() == [1.0, 1.0]
    assert get_array(TensorProto(), as_dtype("float32"), (0, 3)).shape == (0, 3)
    assert get_array(TensorProto(float_val=[5]), as_dtype("float32"), ()).tolist() == 5


def test_too_many_or_in_v1_too_few_values_are_data_loss():
    for exact, values in ((False, [1, 2, 3]), (True, [1]), (True, [1, 2, 3]), (True, [])):
        with pytest.raises(DataLossError):
            get_array(TensorProto(float_val=values), as_dtype("float32"), (2,), exact=exact)


@pytest.mark.parametrize(
    ("name", "shape"), [("complex128", (2**39,)), ("float64", (2**40 - 1,)), ("uint8", (2**62,)), ("string", (2**39,))]
)
def test_a_few_bytes_that_claim_terabytes_are_refused(name, shape):
    with bounded(seconds=2), pytest.raises(DataLossError):
        get_array(TensorProto(int_val=[1]), as_dtype(name), shape)


@pytest.mark.parametrize("shape", [(0, 2**62), (1,) * 65])
def test_a_shape_that_numpy_cannot_hold_is_data_loss(shape):
    with pytest.raises((DataLossError, UnsupportedError)):
        get_array(TensorProto(), as_dtype("float32"), shape)
