"""save(reuse=True) with most of the tensors unchanged, beside a save of everything.

On a local disk, and on S3 and GCS (bench/servers/fasts3.py in cloud mode), with the bytes that are sent.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from statistics import median
from typing import Any

import numpy as np

import ckptstore as ck
from bench._facts import facts
from bench._host import touch_memory
from bench._process import ROOT
from bench._table import lines
from bench.object_stores import server
from bench.remote import _options

_TENSORS = 40


def model(size: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(20)
    return {f"layer{i:02d}/kernel": random.random(size // _TENSORS // 4, np.float32) for i in range(_TENSORS)}


def measure(place: str, options: dict[str, Any] | None, size: int, repeats: int, reuse: bool) -> dict[str, Any]:
    """Saves of which 95 % are as in the save before; the first, of everything, is not counted."""
    items = model(size)
    changing = [name for number, name in enumerate(items) if number % 20 == 7]
    walls, sent = [], []
    with ck.CheckpointManager(place, max_to_keep=2, storage_options=options) as manager:
        for step in range(repeats + 1):
            for name in changing:
                items[name] = items[name] + np.float32(1)
            os.sync()
            touch_memory(size)
            before = _Counter.sent
            begun = time.perf_counter()
            manager.save(step, items, reuse=reuse)
            if step:
                walls.append(time.perf_counter() - begun)
                sent.append(_Counter.sent - before)
        found = manager.restore()
        for name, array in items.items():
            np.testing.assert_array_equal(found[name], array)
    return {"place": place.partition(":")[0] if "://" in place else "disk", "wall": walls, "sent": sent}


class _Counter:
    """Bytes that were handed to a store to be sent, of payloads."""

    sent = 0


def _count(kind: Any, verb: str, at: int) -> None:
    inner = getattr(kind, verb)

    def counted(self, *arguments, **options):
        _Counter.sent += arguments[at].nbytes
        return inner(self, *arguments, **options)

    setattr(kind, verb, counted)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/run reuse", description=__doc__)
    parser.add_argument("--size-mib", type=int, default=1024)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--dir", default=os.path.join(ROOT, "build"))
    parser.add_argument("--json")
    args = parser.parse_args()
    if args.quick:
        args.size_mib, args.repeats = 128, 2
    size = args.size_mib * 2**20
    os.makedirs(args.dir, exist_ok=True)
    from ckptstore.storage._gcs import GcsStore
    from ckptstore.storage._local import LocalStore
    from ckptstore.storage._s3 import S3Store

    for kind in (LocalStore, S3Store, GcsStore):
        _count(kind, "create", 1)
        if kind is not LocalStore:
            _count(kind, "put_part", 2)
    rows = []
    with tempfile.TemporaryDirectory(dir=args.dir) as directory:
        for reuse in (False, True):
            place = os.path.join(directory, str(reuse))
            rows.append({"reuse": reuse, **measure(place, None, size, args.repeats, reuse)})
            shutil.rmtree(place)
    with server("cloud") as endpoint:
        for scheme, options in (("s3", _options.s3(endpoint)), ("gs", _options.gcs(endpoint))):
            for reuse in (False, True):
                place = f"{scheme}://bench/{reuse}"
                rows.append({"reuse": reuse, **measure(place, options, size, args.repeats, reuse)})
    print(f"{args.size_mib} MiB in {_TENSORS} tensors, of which 95 % are unchanged")
    table = [("", "median s", "MiB sent", "x as fast", "x fewer bytes")]
    for plain, reused in zip(rows[::2], rows[1::2], strict=True):
        for row in (plain, reused):
            table.append(
                (
                    f"{row['place']}{', reuse' if row['reuse'] else ''}",
                    f"{median(row['wall']):.3f}",
                    f"{median(row['sent']) / 2**20:.1f}",
                    f"{median(plain['wall']) / median(row['wall']):.1f}",
                    f"{median(plain['sent']) / median(row['sent']):.1f}",
                )
            )
    print(*lines(table), sep="\n")
    fewer = min(median(a["sent"]) / median(b["sent"]) for a, b in zip(rows[::2], rows[1::2], strict=True))
    faster = median(rows[0]["wall"]) / median(rows[1]["wall"])
    print(f"wanted: >= 10 x fewer bytes: {fewer:.1f} x, {'met' if fewer >= 10 else 'MISSED'};", end=" ")
    print(f"on a disk >= 5 x as fast: {faster:.1f} x, {'met' if faster >= 5 else 'MISSED'}")
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"machine": facts(args.dir), "nbytes": size, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
