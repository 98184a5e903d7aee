"""Upload and download of 1 GiB: ckptstore beside s3fs, obstore, s3torchconnector, torch DCP over fsspec, and gcsfs.

The server is bench/servers/fasts3.py, in a process of its own: on loopback as fast as it can, and in cloud mode, with
20 ms for each request and 80 MB/s for each connection. Every contender has a process, too; they take turns.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from statistics import median
from typing import Any

from bench._facts import facts
from bench._host import touch_memory
from bench._process import ROOT, Worker
from bench._state import Spec
from bench._table import lines
from bench.remote import CONTENDERS

_MODES = {"loopback": [], "cloud": ["--latency-ms", "20", "--conn-mbps", "80"]}
_MIB = 2**20


@contextlib.contextmanager
def server(mode: str) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "bench.servers.fasts3", "--port", str(port), *_MODES[mode]]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    endpoint = f"http://127.0.0.1:{port}"
    try:
        for _ in range(100):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            time.sleep(0.1)
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/bench", method="PUT")).close()
        yield endpoint
    finally:
        process.kill()
        process.wait()


def _post(url: str) -> None:
    urllib.request.urlopen(urllib.request.Request(url, method="POST", data=b"")).close()


def measure(mode: str, names: list[str], spec: Spec, repeats: int, results: dict[str, Any]) -> None:
    rows = {
        (name, what): {"mode": mode, "contender": name, "operation": what, "wall": [], "cpu": [], "peak": []}
        for what in ("upload", "download")
        for name in names
    }
    with server(mode) as endpoint, contextlib.ExitStack() as stack:
        workers = {}
        for name in names:
            workers[name] = Worker("bench.remote._worker", name, endpoint, str(spec.count), str(spec.size))
            stack.callback(workers[name].close)
            results["versions"].update(workers[name].versions)
        for number in range(repeats + 1):  # the first turn opens connections, and is not counted
            _post(f"{endpoint}/-/forget")  # nobody replaces what is there, and all find the server's memory warm
            for what in ("upload", "download"):
                for name, worker in workers.items():
                    if sys.stderr.isatty():
                        print(f"\r\x1b[K{mode}: {what} {number}/{repeats}: {name}", end="", file=sys.stderr, flush=True)
                    touch_memory(3 * spec.nbytes)  # theirs, the server's, and some for both
                    found = worker.do(what, check=what == "download" and not number)
                    if number:
                        for field in ("wall", "cpu", "peak"):
                            rows[name, what][field].append(found[field])
    results["rows"] += rows.values()


def report(results: dict[str, Any]) -> Iterator[str]:
    nbytes = results["nbytes"]
    for mode in _MODES:
        for what in ("upload", "download"):
            rows = [row for row in results["rows"] if (row["mode"], row["operation"]) == (mode, what)]
            if not rows:
                continue
            yield f"\n{nbytes / _MIB:.0f} MiB, {mode}: {what}"
            table = [("", "median s", "min-max s", "MB/s", "CPU s per GB", "peak extra MiB")]
            for row in rows:
                wall = median(row["wall"])
                handed = nbytes if what == "download" else 0
                table.append(
                    (
                        row["contender"],
                        f"{wall:.3f}",
                        f"{min(row['wall']):.3f}-{max(row['wall']):.3f}",
                        f"{nbytes / wall / 1e6:.0f}",
                        f"{median(row['cpu']) / nbytes * 1e9:.2f}",
                        f"{max(max(row['peak']) - handed, 0) / _MIB:.0f}",
                    )
                )
            yield from lines(table)
    yield "\nTargets of ckptstore"
    yield from lines([("", "wanted", "found", ""), *_targets(results)])


def _targets(results: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    found = {(row["mode"], row["operation"], row["contender"]): row for row in results["rows"]}

    def wall(*key: str) -> float | None:
        return median(found[key]["wall"]) if key in found else None

    for mode, what, ours, other, times in (
        ("loopback", "upload", "ckptstore_s3_object", "s3fs", 4.0),
        ("loopback", "download", "ckptstore_s3_object", "s3fs", 4.0),
        ("cloud", "upload", "ckptstore_s3_object", "s3fs", 2.0),
        ("cloud", "download", "ckptstore_s3_object", "s3fs", 2.0),
        ("cloud", "upload", "ckptstore_gcs_object", "gcsfs", 5.0),
        ("cloud", "download", "ckptstore_gcs_object", "gcsfs", 5.0),
        *(
            (mode, what, "ckptstore_s3", other, 1.0)
            for mode in _MODES
            for what in ("upload", "download")
            for other in ("s3torchconnector", "torch_dcp_fsspec", "obstore", "obstore_sha256")
        ),
    ):
        mine, theirs = wall(mode, what, ours), wall(mode, what, other)
        if mine is not None and theirs is not None:
            ratio = theirs / mine
            name = f"{mode}, {what}: {ours} as fast as {other}"
            yield name, f">= {times:g} x", f"{ratio:.2f} x", "met" if ratio >= times else "MISSED"
    for row in results["rows"]:
        if row["contender"].startswith("ckptstore"):
            name = f"{row['mode']}, {row['operation']}: {row['contender']}"
            cpu = median(row["cpu"]) / results["nbytes"] * 1e9
            yield f"{name}, CPU s per GB", "<= 0.7", f"{cpu:.2f}", "met" if cpu <= 0.7 else "MISSED"
            handed = results["nbytes"] if row["operation"] == "download" else 0
            peak = max(max(row["peak"]) - handed, 0) / _MIB
            yield f"{name}, extra MiB", "<= 64", f"{peak:.0f}", "met" if peak <= 64 else "MISSED"


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/run object_stores", description=__doc__)
    parser.add_argument("--size-mib", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--modes", default=",".join(_MODES))
    parser.add_argument("--only", default=",".join(CONTENDERS))
    parser.add_argument("--quick", action="store_true", help="64 MiB, 1 repeat: does it work?")
    parser.add_argument("--json", help="a file for all numbers")
    args = parser.parse_args()
    if args.quick:
        args.size_mib, args.repeats = 64, 1
    spec = Spec("big", 32, args.size_mib * _MIB // 32)
    names = [name for name in CONTENDERS if name in args.only.split(",")]
    results: dict[str, Any] = {
        "machine": facts(),
        "versions": {},
        "repeats": args.repeats,
        "nbytes": spec.nbytes,
        "rows": [],
    }
    for mode in args.modes.split(","):
        for kind in ("s3", "gcs"):  # half of the states in memory at a time
            chosen = [name for name in names if CONTENDERS[name].kind == kind]
            if chosen:
                measure(mode, chosen, spec, args.repeats, results)
    print("", file=sys.stderr)
    print(", ".join(f"{key} {value}" for key, value in (results["machine"] | results["versions"]).items()))
    print(*report(results), sep="\n")
    if args.json:
        with open(args.json, "w") as file:
            json.dump(results, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
