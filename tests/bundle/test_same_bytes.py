"""Whether arrays are what a file holds already."""

from __future__ import annotations

import numpy as np
import pytest

from ckptstore.bundle import reusing
from ckptstore.bundle.reusing import same_bytes


@pytest.mark.parametrize("offset", [0, 1, 4, 8])
@pytest.mark.parametrize("sizes", [(8,), (7,), (64, 64), (3, 5, 8), (65,), (200,)])
def test_every_byte_counts_wherever_memory_begins(monkeypatch, sizes, offset):
    monkeypatch.setattr(reusing, "_CUT", 64)
    buffers = [memoryview(np.random.default_rng(n).bytes(size)) for n, size in enumerate(sizes)]
    data = np.frombuffer(bytes(offset) + b"".join(buffers), np.uint8).copy()[offset:]
    assert same_bytes(buffers, memoryview(data))
    assert not same_bytes(buffers, memoryview(data)[:-1])
    assert not same_bytes(buffers, memoryview(np.append(data, np.uint8(0))))
    for at in range(len(data)):
        data[at] ^= 1
        assert not same_bytes(buffers, memoryview(data))
        data[at] ^= 1


def test_numbers_that_are_equal_are_not_the_same_bytes():
    zeros, negative = np.zeros(4), np.full(4, -0.0)
    nan = np.full(4, np.nan)
    assert not same_bytes([memoryview(zeros).cast("B")], memoryview(negative).cast("B"))
    assert same_bytes([memoryview(nan).cast("B")], memoryview(nan.copy()).cast("B"))
