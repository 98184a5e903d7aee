"""A contender's own process, as bench/_worker.py.   python -m bench.remote._worker CONTENDER ENDPOINT COUNT SIZE"""

from __future__ import annotations

import importlib
import json
import sys
from functools import partial

from bench import _state
from bench._worker import answer, measured
from bench.remote import CONTENDERS


def main() -> None:
    name, endpoint, count, size = sys.argv[1:]
    spec = _state.Spec("big", int(count), int(size))
    contender = CONTENDERS[name]
    whole = contender.whole
    module = importlib.import_module(f"bench.remote.{contender.module or name}")
    module.connect(endpoint, contender.kind)
    state = module.hold(_state.make(spec, flat=whole))
    answer({"versions": module.VERSIONS})
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "upload":
            answer(measured(partial(module.upload, state))[0])
        else:
            result, arrays = measured(module.download)
            if command["check"]:
                _state.check(spec, arrays, flat=whole)
            del arrays
            answer(result)


if __name__ == "__main__":
    main()
