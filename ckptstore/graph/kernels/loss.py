"""Losses: cross entropies with softmax, and half the sum of squares."""

from __future__ import annotations

import numpy as np

from ckptstore.graph.kernels.activation import shifted_exponentials
from ckptstore.graph.kernels.precision import is_narrow, through_float32
from ckptstore.graph.kernels.registry import Array, Attributes, kernel
from ckptstore.graph.kernels.windows import check_rank


@kernel("L2Loss")
def _l2_loss(attrs: Attributes, t: Array) -> Array:
    del attrs
    return np.asarray(through_float32(lambda t: np.sum(t * t) / t.dtype.type(2))(t))


def _cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
    """The loss of each row, and its gradient by the logits."""
    shifted, exponentials, total = shifted_exponentials(logits)
    loss = (labels * (np.log(total) - shifted)).sum(-1) if logits.size else np.zeros(logits.shape[0], logits.dtype)
    return loss, exponentials / total - labels


@kernel("SoftmaxCrossEntropyWithLogits")
def _softmax_cross_entropy(attrs: Attributes, logits: Array, labels: Array) -> tuple[Array, Array]:
    del attrs
    dtype = logits.dtype
    try:
        logits, labels = np.broadcast_arrays(logits, labels)
    except ValueError:
        raise ValueError(
            f"logits and labels must have one shape, not {list(logits.shape)} and {list(labels.shape)}"
        ) from None
    check_rank("logits", logits, 2)
    if is_narrow(logits):
        logits, labels = logits.astype(np.float32), labels.astype(np.float32)
    loss, gradient = _cross_entropy(logits, labels)
    return loss.astype(dtype), gradient.astype(dtype)


@kernel("SparseSoftmaxCrossEntropyWithLogits")
def _sparse_softmax_cross_entropy(attrs: Attributes, logits: Array, labels: Array) -> tuple[Array, Array]:
    del attrs
    check_rank("logits", logits, 2)
    rows, classes = logits.shape
    if labels.shape != (rows,):
        raise ValueError(f"labels must have the shape {[rows]}, one a row of logits, not {list(labels.shape)}")
    outside = labels[(labels < 0) | (labels >= classes)]
    if outside.size:
        raise ValueError(f"a label of {outside[0]} is not in [0, {classes}), the range of classes")
    wide = logits.astype(np.float32) if is_narrow(logits) else logits
    shifted, exponentials, total = shifted_exponentials(wide)
    chosen = np.arange(rows), labels
    gradient = exponentials / total
    gradient[chosen] -= 1
    loss = np.log(total[:, 0]) - shifted[chosen]  # not by one-hot labels: 0 times -inf would be NaN
    return loss.astype(logits.dtype), gradient.astype(logits.dtype)
