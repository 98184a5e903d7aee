"""TensorFlow's own operations: what tf.compat.v1.train.Saver and tf.train.Checkpoint run."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import tensorflow as tf

VERSIONS = {"tensorflow": tf.__version__, "numpy": np.__version__}

_names: list[str] = []
_types: list[tf.DType] = []


def hold(arrays):
    # A tf.constant may share the array's memory; here it must not, or the array would have to stay.
    return {name: tf.identity(tf.constant(array)) for name, array in arrays.items()}


def expect(spec):
    _names[:] = spec.names
    _types[:] = [tf.as_dtype(spec.dtype)] * len(spec.names)


def save(directory, state):
    tf.raw_ops.SaveV2(
        prefix=os.path.join(directory, "ckpt"),
        tensor_names=list(state),
        shape_and_slices=[""] * len(state),
        tensors=list(state.values()),
    )


def restore(directory):
    tensors = tf.raw_ops.RestoreV2(
        prefix=os.path.join(directory, "ckpt"),
        tensor_names=_names,
        shape_and_slices=[""] * len(_names),
        dtypes=_types,
    )
    return dict(zip(_names, tensors, strict=True))
