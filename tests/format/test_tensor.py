"""A tensor's bytes and checksum."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from ckptstore.errors import CheckpointError, DataLossError, IncompatibleTensorError, UnsupportedError
from ckptstore.format import tensor
from ckptstore.format.checksum import crc32c, mask
from ckptstore.format.coding import encode_varint
from ckptstore.format.dtypes import DTYPES, STRING, VARIANT, as_dtype


def stored(value, dtype=None) -> tuple[bytes, int]:
    encoded = tensor.encode(value, "t", dtype)
    data = b"".join(encoded.buffers)
    assert encoded.size == len(data)
    return data, encoded.crc


def back(value, dtype=None):
    encoded = tensor.encode(value, "t", dtype)
    return tensor.decode(encoded.dtype, encoded.shape, memoryview(b"".join(encoded.buffers)), encoded.crc)


def test_the_worked_float_of_the_format():
    assert stored(np.float32(1.0)) == (bytes.fromhex("0000803f"), 0x2BDAA581)


def test_the_worked_strings_of_the_format():
    assert stored(["a", "bb"]) == (bytes.fromhex("0102bfdfdb7a616262"), 0x8737099E)


def test_no_strings_are_four_bytes_and_no_numbers_none():
    assert stored(np.empty((0,), object))[0] == bytes.fromhex("d8ea82a2")
    assert stored(np.empty((2, 0, 3), np.float64)) == (b"", 0xA282EAD8)
    assert tensor.decode(STRING, (0,), memoryview(b""), 0).shape == (0,)
    assert tensor.decode(STRING, (3, 0), memoryview(bytes.fromhex("d8ea82a2")), None).shape == (3, 0)


@pytest.mark.parametrize("value", [b"", b"x", "é", b"\x00\xff", "end\x00", b"x" * 127, b"x" * 128, b"y" * 20_000])
def test_a_scalar_string_is_one_element_and_keeps_every_byte(value):
    expected = value.encode() if isinstance(value, str) else value
    data, _ = stored(value)
    assert data.startswith(encode_varint(len(expected)))
    assert data.endswith(expected)
    assert back(value).shape == ()
    assert back(value)[()] == expected


def test_strings_of_every_kind_become_bytes():
    expected = [b"a", b"", "é世".encode(), b"\xff"]
    nested = np.array([[b"a", b""], ["é世", "\udcff"]], dtype=object)
    assert back(nested).tolist() == [expected[:2], expected[2:]]
    assert back(np.array(["a", "", "é世", "\udcff"])).tolist() == expected
    assert back(np.array([b"abc", b"", b"x\x00y"])).tolist() == [b"abc", b"", b"x\x00y"]
    assert back([b"nul\x00", b"\x00\x00"]).tolist() == [b"nul\x00", b"\x00\x00"]
    assert back(np.str_("x")).tolist() == b"x"


@pytest.mark.parametrize(
    "sizes", [[127], [128], [0, 200, 0], [16383, 16384], [1] * 63 + [129], [1] * 64 + [300], [5] * 1000]
)
def test_string_lengths_of_one_byte_and_more_are_read(sizes):
    value = np.empty(len(sizes), object)
    value[:] = [bytes([65 + i % 26]) * n for i, n in enumerate(sizes)]
    assert back(value).tolist() == value.tolist()


@pytest.mark.parametrize(
    ("dtype", "values", "data"),
    [
        (ml_dtypes.int4, [-8, -1, 0, 7], "080f0007"),
        (ml_dtypes.uint4, [0, 8, 15], "00080f"),
        (ml_dtypes.int2, [-2, -1, 0, 1], "02030001"),
        (ml_dtypes.uint2, [0, 1, 2, 3], "00010203"),
        (ml_dtypes.float4_e2m1fn, [0, 1, -1], "00020a"),
        (np.bool_, [True, False], "0100"),
        (np.int16, [-2, 256], "feff0001"),
        (np.complex64, [1 + 2j], "0000803f00000040"),
        (ml_dtypes.bfloat16, [1.0], "803f"),
    ],
)
def test_elements_are_stored_as_the_format_shows(dtype, values, data):
    array = np.array(values).astype(dtype)
    assert stored(array) == (bytes.fromhex(data), mask(crc32c(bytes.fromhex(data))))
    assert back(array).astype(np.complex128).tolist() == values


def test_every_value_of_the_sub_byte_types_comes_back():
    for name, low, high in (("int4", -8, 8), ("uint4", 0, 16), ("int2", -2, 2), ("uint2", 0, 4)):
        values = np.arange(low, high).astype(as_dtype(name).as_numpy_dtype)
        assert back(values).astype(int).tolist() == list(range(low, high))


def test_sub_byte_elements_with_their_sign_in_the_high_bits_are_stored_without_it():
    array = np.array([0xF8, 0xFF, 0x07], np.uint8).view(ml_dtypes.int4)
    assert stored(array)[0] == bytes.fromhex("080f07")
    assert array.view(np.uint8).tolist() == [0xF8, 0xFF, 0x07]  # the caller's own array is left alone


BASE = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
READ_ONLY = BASE.copy()
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    "array",
    [
        BASE,
        np.asfortranarray(BASE),
        BASE.transpose(2, 0, 1),
        BASE[::-1, 1:, ::2],
        BASE[:, :, 1],
        BASE.astype(">i4"),
        np.asfortranarray(BASE.astype(">i4")),
        READ_ONLY,
        np.broadcast_to(np.int32(7), (3, 2)),
        BASE[1, 2, 3],
        np.int32(5),
        np.zeros((0, 5), np.int32).T,
        np.zeros((1,) * 32, np.int32),
        BASE.view(type("Mine", (np.ndarray,), {})),
    ],
    ids=range(14),
)
def test_any_memory_layout_is_stored_in_c_order_and_little_endian(array):
    data, crc = stored(array)
    assert data == np.ascontiguousarray(array).astype("<i4").tobytes()
    assert crc == mask(crc32c(data))
    restored = back(array)
    assert restored.shape == np.shape(array)
    assert restored.dtype == np.dtype(np.int32)
    assert restored.dtype.isnative
    assert restored.flags.writeable
    assert restored.tobytes() == data


def test_a_contiguous_array_is_not_copied():
    for array in (
        BASE,
        READ_ONLY,
        np.ones(5, ml_dtypes.bfloat16),
        np.ones((2, 2), np.complex128),
        np.ones(4, ml_dtypes.int4),
    ):
        (buffer,) = tensor.encode(array, "t").buffers
        assert np.shares_memory(np.frombuffer(buffer, np.uint8), array.view(np.uint8))


def test_a_decoded_array_has_memory_of_its_own():
    source = bytearray(b"\x01\x00\x00\x00")
    array = tensor.decode(as_dtype("int32"), (1,), memoryview(source), None)
    source[0] = 9
    assert array.tolist() == [1]


def test_python_numbers_take_the_types_that_numpy_gives_them():
    assert tensor.encode([1, 2], "t").dtype.name == "int64"
    assert tensor.encode(1.5, "t").dtype.name == "float64"
    assert tensor.encode(True, "t").dtype.name == "bool"
    assert tensor.encode(1j, "t").dtype.name == "complex128"
    assert tensor.encode([], "t").dtype.name == "float64"


def test_an_object_with_array_interface_is_taken():
    class Tensor:
        def __array__(self, dtype=None, copy=None):
            return np.ones(3, np.float16)

    assert tensor.encode(Tensor(), "t").dtype.name == "float16"


@pytest.mark.parametrize("name", ["qint8", "quint8", "qint32", "qint16", "quint16"])
def test_quantised_types_are_stored_when_asked_for(name):
    array = np.ones(3, as_dtype(name).as_numpy_dtype)
    assert tensor.encode(array, "t", name).dtype.name == name
    assert back(array, name).dtype == array.dtype


class Broken:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("the device is lost")


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (None, None),
        ({}, None),
        ({1, 2}, None),
        (object(), None),
        ([None, 1], None),
        ([b"a", 1], None),
        (np.array([b"a", None], object), None),
        (np.array([1, 2], object), None),
        ([[1, 2], [3]], None),
        (np.array(["2020-01-01"], "M8[s]"), None),
        (np.array([1], "m8[s]"), None),
        (np.zeros(2, np.longdouble), None),
        (np.zeros(2, [("a", "f4")]), None),
        (10**30, None),
        (Broken(), None),
        (np.ones(2, np.float32), "float64"),
        (np.ones(2, np.int8), "quint8"),
        (["a"], "int32"),
        (np.ones(2, np.float32), "string"),
        (np.ones(2, np.uint8), "variant"),
        (np.ones(2, np.uint8), "resource"),
        (np.ones(2), "no such type"),
        ("\ud800", None),
        (np.array(["\ud800"], object), None),
    ],
    ids=range(24),
)
def test_what_cannot_be_stored_is_refused_and_the_message_names_the_tensor(value, dtype):
    with pytest.raises(IncompatibleTensorError) as caught:
        tensor.encode(value, "layer/w", dtype)
    assert "no such type" in str(dtype) or "layer/w" in str(caught.value)


@pytest.mark.parametrize("name", [d.name for d in DTYPES if d.itemsize > 1])
def test_big_endian_files_are_turned_around(name):
    dtype = as_dtype(name)
    unit = dtype.itemsize // 2 if dtype.as_numpy_dtype.kind == "c" else dtype.itemsize
    little = bytes(range(1, 2 * dtype.itemsize + 1))
    big = b"".join(little[i : i + unit][::-1] for i in range(0, len(little), unit))
    array = tensor.decode(dtype, (2,), memoryview(big), mask(crc32c(big)), big_endian=True)
    assert array.tobytes() == little


def test_big_endian_strings_have_lengths_and_checksum_the_other_way_round():
    crc = crc32c((1).to_bytes(4, "big") + (2).to_bytes(4, "big"))
    length_crc = mask(crc).to_bytes(4, "big")
    data = b"\x01\x02" + length_crc + b"abb"
    whole = mask(crc32c(b"abb", crc32c(length_crc, crc)))
    assert tensor.decode(STRING, (2,), memoryview(data), whole, big_endian=True).tolist() == [b"a", b"bb"]
    with pytest.raises(DataLossError):
        tensor.decode(STRING, (2,), memoryview(data), whole)


@pytest.mark.parametrize("value", [np.arange(6, dtype=np.float32), ["a", "bb", ""], "scalar"])
def test_every_flipped_bit_of_a_tensor_is_found_out(value):
    encoded = tensor.encode(value, "t")
    data = b"".join(encoded.buffers)
    for bit in range(8 * len(data)):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DataLossError):
            tensor.decode(encoded.dtype, encoded.shape, memoryview(broken), encoded.crc)
        with pytest.raises(DataLossError):
            tensor.verify(encoded.dtype, encoded.shape, memoryview(broken), encoded.crc)
    for bit in range(32):
        with pytest.raises(DataLossError):
            tensor.decode(encoded.dtype, encoded.shape, memoryview(data), encoded.crc ^ 1 << bit)


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        ((1,), ""),
        ((0,), "00"),
        ((0,), "d8ea82a200"),
        ((1,), "d8ea82a2"),
        ((2,), "0102bfdfdb7a6162"),
        ((2,), "0102bfdfdb7a61626263"),
        ((3,), "0102bfdfdb7a616262"),
        ((1,), "0102bfdfdb7a616262"),
        ((1,), "ffffffffffffffffff01" + "00" * 8),
        ((1,), "ff" * 12 + "00" * 8),
        ((1,), "80"),
        ((2**40,), "0102bfdfdb7a616262"),
        ((2**62,), "00" * 100),
    ],
)
@pytest.mark.parametrize("crc", [None, 0])
def test_string_lengths_that_lie_are_data_loss(shape, data, crc):
    with pytest.raises(DataLossError):
        tensor.decode(STRING, shape, memoryview(bytes.fromhex(data)), crc)


@pytest.mark.parametrize("dtype", ["float32", "string", "int4"])
@pytest.mark.parametrize("shape", [(0, 2**62), (2**62, 0), (1,) * 65, (0,) * 254])
def test_a_shape_that_numpy_cannot_hold_is_a_typed_error(dtype, shape):
    try:
        array = tensor.decode(
            as_dtype(dtype), shape, memoryview(b"\x00" * (0 not in shape) * as_dtype(dtype).itemsize), None
        )
    except CheckpointError:
        return
    assert array.shape == shape


@pytest.mark.parametrize("size", [0, 3, 5, 8])
def test_bytes_that_do_not_make_up_the_shape_are_data_loss(size):
    with pytest.raises(DataLossError):
        tensor.decode(as_dtype("float32"), (1,), memoryview(bytes(size)), None)


def test_variants_are_checked_and_not_decoded():
    running, data = 0, b""
    for item in (b"\x0a\x01x", b""):
        running = crc32c(item, crc32c(len(item).to_bytes(8, "little"), running))
        piece = mask(running).to_bytes(4, "little")
        running = crc32c(piece, running)
        data += encode_varint(len(item)) + item + piece
    tensor.verify(VARIANT, (2,), memoryview(data), mask(running))
    with pytest.raises(UnsupportedError):
        tensor.decode(VARIANT, (2,), memoryview(data), mask(running))
    for shape in ((1,), (3,), (2**40,)):
        with pytest.raises(DataLossError):
            tensor.verify(VARIANT, shape, memoryview(data), mask(running))
    for bit in range(8 * len(data)):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DataLossError):
            tensor.verify(VARIANT, (2,), memoryview(broken), mask(running))


@pytest.mark.parametrize(
    "other",
    [
        None,
        np.zeros(0, np.float32),
        np.zeros((4, 4), np.float32).T[:, ::2],
        np.zeros(2, ">f4"),
        np.zeros(101, np.float32),
        np.array(["a"]),
        np.array([b"a"], object),
        np.zeros(3, np.float32).view(np.recarray),
        np.float32(1),
        [1.0],
        np.zeros(2, "M8[s]"),
        np.zeros(2, ml_dtypes.int4),
    ],
)
def test_many_arrays_are_plain_if_each_of_them_is(other):
    plain = [np.zeros(3, np.float32), np.zeros((2, 2), np.int64), np.array(5, np.int8)]
    values = plain if other is None else [plain[0], other, plain[1]]
    expected = all(tensor.is_plain(value) and value.nbytes <= 400 for value in values)
    assert tensor.are_plain(values, 400) is expected is (other is None)


@pytest.mark.parametrize("dtype", [*dict.fromkeys(d.numpy for d in DTYPES if d.itemsize)], ids=str)
def test_arrays_of_all_types_of_whole_bytes_are_plain(dtype):
    for value in (np.ones(3, dtype), np.ones((), dtype)):
        plain = as_dtype(dtype).low_bits == 0
        assert tensor.is_plain(value) is tensor.are_plain([value] * 3, 400) is plain
