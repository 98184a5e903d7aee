"""`ckptstore pin`: keep a checkpoint, whatever the rules say."""

from __future__ import annotations

import argparse

from ckptstore.cli._arguments import storage_options
from ckptstore.cli._output import Output
from ckptstore.cli._pinning import pin_all

HELP = "keep a checkpoint, whatever the rules say"
DESCRIPTION = """\
Keep a checkpoint until it is unpinned: no rule of a trainer or of `ckptstore prune` removes it.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("checkpoints", metavar="CKPT", nargs="+", help="a checkpoint's prefix, or its URL")


def run(args: argparse.Namespace, output: Output) -> int:
    """Runs the command; returns the exit code."""
    return pin_all(args.checkpoints, storage_options(args), output, pinned=True, as_json=args.json)
