"""Random tensors. They have TensorFlow's distributions, and not its values: the generator is numpy's."""

from __future__ import annotations

import numpy as np

from ckptstore.graph.kernels.registry import Array, Attributes
from ckptstore.graph.kernels.shape import sizes_of
from ckptstore.graph.kernels.state import State, stateful

_CUT = 2.0  # standard deviations, of a truncated normal distribution


@stateful("RandomUniform")
def _uniform(state: State, node: str, attrs: Attributes, shape: Array) -> Array:
    dtype = attrs["dtype"].numpy
    out = state.generator(node, attrs).random(sizes_of(shape), np.float64).astype(dtype)
    return np.where(out < 1, out, dtype.type(0))  # which a value just below may have been rounded to


@stateful("RandomStandardNormal")
def _normal(state: State, node: str, attrs: Attributes, shape: Array) -> Array:
    return np.asarray(state.generator(node, attrs).standard_normal(sizes_of(shape))).astype(attrs["dtype"].numpy)


@stateful("TruncatedNormal")
def _truncated_normal(state: State, node: str, attrs: Attributes, shape: Array) -> Array:
    generator = state.generator(node, attrs)
    out = np.asarray(generator.standard_normal(sizes_of(shape)))
    while (outside := np.abs(out) > _CUT).any():
        out = np.where(outside, generator.standard_normal(out.shape), out)
    return out.astype(attrs["dtype"].numpy)


@stateful("RandomUniformInt")
def _uniform_int(state: State, node: str, attrs: Attributes, shape: Array, low: Array, high: Array) -> Array:
    if low >= high:
        raise ValueError(f"there is no number from {low} to below {high}")
    return np.asarray(state.generator(node, attrs).integers(int(low), int(high), sizes_of(shape)), low.dtype)


@stateful("RandomShuffle")
def _shuffle(state: State, node: str, attrs: Attributes, x: Array) -> Array:
    return state.generator(node, attrs).permutation(x, axis=0) if x.ndim else x


@stateful("Multinomial")
def _multinomial(state: State, node: str, attrs: Attributes, logits: Array, samples: Array) -> Array:
    # The greatest of logits with Gumbel noise is drawn with the chances that the logits say.
    noise = state.generator(node, attrs).gumbel(size=(logits.shape[0], int(samples), logits.shape[1]))
    dtype = attrs["output_dtype"].numpy if "output_dtype" in attrs else np.int64
    return np.asarray(np.argmax(logits.astype(np.float64)[:, None, :] + noise, axis=-1).astype(dtype))
