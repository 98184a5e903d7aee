"""Boxes in images: which to keep of those that overlap."""

from __future__ import annotations

import numpy as np

from ckptstore.graph.kernels.precision import is_narrow
from ckptstore.graph.kernels.registry import Array, Attributes, kernel


def _overlaps(box: Array, others: Array) -> Array:
    """The area that a box shares with each of the others, as a part of what they cover together."""

    def area(corners: Array) -> Array:
        return np.asarray((corners[..., 2] - corners[..., 0]) * (corners[..., 3] - corners[..., 1]))

    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.maximum(high - low, 0).prod(-1)
    mine, theirs = area(box), area(others)
    together = mine + theirs - shared
    return np.where((mine > 0) & (theirs > 0), shared / np.where(together > 0, together, 1), 0)


def _kept(boxes: Array, scores: Array, most: int, overlap: float, least: float) -> Array:
    """The boxes by falling score, without those that overlap one before them; of equal scores the first is first."""
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != boxes.shape[:1]:
        raise ValueError(
            f"boxes must be rows of four numbers and scores one number a row, not of the shapes {list(boxes.shape)} "
            f"and {list(scores.shape)}"
        )
    if not 0 <= overlap <= 1:
        raise ValueError(f"iou_threshold must be in [0, 1], not {overlap}")
    if is_narrow(boxes):
        boxes, scores = boxes.astype(np.float32), scores.astype(np.float32)
    corners = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], -1)
    left = np.argsort(-scores, kind="stable")
    left = left[scores[left] > least]
    kept: list[int] = []
    while left.size and len(kept) < most:
        best, left = left[0], left[1:]
        kept.append(best)
        left = left[_overlaps(corners[best], corners[left]) <= overlap]
    return np.asarray(kept, np.int32)


@kernel("NonMaxSuppression")
def _non_max_suppression(attrs: Attributes, boxes: Array, scores: Array, most: Array) -> Array:
    return _kept(boxes, scores, int(most), attrs["iou_threshold"], -np.inf)


@kernel("NonMaxSuppressionV2")
def _non_max_suppression_v2(attrs: Attributes, boxes: Array, scores: Array, most: Array, overlap: Array) -> Array:
    del attrs
    return _kept(boxes, scores, int(most), float(overlap), -np.inf)


@kernel("NonMaxSuppressionV3")
def _non_max_suppression_v3(
    attrs: Attributes, boxes: Array, scores: Array, most: Array, overlap: Array, least: Array
) -> Array:
    del attrs
    return _kept(boxes, scores, int(most), float(overlap), float(least))
