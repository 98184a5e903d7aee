"""Bounds on time and memory, for tests that feed hostile input."""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Iterator

import psutil


@contextlib.contextmanager
def bounded(seconds: float = 5.0, mebibytes: int = 384) -> Iterator[None]:
    """What is inside may take so much processor time, and so much address space more than there is now.

    Memory over the bound is a MemoryError inside the block: no library code turns that into one of its own errors.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + (mebibytes << 20), hard))
    started = time.process_time()
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    took = time.process_time() - started
    assert took < seconds, f"took {took:.1f} s of at most {seconds}"
