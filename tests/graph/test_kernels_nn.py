"""The kernels of neural networks: results checked by hand or recorded from TensorFlow, and what they refuse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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

MODULES = (activation, blocks, boxes, convolution, image, loss, normalization, pooling, quantization, ranking)

Array = np.ndarray[Any, Any]
NAN, INF = float("nan"), float("inf")
NARROW = pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])


@dataclass(frozen=True)
class Known:
    op: str
    attrs: dict[str, Any]
    inputs: list[Array]
    outputs: tuple[tuple[list[int], list[Any]], ...]

    def __str__(self) -> str:
        return f"{self.op}-" + "-".join(map(str, self.attrs.values()))


def known(op: str, attrs: dict[str, Any], inputs: list[Any], *outputs: tuple[list[int], list[Any]]) -> Known:
    """A node with attributes that are not the defaults, and its first outputs: shapes and flat values."""
    return Known(op, attrs, [np.asarray(x) for x in inputs], outputs)


def run(op: str, attrs: dict[str, Any], *inputs: Any) -> Sequence[Array]:
    """All outputs of a kernel, with the op's defaults filled in; inputs that it may not write to."""
    filled = {attr.name: decode_attribute(attr.default_value) for attr in op_defs()[op].attr} | attrs
    arrays = [np.array(x) for x in inputs]
    for array in arrays:
        array.setflags(write=False)
    with np.errstate(all="ignore"):  # as who runs them does
        out = KERNELS[op](filled, *arrays)
    return [out] if isinstance(out, np.ndarray) else out


def grid(*shape: int) -> Array:
    """1, 2, 3 ... in a shape."""
    return np.arange(1, np.prod(shape) + 1, dtype=np.float32).reshape(shape)


def row(*values: float) -> Array:
    return np.asarray(values, np.float32)


def ints(*values: int) -> Array:
    return np.asarray(values, np.int32)


KNOWN = [
    known(
        "Conv2D",
        {"strides": [1, 1, 1, 1], "padding": b"SAME"},
        [grid(1, 3, 3, 1), grid(2, 2, 1, 1)],
        ([1, 3, 3, 1], [37, 47, 21, 67, 77, 33, 23, 26, 9]),
    ),
    known(
        "Conv2D",
        {"strides": [1, 2, 2, 1], "padding": b"VALID"},
        [grid(1, 3, 4, 1), grid(2, 2, 1, 2)],
        ([1, 1, 2, 2], [74, 88, 106, 128]),
    ),
    known(
        "Conv2D",
        {"strides": [1, 1, 1, 1], "padding": b"VALID", "dilations": [1, 2, 1, 1]},
        [grid(1, 3, 2, 1), grid(2, 1, 1, 1)],
        ([1, 1, 2, 1], [11, 14]),
    ),
    known(
        "Conv2D",
        {"strides": [1, 1, 1, 1], "padding": b"EXPLICIT", "explicit_paddings": [0, 0, 1, 0, 0, 2, 0, 0]},
        [grid(1, 2, 1, 1), grid(2, 1, 1, 1)],
        ([1, 2, 3, 1], [2, 0, 0, 5, 0, 0]),
    ),
    known(
        "Conv2D",
        {"strides": [1, 1, 1, 1], "padding": b"VALID"},
        [grid(1, 1, 2, 4), grid(1, 1, 2, 2)],
        ([1, 1, 2, 2], [7, 22, 23, 46]),
    ),
    known(
        "Conv2D",
        {"strides": [1, 1, 1, 1], "padding": b"SAME", "data_format": b"NCHW"},
        [grid(1, 2, 2, 2), grid(2, 1, 2, 1)],
        ([1, 1, 2, 2], [48, 58, 17, 20]),
    ),
    known(
        "Conv2DBackpropInput",
        {"strides": [1, 2, 2, 1], "padding": b"SAME"},
        [ints(1, 4, 4, 1), grid(2, 2, 1, 1), grid(1, 2, 2, 1)],
        ([1, 4, 4, 1], [1, 2, 2, 4, 3, 4, 6, 8, 3, 6, 4, 8, 9, 12, 12, 16]),
    ),
    known(
        "Conv2DBackpropInput",
        {"strides": [1, 2, 2, 1], "padding": b"VALID"},
        [ints(1, 3, 4, 2), grid(1, 1, 2, 1), grid(1, 2, 2, 1)],
        ([1, 3, 4, 2], [1, 2, 0, 0, 2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 6, 0, 0, 4, 8, 0, 0]),
    ),
    known(
        "Conv3D",
        {"strides": [1, 1, 1, 1, 1], "padding": b"VALID"},
        [grid(1, 2, 2, 3, 1), grid(2, 2, 2, 1, 1)],
        ([1, 1, 1, 2, 1], [278, 314]),
    ),
    known(
        "DepthwiseConv2dNative",
        {"strides": [1, 1, 1, 1], "padding": b"VALID"},
        [grid(1, 2, 2, 2), grid(2, 1, 2, 2)],
        ([1, 1, 2, 4], [26, 32, 48, 56, 38, 48, 68, 80]),
    ),
    known(
        "DepthwiseConv2dNative",
        {"strides": [1, 1, 1, 1], "padding": b"VALID", "dilations": [1, 2, 2, 1]},
        [grid(1, 3, 3, 1), grid(2, 2, 1, 1)],
        ([1, 1, 1, 1], [64]),
    ),
    known(
        "MaxPool",
        {"ksize": [1, 2, 2, 1], "strides": [1, 2, 2, 1], "padding": b"SAME"},
        [grid(1, 3, 3, 1)],
        ([1, 2, 2, 1], [5, 6, 8, 9]),
    ),
    known(
        "MaxPool",
        {"ksize": [1, 1, 1, 1], "strides": [1, 3, 3, 1], "padding": b"VALID"},
        [-grid(1, 4, 4, 1)],
        ([1, 2, 2, 1], [-1, -4, -13, -16]),
    ),
    known(
        "MaxPool",
        {"ksize": [1, 1, 2, 2], "strides": [1, 1, 1, 1], "padding": b"VALID", "data_format": b"NCHW"},
        [-grid(1, 2, 2, 2)],
        ([1, 2, 1, 1], [-1, -5]),
    ),
    known(
        "MaxPool",
        {
            "ksize": [1, 2, 2, 1],
            "strides": [1, 2, 2, 1],
            "padding": b"EXPLICIT",
            "explicit_paddings": [0, 0, 1, 0, 1, 0, 0, 0],
        },
        [-grid(1, 3, 3, 1)],
        ([1, 2, 2, 1], [-1, -2, -4, -5]),
    ),
    known(
        "MaxPoolV2",
        {"padding": b"VALID"},
        [grid(1, 2, 3, 1), ints(1, 2, 2, 1), ints(1, 1, 1, 1)],
        ([1, 1, 2, 1], [5, 6]),
    ),
    known(
        "MaxPool3D",
        {"ksize": [1, 2, 2, 2, 1], "strides": [1, 1, 1, 1, 1], "padding": b"VALID"},
        [grid(1, 2, 2, 3, 1)],
        ([1, 1, 1, 2, 1], [11, 12]),
    ),
    known(
        "MaxPoolWithArgmax",
        {"ksize": [1, 2, 2, 1], "strides": [1, 1, 1, 1], "padding": b"SAME"},
        [row(1, 3, 3, 2).reshape(1, 2, 2, 1)],
        ([1, 2, 2, 1], [3, 3, 3, 2]),
        ([1, 2, 2, 1], [1, 1, 2, 3]),
    ),
    known(
        "MaxPoolWithArgmax",
        {
            "ksize": [1, 1, 2, 1],
            "strides": [1, 1, 1, 1],
            "padding": b"VALID",
            "include_batch_in_index": True,
            "Targmax": as_dtype("int32"),
        },
        [grid(2, 1, 2, 1)],
        ([2, 1, 1, 1], [2, 4]),
        ([2, 1, 1, 1], [1, 3]),
    ),
    known(
        "AvgPool",
        {"ksize": [1, 3, 3, 1], "strides": [1, 1, 1, 1], "padding": b"SAME"},
        [grid(1, 2, 2, 1)],
        ([1, 2, 2, 1], [2.5, 2.5, 2.5, 2.5]),
    ),
    known(
        "AvgPool",
        {"ksize": [1, 2, 2, 1], "strides": [1, 2, 2, 1], "padding": b"SAME"},
        [grid(1, 3, 3, 1)],
        ([1, 2, 2, 1], [3, 4.5, 7.5, 9]),
    ),
    known(
        "AvgPool",
        {"ksize": [1, 1, 2, 2], "strides": [1, 1, 1, 1], "padding": b"VALID", "data_format": b"NCHW"},
        [grid(1, 2, 2, 2)],
        ([1, 2, 1, 1], [2.5, 6.5]),
    ),
    known(
        "AvgPool3D",
        {"ksize": [1, 2, 2, 2, 1], "strides": [1, 1, 1, 1, 1], "padding": b"VALID"},
        [grid(1, 2, 2, 3, 1)],
        ([1, 1, 1, 2, 1], [6, 7]),
    ),
    known(
        "FusedBatchNorm",
        {"is_training": False, "epsilon": 0.0},
        [grid(1, 1, 2, 2), row(2, 1), row(0, 5), row(1, 2), row(4, 1)],
        ([1, 1, 2, 2], [0, 5, 2, 7]),
        ([2], [1, 2]),
        ([2], [4, 1]),
    ),
    known(
        "FusedBatchNorm",
        {"is_training": True, "epsilon": 0.0},
        [grid(1, 2, 1, 2), row(2, 1), row(0, 5), row(), row()],
        ([1, 2, 1, 2], [-2, 4, 2, 6]),
        ([2], [2, 3]),
        ([2], [2, 2]),
        ([2], [2, 3]),
        ([2], [1, 1]),
    ),
    known(
        "FusedBatchNormV2",
        {"is_training": True, "epsilon": 0.0, "exponential_avg_factor": 0.25},
        [grid(1, 2, 1, 2), row(2, 1), row(0, 5), row(4, 4), row(8, 0)],
        ([1, 2, 1, 2], [-2, 4, 2, 6]),
        ([2], [3.5, 3.75]),
        ([2], [6.5, 0.5]),
        ([2], [2, 3]),
        ([2], [1, 1]),
    ),
    known(
        "FusedBatchNormV3",
        {"is_training": False, "epsilon": 0.0, "data_format": b"NCHW"},
        [grid(1, 2, 1, 2), row(2, 1), row(0, 5), row(1, 2), row(4, 1)],
        ([1, 2, 1, 2], [0, 1, 6, 7]),
        ([2], [1, 2]),
        ([2], [4, 1]),
    ),
    known(
        "FusedBatchNormV3",
        {"is_training": True},
        [grid(0, 1, 1, 1), row(1), row(1), row(), row()],
        ([0, 1, 1, 1], []),
        ([1], [NAN]),
        ([1], [NAN]),
        ([1], [0]),
        ([1], [0]),
    ),
    known(
        "BatchNormWithGlobalNormalization",
        {"variance_epsilon": 0.0, "scale_after_normalization": True},
        [grid(1, 1, 2, 2), row(1, 2), row(4, 1), row(0, 5), row(2, 3)],
        ([1, 1, 2, 2], [0, 5, 2, 11]),
    ),
    known(
        "BatchNormWithGlobalNormalization",
        {"variance_epsilon": 0.0, "scale_after_normalization": False},
        [grid(1, 1, 2, 2), row(1, 2), row(4, 1), row(0, 5), row(2, 3)],
        ([1, 1, 2, 2], [0, 5, 1, 7]),
    ),
    known(
        "LRN",
        {"depth_radius": 1, "bias": 1.0, "alpha": 1.0, "beta": 1.0},
        [grid(1, 1, 1, 3)],
        ([1, 1, 1, 3], [0.166667, 0.133333, 0.214286]),
    ),
    known("BiasAdd", {}, [grid(1, 2, 2), row(10, 20)], ([1, 2, 2], [11, 22, 13, 24])),
    known("BiasAdd", {"data_format": b"NCHW"}, [grid(1, 2, 2), row(10, 20)], ([1, 2, 2], [11, 12, 23, 24])),
    known("BiasAddV1", {}, [grid(2, 2), row(10, 20)], ([2, 2], [11, 22, 13, 24])),
    known("Relu", {}, [row(-1, 0, 2, NAN)], ([4], [0, 0, 2, NAN])),
    known("Relu", {}, [ints(-1, 0, 2)], ([3], [0, 0, 2])),
    known("Relu6", {}, [row(-1, 2, 7)], ([3], [0, 2, 6])),
    known("LeakyRelu", {"alpha": 0.25}, [row(-2, 0, 2)], ([3], [-0.5, 0, 2])),
    known("Elu", {}, [row(-1, 0, 100)], ([3], [-0.632121, 0, 100])),
    known("Selu", {}, [row(-1, 0, 1)], ([3], [-1.11133, 0, 1.0507])),
    known("Softplus", {}, [row(-100, 0, 100)], ([3], [0, 0.693147, 100])),
    known("Softsign", {}, [row(-1, 0, 3)], ([3], [-0.5, 0, 0.75])),
    known("Sigmoid", {}, [row(-1000, 0, 1, 1000)], ([4], [0, 0.5, 0.731059, 1])),
    known("Tanh", {}, [row(-1, 0, 1000)], ([3], [-0.761594, 0, 1])),
    known(
        "Softmax", {}, [row(0, 0, 1000, 1000, 1, 2).reshape(3, 2)], ([3, 2], [0.5, 0.5, 0.5, 0.5, 0.268941, 0.731059])
    ),
    known("LogSoftmax", {}, [row(0, 0, 0, 1000).reshape(2, 2)], ([2, 2], [-0.693147, -0.693147, -1000, 0])),
    known("L2Loss", {}, [row(1, 2, 3)], ([], [7])),
    known(
        "SoftmaxCrossEntropyWithLogits",
        {},
        [row(0, 0, 1, 2).reshape(2, 2), row(1, 0).reshape(1, 2)],
        ([2], [0.693147, 1.31326]),
        ([2, 2], [-0.5, 0.5, -0.731059, 0.731059]),
    ),
    known("SoftmaxCrossEntropyWithLogits", {}, [grid(2, 0), grid(2, 0)], ([2], [0, 0]), ([2, 0], [])),
    known(
        "SparseSoftmaxCrossEntropyWithLogits",
        {},
        [row(0, 0, 1, -INF).reshape(2, 2), ints(1, 0)],
        ([2], [0.693147, 0]),
        ([2, 2], [0.5, -0.5, 0, 0]),
    ),
    known("InTopK", {"k": 2}, [row(1, 2, 2, 3, 1, NAN).reshape(2, 3), ints(0, 0)], ([2], [False, False])),
    known("InTopKV2", {}, [row(1, 2, 2, 3, 1, 2).reshape(2, 3), ints(1, 3), np.int32(1)], ([2], [True, False])),
    known("TopK", {"k": 2}, [row(1, 3, 3, 2)], ([2], [3, 3]), ([2], [1, 2])),
    known(
        "TopKV2",
        {},
        [ints(5, 7, 7, 1, 1, 0).reshape(2, 3), np.int32(2)],
        ([2, 2], [7, 7, 1, 1]),
        ([2, 2], [1, 2, 0, 1]),
    ),
    known(
        "TopKV2",
        {"index_type": as_dtype("int64")},
        [np.asarray([0, 255, 255], np.uint8), np.int32(3)],
        ([3], [255, 255, 0]),
        ([3], [1, 2, 0]),
    ),
    known("NthElement", {}, [row(3, 1, 2), np.int32(1)], ([], [2])),
    known("NthElement", {"reverse": True}, [row(3, 1, 2), np.int32(0)], ([], [3])),
    known("ResizeBilinear", {}, [grid(1, 2, 2, 1), ints(2, 4)], ([1, 2, 4, 1], [1, 1.5, 2, 2, 3, 3.5, 4, 4])),
    known(
        "ResizeBilinear",
        {"align_corners": True},
        [grid(1, 2, 2, 1), ints(3, 3)],
        ([1, 3, 3, 1], [1, 1.5, 2, 2, 2.5, 3, 3, 3.5, 4]),
    ),
    known(
        "ResizeBilinear",
        {"half_pixel_centers": True},
        [grid(1, 2, 2, 1), ints(1, 4)],
        ([1, 1, 4, 1], [2, 2.25, 2.75, 3]),
    ),
    known("ResizeNearestNeighbor", {}, [grid(1, 1, 3, 1), ints(1, 5)], ([1, 1, 5, 1], [1, 1, 2, 2, 3])),
    known(
        "ResizeNearestNeighbor",
        {"align_corners": True},
        [grid(1, 1, 3, 1), ints(1, 5)],
        ([1, 1, 5, 1], [1, 2, 2, 3, 3]),
    ),
    known(
        "ResizeNearestNeighbor", {"half_pixel_centers": True}, [grid(1, 1, 3, 1), ints(1, 2)], ([1, 1, 2, 1], [1, 3])
    ),
    known(
        "ResizeBicubic",
        {},
        [grid(1, 1, 4, 1), ints(1, 8)],
        ([1, 1, 8, 1], [1, 1.40625, 2, 2.5, 3, 3.59375, 4, 4.09375]),
    ),
    known(
        "ResizeBicubic",
        {"half_pixel_centers": True},
        [grid(1, 1, 4, 1), ints(1, 2)],
        ([1, 1, 2, 1], [1.41176, 3.58824]),
    ),
    known(
        "CropAndResize",
        {"extrapolation_value": 9.0},
        [grid(1, 3, 3, 1), row(0, 0, 1, 1, 0.5, 0.5, 1.5, 1).reshape(2, 4), ints(0, 0), ints(2, 2)],
        ([2, 2, 2, 1], [1, 3, 7, 9, 5, 6, 9, 9]),
    ),
    known(
        "CropAndResize",
        {"method": b"nearest"},
        [grid(1, 3, 3, 1), row(0, 0.25, 1, 0.5).reshape(1, 4), ints(0), ints(2, 2)],
        ([1, 2, 2, 1], [2, 2, 8, 8]),
    ),
    known(
        "ExtractImagePatches",
        {"ksizes": [1, 2, 2, 1], "strides": [1, 1, 1, 1], "rates": [1, 1, 1, 1], "padding": b"SAME"},
        [grid(1, 2, 2, 1)],
        ([1, 2, 2, 4], [1, 2, 3, 4, 2, 0, 4, 0, 3, 4, 0, 0, 4, 0, 0, 0]),
    ),
    known("SpaceToDepth", {"block_size": 2}, [grid(1, 2, 4, 1)], ([1, 1, 2, 4], [1, 2, 5, 6, 3, 4, 7, 8])),
    known(
        "SpaceToDepth",
        {"block_size": 2, "data_format": b"NCHW"},
        [grid(1, 2, 2, 2)],
        ([1, 8, 1, 1], [1, 5, 2, 6, 3, 7, 4, 8]),
    ),
    known("DepthToSpace", {"block_size": 2}, [grid(1, 1, 2, 4)], ([1, 2, 4, 1], [1, 2, 5, 6, 3, 4, 7, 8])),
    known(
        "DepthToSpace",
        {"block_size": 2, "data_format": b"NCHW"},
        [grid(1, 4, 1, 2)],
        ([1, 1, 2, 4], [1, 3, 2, 4, 5, 7, 6, 8]),
    ),
    known(
        "SpaceToBatchND", {}, [grid(1, 3, 2), ints(2), ints(1, 0).reshape(1, 2)], ([2, 2, 2], [0, 0, 3, 4, 1, 2, 5, 6])
    ),
    known("BatchToSpaceND", {}, [grid(2, 2, 2), ints(2), ints(1, 0).reshape(1, 2)], ([1, 3, 2], [5, 6, 3, 4, 7, 8])),
    known(
        "SpaceToBatch",
        {"block_size": 2},
        [grid(1, 2, 2, 1), ints(0, 0, 1, 1).reshape(2, 2)],
        ([4, 1, 2, 1], [0, 2, 1, 0, 0, 4, 3, 0]),
    ),
    known(
        "BatchToSpace", {"block_size": 2}, [grid(4, 1, 1, 1), ints(0, 0, 0, 1).reshape(2, 2)], ([1, 2, 1, 1], [1, 3])
    ),
    known(
        "NonMaxSuppression",
        {"iou_threshold": 0.5},
        [row(0, 0, 1, 1, 0, 0, 1, 0.9, 0, 2, 1, 3).reshape(3, 4), row(0.5, 0.9, 0.5), np.int32(3)],
        ([2], [1, 2]),
    ),
    known(
        "NonMaxSuppressionV2",
        {},
        [row(0, 0, 1, 1, 1, 1, 0, 0, 0, 2, 1, 3).reshape(3, 4), row(0.5, 0.5, 0.1), np.int32(3), np.float32(0.5)],
        ([2], [0, 2]),
    ),
    known(
        "NonMaxSuppressionV3",
        {},
        [
            row(0, 0, 1, 1, 0, 0, 1, 0.5, 0, 2, 1, 3).reshape(3, 4),
            row(0.5, 0.9, 0.1),
            np.int32(3),
            np.float32(0.5),
            np.float32(0.1),
        ],
        ([2], [1, 0]),
    ),
    known(
        "FakeQuantWithMinMaxArgs",
        {"min": 0.0, "max": 3.0, "num_bits": 2},
        [row(-1, 0.4, 0.5, 1.5, 2.6, 9)],
        ([6], [0, 0, 1, 2, 3, 3]),
    ),
    known(
        "FakeQuantWithMinMaxArgs",
        {"min": -0.5, "max": 1.0, "num_bits": 2, "narrow_range": True},
        [row(-9, 0, 0.3, 0.4, 9)],
        ([5], [-0.75, 0, 0, 0.75, 0.75]),
    ),
    known(
        "FakeQuantWithMinMaxVars",
        {"num_bits": 2},
        [row(-9, 1, 1.2, 9), np.float32(1), np.float32(2)],
        ([4], [0, 1, 1, 1]),
    ),
    known("FakeQuantWithMinMaxVars", {}, [row(1, 2), np.float32(0), np.float32(0)], ([2], [0, 0])),
    known(
        "FakeQuantWithMinMaxVarsPerChannel",
        {"num_bits": 2},
        [grid(2, 2), row(0, 0), row(3, 1.5)],
        ([2, 2], [1, 1.5, 3, 1.5]),
    ),
]

WINDOW: dict[str, Any] = {"strides": [1, 1, 1, 1], "padding": b"VALID"}
POOL = WINDOW | {"ksize": [1, 2, 2, 1]}
PATCH = {"ksizes": [1, 1, 1, 1], "strides": [1, 1, 1, 1], "rates": [1, 1, 1, 1], "padding": b"SAME"}
BATCH_NORM = [grid(1, 1, 2, 2), row(1, 1), row(0, 0), row(0, 0), row(1, 1)]
IMAGE = grid(1, 2, 2, 1)
BOXES = grid(2, 4)

REFUSED: list[tuple[str, dict[str, Any], list[Any], str]] = [
    ("Conv2D", WINDOW, [grid(2, 2, 1), grid(1, 1, 1, 1)], r"input must have 4 dimensions, .* \[2, 2, 1\]"),
    ("Conv2D", WINDOW, [IMAGE, grid(1, 1, 1)], "filter must have 4 dimensions"),
    ("Conv2D", WINDOW, [grid(1, 2, 2, 3), grid(1, 1, 2, 2)], r"\[1, 1, 2, 2\] do not go with 3 channels"),
    ("Conv2D", WINDOW, [grid(1, 2, 2, 4), grid(1, 1, 2, 3)], r"\[1, 1, 2, 3\] do not go with 4 channels"),
    ("Conv2D", WINDOW | {"strides": [2, 1, 1, 1]}, [IMAGE, grid(1, 1, 1, 1)], r"strides .* must be 1 in the batch"),
    ("Conv2D", WINDOW | {"strides": [1, 0, 1, 1]}, [IMAGE, grid(1, 1, 1, 1)], r"strides .* must be positive"),
    ("Conv2D", WINDOW | {"dilations": [1, 1, 1, 2]}, [IMAGE, grid(1, 1, 1, 1)], "dilations .* must be 1"),
    ("Conv2D", WINDOW | {"padding": b"FULL"}, [IMAGE, grid(1, 1, 1, 1)], "none of SAME, VALID and EXPLICIT"),
    ("Conv2D", WINDOW | {"padding": b"EXPLICIT"}, [IMAGE, grid(1, 1, 1, 1)], "explicit_paddings .* must be 8 numbers"),
    ("Conv2D", WINDOW, [IMAGE, grid(4, 1, 1, 1)], "a window of 4 does not fit into 2"),
    ("Conv2D", WINDOW | {"data_format": b"NCHW_VECT_C"}, [IMAGE, grid(1, 1, 1, 1)], "use NHWC or NCHW"),
    ("Conv3D", {"strides": [1] * 5, "padding": b"SAME"}, [IMAGE, grid(1, 1, 1, 1, 1)], "input must have 5"),
    ("DepthwiseConv2dNative", WINDOW, [IMAGE, grid(1, 1, 2, 1)], "do not go with 1 channels"),
    (
        "Conv2DBackpropInput",
        WINDOW,
        [ints(1, 3, 3, 1), grid(2, 2, 1, 1), IMAGE[:, :1]],
        r"\[1, 1, 2, 1\], .* gives \[1, 2, 2, 1\]",
    ),
    ("Conv2DBackpropInput", WINDOW, [ints(1, 3, 3), grid(2, 2, 1, 1), IMAGE], "2 or 4 numbers, not"),
    ("MaxPool", POOL, [grid(2, 2, 1)], "input must have 4 dimensions"),
    ("MaxPool", POOL | {"ksize": [1, 2, 2]}, [IMAGE], "must be 4 numbers each"),
    ("MaxPool", POOL | {"ksize": [1, 1, 1, 2]}, [IMAGE], "ksize .* must be 1 in the batch and in the channels"),
    (
        "MaxPool",
        POOL | {"padding": b"EXPLICIT", "explicit_paddings": [0, 0, 2, 0, 0, 0, 0, 0]},
        [IMAGE],
        "a padding of 2 must be smaller than the window, 2",
    ),
    ("AvgPool", POOL | {"strides": [1, 1, 1, 2]}, [IMAGE], "strides .* must be 1"),
    ("FusedBatchNorm", {}, [grid(2, 2), *BATCH_NORM[1:]], "x must have 4 dimensions"),
    ("FusedBatchNorm", {"is_training": False}, [*BATCH_NORM[:3], row(1), row(1, 1)], r"mean must have the shape \[2\]"),
    ("FusedBatchNormV3", {}, [BATCH_NORM[0], row(1), *BATCH_NORM[2:]], r"scale must have the shape \[2\], not \[1\]"),
    ("FusedBatchNormV3", {"data_format": b"NDHWC"}, BATCH_NORM, "x must have 5 dimensions"),
    ("LRN", {}, [grid(2, 2)], "input must have 4 dimensions"),
    ("BiasAdd", {}, [row(1, 2), row(1, 2)], "value must have 2 dimensions or more"),
    ("BiasAdd", {"data_format": b"NCHW"}, [grid(2, 1, 3), row(1, 2, 3)], r"bias must have the shape \[1\], not \[3\]"),
    ("Softmax", {}, [np.float32(1)], "logits must have 1 dimension or more"),
    ("SoftmaxCrossEntropyWithLogits", {}, [grid(2, 3), grid(2, 2)], "logits and labels must have one shape"),
    ("SoftmaxCrossEntropyWithLogits", {}, [grid(2), grid(2)], "logits must have 2 dimensions"),
    ("SparseSoftmaxCrossEntropyWithLogits", {}, [grid(2, 3), ints(0, 3)], r"a label of 3 is not in \[0, 3\)"),
    ("SparseSoftmaxCrossEntropyWithLogits", {}, [grid(2, 3), ints(0)], r"labels must have the shape \[2\]"),
    ("TopK", {"k": 3}, [row(1, 2)], "k is 3, but rows have 2 elements"),
    ("TopKV2", {}, [np.float32(1), np.int32(0)], "1 dimension or more"),
    ("NthElement", {}, [row(1, 2), np.int32(2)], "n is 2, but rows have 2 elements"),
    ("InTopK", {"k": 1}, [grid(2, 3), ints(0)], r"targets must have the shape \[2\]"),
    ("ResizeBilinear", {}, [IMAGE, ints(0, 1)], r"both positive, not \[0, 1\]"),
    ("ResizeBilinear", {}, [IMAGE[:, :0], ints(1, 1)], "nothing to resize"),
    ("ResizeNearestNeighbor", {}, [grid(2, 2), ints(1, 1)], "images must have 4 dimensions"),
    (
        "ResizeBicubic",
        {"align_corners": True, "half_pixel_centers": True},
        [IMAGE, ints(1, 1)],
        "half_pixel_centers and align_corners cannot both be true",
    ),
    ("CropAndResize", {}, [IMAGE, BOXES, ints(0, 1), ints(1, 1)], "not in the batch of 1"),
    ("CropAndResize", {}, [IMAGE, BOXES, ints(0), ints(1, 1)], "box_ind one number a row"),
    ("CropAndResize", {}, [IMAGE, BOXES, ints(0, 0), ints(1, 0)], "crop_size must be"),
    ("CropAndResize", {"method": b"cubic"}, [IMAGE, BOXES, ints(0, 0), ints(1, 1)], "none of bilinear and nearest"),
    ("ExtractImagePatches", PATCH | {"rates": [1, 0, 1, 1]}, [IMAGE], "rates .* must be positive"),
    ("SpaceToDepth", {"block_size": 2}, [grid(1, 3, 2, 1)], "3 by 2 does not divide into blocks of 2"),
    ("SpaceToDepth", {"block_size": 1}, [IMAGE], "block_size must be 2 or more"),
    ("DepthToSpace", {"block_size": 2}, [grid(1, 1, 1, 6)], "6 channels do not divide"),
    ("SpaceToBatchND", {}, [IMAGE, ints(2), grid(2, 2).astype(int)], "paddings or crops a pair for each"),
    ("SpaceToBatchND", {}, [grid(1, 3), ints(2), np.zeros((1, 2), int)], "3 with its padding does not divide"),
    ("SpaceToBatchND", {}, [grid(2), ints(2), np.zeros((1, 2), int)], "has no 1 dimensions after the batch"),
    ("SpaceToBatchND", {}, [grid(1, 2), ints(0), np.zeros((1, 2), int)], "must be positive"),
    ("BatchToSpaceND", {}, [grid(3, 2), ints(2), np.zeros((1, 2), int)], "a batch of 3 does not divide"),
    ("BatchToSpaceND", {}, [grid(2, 1), ints(2), ints(2, 1).reshape(1, 2)], "are more than there is"),
    ("SpaceToBatch", {"block_size": 2}, [grid(2, 2), np.zeros((2, 2), int)], "input must have 4 dimensions"),
    ("NonMaxSuppression", {"iou_threshold": 1.5}, [BOXES, row(1, 1), np.int32(1)], r"in \[0, 1\], not 1.5"),
    ("NonMaxSuppression", {}, [BOXES, row(1), np.int32(1)], "scores one number a row"),
    ("FakeQuantWithMinMaxArgs", {"min": 1.0, "max": 1.0}, [row(1)], "min 1.0 must be less than max 1.0"),
    ("FakeQuantWithMinMaxVars", {"num_bits": 17}, [row(1), np.float32(0), np.float32(1)], "between 2 and 16, not 17"),
    ("FakeQuantWithMinMaxVars", {}, [row(1), row(0), np.float32(1)], "min must have 0 dimensions"),
    ("FakeQuantWithMinMaxVarsPerChannel", {}, [grid(2, 2), row(0), row(1)], "one number a channel of inputs"),
]


@pytest.mark.parametrize("case", KNOWN, ids=str)
def test_known(case: Known) -> None:
    got = run(case.op, case.attrs, *case.inputs)
    assert len(got) == len(op_defs()[case.op].output_arg)
    for output, (shape, values) in zip(got, case.outputs, strict=False):
        assert output.shape == tuple(shape)
        np.testing.assert_allclose(output.reshape(-1), values, rtol=2e-5, atol=1e-6)


def test_every_kernel_has_a_known_case() -> None:
    names = {module.__name__ for module in MODULES}
    assert {op for op, function in KERNELS.items() if function.__module__ in names} == {case.op for case in KNOWN}


@pytest.mark.parametrize(("op", "attrs", "inputs", "message"), REFUSED)
def test_refused(op: str, attrs: dict[str, Any], inputs: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(op, attrs, *inputs)


@pytest.mark.parametrize("op", ["MaxPool", "AvgPool", "Conv2D", "Conv2DBackpropInput"])
def test_windows_larger_than_their_steps_are_far(op: str) -> None:
    """Strides beyond the window: what lies between is not seen."""
    step = {"strides": [1, 3, 3, 1], "padding": b"VALID"}
    x, one = grid(1, 5, 5, 1), np.ones((1, 1, 1, 1), np.float32)
    seen = x[:, ::3, ::3]
    if op == "Conv2D":
        np.testing.assert_array_equal(run(op, step, x, one)[0], seen)
    elif op == "Conv2DBackpropInput":
        (spread,) = run(op, step, ints(1, 5, 5, 1), one, seen)
        np.testing.assert_array_equal(spread[:, ::3, ::3], seen)
        assert np.count_nonzero(spread) == seen.size
    else:
        np.testing.assert_array_equal(run(op, step | {"ksize": [1, 1, 1, 1]}, x)[0], seen)


@pytest.mark.parametrize("op", ["Conv2D", "DepthwiseConv2dNative", "MaxPool", "AvgPool"])
def test_an_empty_batch(op: str) -> None:
    filters = {"Conv2D": [grid(2, 2, 3, 5)], "DepthwiseConv2dNative": [grid(2, 2, 3, 1)]}.get(op, [])
    (out,) = run(op, POOL, np.zeros((0, 4, 4, 3), np.float32), *filters)
    assert out.shape == (0, 3, 3, 5 if op == "Conv2D" else 3)


def test_a_window_that_just_does_not_fit_is_none() -> None:
    (out,) = run("MaxPool", POOL | {"ksize": [1, 3, 2, 1]}, IMAGE)
    assert out.shape == (1, 0, 1, 1)


@NARROW
def test_sums_of_16_bits_are_in_32(dtype: Any) -> None:
    """In 16 bits a sum of ones gets no further than 256 or 2048."""
    ones = np.ones((1, 1, 1, 2304), dtype)
    (out,) = run("Conv2D", WINDOW, ones, np.ones((1, 1, 2304, 1), dtype))
    assert (out.dtype, out.item()) == (np.dtype(dtype), 2304)
    (out,) = run("AvgPool", POOL | {"ksize": [1, 48, 48, 1]}, ones.reshape(1, 48, 48, 1))
    assert (out.dtype, out.item()) == (np.dtype(dtype), 1)
    (out,) = run("L2Loss", {}, np.concatenate([ones.ravel(), ones.ravel()]))
    assert (out.dtype, out.item()) == (np.dtype(dtype), 2304)


@NARROW
def test_batch_statistics_of_16_bits_are_in_32(dtype: Any) -> None:
    x = np.asarray([1, 3], dtype).reshape(1, 2, 1, 1)
    y, mean, variance, *_ = run("FusedBatchNormV3", {"epsilon": 0.0}, x, row(1), row(0), row(), row())
    assert (y.dtype, mean.dtype, variance.dtype) == (np.dtype(dtype), np.dtype("f"), np.dtype("f"))
    assert (y.ravel().tolist(), mean.tolist(), variance.tolist()) == ([-1, 1], [2], [2])


@pytest.mark.parametrize("op", ["Elu", "Selu", "Softplus", "Softsign", "Sigmoid", "Tanh", "Relu6"])
@pytest.mark.parametrize("shape", [(), (2,)], ids=["scalar", "vector"])
@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_activations_keep_the_type(op: str, shape: tuple[int, ...], name: str) -> None:
    (out,) = run(op, {}, np.full(shape, 0.5, as_dtype(name).numpy))
    assert (out.dtype, out.shape) == (as_dtype(name).numpy, shape)


def test_float64_is_not_rounded() -> None:
    x = np.asarray([[1e-12, 0.0]])
    (out,) = run("LogSoftmax", {}, x)
    np.testing.assert_allclose(out[0, 0] - out[0, 1], 1e-12, rtol=1e-3)
    (sigmoid,) = run("Sigmoid", {}, np.float64(1e-12))
    assert 0.5 < sigmoid < 0.5 + 1e-12


def test_resized_numbers_are_float32_and_neighbours_as_they_were() -> None:
    images = np.full((1, 2, 2, 1), 200, np.uint8)
    (smooth,), (nearest,) = (run(f"Resize{kind}", {}, images, ints(3, 3)) for kind in ("Bilinear", "NearestNeighbor"))
    assert (smooth.dtype, nearest.dtype) == (np.dtype("f"), np.dtype(np.uint8))


def test_a_pool_of_integers_goes_below_any() -> None:
    least = np.iinfo(np.int64).min
    (out,) = run("MaxPool", POOL | {"padding": b"SAME"}, np.full((1, 1, 1, 1), least, np.int64))
    assert out.item() == least
