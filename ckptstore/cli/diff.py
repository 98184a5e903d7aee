"""`ckptstore diff`: what is different between two checkpoints."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any

from ckptstore.cli._arguments import storage_options
from ckptstore.cli._output import Cell, Column, Output, Table
from ckptstore.cli._text import count_text, number_text, shape_text

if TYPE_CHECKING:
    from ckptstore.bundle import TensorInfo
    from ckptstore.checkpoint.comparison import TensorDifference

HELP = "compare two checkpoints"
DESCRIPTION = """\
Compare the tensors of two checkpoints by name, type, shape and value. The exit code is 0 if they are equal, and 1 if
they are not. If one is damaged it is 3.

A and B may be directories: their latest checkpoints are compared. Formats, files and slices make no difference. A
variable of an object-based checkpoint goes by its object path; compared with a name-based one, its object graph and
save counter are left out.

Numbers are equal that are at most ATOL + RTOL * max(|a|, |b|) apart; by default only the same ones are. NaN equals NaN,
and -0 equals 0. MAX REL is in relation to the larger of the two values. Strings are counted.
"""

DIFFERENT = 1

_ORDER = ("only in a", "only in b", "dtype", "shape", "values")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("a", metavar="A", help="a checkpoint's prefix, or a directory; or the URL of one")
    parser.add_argument("b", metavar="B", help="another")
    parser.add_argument("--rtol", metavar="RTOL", type=_tolerance, default=0.0, help="tolerance, relative (default: 0)")
    parser.add_argument("--atol", metavar="ATOL", type=_tolerance, default=0.0, help="tolerance, absolute (default: 0)")
    parser.add_argument("--names-only", action="store_true", help="compare names, types and shapes, and read no values")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, and no output: the exit code tells")


def run(args: argparse.Namespace, output: Output) -> int:
    """Runs the command; returns the exit code."""
    from ckptstore.checkpoint.comparison import Tolerance
    from ckptstore.train.differences import comparison

    with (
        output.progress(f"{args.a} {args.b}", quiet=args.quiet) as update,
        comparison(
            args.a,
            args.b,
            tolerance=Tolerance(args.rtol, args.atol),
            names_only=args.names_only,
            progress=update,
            storage_options=storage_options(args),
        ) as (a, b, items),
    ):
        count, differences = 0, []
        for item in items:
            count += 1
            if not item.equal:
                differences.append(item)
    differences.sort(key=_rank)
    if args.json:
        output.json(_as_json(a, b, count, differences))
    elif not args.quiet:
        _print(a, b, count, differences, output)
    return DIFFERENT if differences else 0


def _tolerance(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError("a finite number from 0 expected")
    return value


def _rank(item: TensorDifference) -> tuple[int, float]:
    """What is in one alone first, then other types and shapes, then values: the farthest apart first, strings last."""
    apart = None if item.values is None else item.values.max_abs
    return _ORDER.index(item.status), math.inf if apart is None else -apart


def _print(a: str, b: str, count: int, differences: list[TensorDifference], output: Output) -> None:
    output.line(f"a: {a}")
    output.line(f"b: {b}")
    output.line()
    table = Table(
        [
            Column("TENSOR", fold=True),
            Column("DIFFERENCE"),
            Column("A"),
            Column("B"),
            *(Column(title, right=True) for title in ("DIFFERING", "MAX ABS", "MAX REL")),
        ]
    )
    for item in differences:
        values = item.values
        table.add(
            Cell(item.name, "bold"),
            item.status,
            _info_text(item.a),
            _info_text(item.b),
            "-" if values is None else f"{values.differing:,}/{values.elements:,}",
            number_text(None if values is None else values.max_abs),
            number_text(None if values is None else values.max_rel),
        )
    output.table(table)
    if differences:
        output.line()
        output.line(f"{len(differences):,} of {count_text(count, 'tensor')} differ")
    else:
        output.line(f"{count_text(count, 'tensor')}, no difference")


def _info_text(info: TensorInfo | None) -> str:
    return "-" if info is None else f"{info.dtype} {shape_text(info.shape)}"


def _as_json(a: str, b: str, count: int, differences: list[TensorDifference]) -> dict[str, Any]:
    return {
        "a": a,
        "b": b,
        "equal": not differences,
        "tensors": count,
        "differences": [
            {
                "name": item.name,
                "difference": item.status,
                "a": _info_json(item.a),
                "b": _info_json(item.b),
                "values": None
                if item.values is None
                else {
                    "elements": item.values.elements,
                    "differing": item.values.differing,
                    "max_abs": item.values.max_abs,
                    "max_rel": item.values.max_rel,
                },
            }
            for item in differences
        ],
    }


def _info_json(info: TensorInfo | None) -> dict[str, Any] | None:
    return None if info is None else {"name": info.name, "dtype": str(info.dtype), "shape": list(info.shape)}
