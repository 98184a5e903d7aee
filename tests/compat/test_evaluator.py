"""Graphs run here give what TensorFlow's sessions give: every kernel on random inputs, and whole programs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest

from ckptstore._proto.graph_pb2 import GraphDef
from ckptstore.errors import InvalidArgumentError
from ckptstore.format.dtypes import as_dtype
from ckptstore.graph.evaluator import Evaluator
from ckptstore.graph.graph import Graph
from tests.compat.support import QUIET, rng, session, tf, v1

pytestmark = QUIET

F32, F64, F16, BF16 = np.float32, np.float64, np.float16, np.dtype(ml_dtypes.bfloat16)
C64, C128 = np.complex64, np.complex128
REAL = [F32, F64, F16, BF16]
INTS = [np.int32, np.int64]
SMALL = [np.int8, np.uint8, np.int16]
TOLERANCE = {"float16": 4e-3, "bfloat16": 3e-2, "float32": 2e-5, "complex64": 2e-5}
Any_ = np.ndarray[Any, Any]


class Case(NamedTuple):
    """Inputs of an op, a list where an argument stands for several, and its attributes."""

    inputs: tuple[Any, ...]
    attrs: Mapping[str, Any] = MappingProxyType({})


def data(shape: Sequence[int], dtype: Any = F32, low: float = -3, high: float = 3, seed: int = 0) -> Any_:
    generator = rng(seed, *shape)
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return generator.integers(0, 2, shape).astype(bool)
    if dtype.kind in "iu":
        return generator.integers(max(low, 0) if dtype.kind == "u" else low, high, shape, endpoint=True).astype(dtype)
    if dtype.kind == "c":
        return (generator.uniform(low, high, shape) + 1j * generator.uniform(low, high, shape)).astype(dtype)
    return generator.uniform(low, high, shape).astype(dtype)


def i32(*values: Any) -> Any_:
    return np.asarray(values[0] if len(values) == 1 else values, np.int32)


def text(*values: Any) -> Any_:
    return np.array(values[0] if len(values) == 1 else values, object)


def unary(dtypes: Sequence[Any], low: float = -3, high: float = 3) -> list[Case]:
    return [Case((data(shape, d, low, high),)) for d in dtypes for shape in [(2, 3), (), (0, 2)]]


def binary(dtypes: Sequence[Any], low: float = -3, high: float = 3, second: tuple[float, float] | None = None) -> Any:
    low2, high2 = second or (low, high)
    shapes: list[Any] = [((2, 3), (2, 3)), ((2, 3), (3,)), ((), (4,)), ((2, 1), (1, 3)), ((0, 3), (3,))]
    return [Case((data(a, d, low, high), data(b, d, low2, high2, 1))) for d in dtypes for a, b in shapes]


def binary_alike(dtypes: Sequence[Any]) -> list[Case]:
    return [Case((data((2, 3), d, 0.5, 3), data((2, 3), d, -3, 3, 1))) for d in dtypes]


def reduced(dtypes: Sequence[Any]) -> list[Case]:
    return [
        Case((data((2, 3, 4), d), i32(axes)), {"keep_dims": keep})
        for d in dtypes
        for axes in [[], [0], [-1, 0], 1, [0, 1, 2]]
        for keep in (False, True)
    ]


def scan(dtypes: Sequence[Any]) -> list[Case]:
    flags = list(itertools.product([False, True], repeat=2))
    return [
        Case((data((2, 3), d), i32(axis)), {"exclusive": a, "reverse": b})
        for d in dtypes
        for axis in (0, -1)
        for a, b in flags
    ]


def segments(dtypes: Sequence[Any]) -> list[Case]:
    return [Case((data((5, 2), d), i32([0, 0, 1, 3, 3]))) for d in dtypes]


def unsorted(dtypes: Sequence[Any]) -> list[Case]:
    cases = [Case((data((5, 2), d), i32([3, 0, -1, 0, 1]), i32(5))) for d in dtypes]
    return [*cases, Case((data((2, 3, 2)), i32([[0, 1, 2], [2, 1, 0]]), i32(3)))]


def sparse_segments() -> list[Case]:
    return [Case((data((4, 2), d), i32([3, 0, 0, 2]), i32([0, 0, 2, 2]))) for d in (F32, F64)]


def strided() -> list[Case]:
    x = data((4, 5, 6))
    return [
        Case((x, i32([1, 0, 2]), i32([3, 4, 6]), i32([1, 2, 3]))),
        Case((x, i32([-1, -2]), i32([0, -5]), i32([-1, -2]))),
        Case((x, i32([1, 9, 9]), i32([0, 9, 9]), i32([1, 1, 1])), {"begin_mask": 6, "end_mask": 7}),
        Case((x, i32([1, 0, 2]), i32([2, 0, 3]), i32([1, 1, 1])), {"ellipsis_mask": 2, "shrink_axis_mask": 5}),
        Case((x, i32([0, 0, 1]), i32([0, 0, 3]), i32([1, 1, 1])), {"new_axis_mask": 2, "ellipsis_mask": 1}),
        Case((x, i32([-1, -1, -1]), i32([0, 0, 0]), i32([1, 1, 1])), {"shrink_axis_mask": 7}),
        Case((x, i32([3, 9]), i32([0, 0]), i32([-1, -1])), {"end_mask": 3, "begin_mask": 3}),
        Case((x, np.asarray([1], np.int64), np.asarray([-9], np.int64), np.asarray([-1], np.int64))),
        Case((x, i32([2]), i32([1]), i32([1]))),
    ]


def casts() -> Iterator[Case]:
    kinds = [F32, F64, F16, BF16, np.int32, np.int64, np.int8, np.uint8, np.bool_, C64]
    for source, target in itertools.product(kinds, kinds):
        low = 0 if np.dtype(target).kind == "u" else -3
        yield Case(
            (data((3, 4), source, low, 3) if np.dtype(source).kind != "c" else data((3, 4), source, 0, 3),),
            {"DstT": as_dtype(np.dtype(target))},
        )


def conversions() -> list[Case]:
    out = []
    for dtype in (np.int32, np.int64):
        out.append(Case((data((3,), dtype, -999, 999),)))
        out.append(Case((data((3,), dtype, -999, 999),), {"width": 6, "fill": b"0"}))
    for attrs in [{}, {"precision": 2}, {"scientific": True}, {"shortest": True}, {"width": 12, "fill": b" "}]:
        out += [Case((data((3,), dtype, -50, 50),), attrs) for dtype in (F32, F64)]
    return [*out, Case((np.asarray([True, False]),)), Case((np.asarray([1.5 - 2j], C64),))]


TEXTS = text(b"tensor", b"", b"flow er", "Grüße".encode())
FLOATS_AND_C = [*REAL, C64, C128]

CASES: dict[str, list[Case]] = {
    # arithmetic
    "Add": [*binary([*FLOATS_AND_C, *INTS, *SMALL]), Case((text([b"a", b"b"]), text(b"c")))],
    "AddV2": binary([*FLOATS_AND_C, *INTS, *SMALL]),
    "AddN": [Case(([data((2, 3), d), data((2, 3), d, seed=1), data((2, 3), d, seed=2)],)) for d in [*REAL, *INTS]],
    "Sub": binary([*FLOATS_AND_C, *INTS]),
    "Mul": binary([*FLOATS_AND_C, *INTS, *SMALL]),
    "Div": binary([*REAL, C64, *INTS, np.int8, np.uint8], -9, 9, (1, 4)) + binary([np.int32], -9, 9, (-4, -1)),
    "RealDiv": binary(FLOATS_AND_C, 1, 3),
    "TruncateDiv": binary([np.int32, np.int8], -9, 9, (1, 4)) + binary([np.int32], -9, 9, (-4, -1)),
    "FloorDiv": binary([*REAL, *INTS], -9, 9, (1, 4)) + binary([F32, np.int32], -9, 9, (-4, -1)),
    "Mod": binary([F32, F64, *INTS], -9, 9, (1, 4)) + binary([F32, np.int32], -9, 9, (-4, -1)),
    "FloorMod": binary([*REAL, *INTS], -9, 9, (1, 4)) + binary([F32, np.int32], -9, 9, (-4, -1)),
    "TruncateMod": binary([F32, F64, *INTS], -9, 9, (1, 4)) + binary([F32, np.int32], -9, 9, (-4, -1)),
    "Pow": binary([F32, F64, C64], 0.5, 3) + binary(INTS, -3, 3, (0, 3)),
    "SquaredDifference": binary([*FLOATS_AND_C, *INTS]),
    "DivNoNan": [*binary([F32, F64, C64], 1, 3), Case((F32([1, 0, np.inf]), F32([0, 0, 0])))],
    "MulNoNan": [*binary([F32, F64]), Case((F32([np.inf, np.nan, 2]), F32([0, 0, 3])))],
    "Xdivy": [*binary([F32, F64], 1, 3), Case((F32([0, 0, 2]), F32([0, 3, 4])))],
    "Xlogy": [*binary([F32, F64, C64], 1, 3), Case((F32([0, 0, 2]), F32([0, 3, 4])))],
    "Xlog1py": [*binary([F32, F64], 1, 3), Case((F32([0, 0, 2]), F32([-1, 3, 4])))],
    "Maximum": binary([*REAL, *INTS]),
    "Minimum": binary([*REAL, *INTS]),
    "Atan2": binary([F32, F64]),
    "BitwiseAnd": binary([*INTS, *SMALL]),
    "BitwiseOr": binary([*INTS, *SMALL]),
    "BitwiseXor": binary([*INTS, *SMALL]),
    "LeftShift": binary([*INTS, *SMALL], -9, 9, (0, 7)),
    "RightShift": binary([*INTS, *SMALL], -99, 99, (0, 7)),
    "ClipByValue": [Case((data((3, 4), d), data((), d, -1, -1), data((), d, 1, 1))) for d in [F32, F64, *INTS]],
    "Complex": [
        Case((data((2, 3), d), data((2, 3), d, seed=1)), {"Tout": as_dtype(c)}) for d, c in [(F32, C64), (F64, C128)]
    ],
    # unary
    "Neg": unary([*FLOATS_AND_C, *INTS]),
    "Abs": unary([*REAL, *INTS]),
    "ComplexAbs": [Case((data((2, 3), c),), {"Tout": as_dtype(t)}) for c, t in [(C64, F32), (C128, F64)]],
    "Angle": [Case((data((2, 3), c),), {"Tout": as_dtype(t)}) for c, t in [(C64, F32), (C128, F64)]],
    "Real": [Case((data((2, 3), c),), {"Tout": as_dtype(t)}) for c, t in [(C64, F32), (C128, F64)]],
    "Imag": [Case((data((2, 3), c),), {"Tout": as_dtype(t)}) for c, t in [(C64, F32), (C128, F64)]],
    "Conj": unary([C64, C128]),
    "Sign": unary([*REAL, *INTS, C64]),
    "Square": unary([*FLOATS_AND_C, *INTS]),
    "Sqrt": unary(FLOATS_AND_C, 0, 3),
    "Rsqrt": unary(FLOATS_AND_C, 0.5, 3),
    "Reciprocal": unary(FLOATS_AND_C, 0.5, 3),
    "Inv": unary([F32, F64], 0.5, 3),
    "Exp": unary(FLOATS_AND_C),
    "Expm1": unary([F32, F64, F16]),
    "Log": unary(FLOATS_AND_C, 0.5, 3),
    "Log1p": unary([F32, F64, F16], 0, 3),
    "Floor": unary(REAL),
    "Ceil": unary(REAL),
    "Round": [*unary(REAL), Case((F32([0.5, 1.5, 2.5, -0.5, -1.5]),))],
    "Rint": [*unary([F32, F64]), Case((F32([0.5, 1.5, 2.5, -0.5, -1.5]),))],
    "Sin": unary(FLOATS_AND_C),
    "Cos": unary(FLOATS_AND_C),
    "Tan": unary([F32, F64, C64], -1, 1),
    "Asin": unary([F32, F64], -1, 1),
    "Acos": unary([F32, F64], -1, 1),
    "Atan": unary([F32, F64]),
    "Sinh": unary([F32, F64]),
    "Cosh": unary([F32, F64]),
    "Asinh": unary([F32, F64]),
    "Acosh": unary([F32, F64], 1, 3),
    "Atanh": unary([F32, F64], -0.9, 0.9),
    "Erf": unary(REAL),
    "Erfc": unary(REAL),
    "Lgamma": [*unary([F32, F64], 0.5, 9), Case((F32([-1.5, -0.25, 0]),))],
    "IsNan": [Case((d([1, np.nan, np.inf, -np.inf]),)) for d in (F32, F64, F16)],
    "IsInf": [Case((d([1, np.nan, np.inf, -np.inf]),)) for d in (F32, F64, F16)],
    "IsFinite": [Case((d([1, np.nan, np.inf, -np.inf]),)) for d in (F32, F64, F16)],
    "LogicalNot": unary([np.bool_]),
    "Invert": unary([*INTS, *SMALL]),
    # comparison
    **{
        op: [
            *binary([*FLOATS_AND_C, *INTS, np.bool_]),
            Case((text([b"a", b"b"]), text(b"b"))),
            Case((data((2, 3)), data((4,))), {"incompatible_shape_error": False}),
        ]
        for op in ("Equal", "NotEqual")
    },
    **{op: binary([*REAL, *INTS]) for op in ("Less", "LessEqual", "Greater", "GreaterEqual")},
    **{op: binary([np.bool_]) for op in ("LogicalAnd", "LogicalOr")},
    "ApproximateEqual": [
        Case((data((3, 4), d, 0, 1), data((3, 4), d, 0, 1, 1)), {"tolerance": 0.3}) for d in (F32, F64)
    ],
    "Select": [
        Case((data(shape, np.bool_), data((2, 3), d), data((2, 3), d, seed=1)))
        for d in [F32, np.int32]
        for shape in [(), (2,), (2, 3)]
    ],
    "SelectV2": [
        Case((data(shape, np.bool_), data((2, 3), d), data((3,), d, seed=1)))
        for d in [F32, np.int32, BF16]
        for shape in [(), (2, 1), (2, 3)]
    ],
    "Where": [Case((data((3, 4), d, -1, 1),)) for d in (np.bool_, np.int32)] + [Case((F32([0, 1, 0, 2]),))],
    # reduction
    "Sum": reduced([*FLOATS_AND_C, *INTS, np.int8]),
    "Prod": reduced([F32, F64, *INTS]),
    "Mean": reduced([*REAL, C64, *INTS, np.int8]),
    "Max": [*reduced([*REAL, *INTS]), Case((data((0, 2)), i32([0])))],
    "Min": [*reduced([*REAL, *INTS]), Case((data((0, 2)), i32([0])))],
    "EuclideanNorm": reduced([F32, F64, C64]),
    "All": reduced([np.bool_]),
    "Any": reduced([np.bool_]),
    **{
        op: [
            Case((data((3, 4), d), i32(axis)), {"output_type": as_dtype(t)})
            for d in [*REAL, np.int32]
            for axis, t in [(0, np.int64), (-1, np.int32)]
        ]
        for op in ("ArgMax", "ArgMin")
    },
    "Cumsum": scan([*REAL, np.int32, C64]),
    "Cumprod": scan([F32, F64, np.int32]),
    "Bucketize": [
        Case((data((3, 4), d, -5, 15),), {"boundaries": [0.0, 3.0, 10.0]}) for d in (F32, F64, np.int32, np.int64)
    ],
    # matrix
    "MatMul": [
        Case(
            (data((3, 2) if a else (2, 3), d), data((4, 3) if b else (3, 4), d)), {"transpose_a": a, "transpose_b": b}
        )
        for d in [*REAL, C64, *INTS]
        for a in (False, True)
        for b in (False, True)
    ],
    **{
        op: [
            Case(
                (data((2, 3, 2) if a else (2, 2, 3), d), data((2, 4, 3) if b else (2, 3, 4), d)),
                {"adj_x": a, "adj_y": b},
            )
            for d in (F32, F64, C64, np.int32)
            for a in (False, True)
            for b in (False, True)
        ]
        for op in ("BatchMatMul", "BatchMatMulV2")
    },
    "Einsum": [
        Case(([data((2, 3)), data((3, 4))],), {"equation": b"ij,jk->ik"}),
        Case(([data((2, 3, 4)), data((2, 5, 4))],), {"equation": b"bij,bkj->bik"}),
        Case(([data((2, 3, 4)), data((4, 5))],), {"equation": b"...j,jk->...k"}),
        Case(([data((3, 4), F64)],), {"equation": b"ij->ji"}),
    ],
    "Diag": [Case((data(shape, d),)) for shape in [(3,), (2, 3)] for d in (F32, np.int32)],
    "DiagPart": [Case((data(shape, d),)) for shape in [(3, 3), (2, 3, 2, 3)] for d in (F32, np.int32)],
    "MatrixDiag": [Case((data(shape, d),)) for shape in [(3,), (2, 3)] for d in (F32, np.int32)],
    "MatrixDiagPart": [Case((data(shape, d),)) for shape in [(3, 4), (2, 4, 3)] for d in (F32, np.int32)],
    "MatrixDiagPartV3": [
        Case((data((2, 3, 4)), i32(k), F32(9)), {"align": align.encode()})
        for k in [0, 1, [-1, 1], [-2, 0], [1, 3]]
        for align in ["RIGHT_LEFT", "LEFT_RIGHT", "LEFT_LEFT", "RIGHT_RIGHT"]
    ],
    "MatrixDiagV3": [
        Case((data(shape), i32(k), i32(rows), i32(cols), F32(9)), {"align": align.encode()})
        for shape, k, rows, cols in [
            ((2, 3), 0, -1, -1),
            ((3,), 1, -1, -1),
            ((2, 3, 3), [-1, 1], -1, -1),
            ((2, 2, 3), [0, 1], 3, 5),
            ((3,), -1, 4, 4),
        ]
        for align in ["RIGHT_LEFT", "LEFT_RIGHT", "LEFT_LEFT", "RIGHT_RIGHT"]
    ],
    "MatrixBandPart": [
        Case((data((2, 3, 4), d), np.int64(a), np.int64(b)))
        for a, b in [(0, 0), (1, 0), (-1, 1), (-1, -1)]
        for d in (F32, np.int32)
    ],
    # shape
    "Shape": [Case((data((2, 0, 3)),), {"out_type": as_dtype(t)}) for t in INTS],
    "ShapeN": [Case(([data((2, 3)), data(())],), {"out_type": as_dtype(t)}) for t in INTS],
    "Rank": [Case((data((2, 3)),)), Case((data(()),))],
    "Size": [Case((data((2, 3)),), {"out_type": as_dtype(t)}) for t in INTS],
    "Reshape": [Case((data((2, 6)), i32(s))) for s in ([3, 4], [-1], [2, -1, 3])] + [Case((data((1,)), i32([])))],
    "ExpandDims": [Case((data((2, 3)), i32(axis))) for axis in (0, 1, -1, -3)],
    "Squeeze": [Case((data((1, 2, 1)),), {"squeeze_dims": s}) for s in ([], [0], [-1], [0, 2])],
    "Transpose": [Case((data((2, 3, 4), d), i32([2, 0, 1]))) for d in (F32, np.int32, np.bool_, C64)],
    "ConjugateTranspose": [Case((data((2, 3, 4), d), i32([2, 0, 1]))) for d in (F32, C64)],
    "InvertPermutation": [Case((np.asarray([2, 0, 3, 1], d),)) for d in INTS],
    "BroadcastTo": [Case((data((3, 1), d), i32([2, 3, 4]))) for d in (F32, np.int32)],
    "BroadcastArgs": [Case((i32([3, 1]), i32([2, 1, 4])))],
    "Reverse": [Case((data((2, 3)), np.asarray(f))) for f in ([True, False], [True, True])],
    "ReverseV2": [Case((data((2, 3), d), i32(a))) for a in ([0], [-1, 0], []) for d in (F32, np.int32)],
    "ReverseSequence": [
        Case((data((3, 4, 2)), i32([0, 2, 4])), {"seq_dim": 1, "batch_dim": 0}),
        Case((data((4, 2, 3)), i32([1, 2, 4])), {"seq_dim": 0, "batch_dim": 2}),
    ],
    "Roll": [Case((data((3, 4)), i32(s), i32(a))) for s, a in [(1, 0), (-2, 1), ([1, 2], [0, 1])]],
    **{op: unary([F32, np.int32]) for op in ("Identity", "StopGradient", "PreventGradient")},
    "PlaceholderWithDefault": [Case((data((2, 3)),), {"shape": None})],
    "IdentityN": [Case(([data((2,)), data((), np.int32)],))],
    # slicing
    "Slice": [Case((data((4, 5)), i32(b), i32(s))) for b, s in [([1, 2], [2, -1]), ([0, 0], [4, 5]), ([4, 5], [0, 0])]],
    "StridedSlice": strided(),
    "Split": [Case((i32(axis), data((4, 6))), {"num_split": 2}) for axis in (0, 1, -1)],
    "SplitV": [Case((data((4, 6)), i32(s), i32(1)), {"num_split": len(s)}) for s in ([1, 2, 3], [2, -1], [6, 0])],
    "Concat": [Case((i32(a), [data((2, 3)), data((2, 3), seed=1)])) for a in (0, 1)],
    "ConcatV2": [
        Case(([data((2, 3), d), data((2, 3), d, seed=1)], i32(a))) for a in (0, -1) for d in (F32, np.int32, np.bool_)
    ],
    "ConcatOffset": [Case((i32(1), [i32([2, 3]), i32([2, 5]), i32([2, 1])]))],
    "Pack": [Case(([data((2, 3)), data((2, 3), seed=1)],), {"axis": a}) for a in (0, 1, -1)],
    "Unpack": [Case((data((2, 3)),), {"axis": a, "num": n}) for a, n in [(0, 2), (1, 3), (-1, 3)]],
    "Tile": [Case((data((2, 3), d), i32([2, 3]))) for d in (F32, np.int32)] + [Case((data((2,)), i32([0])))],
    "Pad": [Case((data((2, 3), d), i32([[1, 2], [0, 1]]))) for d in (F32, np.int32)],
    "PadV2": [Case((data((2, 3)), i32([[1, 2], [0, 1]]), F32(7)))],
    "MirrorPad": [Case((data((3, 4)), i32([[1, 2], [2, 0]])), {"mode": m}) for m in (b"REFLECT", b"SYMMETRIC")],
    # filling
    "Fill": [Case((i32([2, 3]), data((), d))) for d in (F32, np.int32)] + [Case((i32([2]), text(b"x")))],
    "ZerosLike": [*unary([*REAL, *INTS, np.bool_]), Case((text(b"x", b"y"),))],
    "OnesLike": unary([*REAL, *INTS, np.bool_]),
    "Range": [Case((i32(a), i32(b), i32(c))) for a, b, c in [(0, 5, 2), (5, -2, -3), (2, 2, 1)]]
    + [Case((d(0.5), d(3), d(0.7))) for d in (F32, F64)],
    "LinSpace": [Case((d(0.5), d(3), i32(n))) for d in (F32, F64) for n in (1, 2, 7)],
    "OneHot": [Case((i32([[0, 2], [-1, 9]]), i32(3), F32(5), F32(-1)), {"axis": a}) for a in (-1, 0, 1)],
    "Cast": list(casts()),
    "Bitcast": [
        Case((data((2, 4)),), {"type": as_dtype("int32")}),
        Case((data((2, 4)),), {"type": as_dtype("uint8")}),
        Case((data((2, 4), np.uint8, 0, 255),), {"type": as_dtype("float32")}),
    ],
    "CheckNumerics": [Case((data((2, 3), d),), {"message": b"m"}) for d in (F32, F64)],
    # gather
    "Gather": [Case((data((4, 3)), i32([[3, 0], [1, 1]])))],
    "GatherV2": [
        *(Case((data((4, 3, 2)), i32([[1, 0], [1, 1]]), i32(a))) for a in (0, 1, -1)),
        Case((data((2, 4, 3)), i32([[1, 0], [3, 1]]), i32(1)), {"batch_dims": 1}),
        Case((data((2, 4, 3)), i32([[1, 0], [2, 1]]), i32(2)), {"batch_dims": -1}),
        Case((text(b"a", b"b"), i32(1), i32(0))),
    ],
    "GatherNd": [
        Case((data((2, 3, 4)), i32(i))) for i in ([[0, 1, 2], [1, 2, 3]], [[1], [0]], [1, 2], np.zeros((3, 0)))
    ],
    "ScatterNd": [
        Case((i32([[0], [2], [0]]), data((3, 2), d), i32([4, 2]))) for d in (F32, np.int32)
    ]
    + [Case((i32([[0, 1], [1, 1]]), data((2,)), i32([2, 3])))],
    **{
        f"TensorScatter{op}": [Case((data((4, 2), d), i32([[0], [2]]), data((2, 2), d))) for d in (F32, np.int32)]
        for op in ("Update", "Add", "Sub")
    },
    "DynamicPartition": [Case((data((4, 2)), i32([1, 0, 1, 1])), {"num_partitions": 3})],
    "DynamicStitch": [
        Case(([i32([0, 2]), i32([1, 2])], [data((2, 3)), data((2, 3), seed=1)])),
        Case(([i32(0), i32([[2, 1]])], [data((3,)), data((1, 2, 3), seed=1)])),
    ],
    # segment
    **{f"Segment{op}": segments([F32, F64, np.int32]) for op in ("Sum", "Prod", "Max", "Min", "Mean")},
    **{f"UnsortedSegment{op}": unsorted([F32, F64, np.int32]) for op in ("Sum", "Prod", "Max", "Min")},
    **{f"SparseSegment{op}": sparse_segments() for op in ("Sum", "Mean", "SqrtN")},
    # sets
    "Unique": [
        Case((x,), {"out_idx": as_dtype(t)}) for t in INTS for x in (i32([3, 1, 3, 2, 1]), text(b"b", b"a", b"b"))
    ],
    "UniqueWithCounts": [Case((i32([3, 1, 3, 2, 1]),))],
    "UniqueV2": [
        Case((i32([[1, 2], [3, 4], [1, 2]]), np.asarray([0], np.int64))),
        Case((i32([[1, 2, 1], [3, 4, 3]]), np.asarray([1], np.int64))),
        Case((i32([3, 1, 3]), np.asarray([], np.int64))),
    ],
    "ListDiff": [Case((i32([1, 2, 3, 4, 2]), i32([2, 9])))],
    # strings
    "StringJoin": [Case(([TEXTS, text(b"x")],), {"separator": b"-"})],
    "ReduceJoin": [
        Case((text([[b"a", b"b"], [b"c", b"d"]]), i32(a)), {"separator": b".", "keep_dims": k})
        for a in (0, [1], [0, 1], [1, 0], [-1])
        for k in (False, True)
    ],
    "StringLength": [Case((TEXTS,), {"unit": u}) for u in (b"BYTE", b"UTF8_CHAR")],
    "StringLower": [Case((TEXTS,), {"encoding": e}) for e in (b"", b"utf-8")],
    "StringUpper": [Case((text(b"ab", b"Z1"),), {"encoding": e}) for e in (b"", b"utf-8")],
    "StringStrip": [Case((text(b" a b\n", b"c"),))],
    "Substr": [
        *(Case((text(b"tensor", b"flow"), i32(p), i32(n))) for p, n in [(1, 2), (-3, 9), ([0, 1], [3, 2])]),
        Case((text("Grüße".encode()), i32(2), i32(2)), {"unit": b"UTF8_CHAR"}),
    ],
    "StaticRegexFullMatch": [Case((TEXTS,), {"pattern": p}) for p in (b"t.*r", b"", b"[a-z ]+")],
    "RegexFullMatch": [Case((TEXTS, text(b"t.*r")))],
    "RegexReplace": [
        Case((TEXTS, text(rb"(.)e"), text(rb"<\1\0>")), {"replace_global": g}) for g in (True, False)
    ],
    "StaticRegexReplace": [Case((TEXTS,), {"pattern": rb"[aeo]", "rewrite": b"_"})],
    "AsString": conversions(),
    "StringToNumber": [
        Case((text(b"1", b"-2", b" 3 "),), {"out_type": as_dtype(t)}) for t in (F32, F64, np.int32, np.int64)
    ]
    + [Case((text(b"1e3", b"-.5", b"inf"),))],
    # gradients
    **{f"{op}Grad": binary_alike([F32, F64, F16]) for op in ("Sigmoid", "Tanh", "Sqrt", "Reciprocal", "Rsqrt", "Relu")},
    "BiasAddGrad": [
        Case((data((2, 3, 4, 2), d),), {"data_format": f}) for f in (b"NHWC", b"NCHW") for d in (F32, F64)
    ],
    "BroadcastGradientArgs": [
        Case((i32(a), i32(b)))
        for a, b in [([2, 3], [3]), ([2, 1], [1, 3]), ([], [2, 3]), ([1, 3], [1, 3]), ([1, 3], [1, 1]), ([1], [])]
    ],
    # effects
    "Print": [Case((data((2, 3)), [data((2,))]))],
}  # fmt: skip

BAD: list[tuple[str, Case]] = [
    ("Div", Case((i32([1, 2]), i32([1, 0])))),
    ("FloorMod", Case((i32([1, 2]), i32([1, 0])))),
    ("Pow", Case((i32([2]), i32([-1])))),
    ("Add", Case((data((2, 3)), data((4,))))),
    ("AddN", Case(([data((2,)), data((3,))],))),
    ("Equal", Case((data((2, 3)), data((4,))))),
    ("Select", Case((data((3,), np.bool_), data((2, 3)), data((2, 3))))),
    ("Sum", Case((data((2, 3)), i32([2])))),
    ("Sum", Case((data((2, 3)), i32([0, -2])))),
    ("ArgMax", Case((data((0, 3)), i32(0)))),
    ("MatMul", Case((data((2, 3)), data((2, 3))))),
    ("BatchMatMulV2", Case((data((2, 2, 3)), data((2, 2, 3))))),
    ("MatrixDiagV3", Case((data((3,)), i32(-1), i32(5), i32(4), F32(9)))),
    ("DiagPart", Case((data((2, 3)),))),
    ("Reshape", Case((data((2, 3)), i32([4, -1])))),
    ("Squeeze", Case((data((2, 1)),), {"squeeze_dims": [0]})),
    ("Transpose", Case((data((2, 3)), i32([0, 0])))),
    ("InvertPermutation", Case((i32([0, 2]),))),
    ("BroadcastTo", Case((data((3,)), i32([4])))),
    ("ReverseSequence", Case((data((2, 3)), i32([1, 4])), {"seq_dim": 1})),
    ("Slice", Case((data((4,)), i32([3]), i32([2])))),
    ("StridedSlice", Case((data((4,)), i32([4]), i32([5]), i32([1])), {"shrink_axis_mask": 1})),
    ("StridedSlice", Case((data((4,)), i32([0]), i32([4]), i32([0])))),
    ("Split", Case((i32(0), data((5,))), {"num_split": 2})),
    ("SplitV", Case((data((5,)), i32([2, 2]), i32(0)), {"num_split": 2})),
    ("ConcatV2", Case(([data((2, 3)), data((3, 2))], i32(0)))),
    ("Pack", Case(([data((2,)), data((3,))],))),
    ("Pad", Case((data((2,)), i32([[-1, 0]])))),
    ("MirrorPad", Case((data((2,)), i32([[2, 0]])), {"mode": b"REFLECT"})),
    ("Fill", Case((i32([-1]), F32(1)))),
    ("Range", Case((i32(0), i32(5), i32(0)))),
    ("Range", Case((i32(0), i32(5), i32(-1)))),
    ("LinSpace", Case((F32(0), F32(1), i32(0)))),
    ("CheckNumerics", Case((F32([np.nan]),), {"message": b"m"})),
    ("GatherV2", Case((data((4,)), i32([4]), i32(0)))),
    ("GatherNd", Case((data((4,)), i32([[-1]])))),
    ("ScatterNd", Case((i32([[4]]), F32([1]), i32([4])))),
    ("DynamicPartition", Case((data((2,)), i32([0, 2])), {"num_partitions": 2})),
    ("SegmentSum", Case((data((3,)), i32([0, 2, 1])))),
    ("UnsortedSegmentSum", Case((data((2,)), i32([0, 2]), i32(2)))),
    ("Substr", Case((text(b"ab"), i32(3), i32(1)))),
    ("StaticRegexFullMatch", Case((TEXTS,), {"pattern": b"("})),
    ("StringToNumber", Case((text(b"1x"),))),
    ("StringToNumber", Case((text(b"99999999999"),), {"out_type": as_dtype("int32")})),
]


def build(op: str, cases: Sequence[Case]) -> tuple[GraphDef, dict[str, Any], list[list[str]]]:
    """A graph with one node of the op for each case; what to feed; and the outputs of each node."""
    graph = Graph()
    feeds: dict[str, Any] = {}
    fetches = []

    def fed(value: Any) -> Any:
        array = np.asarray(value)
        dtype = as_dtype("string") if array.dtype == object else as_dtype(array.dtype)
        tensor = graph.placeholder(dtype, None)
        feeds[tensor.name] = array
        return tensor

    for case in cases:
        inputs = [[fed(v) for v in item] if isinstance(item, list) else fed(item) for item in case.inputs]
        made = graph.create_op(op, inputs, _with_types(op, inputs, case.attrs))
        fetches.append([tensor.name for tensor in made.outputs])
    return graph.as_graph_def(), feeds, fetches


def _with_types(op: str, inputs: Sequence[Any], attrs: Mapping[str, Any]) -> Mapping[str, Any]:
    if op in ("IdentityN", "Print"):
        return {**attrs, "T" if op == "IdentityN" else "U": [t.dtype for t in inputs[-1]]}
    return attrs


def in_tensorflow(graph_def: GraphDef, fetches: Any, feeds: dict[str, Any]) -> Any:
    with session() as sess:
        tf.import_graph_def(v1.GraphDef.FromString(graph_def.SerializeToString()), name="")
        return sess.run(fetches, feeds)


def assert_close(got: Any, want: Any, what: str) -> None:
    assert type(got) is type(want), what
    a, b = np.asarray(got), np.asarray(want)
    assert (a.dtype, a.shape) == (b.dtype, b.shape), what
    if a.dtype == object or a.dtype.kind in "iubS":
        assert a.tolist() == b.tolist(), what
        return
    tolerance = TOLERANCE.get(a.dtype.name, 1e-12)
    wide = np.complex128 if a.dtype.kind == "c" else np.float64
    np.testing.assert_allclose(a.astype(wide), b.astype(wide), rtol=tolerance, atol=tolerance, err_msg=what)


@pytest.mark.parametrize("op", [op for op, cases in CASES.items() if cases])
def test_kernel_gives_what_tensorflow_gives(op: str) -> None:
    graph_def, feeds, fetches = build(op, CASES[op])
    want = in_tensorflow(graph_def, fetches, feeds)
    got = Evaluator(graph_def).run(fetches, feeds)
    for case, ours, theirs in zip(CASES[op], got, want, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert_close(a, b, f"{op}: {case}")


@pytest.mark.parametrize(("op", "case"), BAD, ids=[op for op, _ in BAD])
def test_what_tensorflow_refuses_is_refused(op: str, case: Case) -> None:
    graph_def, feeds, (fetches,) = build(op, [case])
    with pytest.raises((tf.errors.OpError, ValueError)):
        in_tensorflow(graph_def, fetches, feeds)
    with pytest.raises(InvalidArgumentError, match=rf"The {op} '{op}' failed: "):
        Evaluator(graph_def).run(fetches, feeds)
