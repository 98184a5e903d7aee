"""`ckptstore ls`: what is in a directory."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ckptstore.cli._arguments import storage_options
from ckptstore.cli._output import Cell, Column, Output, Table
from ckptstore.cli._text import count_text, number_text, size_text, time_text

if TYPE_CHECKING:
    from ckptstore.checkpoint import CheckpointDirectory
    from ckptstore.cli._survey import Found, Survey

HELP = "list the checkpoints of a directory"
DESCRIPTION = """\
List every checkpoint in a directory, whether its state file lists it or not.

status:
  latest      the one that training resumes from
  listed      in the state file
  unlisted    complete, and not in the state file: preserved for ever, or left over
  incomplete  some of its files are not there
  missing     in the state file, and not there

Times are those of the state file where it has them, else the store's, in your time zone.
A state file that is missing or damaged makes the exit code 1; what is there is shown all the same.
"""

_STYLES = {"latest": "bold green", "unlisted": "dim", "incomplete": "bold yellow", "missing": "bold red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("directory", metavar="DIR", help="a directory, or its URL")
    parser.add_argument(
        "--metrics",
        action="store_true",
        help="show the metrics that were saved with each checkpoint, in place of sizes",
    )


def run(args: argparse.Namespace, output: Output) -> int:
    """Runs the command; returns the exit code."""
    from ckptstore.checkpoint import CheckpointDirectory
    from ckptstore.cli._survey import add_metrics, survey
    from ckptstore.storage import from_url

    options = storage_options(args)
    with from_url(args.directory, options) as store:
        directory = CheckpointDirectory(store)
        found = survey(directory)
        if not found.checkpoints and not found.problems:
            _check_directory(args.directory, options)
        if args.metrics:
            problems = [add_metrics(directory, item) for item in found.checkpoints]
            found.problems += [problem for problem in problems if problem is not None]
        if args.json:
            output.json(_as_json(directory, found, metrics=args.metrics))
        elif found.checkpoints:
            _print(directory, found, output, metrics=args.metrics)
        else:
            output.note(f"{store.url} holds no checkpoints")
    for problem in found.problems:
        output.error(problem)
    return 1 if found.problems else 0


def _check_directory(path: str, options: dict[str, Any] | None) -> None:
    """Tells an empty directory from a slip of the pen."""
    from ckptstore.cli._target import open_target
    from ckptstore.errors import InvalidArgumentError

    store, key = open_target(path, options)
    store.close()
    if key is not None:
        raise InvalidArgumentError(
            f"{store.path(key)} is a checkpoint and no directory; `ckptstore inspect` shows what is in it.",
            path=store.path(key),
        )


def _print(directory: CheckpointDirectory, found: Survey, output: Output, *, metrics: bool) -> None:
    v1 = any(item.format == "v1" for item in found.checkpoints)
    columns = [
        Column("CHECKPOINT", fold=True),
        Column("STEP", right=True),
        Column("SAVED"),
        *([] if metrics else [Column(title, right=True) for title in ("SIZE", "FILES", "SHARDS")]),
        *([Column("FORMAT")] if v1 else []),
        Column("STATUS"),
        *([Column("METRICS", fold=True)] if metrics else []),
    ]
    table = Table(columns)
    for item in found.checkpoints:
        table.add(
            Cell(item.prefix, "bold" if item.latest else ""),
            "-" if item.step is None else str(item.step),
            time_text(item.time),
            *([] if metrics else _extent(item)),
            *([(item.format or "-").upper()] if v1 else []),
            Cell(_status(item), _STYLES["missing"] if _broken(item) else _STYLES.get(item.status, "")),
            *([_metrics(item)] if metrics else []),
        )
    output.table(table)
    total = sum(item.size for item in found.checkpoints)
    output.line()
    output.line(f"{count_text(len(found.checkpoints), 'checkpoint')}, {size_text(total)} in {directory.url}")


def _status(item: Found) -> str:
    word = _status_word(item)
    return f"{word}, pinned" if item.pinned else word


def _status_word(item: Found) -> str:
    # What is wrong with a checkpoint matters the more if the state file counts on it.
    if item.status == "incomplete" and item.listed:
        return "incomplete, latest" if item.latest else "incomplete, listed"
    return "missing, latest" if item.status == "missing" and item.latest else item.status


def _broken(item: Found) -> bool:
    return item.listed and not item.complete


def _extent(item: Found) -> list[str]:
    """Size, files and shards."""
    if not item.files:
        return ["-"] * 3
    shards = str(item.shards)
    if item.shards_expected not in (None, item.shards):
        shards += f"/{item.shards_expected}"
    return [size_text(item.size), str(len(item.files)), shards]


def _metrics(item: Found) -> str:
    if item.metrics is None:
        return "?"
    return " ".join(f"{name}={number_text(value)}" for name, value in item.metrics.items()) or "-"


def _as_json(directory: CheckpointDirectory, found: Survey, *, metrics: bool) -> dict[str, Any]:
    return {
        "directory": directory.url,
        "state_file": found.has_state,
        "latest": next((item.prefix for item in found.checkpoints if item.latest), None),
        "checkpoints": [
            {
                "checkpoint": item.prefix,
                "path": directory.store.path(item.prefix),
                "step": item.step,
                "status": item.status,
                "listed": item.listed,
                "latest": item.latest,
                "pinned": item.pinned,
                "complete": item.complete,
                "format": item.format,
                "time": item.time,
                "time_source": item.time_source,
                "size": item.size,
                "files": len(item.files),
                "shards": item.shards,
                "shards_expected": item.shards_expected,
                **({"metrics": item.metrics} if metrics else {}),
            }
            for item in found.checkpoints
        ],
        "problems": found.problems,
    }
