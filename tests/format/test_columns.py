"""Entries as columns are what they are one by one, or are left to be read one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ckptstore.errors import DataLossError
from ckptstore.format.columns import EntryColumns, concatenate, decode_columns
from ckptstore.format.dtypes import DTYPES
from ckptstore.format.entry import BundleEntry
from ckptstore.format.rows import join
from ckptstore.format.slices import WHOLE, TensorSlice

SHAPES = st.lists(st.sampled_from([0, 1, 3, 127, 128, 1024, 2**20]), max_size=3).map(tuple)
BIG = st.sampled_from([0, 1, 127, 128, 2**32, 2**62, 2**63 - 1])
ENTRIES = st.builds(
    BundleEntry,
    st.sampled_from(DTYPES),
    SHAPES,
    st.sampled_from([0, 0, 1, 99_999]),
    BIG | st.integers(0, 2**40),
    BIG | st.integers(0, 2**40),
    st.integers(0, 2**32 - 1) | st.just(0),
    st.just(()),
)
PARTITIONED = st.just(BundleEntry(DTYPES[0], (4, 2), slices=(TensorSlice(((0, 2), (0, WHOLE))),)))


def _decode(values: list[bytes]):
    data = np.frombuffer(b"".join(values) + bytes(4), np.uint8)
    stops = np.cumsum([len(value) for value in values])
    return decode_columns(data, stops - [len(value) for value in values], stops)


@given(st.lists(ENTRIES, min_size=1))
def test_entries_come_to_the_same_bytes_and_come_back(entries):
    columns = EntryColumns.of(entries)
    assert columns.tolist() == entries
    assert [columns[n] for n in range(len(columns))] == entries
    assert join(columns.encode()) == b"".join(entry.encode() for entry in entries)
    found, odd = _decode([entry.encode() for entry in entries])
    assert not odd.any()
    assert found.tolist() == entries


@given(st.lists(ENTRIES | PARTITIONED, min_size=1), st.data())
def test_what_is_not_odd_is_what_the_entry_says_also_in_damaged_bytes(entries, data):
    values = [bytearray(entry.encode()) for entry in entries]
    for value in values:
        for _ in range(data.draw(st.integers(0, 2))):
            value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
        if data.draw(st.booleans()):
            del value[data.draw(st.integers(0, len(value))) :]
    found, odd = _decode([bytes(value) for value in values])
    for number, value in enumerate(values):
        if not odd[number]:
            try:
                assert BundleEntry.decode(bytes(value)) == found[number]
            except DataLossError as error:
                raise AssertionError(f"taken for an entry: {bytes(value)!r}") from error


def test_a_partitioned_tensor_and_an_unknown_type_are_odd():
    values = [
        b"\x08\x01\x12\x00",
        BundleEntry(DTYPES[0], (4,), slices=(TensorSlice(((0, 2),)),)).encode(),
        b"\x08\x7e\x12\x00",
        b"",
        b"\x08",
        b"\x12\x00\x08\x01",
        b"\x08\x01\x12\x00\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x08\x01\x12\x00\x18\xff\xff\xff\xff\x0f",
    ]
    found, odd = _decode(values)
    assert odd.tolist() == [False] + [True] * 7
    assert found[0] == BundleEntry(DTYPES[0], ())


@given(st.lists(st.lists(ENTRIES, max_size=4), max_size=4), st.data())
def test_columns_are_joined_and_taken_apart(groups, data):
    entries = [entry for group in groups for entry in group]
    columns = concatenate([EntryColumns.of(group) for group in groups])
    assert columns.tolist() == entries
    rows = data.draw(st.lists(st.integers(0, len(entries) - 1))) if entries else []
    assert columns.take(np.array(rows, np.int64)).tolist() == [entries[row] for row in rows]
    assert columns.by_kind([len(shape) for _, shape in columns.types] or [0]).tolist() == [
        len(e.shape) for e in entries
    ]
