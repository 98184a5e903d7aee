"""`ckptstore inspect`: what is in a checkpoint."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from ckptstore.cli._arguments import storage_options
from ckptstore.cli._output import Cell, Column, Output, Table
from ckptstore.cli._text import count_text, number_text, shape_text, size_text, time_text

if TYPE_CHECKING:
    from ckptstore.cli._contents import Contents, Tensor
    from ckptstore.cli._statistics import NumberStatistics, StringStatistics

HELP = "show the tensors of a checkpoint"
DESCRIPTION = """\
Show what a checkpoint holds: its tensors as a tree, step, time, metrics and metadata. Of a directory, its latest.

Object-based checkpoints are shown by object path; --flat shows the names as they are stored.
"""

BAD_DATA = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("path", metavar="CKPT|DIR", help="a checkpoint's prefix, or a directory; or the URL of one")
    parser.add_argument("--tensor", metavar="NAME", help="show this tensor and its values")
    parser.add_argument(
        "--stats",
        action="store_true",
        help="read the values and show count, NaN, inf, zeros, and min, max, mean, std of the finite ones",
    )
    parser.add_argument("--flat", action="store_true", help="list the tensors by their stored names, not as a tree")


def run(args: argparse.Namespace, output: Output) -> int:
    """Runs the command; returns the exit code."""
    from ckptstore.checkpoint import CheckpointDirectory
    from ckptstore.cli._contents import read_contents
    from ckptstore.cli._target import open_target
    from ckptstore.errors import CheckpointNotFoundError

    store, key = open_target(args.path, storage_options(args))
    with store:
        key = key or CheckpointDirectory(store).latest()
        if key is None:
            raise CheckpointNotFoundError(
                f"{store.url} holds no checkpoints that a state file lists; `ckptstore ls` shows what is there.",
                path=store.url,
            )
        contents = read_contents(store, key)
        if args.tensor is not None:
            _show_tensor(contents, args, output)
        else:
            if args.stats:
                _read_stats(contents, output)
            if args.json:
                output.json(_as_json(contents))
            else:
                _print_head(contents, output)
                _print_tensors(contents, output, flat=args.flat, stats=args.stats)
    for problem in contents.problems:
        output.error(problem)
    return BAD_DATA if contents.problems else 0


# -- all tensors


def _read_stats(contents: Contents, output: Output) -> None:
    from ckptstore.cli._statistics import statistics
    from ckptstore.errors import CheckpointNotFoundError, DataLossError

    total, done = contents.nbytes, 0
    with output.progress("reading") as update:
        for tensor in contents.tensors:
            if tensor.readable:
                try:
                    tensor.stats = statistics(contents.reader[tensor.name])
                except (DataLossError, CheckpointNotFoundError) as error:
                    contents.problems.append(error.message)
            done += tensor.info.nbytes
            update(done, total)


def _print_head(contents: Contents, output: Output) -> None:
    run = contents.run
    lines = {
        "checkpoint": contents.path,
        "format": contents.format_text,
        "step": None if contents.step is None else str(contents.step),
        "saved": None if contents.time is None else time_text(contents.time),
        "metrics": " ".join(f"{name}={number_text(value)}" for name, value in run.metrics.items()),
        "metadata": json.dumps(run.metadata, ensure_ascii=False) if run.metadata else None,
    }
    for title, text in lines.items():
        if text:
            output.line(f"{title:<10}  {text}")
    output.line()


def _print_tensors(contents: Contents, output: Output, *, flat: bool, stats: bool) -> None:
    sliced = any(tensor.info.slices for tensor in contents.tensors)
    table = Table(
        [
            Column("TENSOR", fold=True),
            Column("DTYPE"),
            *([] if stats else [Column("SHAPE"), Column("SIZE", right=True)]),
            *([Column("SLICES", right=True)] if sliced and not stats else []),
            *(
                [Column(title, right=True) for title in ("MIN", "MAX", "MEAN", "STD", "NAN", "INF", "ZEROS")]
                if stats
                else []
            ),
        ]
    )

    def row(label: str, tensor: Tensor) -> None:
        info = tensor.info
        dtype = Cell(info.dtype.name, "cyan")
        if stats:
            table.add(label, dtype, *_stat_cells(tensor.stats))
        else:
            pieces = [str(info.slices) if info.slices else "-"] if sliced else []
            table.add(label, dtype, shape_text(info.shape), size_text(info.nbytes), *pieces)

    if flat:
        for tensor in contents.tensors:
            row(tensor.name, tensor)
    else:
        from ckptstore.cli._tree import tree

        for node in tree([(tensor.shown, tensor) for tensor in contents.tensors], unicode=output.unicode):
            label = node.guide + (node.label or '""')
            if node.leaf is not None:
                row(label, node.leaf)
            elif stats:
                table.add(label, *[""] * 8)
            else:
                size = size_text(sum(tensor.info.nbytes for tensor in node.leaves))
                table.add(label, "", "", Cell(size, "dim"), *([""] if sliced else []))
    output.table(table)
    output.line()
    tensors = count_text(len(contents.tensors), "tensor")
    elements = count_text(sum(tensor.elements for tensor in contents.tensors if tensor.readable), "element")
    output.line(f"{tensors}, {elements}, {size_text(contents.nbytes)}")


def _stat_cells(stats: NumberStatistics | StringStatistics | None) -> list[Cell]:
    from ckptstore.cli._statistics import NumberStatistics

    if not isinstance(stats, NumberStatistics):
        return [Cell("-")] * 7
    return [
        *(Cell(_short(value)) for value in (stats.min, stats.max, stats.mean, stats.std)),
        Cell(str(stats.nan), "bold red" if stats.nan else ""),
        Cell(str(stats.inf), "bold red" if stats.inf else ""),
        Cell(str(stats.zeros)),
    ]


def _short(value: int | float | complex | None) -> str:
    if isinstance(value, int):
        return str(value) if abs(value) < 10**9 else f"{value:.4g}"
    return number_text(value) if value is None else f"{value:.4g}"


# -- one tensor


def _show_tensor(contents: Contents, args: argparse.Namespace, output: Output) -> None:
    from ckptstore.cli._contents import Tensor
    from ckptstore.cli._preview import first_values, preview
    from ckptstore.cli._statistics import statistics

    info = contents.reader.info(args.tensor.removesuffix(":0") if args.tensor not in contents.reader else args.tensor)
    tensor = next((t for t in contents.tensors if t.name == info.name), None) or Tensor(info)
    array = contents.reader[info.name]
    if args.stats and tensor.readable:
        with output.progress(info.name):
            tensor.stats = statistics(array)
    if args.json:
        entry = {**_tensor_json(tensor), "first": first_values(array) if tensor.readable else None}
        output.json({"checkpoint": contents.path, "tensor": entry})
        return
    lines = {
        "checkpoint": contents.path,
        "tensor": tensor.name,
        "path": tensor.path,
        "dtype": info.dtype.name,
        "shape": shape_text(info.shape),
        "elements": f"{tensor.elements:,}",
        "size": size_text(info.nbytes),
        "slices": str(info.slices) if info.slices else None,
    }
    if tensor.stats is not None:
        for name, value in tensor.stats.as_json().items():
            if name != "count":
                lines[name.replace("_", " ")] = _stat_text(value)
    for title, text in lines.items():
        if text is not None:
            output.line(f"{title:<11}  {text}")
    output.line()
    for line in preview(array) if tensor.readable else [f"Only TensorFlow can read values of type {info.dtype.name}."]:
        output.line(line)


def _stat_text(value: Any) -> str:
    if isinstance(value, dict):
        value = complex(value["real"], value["imag"])
    return number_text(value)


# -- for machines


def _tensor_json(tensor: Tensor) -> dict[str, Any]:
    info = tensor.info
    return {
        "name": tensor.name,
        "path": tensor.path,
        "dtype": info.dtype.name,
        "shape": list(info.shape),
        "elements": tensor.elements,
        "size": info.nbytes,
        "slices": info.slices,
        **({"stats": tensor.stats.as_json()} if tensor.stats is not None else {}),
    }


def _as_json(contents: Contents) -> dict[str, Any]:
    return {
        "checkpoint": contents.path,
        "format": contents.format,
        "object_based": contents.object_based,
        "shards": contents.shards,
        "step": contents.step,
        "time": contents.time,
        "metrics": contents.run.metrics,
        "metadata": contents.run.metadata,
        "tensors": [_tensor_json(tensor) for tensor in contents.tensors],
        "size": contents.nbytes,
        "problems": contents.problems,
    }
