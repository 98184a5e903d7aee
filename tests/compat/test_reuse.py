"""TensorFlow reads checkpoints whose files were copied from the ones before."""

from __future__ import annotations

import numpy as np
import pytest

import ckptstore as ck
from tests.compat.support import tf

pytestmark = pytest.mark.compat


def test_tensorflow_reads_what_was_reused(tmp_path):
    rng = np.random.default_rng(3)
    items = {f"layer{i}/w": rng.standard_normal(1 << 18).astype(np.float32) for i in range(12)}
    items["name"] = np.array([b"model"], dtype=object)
    with ck.CheckpointManager(tmp_path, max_to_keep=1) as manager:
        for step in range(1, 6):
            items[f"layer{step}/w"] = items[f"layer{step}/w"] + 1
            path = manager.save(step, items, reuse=True)
    assert len([*tmp_path.glob("ckpt-5.data-*")]) > 1
    reader = tf.train.load_checkpoint(path)
    assert set(reader.get_variable_to_shape_map()) == set(items)
    for name, value in items.items():
        np.testing.assert_array_equal(reader.get_tensor(name), value)
    assert tf.train.latest_checkpoint(str(tmp_path)) == path
