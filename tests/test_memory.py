"""Memory for large arrays."""

from __future__ import annotations

import gc
import sys

import numpy as np
import psutil
import pytest

from ckptstore._memory import LARGE, allocate
from ckptstore.format import tensor
from ckptstore.format.dtypes import as_dtype


@pytest.mark.parametrize("size", [0, 1, 4096, LARGE - 1, LARGE, LARGE + 1, (5 << 20) + 12_345, (8 << 20) - 1, 8 << 20])
def test_memory_of_any_size_can_be_written_to(size):
    first, second = allocate(size), allocate(size)
    first[:] = 1
    second[:] = 2
    assert first.nbytes == second.nbytes == size
    assert (first == 1).all()
    assert (second == 2).all()
    assert first.flags.writeable
    assert first.flags.c_contiguous
    assert first.ctypes.data % 16 == 0


@pytest.mark.skipif(sys.platform != "linux", reason="huge pages are asked for on Linux only")
def test_large_memory_begins_with_a_huge_page():
    assert allocate(LARGE).ctypes.data % (2 << 20) == 0


def test_it_is_given_back_with_the_last_array():
    process = psutil.Process()
    gc.collect()
    before = process.memory_info().rss
    memory = allocate(64 << 20)
    memory[:] = 1
    part = memory[:5].view()
    del memory
    assert process.memory_info().rss - before > 60 << 20
    del part
    assert process.memory_info().rss - before < 30 << 20


@pytest.mark.parametrize("size", [1 << 60, 1 << 63, 1 << 70])
def test_what_cannot_be_had_is_a_memory_error(size):
    with pytest.raises(MemoryError):
        allocate(size)


@pytest.mark.parametrize(
    ("dtype", "shape"), [("float32", (1 << 20,)), ("complex128", (512, 1024, 3)), ("bool", (5 << 20,))]
)
def test_large_arrays_are_as_any_other(dtype, shape):
    array, data = tensor.empty(as_dtype(dtype), shape)
    assert (array.dtype, array.shape) == (np.dtype(dtype), shape)
    assert array.flags.aligned
    assert array.flags.c_contiguous
    data[:] = bytes(data.nbytes)
    assert not array.any()
    array.reshape(-1)[-1] = 1
    assert any(data[-array.itemsize :])
