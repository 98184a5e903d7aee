"""What `import ckptstore` costs, with warm files, and which packages it is made of; beside `import numpy` alone."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from statistics import median

from bench._facts import facts
from bench._table import lines

_SUBJECTS = {  # what to run; nothing is the interpreter alone
    "python": "pass",
    "numpy": "import numpy",
    "ckptstore": "import ckptstore",
    "ckptstore, every name": "from ckptstore import *",  # modules that are loaded on first use are paid for here
    "ckptstore, local store": "import ckptstore.storage._local",
    "ckptstore, command line": "import ckptstore.cli",
}
_WHOLE = "from ckptstore import *"
_TIMER = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"


def run(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", code], capture_output=True, check=True, text=True, env=_environment
    )


# Byte code is kept, whatever the environment says: without it, compiling would be all that is measured.
_environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def modules(code: str) -> dict[str, float]:
    """Seconds that each module takes by itself, without those that it imports."""
    out: dict[str, float] = {}
    for line in run(code, "-X", "importtime").stderr.splitlines():
        head, _, name = line.rpartition("|")
        own = head.partition(":")[2].partition("|")[0].strip()
        if own.isdigit():
            out[name.strip()] = int(own) / 1e6
    return out


def package(module: str, with_numpy: set[str]) -> str:
    if module in with_numpy:
        return "numpy and what it imports"
    return _PACKAGES.get(module.partition(".")[0], "standard library")


_PACKAGES = {
    name: name for name in ("ckptstore", "ml_dtypes", "google", "fsspec", "tenacity", "crc32c", "numpy", "rich")
} | {"google": "protobuf"}


_SHOWN = 15


def _largest(values: dict[str, list[float]]) -> list[tuple[str, str]]:
    medians = sorted(((median(seconds), name) for name, seconds in values.items()), reverse=True)
    return [(name, f"{seconds * 1e3:.1f}") for seconds, name in medians]


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/run import_time", description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", help="a file for all numbers")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        _environment["PYTHONPYCACHEPREFIX"] = cache
        measure(args.repeats, args.json)


def measure(repeats: int, json_file: str | None) -> None:
    times: dict[str, list[float]] = {subject: [] for subject in _SUBJECTS}
    split: dict[str, list[float]] = defaultdict(list)
    single: dict[str, list[float]] = defaultdict(list)
    with_numpy = set(modules("import numpy"))
    for number in range(repeats + 1):
        for subject, code in _SUBJECTS.items():
            seconds = float(run(_TIMER.format(code)).stdout)
            if number:  # the first one only warms the files
                times[subject].append(seconds)
        if number:
            sums: dict[str, float] = defaultdict(float)
            for module, seconds in modules(_WHOLE).items():
                single[module].append(seconds)
                sums[package(module, with_numpy)] += seconds
            for name, seconds in sums.items():
                split[name].append(seconds)

    numpy = median(times["numpy"])
    rows = [("import", "median ms", "min-max ms", "beyond numpy ms")]
    for subject, values in times.items():
        beyond = f"{(median(values) - numpy) * 1e3:.1f}" if subject.startswith("ckptstore") else "-"
        rows.append(
            (subject, f"{median(values) * 1e3:.1f}", f"{min(values) * 1e3:.1f}-{max(values) * 1e3:.1f}", beyond)
        )
    print(*lines(rows), "", "Parts of `from ckptstore import *` (python -X importtime, which slows it down)", sep="\n")
    print(*lines([("", "median ms"), *_largest(split)]), sep="\n")
    print("", "Its largest modules beyond numpy's, without what they import", sep="\n")
    beyond_numpy = {name: values for name, values in single.items() if name not in with_numpy}
    print(*lines([("", "median ms"), *_largest(beyond_numpy)[:_SHOWN]]), sep="\n")
    if json_file:
        with open(json_file, "w") as file:
            json.dump({"machine": facts(), "seconds": times, "parts": split, "modules": single}, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
