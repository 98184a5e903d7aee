"""What `import ckptstore` costs, with warm files, and which packages it is made of; beside `import numpy` alone."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import defaultdict
from statistics import median

from bench._facts import facts
from bench._table import lines

_SUBJECTS = {  # what to run; nothing is the interpreter alone
    "python": "pass",
    "numpy": "import numpy",
    "ckptstore": "import ckptstore",
    "ckptstore, local store": "import ckptstore.storage._local",
    "ckptstore, command line": "import ckptstore.cli",
}
_TIMER = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"


def run(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *options, "-c", code], capture_output=True, check=True, text=True)


def parts(code: str) -> dict[str, float]:
    """Seconds that the modules of each package take by themselves; those of `import numpy` count as numpy's."""
    out: dict[str, float] = defaultdict(float)
    with_numpy = {
        line.rpartition("|")[2].strip() for line in run("import numpy", "-X", "importtime").stderr.splitlines()
    }
    for line in run(code, "-X", "importtime").stderr.splitlines():
        head, _, name = line.rpartition("|")
        own = head.partition(":")[2].partition("|")[0].strip()
        if own.isdigit():
            name = name.strip()
            top = name.partition(".")[0]
            package = "numpy and what it imports" if name in with_numpy else _PACKAGES.get(top, "standard library")
            out[package] += int(own) / 1e6
    return out


_PACKAGES = {
    name: name for name in ("ckptstore", "ml_dtypes", "google", "fsspec", "tenacity", "crc32c", "numpy", "rich")
} | {"google": "protobuf"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/run import_time", description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", help="a file for all numbers")
    args = parser.parse_args()

    times: dict[str, list[float]] = {subject: [] for subject in _SUBJECTS}
    split: dict[str, list[float]] = defaultdict(list)
    for number in range(args.repeats + 1):
        for subject, code in _SUBJECTS.items():
            seconds = float(run(_TIMER.format(code)).stdout)
            if number:  # the first one only warms the files
                times[subject].append(seconds)
        if number:
            for package, seconds in parts("import ckptstore").items():
                split[package].append(seconds)

    numpy = median(times["numpy"])
    rows = [("import", "median ms", "min-max ms", "beyond numpy ms")]
    for subject, values in times.items():
        beyond = f"{(median(values) - numpy) * 1e3:.1f}" if subject.startswith("ckptstore") else "-"
        rows.append(
            (subject, f"{median(values) * 1e3:.1f}", f"{min(values) * 1e3:.1f}-{max(values) * 1e3:.1f}", beyond)
        )
    print(*lines(rows), "", "Parts of `import ckptstore` (python -X importtime, which slows it down)", sep="\n")
    shares = sorted(split.items(), key=lambda item: -median(item[1]))
    print(*lines([("", "median ms"), *((name, f"{median(values) * 1e3:.1f}") for name, values in shares)]), sep="\n")
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"machine": facts(), "seconds": times, "parts": split}, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
