"""Headers and entries of an index."""

from __future__ import annotations

import pytest

from ckptstore._proto import tensor_bundle_pb2 as pb
from ckptstore.errors import DataLossError
from ckptstore.format.coding import encode_varint
from ckptstore.format.dtypes import as_dtype
from ckptstore.format.entry import BundleEntry, BundleHeader
from ckptstore.format.slices import TensorSlice

FLOAT = as_dtype("float32")


@pytest.mark.parametrize(
    ("header", "data"),
    [
        (BundleHeader(1), "08011a020801"),
        (BundleHeader(3), "08031a020801"),
        (BundleHeader(1, big_endian=True), "080110011a020801"),
    ],
)
def test_headers_are_written_as_tensorflow_does(header, data):
    assert header.encode() == bytes.fromhex(data)
    assert BundleHeader.decode(bytes.fromhex(data)) == header


def test_a_header_may_lack_its_version_and_have_fields_we_do_not_know():
    assert BundleHeader.decode(bytes.fromhex("0801")) == BundleHeader(1, producer=0)
    assert BundleHeader.decode(bytes.fromhex("08011a020801ba3e0161")).num_shards == 1
    assert BundleHeader.decode(bytes.fromhex("08011a04086310 01")).producer == 99


@pytest.mark.parametrize(
    "data",
    [
        pb.BundleHeaderProto(num_shards=2**31 - 1).SerializeToString(),
        pb.BundleHeaderProto(num_shards=-1).SerializeToString(),
        pb.BundleHeaderProto(num_shards=-(2**31)).SerializeToString(),
        b"\x08" + encode_varint(2**31),
        b"\x08\x01\x10\x02",
        b"\x08\x01\x10\x7f",
        bytes.fromhex("08011a021002"),  # min_consumer 2
        bytes.fromhex("08011a04080110 7f"),
        bytes.fromhex("08011a021801"),  # bad_consumers 1
        b"\x08",
        b"\xff" * 11,
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x1a\x05\x08\x01",
        b"\x0b" * 200,  # groups in groups
    ],
)
def test_a_header_that_is_none_or_not_for_us_is_data_loss(data):
    with pytest.raises(DataLossError):
        BundleHeader.decode(data)


def test_the_worked_entries_of_the_format():
    bias = BundleEntry(FLOAT, (2,), 0, 0, 40 - 0, 0x0C1D26D2)
    assert bias.encode() == bytes.fromhex("0801 1204 1202 0802 2828 35d2261d0c".replace(" ", ""))
    assert BundleEntry.decode(bytes.fromhex("080112081202080312020802202828183598e8dd3f")) == BundleEntry(
        FLOAT, (3, 2), 0, 40, 24, 0x3FDDE898
    )
    assert BundleEntry(FLOAT, (), 0, 0, 4, 1).encode() == bytes.fromhex("08011200280435 01000000".replace(" ", ""))
    assert BundleEntry(FLOAT, (0,), 1, 7, 0, 0xA282EAD8).encode() == bytes.fromhex("0801120212001801200735d8ea82a2")
    full = BundleEntry(FLOAT, (10, 4), slices=tuple(map(TensorSlice.parse, ("0,4:0,4", "4,3:0,4"))))
    assert full.encode() == bytes.fromhex("080112081202080a120208043a080a0210040a0210043a0a0a04080410030a021004")
    dash = BundleEntry(FLOAT, (2, 3), slices=(TensorSlice.parse("0,1:-"),))
    assert dash.encode() == bytes.fromhex("08011208120208021202 08033a060a0210010a00".replace(" ", ""))
    for entry in (bias, full, dash):
        assert BundleEntry.decode(entry.encode()) == entry


def entry(**fields) -> bytes:
    return pb.BundleEntryProto(**{"dtype": 1, **fields}).SerializeToString()


def shaped(*sizes, unknown=False) -> bytes:
    proto = pb.BundleEntryProto(dtype=1)
    for size in sizes:
        proto.shape.dim.add(size=size)
    proto.shape.unknown_rank = unknown
    return proto.SerializeToString()


def sliced(*pieces, shape=(4,)) -> bytes:
    proto = pb.BundleEntryProto.FromString(shaped(*shape))
    for piece in pieces:
        message = proto.slices.add()
        for start, length in piece:
            message.extent.add(start=start, length=length)
    return proto.SerializeToString()


@pytest.mark.parametrize(
    "data",
    [
        entry(dtype=0),
        entry(dtype=77),
        entry(dtype=101),
        entry(dtype=-1),
        entry(shard_id=-1),
        entry(offset=-1),
        entry(size=-1),
        entry(size=-(2**63)),
        shaped(-1),
        shaped(-(2**63)),
        shaped(unknown=True),
        shaped(*[1] * 255),
        shaped(*[1] * 100_000),
        shaped(2**32, 2**32),
        shaped(2**62, 2**62, 2**62),
        shaped(0, 2**32, 2**32),
        shaped(*[2] * 63),
        sliced([(0, 1), (0, 1)]),
        sliced([]),
        sliced([(-1, 2)]),
        sliced([(0, -2)]),
        sliced([(0, -(2**63))]),
        b"\x08",
        b"\xff" * 11,
        b"\x12\xff\xff\xff\xff\x0f",
        b"\x35\x00",
        b"\x0b" * 1000,
        b"\x12\x82\x80\x80\x80\x08" + b"\x12" * 100,
    ],
    ids=range(28),
)
def test_an_entry_that_says_something_impossible_is_data_loss(data):
    with pytest.raises(DataLossError):
        BundleEntry.decode(data).check_size()


@pytest.mark.parametrize("size", [0, 23, 25, 2**62, 2**63 - 1])
def test_a_size_that_is_not_that_of_the_shape_is_data_loss(size):
    with pytest.raises(DataLossError, match="expected size 24"):
        BundleEntry(FLOAT, (2, 3), size=size).check_size()


@pytest.mark.parametrize(
    ("shape", "size", "good"), [((), 0, False), ((), 5, True), ((0,), 0, True), ((0,), 4, True), ((2**62,), 100, False)]
)
def test_strings_need_a_byte_each(shape, size, good):
    entry = BundleEntry(as_dtype("string"), shape, size=size)
    if good:
        entry.check_size()
    else:
        with pytest.raises(DataLossError):
            entry.check_size()


def test_a_product_over_63_bits_is_not_computed_modulo_anything():
    entry = BundleEntry(as_dtype("float64"), (2**31, 2**31), size=0)
    with pytest.raises(DataLossError):
        entry.check_size()
    assert entry.elements == 2**62


@pytest.mark.parametrize(
    "entry",
    [
        BundleEntry(as_dtype("float32"), ()),
        BundleEntry(as_dtype("float32"), (0,), 0, 0, 0, 0),
        BundleEntry(as_dtype("bfloat16"), (3, 0, 1 << 40), 5, 1 << 35, 1 << 62, 0xFFFFFFFF),
        BundleEntry(as_dtype("string"), (1,) * 40, 99_999, 127, 128, 1),
        BundleEntry(as_dtype("int64"), (4, 4), slices=(TensorSlice.parse("0,2:-"), TensorSlice.parse("2,2:-"))),
    ],
)
def test_the_bytes_of_an_entry_are_protobufs(entry):
    value = entry.encode()
    assert pb.BundleEntryProto.FromString(value).SerializeToString(deterministic=True) == value
    assert BundleEntry.decode(value) == entry
