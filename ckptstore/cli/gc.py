"""`ckptstore gc`: deletes what dead processes left behind."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ckptstore.cli._arguments import storage_options
from ckptstore.cli._durations import duration
from ckptstore.cli._output import Output
from ckptstore.cli._text import count_text, size_text

if TYPE_CHECKING:
    from ckptstore.checkpoint.orphans import GcReport

HELP = "delete what saves that died left behind"
DESCRIPTION = """\
Delete what dead processes left behind in a directory: files of saves that never counted, temporary files, uploads that
nobody will finish (our own only), and ckptstore's own left-overs.

Safe beside a trainer: what goes bears this directory's own tag, and is in none of the lists of its state file. Nothing
is judged by its age alone, but for temporary files and uploads. Whole checkpoints that are not listed, and files that
ckptstore did not write, are shown and stay, unless you say otherwise.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("directory", metavar="DIR", help="a directory, or its URL")
    parser.add_argument(
        "--abort-open",
        action="store_true",
        help="give up saves that are under way; if one's process still lives, that save fails, and nothing else",
    )
    parser.add_argument(
        "--complete-orphans", action="store_true", help="also delete whole checkpoints of ours that are not listed"
    )
    parser.add_argument(
        "--foreign-older-than",
        metavar="TIME",
        type=duration,
        help="also delete files that look like parts of unlisted checkpoints, and were not written by ckptstore, if "
        "they are older (TensorFlow's left-overs; 7d is a good choice)",
    )
    parser.add_argument(
        "--unfinished-older-than",
        metavar="TIME",
        type=duration,
        default=86400.0,
        help="how old temporary files and uploads must be (default: 1d)",
    )
    parser.add_argument("--dry-run", action="store_true", help="change nothing, and show what would be deleted")


def run(args: argparse.Namespace, output: Output) -> int:
    """Runs the command; returns the exit code."""
    from ckptstore._clock import SystemClock
    from ckptstore.checkpoint import CheckpointDirectory
    from ckptstore.checkpoint.orphans import OrphanCollector
    from ckptstore.storage import from_url

    with from_url(args.directory, storage_options(args)) as store:
        directory = CheckpointDirectory(store)
        report = OrphanCollector(directory, SystemClock()).collect(
            dry_run=args.dry_run,
            abort_open=args.abort_open,
            complete_orphans=args.complete_orphans,
            foreign_older_than=args.foreign_older_than,
            unfinished_older_than=args.unfinished_older_than,
        )
        if args.json:
            output.json(
                {
                    "directory": directory.url,
                    "dry_run": report.dry_run,
                    "deleted_files": [meta.key for meta in report.deleted],
                    "deleted_bytes": report.nbytes,
                    "aborted_uploads": report.aborted,
                    "complete_unlisted": report.complete,
                    "foreign_files": [meta.key for meta in report.foreign],
                    "open": report.open,
                    "problems": report.problems,
                }
            )
        else:
            _print(directory.url, report, output)
    for problem in report.problems:
        output.error(problem)
    return 1 if report.problems else 0


def _print(url: str, report: GcReport, output: Output) -> None:
    verb = "would be" if report.dry_run else "were"
    for meta in report.deleted:
        output.line(f"orphan    {meta.key}  {size_text(meta.size)}")
    for key in report.aborted:
        output.line(f"upload    {key}")
    for prefix in report.complete:
        output.line(f"unlisted  {prefix}  (whole, and stays; see --complete-orphans)")
    for meta in report.foreign:
        output.line(f"foreign   {meta.key}  (stays; see --foreign-older-than)")
    for prefix in report.open:
        output.line(f"open      {prefix}  (being saved, or its process died; see --abort-open)")
    output.line(
        f"{count_text(len(report.deleted), 'file')} ({size_text(report.nbytes)}) and "
        f"{count_text(len(report.aborted), 'upload')} {verb} deleted in {url}"
    )
