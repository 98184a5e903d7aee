"""V1 checkpoints."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from ckptstore._proto.saved_tensor_slice_pb2 import SavedTensorSlices
from ckptstore.errors import CheckpointError, DataLossError, IncompatibleTensorError, InvalidArgumentError
from ckptstore.format.slices import TensorSlice, slice_key
from ckptstore.format.table import TableReader, TableWriter
from ckptstore.format.v1 import V1Reader, V1Writer
from tests.property.limits import bounded

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = sorted(
    p
    for p in GOLDEN.glob("09*/*")
    if p.is_file() and (p.suffix in (".ckpt", ".v1") or ("-of-" in p.name and p.suffix != ".meta"))
)


def reader(*files: bytes) -> V1Reader:
    return V1Reader([TableReader.from_bytes(f) for f in files])


def table(pairs) -> bytes:
    writer = TableWriter()
    for key, value in sorted(pairs):
        writer.add(key, value)
    return writer.finish()


def meta(*tensors) -> tuple[bytes, bytes]:
    header = SavedTensorSlices()
    for name, shape, dtype, pieces in tensors:
        message = header.meta.tensor.add(name=name, type=dtype)
        message.shape.SetInParent()
        for size in shape:
            message.shape.dim.add(size=size)
        for piece in pieces:
            extent = message.slice.add()
            for start, length in piece:
                if length < 0:
                    extent.extent.add()
                else:
                    extent.extent.add(start=start, length=length)
    header.meta.versions.producer = 1
    return b"", header.SerializeToString()


def data(name, piece, **values) -> tuple[bytes, bytes]:
    message = SavedTensorSlices()
    message.data.name = name
    message.data.data.SetInParent()
    for field, items in values.items():
        getattr(message.data.data, field).extend(items)
    return slice_key(name.encode(), TensorSlice(tuple(piece))), message.SerializeToString()


def test_the_worked_file_of_the_format_is_written_to_the_byte():
    writer = V1Writer()
    writer.add(b"v", np.float32(1))
    writer.add(b"w", np.array([1, -1], np.int32))
    written = writer.finish()
    assert len(written) == 187
    assert dict(TableReader.from_bytes(written)) == {
        b"": bytes.fromhex("0a200a090a01761200180122000a0f0a0177120412020802180322020a0012020801"),
        bytes.fromhex("0076000100"): bytes.fromhex("120d0a0176 12001a062a040000803f".replace(" ", "")),
        bytes.fromhex("00770001010180 7f".replace(" ", "")): bytes.fromhex(
            "12160a017712020a001a0d3a0b01ffffffffffffffffff01"
        ),
    }


def test_there_are_golden_files_to_compare_with():
    assert len(FILES) >= 7


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(GOLDEN)))
def test_a_v1_file_that_tensorflow_wrote_is_written_again_to_the_byte(path):
    source = reader(path.read_bytes())
    writer = V1Writer()
    for name, tensor in source.tensors.items():
        for piece in tensor.slices:
            writer.add_slice(name, tensor.shape, piece, source.read(name, piece), dtype=tensor.dtype)
    assert writer.finish() == path.read_bytes()


def test_pieces_of_one_tensor_may_be_in_several_files():
    first, second = V1Writer(), V1Writer()
    first.add_slice(b"emb", (4, 2), TensorSlice.parse("0,3:-"), np.arange(6).reshape(3, 2))
    second.add_slice(b"emb", (4, 2), TensorSlice.parse("3,1:-"), np.arange(6, 8).reshape(1, 2))
    second.add(b"x", "text")
    both = reader(first.finish(), second.finish())
    assert both.read(b"emb").tolist() == np.arange(8).reshape(4, 2).tolist()
    assert both.read(b"emb", TensorSlice.parse("2,2:1,1")).tolist() == [[5], [7]]
    assert both.read(b"x")[()] == b"text"
    with pytest.raises(DataLossError, match="cover"):
        reader(first.finish()).read(b"emb")


def test_files_that_contradict_each_other_are_data_loss():
    files = []
    for value in (np.zeros(2, np.float32), np.zeros(2, np.int32), np.zeros(3, np.float32)):
        writer = V1Writer()
        writer.add(b"a", value)
        files.append(writer.finish())
    for other in files[1:]:
        with pytest.raises(DataLossError, match="another"):
            reader(files[0], other)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.uint32, np.uint64, ml_dtypes.float8_e5m2, ml_dtypes.int4])
def test_types_that_v1_has_not_are_refused(dtype):
    with pytest.raises(IncompatibleTensorError, match="V1"):
        V1Writer().add(b"a", np.zeros(2, dtype))


@pytest.mark.parametrize("name", [b"", b"\xff", b"\xed\xa0\x80"])
def test_names_that_v1_cannot_hold_are_refused(name):
    with pytest.raises(InvalidArgumentError):
        V1Writer().add(name, 1.0)


def test_a_tensor_is_not_added_twice_nor_in_pieces_that_do_not_fit():
    writer = V1Writer()
    writer.add_slice(b"a", (4,), TensorSlice.parse("0,2"), np.zeros(2))
    for piece, value in (
        ("0,2", np.zeros(2)),
        ("2,2", np.zeros(2, np.float32)),
        ("2,2", np.zeros(3)),
        ("3,2", np.zeros(2)),
    ):
        with pytest.raises(IncompatibleTensorError):
            writer.add_slice(b"a", (4,), TensorSlice.parse(piece), value)
    with pytest.raises(IncompatibleTensorError):
        writer.add(b"a", np.zeros(4))


def test_a_v2_index_is_not_taken_for_an_empty_v1_file():
    with pytest.raises(DataLossError):
        reader((GOLDEN / "01a_basic_ref" / "model.ckpt.index").read_bytes())
    with pytest.raises(DataLossError):
        reader(table([(b"a", b"")]))
    with pytest.raises(DataLossError):
        reader(table([]))


def read_all(data: bytes) -> None:
    source = reader(data)
    for name in source.tensors:
        source.read(name)


def test_every_flipped_bit_of_a_v1_file_is_found_out():
    writer = V1Writer()
    writer.add(b"v", np.float32(1))
    writer.add(b"w", np.array([1, -1], np.int32))
    good = writer.finish()
    for bit in range(8 * len(good)):
        broken = bytearray(good)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DataLossError):
            read_all(bytes(broken))


FULL = [(0, -1)]


@pytest.mark.parametrize(
    "pairs",
    [
        [meta(("a", [2], 77, [FULL]))],
        [meta(("a", [-1], 1, [FULL]))],
        [meta(("a", [2**32, 2**32], 1, [FULL * 2]))],
        [meta(("a", [2], 1, [FULL * 2]))],
        [meta(("a", [2], 1, [FULL]))],  # the piece is not there
        [meta(("a", [2], 1, []))],  # no pieces
        [meta(("a", [2], 1, [[(0, 1)]])), data("a", [(0, 1)], float_val=[1])],  # half
        [
            meta(("a", [2], 1, [[(0, 1)], [(0, 2)]])),
            data("a", [(0, 1)], float_val=[1]),
            data("a", [(0, 2)], float_val=[1, 2]),
        ],
        [meta(("a", [2], 1, [[(1, 2)]])), data("a", [(1, 2)], float_val=[1, 2])],
        [meta(("a", [2], 1, [FULL])), data("a", FULL, float_val=[1])],
        [meta(("a", [2], 1, [FULL])), data("a", FULL, float_val=[1, 2, 3])],
        [meta(("a", [2], 1, [FULL])), data("a", FULL, int_val=[1, 2])],
        [meta(("a", [2], 1, [FULL])), (slice_key(b"a", TensorSlice.whole(1)), b"\xff" * 9)],
        [meta(("a", [2**40], 1, [FULL])), data("a", FULL, float_val=[1, 2])],
        [meta(("a", [2**62], 4, [FULL])), data("a", FULL, int_val=[1])],
        [meta(("a", [2**62], 4, []))],
        [meta(("a", [2**62], 7, [FULL])), data("a", FULL, string_val=[b"x"])],
        [meta(("a", [2**40], 1, [[(0, 2**39)], [(2**39, 2**39)]]))],
    ],
    ids=range(18),
)
def test_metadata_that_lie_are_data_loss_before_memory_is_taken(pairs):
    with bounded(seconds=2), pytest.raises(DataLossError):
        reader(table(pairs)).read(b"a")


@pytest.mark.parametrize(("shape", "dtype"), [([0, 2**62], 1), ([1] * 65, 1), ([0] * 254, 7), ([2], 21), ([2], 20)])
def test_tensors_that_numpy_cannot_hold_are_typed_errors(shape, dtype):
    with pytest.raises(CheckpointError):
        reader(
            table([meta(("a", shape, dtype, [FULL * len(shape)])), data("a", FULL * len(shape), float_val=[1])])
        ).read(b"a")


def test_ten_thousand_slices_in_two_files_take_little_time():
    count = 10_000
    pieces = [[(i, 1)] for i in range(count)]
    halves = [pieces[: count // 2], pieces[count // 2 :]]
    files = [
        table([meta(("a", [count], 3, half)), *(data("a", piece, int_val=[piece[0][0]]) for piece in half)])
        for half in halves
    ]
    with bounded(seconds=2):
        assert reader(*files).read(b"a").tolist() == list(range(count))


@pytest.mark.parametrize(
    ("dtype", "pattern"),
    [
        (np.float32, "010080ff"),
        (np.float32, "0100c07f"),
        (np.float64, "010000000000f07f"),
        (np.float16, "017c"),
        (np.complex64, "010080ff010080ff"),
    ],
)
def test_every_bit_of_a_nan_comes_back(dtype, pattern):
    array = np.frombuffer(bytes.fromhex(pattern), dtype)
    writer = V1Writer()
    writer.add(b"a", array)
    assert reader(writer.finish()).read(b"a").tobytes().hex() == pattern
