"""Every parser of the library, fed with any bytes: a value, or its one declared error, in bounded time and memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ckptstore._proto import tensor_bundle_pb2 as pb
from ckptstore._proto.meta_graph_pb2 import MetaGraphDef
from ckptstore._proto.saved_tensor_slice_pb2 import SavedTensorSlices
from ckptstore._proto.tensor_pb2 import TensorProto
from ckptstore._proto.trackable_object_graph_pb2 import TrackableObjectGraph
from ckptstore.checkpoint import ObjectGraph
from ckptstore.errors import CheckpointError, DataLossError, StateCorruptError
from ckptstore.format import tensor
from ckptstore.format.block import entries, unseal
from ckptstore.format.coding import decode_ordered_num, decode_ordered_signed, decode_ordered_string, decode_varint
from ckptstore.format.dtypes import DTYPES, STRING, VARIANT
from ckptstore.format.entry import BundleEntry, BundleHeader
from ckptstore.format.naming import expand_v1_pattern, meta_name, parse_name, parse_step
from ckptstore.format.slices import TensorSlice, cover, parse_slice_key, slice_key
from ckptstore.format.snappy import decompress
from ckptstore.format.state import CheckpointState
from ckptstore.format.table import TableReader, TableWriter
from ckptstore.format.tensor_proto import get_array
from ckptstore.format.v1 import V1Reader, V1Writer
from ckptstore.graph import RunInfo
from tests.format import forge
from tests.format.test_snappy import compress
from tests.property.limits import bounded
from tests.property.strategies import edges

many = settings(max_examples=4 * settings.default.max_examples)  # these are quick


def outcome(call: Callable[[], Any], error: type[Exception] = DataLossError) -> Any:
    """The value, or the error if it is the declared one; anything else gets out."""
    with bounded(seconds=2):
        try:
            return call()
        except error as found:
            return found


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A good input with some bytes changed, cut out, doubled or swapped."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 6))):
        at, to = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
        kind = draw(st.sampled_from(["flip", "set", "cut", "double", "insert", "truncate"]))
        if kind == "flip" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "set" and at < len(data):
            data[at] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
        elif kind == "cut":
            del data[at : min(to, at + 16)]
        elif kind == "double":
            data[at:at] = data[at : min(to, at + 64)]
        elif kind == "insert":
            data[at:at] = draw(st.binary(max_size=12) | st.just(b"\xff" * 11))
        elif kind == "truncate":
            del data[to:]
    return bytes(data)


def anything(*seeds: bytes) -> st.SearchStrategy[bytes]:
    return st.binary(max_size=200) | mutated(list(seeds))


def _table(**options: int) -> bytes:
    writer = TableWriter(**options)
    for i in range(40):
        writer.add(f"layer/{i:03}/kernel".encode(), bytes([i]) * (i % 9))
    return writer.finish()


SMALL, BLOCKS = _table(), _table(block_size=64, restart_interval=2)
PACKED = forge.table([compress(forge.block([(b"layer/%03d" % i, b"v" * 9) for i in range(30)]))], kinds=[1])


@many
@given(data=anything(SMALL, BLOCKS, PACKED))
def test_a_table_of_any_bytes(data):
    def walk() -> None:
        reader = TableReader.from_bytes(data)
        for key in (b"", b"layer/003/kernel", b"\xff"):
            outcome(lambda: reader.get(key))  # noqa: B023 - called at once
        for key, value in reader:
            assert reader.get(key) in (value, None)

    outcome(walk)


@many
@given(
    data=mutated([forge.block([(b"layer/%03d" % i, b"v" * (i % 5)) for i in range(40)])]),
    kind=st.sampled_from([0, 0, 0, 1, 2, 255]),
)
def test_a_table_whose_damaged_block_has_a_right_checksum(data, kind):
    body = forge.sealed(compress(data) if kind == 1 else data, kind)
    blob = forge.with_index(body, [(b"\xff", forge.handle(0, len(body) - 5))])
    found = outcome(lambda: list(TableReader.from_bytes(blob)))
    if not isinstance(found, Exception):
        keys = [key for key, _ in found]
        assert keys == sorted(set(keys))


@many
@given(pairs=st.lists(st.tuples(st.binary(max_size=4), edges, edges), max_size=8), extra=st.binary(max_size=3))
def test_a_table_whose_index_says_anything(pairs, extra):
    index = [(key, forge.handle(offset, size) + extra) for key, offset, size in pairs]
    blob = forge.with_index(forge.sealed(forge.block([(b"a", b"1"), (b"b", b"2")])), index)
    outcome(lambda: list(TableReader.from_bytes(blob)))


@many
@given(handles=st.lists(edges, min_size=4, max_size=4))
def test_a_table_whose_footer_says_anything(handles):
    blob = SMALL[:-48] + forge.footer(forge.handle(*handles[:2]), forge.handle(*handles[2:]))[:48].ljust(48, b"\x00")
    outcome(lambda: list(TableReader.from_bytes(blob)))


@many
@given(data=anything(forge.block([(b"a" * i, b"v" * i) for i in range(30)])))
def test_a_block_of_any_bytes(data):
    outcome(lambda: list(entries(data)))
    outcome(lambda: unseal(data, 0))
    outcome(lambda: list(entries(unseal(forge.sealed(data), 0))))
    outcome(lambda: list(entries(unseal(forge.sealed(data, 1), 0))))


@many
@given(
    parts=st.lists(st.tuples(edges, st.binary(max_size=6), edges, edges), max_size=6),
    restarts=st.lists(st.integers(0, 2**32 - 1), max_size=3),
)
def test_a_block_whose_entries_say_anything(parts, restarts):
    body = b"".join(forge.raw_entry(shared, key, b"v", unshared=a, size=b) for shared, key, a, b in parts)
    outcome(lambda: list(entries(forge.raw_block(body, restarts))))


@many
@given(data=anything(compress(b"abcabcabcabcabc" * 9), compress(bytes(range(256)) * 2)), size=edges)
def test_a_snappy_block_of_any_bytes(data, size):
    outcome(lambda: decompress(data))
    outcome(lambda: decompress(forge.encode_varint(size) + data))


KEY = slice_key(b"nul\x00ff\xffend", TensorSlice.parse("0,100000:-:65,1"))


@many
@given(data=anything(KEY))
def test_a_slice_key_of_any_bytes(data):
    found = outcome(lambda: parse_slice_key(data))
    if not isinstance(found, Exception):
        assert parse_slice_key(slice_key(*found)) == found
    for decode in (decode_varint, decode_ordered_num, decode_ordered_signed, decode_ordered_string):
        outcome(lambda: decode(data, 0))  # noqa: B023 - called at once


HEADER = BundleHeader(3, min_consumer=1, bad_consumers=(7,)).encode()
ENTRY = BundleEntry(
    DTYPES[0], (4, 5), 1, 300, 80, 1234, (TensorSlice.parse("0,2:-"), TensorSlice.parse("2,2:0,5"))
).encode()


@many
@given(data=anything(HEADER, ENTRY))
def test_a_header_and_an_entry_of_any_bytes(data):
    header = outcome(lambda: BundleHeader.decode(data))
    assert isinstance(header, DataLossError) or 0 <= header.num_shards <= 100_000

    def decode() -> BundleEntry:
        entry = BundleEntry.decode(data)
        entry.check_size()
        return entry

    entry = outcome(decode)
    assert isinstance(entry, DataLossError) or min(entry.size, entry.offset, entry.shard, *entry.shape, 0) >= 0


signed = edges | edges.map(lambda n: -n) | st.just(-(2**63))


@many
@given(
    dtype=st.integers(-1, 140),
    sizes=st.lists(signed, max_size=6),
    numbers=st.tuples(signed, signed),
    shard=st.integers(-(2**31), 2**31 - 1),
    pieces=st.lists(st.lists(st.tuples(signed, signed), max_size=6), max_size=3),
)
def test_an_entry_whose_fields_say_anything(dtype, sizes, numbers, shard, pieces):
    proto = pb.BundleEntryProto(dtype=dtype, shard_id=shard, offset=numbers[0], size=numbers[1])
    for size in sizes:
        proto.shape.dim.add(size=size)
    for piece in pieces:
        message = proto.slices.add()
        for start, length in piece:
            message.extent.add(start=start, length=length)

    def use() -> None:
        entry = BundleEntry.decode(proto.SerializeToString())
        entry.check_size()
        assert BundleEntry.decode(entry.encode()) == entry
        boxes = []
        for piece in entry.slices:
            try:
                boxes.append(piece.box(entry.shape))
            except CheckpointError:
                return
        cover(tuple((0, n) for n in entry.shape), boxes)

    outcome(use)


STATE = CheckpointState("ckpt-2", ("r-1/ckpt-1", "é\n\x01"), (1.5, 2e300), 3.0).to_bytes()
SPELLED = rb"""# c
model_checkpoint_path : 'a' "b" '\x41\101\u00e9\U0001F600' all_model_checkpoint_paths: ["x", "y"], ;
last_preserved_timestamp: -inf all_model_checkpoint_timestamps: [1e3, nan]
"""
WORDS = st.lists(
    st.sampled_from(
        [
            b"model_checkpoint_path",
            b"all_model_checkpoint_paths",
            b"last_preserved_timestamp",
            b":",
            b" ",
            b"\n",
            b'"a"',
            b"'",
            b'"',
            b"\\",
            b"\\x",
            b"\\u",
            b"\\777",
            b"\\uD800",
            b"\\U0011",
            b"{",
            b"}",
            b"[",
            b"]",
            b"<",
            b">",
            b"1",
            b"-",
            b"nan",
            b"1e999",
            b"0x",
            b"#",
            b",",
            b";",
            b"[a.b/c.d]",
            b"\xff",
            b"\x00",
            b"\xe2\x80\xa8",
            b"\r",
        ]
    ),
    max_size=14,
).map(b"".join)


@many
@given(data=anything(STATE, SPELLED) | WORDS | WORDS.map(lambda words: b'model_checkpoint_path: "a"\n' + words))
def test_a_state_file_of_any_bytes(data):
    state = outcome(lambda: CheckpointState.from_bytes(data), StateCorruptError)
    if not isinstance(state, StateCorruptError):
        assert state.model_checkpoint_path
        again = CheckpointState.from_bytes(state.to_bytes())
        assert again == state or any(np.isnan(state.all_model_checkpoint_timestamps))


def _v1() -> bytes:
    writer = V1Writer()
    writer.add(b"s", np.array([b"a", b""], object))
    writer.add_slice(b"w", (4, 2), TensorSlice.parse("0,3:-"), np.ones((3, 2), np.float32))
    writer.add_slice(b"w", (4, 2), TensorSlice.parse("3,1:-"), np.ones((1, 2), np.float32))
    writer.add(b"z", np.float16(1))
    return writer.finish()


V1 = _v1()


def read_v1(data: bytes) -> None:
    reader = V1Reader([TableReader.from_bytes(data)])
    for name in reader.tensors:
        outcome(lambda: reader.read(name), CheckpointError)  # noqa: B023 - called at once


@many
@given(data=anything(V1))
def test_a_v1_file_of_any_bytes(data):
    outcome(lambda: read_v1(data))


@many
@given(data=st.data())
def test_a_v1_file_whose_messages_are_damaged_under_right_checksums(data):
    pairs = list(TableReader.from_bytes(V1))
    at = data.draw(st.integers(0, len(pairs) - 1))
    pairs[at] = (pairs[at][0], data.draw(mutated([pairs[at][1]])))
    outcome(lambda: read_v1(forge.table([forge.block(pairs)])))


@many
@given(
    dtype=st.integers(0, 40),
    sizes=st.lists(signed, max_size=5),
    extents=st.lists(st.tuples(signed, signed), max_size=5),
    count=st.integers(0, 4),
)
def test_a_v1_file_whose_metadata_say_anything(dtype, sizes, extents, count):
    header = SavedTensorSlices()
    tensor_meta = header.meta.tensor.add(name="a", type=dtype)
    for size in sizes:
        tensor_meta.shape.dim.add(size=size)
    piece = tensor_meta.slice.add()
    for start, length in extents:
        piece.extent.add(start=start, length=length)
    body = SavedTensorSlices()
    body.data.name = "a"
    body.data.data.int_val.extend([1] * count)
    body.data.data.float_val.extend([1] * count)
    pairs = [
        (b"", header.SerializeToString()),
        (slice_key(b"a", TensorSlice(tuple(extents))), body.SerializeToString()),
    ]
    outcome(lambda: read_v1(forge.table([forge.block(pairs)])))


def _objects() -> bytes:
    proto = TrackableObjectGraph()
    root = proto.nodes.add()
    root.children.add(node_id=1, local_name="layer")
    child = proto.nodes.add()
    child.children.add(node_id=0, local_name="back")
    child.attributes.add(name="VARIABLE_VALUE", full_name="w", checkpoint_key="layer/.ATTRIBUTES/VARIABLE_VALUE")
    child.slot_variables.add(original_variable_node_id=1, slot_name="m", slot_variable_node_id=9)
    return proto.SerializeToString()


@many
@given(data=anything(_objects()))
def test_an_object_graph_of_any_bytes(data):
    def use() -> None:
        graph = ObjectGraph.parse(data)
        for path in ("", "layer", "layer/back/layer", "/", "no/such/way", *graph.paths):
            graph.resolve(path)

    outcome(use)


def test_an_object_graph_that_is_one_long_chain_does_not_take_the_square_of_its_memory():
    proto = TrackableObjectGraph()
    for i in range(50_000):
        proto.nodes.add().children.add(node_id=i + 1, local_name="x")
    outcome(lambda: ObjectGraph.parse(proto.SerializeToString()))


def test_an_object_graph_whose_children_have_a_megabyte_of_path_is_bounded():
    proto = TrackableObjectGraph()
    proto.nodes.add().children.add(node_id=1, local_name="x" * (1 << 20))
    middle = proto.nodes.add()
    for i in range(5000):
        middle.children.add(node_id=2 + i, local_name=str(i))
        proto.nodes.add().attributes.add(name="VARIABLE_VALUE", checkpoint_key=str(i))
    outcome(lambda: ObjectGraph.parse(proto.SerializeToString()))


RUN = RunInfo(5, 1.5, {"loss": 0.5, "nan": float("nan")}, {"a": [1, {"b": None}]}).encode()
JSON = st.sampled_from(
    [b"{}", b"[]", b"null", b"1", b'"', b"{", b"[" * 100_000, b'{"a":' * 100_000, b"\xff", b"9" * 5000, b""]
) | st.builds(
    lambda step, time, metrics, metadata: (
        f'{{"version":1,"step":{step},"time":{time},"metrics":{metrics},"metadata":{metadata}}}'.encode()
    ),
    *[
        st.sampled_from(
            [
                "null",
                "1",
                "1.5",
                "Infinity",
                "NaN",
                "-Infinity",
                "1e999",
                "9" * 400,
                "9" * 5000,
                '"x"',
                "[]",
                "{}",
                '{"a":' + "9" * 400 + "}",
                '{"a":Infinity}',
                "true",
                '[["a",1]]',
                '{"a":"nan"}',
                '{"a":null}',
            ]
        )
    ]
    * 4,
)


@many
@given(data=anything(RUN))
def test_a_meta_file_of_any_bytes(data):
    outcome(lambda: RunInfo.decode(data))


@many
@given(text=JSON)
def test_a_meta_file_with_any_record_of_the_run(text):
    meta = MetaGraphDef()
    meta.collection_def["ckptstore"].bytes_list.value.append(text)
    outcome(lambda: RunInfo.decode(meta.SerializeToString()))


@many
@given(
    data=anything(
        *(b"".join(tensor.encode(v, "t").buffers) for v in (["a", "bb", ""], ["x" * 200] * 70, np.arange(5.0)))
    ),
    dtype=st.sampled_from(DTYPES),
    shape=st.lists(edges, max_size=4).map(tuple),
    big_endian=st.booleans(),
    crc=st.none() | st.integers(0, 2**32 - 1),
)
def test_a_tensor_of_any_bytes(data, dtype, shape, big_endian, crc):
    # Sizes that do not fit a shape never get this far for numbers; strings and variants are on their own.
    if dtype not in (STRING, VARIANT) and np.prod(shape, dtype=object) * max(dtype.itemsize, 1) != len(data):
        shape = (len(data) // max(dtype.itemsize, 1),)
    outcome(lambda: tensor.decode(dtype, shape, memoryview(data), crc, big_endian=big_endian), CheckpointError)
    outcome(lambda: tensor.verify(dtype, shape, memoryview(data), crc or 0, big_endian=big_endian))


@many
@given(
    data=st.binary(max_size=60),
    dtype=st.sampled_from(DTYPES),
    shape=st.lists(edges, max_size=4).map(tuple),
    exact=st.booleans(),
)
def test_a_tensor_message_of_any_bytes(data, dtype, shape, exact):
    # A short list stands for as many elements as the shape says: between these, it is only as large as it says.
    assume(not 1 << 22 < np.prod(shape, dtype=object) <= 1 << 40)
    try:
        proto = TensorProto.FromString(data)
    except Exception:
        proto = TensorProto(tensor_content=data, int_val=list(data[:4]), float_val=list(data[:4]))
    outcome(lambda: get_array(proto, dtype, shape, exact=exact), CheckpointError)


@many
@given(name=st.text(max_size=40) | st.text(st.sampled_from(".-?dataofindexmeta0123456789/\n\x00\ud800")))
def test_a_file_name_of_any_text(name):
    for parse in (parse_name, parse_step, expand_v1_pattern, meta_name):
        parse(name)
    found = parse_name(name)
    assert found is None or name.startswith(found.prefix)
