"""What it costs to import ckptstore, to run its command line, and to have it installed."""

from __future__ import annotations

import argparse
import ast
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import time
from statistics import median
from typing import Any

from packaging.requirements import Requirement

from bench._facts import facts
from bench._process import ROOT
from bench._table import lines

_RUNS = {
    "python -c pass": ["-c", "pass"],
    "import ckptstore": ["-c", "import ckptstore"],
    "import numpy": ["-c", "import numpy"],
    "a restore's imports": ["-c", "import ckptstore; ckptstore.restore, ckptstore.CheckpointManager"],
    "ckptstore --help": ["-m", "ckptstore.cli", "--help"],
    "ckptstore ls (of nothing)": ["-m", "ckptstore.cli", "ls", "ckptstore/cli"],
}
_WANTED = {"import ckptstore": 0.15, "ckptstore --help": 0.3}


def seconds(arguments: list[str], repeats: int) -> list[float]:
    out = []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, check=False)
        out.append(time.perf_counter() - begun)
    return out[1:]  # the first reads files that were not in memory


def installed() -> dict[str, int]:
    """Bytes on the disk of ckptstore's package and of each distribution that it cannot do without."""
    sizes = {"ckptstore": _tree(os.path.join(ROOT, "ckptstore"))}
    todo = _dependencies()
    while todo:
        requirement = Requirement(todo.pop())
        if requirement.name in sizes or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        files = importlib.metadata.files(requirement.name) or ()
        paths = [file.locate() for file in files if file.suffix != ".pyc"]
        sizes[requirement.name] = sum(os.path.getsize(path) for path in paths if os.path.isfile(path))
        todo += importlib.metadata.requires(requirement.name) or ()
    return sizes


def _dependencies() -> list[str]:
    """From pyproject.toml, since the checkout may be imported without being installed. (Python 3.10 has no tomllib.)"""
    with open(os.path.join(ROOT, "pyproject.toml")) as file:
        listed = re.search(r"^dependencies = (\[.*?^\])", file.read(), re.MULTILINE | re.DOTALL)
    assert listed, "pyproject.toml has its dependencies elsewhere"
    return ast.literal_eval(listed[1])


def _tree(directory: str) -> int:
    return sum(
        os.path.getsize(os.path.join(parent, name))
        for parent, _, names in os.walk(directory)
        for name in names
        if not name.endswith(".pyc")
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/run startup", description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json")
    args = parser.parse_args()
    results: dict[str, Any] = {
        "machine": facts(),
        "seconds": {name: seconds(run, 2 if args.quick else args.repeats) for name, run in _RUNS.items()},
        "bytes": installed(),
    }
    floor = median(results["seconds"]["python -c pass"])
    table = [("a new process", "median s", "beyond python's own", "wanted", "")]
    for name, runs in results["seconds"].items():
        wall = median(runs)
        wanted = _WANTED.get(name)
        verdict = "" if wanted is None else "met" if wall < wanted else "MISSED"
        table.append((name, f"{wall:.3f}", f"{wall - floor:.3f}", f"< {wanted} s" if wanted else "", verdict))
    print(*lines(table), sep="\n")
    rows = sorted(results["bytes"].items(), key=lambda item: -item[1])
    print()
    print(*lines([("installed", "MiB"), *((name, f"{size / 2**20:.1f}") for name, size in rows)]), sep="\n")
    print(f"together {sum(results['bytes'].values()) / 2**20:.1f} MiB")
    if args.json:
        with open(args.json, "w") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
