"""What quantization would make of numbers, as training for it has it."""

from __future__ import annotations

import numpy as np

from ckptstore.graph.kernels.registry import Array, Attributes, kernel
from ckptstore.graph.kernels.windows import check_rank


def _quantized(attrs: Attributes, x: Array, low: Array, high: Array) -> Array:
    """Rounds to one of 2**num_bits numbers, of which 0 is one, evenly spread over about [low, high].

    All in float32, with halves up, and in this order: another would round some numbers to a neighbour.
    """
    bits = attrs["num_bits"]
    if not 2 <= bits <= 16:
        raise ValueError(f"num_bits must be between 2 and 16, not {bits}")
    first, last = np.float32(1 if attrs["narrow_range"] else 0), np.float32(2**bits - 1)
    half = np.float32(0.5)
    scale = (high - low) / (last - first)
    zero = np.clip(np.floor(first - low / scale + half), first, last)
    least, greatest = (first - zero) * scale, (last - zero) * scale
    inverse = np.float32(1) / scale
    inside = np.minimum(np.maximum(x, least), greatest)  # numpy 1's clip takes a bound of NaN for none
    steps = np.floor((inside - least) * inverse - np.floor(-least * inverse + half) + half)
    return np.asarray(np.where((low == 0) & (high == 0), np.float32(0), steps * scale))


@kernel("FakeQuantWithMinMaxArgs")
def _fake_quant_args(attrs: Attributes, x: Array) -> Array:
    low, high = np.float32(attrs["min"]), np.float32(attrs["max"])
    if low >= high:
        raise ValueError(f"min {low} must be less than max {high}")
    return _quantized(attrs, x, np.asarray(low), np.asarray(high))


@kernel("FakeQuantWithMinMaxVars")
def _fake_quant_vars(attrs: Attributes, x: Array, low: Array, high: Array) -> Array:
    check_rank("min", low, 0)
    check_rank("max", high, 0)
    return _quantized(attrs, x, low, high)


@kernel("FakeQuantWithMinMaxVarsPerChannel")
def _fake_quant_per_channel(attrs: Attributes, x: Array, low: Array, high: Array) -> Array:
    if not x.ndim or low.shape != x.shape[-1:] or high.shape != x.shape[-1:]:
        raise ValueError(
            f"min and max must have one number a channel of inputs, {list(x.shape)}, not the shapes {list(low.shape)} "
            f"and {list(high.shape)}"
        )
    return _quantized(attrs, x, low, high)
