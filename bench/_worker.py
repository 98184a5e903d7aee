"""A contender's own process: reads a command per line from stdin, answers with a line of JSON.

    {"do": "hold"}      {"do": "save", "directory": ..., "sync": bool}
    {"do": "expect"}    {"do": "restore", "directory": ..., "check": bool}

`python -m bench._worker CONTENDER CASE COUNT SIZE`. The state and the library are loaded, and touched, before anything
is measured; the answer to save and restore has wall and CPU seconds (of all threads) and the peak of the resident
memory over what was resident before.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

from bench import _files, _state
from bench.contenders import CONTENDERS

_out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what a library prints is no answer
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


def _save(contender: ModuleType, state: Any, directory: str, sync: bool) -> None:
    contender.save(directory, state)
    if sync:
        _files.sync(directory)


def main() -> None:
    name, case, count, size = sys.argv[1:]
    spec = _state.Spec(case, int(count), int(size))
    flat = CONTENDERS[name].flat
    contender = importlib.import_module(f"bench.contenders.{name}")
    state: Any = None
    answer({"versions": contender.VERSIONS})
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "hold":
            state = contender.hold(_state.make(spec, flat=flat))
            answer({})
        elif command["do"] == "expect":
            contender.expect(spec)
            answer({})
        elif command["do"] == "save":
            save = functools.partial(_save, contender, state, command["directory"], command["sync"])
            answer(measured(save)[0])
        elif command["do"] == "restore":
            result, arrays = measured(functools.partial(contender.restore, command["directory"]))
            if command["check"]:
                _state.check(spec, arrays, flat=flat)
            del arrays
            answer(result)


def answer(message: dict[str, Any]) -> None:
    print(json.dumps(message), file=_out, flush=True)


if __name__ == "__main__":
    main()
