"""A contender's own process: reads a command per line from stdin, answers with a line of JSON.

    {"do": "hold"}      {"do": "save", "directory": ..., "sync": bool}
    {"do": "expect"}    {"do": "restore", "directory": ..., "check": bool}

`python -m bench._worker CONTENDER CASE COUNT SIZE`. The state and the library are loaded, and touched, before anything
is measured; the answer to save and restore has wall and CPU seconds (of all threads) and the peak of the resident
memory over what was resident before.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
from types import ModuleType
from typing import Any

from bench import _files, _state
from bench._measure import measured
from bench.contenders import CONTENDERS

_out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # what a library prints is no answer


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
