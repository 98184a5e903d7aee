"""Nodes that are there for what they do, or for their order, and not for what they give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ckptstore.graph.kernels.registry import Array, Attributes, kernel


@kernel("NoOp", "ControlTrigger", "PrintV2")
def _nothing(attrs: Attributes, *inputs: Array) -> Sequence[Array]:
    del attrs, inputs
    return []


@kernel("Print")
def _first(attrs: Attributes, x: Array, *data: Array) -> Array:
    """Nothing is printed: a library has no say over where."""
    del attrs, data
    return x


@kernel("Assert")
def _assert(attrs: Attributes, condition: Array, *data: Array) -> Sequence[Array]:
    if not np.all(condition):
        shown = attrs.get("summarize", 3)
        parts = [str(array.reshape(-1)[: shown if shown >= 0 else None].tolist()) for array in data]
        raise ValueError(f"the assertion does not hold: {' '.join(parts)}")
    return []
