"""Plots of results: bench/run plots --local L.json --object-stores O.json [O2.json] --growth G.json --to docs/plots"""

from __future__ import annotations

import argparse
import json
import os
from statistics import median
from typing import Any

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "ckptstore", "svg.fonttype": "none", "font.size": 9, "axes.spines.top": False})
mpl.rcParams.update({"axes.spines.right": False, "figure.constrained_layout.use": True})

import matplotlib.pyplot as plt  # noqa: E402 - which looks for a screen unless told not to

_OURS, _OTHERS, _FLOOR = "#1565c0", "#b0bec5", "#546e7a"


def local(results: dict[str, Any], to: str) -> None:
    """A bar per contender: times of the raw write or read of the same kind."""
    for case in results["cases"]:
        kinds = [("save", "durable"), ("restore", "warm")]
        figure, axes = plt.subplots(1, 2, figsize=(9, 3))
        for axis, (operation, kind) in zip(axes, kinds, strict=True):
            rows = [r for r in results["rows"] if (r["case"], r["operation"], r["class"]) == (case, operation, kind)]
            floor = "raw" if operation == "save" else "raw_new"
            base = next(median(r["wall"]) for r in rows if r["contender"] == floor)
            left_out = {"ckptstore_lazy", *({"raw"} - {floor})}  # the first tensor alone; memory that was there already
            bars = [(r["contender"], median(r["wall"]) / base) for r in rows if r["contender"] not in left_out]
            _bars(axis, bars, floor)
            axis.set_title(f"{operation}, {'durable' if kind == 'durable' else 'from the page cache'}")
            axis.set_xlabel("times a raw write and fsync" if operation == "save" else "times a raw read")
        figure.suptitle(results["cases"][case]["title"])
        _save(figure, to, f"local_{case}")


def object_stores(results: list[dict[str, Any]], to: str) -> None:
    """MB/s of each contender, by mode and direction."""
    rows = [row for result in results for row in result["rows"]]
    nbytes = results[0]["nbytes"]
    for mode in dict.fromkeys(row["mode"] for row in rows):
        figure, axes = plt.subplots(1, 2, figsize=(9, 3))
        for axis, what in zip(axes, ("upload", "download"), strict=True):
            chosen = [r for r in rows if (r["mode"], r["operation"]) == (mode, what)]
            _bars(axis, [(r["contender"], nbytes / median(r["wall"]) / 1e6) for r in chosen], "", "{:.0f}")
            axis.set_title(what)
            axis.set_xlabel("MB/s")
        words = {"loopback": "server as fast as it can", "cloud": "20 ms a request, 80 MB/s a connection"}
        figure.suptitle(f"{nbytes / 2**20:.0f} MiB, {words[mode]}")
        _save(figure, to, f"object_stores_{mode}")


def growth(results: dict[str, Any], to: str) -> None:
    """Seconds against size, both logarithmic: what is linear rises with the dotted line."""
    names = [name for name in ("tensors", "bytes", "shards", "kept") if name in results]
    figure, axes = plt.subplots(1, len(names), figsize=(3 * len(names), 3), squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        rows = results[name]
        first, *columns = rows[0]
        sizes = [row[first] for row in rows]
        for column in columns:
            if " per " not in column:
                axis.plot(sizes, [row[column] for row in rows], marker="o", markersize=3, label=column)
        start = min(rows[0][c] for c in columns if " per " not in c)
        axis.plot(sizes, [start * size / sizes[0] for size in sizes], ":", color=_OTHERS, label="linear")
        axis.set(xscale="log", yscale="log", xlabel=first, ylabel="s")
        axis.minorticks_off()  # else they are most of the file
        axis.legend(fontsize=6)
    _save(figure, to, "growth")


def _bars(axis: Any, bars: list[tuple[str, float]], floor: str, form: str = "{:.2f}") -> None:
    names = [name for name, _ in reversed(bars)]
    values = [value for _, value in reversed(bars)]
    colors = [_OURS if n.startswith("ckptstore") else _FLOOR if n == floor else _OTHERS for n in names]
    drawn = axis.barh(names, values, color=colors)
    axis.bar_label(drawn, [form.format(value) for value in values], padding=2, fontsize=7)
    if max(values) > 30 * min(values):
        axis.set_xscale("log")


def _save(figure: Any, to: str, name: str) -> None:
    figure.savefig(os.path.join(to, f"{name}.svg"), metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench/run plots", description=__doc__)
    parser.add_argument("--local")
    parser.add_argument("--object-stores", nargs="*", default=[])
    parser.add_argument("--growth")
    parser.add_argument("--to", default="docs/plots")
    args = parser.parse_args()
    os.makedirs(args.to, exist_ok=True)

    def read(path: str) -> Any:
        with open(path) as file:
            return json.load(file)

    if args.local:
        local(read(args.local), args.to)
    if args.object_stores:
        object_stores([read(path) for path in args.object_stores], args.to)
    if args.growth:
        growth(read(args.growth), args.to)


if __name__ == "__main__":
    main()
