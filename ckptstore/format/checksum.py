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

from ckptstore.format.rows import Integers

_DELTA = 0xA282EAD8
_MASK32 = 0xFFFFFFFF

crc32c: Callable[..., int] = _library.crc32c  # itself: a function around it would double what a small tensor takes
"""`crc32c(data, crc=0)`: the checksum of a contiguous buffer, going on from `crc`, that of what came before."""


def mask(crc: int) -> int:
    """The stored form of a checksum."""
    return ((crc >> 15 | crc << 17) + _DELTA) & _MASK32


def mask_all(crcs: Sequence[int]) -> Integers:
    """The stored forms of many checksums."""
    plain = np.array(crcs, np.int64)
    return ((plain >> 15 | plain << 17) + _DELTA) & _MASK32


def unmask_all(masked: Integers) -> Integers:
    """The checksums of many stored forms."""
    rotated = (masked - _DELTA) & _MASK32
    return (rotated >> 17 | rotated << 15) & _MASK32


def combine(first: int, second: int, size: int) -> int:
    """The checksum of two runs of bytes, one after the other, from the checksum of each.

    Args:
        first: The checksum of the first run.
        second: That of the second.
        size: The bytes of the second run.
    """
    return _multiply(_shift(size), first) ^ second


def combine_all(crcs: Integers, sizes: Integers, firsts: Integers) -> Integers:
    """The checksums of groups of runs of bytes, those of a group one after the other, from the checksum of each run.

    Args:
        crcs: The checksum of each run.
        sizes: The bytes of each.
        firsts: The number of the first run of each group, in ascending order; the first one is 0.
    """
    ends = np.cumsum(sizes)
    behind = np.repeat(ends[[*(firsts[1:] - 1), -1]], np.diff(firsts, append=len(crcs))) - ends
    out = crcs.astype(np.uint32)
    for bit in range(int(behind.max(initial=0)).bit_length()):
        # What has so many bytes behind it in its group, and perhaps others, which other bits stand for.
        rows = np.flatnonzero(behind >> bit & 1)
        if len(rows):
            tables, bytes_ = _shift_tables(bit), out[rows].view(np.uint8).reshape(-1, 4)
            out[rows] = np.bitwise_xor.reduce([table[bytes_[:, n]] for n, table in enumerate(tables)])
    return np.bitwise_xor.reduceat(out, firsts).astype(np.int64)


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


@lru_cache(maxsize=64)
def _shift_tables(bit: int) -> list[np.ndarray[Any, np.dtype[np.uint32]]]:
    """For each byte of a checksum, the lowest first, what its 256 values come to, multiplied by x^(8 * 2^bit)."""
    power = _shift(1 << bit)
    columns = []  # the product with each power of x, of which x^0 is the highest bit
    for _ in range(32):
        columns.append(power)
        power = power >> 1 ^ (_POLYNOMIAL if power & 1 else 0)
    columns.reverse()
    tables = []
    for first in range(0, 32, 8):
        table = np.zeros(1, np.uint32)
        for column in columns[first : first + 8]:
            table = np.concatenate([table, table ^ np.uint32(column)])
        tables.append(table)
    return tables
