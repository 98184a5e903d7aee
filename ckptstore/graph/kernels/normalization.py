"""Batch normalization, local response normalization, and biases."""

from __future__ import annotations

import numpy as np

from ckptstore.graph.kernels.precision import through_float32
from ckptstore.graph.kernels.registry import Array, Attributes, kernel
from ckptstore.graph.kernels.windows import channels_back, channels_last, check_rank


def _check_channels(x: Array, **vectors: Array) -> None:
    """Each vector must have one number a channel of x, whose channels are last."""
    for name, vector in vectors.items():
        if vector.shape != x.shape[-1:]:
            raise ValueError(f"{name} must have the shape {[x.shape[-1]]}, not {list(vector.shape)}")


def _normalize(x: Array, mean: Array, variance: Array, epsilon: float) -> Array:
    return np.asarray((x - mean) / np.sqrt(variance + variance.dtype.type(epsilon)))


def _batch_normalized(
    attrs: Attributes, x: Array, scale: Array, offset: Array, mean: Array, variance: Array
) -> tuple[Array, ...]:
    """The normalized batch, the moving mean and variance, and those it was normalized by.

    Statistics are in float32 whatever x is. When training, the moving variance is that of a sample, by Bessel; with
    an `exponential_avg_factor` of 1 the given mean and variance are not looked at, and may be empty.
    """
    data_format = attrs["data_format"]
    check_rank("x", x, len(data_format))
    x = channels_last(x, data_format)
    _check_channels(x, scale=scale, offset=offset)
    factor, training = np.float32(attrs["exponential_avg_factor"]), attrs["is_training"]
    if not training or factor != 1:
        _check_channels(x, mean=mean, variance=variance)
    if not x.size:
        unknown, unset = np.full(x.shape[-1], np.nan, scale.dtype), np.zeros(x.shape[-1], scale.dtype)
        return channels_back(x, data_format), unknown, unknown, unset, unset
    wide = x.astype(np.float32)
    used_mean, used_variance = mean, variance
    if training:
        axes, count = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
        used_mean, used_variance = wide.mean(axes), wide.var(axes)
        sample_variance = used_variance * np.float32(count / max(count - 1, 1))
        if factor == 1:
            mean, variance = used_mean, sample_variance
        else:
            mean = (1 - factor) * mean + factor * used_mean
            variance = (1 - factor) * variance + factor * sample_variance
    y = _normalize(wide, used_mean, used_variance, attrs["epsilon"]) * scale + offset
    return channels_back(y.astype(x.dtype), data_format), mean, variance, used_mean, used_variance


@kernel("FusedBatchNorm", "FusedBatchNormV2")
def _fused_batch_norm(attrs: Attributes, *inputs: Array) -> tuple[Array, ...]:
    return _batch_normalized(attrs, *inputs)


@kernel("FusedBatchNormV3")
def _fused_batch_norm_v3(attrs: Attributes, *inputs: Array) -> tuple[Array, ...]:
    """The last output is one that only cuDNN fills."""
    return (*_batch_normalized(attrs, *inputs), np.zeros(0, inputs[1].dtype))


@kernel("BatchNormWithGlobalNormalization")
def _batch_norm_with_global_normalization(
    attrs: Attributes, t: Array, m: Array, v: Array, beta: Array, gamma: Array
) -> Array:
    check_rank("t", t, 4)
    _check_channels(t, m=m, v=v, beta=beta, gamma=gamma)

    @through_float32
    def normalized(t: Array, m: Array, v: Array, beta: Array, gamma: Array) -> Array:
        out = _normalize(t, m, v, attrs["variance_epsilon"])
        return (out * gamma if attrs["scale_after_normalization"] else out) + beta

    return np.asarray(normalized(t, m, v, beta, gamma))


@kernel("LRN")
def _lrn(attrs: Attributes, x: Array) -> Array:
    """Divides by a power of the sum of squares over neighbouring channels."""
    check_rank("input", x, 4)
    radius = attrs["depth_radius"]

    @through_float32
    def normalized(x: Array) -> Array:
        around = np.pad(x * x, [(0, 0)] * 3 + [(radius, radius)])
        total = sum((around[..., at : at + x.shape[-1]] for at in range(2 * radius + 1)), np.zeros((), x.dtype))
        bias, alpha, beta = (x.dtype.type(attrs[name]) for name in ("bias", "alpha", "beta"))
        return np.asarray(x * (bias + alpha * total) ** -beta)

    return np.asarray(normalized(x))


def _biased(value: Array, bias: Array, data_format: bytes) -> Array:
    if value.ndim < 2:
        raise ValueError(f"value must have 2 dimensions or more, but its shape is {list(value.shape)}")
    value = channels_last(value, data_format)
    _check_channels(value, bias=bias)
    return channels_back(np.asarray(through_float32(np.add)(value, bias)), data_format)


@kernel("BiasAdd")
def _bias_add(attrs: Attributes, value: Array, bias: Array) -> Array:
    return _biased(value, bias, attrs["data_format"])


@kernel("BiasAddV1")
def _bias_add_v1(attrs: Attributes, value: Array, bias: Array) -> Array:
    del attrs
    return _biased(value, bias, b"NHWC")
