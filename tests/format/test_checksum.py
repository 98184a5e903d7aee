"""CRC-32C and its mask."""

from __future__ import annotations

import numpy as np
import pytest

from ckptstore.format.checksum import combine, crc32c, mask, unmask


def test_the_check_values_of_the_format_hold():
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"") == 0
    assert mask(0) == 0xA282EAD8
    assert mask(0xE3069283) == 0xC78AB0E5
    assert crc32c(bytes.fromhex("0000803f")) == 0xDD54C4AB
    assert mask(0xDD54C4AB) == 0x2BDAA581


@pytest.mark.parametrize("crc", [0, 1, 0x7FFF, 0x8000, 0x5D7D1528, 0x80000000, 0xFFFFFFFF, 0xE3069283])
def test_unmask_undoes_mask(crc):
    assert unmask(mask(crc)) == crc
    assert 0 <= mask(crc) <= 0xFFFFFFFF


@pytest.mark.parametrize("cut", range(10))
def test_a_checksum_goes_on_where_the_last_one_ended(cut):
    assert crc32c(b"123456789"[cut:], crc32c(b"123456789"[:cut])) == 0xE3069283


def test_any_contiguous_buffer_is_summed_by_its_bytes():
    array = np.arange(1000, dtype=np.uint8)
    assert crc32c(memoryview(array)) == crc32c(array.tobytes()) == crc32c(bytearray(array.tobytes()))


def test_it_is_the_bitwise_definition():
    def slow(data: bytes) -> int:
        crc = 0xFFFFFFFF
        for byte in data:
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        return crc ^ 0xFFFFFFFF

    for size in (1, 2, 3, 7, 8, 9, 63, 64, 65, 300):
        data = bytes((i * 37 + 11) & 0xFF for i in range(size))
        assert crc32c(data) == slow(data)


@pytest.mark.parametrize("size", [0, 1, 2, 7, 8, 255, 65537, 1 << 20])
def test_two_checksums_combine_to_that_of_both_runs(size):
    first, second = b"\x17checkpoint", bytes(i * 7 & 0xFF for i in range(251)) * (size // 251 + 1)
    second = second[:size]
    assert combine(crc32c(first), crc32c(second), size) == crc32c(first + second)
    assert combine(crc32c(b""), crc32c(second), size) == crc32c(second)
