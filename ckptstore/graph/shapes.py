"""Static shapes of what an op puts out, where they follow from those of its inputs; None where they do not.

TensorFlow works them out anew when it imports a graph, and refuses one whose `_output_shapes` contradicts it. So what
is not sure here is said to be unknown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ckptstore.format.slices import TensorSlice
from ckptstore.graph.attributes import Shape

Inputs = Sequence["tuple[Shape, np.ndarray[Any, Any] | None]"]
"""Shape of each input (of a resource: that of the variable), and its value where it is a constant."""

Rule = Callable[[Mapping[str, Any], Inputs], "Shape | list[Shape]"]
"""The shape of every output, or a list of one for each."""

_RULES: dict[str, Rule] = {}


def output_shapes(op: str, attrs: Mapping[str, Any], inputs: Inputs, count: int) -> list[Shape]:
    """The shape of each output of a node.

    Args:
        op: What it computes.
        attrs: Its attributes.
        inputs: What goes in.
        count: How many outputs there are.
    """
    rule = _RULES.get(op)
    if rule is None:
        return [None] * count
    try:
        found = rule(attrs, inputs)
        return found if isinstance(found, list) else [found] * count
    except (ValueError, TypeError, IndexError, KeyError):  # the errors of this package are ValueErrors, too
        return [None] * count  # it does not fit together; running it will say so


def _rule(ops: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        _RULES.update(dict.fromkeys(ops.split(), function))
        return function

    return register


def broadcast(x: Shape, y: Shape) -> Shape:
    """The shape of an elementwise op on two inputs.

    Raises:
        ValueError: They do not fit.
    """
    if x is None or y is None:
        return None
    rank = max(len(x), len(y))
    out: list[int | None] = []
    for a, b in zip((1,) * (rank - len(x)) + x, (1,) * (rank - len(y)) + y, strict=True):
        if a == 1 or b == 1:
            out.append(b if a == 1 else a)
        elif a is None or b is None:
            out.append(b if a is None else a)
        elif a != b:
            raise ValueError(f"{x} and {y} cannot be broadcast")
        else:
            out.append(a)
    return tuple(out)


@_rule(
    "Abs Acos Acosh Asin Asinh Atan Atanh BiasAdd BiasAddV1 Cast Ceil CheckNumerics Conj Cos Cosh Cumprod Cumsum "
    "Digamma Elu Erf Erfc Exp Expm1 Floor Identity Inv Invert IsFinite IsInf IsNan LeakyRelu Lgamma Log Log1p "
    "LogSoftmax LogicalNot Neg OnesLike PreventGradient Reciprocal Relu Relu6 Rint Round Rsqrt Selu Sigmoid Sign Sin "
    "Sinh Softmax Softplus Softsign Sqrt Square StopGradient Tan Tanh ZerosLike Print Reverse ReverseV2 Roll "
    "RandomShuffle ReadVariableOp InvertPermutation LRN Real Imag Angle ComplexAbs StringLower StringUpper StringStrip "
    "StringLength AsString"
)
def _same(attrs: Mapping[str, Any], inputs: Inputs) -> Shape:
    return inputs[0][0]


@_rule(
    "Add AddV2 Sub Mul Div RealDiv FloorDiv TruncateDiv FloorMod Mod TruncateMod DivNoNan MulNoNan SquaredDifference "
    "Pow Xdivy Xlogy Xlog1py Maximum Minimum Atan2 Complex Equal NotEqual Less LessEqual Greater GreaterEqual "
    "ApproximateEqual LogicalAnd LogicalOr BitwiseAnd BitwiseOr BitwiseXor LeftShift RightShift"
)
def _elementwise(attrs: Mapping[str, Any], inputs: Inputs) -> Shape:
    return broadcast(inputs[0][0], inputs[1][0])


@_rule("Assign AssignAdd AssignSub ScatterAdd ScatterSub ScatterUpdate")
def _referred(attrs: Mapping[str, Any], inputs: Inputs) -> Shape:
    return inputs[0][0]


@_rule("AddN")
def _sum_of(attrs: Mapping[str, Any], inputs: Inputs) -> Shape:
    shape: Shape = inputs[0][0]
    for other, _ in inputs[1:]:
        shape = broadcast(shape, other)
    return shape


@_rule("Placeholder PlaceholderV2 PlaceholderWithDefault Variable VariableV2 TemporaryVariable")
def _declared(attrs: Mapping[str, Any], inputs: Inputs) -> Shape:
    shape: Shape = attrs["shape"]
    return shape


@_rule(
    "VarHandleOp VarIsInitializedOp IsVariableInitialized Rank Size StaticRegexFullMatch StringJoin ShardedFilename "
    "ShardedFilespec L2Loss CountUpTo LoopCond"
)
def _scalar(attrs: Mapping[str, Any], inputs: Inputs) -> Shape:
    # a join of strings is elementwise; those that a Saver writes are of scalars
    return () if all(shape == () for shape, _ in inputs) or len(inputs) < 2 else None


@_rule("Shape")
def _shape(attrs: Mapping[str, Any], inputs: Inputs) -> Shape:
    return None if inputs[0][0] is None else (len(inputs[0][0]),)


@_rule("MatMul")
def _matmul(attrs: Mapping[str, Any], inputs: Inputs) -> Shape:
    a, b = (shape if shape is not None else (None, None) for shape, _ in inputs[:2])
    return (a[1] if attrs["transpose_a"] else a[0], b[0] if attrs["transpose_b"] else b[1])


@_rule("BatchMatMul BatchMatMulV2")
def _batch_matmul(attrs: Mapping[str, Any], inputs: Inputs) -> Shape:
    a, b = inputs[0][0], inputs[1][0]
    outer = broadcast(None if a is None else a[:-2], None if b is None else b[:-2])
    if outer is None or a is None or b is None:
        return None
    return (*outer, a[-1] if attrs["adj_x"] else a[-2], b[-2] if attrs["adj_y"] else b[-1])


@_rule("Sum Mean Prod Max Min All Any EuclideanNorm")
def _reduced(attrs: Mapping[str, Any], inputs: Inputs) -> Shape:
    shape, axes = inputs[0][0], inputs[1][1]
    if shape is None or axes is None:
        return None
    gone = {int(axis) % len(shape) for axis in axes.reshape(-1)} if shape else set()
    if attrs["keep_dims"]:
        return tuple(1 if axis in gone else n for axis, n in enumerate(shape))
    return tuple(n for axis, n in enumerate(shape) if axis not in gone)


@_rule("ArgMax ArgMin")
def _without_axis(attrs: Mapping[str, Any], inputs: Inputs) -> Shape:
    shape, axis = inputs[0][0], inputs[1][1]
    if shape is None or axis is None:
        return None
    gone = int(axis) % len(shape)
    return shape[:gone] + shape[gone + 1 :]


@_rule("Reshape")
def _reshaped(attrs: Mapping[str, Any], inputs: Inputs) -> Shape:
    wanted = inputs[1][1]
    if wanted is None:
        rank = inputs[1][0]
        return None if rank is None or rank[0] is None else (None,) * rank[0]
    shape: list[int | None] = [None if n < 0 else int(n) for n in wanted.reshape(-1)]
    given = inputs[0][0]
    if None in shape and given is not None and None not in given:
        known = math.prod(n for n in shape if n is not None)
        if known:
            shape[shape.index(None)] = math.prod(n for n in given if n is not None) // known
    return tuple(shape)


@_rule("ExpandDims")
def _expanded(attrs: Mapping[str, Any], inputs: Inputs) -> Shape:
    shape, axis = inputs[0][0], inputs[1][1]
    if shape is None or axis is None:
        return None
    at = int(axis) % (len(shape) + 1)
    return (*shape[:at], 1, *shape[at:])


@_rule("Pack")
def _packed(attrs: Mapping[str, Any], inputs: Inputs) -> Shape:
    shape = inputs[0][0]
    if shape is None:
        return None
    at = attrs["axis"] % (len(shape) + 1)
    return (*shape[:at], len(inputs), *shape[at:])


@_rule("ConcatV2")
def _joined(attrs: Mapping[str, Any], inputs: Inputs) -> Shape:
    shapes, axis = [shape for shape, _ in inputs[:-1]], inputs[-1][1]
    if axis is None or any(shape is None for shape in shapes):
        return None
    first = shapes[0] or ()
    at = int(axis) % len(first)
    sizes = [shape[at] for shape in shapes if shape is not None]
    total = None if None in sizes else sum(n for n in sizes if n is not None)
    return (*first[:at], total, *first[at + 1 :])


@_rule("Transpose")
def _transposed(attrs: Mapping[str, Any], inputs: Inputs) -> Shape:
    shape, order = inputs[0][0], inputs[1][1]
    if shape is None or order is None:
        return None
    return tuple(shape[int(axis)] for axis in order.reshape(-1))


@_rule("Fill RandomUniform RandomStandardNormal TruncatedNormal")
def _filled(attrs: Mapping[str, Any], inputs: Inputs) -> Shape:
    sizes = inputs[0][1]
    return None if sizes is None else tuple(int(n) for n in sizes.reshape(-1))


@_rule("RestoreV2")
def _restored(attrs: Mapping[str, Any], inputs: Inputs) -> list[Shape]:
    slices = inputs[2][1]
    if slices is None:
        return [None] * len(attrs["dtypes"])
    return [_part_shape(item.decode("ascii")) if item else None for item in slices.reshape(-1)]


def _part_shape(spec: str) -> Shape:
    """The shape of a part: "10 4 0,4:-" -> (4, 4)."""
    *whole, part = spec.split()
    return TensorSlice.parse(part).shape(tuple(map(int, whole)))


@_rule("Select SelectV2")
def _selected(attrs: Mapping[str, Any], inputs: Inputs) -> Shape:
    return broadcast(inputs[1][0], inputs[2][0])
