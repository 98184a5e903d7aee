"""Sorted tables: the writer to the byte, and a reader that trusts nothing."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from ckptstore.errors import DataLossError
from ckptstore.format.table import BLOCK_SIZE, FOOTER_SIZE, TableReader, TableWriter, separator, successor
from tests.format import forge
from tests.format.test_snappy import compress

GOLDEN = Path(__file__).parents[1] / "golden"
TABLES = sorted(
    path
    for pattern in ("*.index", "*.ckpt", "*.v1", "*-of-?????")
    for path in GOLDEN.rglob(pattern)
    if "20_hand_made" not in path.parts and ".data-" not in path.name
)


def write(pairs, **options) -> bytes:
    writer = TableWriter(**options)
    for key, value in pairs:
        writer.add(key, value)
    return writer.finish()


@pytest.mark.parametrize(
    ("low", "high", "key"),
    [
        (b"abcd", b"abzz", b"abd"),
        (b"abcd", b"abd", b"abcd"),
        (b"ab", b"abc", b"ab"),
        (b"a\xff", b"b", b"a\xff"),
        (b"ab", b"ad", b"ac"),
        (b"a", b"b", b"a"),
        (b"", b"a", b""),
        (b"a\xffz", b"c", b"b"),
        (b"x\xff1", b"x\xff3", b"x\xff2"),
    ],
)
def test_a_separator_is_that_of_the_table_in_the_format(low, high, key):
    assert separator(low, high) == key
    assert low <= key < high


@pytest.mark.parametrize(
    ("key", "after"),
    [
        (b"dense/kernel", b"e"),
        (b"\xff\xffa", b"\xff\xffb"),
        (b"\xff", b"\xff"),
        (b"z", b"{"),
        (b"w", b"x"),
        (b"", b""),
        (b"\x00q", b"\x01"),
    ],
)
def test_a_successor_is_that_of_the_table_in_the_format(key, after):
    assert successor(key) == after


def test_there_are_golden_tables_to_compare_with():
    assert len(TABLES) >= 70


@pytest.mark.parametrize("path", TABLES, ids=lambda path: str(path.relative_to(GOLDEN)))
def test_a_table_that_tensorflow_wrote_is_written_again_to_the_byte(path):
    data = path.read_bytes()
    reader = TableReader.from_bytes(data)
    pairs = list(reader)
    assert write(pairs) == data
    for key, value in pairs[:: max(1, len(pairs) // 50)]:
        assert reader.get(key) == value


def test_an_empty_table_can_be_read():
    data = write([])
    reader = TableReader.from_bytes(data)
    assert list(reader) == []
    assert reader.get(b"") is None
    assert len(data) == 2 * 13 + FOOTER_SIZE


def test_keys_that_are_not_there_are_not_found():
    reader = TableReader.from_bytes(write([(b"b", b"1"), (b"d", b"2")]))
    assert [reader.get(k) for k in (b"", b"a", b"b", b"c", b"d", b"e", b"\xff" * 9)] == [
        None,
        None,
        b"1",
        None,
        b"2",
        None,
        None,
    ]


@pytest.mark.parametrize("block_size", [1, 16, 64, 4096, BLOCK_SIZE])
@pytest.mark.parametrize("interval", [1, 3, 16])
def test_any_block_size_and_restart_interval_can_be_read(block_size, interval):
    pairs = [(f"{i:05}/{'x' * (i % 40)}".encode(), bytes(i % 90)) for i in range(300)]
    reader = TableReader.from_bytes(write(pairs, block_size=block_size, restart_interval=interval))
    assert list(reader) == pairs
    assert [reader.get(k) for k, _ in pairs] == [v for _, v in pairs]
    assert reader.get(pairs[7][0] + b"\x00") is None


def test_a_key_that_does_not_ascend_is_refused():
    writer = TableWriter()
    writer.add(b"b", b"")
    for key in (b"b", b"a", b""):
        with pytest.raises(ValueError, match="ascend"):
            writer.add(key, b"")


def test_a_block_is_closed_once_it_has_256_kib():
    # Each entry takes 3 + 2 + 5 + 1000 bytes; sharing leaves out what is common.
    pairs = [(f"{i:05}".encode(), b"v" * 1000) for i in range(600)]
    data = write(pairs)
    reader = TableReader.from_bytes(data)
    sizes = [size for _, size in reader._handles]
    assert len(sizes) == 3
    assert all(BLOCK_SIZE <= size < BLOCK_SIZE + 1100 for size in sizes[:-1])
    assert list(reader) == pairs
    assert reader._index_keys[-1] == successor(pairs[-1][0])


def test_an_entry_of_512_kib_gets_a_block_of_its_own():
    small, huge = (b"a", b"1"), (b"b", b"v" * (2 * BLOCK_SIZE - 1))
    assert len(TableReader.from_bytes(write([small, huge]))._handles) == 2
    assert len(TableReader.from_bytes(write([small, (b"b", b"v" * (2 * BLOCK_SIZE - 2))]))._handles) == 1
    assert len(TableReader.from_bytes(write([huge]))._handles) == 1


@pytest.mark.parametrize("size", [127, 128, 16384, BLOCK_SIZE, 2 * BLOCK_SIZE, 600_000])
def test_huge_keys_come_back(size):
    pairs = [
        (b"", b"h"),
        (b"k" * size, b"1"),
        (b"k" * size + b"\x00", b"2"),
        (b"k" * size + b"\x00\x00", b"3"),
        (b"l" * size, b"4"),
    ]
    reader = TableReader.from_bytes(write(pairs))
    assert list(reader) == pairs
    assert [reader.get(k) for k, _ in pairs] == [v for _, v in pairs]


def test_snappy_blocks_and_bytes_behind_a_handle_are_taken():
    pairs = [(f"layer/{i:03}".encode(), b"v" * 50) for i in range(100)]
    stored = forge.sealed(compress(forge.block(pairs)), 1)
    index = [(b"zzz", forge.handle(0, len(stored) - 5) + b"more")]
    reader = TableReader.from_bytes(forge.with_index(stored, index))
    assert list(reader) == pairs
    assert reader.get(b"layer/042") == b"v" * 50


@pytest.mark.parametrize("size", [0, 1, 8, 47])
def test_a_file_shorter_than_its_footer_is_data_loss(size):
    with pytest.raises(DataLossError, match="too short"):
        TableReader.from_bytes(b"\x00" * size)


def read_everything(data: bytes) -> list[tuple[bytes, bytes]]:
    reader = TableReader.from_bytes(data)
    pairs = list(reader)
    for key, _ in pairs:
        reader.get(key)
    return pairs


def test_every_flipped_bit_of_a_small_table_is_found_out():
    data = write([(b"", b"header"), (b"dense/bias", b"12345"), (b"dense/kernel", b"67890")])
    for bit in range(8 * len(data)):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DataLossError):
            read_everything(bytes(broken))


def test_every_truncation_and_extension_of_a_table_is_found_out():
    data = write([(b"", b"header"), (b"dense/bias", b"12345")])
    for cut in range(len(data)):
        with pytest.raises(DataLossError):
            read_everything(data[:cut])
    with pytest.raises(DataLossError):
        read_everything(data + b"\x00")


BODY = forge.sealed(forge.block([(b"a", b"1"), (b"b", b"2")]))


@pytest.mark.parametrize(
    "index",
    [
        [(b"z", forge.handle(0, 2**62))],
        [(b"z", forge.handle(2**63, 10))],
        [(b"z", forge.handle(2**64 - 1, 2**64 - 1))],
        [(b"z", forge.handle(0, len(BODY)))],
        [(b"z", forge.handle(1, len(BODY) - 6))],
        [(b"z", b"")],
        [(b"z", b"\x00")],
        [(b"z", b"\xff" * 11)],
        [(b"z", forge.handle(0, len(BODY) - 5)), (b"y", forge.handle(0, len(BODY) - 5))],
        [(b"y", forge.handle(0, len(BODY) - 5)), (b"z", forge.handle(0, len(BODY) - 5))],
    ],
)
def test_an_index_that_lies_about_its_blocks_is_data_loss(index):
    with pytest.raises(DataLossError):
        read_everything(forge.with_index(BODY, index))


@pytest.mark.parametrize(
    ("metaindex", "index"),
    [((0, 2**62), (0, 8)), ((0, 8), (2**63, 8)), ((0, 8), (0, 2**64 - 1)), ((0, 8), (10_000, 8)), ((0, 0), (0, 0))],
)
def test_a_footer_that_points_anywhere_is_data_loss(metaindex, index):
    data = BODY + forge.sealed(forge.EMPTY_BLOCK) + forge.footer(forge.handle(*metaindex), forge.handle(*index))
    with pytest.raises(DataLossError):
        read_everything(data)


def test_an_index_block_that_points_at_itself_ends():
    body = BODY + forge.sealed(forge.EMPTY_BLOCK)
    size = len(forge.block([(b"z", forge.handle(len(body), 99))], 1))
    contents = forge.block([(b"z", forge.handle(len(body), size))], 1)
    data = (
        body + forge.sealed(contents) + forge.footer(forge.handle(len(BODY), 8), forge.handle(len(body), len(contents)))
    )
    assert len(read_everything(data)) == 1


def test_keys_that_descend_from_block_to_block_are_data_loss():
    for second in (b"a", b"b"):
        data = forge.table([forge.block([(b"a", b""), (b"b", b"")]), forge.block([(second, b"")])])
        with pytest.raises(DataLossError):
            read_everything(data)


def test_a_key_behind_its_index_key_is_data_loss_and_not_a_tensor_that_is_missing():
    # The listing shows "b", a look-up goes by the index key and does not find it.
    data = forge.table([forge.block([(b"a", b"1"), (b"b", b"2")])], keys=[b"a"])

    def walk() -> None:
        assert TableReader.from_bytes(data).get(b"b") == b"2"
        list(TableReader.from_bytes(data))

    with pytest.raises(DataLossError):
        walk()


def test_keys_that_share_a_megabyte_are_not_blown_up_to_gigabytes():
    # 4,000 entries of 8 bytes, each of which says "as before, and one more": a gigabyte of keys in 300 kB.
    head = forge.raw_entry(0, b"k" * (1 << 18), b"")
    entries = b"".join(forge.raw_entry(1 << 18, i.to_bytes(3, "big"), b"") for i in range(4000))
    data = forge.table([forge.raw_block(head + entries)])
    tracemalloc.start()
    try:
        try:
            for _ in TableReader.from_bytes(data):
                pass
        except DataLossError:
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < (64 << 20) + 8 * len(data)


def test_a_thousand_handles_to_one_packed_block_of_nothing_do_not_unpack_it_a_thousand_times():
    # A block that is all restarts has no entries, so it may be named again and again without a key that descends.
    room = 4 << 20
    nothing = bytes(room - 4) + (room // 4 - 1).to_bytes(4, "little")
    stored = forge.sealed(compress(nothing), 1)
    handle = forge.handle(0, len(stored) - 5)
    data = forge.with_index(stored, [(i.to_bytes(2, "big"), handle) for i in range(1, 1000)])
    unpacked = 0

    def walk() -> None:
        reader = TableReader.from_bytes(data)
        load = reader._load

        def counting(handle: tuple[int, int]) -> bytes:
            nonlocal unpacked
            unpacked += 1
            assert unpacked < 20, "the same block is unpacked over and over"
            return load(handle)

        reader._load = counting
        list(reader)

    with pytest.raises(DataLossError):
        walk()


def test_only_the_blocks_that_are_needed_are_read():
    pairs = [(f"{i:05}".encode(), b"v" * 1000) for i in range(1000)]
    data = write(pairs)
    asked = []

    def read(offset: int, size: int) -> bytes:
        asked.append(size)
        assert 0 <= offset <= offset + size <= len(data)
        return data[offset : offset + size]

    reader = TableReader(read, len(data))
    assert reader.get(b"00500") == b"v" * 1000
    assert sum(asked) < 300_000


def test_a_read_that_comes_back_short_is_data_loss():
    data = write([(b"a", b"1")])

    def read(offset: int, size: int) -> bytes:
        return data[offset : offset + size - (size != FOOTER_SIZE)]

    with pytest.raises(DataLossError):
        TableReader(read, len(data))
