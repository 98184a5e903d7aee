"""`ckptstore rm`: removes checkpoints by name."""

from __future__ import annotations

import argparse

from ckptstore.cli._arguments import storage_options
from ckptstore.cli._collected import collected_json, print_collected
from ckptstore.cli._durations import duration, duration_text
from ckptstore.cli._listed import listed_target
from ckptstore.cli._output import Output

HELP = "remove checkpoints by name"
DESCRIPTION = """\
Remove checkpoints that a state file lists or keeps, pinned ones too, from the list and from the store.

Safe beside a trainer and readers, as `ckptstore prune` is: files of a checkpoint that is being read stay until that is
over, and the next prune deletes them. The only checkpoint of a directory is not removed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("checkpoints", metavar="CKPT", nargs="+", help="a checkpoint's prefix, or its URL")
    parser.add_argument(
        "--grace", metavar="TIME", type=duration, default=0.0, help="leave the files for so long (default: 0)"
    )


def run(args: argparse.Namespace, output: Output) -> int:
    """Runs the command; returns the exit code."""
    from ckptstore._clock import SystemClock
    from ckptstore.checkpoint.pruning import Pruner

    code, removed = 0, []
    for path in args.checkpoints:
        with listed_target(path, storage_options(args)) as (directory, key):
            collected = Pruner(directory, SystemClock()).remove([key], grace=args.grace)
            name = directory.store.path(key)
        removed.append({"checkpoint": name, **collected_json(collected)})
        if not args.json:
            output.line(f"{name} is removed")
            print_collected(
                collected, output, waiting=f"deleted by a prune once {duration_text(args.grace)} have passed"
            )
        for entry, why in collected.blocked.items():
            output.error(f"{entry.prefix} stays: {why}")
            code = 1
    if args.json:
        output.json({"removed": removed})
    return code
