"""Decompression of raw snappy blocks.

    block    = varint length of the result, then elements
    element  = tag byte, low 2 bits: 0 literal, 1..3 copy from what is already there
      literal   length - 1 in the upper 6 bits; 60..63: in the next 1..4 bytes, little-endian; then the bytes
      copy 1    length 4..11 in bits 2-4, offset 11 bits: bits 5-7 above the next byte
      copy 2/3  length 1..64 in the upper 6 bits, offset in the next 2 / 4 bytes, little-endian

TensorFlow never writes compressed tables, yet its reader takes them; so does ours.
"""

from __future__ import annotations

from ckptstore.errors import DataLossError
from ckptstore.format.coding import decode_varint

_MAX_RATIO = 64  # an element of 3 bytes yields at most 64, so anything beyond is a lie
_MAX_SIZE = 1 << 30


def decompress(data: bytes) -> bytes:
    """The decompressed block.

    Raises:
        DataLossError: The block is damaged, or claims more than snappy can pack into its bytes.
    """
    size, position = decode_varint(data, 0)
    if size > min(_MAX_SIZE, _MAX_RATIO * len(data)):
        raise DataLossError(f"a snappy block of {len(data)} bytes claims to hold {size}")
    out = bytearray()
    end = len(data)
    while position < end:
        tag = data[position]
        position += 1
        kind = tag & 3
        if kind == 0:
            length = tag >> 2
            if length >= 60:
                extra = length - 59
                length = int.from_bytes(data[position : position + extra], "little")
                position += extra
            length += 1
            if position + length > end or len(out) + length > size:
                raise DataLossError("a snappy literal runs over its block")
            out += data[position : position + length]
            position += length
            continue
        if kind == 1:
            length = (tag >> 2 & 7) + 4
            offset = (tag >> 5) << 8 | (data[position] if position < end else 0)
            position += 1
        else:
            width = 2 if kind == 2 else 4
            length = (tag >> 2) + 1
            offset = int.from_bytes(data[position : position + width], "little")
            position += width
        if position > end or not 0 < offset <= len(out) or len(out) + length > size:
            raise DataLossError("a snappy copy reaches outside its block")
        start = len(out) - offset
        if offset >= length:
            out += out[start : start + length]
        else:  # the copy overlaps what it writes: the last `offset` bytes repeat
            piece = bytes(out[start:])
            out += (piece * (length // offset + 1))[:length]
    if len(out) != size:
        raise DataLossError(f"a snappy block holds {len(out)} bytes and claims {size}")
    return bytes(out)
