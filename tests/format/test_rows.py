"""Whole columns at once come to the same as one entry after the other."""

from __future__ import annotations

import contextlib
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptstore.errors import DataLossError
from ckptstore.format.block import BlockBuilder, common_prefix, entries, limits, seek
from ckptstore.format.block_rows import entry_rows
from ckptstore.format.coding import encode_varint
from ckptstore.format.rows import (
    Rows,
    ascending,
    below,
    common_prefixes,
    gather,
    join,
    read_varints,
    take_rows,
    varints,
    windows,
)
from ckptstore.format.table import TableReader, TableWriter

NUMBERS = st.integers(0, 2**63 - 1) | st.integers(0, 300) | st.sampled_from([2 ** (7 * n) - 1 for n in range(1, 9)])
STRINGS = st.binary(max_size=20) | st.sampled_from([b"", b"\x00", b"a\x00", b"layer/kernel", b"layer/kernel\x00"])
PAIRS = st.dictionaries(
    STRINGS | st.text("ab/\u00e9", max_size=200).map(str.encode), STRINGS | st.binary(max_size=300), min_size=1
).map(lambda pairs: sorted(pairs.items()))


@given(st.lists(STRINGS, min_size=1), st.data())
def test_strings_come_back_joined_cut_and_gathered(strings, data):
    rows = Rows.of(strings)
    assert rows.tolist() == strings
    others = data.draw(st.lists(STRINGS, min_size=len(strings), max_size=len(strings)))
    assert join([rows, Rows.of(others)]) == b"".join(a + b for a, b in zip(strings, others, strict=True))
    assert rows[1:].tolist() == strings[1:]
    flat = b"".join(strings) + b"!"
    starts = np.concatenate([[0], np.cumsum(rows.lengths)[:-1]])
    assert gather(np.frombuffer(flat, np.uint8), starts, rows.lengths).tolist() == strings


@given(st.binary(min_size=1, max_size=300), st.integers(1, 300), st.data())
def test_windows_are_what_stands_at_their_places_and_zeros_outside(text, width, data):
    places = data.draw(st.lists(st.integers(-width, len(text)), min_size=1))
    found = windows(np.frombuffer(text, np.uint8), np.array(places), width)
    padded = bytes(width) + text + bytes(width)
    assert [row.tobytes() for row in found] == [padded[width + at : 2 * width + at] for at in places]
    rows = data.draw(st.lists(st.integers(0, len(places) - 1)))
    assert take_rows(found, np.array(rows, np.int64)).tolist() == found[np.array(rows, np.int64)].tolist()


@given(st.lists(st.integers(-5, 2**40), min_size=1), st.sampled_from([1, 7, 255, 256, 300]))
def test_columns_below_a_limit_are_told(limits_, width):
    assert below(np.array(limits_), width).tolist() == [
        [column < limit for column in range(width)] for limit in limits_
    ]


@given(st.lists(NUMBERS, min_size=1))
def test_varints_are_those_of_coding_and_come_back(values):
    rows = varints(np.array(values, np.int64))
    assert rows.tolist() == [encode_varint(value) for value in values]
    data = np.frombuffer(join([rows]), np.uint8)
    ends = np.cumsum(rows.lengths)
    found, behind = read_varints(data, ends - rows.lengths)
    assert found.tolist() == values
    assert behind.tolist() == ends.tolist()


@pytest.mark.parametrize("damaged", [b"\x80", b"\xff" * 8, b"\xff" * 9 + b"\x01", b"\xff" * 12, b""])
def test_a_varint_that_is_cut_or_too_long_is_minus_one(damaged):
    data = np.frombuffer(b"\x05" + damaged, np.uint8)
    assert read_varints(data, np.array([0, 1]))[0].tolist() == [5, -1]


@given(st.lists(STRINGS, min_size=2))
def test_prefixes_and_order_are_those_of_bytes(strings):
    rows = Rows.of(strings)
    shared = common_prefixes(rows)
    pairs = list(pairwise(strings))
    assert shared.tolist() == [common_prefix(a, b) for a, b in pairs]
    assert ascending(rows, shared).tolist() == [a < b for a, b in pairs]


def _by_rows(pairs, **options) -> bytes:
    table = TableWriter(**options)
    table.add_rows(Rows.of([key for key, _ in pairs]), _parts([value for _, value in pairs]))
    return table.finish()


def _parts(values: list[bytes]) -> list[Rows]:
    return [Rows.of([value[:3] for value in values]), Rows.of([value[3:] for value in values])]


def _one_by_one(pairs, **options) -> bytes:
    table = TableWriter(**options)
    for key, value in pairs:
        table.add(key, value)
    return table.finish()


@given(PAIRS, st.integers(1, 40), st.sampled_from([400, 1000, 262144]), st.integers(0, 3))
def test_a_table_of_rows_is_the_same_to_the_byte(pairs, interval, block_size, before):
    options = {"restart_interval": interval, "block_size": block_size}
    table = TableWriter(**options)
    for key, value in pairs[:before]:
        table.add(key, value)
    if pairs[before:]:
        table.add_rows(Rows.of([key for key, _ in pairs[before:]]), _parts([value for _, value in pairs[before:]]))
    expected = _one_by_one(pairs, **options)
    assert table.finish() == expected
    found: list[tuple[bytes, bytes]] = []
    for block in TableReader.from_bytes(expected).blocks():
        found += block.items() if isinstance(block, dict) else _items(block)
    assert found == pairs


def _items(rows) -> list[tuple[bytes, bytes]]:
    data = rows.data.tobytes()
    values = [data[a:b] for a, b in zip(rows.starts.tolist(), rows.stops.tolist(), strict=True)]
    return list(zip(rows.keys.tolist(), values, strict=True))


@pytest.mark.parametrize("count", [4095, 4096, 4097, 10_000, 40_000])
def test_many_rows_are_the_same_to_the_byte(count):
    pairs = [(f"layer_{n:06d}/kernel".encode(), b"v" * (n % 50)) for n in range(count)]
    data = _by_rows(pairs)
    assert data == _one_by_one(pairs)
    blocks = [*TableReader.from_bytes(data).blocks()]
    assert [pair for block in blocks for pair in _items(block)] == pairs  # all of them as rows


@pytest.mark.parametrize("keys", [[b"b", b"a"], [b"a", b"a"], [b"a", b"b", b"b\x00", b"b"]])
def test_rows_that_do_not_ascend_are_refused(keys):
    with pytest.raises(ValueError, match="ascend"):
        _by_rows([(key, b"") for key in keys])


def test_rows_must_follow_what_was_added():
    table = TableWriter()
    table.add(b"b", b"")
    with pytest.raises(ValueError, match="ascend"):
        table.add_rows(Rows.of([b"b"]), [Rows.of([b""])])


def test_no_rows_are_no_entries():
    table = TableWriter()
    table.add_rows(Rows.of([]), [])
    assert table.finish() == TableWriter().finish()


def test_an_entry_larger_than_a_block_is_not_for_rows():
    with pytest.raises(ValueError, match="one by one"):
        _by_rows([(b"a", b"x" * 800)], block_size=400)


def _block(pairs, interval: int = 16) -> bytes:
    builder = BlockBuilder(interval)
    for key, value in pairs:
        builder.add(key, value)
    return builder.finish()


@given(PAIRS, st.integers(1, 20), st.data())
def test_a_damaged_block_is_left_to_the_reader_that_looks_at_every_entry(pairs, interval, data):
    block = bytearray(_block(pairs, interval))
    for _ in range(data.draw(st.integers(1, 3))):
        block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
    try:
        expected = [*entries(bytes(block))]
    except DataLossError:
        expected = None
    rows = entry_rows(bytes(block))
    # Rows may know more: that restarts lie between entries. Where they are taken, they are what is there.
    assert rows is None or _items(rows) == expected


@pytest.mark.parametrize(
    "pairs",
    [
        [(b"a" * 60_000 + b"%06d" % n, b"") for n in range(300)],
        [(b"a" * 60_000, b""), *((b"b%06d" % n, b"") for n in range(300))],
    ],
    ids=["all", "one"],
)
def test_a_matrix_of_long_keys_is_not_made(pairs):
    block = _block(pairs)
    tracemalloc.start()
    try:
        assert entry_rows(block) is None
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    assert [*entries(block)] == pairs


@given(PAIRS, st.integers(1, 20), STRINGS)
def test_a_key_is_sought_as_it_would_be_found(pairs, interval, other):
    block = _block(pairs, interval)
    assert limits(block) == (pairs[0][0], pairs[-1][0])
    for key, value in pairs:
        assert seek(block, key) == value
    assert seek(block, other) == dict(pairs).get(other)
    assert limits(_block([])) is None
    assert seek(_block([]), other) is None


@given(PAIRS, st.integers(1, 20), st.data())
def test_seeking_in_a_damaged_block_finds_or_says_that_it_is_damaged(pairs, interval, data):
    block = bytearray(_block(pairs, interval))
    for _ in range(data.draw(st.integers(1, 3))):
        block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DataLossError):
        limits(bytes(block))
    with contextlib.suppress(DataLossError):
        seek(bytes(block), data.draw(st.sampled_from(pairs))[0])
