"""Results as people read them, and what they say of ckptstore's targets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import Any

_MIB = 2**20
_PEAK_TARGET = 128  # MiB
_SMALL_TARGET = 1.0  # seconds
_BIG_TARGET = 1.5  # times the raw write with the same fsync


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
        if row["case"] == "small":
            yield case, what, f"< {_SMALL_TARGET:.0f} s", f"{wall:.3f} s", _verdict(wall < _SMALL_TARGET)
        elif row["operation"] == "save" and row["ratio_to_raw"]:
            ratio = row["ratio_to_raw"]
            yield case, what, f"<= {_BIG_TARGET} x raw", f"{ratio:.2f} x", _verdict(ratio <= _BIG_TARGET)
        peak = row["peak_beside_arrays"] / _MIB
        yield case, what, f"<= {_PEAK_TARGET} MiB extra", f"{peak:.1f} MiB", _verdict(peak <= _PEAK_TARGET)


def _verdict(met: bool) -> str:
    return "met" if met else "MISSED"
