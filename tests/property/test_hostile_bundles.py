"""A bundle whose files say anything: a value or a typed error from every method, in bounded time and memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptstore._proto import tensor_bundle_pb2 as pb
from ckptstore.bundle import BundleReader, BundleWriter, Partitioned, merge_indexes
from ckptstore.checkpoint import CheckpointReader, open_source, verify_checkpoint
from ckptstore.errors import CheckpointError, DataLossError
from ckptstore.format.checksum import crc32c, mask
from ckptstore.format.dtypes import as_dtype
from ckptstore.format.entry import BundleEntry, BundleHeader
from ckptstore.format.slices import TensorSlice, slice_key
from ckptstore.format.table import TableReader, TableWriter
from ckptstore.storage import MemoryStore, Payload
from tests.format import forge
from tests.property.limits import bounded
from tests.property.strategies import edges
from tests.property.test_hostile_bytes import mutated

FLOAT, BYTE, STRING = as_dtype("float32"), as_dtype("uint8"), as_dtype("string")
signed = edges | edges.map(lambda n: -n) | st.just(-(2**63))


def good_bundle() -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
    """Index entries and data files of a bundle with some of everything, in two shards."""
    store = MemoryStore()
    writer = BundleWriter(store, "m", max_shard_bytes=120)
    writer.add("a", np.arange(12, dtype=np.float32).reshape(3, 4))
    writer.add("b/half", np.ones((2, 0), np.float16))
    writer.add("names", ["x", "", "yy" * 90])
    writer.add("emb", Partitioned.split(np.arange(20, dtype=np.int16).reshape(5, 4), 3))
    writer.add("words", Partitioned.split(np.array([b"p", b"q", b"r"], object), 2))
    writer.add("z", np.int64(7))
    writer.finish()
    pairs = list(TableReader.from_bytes(store.get("m.index")[0]))
    return pairs, [store.get(meta.key)[0] for meta in store.list("m.data")]


PAIRS, SHARDS = good_bundle()


def bundle(
    pairs: Iterable[tuple[bytes, bytes]], shards: Iterable[bytes] = SHARDS, *, count: int | None = None
) -> MemoryStore:
    """A store with these files; the index has right checksums whatever it says."""
    return raw_bundle(forge.table([forge.block(pairs)]), shards, count=count)


def raw_bundle(index: bytes, shards: Iterable[bytes] = SHARDS, *, count: int | None = None) -> MemoryStore:
    store = MemoryStore()
    store.put("m.index", Payload.of(index))
    files = list(shards)
    for number, data in enumerate(files):
        store.put(f"m.data-{number:05}-of-{count or len(files):05}", Payload.of(data))
    return store


def attempt(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except CheckpointError:
        return None


def use(store: MemoryStore) -> None:
    """Everything that can be asked of a bundle."""
    reader = attempt(lambda: BundleReader(store, "m"))
    attempt(lambda: CheckpointReader(open_source(store, "m")).restore())
    attempt(lambda: verify_checkpoint(store, "m"))
    attempt(lambda: merge_indexes([store.get("m.index")[0]]))
    if reader is None:
        return
    names = attempt(reader.names) or []
    attempt(lambda: list(reader.index.entries()))
    attempt(lambda: reader.read(names))
    attempt(lambda: reader.read(names, verify=False))
    for name in [*names[:20], "a", "emb", "absent"]:
        info = attempt(lambda: reader.info(name))  # noqa: B023 - called at once
        attempt(lambda: reader.read([name]))  # noqa: B023
        attempt(lambda: reader.raw(name))  # noqa: B023
        if info is not None and info.shape:
            part = tuple((n // 3, n // 2) for n in info.shape)
            attempt(lambda: reader.read_box(name, part))  # noqa: B023


def test_the_good_bundle_is_good():
    with bounded():
        use(bundle(PAIRS))
    reader = BundleReader(bundle(PAIRS), "m")
    assert reader.names() == ["a", "b/half", "emb", "names", "words", "z"]
    assert reader.read(["emb"])["emb"].tolist() == np.arange(20).reshape(5, 4).tolist()
    assert len(SHARDS) > 1


def test_the_box_of_a_scalar_is_the_scalar():
    assert BundleReader(bundle(PAIRS), "m").read_box("z", ()).tolist() == 7


@given(data=st.binary(max_size=300) | mutated([forge.table([forge.block(PAIRS)])]))
def test_an_index_of_any_bytes(data):
    with bounded():
        use(raw_bundle(data))


@given(pairs=st.permutations(PAIRS), drop=st.integers(0, 4))
def test_an_index_with_entries_missing_or_out_of_order(pairs, drop):
    with bounded():
        use(bundle(pairs[drop:]))
        use(bundle(sorted(pairs[drop:])))


@given(data=st.data())
def test_an_index_with_damaged_values_under_right_checksums(data):
    pairs = list(PAIRS)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(pairs) - 1))
        key, value = pairs[at]
        if data.draw(st.booleans()):
            value = data.draw(mutated([value]))
        else:
            key = data.draw(mutated([key or b"k"]))
        pairs[at] = key, value
    with bounded():
        use(bundle(sorted(dict(pairs).items())))


@given(data=st.data())
def test_an_index_whose_entries_say_anything(data):
    pairs = list(PAIRS)
    at = data.draw(st.integers(1, len(pairs) - 1))
    proto = pb.BundleEntryProto.FromString(pairs[at][1])
    for field in data.draw(
        st.sets(st.sampled_from(["dtype", "shard_id", "offset", "size", "crc32c", "shape", "slices"]), min_size=1)
    ):
        if field == "dtype":
            proto.dtype = data.draw(st.integers(-1, 40))
        elif field == "shard_id":
            proto.shard_id = data.draw(st.integers(-2, 3) | st.integers(-(2**31), 2**31 - 1))
        elif field == "crc32c":
            proto.crc32c = data.draw(st.integers(0, 2**32 - 1))
        elif field in ("offset", "size"):
            setattr(proto, field, data.draw(signed))
        elif field == "shape":
            del proto.shape.dim[:]
            for size in data.draw(st.lists(signed, max_size=5)):
                proto.shape.dim.add(size=size)
        else:
            message = proto.slices.add()
            for start, length in data.draw(st.lists(st.tuples(signed, signed), max_size=4)):
                message.extent.add(start=start, length=length)
    pairs[at] = pairs[at][0], proto.SerializeToString()
    with bounded():
        use(bundle(pairs))


@given(
    shards=signed,
    endianness=st.integers(-1, 3),
    producer=st.integers(-1, 3),
    consumer=st.integers(-1, 3),
    bad=st.lists(st.integers(-1, 3), max_size=2),
)
def test_a_header_that_says_anything(shards, endianness, producer, consumer, bad):
    proto = pb.BundleHeaderProto(num_shards=max(-(2**31), min(shards, 2**31 - 1)), endianness=endianness)
    proto.version.producer, proto.version.min_consumer = producer, consumer
    proto.version.bad_consumers.extend(bad)
    with bounded():
        use(bundle([(b"", proto.SerializeToString()), *PAIRS[1:]]))


@given(data=st.data())
def test_data_files_of_any_bytes_are_noticed(data):
    shards = list(SHARDS)
    at = data.draw(st.integers(0, len(shards) - 1))
    shards[at] = data.draw(st.binary(max_size=200) | mutated([shards[at]]))
    store = bundle(PAIRS, shards)
    with bounded():
        use(store)
        if shards != SHARDS and not shards[at].startswith(SHARDS[at]):
            reader = BundleReader(store, "m")
            with pytest.raises(DataLossError):
                reader.read(reader.names())
            assert not verify_checkpoint(store, "m").ok


# -- forgeries of one kind each

HEADER = BundleHeader(1).encode()


def one(entry: BundleEntry, data: bytes = b"x" * 100, name: bytes = b"t") -> MemoryStore:
    return bundle([(b"", HEADER), (name, entry.encode())], [data])


@pytest.mark.parametrize(
    "entry",
    [
        BundleEntry(BYTE, (2**62,), size=2**62),
        BundleEntry(BYTE, (2**40,), size=2**40),
        BundleEntry(STRING, (1,), size=2**62),
        BundleEntry(STRING, (2**62,), size=2**62),
        BundleEntry(FLOAT, (2**60,), size=2**62),
        BundleEntry(BYTE, (10,), offset=2**63 - 1, size=10),
        BundleEntry(BYTE, (10,), offset=91, size=10),
        BundleEntry(BYTE, (10,), shard=1, size=10),
        BundleEntry(BYTE, (10,), shard=2**31 - 1, size=10),
        BundleEntry(BYTE, (101,), size=101),
    ],
    ids=range(10),
)
def test_an_entry_that_reaches_beyond_its_file_takes_no_memory(entry):
    store = one(entry)
    with bounded(seconds=2, mebibytes=192):
        use(store)
        with pytest.raises(CheckpointError) as caught:
            BundleReader(store, "m").read(["t"])
    assert "memory/m" in str(caught.value)
    assert "'t'" in str(caught.value)


@pytest.mark.parametrize("shape", [(0, 2**62), (2**62, 0, 2**62), (1,) * 65, (0,) * 254])
@pytest.mark.parametrize("dtype", [FLOAT, STRING], ids=str)
def test_a_shape_that_numpy_cannot_hold_is_a_typed_error(shape, dtype):
    size = 4 if dtype == STRING or 0 not in shape else 0
    entry = BundleEntry(dtype, shape, size=size, crc=mask(crc32c(b"xxxx"[:size])))
    if 0 in shape and sum(n.bit_length() for n in shape) > 63 and shape.count(0) == 1 and len(shape) == 3:
        entry = BundleEntry(dtype, (2**31, 0, 2**31), size=size, crc=entry.crc)
    with bounded():
        use(one(entry))


def test_twenty_thousand_tensors_over_the_same_bytes_are_refused():
    entry = BundleEntry(BYTE, (1 << 20,), size=1 << 20, crc=mask(crc32c(bytes(1 << 20)))).encode()
    writer = TableWriter()
    writer.add(b"", HEADER)
    for i in range(20_000):
        writer.add(b"%06d" % i, entry)
    store = raw_bundle(writer.finish(), [bytes(1 << 20)])
    reader = BundleReader(store, "m")
    with bounded(seconds=20), pytest.raises(DataLossError, match="claims"):
        reader.read(reader.names())


def test_partitioned_tensors_over_the_same_bytes_are_refused_as_whole_ones_are():
    # Each of 1,000 tensors consists of two slices, all of them the same megabyte.
    entry = BundleEntry(BYTE, (1 << 20,), size=1 << 20, crc=mask(crc32c(bytes(1 << 20)))).encode()
    pieces = tuple(TensorSlice(((i << 20, 1 << 20),)) for i in range(2))
    full = BundleEntry(BYTE, (2 << 20,), slices=pieces).encode()
    pairs = {b"": HEADER}
    for i in range(1000):
        pairs[b"%06d" % i] = full
        for piece in pieces:
            pairs[slice_key(b"%06d" % i, piece)] = entry
    store = bundle(sorted(pairs.items()), [bytes(1 << 20)])
    reader = BundleReader(store, "m")
    with bounded(seconds=20), pytest.raises(DataLossError, match="claims"):
        reader.read(reader.names())


def sliced(shape: tuple[int, ...], pieces: list[TensorSlice], data: bytes) -> MemoryStore:
    pairs = {b"": HEADER, b"t": BundleEntry(BYTE, shape, slices=tuple(pieces)).encode()}
    for number, piece in enumerate(pieces):
        part = piece.shape(shape)
        size = int(np.prod(part, dtype=object))
        pairs[slice_key(b"t", piece)] = BundleEntry(
            BYTE, part, offset=number % max(1, len(data) - size + 1), size=size, crc=mask(crc32c(data[:size]))
        ).encode()
    writer = TableWriter()
    for key in sorted(pairs):
        writer.add(key, pairs[key])
    return raw_bundle(writer.finish(), [data])


def test_a_tensor_in_a_thousand_slices_is_listed_and_read_in_little_time():
    # TensorFlow writes such files, of 20,000 slices too.
    count = 1000
    store = sliced((count,), [TensorSlice(((i, 1),)) for i in range(count)], b"x" * count)
    started = time.process_time()
    reader = BundleReader(store, "m")
    assert reader.names() == ["t"]
    assert reader.info("t").slices == count
    assert reader.read_box("t", ((5, 9),)).tolist() == [120] * 4
    assert reader.read(["t"])["t"].tolist() == [120] * count
    assert time.process_time() - started < 1


def test_slices_that_overlap_are_data_loss_however_many_there_are():
    pieces = [TensorSlice(((i, 1),)) for i in range(5000)]
    store = sliced((5000,), [*pieces, TensorSlice(((77, 2),))], b"x" * 5000)
    with bounded(seconds=8), pytest.raises(DataLossError, match="overlap"):
        BundleReader(store, "m").read(["t"])


def test_slices_that_claim_terabytes_take_no_memory():
    half = 2**39
    store = sliced((2 * half,), [TensorSlice(((0, half),)), TensorSlice(((half, half),))], b"x" * 100)
    with bounded(seconds=2, mebibytes=192):
        use(store)
        with pytest.raises(DataLossError):
            BundleReader(store, "m").read(["t"])
        with pytest.raises(DataLossError):
            BundleReader(store, "m").read_box("t", ((0, 2**38),))


def test_a_slice_that_consists_of_slices_of_its_own_is_data_loss():
    piece = TensorSlice(((0, 2),))
    other = TensorSlice(((2, 2),))
    full = BundleEntry(BYTE, (4,), slices=(piece, other))
    part = BundleEntry(BYTE, (2,), slices=(piece,))
    key, second = slice_key(b"t", piece), slice_key(b"t", other)
    pairs = {
        b"": HEADER,
        b"t": full.encode(),
        key: part.encode(),
        second: part.encode(),
        slice_key(key, piece): part.encode(),
    }
    with bounded(seconds=1):
        use(bundle(sorted(pairs.items()), [b"x" * 100]))
        with pytest.raises(DataLossError):
            BundleReader(bundle(sorted(pairs.items()), [b"x" * 100]), "m").read(["t"])


@pytest.mark.parametrize("shards", [2**31 - 1, 100_001, -1, 0])
def test_a_header_that_claims_shards_that_cannot_be_is_refused(shards):
    header = pb.BundleHeaderProto(num_shards=shards).SerializeToString()
    store = bundle(
        [(b"", header), (b"t", BundleEntry(BYTE, (4,), size=4, crc=mask(crc32c(b"xxxx"))).encode())], [b"xxxx"]
    )
    with bounded(seconds=2), pytest.raises(CheckpointError):
        BundleReader(store, "m").read(["t"])


def test_a_header_that_claims_shards_that_no_tensor_lies_in_does_not_cost_a_request_each():
    header = BundleHeader(3000).encode()
    entry = BundleEntry(BYTE, (4,), size=4, crc=mask(crc32c(b"xxxx"))).encode()
    store = bundle([(b"", header), (b"t", entry)], [b"xxxx"], count=3000)
    asked: list[str] = []
    head = store.head

    def counting(key: str) -> Any:
        asked.append(key)
        return head(key)

    store.head = counting  # type: ignore[method-assign]
    assert BundleReader(store, "m").read(["t"])["t"].tobytes() == b"xxxx"
    report = verify_checkpoint(store, "m")
    assert not report.ok
    assert len(asked) < 1000
    assert len(report.damages) < 1000


def test_damage_found_while_entries_are_walked_through_names_the_file():
    index = bytearray(forge.table([forge.block(PAIRS)]))
    index[20] ^= 1
    # The header's block is damaged; an index that is opened first and damaged later is what a disk may do.
    store = raw_bundle(forge.table([forge.block(PAIRS[:1]), forge.block(PAIRS[1:])], keys=[b"", b"\xff"]))
    reader = BundleReader(store, "m")
    blob = bytearray(store.get("m.index")[0])
    blob[70] ^= 1
    reader.index._table = TableReader.from_bytes(bytes(blob))
    with pytest.raises(DataLossError) as caught:
        list(reader.index.entries())
    assert caught.value.path == "memory/m.index"
    assert "memory/m.index" in str(caught.value)


@settings(max_examples=20)
@given(
    words=st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=30, unique=True), asked=st.text(max_size=30)
)
def test_a_missing_name_is_a_typed_error_whatever_it_is(words, asked):
    words = [word for word in words if not any("\ud800" <= c <= "\udfff" for c in word)] or ["w"]
    store = MemoryStore()
    writer = BundleWriter(store, "m")
    for word in words:
        writer.add(word, 1.0)
    writer.finish()
    reader = CheckpointReader(open_source(store, "m"))
    if asked in words:
        assert reader.get_tensor(asked) == 1.0
    else:
        with pytest.raises(CheckpointError) as caught:
            reader.get_tensor(asked)
        assert "memory/m" in str(caught.value)
