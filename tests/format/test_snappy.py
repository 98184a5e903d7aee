"""Decompression of snappy blocks, against a tiny compressor and blocks made by hand."""

from __future__ import annotations

import random

import pytest

from ckptstore.errors import DataLossError
from ckptstore.format.coding import encode_varint
from ckptstore.format.snappy import decompress


def literal(data: bytes) -> bytes:
    size = len(data) - 1
    if size < 60:
        return bytes((size << 2,)) + data
    width = (size.bit_length() + 7) // 8
    return bytes(((59 + width) << 2,)) + size.to_bytes(width, "little") + data


def copy(offset: int, length: int, kind: int) -> bytes:
    if kind == 1:
        return bytes((1 | (length - 4) << 2 | (offset >> 8) << 5, offset & 0xFF))
    return bytes(((length - 1) << 2 | kind,)) + offset.to_bytes(2 if kind == 2 else 4, "little")


def compress(data: bytes) -> bytes:
    """Greedy, with four-byte matches and every kind of element."""
    out = bytearray(encode_varint(len(data)))
    seen: dict[bytes, int] = {}
    pending = position = 0
    while position < len(data):
        word = data[position : position + 4]
        start = seen.get(word, -1)
        seen[word] = position
        if start < 0 or len(word) < 4:
            position += 1
            continue
        if pending < position:
            out += literal(data[pending:position])
        length = 4
        while length < 64 and position + length < len(data) and data[start + length] == data[position + length]:
            length += 1
        offset = position - start
        out += copy(offset, length, 1 if length <= 11 and offset < 2048 else 2 if offset < 1 << 16 else 3)
        position += length
        pending = position
    if pending < len(data):
        out += literal(data[pending:])
    return bytes(out)


@pytest.mark.parametrize("size", [0, 1, 3, 4, 59, 60, 61, 62, 255, 256, 257, 5000, 65536, 70000, 300_000])
def test_what_is_compressed_comes_back(size):
    rng = random.Random(size)
    noise = rng.randbytes(size)
    assert decompress(compress(noise)) == noise
    text = b"".join(rng.choice((b"layer/kernel", b"layer/bias", b"\x00", b"xyzzy" * 9)) for _ in range(size // 12))
    packed = compress(text)
    assert decompress(packed) == text
    assert size < 256 or len(packed) < len(text)


def test_copies_that_overlap_what_they_write_repeat_it():
    assert decompress(b"\x0b" + literal(b"a") + copy(1, 10, 1)) == b"a" * 11
    assert decompress(b"\x0c" + literal(b"abc") + copy(3, 9, 2)) == b"abcabcabcabc"
    assert decompress(b"\x0a" + literal(b"abc") + copy(2, 7, 3)) == b"abc" + b"bcbcbcb"
    assert (
        decompress(encode_varint(130) + literal(b"xy") + copy(1, 64, 2) + copy(66, 64, 2))
        == b"xy" + b"y" * 64 + b"xy" + b"y" * 62
    )


def test_long_offsets_and_literals_of_every_width_are_read():
    far = bytes(range(256)) * 300
    data = encode_varint(len(far) + 64) + literal(far) + copy(70_000, 64, 3)
    assert decompress(data) == far + far[len(far) - 70_000 :][:64]
    odd = encode_varint(3) + bytes((63 << 2,)) + (2).to_bytes(4, "little") + b"abc"
    assert decompress(odd) == b"abc"


@pytest.mark.parametrize(
    "block",
    [
        b"",  # no length
        b"\x80",  # a length cut off
        b"\x01",  # nothing where a byte is claimed
        b"\x02" + literal(b"a"),  # fewer
        b"\x00" + literal(b"a"),  # more
        b"\x05\x10ab",  # a literal over the end
        b"\x05\xf4",  # its length is cut off
        b"\x05" + copy(1, 4, 1),  # a copy from before the start
        b"\x06" + literal(b"ab") + copy(3, 4, 1),
        b"\x06" + literal(b"ab") + copy(0, 4, 2),  # offset 0
        b"\x06" + literal(b"ab") + b"\x0d",  # the copy's offset is cut off
        b"\x06" + literal(b"ab") + b"\x0e\x01",
        b"\x06" + literal(b"ab") + b"\x0f\x01\x00\x00",
        b"\x03" + literal(b"ab") + copy(1, 4, 1),  # a copy over the claimed end
        b"\xff\xff\xff\xff\x0f" + literal(b"a"),  # 4 GiB
        b"\xff" * 9 + b"\x01" + literal(b"a"),  # 2**64
        b"\xff" * 11,
    ],
)
def test_a_damaged_block_is_data_loss(block):
    with pytest.raises(DataLossError):
        decompress(block)


def test_every_truncation_of_a_block_is_data_loss():
    block = compress(b"abcabcabcabc" * 20 + b"the end")
    for cut in range(len(block)):
        with pytest.raises(DataLossError):
            decompress(block[:cut])
