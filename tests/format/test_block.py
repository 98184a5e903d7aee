"""Blocks of sorted tables."""

from __future__ import annotations

import pytest

from ckptstore.errors import DataLossError
from ckptstore.format.block import BlockBuilder, common_prefix, entries, seal, unseal
from ckptstore.format.checksum import crc32c, mask
from tests.format import forge
from tests.format.forge import raw_block, raw_entry
from tests.format.test_snappy import compress


def build(pairs, interval=16) -> bytes:
    return forge.block(pairs, interval)


def test_an_empty_block_is_one_restart_at_0():
    builder = BlockBuilder(16)
    assert builder.empty
    assert builder.finish() == bytes.fromhex("0000000001000000")
    assert bytes.fromhex("0000000001000000") + seal(builder.finish()) == bytes.fromhex("0000000001000000 00c0f2a1b0")
    assert list(entries(builder.finish())) == []


def test_the_worked_block_of_the_format_is_written_to_the_byte():
    header = bytes.fromhex("08011a020801")
    bias = bytes.fromhex("0801120412020802 280835d2261d0c")
    kernel = bytes.fromhex("080112081202080312020802 2008281835 98e8dd3f")
    contents = build([(b"", header), (b"dense/bias", bias), (b"dense/kernel", kernel)])
    assert contents == (
        bytes.fromhex("000006") + header
        + bytes.fromhex("000a0f") + b"dense/bias" + bias
        + bytes.fromhex("060615") + b"kernel" + kernel
        + bytes.fromhex("0000000001000000")
    )  # fmt: skip
    assert len(contents) == 0x4B
    assert seal(contents) == bytes.fromhex("008bf20443")


@pytest.mark.parametrize("interval", [1, 2, 16, 1000])
@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 33, 200])
def test_entries_come_back_at_any_restart_interval(interval, count):
    pairs = [(f"layer_{i:03}/kernel".encode(), bytes([i % 256]) * (i % 7)) for i in range(count)]
    builder = BlockBuilder(interval)
    for key, value in pairs:
        builder.add(key, value)
    contents = builder.finish()
    assert list(entries(contents)) == pairs
    assert len(contents) == builder.size
    assert int.from_bytes(contents[-4:], "little") == (count - 1) // interval + 1


def test_lengths_over_127_bytes_are_written_as_longer_varints():
    pairs = [(b"k" * 127, b"v" * 127), (b"k" * 128, b"v" * 128), (b"k" * 400, b"w" * 70_000), (b"l", b"")]
    assert list(entries(build(pairs))) == pairs


@pytest.mark.parametrize(
    ("a", "b", "n"), [(b"", b"", 0), (b"a", b"", 0), (b"ab", b"abc", 2), (b"abx", b"aby", 2), (b"x", b"y", 0)]
)
def test_the_common_prefix_is_counted_in_bytes(a, b, n):
    assert common_prefix(a, b) == common_prefix(b, a) == n


def test_the_common_prefix_is_found_at_every_place():
    for size in (1, 2, 3, 31, 64, 100):
        for at in range(size):
            other = bytearray(b"z" * size)
            other[at] = 0
            assert common_prefix(b"z" * size, bytes(other)) == at


@pytest.mark.parametrize("bit", range(13 * 8))
def test_any_flipped_bit_of_a_stored_block_is_found_out(bit):
    stored = bytearray(forge.EMPTY_BLOCK + seal(forge.EMPTY_BLOCK))
    assert unseal(bytes(stored), 0) == forge.EMPTY_BLOCK
    stored[bit // 8] ^= 1 << bit % 8
    with pytest.raises(DataLossError) as caught:
        unseal(bytes(stored), 77)
    assert caught.value.offset == 77


def test_a_block_of_unknown_type_is_refused_and_a_snappy_one_unpacked():
    contents = build([(b"a" * 50, b"b" * 50), (b"a" * 60, b"b" * 60)])
    assert unseal(forge.sealed(compress(contents), 1), 0) == contents
    with pytest.raises(DataLossError, match="block type 2"):
        unseal(forge.sealed(contents, 2), 0)
    with pytest.raises(DataLossError):
        unseal(forge.sealed(b"\xff\xff\xff\xff\x0fx", 1), 0)


@pytest.mark.parametrize("size", range(5))
def test_a_stored_block_shorter_than_its_trailer_is_data_loss(size):
    with pytest.raises(DataLossError):
        unseal(b"\x00" * size, 0)


def test_the_stored_checksum_is_masked():
    assert seal(b"abc")[1:] == mask(crc32c(b"abc\x00")).to_bytes(4, "little")


@pytest.mark.parametrize(
    "contents",
    [
        b"",
        b"\x00\x00\x00",
        raw_block(b"", (0,), 2),  # more restarts than there is room for
        raw_block(b"", (), 0x40000000),
        raw_block(b"", (), 0xFFFFFFFF),
        raw_block(raw_entry(1, b"a", b"")),  # shares with no key
        raw_block(raw_entry(0, b"a", b"") + raw_entry(2, b"b", b"")),  # shares more than the key has
        raw_block(raw_entry(0, b"a", b"", unshared=2)),
        raw_block(raw_entry(0, b"a", b"v", size=2)),
        raw_block(raw_entry(0, b"a", b"v", size=2**63)),
        raw_block(raw_entry(0, b"a", b"v", unshared=2**64 - 1)),
        raw_block(raw_entry(2**63, b"a", b"v")),
        raw_block(raw_entry(0, b"b", b"") + raw_entry(0, b"a", b"")),  # descending
        raw_block(raw_entry(0, b"a", b"") + raw_entry(0, b"a", b"")),  # twice
        raw_block(raw_entry(0, b"a", b"") + raw_entry(1, b"", b"")),
        raw_block(raw_entry(0, b"", b"") + raw_entry(0, b"", b"")),
        raw_block(b"\x00"),  # an entry cut off
        raw_block(b"\x00\x01"),
        raw_block(b"\xff" * 11),
        raw_block(b"\x00\x00" + b"\xff" * 11),
    ],
)
def test_a_block_that_lies_about_its_entries_is_data_loss(contents):
    with pytest.raises(DataLossError):
        list(entries(contents))


def test_entries_before_the_damage_are_handed_over():
    found = entries(raw_block(raw_entry(0, b"a", b"1") + raw_entry(9, b"b", b"2")))
    assert next(found) == (b"a", b"1")
    with pytest.raises(DataLossError):
        next(found)
