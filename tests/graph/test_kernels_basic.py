"""Kernels on values that can be checked by hand: what TensorFlow defines otherwise than numpy, and what is refused."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from ckptstore.format.dtypes import as_dtype
from ckptstore.graph.kernels import KERNELS, State
from ckptstore.graph.kernels.precision import through_float32
from ckptstore.graph.kernels.tensor_array import TensorArray
from ckptstore.graph.kernels.tensor_list import TensorList

INF, NAN = np.inf, np.nan
FLOAT, INT, LONG, STRING = (as_dtype(name) for name in ("float32", "int32", "int64", "string"))


def f32(*values: Any) -> np.ndarray[Any, Any]:
    return np.asarray(values[0] if len(values) == 1 else values, np.float32)


def i32(*values: Any) -> np.ndarray[Any, Any]:
    return np.asarray(values[0] if len(values) == 1 else values, np.int32)


def text(*values: bytes) -> np.ndarray[Any, Any]:
    return np.array(values, object)


CASES: list[tuple[str, dict[str, Any], list[Any], Any]] = [
    ("Add", {}, [text(b"a", b"b"), np.array(b"c", object)], [b"ac", b"bc"]),
    ("AddN", {}, [i32(1, 2), i32(3, 4), i32(5, 6)], [9, 12]),
    ("Div", {}, [i32(7, -7, 7, -7), i32(2, 2, -2, -2)], [3, -3, -3, 3]),
    ("FloorDiv", {}, [i32(7, -7, 7, -7), i32(2, 2, -2, -2)], [3, -4, -4, 3]),
    ("FloorDiv", {}, [f32(7, -7), f32(2, 2)], [3, -4]),
    ("Mod", {}, [i32(7, -7), i32(3, 3)], [1, -1]),
    ("FloorMod", {}, [i32(7, -7), i32(3, 3)], [1, 2]),
    ("FloorMod", {}, [f32(7, -7, 7), f32(3, 3, -3)], [1, 2, -2]),
    ("DivNoNan", {}, [f32(1, 4), f32(0, 2)], [0, 2]),
    ("MulNoNan", {}, [f32(INF, NAN, 3), f32(0, 0, 2)], [0, 0, 6]),
    ("Xlogy", {}, [f32(0, 2), f32(0, 1)], [0, 0]),
    ("SquaredDifference", {}, [i32(5, 1), i32(2, 3)], [9, 4]),
    ("LeftShift", {}, [np.asarray([1, 1], np.int8), np.asarray([3, 99], np.int8)], [8, -128]),
    ("Round", {}, [f32(0.5, 1.5, 2.5, -0.5)], [0, 2, 2, 0]),
    ("Lgamma", {}, [f32(1, 0, -1)], [0, INF, INF]),
    ("Sign", {}, [np.asarray([3 + 4j, 0], np.complex64)], [0.6 + 0.8j, 0]),
    ("Equal", {"incompatible_shape_error": False}, [f32(1, 2), f32(1, 2, 3)], False),
    ("NotEqual", {"incompatible_shape_error": False}, [f32(1, 2), f32(1, 2, 3)], True),
    ("Select", {}, [np.asarray([True, False]), i32([1, 2], [3, 4]), i32([5, 6], [7, 8])], [[1, 2], [7, 8]]),
    ("Where", {}, [f32(0, 2, 0, -1)], [[1], [3]]),
    ("Sum", {}, [np.asarray([100, 100], np.int8), i32(0)], -56),
    ("Mean", {}, [i32(1, 2, -6), i32(0)], -1),
    ("Mean", {}, [i32(3, 4), i32(0)], 3),
    ("Max", {}, [f32([]), i32(0)], -INF),
    ("ArgMax", {"output_type": INT}, [f32(1, 3, 3), i32(0)], 1),
    ("Cumsum", {"exclusive": True, "reverse": True}, [i32(1, 2, 3), i32(0)], [5, 3, 0]),
    ("Cumprod", {"exclusive": True}, [i32(2, 3, 4), i32(0)], [1, 2, 6]),
    ("Bucketize", {"boundaries": [0.0, 10.0]}, [f32(-1, 0, 9, 10)], [0, 1, 1, 2]),
    ("MatMul", {"transpose_a": True}, [f32([1, 2], [3, 4]), f32([1, 0], [0, 1])], [[1, 3], [2, 4]]),
    ("MatrixBandPart", {}, [i32([1, 2], [3, 4]), np.int64(0), np.int64(-1)], [[1, 2], [0, 4]]),
    ("MatrixDiagPartV3", {}, [i32([1, 2, 3], [4, 5, 6]), i32([0, 1]), i32(9)], [[2, 6], [1, 5]]),
    ("MatrixDiagV3", {}, [i32(1, 2), i32(1), i32(-1), i32(-1), i32(0)], [[0, 1, 0], [0, 0, 2], [0, 0, 0]]),
    ("Reshape", {}, [i32(1, 2, 3, 4), i32(2, -1)], [[1, 2], [3, 4]]),
    ("Squeeze", {"squeeze_dims": [-1]}, [i32([[1], [2]])], [1, 2]),
    ("ReverseSequence", {"seq_dim": 1}, [i32([1, 2, 3], [4, 5, 6]), i32(2, 0)], [[2, 1, 3], [4, 5, 6]]),
    ("StridedSlice", {"shrink_axis_mask": 1}, [i32([1, 2], [3, 4]), i32([-1]), i32([0]), i32([1])], [3, 4]),
    ("StridedSlice", {"begin_mask": 1, "end_mask": 1}, [i32(1, 2, 3), i32([9]), i32([9]), i32([-1])], [3, 2, 1]),
    ("StridedSlice", {"new_axis_mask": 1}, [i32(1, 2), i32([0]), i32([0]), i32([1])], [[1, 2]]),
    ("SplitV", {}, [i32(1, 2, 3), i32(1, -1), i32(0)], [[1], [2, 3]]),
    ("ConcatOffset", {}, [i32(0), i32(2, 3), i32(4, 3)], [[0, 0], [2, 0]]),
    ("PadV2", {}, [i32(1, 2), i32([[1, 2]]), i32(9)], [9, 1, 2, 9, 9]),
    ("MirrorPad", {"mode": b"REFLECT"}, [i32(1, 2, 3), i32([[2, 1]])], [3, 2, 1, 2, 3, 2]),
    ("MirrorPad", {"mode": b"SYMMETRIC"}, [i32(1, 2, 3), i32([[2, 1]])], [2, 1, 1, 2, 3, 3]),
    ("Range", {}, [i32(5), i32(0), i32(-2)], [5, 3, 1]),
    ("LinSpace", {}, [f32(0), f32(1), i32(3)], [0, 0.5, 1]),
    ("OneHot", {"axis": 0}, [i32(0, 2), i32(2), f32(5), f32(-1)], [[5, -1], [-1, -1]]),
    ("Cast", {"DstT": INT}, [f32(1.9, -1.9)], [1, -1]),
    ("Cast", {"DstT": FLOAT}, [np.asarray([1 + 2j], np.complex64)], [1]),
    ("Bitcast", {"type": INT}, [f32(1)], 0x3F800000),
    ("GatherV2", {"batch_dims": 1}, [i32([1, 2], [3, 4]), i32([[1], [0]]), i32(1)], [[2], [3]]),
    ("GatherNd", {}, [i32([1, 2], [3, 4]), i32([[1, 0]])], [3]),
    ("ScatterNd", {}, [i32([[1], [1]]), i32(3, 4), i32([3])], [0, 7, 0]),
    ("DynamicPartition", {"num_partitions": 2}, [i32(5, 6, 7), i32(1, 0, 1)], [[6], [5, 7]]),
    ("DynamicStitch", {"N": 2}, [i32(0, 1), i32([1]), i32(5, 6), i32([9])], [5, 9]),
    ("SegmentSum", {}, [i32(1, 2, 3), i32(0, 0, 2)], [3, 0, 3]),
    ("SegmentProd", {}, [i32(2, 3, 4), i32(0, 0, 2)], [6, 1, 4]),
    ("UnsortedSegmentSum", {}, [i32(1, 2, 4), i32(1, -1, 1), i32(2)], [0, 5]),
    ("UnsortedSegmentMax", {}, [i32([4]), i32([0]), i32(2)], [4, -(1 << 31)]),
    ("SparseSegmentSqrtN", {}, [f32(1, 2, 3), i32(0, 1, 2, 2), i32(0, 0, 0, 0)], [4.5]),
    ("Unique", {"out_idx": INT}, [i32(3, 1, 3)], [[3, 1], [0, 1, 0], [2, 1]]),
    ("ListDiff", {"out_idx": INT}, [i32(1, 2, 3), i32([2])], [[1, 3], [0, 2]]),
    ("BroadcastGradientArgs", {}, [i32(2, 3), i32([3])], [[], [0]]),
    ("StringJoin", {"separator": b"-"}, [text(b"a", b"b"), np.array(b"c", object)], [b"a-c", b"b-c"]),
    ("ReduceJoin", {}, [text(b"a", b"b", b"c"), i32(0)], b"abc"),
    ("StaticRegexFullMatch", {"pattern": b"s3://.*"}, [text(b"s3://b", b"/s3://b")], [True, False]),
    ("StaticRegexReplace", {"pattern": b"(.)b", "rewrite": rb"\1\1"}, [text(b"abcb")], [b"aacc"]),
    ("AsString", {"precision": 1}, [f32(1.25, -2)], [b"1.2", b"-2.0"]),
    ("AsString", {}, [np.asarray([True])], [b"true"]),
    ("StringToNumber", {"out_type": INT}, [text(b" 7 ")], [7]),
    ("Substr", {}, [text(b"tensor"), i32(-3), i32(2)], [b"so"]),
]  # fmt: skip


@pytest.mark.parametrize(("op", "attrs", "inputs", "want"), CASES, ids=[case[0] for case in CASES])
def test_kernel(op: str, attrs: dict[str, Any], inputs: list[Any], want: Any) -> None:
    with np.errstate(all="ignore"):
        got = KERNELS[op](attrs, *inputs)
    if isinstance(got, list):
        assert [np.asarray(item).tolist() for item in got] == want
    elif np.asarray(got).dtype.kind in "fc":
        np.testing.assert_allclose(got, want, rtol=1e-6)
        assert np.asarray(got).dtype.itemsize == 8 if np.asarray(got).dtype.kind == "c" else got.dtype == np.float32
    else:
        assert np.asarray(got).tolist() == want


REFUSED: list[tuple[str, dict[str, Any], list[Any], str]] = [
    ("Div", {}, [i32([1]), i32([0])], "division by zero"),
    ("Pow", {}, [i32([2]), i32([-1])], "negative power"),
    ("Sum", {}, [f32(1, 2), i32(1)], "axis 1 is out of range for 1"),
    ("Sum", {}, [f32([1, 2], [3, 4]), i32(0, -2)], "name one twice"),
    ("Mean", {}, [i32([]), i32(0)], "not defined"),
    ("MatMul", {}, [f32([[1, 2]]), f32([[1, 2]])], r"\[1, 2\] and \[1, 2\] cannot be multiplied"),
    ("Split", {"num_split": 2}, [i32(0), i32(1, 2, 3)], "cannot be split into 2"),
    ("StridedSlice", {}, [i32(1, 2), i32([0]), i32([2]), i32([0])], "stride must not be 0"),
    ("Slice", {}, [i32(1, 2), i32([1]), i32([2])], "2 elements from 1 on are not in an axis of 2"),
    ("Pad", {}, [i32(1, 2), i32([[0, -1]])], "not negative"),
    ("Fill", {}, [i32([-1]), f32(1)], "negative extent"),
    ("CheckNumerics", {"message": b"loss"}, [f32(NAN, INF)], "loss: the tensor had Inf and NaN values"),
    ("Assert", {"summarize": 1}, [np.asarray(False), i32(7, 8)], r"does not hold: \[7\]"),
    ("GatherV2", {}, [f32(1, 2), i32([0, 2]), i32(0)], r"indices\[1\] = 2 is not in \[0, 2\)"),
    ("SegmentSum", {}, [f32(1, 2), i32(1, 0)], "ascending"),
    ("Substr", {}, [text(b"ab"), i32(3), i32(1)], "position 3 is not in a string of 2"),
    ("StringToNumber", {"out_type": INT}, [text(b"1_0")], "is no number"),
    ("StaticRegexFullMatch", {"pattern": b"("}, [text(b"a")], "is not one that Python reads"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "attrs", "inputs", "reason"), REFUSED, ids=[case[0] for case in REFUSED])
def test_what_does_not_fit_is_refused(op: str, attrs: dict[str, Any], inputs: list[Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        KERNELS[op](attrs, *inputs)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_narrow_types_are_rounded_once(dtype: Any) -> None:
    x = np.asarray([0.1, 3.3, -2.7], dtype)
    for op in ("Exp", "Sum", "Cumsum", "Mul"):
        inputs = [x, x] if op == "Mul" else [x] if op == "Exp" else [x, i32(0)]
        wide = KERNELS[op]({}, *(a.astype(np.float32) if a is x else a for a in inputs))
        got = KERNELS[op]({}, *inputs)
        assert got.dtype == dtype  # type: ignore[union-attr]
        assert np.asarray(got).tolist() == np.asarray(wide).astype(dtype).tolist()
    assert through_float32(np.isnan)(x).dtype == np.bool_


def test_kernels_change_no_input() -> None:
    for op, attrs, inputs, _ in CASES:
        before = [np.array(item) for item in inputs]
        with np.errstate(all="ignore"):
            KERNELS[op](attrs, *inputs)
        for a, b in zip(inputs, before, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=op)


def test_a_tensor_array_keeps_to_its_rules() -> None:
    array = TensorArray({"dtype": FLOAT, "element_shape": (2,)}, 3)
    array.write(0, f32(1, 2))
    assert array.read(0).tolist() == [1, 2]
    assert array.read(1).tolist() == [0, 0]
    for index, reason in [(0, "was read before"), (3, "not among 3"), (-1, "not among 3")]:
        with pytest.raises(ValueError, match=reason):
            array.read(index)
    array.write(2, f32(3, 4))
    with pytest.raises(ValueError, match="was written before"):
        array.write(2, f32(3, 4))
    with pytest.raises(ValueError, match="the elements are float32, not int32"):
        array.write(1, i32(1, 2))
    with pytest.raises(ValueError, match="element 0 was not written"):
        TensorArray({"dtype": FLOAT}, 1).read(0)
    grows = TensorArray({"dtype": FLOAT, "dynamic_size": True, "clear_after_read": False}, 0)
    grows.write(2, f32(5))
    assert [len(grows), grows.read(2), grows.read(2), grows.read(0)] == [3, 5, 5, 0]


def test_a_tensor_list_is_a_value() -> None:
    empty = TensorList(FLOAT, (2,), (None, None))
    one = empty.with_item(1, f32(1, 2))
    assert empty.items == (None, None)
    assert KERNELS["TensorListStack"]({}, one, i32(-1)).tolist() == [[0, 0], [1, 2]]  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="not among 2"):
        one.with_item(2, f32(1, 2))
    with pytest.raises(ValueError, match="not int32"):
        one.with_item(0, i32(1, 2))
    with pytest.raises(ValueError, match="the list is empty"):
        KERNELS["TensorListPopBack"]({}, TensorList(FLOAT, None, ()), i32(-1))
    with pytest.raises(ValueError, match="shape of an element that was never set"):
        TensorList(FLOAT, None, (None,)).item(0, i32(-1))


def test_a_seed_gives_the_same_numbers_from_the_start() -> None:
    attrs = {"seed": 1, "seed2": 2}
    one, other = State({}).generator("a", attrs), State({}).generator("b", attrs)
    assert one.random(3).tolist() == other.random(3).tolist()
    assert State({}).generator("a", {}).random(3).tolist() != State({}).generator("a", {}).random(3).tolist()


def test_what_overflows_or_is_no_number() -> None:
    """As TensorFlow 2.21 answers."""
    for dtype in (np.int8, np.int32, np.uint16):
        top = np.iinfo(dtype).max
        mean = KERNELS["Mean"]({"keep_dims": False}, np.array([top, top], dtype), np.array([0]))
        assert (mean, np.asarray(mean).dtype) == (top, dtype)
    x = np.array([1.0, np.nan, 3.0], np.float32)
    assert KERNELS["ArgMax"]({}, x, np.array(0)) == 2
    assert KERNELS["ArgMin"]({}, x, np.array(0)) == 0
    half = KERNELS["UnsortedSegmentMax"]({}, np.float16([1.0]), np.array([1]), np.array(2))
    assert np.asarray(half).tolist() == [-65504.0, 1.0]
    with np.errstate(over="ignore"):  # as the evaluator has it
        assert KERNELS["Lgamma"]({}, np.float64(1e308)) == np.inf
