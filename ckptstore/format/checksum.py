"""CRC-32C (Castagnoli) and its masked form.

A checksum that is stored beside the data it covers is masked, so that the checksum of data with checksums in it
stays meaningful (LevelDB's and TensorFlow's rule):

    mask(c) = rotate_right(c, 15) + a282ead8                    modulo 2**32
    crc32c("123456789") = e3069283, crc32c("") = 0, mask(0) = a282ead8
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crc32c import crc32c as _crc32c

if TYPE_CHECKING:
    from typing_extensions import Buffer

_DELTA = 0xA282EAD8
_MASK32 = 0xFFFFFFFF


def crc32c(data: Buffer, crc: int = 0) -> int:
    """The checksum of a contiguous buffer, going on from `crc`, the checksum of what came before."""
    return int(_crc32c(data, crc))


def mask(crc: int) -> int:
    """The stored form of a checksum."""
    return ((crc >> 15 | crc << 17) + _DELTA) & _MASK32


def unmask(masked: int) -> int:
    """The checksum of a stored form."""
    rotated = (masked - _DELTA) & _MASK32
    return (rotated >> 17 | rotated << 15) & _MASK32
