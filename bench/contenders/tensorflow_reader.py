"""tf.train.load_checkpoint, tensor by tensor: TensorFlow's way to numpy arrays."""

from __future__ import annotations

import os

from bench.contenders import tensorflow as ops

VERSIONS = ops.VERSIONS


def expect(spec):
    pass


def restore(directory):
    reader = ops.tf.train.load_checkpoint(os.path.join(directory, "ckpt"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
