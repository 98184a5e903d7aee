"""How cost grows: with the number of tensors, their bytes, the shards, and the checkpoints that are kept.

Under each table stands the power of the size with which each cost rises, between the last rows: 1 is linear, 0 is flat.
What reads or writes everything should be linear at most, and what leaves most alone (one tensor of many, the latest of
many checkpoints) flat.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import psutil

import ckptstore as ck
from bench._facts import facts
from bench._host import touch_memory
from bench._measure import measured
from bench._process import ROOT
from bench._table import lines


def best(call: Callable[[], Any], repeats: int = 3, memory: int = 0) -> float:
    """The least time: growth is about the work, and not about what else the machine does."""
    out = []
    for _ in range(repeats):
        gc.collect()
        if memory:
            touch_memory(min(memory, psutil.virtual_memory().available - (2 << 30)))
        begun = time.perf_counter()
        call()
        out.append(time.perf_counter() - begun)
    return min(out)


def power(rows: list[dict[str, Any]], column: str) -> float:
    """The slope of cost over size, both logarithmic, in the last three rows: below them is what it costs to start."""
    size, *_ = rows[0]
    slope, _ = np.polyfit([np.log(row[size]) for row in rows[-3:]], [np.log(row[column]) for row in rows[-3:]], 1)
    return float(slope)


def by_tensors(directory: str, quick: bool) -> list[dict[str, Any]]:
    rows = []
    for count in (100, 1000, 10_000, 100_000, *(() if quick else (1_000_000,))):
        items = {f"layer_{i:07d}/kernel": np.full(16, i, np.float32) for i in range(count)}
        path = os.path.join(directory, f"t{count}")
        repeats = 3 if count <= 100_000 else 1
        save = best(lambda: ck.save(path, items, overwrite=True), repeats)  # noqa: B023 - called at once
        restore = best(lambda: ck.restore(path), repeats)  # noqa: B023
        calls = (partial(ck.save, path, items, overwrite=True), partial(ck.restore, path))
        peaks = [measured(call)[0]["peak"] for call in calls]
        middle = f"layer_{count // 2:07d}/kernel"
        one = best(lambda: ck.load_variable(path, middle))  # noqa: B023
        rows.append({"tensors": count, "save": save, "restore": restore, "open and read one": one})
        rows[-1] |= {"us per tensor, save": save / count * 1e6, "us per tensor, restore": restore / count * 1e6}
        rows[-1] |= dict(zip(_PEAKS, (peak / 2**20 for peak in peaks), strict=True))
    return rows


_PEAKS = ("peak MiB per save", "peak MiB per restore")


def by_bytes(directory: str, quick: bool) -> list[dict[str, Any]]:
    rows = []
    for mib in (1, 16, 256, *(() if quick else (1024, 4096, 8192))):
        if shutil.disk_usage(directory).free < 3 * mib * 2**20:
            print(f"(no room for {mib} MiB)")
            continue
        items = {f"layer_{i:02d}": np.ones(mib * 2**20 // 16 // 4, np.float32) for i in range(16)}
        path = os.path.join(directory, f"b{mib}")
        save = best(lambda: ck.save(path, items, overwrite=True), 3 if mib < 4096 else 1, mib << 20)  # noqa: B023
        os.sync()
        items.clear()
        restore = best(lambda: ck.restore(path), 3 if mib < 4096 else 1, mib << 20)  # noqa: B023
        lazy = best(lambda: np.asarray(ck.restore(path, verify="lazy", names=["layer_00"])["layer_00"])[:1])  # noqa: B023
        for name in os.listdir(directory):
            os.unlink(os.path.join(directory, name))
        rows.append({"MiB": mib, "save": save, "restore": restore, "one of 16, lazily": lazy})
        rows[-1] |= {"s per GiB, save": save / mib * 1024, "s per GiB, restore": restore / mib * 1024}
    return rows


def by_shards(directory: str, quick: bool) -> list[dict[str, Any]]:
    rows = []
    total = (64 if quick else 512) << 20
    items = {f"layer_{i:02d}": np.ones(total // 64 // 4, np.float32) for i in range(64)}
    for shards in (1, 4, 16, 64):
        path = os.path.join(directory, f"s{shards}")
        save = best(lambda: ck.save(path, items, overwrite=True, max_shard_bytes=total // shards))  # noqa: B023
        os.sync()
        restore = best(lambda: ck.restore(path))  # noqa: B023
        rows.append({"shards": shards, "save": save, "restore": restore})
    return rows


def by_kept(directory: str, quick: bool) -> list[dict[str, Any]]:
    rows = []
    items = {"w": np.ones(1000, np.float32)}
    with ck.CheckpointManager(directory, max_to_keep=None) as manager:
        step = 0
        for kept in (1, 10, 100, *(() if quick else (1000,))):
            while step < kept - 3:
                step += 1
                manager.save(step, items)

            def save():
                nonlocal step
                step += 1
                manager.save(step, items)

            saved = best(save)
            latest = best(lambda: ck.latest_checkpoint(directory))
            rows.append({"kept": step, "save": saved, "latest_checkpoint": latest, "restore": best(manager.restore)})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/run growth", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="tensors,bytes,shards,kept")
    parser.add_argument("--dir", default=os.path.join(ROOT, "build"))
    parser.add_argument("--json")
    args = parser.parse_args()
    os.makedirs(args.dir, exist_ok=True)
    results: dict[str, Any] = {"machine": facts(args.dir), "powers": {}}
    for name in args.only.split(","):
        with tempfile.TemporaryDirectory(dir=args.dir) as directory:
            rows = results[name] = globals()[f"by_{name}"](directory, args.quick)
        heading = tuple(rows[0])
        cells = (tuple(f"{v:,}" if isinstance(v, int) else f"{v:.4g}" for v in row.values()) for row in rows)
        print(f"\nby {name}, seconds", *lines([heading, *cells], left=0), sep="\n")
        powers = {column: power(rows, column) for column in heading[1:] if " per " not in column}
        results["powers"][name] = powers
        print(*(f"{column} ~ {heading[0]}^{found:.2f}" for column, found in powers.items()), sep="; ")
    if args.json:
        with open(args.json, "w") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
