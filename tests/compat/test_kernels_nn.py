"""The kernels of neural networks beside TensorFlow's."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from ckptstore.format.dtypes import as_dtype
from ckptstore.graph.attributes import decode_attribute
from ckptstore.graph.kernels import (
    activation,
    blocks,
    boxes,
    convolution,
    image,
    loss,
    normalization,
    pooling,
    quantization,
    ranking,
)
from ckptstore.graph.kernels.registry import KERNELS
from ckptstore.graph.op_defs import op_defs
from tests.compat.support import QUIET, rng, tf, v1

pytestmark = QUIET

MODULES = (activation, blocks, boxes, convolution, image, loss, normalization, pooling, quantization, ranking)

Array = np.ndarray[Any, Any]
Outputs = Sequence[Array]

# How far apart results of the same numbers in another order may be, by type: about two of its last bits in 16 bits.
TOLERANCE = {"float16": 2e-3, "bfloat16": 1.6e-2, "float32": 2e-5, "complex64": 2e-5, "float64": 1e-12}
TOLERANCE["complex128"] = TOLERANCE["float64"]
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


@dataclass(frozen=True)
class Case:
    """An op, what goes into it, and TensorFlow's answer where not its op of that name gives it."""

    op: str
    inputs: tuple[Any, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    reference: Callable[[Case], Outputs] | None = None
    compared: int | None = None

    def __str__(self) -> str:
        shapes = "-".join("x".join(map(str, np.shape(x))) or "0d" for x in self.inputs)
        return f"{self.op}-{shapes}-{np.asarray(self.inputs[0]).dtype}-" + "-".join(f"{v}" for v in self.attrs.values())


def mine(case: Case) -> Outputs:
    attrs: dict[str, Any] = {}
    for attr in op_defs()[case.op].attr:
        value = case.attrs.get(attr.name, decode_attribute(attr.default_value))
        if attr.type == "string":
            value = value.encode() if isinstance(value, str) else value
        attrs[attr.name] = as_dtype(value) if attr.type == "type" and value is not None else value
    with np.errstate(all="ignore"):
        out = KERNELS[case.op](attrs, *(np.asarray(x) for x in case.inputs))
    return out if isinstance(out, list | tuple) else [out]


def arguments(case: Case) -> dict[str, Any]:
    names = [arg.name for arg in op_defs()[case.op].input_arg]
    types = {a.name: a.type for a in op_defs()[case.op].attr}
    tensors = {name: tf.constant(x) for name, x in zip(names, case.inputs, strict=True)}
    return tensors | {n: tf.as_dtype(v) if types[n] == "type" else v for n, v in case.attrs.items()}


def arrays(out: Any) -> Outputs:
    return [x.numpy() for x in (out if isinstance(out, list | tuple) else [out])]


def eager(case: Case) -> Outputs:
    return arrays(getattr(tf.raw_ops, case.op)(**arguments(case)))


def channels_last(case: Case) -> Outputs:
    """For what TensorFlow computes with channels first on graphics cards only."""

    def reordered(value: Any) -> Any:
        size = len(value) // 4 if isinstance(value, list) else 0
        return [*value[:size], *value[2 * size :], *value[size : 2 * size]] if size else value

    x, *others = case.inputs
    inputs = (np.moveaxis(x, 1, -1), *(np.asarray(reordered(np.asarray(other).tolist()), np.int32) for other in others))
    attrs = {name: reordered(value) for name, value in case.attrs.items()} | {"data_format": "NHWC"}
    return [np.moveaxis(y, -1, 1) for y in eager(Case(case.op, inputs, attrs))]


def in_float32(case: Case) -> Outputs:
    """For what TensorFlow sums up in 16 bits, or has no kernel for."""
    dtype = np.result_type(*(x.dtype for x in case.inputs if x.dtype in (np.float16, BFLOAT16)))
    inputs = tuple(x.astype(np.float32) if x.dtype == dtype else x for x in case.inputs)
    return [x.astype(dtype) for x in eager(Case(case.op, inputs, case.attrs))]


def of_one_image(case: Case) -> Outputs:
    """For an empty batch, which oneDNN gives back as it is."""
    images = np.ones((1, *case.inputs[0].shape[1:]), np.float32)
    return [x[:0] for x in eager(Case(case.op, (images, *case.inputs[1:]), case.attrs))]


def adjoint(case: Case) -> Outputs:
    """What Conv2DBackpropInput is, by Conv2D of every single pixel: TensorFlow's own cannot do all on a CPU."""
    sizes, filters, gradient = case.inputs
    pixels = np.eye(int(np.prod(sizes[1:])), dtype=np.float32).reshape(-1, *sizes[1:])
    seen = tf.raw_ops.Conv2D(input=pixels, filter=filters, **case.attrs).numpy()
    return [np.tensordot(gradient, seen, ((1, 2, 3), (1, 2, 3))).reshape(sizes)]


def in_old_graph(case: Case) -> Outputs:
    """For an op that no graph of today may have."""
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        definition = v1.GraphDef()
        definition.versions.producer = 8
        node = definition.node.add(name="out", op=case.op)
        for number, x in enumerate(case.inputs):
            const = definition.node.add(name=f"in{number}", op="Const")
            const.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(x))
            const.attr["dtype"].type = node.attr["T"].type = tf.as_dtype(x.dtype).as_datatype_enum
            node.input.append(const.name)
        for name, value in case.attrs.items():
            setattr(node.attr[name], "b" if isinstance(value, bool) else "f", value)
        tf.import_graph_def(definition, name="")
        return [session.run("out:0")]


def top_k_v2(case: Case) -> Outputs:
    """TensorFlow has no kernel for the first version any more."""
    return arrays(tf.raw_ops.TopKV2(input=case.inputs[0], **case.attrs))


def floats(*shape: int, dtype: Any = np.float32, seed: int = 0, scale: float = 1) -> Array:
    return (rng(seed, *shape).standard_normal(shape) * scale).astype(dtype)


def integers(*shape: int, dtype: Any = np.int32, least: int = 0, most: int = 20, seed: int = 0) -> Array:
    return rng(seed, *shape).integers(least, most, shape).astype(dtype)


def single(value: float) -> float:
    """The value of an attribute, as messages hold it."""
    return float(np.float32(value))


def in_format(values: Sequence[int], data_format: str) -> list[int]:
    """The numbers of spatial axes, with 1 for the others."""
    return [1, 1, *values] if data_format.startswith("NC") else [1, *values, 1]


def moved(x: Array, data_format: str) -> Array:
    return np.ascontiguousarray(np.moveaxis(x, -1, 1)) if data_format.startswith("NC") else x


def convolutions() -> Iterator[Case]:
    shapes = [((2, 7, 9, 4), (3, 2, 4, 5)), ((1, 8, 8, 6), (2, 5, 3, 8)), ((3, 5, 6, 2), (1, 1, 2, 3))]
    for (x, w), stride, rate, padding, form in itertools.product(
        shapes, [(1, 1), (2, 3), (4, 4)], [(1, 1), (2, 1)], ["SAME", "VALID", "EXPLICIT"], ["NHWC", "NCHW"]
    ):
        if stride[0] > 1 and rate[0] > 1:
            continue
        attrs: dict[str, Any] = {"strides": in_format(stride, form), "padding": padding, "data_format": form}
        attrs["dilations"] = in_format(rate, form)
        if padding == "EXPLICIT":
            attrs["explicit_paddings"] = [0, 0, 0, 0, 2, 1, 0, 3] if form == "NCHW" else [0, 0, 2, 1, 0, 3, 0, 0]
        images, filters = floats(*x), floats(*w, seed=1)
        yield Case("Conv2D", (moved(images, form), filters), attrs)
        deep = floats(*w[:2], x[-1], 2, seed=2)
        if stride[0] == stride[1]:
            yield Case("DepthwiseConv2dNative", (moved(images, form), deep), attrs)
        shape = tf.raw_ops.Conv2D(input=moved(images, form), filter=filters, **attrs).shape
        sizes = np.asarray(moved(images, form).shape, np.int32)
        whole = padding != "EXPLICIT" and filters.shape[2] == x[-1]
        yield Case("Conv2DBackpropInput", (sizes, filters, floats(*shape, seed=3)), attrs, None if whole else adjoint)
    plain: dict[str, Any] = {"strides": [1, 1, 1, 1], "padding": "SAME"}
    for dtype in (np.float64, np.float16, BFLOAT16, np.int32):
        x, w = floats(2, 6, 5, 4, dtype=dtype, scale=3), floats(3, 3, 4, 3, dtype=dtype, scale=3)
        wide = in_float32 if x.dtype.itemsize == 2 else None
        yield Case("Conv2D", (x, w), plain, wide)
        sizes, gradient = np.asarray(x.shape, np.int32), floats(2, 6, 5, 3, dtype=dtype, scale=3)
        yield Case("Conv2DBackpropInput", (sizes, w, gradient), plain, wide)
        if dtype != np.int32:
            yield Case("DepthwiseConv2dNative", (x, w), plain, wide)
            volume = floats(1, 4, 5, 3, 2, dtype=dtype)
            strides = {"strides": [1, 1, 2, 1, 1], "padding": "SAME"}
            yield Case("Conv3D", (volume, floats(2, 3, 1, 2, 4, dtype=dtype)), strides, wide)
    yield Case("Conv2D", (floats(0, 6, 5, 4), floats(3, 3, 4, 3)), plain, of_one_image)
    yield Case("DepthwiseConv2dNative", (floats(0, 6, 5, 4), floats(3, 3, 4, 3)), plain, of_one_image)
    two = np.asarray([6, 5], np.int32)
    yield Case("Conv2DBackpropInput", (two, floats(3, 3, 4, 3), floats(2, 6, 5, 3)), plain)
    for padding, form, step, rate in itertools.product(["SAME", "VALID"], ["NDHWC", "NCDHW"], [1, 2], [1, 2]):
        if step == 1 or rate == 1:
            attrs = {
                "strides": in_format([step, step, 1], form),
                "dilations": in_format([rate, 1, rate], form),
                "padding": padding,
                "data_format": form,
            }
            yield Case("Conv3D", (moved(floats(2, 5, 6, 7, 3), form), floats(3, 2, 3, 3, 4)), attrs)


def pools() -> Iterator[Case]:
    for size, stride, padding, form in itertools.product(
        [(2, 2), (3, 1)], [(1, 1), (2, 3), (5, 4)], ["SAME", "VALID"], ["NHWC", "NCHW"]
    ):
        for shape in ((2, 7, 8, 3), (1, 5, 5, 2), (0, 4, 4, 1)):
            x = moved(floats(*shape), form)
            windows: dict[str, Any] = {"ksize": in_format(size, form), "strides": in_format(stride, form)}
            attrs = {"padding": padding, "data_format": form}
            yield Case("MaxPool", (x,), windows | attrs)
            yield Case("AvgPool", (x,), windows | attrs)
            operands = [np.asarray(v, np.int32) for v in windows.values()]
            yield Case("MaxPoolV2", (x, *operands), attrs, channels_last if form == "NCHW" else None)
            if form == "NHWC" and x.size:
                yield Case("MaxPoolWithArgmax", (x,), windows | {"padding": padding})
    small: dict[str, Any] = {"ksize": [1, 2, 2, 1], "strides": [1, 2, 2, 1], "padding": "SAME"}
    explicit = small | {"padding": "EXPLICIT"}
    yield Case("MaxPool", (floats(2, 5, 4, 3),), explicit | {"explicit_paddings": [0, 0, 1, 0, 1, 1, 0, 0]})
    forms = {"ksize": [1, 1, 2, 2], "strides": [1, 1, 1, 1], "data_format": "NCHW", "padding": "EXPLICIT"}
    yield Case("MaxPool", (floats(2, 3, 5, 4),), forms | {"explicit_paddings": [0, 0, 0, 0, 1, 0, 1, 1]}, channels_last)
    for dtype in (np.float64, np.float16, BFLOAT16):
        yield Case("MaxPool", (floats(2, 5, 5, 2, dtype=dtype),), small)
        yield Case("AvgPool", (floats(2, 5, 5, 2, dtype=dtype),), small)
    for dtype in (np.float64, np.float32, np.float16):
        yield Case("MaxPool", (np.full((1, 3, 3, 1), -np.inf, dtype),), small)
    for dtype in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64):
        yield Case("MaxPool", (integers(2, 5, 5, 2, dtype=dtype),), small)
    ties = integers(3, 6, 5, 2, most=3).astype(np.float32)
    for batch, kind in itertools.product([False, True], ["int32", "int64"]):
        attrs = small | {"ksize": [1, 3, 3, 1], "include_batch_in_index": batch, "Targmax": kind}
        yield Case("MaxPoolWithArgmax", (ties,), attrs)
    yield Case("MaxPool", (np.where(floats(1, 5, 5, 1) > 1, np.float32("nan"), 2 * floats(1, 5, 5, 1)),), small)
    for op, padding, form, step in itertools.product(
        ["MaxPool3D", "AvgPool3D"], ["SAME", "VALID"], ["NDHWC", "NCDHW"], [1, 2, 4]
    ):
        attrs = {"ksize": in_format([2, 3, 1], form), "strides": in_format([step, step, 1], form)}
        attrs |= {"padding": padding, "data_format": form}
        yield Case(op, (moved(floats(2, 5, 6, 4, 3), form),), attrs)


def normalizations() -> Iterator[Case]:
    def statistics(channels: int) -> list[Array]:
        scale, offset, mean = (floats(channels, seed=seed) for seed in (1, 2, 3))
        return [scale, offset, mean, np.abs(floats(channels, seed=4)) + np.float32(0.1)]

    for op, form in (
        *itertools.product(["FusedBatchNorm", "FusedBatchNormV2"], ["NHWC", "NCHW"]),
        *itertools.product(["FusedBatchNormV3"], ["NHWC", "NCHW", "NDHWC", "NCDHW"]),
    ):
        shape = (3, *(5, 4, 2)[: len(form) - 2], 4)
        for training, factor in ((False, 1.0), (True, 1.0), (True, 0.25)):
            attrs = {
                "is_training": training,
                "exponential_avg_factor": factor,
                "epsilon": single(0.001),
                "data_format": form,
            }
            x = moved(floats(*shape, scale=3), form)
            told = 5 if training else 3  # the others TensorFlow may leave as memory was
            yield Case(op, (x, *statistics(4)), attrs, compared=told)
            if form == "NHWC":
                yield Case(op, (x[:0], *statistics(4)), attrs, compared=told)
                yield Case(op, (x[:1, :1, :1], *statistics(4)), attrs, compared=told)
            if op != "FusedBatchNorm" and form == "NHWC":
                for dtype in (np.float16, BFLOAT16):
                    yield Case(op, (x.astype(dtype), *statistics(4)), attrs, compared=told)
    empty = np.zeros(0, np.float32)
    yield Case("FusedBatchNormV3", (floats(2, 3, 3, 2), *statistics(2)[:2], empty, empty), {}, compared=5)
    for scaled, dtype in itertools.product([False, True], [np.float32, np.float64]):
        scale, offset, mean, variance = (x.astype(dtype) for x in statistics(3))
        inputs = (floats(2, 3, 3, 3, dtype=dtype), mean, variance, offset, scale)
        attrs = {"variance_epsilon": single(0.001), "scale_after_normalization": scaled}
        yield Case("BatchNormWithGlobalNormalization", inputs, attrs, in_old_graph)
    for radius, beta, dtype in itertools.product([0, 1, 2, 5], [0.5, 0.75, 1.0], [np.float32, np.float16, BFLOAT16]):
        attrs = {"depth_radius": radius, "bias": 1.5, "alpha": 0.25, "beta": beta}
        yield Case("LRN", (floats(2, 3, 2, 7, dtype=dtype),), attrs, in_float32 if dtype == BFLOAT16 else None)
    for shape in ((2, 3), (2, 4, 3), (2, 4, 5, 3), (2, 2, 4, 5, 3), (0, 2, 3)):
        yield Case("BiasAdd", (floats(*shape), floats(3)), {"data_format": "NHWC"})
        yield Case("BiasAddV1", (floats(*shape), floats(3)))
        yield Case("BiasAdd", (moved(floats(*shape), "NCHW"), floats(3)), {"data_format": "NCHW"})
    for dtype in (np.float64, np.float16, BFLOAT16, np.int32):
        yield Case("BiasAdd", (floats(2, 3, dtype=dtype, scale=9), floats(3, dtype=dtype, scale=9)))


def activations() -> Iterator[Case]:
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-4, -1e-4, 80.0, -80.0, 6.0, 7.0]
    smooth = ["Elu", "Selu", "Softplus", "Softsign", "Sigmoid", "Tanh"]
    for dtype in (np.float32, np.float64, np.float16, BFLOAT16):
        x = np.concatenate([floats(50, scale=5), np.asarray(special[:3] if dtype == np.float32 else []), special[3:]])
        for op in ("Relu", "Relu6", *smooth):
            given = x.astype(dtype)
            if op in ("Softsign", "Softplus"):
                given = given[np.isfinite(given)]
            yield Case(op, (given,))
            yield Case(op, (given[:0],))
            yield Case(op, (given[0],))
        for alpha in (0.2, 0.0, 1.5):
            yield Case("LeakyRelu", (x[np.isfinite(x)].astype(dtype),), {"alpha": single(alpha)})
        for shape in ((3, 5), (4,), (2, 3, 4), (0, 3), (1, 1)):
            for op in ("Softmax", "LogSoftmax"):
                yield Case(op, (floats(*shape, dtype=dtype, scale=20),))
    for dtype in (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64):
        for op in ("Relu", "Relu6"):
            yield Case(op, (integers(9, least=-9 if np.dtype(dtype).kind == "i" else 0, dtype=dtype),))
    for dtype, op in itertools.product([np.complex64, np.complex128], ["Sigmoid", "Tanh"]):
        yield Case(op, ((floats(9) + 1j * floats(9, seed=1)).astype(dtype),))


def losses() -> Iterator[Case]:
    for dtype in (np.float32, np.float64, np.float16, BFLOAT16):
        yield from (Case("L2Loss", (floats(*shape, dtype=dtype),)) for shape in ((), (5,), (3, 4), (0, 2)))
        logits = floats(4, 6, dtype=dtype, scale=4)
        labels = np.abs(floats(4, 6, seed=1)) / 6
        for given in (labels, labels[:1], labels[:, :1]):
            yield Case("SoftmaxCrossEntropyWithLogits", (logits, given.astype(dtype)))
        yield Case("SoftmaxCrossEntropyWithLogits", (logits[:1], labels.astype(dtype)))
        yield Case("SoftmaxCrossEntropyWithLogits", (logits[:0], labels[:0].astype(dtype)))
        for kind in (np.int32, np.int64):
            yield Case("SparseSoftmaxCrossEntropyWithLogits", (logits, np.asarray([0, 5, 3, 3], kind)))
        yield Case("SparseSoftmaxCrossEntropyWithLogits", (logits[:0], np.zeros(0, np.int32)))
    impossible = np.asarray([[1, -np.inf, 2]], np.float32)
    yield Case("SparseSoftmaxCrossEntropyWithLogits", (impossible, np.asarray([0])))
    yield Case("SoftmaxCrossEntropyWithLogits", (impossible, np.asarray([[1, 0, 0]], np.float32)))
    yield Case("SoftmaxCrossEntropyWithLogits", (floats(3, 0), floats(3, 0)))


def rankings() -> Iterator[Case]:
    for dtype in (np.float32, np.float64, np.float16, BFLOAT16, np.int8, np.uint8, np.int32, np.int64, np.uint64):
        many_ties = integers(3, 4, 9, most=5, dtype=dtype)
        for k in (0, 1, 4, 9):
            yield Case("TopKV2", (many_ties, np.int32(k)))
        yield Case("TopK", (many_ties,), {"k": 3}, top_k_v2)
        for reverse, n in itertools.product([False, True], [0, 3, 8]):
            yield Case("NthElement", (many_ties, np.int32(n)), {"reverse": reverse})
    for kind in ("int16", "int32", "int64"):
        yield Case("TopKV2", (floats(2, 7), np.int32(3)), {"index_type": kind})
    yield Case("TopKV2", (floats(0, 7), np.int32(3)))
    yield Case("TopKV2", (floats(7), np.int16(7)))
    predictions = integers(8, 5, most=4).astype(np.float32)
    predictions[6, 1], predictions[7, 4] = np.inf, np.nan
    for k, kind in itertools.product([0, 1, 2, 5, 9], [np.int32, np.int64]):
        targets = np.asarray([0, 1, 2, 3, 5, -1, 0, 0], kind)
        yield Case("InTopK", (predictions, targets), {"k": k})
        yield Case("InTopKV2", (predictions, targets, kind(k)))


def resized() -> Iterator[Case]:
    settings = [{}, {"align_corners": True}, {"half_pixel_centers": True}]
    sizes = [(3, 4), (7, 11), (1, 1), (14, 6), (13, 5)]
    for op, size, attrs in itertools.product(
        ["ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic"], sizes, settings
    ):
        yield Case(op, (floats(2, 7, 5, 3), np.asarray(size, np.int32)), attrs)
        yield Case(op, (floats(1, 1, 1, 1), np.asarray(size, np.int32)), attrs)
    for op, dtype in itertools.product(
        ["ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic"],
        [np.float64, np.float16, BFLOAT16, np.uint8, np.int8, np.int16, np.uint16, np.int32, np.int64],
    ):
        if (op, dtype) != ("ResizeBicubic", BFLOAT16):
            yield Case(op, (integers(1, 5, 4, 2, dtype=dtype, most=99), np.asarray([8, 3], np.int32)))
    for op in ("ResizeBilinear", "ResizeNearestNeighbor", "ResizeBicubic"):
        yield Case(op, (floats(0, 4, 4, 1), np.asarray([2, 2], np.int32)))


def pieces() -> Iterator[Case]:
    given = np.asarray([[0, 0, 1, 1], [0.1, 0.2, 0.7, 0.6], [0.9, 0.8, 0.1, 0.3], [-0.3, 0.5, 1.2, 0.9]], np.float32)
    index = np.asarray([0, 1, 1, 0], np.int32)
    for method, size, fill in itertools.product(["bilinear", "nearest"], [(3, 4), (1, 2), (9, 1)], [0.0, -1.5]):
        attrs = {"method": method, "extrapolation_value": fill}
        yield Case("CropAndResize", (floats(2, 6, 5, 3), given, index, np.asarray(size, np.int32)), attrs)
    size = np.asarray([3, 3], np.int32)
    for dtype in (np.float64, np.float16, np.uint8, np.int16, np.int32, np.int64):
        yield Case("CropAndResize", (integers(2, 6, 5, 3, dtype=dtype), given, index, size))
    yield Case("CropAndResize", (floats(2, 6, 5, 3), given[:0], index[:0], size))
    for window, stride, rate, padding in itertools.product([(2, 3), (1, 1)], [1, 2, 4], [1, 2], ["SAME", "VALID"]):
        attrs = {"ksizes": [1, *window, 1], "strides": [1, stride, stride, 1], "rates": [1, rate, rate, 1]}
        yield Case("ExtractImagePatches", (floats(2, 7, 6, 3),), attrs | {"padding": padding})
    yield Case("ExtractImagePatches", (integers(1, 4, 4, 2, dtype=np.uint8),), attrs | {"padding": "SAME"})


def moved_blocks() -> Iterator[Case]:
    for dtype, size in itertools.product([np.float32, np.uint8, np.complex64, BFLOAT16], [2, 3]):
        x = integers(2, 2 * size, 3 * size, 2, dtype=dtype)
        deep = integers(2, 3, 2, 2 * size * size, dtype=dtype)
        yield Case("SpaceToDepth", (x,), {"block_size": size})
        yield Case("SpaceToDepth", (moved(x, "NCHW"),), {"block_size": size, "data_format": "NCHW"}, channels_last)
        yield Case("DepthToSpace", (deep,), {"block_size": size})
        yield Case("DepthToSpace", (moved(deep, "NCHW"),), {"block_size": size, "data_format": "NCHW"}, channels_last)
        margins = np.asarray([[0, size], [1, 2 * size - 1]], np.int32)
        if dtype == np.complex64:
            continue
        yield Case("SpaceToBatch", (x, margins), {"block_size": size})
        spread = integers(2 * size * size, 3, 4, 2, dtype=dtype)
        yield Case("BatchToSpace", (spread, np.asarray([[0, 1], [1, 2]], np.int32)), {"block_size": size})
    for kind in (np.int32, np.int64):
        pairs = np.asarray([[1, 2], [0, 1]], kind)
        yield Case("SpaceToBatchND", (floats(2, 3, 5, 4, 2), np.asarray([2, 3], kind), pairs))
        yield Case("BatchToSpaceND", (floats(12, 3, 5, 2), np.asarray([2, 3], kind), pairs))
    one = np.asarray([[1, 0]], np.int32)
    yield Case("SpaceToBatchND", (floats(2, 3), np.asarray([2], np.int32), one))
    yield Case("BatchToSpaceND", (floats(4, 3), np.asarray([2], np.int32), one))
    yield Case("SpaceToBatchND", (floats(0, 4, 2), np.asarray([2], np.int32), 2 * one))


def suppressed() -> Iterator[Case]:
    corners = rng(5).random((40, 4)).astype(np.float32)
    scores = (rng(6).integers(0, 12, 40) / 12).astype(np.float32)
    for most, overlap in itertools.product([0, 5, 40], [0.0, 0.1, 0.5, 1.0]):
        count, part = np.int32(most), np.float32(overlap)
        yield Case("NonMaxSuppression", (corners, scores, count), {"iou_threshold": float(part)})
        for dtype in (np.float32, np.float16):
            given = (corners.astype(dtype), scores.astype(dtype), count, dtype(overlap))
            yield Case("NonMaxSuppressionV2", given)
            yield Case("NonMaxSuppressionV3", (*given, dtype(0.25)))
    flat = np.asarray([[0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]], np.float32)
    even, half = np.full(4, 0.5, np.float32), np.float32(0.5)
    yield Case("NonMaxSuppressionV3", (flat, even, np.int32(4), half, np.float32("-inf")))
    yield Case("NonMaxSuppressionV3", (flat[:0], even[:0], np.int32(4), half, half))


def quantized() -> Iterator[Case]:
    x = np.concatenate([floats(60, scale=4), np.asarray([np.inf, -np.inf, np.nan, 0], np.float32)])
    ranges = [(-6.0, 6.0), (0.0, 1.0), (1.0, 2.0), (-3.0, -1.0), (-0.1, 7.3)]
    for (low, high), bits, narrow in itertools.product(ranges, [2, 4, 8, 16], [False, True]):
        attrs = {"num_bits": bits, "narrow_range": narrow}
        yield Case("FakeQuantWithMinMaxArgs", (x,), attrs | {"min": low, "max": high})
        yield Case("FakeQuantWithMinMaxVars", (x, np.float32(low), np.float32(high)), attrs)
    yield Case("FakeQuantWithMinMaxVars", (x, np.float32(0), np.float32(0)))
    least, greatest = (np.asarray(v, np.float32) for v in zip(*ranges[:3], (0, 0), strict=True))
    for shape in ((4,), (3, 4), (2, 3, 4), (2, 2, 3, 4)):
        yield Case("FakeQuantWithMinMaxVarsPerChannel", (floats(*shape), least, greatest))


CASES = [
    *convolutions(),
    *pools(),
    *normalizations(),
    *activations(),
    *losses(),
    *rankings(),
    *resized(),
    *pieces(),
    *moved_blocks(),
    *suppressed(),
    *quantized(),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_as_tensorflow(case: Case) -> None:
    want = (case.reference or eager)(case)[: case.compared]
    got = mine(case)
    assert len(got) == len(op_defs()[case.op].output_arg)
    for ours, theirs in zip(got, want, strict=case.compared is None):
        assert isinstance(ours, np.ndarray)
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        tolerance = TOLERANCE.get(ours.dtype.name, 0)
        wide = np.float64 if ours.dtype == BFLOAT16 else ours.dtype
        np.testing.assert_allclose(ours.astype(wide), theirs.astype(wide), rtol=tolerance, atol=tolerance)


def test_every_kernel_has_cases() -> None:
    names = {module.__name__ for module in MODULES}
    assert {op for op, function in KERNELS.items() if function.__module__ in names} == {case.op for case in CASES}
