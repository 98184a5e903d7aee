"""Integers and strings as bytes.

    varint      base 128, low 7 bits first, the high bit says that more follows; at most 10 bytes for 64 bits
    fixed32     4 bytes, little-endian              fixed64   8 bytes, little-endian

Ordered code keeps order under bytewise comparison; TensorFlow builds slice keys from it:

    num(v)      one byte: the count n of significant bytes; then v in n bytes, big-endian; num(0) = 00
    str(s)      00 -> 00 ff, ff -> ff 00, then the end mark 00 01
    snum(v)     n bytes of two's complement, big-endian, XORed with a header whose top n bits are ones, where n is
                the least with (v or ~v) < 2**(7n-1); from n = 8 on the header runs over into further bytes
"""

from __future__ import annotations

import re
import struct

from ckptstore.errors import DataLossError

_FIXED32 = struct.Struct("<I")
_FIXED64 = struct.Struct("<Q")
_MAX_VARINT_BYTES = 10
_SPECIAL = re.compile(rb"[\x00\xff]")


def encode_varint(value: int) -> bytes:
    """An unsigned integer below 2**64 as a varint."""
    if value < 0x80:
        return bytes((value,))
    if value < 0x4000:  # these without a loop: sizes and offsets of a million tensors
        return bytes((value & 0x7F | 0x80, value >> 7))
    if value < 0x200000:
        return bytes((value & 0x7F | 0x80, value >> 7 & 0x7F | 0x80, value >> 14))
    if value < 0x10000000:
        return bytes((value & 0x7F | 0x80, value >> 7 & 0x7F | 0x80, value >> 14 & 0x7F | 0x80, value >> 21))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode_varint(data: bytes | memoryview, position: int, end: int | None = None) -> tuple[int, int]:
    """Reads a varint: its value and the position behind it.

    Raises:
        DataLossError: It runs over `end` (by default the end of the data), or past 64 bits.
    """
    stop = len(data) if end is None else end
    value = shift = 0
    for i in range(position, min(stop, position + _MAX_VARINT_BYTES)):
        byte = data[i]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, i + 1
        shift += 7
    raise DataLossError("a varint is longer than its field or than 64 bits", offset=position)


def encode_fixed32(value: int) -> bytes:
    """An unsigned 32-bit integer in 4 bytes."""
    return _FIXED32.pack(value)


def decode_fixed32(data: bytes | memoryview, position: int) -> int:
    """Reads 4 bytes; the caller has checked that they are there."""
    return int(_FIXED32.unpack_from(data, position)[0])


def encode_fixed64(value: int) -> bytes:
    """An unsigned 64-bit integer in 8 bytes."""
    return _FIXED64.pack(value)


def decode_fixed64(data: bytes | memoryview, position: int) -> int:
    """Reads 8 bytes; the caller has checked that they are there."""
    return int(_FIXED64.unpack_from(data, position)[0])


def encode_ordered_num(value: int) -> bytes:
    """An unsigned integer in ordered code."""
    body = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return bytes((len(body),)) + body


def encode_ordered_string(value: bytes) -> bytes:
    """A byte string in ordered code."""
    return _SPECIAL.sub(lambda m: b"\x00\xff" if m[0] == b"\x00" else b"\xff\x00", value) + b"\x00\x01"


def encode_ordered_signed(value: int) -> bytes:
    """A signed 64-bit integer in ordered code."""
    magnitude = value if value >= 0 else ~value
    size = magnitude.bit_length() // 7 + 1
    header = ((1 << size) - 1) << (7 * size)
    return ((value & ((1 << (8 * size)) - 1)) ^ header).to_bytes(size, "big")


def decode_ordered_num(data: bytes, position: int) -> tuple[int, int]:
    """Reads `num(v)`: the value and the position behind it."""
    if position >= len(data):
        raise DataLossError("an ordered number is cut off", offset=position)
    end = position + 1 + data[position]
    if end > len(data) or data[position] > 8:
        raise DataLossError("an ordered number is cut off or too long", offset=position)
    return int.from_bytes(data[position + 1 : end], "big"), end


def decode_ordered_string(data: bytes, position: int) -> tuple[bytes, int]:
    """Reads `str(s)`: the string and the position behind its end mark."""
    out = bytearray()
    i = position
    while i + 1 < len(data):
        pair = data[i : i + 2]
        if pair == b"\x00\x01":
            return bytes(out), i + 2
        if pair == b"\x00\xff":
            out.append(0x00)
            i += 2
        elif pair == b"\xff\x00":
            out.append(0xFF)
            i += 2
        elif data[i] in (0x00, 0xFF):
            break
        else:
            out.append(data[i])
            i += 1
    raise DataLossError("an ordered string has no end mark or a bad escape", offset=i)


def decode_ordered_signed(data: bytes, position: int) -> tuple[int, int]:
    """Reads `snum(v)`: the value and the position behind it."""
    head = data[position : position + 2]
    if not head:
        raise DataLossError("an ordered signed number is cut off", offset=position)
    negative = head[0] < 0x80
    # The sign's complement of the leading ones is the size; ten bytes at the most, so two bytes tell it.
    first = int.from_bytes(head.ljust(2, b"\x00"), "big") ^ (0xFFFF if negative else 0)
    size = 0
    while size < 16 and first & (0x8000 >> size):
        size += 1
    end = position + size
    if not 1 <= size <= 10 or end > len(data):
        raise DataLossError("an ordered signed number is cut off or too long", offset=position)
    raw = int.from_bytes(data[position:end], "big") ^ (((1 << size) - 1) << (7 * size))
    value = raw - (1 << (8 * size)) if negative else raw
    if not -(1 << 63) <= value < 1 << 63:
        raise DataLossError("an ordered signed number is over 64 bits", offset=position)
    return value, end
