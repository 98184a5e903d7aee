"""Slices of tensors: specs, keys, and how pieces make up a whole."""

from __future__ import annotations

import itertools
import time

import pytest

from ckptstore.errors import DataLossError, IncompatibleTensorError
from ckptstore.format.slices import (
    WHOLE,
    TensorSlice,
    box_shape,
    cover,
    intersect,
    parse_shape_and_slice,
    parse_slice_key,
    slice_key,
    within,
)

KEYS = [
    (b"emb", "0,4:0,4", "00 65 6d 62 00 01 01 02 80 84 80 84"),
    (b"emb", "4,3:0,4", "00 65 6d 62 00 01 01 02 84 83 80 84"),
    (b"emb", "7,3:0,4", "00 65 6d 62 00 01 01 02 87 83 80 84"),
    (b"dash", "0,1:-", "00 64 61 73 68 00 01 01 02 80 81 80 7f"),
    (b"conv/k", "0,2:65,65", "00 63 6f 6e 76 2f 6b 00 01 01 02 80 82 c0 41 c0 41"),
    (b"nul\0ff\xffend", "0,3:0,6", "00 6e 75 6c 00 ff 66 66 ff 00 65 6e 64 00 01 01 02 80 83 80 86"),
    (b"x", "100000,1", "00 78 00 01 01 01 e1 86 a0 81"),
]


@pytest.mark.parametrize(("name", "spec", "key"), KEYS)
def test_slice_keys_are_those_of_the_worked_examples(name, spec, key):
    piece = TensorSlice.parse(spec)
    assert str(piece) == spec
    assert slice_key(name, piece) == bytes.fromhex(key)
    assert parse_slice_key(bytes.fromhex(key)) == (name, piece)


def test_the_key_of_a_scalar_ends_with_its_rank():
    assert slice_key(b"v", TensorSlice(())) == bytes.fromhex("0076000100")
    assert parse_slice_key(bytes.fromhex("0076000100")) == (b"v", TensorSlice(()))


def test_every_truncation_of_a_slice_key_is_data_loss():
    for name, spec, _ in KEYS:
        key = slice_key(name, TensorSlice.parse(spec))
        for cut in range(len(key)):
            with pytest.raises(DataLossError):
                parse_slice_key(key[:cut])
        with pytest.raises(DataLossError):
            parse_slice_key(key + b"\x00")


@pytest.mark.parametrize("key", ["01020001", "0061000108ffffffffffffffff", "00610001037fffff", "6100", "ff" * 20])
def test_what_is_no_slice_key_is_data_loss(key):
    with pytest.raises(DataLossError):
        parse_slice_key(bytes.fromhex(key))


def test_a_spec_gives_start_and_length_or_a_dash_per_dimension():
    assert TensorSlice.parse("0,4:-:10,1").extents == ((0, 4), (0, WHOLE), (10, 1))
    assert TensorSlice.whole(2) == TensorSlice.parse("-:-")
    assert TensorSlice.parse("2,3:-").box((5, 7)) == ((2, 5), (0, 7))
    assert TensorSlice.parse("2,3:-").shape((5, 7)) == (3, 7)


@pytest.mark.parametrize(
    "spec",
    [
        "",
        ":",
        "1",
        "1,",
        ",1",
        "1,0",
        "-1,2",
        "1,-1",
        "1;2",
        "1,2,3",
        "a,b",
        " 1,2",
        "0x1,2",
        "1,2:",
        "--",
        "1.0,2",
        "²,1",
        "9" * 5000 + ",1",
    ],
)
def test_a_malformed_spec_is_refused(spec):
    with pytest.raises(IncompatibleTensorError):
        TensorSlice.parse(spec)


@pytest.mark.parametrize(
    ("spec", "shape"), [("0,5", (4,)), ("4,1", (4,)), ("0,1", ()), ("-", (1, 1)), ("0,1:0,1", (1,))]
)
def test_a_slice_that_does_not_fit_its_shape_is_refused(spec, shape):
    with pytest.raises(IncompatibleTensorError):
        TensorSlice.parse(spec).box(shape)


@pytest.mark.parametrize("extents", [((-1, 2),), ((3, -2),), ((0, 2**62),)])
def test_extents_that_are_impossible_are_refused(extents):
    with pytest.raises(IncompatibleTensorError):
        TensorSlice(extents).box((4,))


def test_shape_and_slice_are_read_together():
    assert parse_shape_and_slice("10 4 0,4:-") == ((10, 4), TensorSlice(((0, 4), (0, WHOLE))))
    assert parse_shape_and_slice("5 -") == ((5,), TensorSlice(((0, WHOLE),)))
    for text in ("10 4 0,4", "10 x 0,4:-", "3 0,4", "10  4 0,4:-", "0,4:-", "x"):
        with pytest.raises(IncompatibleTensorError):
            parse_shape_and_slice(text)


def test_boxes_intersect_where_they_share_elements():
    assert intersect(((0, 4), (0, 2)), ((2, 6), (1, 3))) == ((2, 4), (1, 2))
    assert intersect(((0, 2),), ((2, 4),)) is None
    assert intersect(((1, 1),), ((0, 4),)) is None
    assert intersect((), ()) == ()
    assert box_shape(((2, 5), (0, 0))) == (3, 0)
    assert within(((3, 4), (5, 9)), ((2, 10), (5, 9))) == (slice(1, 2), slice(0, 4))


def test_pieces_that_tile_a_box_cover_it():
    pieces = [((0, 2), (0, 3)), ((2, 4), (0, 1)), ((2, 4), (1, 3))]
    assert cover(((0, 4), (0, 3)), pieces) == list(enumerate(pieces))
    assert cover(((1, 3), (1, 2)), pieces) == [(0, ((1, 2), (1, 2))), (2, ((2, 3), (1, 2)))]
    assert cover(((1, 1), (0, 3)), pieces) == []
    assert cover((), [()]) == [(0, ())]


def test_a_pinwheel_that_no_cut_makes_is_covered():
    pinwheel = [((0, 2), (0, 1)), ((0, 1), (1, 3)), ((1, 3), (2, 3)), ((2, 3), (0, 2)), ((1, 2), (1, 2))]
    for order in itertools.permutations(pinwheel):
        assert len(cover(((0, 3), (0, 3)), order)) == 5


@pytest.mark.parametrize(
    ("wanted", "pieces"),
    [
        (((0, 4),), []),
        (((0, 4),), [((0, 3),)]),
        (((0, 4),), [((0, 2),), ((3, 4),)]),
        (((0, 4),), [((0, 3),), ((2, 4),)]),
        (((0, 4),), [((0, 2),), ((0, 2),)]),
        (((0, 4),), [((0, 4),), ((0, 4),)]),
        (((0, 4),), [((0, 4),), ((1, 2),)]),
        (((0, 1),), [((0, 1),), ((2, 4),), ((3, 5),)]),  # they overlap where nobody looks
        (((0, 2), (0, 2)), [((0, 2), (0, 1)), ((0, 1), (0, 2)), ((1, 2), (1, 2))]),
        ((), [(), ()]),
    ],
)
def test_pieces_that_overlap_or_leave_a_gap_are_data_loss(wanted, pieces):
    for order in itertools.permutations(pieces):
        with pytest.raises(DataLossError):
            cover(wanted, order)


def elapsed(call) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def test_twenty_thousand_slices_along_one_axis_take_little_time():
    for axis in range(3):
        full = [(0, 7), (0, 7), (0, 7)]
        pieces = [tuple((i, i + 1) if a == axis else side for a, side in enumerate(full)) for i in range(20_000)]
        wanted = tuple((0, 20_000) if a == axis else side for a, side in enumerate(full))
        assert elapsed(lambda w=wanted, p=pieces: cover(w, p)) < 2


def test_twenty_thousand_slices_in_a_grid_take_little_time():
    pieces = [((i, i + 1), (j, j + 1)) for i in range(141) for j in range(141)]
    assert elapsed(lambda: cover(((0, 141), (0, 141)), pieces)) < 5


def test_slices_that_are_long_on_the_first_axis_do_not_take_the_square_of_the_time():
    # Forged, and legal: piece i is row i, shifted by i. On the first axis nearly all are open at once.
    count = 1500
    pieces = [((i, i + count), (i, i + 1)) for i in range(count)]
    assert elapsed(lambda: cover(((count, count + 1), (0, 1)), [*pieces, ((count, count + 1), (0, 1))][1:])) < 3


def test_twenty_thousand_slices_of_which_two_overlap_are_found_out():
    pieces = [((i, i + 1), (0, 3)) for i in range(20_000)]
    pieces.append(((12_345, 12_346), (2, 3)))
    with pytest.raises(DataLossError, match="overlap"):
        cover(((0, 20_000), (0, 3)), pieces)
