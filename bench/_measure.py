"""What one call takes: wall seconds, CPU seconds of all threads, and the peak of memory over what was there before."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc


def measured(call: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    gc.collect()
    if _trim is not None:
        _trim(0)  # memory that an earlier turn left in the allocator would hide what this one takes
    exact = _reset_peak()
    before = _status("VmRSS") if exact else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT
    cpu, wall = time.process_time(), time.perf_counter()
    result = call()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    after = _status("VmHWM") if exact else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT
    return {"wall": wall, "cpu": cpu, "peak": max(after - before, 0), "peak_is_exact": exact}, result


_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


def _reset_peak() -> bool:
    """Sets the process's peak back to what is resident now. Where that cannot be, peaks are lower bounds."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return False
    return True


def _status(field: str) -> int:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(field + ":"))
