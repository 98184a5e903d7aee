"""`ckptstore unpin`: leave a pinned checkpoint to the rules again."""

from __future__ import annotations

import argparse

from ckptstore.cli._arguments import storage_options
from ckptstore.cli._output import Output
from ckptstore.cli._pinning import pin_all

HELP = "leave a pinned checkpoint to the rules again"
DESCRIPTION = """\
Leave a pinned checkpoint to the rules again. One that had left the list before stays until `ckptstore rm`.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("checkpoints", metavar="CKPT", nargs="+", help="a checkpoint's prefix, or its URL")


def run(args: argparse.Namespace, output: Output) -> int:
    """Runs the command; returns the exit code."""
    return pin_all(args.checkpoints, storage_options(args), output, pinned=False, as_json=args.json)
