"""`ckptstore cp`: copies a checkpoint, or some of its tensors under other names."""

from __future__ import annotations

import argparse
from typing import Any

from ckptstore.cli._arguments import storage_options
from ckptstore.cli._copied import copied_json, print_copied
from ckptstore.cli._output import Output

HELP = "copy a checkpoint to another place, or some of its tensors"
DESCRIPTION = """\
Copy a checkpoint of either format to any store, byte for byte, each tensor held against its checksum on the way.

SRC may be a directory: its latest checkpoint is copied. A DST that ends in "/" is a directory in which the checkpoint
keeps its name; any other is the new prefix. Nothing is replaced unless --overwrite is given, and a copy that fails
leaves nothing behind. If SRC is damaged the exit code is 3.

With --rename, --include or --exclude the tensors that are left are written anew, as TensorFlow's Saver would write
them, and without the .meta file, which tells of the old names. Patterns and renames go by the names that
`ckptstore inspect` shows. An object-based checkpoint loses its object graph then: leave that out, too, with
--exclude _CHECKPOINTABLE_OBJECT_GRAPH.

The copy is listed in no state file. To list it: ckptstore.update_checkpoint_state(directory, prefix).
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("src", metavar="SRC", help="a checkpoint's prefix, or a directory; or the URL of one")
    parser.add_argument("dst", metavar="DST", help='the new prefix, or a directory with a "/" at its end; or a URL')
    parser.add_argument(
        "--rename",
        metavar="OLD=NEW",
        action=_Rename,
        default={},
        help='give a tensor another name; may be repeated. "old/=new/" renames a scope, "/" is the root. The first "=" '
        "counts; of several that fit, the longest OLD does",
    )
    parser.add_argument(
        "--include", metavar="GLOB", action="append", default=[], help="copy only such tensors; may be repeated"
    )
    parser.add_argument(
        "--exclude", metavar="GLOB", action="append", default=[], help="leave such tensors out; may be repeated"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a checkpoint of that prefix")
    parser.add_argument("--quiet", action="store_true", help="no progress bar, and no output")


def run(args: argparse.Namespace, output: Output) -> int:
    """Runs the command; returns the exit code."""
    from ckptstore.train.copies import copy_checkpoint

    with output.progress(args.src, quiet=args.quiet) as update:
        copied = copy_checkpoint(
            args.src,
            args.dst,
            rename=args.rename,
            include=args.include,
            exclude=args.exclude,
            overwrite=args.overwrite,
            progress=update,
            storage_options=storage_options(args),
        )
    if args.json:
        output.json(copied_json(copied))
    elif not args.quiet:
        print_copied(copied, output)
    return 0


class _Rename(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, value: Any, *_: Any) -> None:
        old, equals, new = value.partition("=")
        renames = getattr(namespace, self.dest)
        if not equals or not old or not new:
            raise argparse.ArgumentError(self, "expected OLD=NEW")
        if old in renames:
            raise argparse.ArgumentError(self, "the same OLD is given twice")
        setattr(namespace, self.dest, {**renames, old: new})
