"""Integers and strings as bytes: the worked tables of the format, and what damaged bytes give."""

from __future__ import annotations

import pytest

from ckptstore.errors import DataLossError
from ckptstore.format import coding

SIGNED = {
    0: "80",
    1: "81",
    63: "bf",
    64: "c0 40",
    -1: "7f",
    -64: "40",
    -65: "3f bf",
    127: "c0 7f",
    8191: "df ff",
    8192: "e0 20 00",
    100000: "e1 86 a0",
    2**31: "f8 80 00 00 00",
    2**40: "fd 00 00 00 00 00",
    2**63 - 1: "ff c0 7f ff ff ff ff ff ff ff",
}
EDGES = sorted({sign * (2**bits + nudge) for bits in range(63) for nudge in (-1, 0, 1) for sign in (1, -1)})


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (0, "00"),
        (1, "01"),
        (127, "7f"),
        (128, "8001"),
        (300, "ac02"),
        (2**32 - 1, "ffffffff0f"),
        (2**64 - 1, "ff" * 9 + "01"),
    ],
)
def test_a_varint_has_seven_bits_a_byte_and_the_low_ones_first(value, data):
    assert coding.encode_varint(value) == bytes.fromhex(data)
    assert coding.decode_varint(bytes.fromhex(data), 0) == (value, len(data) // 2)


@pytest.mark.parametrize("data", ["", "80", "ff" * 9, "ff" * 10, "ff" * 9 + "02", "80" * 10 + "01", "ff" * 11])
def test_a_varint_that_is_cut_off_or_over_64_bits_is_data_loss(data):
    with pytest.raises(DataLossError) as caught:
        coding.decode_varint(bytes.fromhex(data), 0)
    assert caught.value.offset == 0


def test_a_varint_is_not_read_past_the_end_that_is_given():
    assert coding.decode_varint(b"\xff\x80\x01\x07", 1, 3) == (128, 3)
    with pytest.raises(DataLossError):
        coding.decode_varint(b"\x80\x01", 0, 1)


def test_a_varint_may_be_longer_than_needed():
    assert coding.decode_varint(b"\x80\x80\x00", 0) == (0, 3)


def test_fixed_integers_are_little_endian():
    assert coding.encode_fixed32(0xA282EAD8) == bytes.fromhex("d8ea82a2")
    assert coding.decode_fixed32(b"\x00" + bytes.fromhex("d8ea82a2"), 1) == 0xA282EAD8
    assert coding.encode_fixed64(0xDB4775248B80FB57) == bytes.fromhex("57fb808b247547db")
    assert coding.decode_fixed64(bytes.fromhex("57fb808b247547db"), 0) == 0xDB4775248B80FB57


@pytest.mark.parametrize(("value", "data"), SIGNED.items())
def test_ordered_signed_numbers_are_those_of_the_worked_table(value, data):
    assert coding.encode_ordered_signed(value) == bytes.fromhex(data)
    assert coding.decode_ordered_signed(bytes.fromhex(data), 0) == (value, len(bytes.fromhex(data)))


def test_every_edge_of_a_signed_number_comes_back_and_keeps_its_order():
    values = sorted({*EDGES, -(2**63), 2**63 - 1})
    codes = [coding.encode_ordered_signed(v) for v in values]
    assert codes == sorted(codes)
    for value, code in zip(values, codes, strict=True):
        assert coding.decode_ordered_signed(b"\x07" + code + b"\xff", 1) == (value, 1 + len(code))
        for cut in range(len(code)):
            with pytest.raises(DataLossError):
                coding.decode_ordered_signed(code[:cut], 0)


@pytest.mark.parametrize("data", ["ffff" + "00" * 12, "0000" + "ff" * 12, "ffe0" + "00" * 12, "ffc0ff" + "ff" * 7])
def test_an_ordered_signed_number_over_64_bits_is_data_loss(data):
    with pytest.raises(DataLossError):
        coding.decode_ordered_signed(bytes.fromhex(data), 0)


@pytest.mark.parametrize(
    ("value", "data"), [(0, "00"), (2, "0102"), (255, "01ff"), (256, "020100"), (2**64 - 1, "08" + "ff" * 8)]
)
def test_an_ordered_number_is_its_length_and_its_bytes(value, data):
    assert coding.encode_ordered_num(value) == bytes.fromhex(data)
    assert coding.decode_ordered_num(bytes.fromhex(data), 0) == (value, len(data) // 2)


@pytest.mark.parametrize("data", ["", "01", "02ff", "09" + "01" * 9, "ff" * 300])
def test_an_ordered_number_that_is_cut_off_or_too_long_is_data_loss(data):
    with pytest.raises(DataLossError):
        coding.decode_ordered_num(bytes.fromhex(data), 0)


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (b"", "0001"),
        (b"emb", "656d620001"),
        (b"nul\x00ff\xffend", "6e756c00ff6666ff00656e640001"),
        (b"\x00\xff", "00ffff000001"),
    ],
)
def test_an_ordered_string_escapes_00_and_ff(value, data):
    assert coding.encode_ordered_string(value) == bytes.fromhex(data)
    assert coding.decode_ordered_string(bytes.fromhex(data), 0) == (value, len(data) // 2)


@pytest.mark.parametrize("data", ["", "61", "6100", "610002", "61ff", "61ff01", "61ffff0001"])
def test_an_ordered_string_without_end_mark_or_with_a_bad_escape_is_data_loss(data):
    with pytest.raises(DataLossError):
        coding.decode_ordered_string(bytes.fromhex(data), 0)


def test_ordered_strings_keep_the_order_of_the_bytes():
    words = [
        b"",
        b"\x00",
        b"\x00\x00",
        b"\x00\x01",
        b"\x00\xff",
        b"\x01",
        b"a",
        b"a\x00",
        b"a\xff",
        b"b",
        b"\xff",
        b"\xff\xff",
    ]
    assert words == sorted(words)
    codes = [coding.encode_ordered_string(w) for w in words]
    assert codes == sorted(codes)
