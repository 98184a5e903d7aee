"""From the arguments to the exit code.

0 done    1 failed    2 wrong usage    3 the data is bad    130 interrupted    141 nobody reads the output
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import traceback
from collections.abc import Sequence

from ckptstore._version import __version__
from ckptstore.cli import (
    convert,
    cp,
    diff,
    freeze,
    gc,
    inspect,
    ls,
    meta,
    pin,
    prune,
    repair,
    rm,
    unpin,
    verify,
)
from ckptstore.cli._arguments import CommandParser, add_common_arguments
from ckptstore.cli._output import Output
from ckptstore.errors import CheckpointError, DataLossError

COMMANDS = (ls, inspect, meta, verify, diff, cp, convert, freeze, prune, pin, unpin, rm, gc, repair)

FAILED, USAGE, BAD_DATA, INTERRUPTED, BROKEN_PIPE = 1, 2, 3, 130, 141

_EPILOG = """\
Every path may be the URL of any fsspec store: s3://bucket/run, gs://bucket/run, memory://run.

exit codes:
  0  done
  1  failed, the reason is on stderr
  2  wrong usage
  3  the data is bad: bytes that were stored are damaged or gone
"""


def make_parser() -> CommandParser:
    """The whole grammar of the command line."""
    parser = CommandParser(
        prog="ckptstore",
        description="Look after TensorFlow checkpoints on a disk, S3, GCS or any other store, without TensorFlow.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ckptstore {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2]
        sub = subparsers.add_parser(
            name,
            help=command.HELP,
            description=command.DESCRIPTION,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(sub)
        add_common_arguments(sub)
        sub.set_defaults(run=command.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: The arguments without the program's name; by default the process's.

    Returns:
        The exit code.
    """
    output = Output(sys.stdout, sys.stderr)
    args: argparse.Namespace | None = None
    try:
        try:
            args = make_parser().parse(argv)
            code: int = args.run(args, output)
        except SystemExit as stop:  # argparse: --help, --version, or wrong usage
            code = stop.code if isinstance(stop.code, int) else USAGE
        output.flush()
        return code
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):
            output.note("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return BROKEN_PIPE
    except (CheckpointError, OSError) as error:
        if args is not None and args.debug:
            traceback.print_exc(file=sys.stderr)
        with contextlib.suppress(OSError):
            output.flush()
        output.error(str(error))
        return BAD_DATA if isinstance(error, DataLossError) else FAILED


def _drop_output() -> None:
    """Sends what is still buffered to nowhere, or the interpreter would complain about it at its end."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)
