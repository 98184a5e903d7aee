"""CRC-32C (Castagnoli) and its masked form.

A checksum that is stored beside the data it covers is masked, so that the checksum of data with checksums in it
stays meaningful (LevelDB's and TensorFlow's rule):

    mask(c) = rotate_right(c, 15) + a282ead8                    modulo 2**32
    crc32c("123456789") = e3069283, crc32c("") = 0, mask(0) = a282ead8
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import crc32c as _library
import numpy as np

_DELTA = 0xA282EAD8
_MASK32 = 0xFFFFFFFF

crc32c: Callable[..., int] = _library.crc32c  # itself: a function around it would double what a small tensor takes
"""`crc32c(data, crc=0)`: the checksum of a contiguous buffer, going on from `crc`, that of what came before."""


def mask(crc: int) -> int:
    """The stored form of a checksum."""
    return ((crc >> 15 | crc << 17) + _DELTA) & _MASK32


def unmask(masked: int) -> int:
    """The checksum of a stored form."""
    rotated = (masked - _DELTA) & _MASK32
    return (rotated >> 17 | rotated << 15) & _MASK32


def mask_all(crcs: Sequence[int]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The stored forms of many checksums."""
    plain = np.array(crcs, np.int64)
    return ((plain >> 15 | plain << 17) + _DELTA) & _MASK32


def combine(first: int, second: int, size: int) -> int:
    """The checksum of two runs of bytes, one after the other, from the checksum of each.

    Args:
        first: The checksum of the first run.
        second: That of the second.
        size: The bytes of the second run.
    """
    return _multiply(_shift(size), first) ^ second


# Checksums are polynomials over GF(2), modulo Castagnoli's, with the highest bit for x^0. To append n zero bytes is to
# multiply by x^(8n), which is a product of the powers x^(2^k).
_POLYNOMIAL = 0x82F63B78
_ONE = 1 << 31


def _multiply(a: int, b: int) -> int:
    product, bit = 0, _ONE
    while a:
        if a & bit:
            product ^= b
            a ^= bit
        bit >>= 1
        b = b >> 1 ^ (_POLYNOMIAL if b & 1 else 0)
    return product


@lru_cache(maxsize=64)
def _shift(size: int) -> int:
    """x^(8 * size)."""
    result, power = _ONE, 1 << 23  # x^8
    while size:
        if size & 1:
            result = _multiply(result, power)
        power = _multiply(power, power)
        size >>= 1
    return result
