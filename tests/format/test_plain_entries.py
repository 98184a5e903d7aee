"""The short way to decode an entry says what protobuf says, or nothing."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from ckptstore.errors import DataLossError
from ckptstore.format import entry
from ckptstore.format.dtypes import DTYPES
from ckptstore.format.entry import BundleEntry

ENTRIES = st.builds(
    BundleEntry,
    st.sampled_from(DTYPES),
    st.lists(st.integers(0, 1000), max_size=4).map(tuple),
    st.sampled_from([0, 1, 300, 99_999]),
    st.integers(0, 2**62),
    st.integers(0, 2**62),
    st.integers(0, 2**32 - 1),
    st.just(()),
)


def by_protobuf(value):
    try:
        return BundleEntry._decode_any(value)
    except DataLossError:
        return None


@given(ENTRIES)
def test_what_is_encoded(item):
    value = item.encode()
    assert BundleEntry.decode(value) == item  # the long way, which remembers the types
    assert entry._decode_plain(value) == item


@given(ENTRIES, st.data())
def test_whatever_is_damaged(item, data):
    value = item.encode()
    BundleEntry.decode(value)
    kind = data.draw(st.sampled_from(["flip", "cut", "append", "swap"]))
    if kind == "flip":
        at = data.draw(st.integers(0, len(value) - 1))
        value = value[:at] + bytes([value[at] ^ 1 << data.draw(st.integers(0, 7))]) + value[at + 1 :]
    elif kind == "cut":
        value = value[: data.draw(st.integers(0, len(value)))]
    else:
        tail = data.draw(st.binary(max_size=14))
        value = value + tail if kind == "append" else value[:4] + tail + value[4:]
    short = entry._decode_plain(value)
    assert short is None or short == by_protobuf(value)


@given(ENTRIES, st.lists(st.sampled_from([b"\x18", b"\x20", b"\x28", b"\x35", b"\x3a", b"\x80", b"\xff", b"\x01"])))
@example(BundleEntry(DTYPES[0], (2,), 0, 1, 8, 5), [b"\x20", *[b"\xff"] * 9, b"\x01"])
def test_fields_again_and_in_any_order(item, tail):
    value = item.encode() + b"".join(tail)
    BundleEntry.decode(item.encode())
    short = entry._decode_plain(value)
    assert short is None or short == by_protobuf(value)


def test_what_is_remembered_is_bounded():
    for size in range(5000):
        BundleEntry.decode(BundleEntry(DTYPES[0], (size,)).encode())
    assert len(entry._types) <= 4096
