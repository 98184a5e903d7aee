"""`ckptstore repair`: brings a lost or damaged state file back."""

from __future__ import annotations

import argparse

from ckptstore.cli._arguments import storage_options
from ckptstore.cli._output import Output
from ckptstore.cli._text import count_text

HELP = "bring a lost or damaged state file back"
DESCRIPTION = """\
Bring the state file of a directory back if it is missing or cannot be read: from the newest copy in its history.

Whoever was saving must be restarted; until then, each of its saves fails and changes nothing. A state file that is in
order is left alone.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("directory", metavar="DIR", help="a directory, or its URL")
    parser.add_argument(
        "--from-listing",
        action="store_true",
        help="where there is no history: list every checkpoint that can be verified, every byte of it",
    )
    parser.add_argument(
        "--no-pruner-is-running",
        action="store_true",
        help="your word for it, which --from-listing needs: what a pruner is deleting would be listed again",
    )
    parser.add_argument(
        "--skip-damaged",
        action="store_true",
        help="where the newest copy in the history is damaged: go by an older one",
    )
    parser.add_argument("--dry-run", action="store_true", help="change nothing, and show what would be done")


def run(args: argparse.Namespace, output: Output) -> int:
    """Runs the command; returns the exit code."""
    from ckptstore.checkpoint import CheckpointDirectory
    from ckptstore.checkpoint.repair import repair
    from ckptstore.errors import InvalidArgumentError
    from ckptstore.storage import from_url

    if args.from_listing and not args.no_pruner_is_running:
        raise InvalidArgumentError("--from-listing needs your word for it: --no-pruner-is-running.")
    with from_url(args.directory, storage_options(args)) as store:
        directory = CheckpointDirectory(store)
        report = repair(
            directory,
            from_listing=args.from_listing,
            skip_damaged=args.skip_damaged,
            dry_run=args.dry_run,
            progress=None if args.json else lambda name: output.note(f"verifying {name}"),
        )
        if args.json:
            output.json(
                {
                    "directory": directory.url,
                    "dry_run": report.dry_run,
                    "problem": report.problem,
                    "source": report.source,
                    "listed": report.listed,
                    "unlisted": report.unlisted,
                    "damaged": report.damaged,
                }
            )
            return 0
        if report.problem is None:
            output.line(f"the state file of {directory.url} is in order; nothing was changed")
        else:
            output.line(report.problem)
            verb = "would be" if report.dry_run else "is"
            output.line(
                f"it {verb} brought back from the {report.source}, and lists "
                f"{count_text(len(report.listed), 'checkpoint')}: {', '.join(report.listed)}"
            )
        for prefix in report.damaged:
            output.line(f"damaged   {prefix}  (left out)")
        for prefix in report.unlisted:
            output.line(f"unlisted  {prefix}")
    return 0
