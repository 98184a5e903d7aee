"""CRC-32C and its mask."""

from __future__ import annotations

import numpy as np
import pytest

from ckptstore.format.checksum import combine, combine_all, crc32c, mask, mask_all, unmask_all


def test_the_check_values_of_the_format_hold():
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"") == 0
    assert mask(0) == 0xA282EAD8
    assert mask(0xE3069283) == 0xC78AB0E5
    assert crc32c(bytes.fromhex("0000803f")) == 0xDD54C4AB
    assert mask(0xDD54C4AB) == 0x2BDAA581


def test_many_are_masked_as_one_is_and_unmasked_again():
    crcs = [0, 1, 0x7FFF, 0x8000, 0x5D7D1528, 0x80000000, 0xFFFFFFFF, 0xE3069283]
    masked = mask_all(crcs)
    assert masked.tolist() == [mask(crc) for crc in crcs]
    assert unmask_all(masked).tolist() == crcs
    assert ((masked >= 0) & (masked <= 0xFFFFFFFF)).all()


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


@pytest.mark.parametrize("seed", range(5))
def test_checksums_of_many_runs_combine_to_those_of_their_groups(seed):
    source = np.random.default_rng(seed)
    runs = [source.bytes(int(size)) for size in source.choice([0, 1, 4, 100, 4096, 65536, 70_001], 200)]
    firsts = np.array([0, *np.unique(source.integers(1, 200, 9))])
    crcs, sizes = np.array([crc32c(run) for run in runs]), np.array([len(run) for run in runs])
    groups = [b"".join(runs[a:b]) for a, b in zip(firsts, [*firsts[1:], len(runs)], strict=True)]
    assert combine_all(crcs, sizes, firsts).tolist() == [crc32c(group) for group in groups]
    assert combine_all(crcs[:1], sizes[:1], firsts[:1]).tolist() == [crc32c(runs[0])]
