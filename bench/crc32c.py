"""The measurement by which the crc32c library was chosen: speed on memoryview and ndarray, small calls, import, size.

Run it as `python -m bench.crc32c`; by its path it would stand in the way of the crc32c package itself.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from bench._facts import facts
from bench._table import lines

_LIBRARIES = {  # distribution: what to import, and the function in it
    "crc32c": ("crc32c", "crc32c"),
    "google-crc32c": ("google_crc32c", "value"),
    "awscrt": ("awscrt.checksums", "crc32c"),
}
_CHECK = 0xE3069283  # of b"123456789"
_SMALL_CALLS = 2000


def function(library: str) -> Callable[[Any], int]:
    module, name = _LIBRARIES[library]
    return getattr(importlib.import_module(module), name)


def gigabytes_per_second(call: Callable[[Any], int], data: Any, nbytes: int) -> float | None:
    start = time.perf_counter()
    try:
        call(data)
    except TypeError:
        return None
    return nbytes / (time.perf_counter() - start) / 1e9


def small_call(call: Callable[[Any], int], data: Any) -> float | None:
    """Seconds for one call."""
    try:
        call(data)
    except TypeError:
        return None
    start = time.perf_counter()
    for _ in range(_SMALL_CALLS):
        call(data)
    return (time.perf_counter() - start) / _SMALL_CALLS


def import_seconds(module: str) -> float:
    code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)


def installed_bytes(library: str) -> int:
    found = importlib.metadata.files(library) or []
    return sum(os.path.getsize(file.locate()) for file in found if os.path.isfile(file.locate()))


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/run crc32c", description=__doc__)
    parser.add_argument("--size-mib", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", help="a file for all numbers")
    args = parser.parse_args()

    array = np.random.default_rng(0).integers(0, 256, args.size_mib << 20, np.uint8)
    kinds = {"memoryview": memoryview(array), "ndarray": array}
    small = {"memoryview": memoryview(array[:4096]), "ndarray": array[:4096]}
    found: dict[str, dict[str, list[Any]]] = {}
    calls = {library: function(library) for library in _LIBRARIES}
    for library, call in calls.items():
        if call(b"123456789") != _CHECK:
            raise SystemExit(f"{library} computes something else than crc32c")
        found[library] = {f"{what} {kind}": [] for what in ("GB/s", "4 KiB") for kind in kinds} | {"import": []}
    for _ in range(args.repeats):
        for library, call in calls.items():
            for kind, data in kinds.items():
                found[library][f"GB/s {kind}"].append(gigabytes_per_second(call, data, array.nbytes))
                found[library][f"4 KiB {kind}"].append(small_call(call, small[kind]))
            found[library]["import"].append(import_seconds(_LIBRARIES[library][0]))

    results = {"machine": facts(), "size_mib": args.size_mib, "repeats": args.repeats, "libraries": {}}
    rows = [
        (
            "",
            "version",
            "GB/s memoryview",
            "GB/s ndarray",
            "4 KiB memoryview us",
            "4 KiB ndarray us",
            "import ms",
            "MiB",
        )
    ]
    for library, values in found.items():
        medians = {what: None if None in list_ else median(list_) for what, list_ in values.items()}
        version, size = importlib.metadata.version(library), installed_bytes(library)
        results["libraries"][library] = {"version": version, "installed_bytes": size, "values": values}
        cells = [
            _cell(medians["GB/s memoryview"], 1),
            _cell(medians["GB/s ndarray"], 1),
            _cell(medians["4 KiB memoryview"], 1e6),
            _cell(medians["4 KiB ndarray"], 1e6),
            _cell(medians["import"], 1e3),
            _cell(size, 2**-20),
        ]
        rows.append((library, version, *cells))
    print(*lines(rows), sep="\n")
    if args.json:
        with open(args.json, "w") as file:
            json.dump(results, file, indent=1)
            file.write("\n")


def _cell(value: float | None, scale: float) -> str:
    return "refused" if value is None else f"{value * scale:.2f}"


if __name__ == "__main__":
    main()
