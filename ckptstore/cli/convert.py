"""`ckptstore convert`: writes a checkpoint in another format."""

from __future__ import annotations

import argparse

from ckptstore.cli._arguments import storage_options
from ckptstore.cli._copied import copied_json, print_copied
from ckptstore.cli._output import Output

HELP = "write a checkpoint in another format"
DESCRIPTION = """\
Write a V1 checkpoint (TensorFlow 0.x and 1.0) as V2, or the other way round: the same names, values, types and slices.

SRC, DST and --overwrite are as for `ckptstore cp`; the files of a sharded V1 checkpoint are named by their pattern,
P-?????-of-NNNNN, and become one checkpoint. The .meta file goes along as it is: its saver_def.version still says what
SRC was. V1 checkpoints are read, and made, in memory, and hold fewer types: those they cannot hold are an error that
lists the tensors.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("src", metavar="SRC", help="a checkpoint's prefix, or a directory; or the URL of one")
    parser.add_argument("dst", metavar="DST", help='the new prefix, or a directory with a "/" at its end; or a URL')
    parser.add_argument("--to", choices=("v1", "v2"), required=True, help="the format to write")
    parser.add_argument("--overwrite", action="store_true", help="replace a checkpoint of that prefix")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, and no output")


def run(args: argparse.Namespace, output: Output) -> int:
    """Runs the command; returns the exit code."""
    from ckptstore.train.copies import convert_checkpoint

    with output.progress(args.src, quiet=args.quiet) as update:
        copied = convert_checkpoint(
            args.src,
            args.dst,
            args.to,
            overwrite=args.overwrite,
            progress=update,
            storage_options=storage_options(args),
        )
    if args.json:
        output.json(copied_json(copied))
    elif not args.quiet:
        print_copied(copied, output)
    return 0
