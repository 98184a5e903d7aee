"""Save and restore on a local disk: ckptstore beside TensorFlow, safetensors, torch DCP, Orbax and raw I/O, in one run.

Every contender has a process of its own for each case and operation. They take turns (A B C A B C ...), so that what
else the machine does hits all of them; between two turns nothing is left to be written. Each turn does its work twice
and measures the second time: all find their libraries loaded and memory that they have just used. Saves are measured as
they return and, for those that do not sync all, with an fsync of files and directory added; each is held against the
raw write of the same class. Restores are measured from the page cache and without it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from statistics import median
from typing import Any

import psutil

from bench import _files, _table
from bench._facts import facts
from bench._host import touch_memory
from bench._process import ROOT, Worker
from bench._state import Spec
from bench.contenders import CONTENDERS


@contextlib.contextmanager
def workers(names: list[str], spec: Spec, versions: dict[str, str]) -> Iterator[dict[str, Worker]]:
    """The processes of several contenders, started one after the other."""
    running: dict[str, Worker] = {}
    try:
        for name in names:
            running[name] = Worker("bench._worker", name, spec.case, str(spec.count), str(spec.size))
            versions.update(running[name].versions)
        yield running
    finally:
        for worker in running.values():
            worker.close()


def measure_saves(spec: Spec, names: list[str], repeats: int, directory: str, results: dict[str, Any]) -> None:
    """Leaves the last files of each contender in `directory/NAME`."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    with workers(names, spec, results["versions"]) as running:
        turns = []
        for name, worker in running.items():
            worker.do("hold")
            turns.append((name, "durable", False) if CONTENDERS[name].durable else (name, "buffered", False))
            if not CONTENDERS[name].durable:
                turns.append((name, "durable", True))
        for name, kind, added in turns:
            rows[name, kind] = _row(spec, name, "save", kind, added)
        for number in range(repeats):
            for name, kind, added in turns:
                _progress(f"{spec.case}: save {number + 1}/{repeats}: {name}, {kind}")
                place = os.path.join(directory, name)
                # Not measured: the page cache takes the memory that was freed last, and what nobody has used for some
                # seconds costs more to take. Only who follows its own files would have it cheap (seen for one and the
                # same raw write of 1 GiB: 0.2 s and 0.6 s of CPU).
                first = _save(running[name], place, added, spec)
                again = _save(running[name], place, added, spec)
                _add(rows[name, kind], {**again, "peak": max(first["peak"], again["peak"])})
    _finish(list(rows.values()), results)


def _save(worker: Worker, place: str, sync: bool, spec: Spec) -> dict[str, Any]:
    shutil.rmtree(place, ignore_errors=True)
    os.makedirs(place)
    os.sync()  # neither the last contender's bytes nor the freed blocks are this one's to wait for
    touch_memory(2 * spec.nbytes)
    out = worker.do("save", directory=place, sync=sync)
    _files.sync(place)
    return out


def measure_restores(spec: Spec, names: list[str], repeats: int, directory: str, results: dict[str, Any]) -> None:
    """Reads what `measure_saves` left."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    with workers(names, spec, results["versions"]) as running:
        for worker in running.values():
            worker.do("expect")
        for kind in ("warm", "cold"):
            if kind == "cold" and not hasattr(os, "posix_fadvise"):
                continue
            for name in names:
                rows[name, kind] = _row(spec, name, "restore", kind, False)
            for number in range(repeats):
                for name in names:
                    _progress(f"{spec.case}: restore {number + 1}/{repeats}: {name}, {kind}")
                    place = os.path.join(directory, CONTENDERS[name].files_of or name)
                    # Not measured: memory that nobody has used for some seconds can cost ten times as much to take
                    # (seen on a virtual machine: 0.3 s and 3 s for 1 GiB), and only who comes first would pay.
                    check = kind == "warm" and not number
                    first = running[name].do("restore", directory=place, check=check)
                    if kind == "cold":
                        rows[name, kind].setdefault("still_cached", []).append(_files.drop(place))
                    else:
                        _warm(place)
                    touch_memory(2 * spec.nbytes)
                    again = running[name].do("restore", directory=place, check=False)
                    # An allocator that keeps what it freed takes less the second time.
                    _add(rows[name, kind], {**again, "peak": max(first["peak"], again["peak"])})
    _finish(list(rows.values()), results)


def _row(spec: Spec, name: str, operation: str, kind: str, added: bool) -> dict[str, Any]:
    return {
        "case": spec.case,
        "operation": operation,
        "class": kind,
        "contender": name,
        "sync_added": added,
        "wall": [],
        "cpu": [],
        "peak": [],
    }


def _add(row: dict[str, Any], measured: dict[str, Any]) -> None:
    for field in ("wall", "cpu", "peak"):
        row[field].append(measured[field])
    row["peak_is_exact"] = measured["peak_is_exact"]


def _finish(rows: list[dict[str, Any]], results: dict[str, Any]) -> None:
    """Ratios, and the peak without the arrays that a restore hands out (raw reads into one that is there already)."""
    raw = {row["class"]: median(row["wall"]) for row in rows if row["contender"] == "raw"}
    for row in sorted(rows, key=lambda row: _ORDER.index(row["class"])):
        handed_out = 0
        if row["operation"] == "restore" and row["contender"] != "raw":
            handed_out = results["cases"][row["case"]]["nbytes"]
        row["peak_beside_arrays"] = max(max(row["peak"]) - handed_out, 0)
        row["ratio_to_raw"] = median(row["wall"]) / raw[row["class"]] if row["class"] in raw else None
        results["rows"].append(row)
        if any((part or 0) > 0.01 for part in row.get("still_cached", ())):
            results["notes"].append(f"{row['case']}, {row['contender']}: the page cache did not let go; not cold.")


def _check_memory(needed: int) -> None:
    """Swapping would be all that is measured."""
    available = psutil.virtual_memory().available
    if needed > available:
        raise SystemExit(
            f"This needs {needed / 2**30:.1f} GiB, and {available / 2**30:.1f} GiB of memory are available; "
            "use a smaller --size-mib or fewer contenders (--only)."
        )


_ORDER = ("buffered", "durable", "warm", "cold")


def _warm(directory: str) -> None:
    for path in _files.files(directory):
        with open(path, "rb", buffering=0) as file:
            while file.read(16 << 20):
                pass


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__, formatter_class=_Formatter)
    parser.add_argument("--size-mib", type=int, default=1024, help="all tensors of the big case together")
    parser.add_argument("--tensors", type=int, default=32, help="of the big case; 0 leaves it out")
    parser.add_argument("--small-count", type=int, default=10_000, help="tensors of 4 KiB; 0 leaves that case out")
    parser.add_argument("--repeats", type=int, default=5, help="per contender and case")
    parser.add_argument("--only", default=",".join(CONTENDERS), help="contenders, separated by commas")
    parser.add_argument("--quick", action="store_true", help="64 MiB, 1,000 tensors, 2 repeats: does it work?")
    parser.add_argument("--dir", help="where to write; on the disk to be measured (default: the project's build/)")
    parser.add_argument("--json", help="a file for all numbers")
    args = parser.parse_args()
    if args.quick:
        args.size_mib, args.tensors, args.small_count, args.repeats = 64, 32, 1000, 2
    args.only = [name for name in CONTENDERS if name in args.only.split(",")]
    if not args.only or args.repeats < 1:
        parser.error(f"--only takes some of {', '.join(CONTENDERS)}; --repeats at least 1")
    return args


class _Formatter(argparse.RawDescriptionHelpFormatter, argparse.ArgumentDefaultsHelpFormatter):
    pass


def main() -> None:
    args = _arguments()
    specs: list[Spec] = []
    if args.tensors:
        specs.append(Spec("big", args.tensors, args.size_mib * 2**20 // args.tensors // 4 * 4))
    if args.small_count:
        specs.append(Spec("small", args.small_count, 4096))
    parent = args.dir or os.path.join(ROOT, "build")
    os.makedirs(parent, exist_ok=True)

    savers = [name for name in CONTENDERS if name in {CONTENDERS[only].files_of or only for only in args.only}]
    results: dict[str, Any] = {
        "machine": facts(parent),
        "versions": {},
        "repeats": args.repeats,
        "cases": {spec.case: {**spec.as_json(), "nbytes": spec.nbytes, "title": str(spec)} for spec in specs},
        "notes": [],
        "rows": [],
    }
    # Every contender's own state, what a restore takes, and room for files in the page cache.
    _check_memory(max(spec.nbytes for spec in specs) * (len(savers) + 4))
    for spec in specs:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=parent) as directory:
            measure_saves(spec, savers, args.repeats, directory, results)
            measure_restores(spec, args.only, args.repeats, directory, results)
    _progress("")
    print(", ".join(f"{key} {value}" for key, value in (results["machine"] | results["versions"]).items()))
    print(_table.report(results))
    print(*results["notes"], sep="\n")
    if args.json:
        with open(args.json, "w") as file:
            json.dump(results, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
