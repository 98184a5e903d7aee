"""Results as people read them, and what they say of ckptstore's targets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import Any

_MIB = 2**20
_PEAK_TARGET = 64  # MiB beside the arrays
_SAVE_TARGETS = {"big": 0.9, "small": 2.0}  # times the raw write with the same fsync
_RESTORE_TARGETS = {"big": 1.2, "small": 2.0}  # times the raw read into fresh memory
_LAZY_TARGET = 0.020  # seconds to the first tensor
_ORBAX_TARGET = 20.0  # times as fast, with many small tensors


def lines(rows: Iterable[Sequence[str]], *, left: int = 1) -> Iterator[str]:
    """A table with its columns lined up; the first row is the heading, the first `left` columns are words."""
    table = [list(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for number, row in enumerate(table):
        cells = [c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        yield "  ".join(cells).rstrip()
        if not number:
            yield "  ".join("-" * width for width in widths)


def report(results: dict[str, Any]) -> str:
    out: list[str] = []
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in results["rows"]:
        groups.setdefault((row["case"], row["operation"], row["class"]), []).append(row)
    for (case, operation, kind), rows in groups.items():
        out += ["", f"{results['cases'][case]['title']}: {operation}, {_CLASSES[kind]}"]
        out += lines([_HEADING[operation], *(_cells(row, results["cases"][case]["nbytes"]) for row in rows)])
    out += ["", "Targets of ckptstore", *lines(_targets(results), left=2)]
    return "\n".join(out).strip()


_CLASSES = {
    "buffered": "as it returns, nothing synced",
    "durable": "files and directory synced",
    "warm": "from the page cache",
    "cold": "not in the page cache",
}
_HEADING = {
    "save": ("", "median s", "min-max s", "GB/s", "x raw", "CPU s", "peak extra MiB"),
    "restore": ("", "median s", "min-max s", "GB/s", "x raw", "CPU s", "peak extra MiB", "of it beside arrays"),
}


def _cells(row: dict[str, Any], nbytes: int) -> list[str]:
    wall = median(row["wall"])
    cells = [
        row["contender"] + (" + fsync" if row["sync_added"] else ""),
        f"{wall:.3f}",
        f"{min(row['wall']):.3f}-{max(row['wall']):.3f}",
        f"{nbytes / wall / 1e9:.2f}",
        f"{row['ratio_to_raw']:.2f}" if row["ratio_to_raw"] else "-",
        f"{median(row['cpu']):.3f}",
        f"{max(row['peak']) / _MIB:.1f}",
    ]
    if row["operation"] == "restore":
        cells.append(f"{row['peak_beside_arrays'] / _MIB:.1f}")
    return cells


def _targets(results: dict[str, Any]) -> Iterator[tuple[str, str, str, str, str]]:
    yield "", "", "wanted", "found", ""
    for row in results["rows"]:
        if not row["contender"].startswith("ckptstore"):
            continue
        what = f"{row['contender']}, {row['operation']}, {row['class']}"
        case = results["cases"][row["case"]]["title"]
        wall = median(row["wall"])
        others = {
            other["contender"]: median(other["wall"])
            for other in results["rows"]
            if all(other[field] == row[field] for field in ("case", "operation", "class"))
        }
        if row["contender"] == "ckptstore_lazy":
            if (row["case"], row["class"]) == ("big", "warm"):
                yield case, what, f"<= {_LAZY_TARGET:.3f} s", f"{wall:.4f} s", _verdict(wall <= _LAZY_TARGET)
            continue
        if row["class"] == "durable":
            wanted, floor = _SAVE_TARGETS[row["case"]], others.get("raw")
        else:
            wanted, floor = _RESTORE_TARGETS[row["case"]], others.get("raw_new") if row["class"] == "warm" else None
        if floor:
            yield case, what, f"<= {wanted} x raw", f"{wall / floor:.2f} x", _verdict(wall <= wanted * floor)
        for name, other in others.items():
            if row["class"] in ("durable", "warm") and not name.startswith(("ckptstore", "raw")):
                times = _ORBAX_TARGET if (row["case"], name) == ("small", "orbax") else 1.0
                found = f"{other / wall:.2f} x"
                yield case, what, f">= {times:g} x as fast as {name}", found, _verdict(other >= times * wall)
        peak = row["peak_beside_arrays"] / _MIB
        yield case, what, f"<= {_PEAK_TARGET} MiB extra", f"{peak:.1f} MiB", _verdict(peak <= _PEAK_TARGET)


def _verdict(met: bool) -> str:
    return "met" if met else "MISSED"
