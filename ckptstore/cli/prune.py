"""`ckptstore prune`: removes what a policy does not keep."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ckptstore.cli._arguments import storage_options
from ckptstore.cli._collected import collected_json, print_collected
from ckptstore.cli._durations import duration, duration_text, positive_duration
from ckptstore.cli._output import Cell, Column, Output, Table
from ckptstore.cli._text import count_text

if TYPE_CHECKING:
    from ckptstore.checkpoint.policies import Decision, Policy
    from ckptstore.checkpoint.pruning import PruneReport
    from ckptstore.format.ledger import Entry

HELP = "remove the checkpoints that no rule keeps"
DESCRIPTION = """\
Remove the checkpoints of a directory that none of the rules keeps. Made for cron: it is safe beside a trainer that
saves, readers that restore, and another prune.

What any rule keeps stays; so do pinned checkpoints, the newest one, and the newest one that is whole. Checkpoints
that no state file lists are never touched (see `ckptstore gc`). What goes leaves the list at once, and its files are
deleted by the first run after the grace period, for the sake of readers that do not say that they read: TensorFlow's.

Nothing at all is removed if the state file is missing or damaged, or names anything that could be misread; if the
latest checkpoint is not there; or if this machine's clock and the store's disagree.
"""

GRACE = 3600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("directory", metavar="DIR", help="a directory, or its URL")
    rules = parser.add_argument_group("rules", "at least one is needed; each may be repeated")
    rules.add_argument("--keep-last", metavar="N", type=_count, action="append", help="the newest N")
    rules.add_argument(
        "--keep-every", metavar="TIME", type=positive_duration, action="append", help="one for every 2h, say"
    )
    rules.add_argument(
        "--keep-every-steps", metavar="N", type=_count, action="append", help="those whose step is a multiple of N"
    )
    rules.add_argument(
        "--keep-within",
        metavar="TIME",
        type=positive_duration,
        action="append",
        help="those saved within 7d, say, before the newest",
    )
    rules.add_argument(
        "--keep-best",
        metavar="N:METRIC:min|max",
        type=_best,
        action="append",
        help="the N with the least or greatest value of a metric, as in 3:val_loss:min",
    )
    parser.add_argument(
        "--grace",
        metavar="TIME",
        type=duration,
        default=GRACE,
        help="how long files stay after their checkpoint left the list (default: 1h; 0: delete at once)",
    )
    parser.add_argument(
        "--max-remove",
        metavar="N",
        type=_count,
        help="the most to remove in one run (default: half of what is listed), so that a flood of new checkpoints "
        "cannot push out all good ones before somebody looks",
    )
    parser.add_argument("--dry-run", action="store_true", help="change nothing, and show what would be removed")
    parser.add_argument("--quiet", action="store_true", help="no output unless something is wrong")


def run(args: argparse.Namespace, output: Output) -> int:
    """Runs the command; returns the exit code."""
    from ckptstore._clock import SystemClock
    from ckptstore.checkpoint import CheckpointDirectory
    from ckptstore.checkpoint.policies import decide, removal_limit
    from ckptstore.checkpoint.pruning import Pruner
    from ckptstore.errors import CheckpointNotFoundError
    from ckptstore.storage import LocalStore, from_url
    from ckptstore.train.retention import candidates, stored_metrics

    policy = _policy(args)
    with from_url(args.directory, storage_options(args)) as store:
        directory = CheckpointDirectory(store)
        if isinstance(store, LocalStore) and not os.path.isdir(store.url):  # or one that is mistyped is pruned for ever
            raise CheckpointNotFoundError(f"There is no directory {store.url}.", path=store.url)
        read: dict[Any, Mapping[str, float]] = {}

        def metrics(entry: Entry) -> Mapping[str, float]:
            if entry.identity not in read:
                read[entry.identity] = stored_metrics(directory, entry.prefix)
            return read[entry.identity]

        def decisions(listed: Sequence[Entry], now: float) -> list[Decision]:
            most = removal_limit(len(listed)) if args.max_remove is None else args.max_remove
            return decide(candidates(listed, policy, metrics), policy, now=now, limit=most)

        report = Pruner(directory, SystemClock()).prune(decisions, grace=args.grace, dry_run=args.dry_run)
        if args.json:
            output.json(_as_json(directory.url, report))
        elif not args.quiet:
            _print(directory.url, report, args.grace, output)
    for entry, why in report.collected.blocked.items():
        output.error(f"{entry.prefix} stays: {why}")
    return 1 if report.collected.blocked else 0


def _policy(args: argparse.Namespace) -> Policy:
    from ckptstore.checkpoint.policies import BestN, EveryNHours, EveryNSteps, LatestN, Within
    from ckptstore.errors import InvalidArgumentError

    rules: list[Policy] = [LatestN(n) for n in args.keep_last or ()]
    rules += [EveryNHours(seconds / 3600) for seconds in args.keep_every or ()]
    rules += [EveryNSteps(n) for n in args.keep_every_steps or ()]
    rules += [Within(seconds / 3600) for seconds in args.keep_within or ()]
    rules += [BestN(n, metric, mode) for n, metric, mode in args.keep_best or ()]
    if not rules:
        raise InvalidArgumentError(
            "No rule says what to keep, and nothing is removed without one; give --keep-last N, for example."
        )
    policy = rules[0]
    for rule in rules[1:]:
        policy |= rule
    return policy


def _print(url: str, report: PruneReport, grace: float, output: Output) -> None:
    table = Table([Column("CHECKPOINT", fold=True), Column("STEP", right=True), Column(""), Column("WHY", fold=True)])
    for decision in report.decisions:
        table.add(
            decision.path,
            "-" if decision.step is None else str(decision.step),
            Cell("keep", "green") if decision.keep else Cell("remove", "bold yellow"),
            ", ".join(decision.reasons),
        )
    if not report.decisions:
        output.line(f"{url} holds no checkpoints yet")
        return
    output.table(table)
    output.line()
    removed = count_text(len(report.removed), "checkpoint")
    if report.dry_run:
        output.line(f"{removed} would leave the list of {url}; nothing was changed")
        return
    output.line(f"{removed} left the list of {url}")
    print_collected(report.collected, output, waiting=f"deleted once {duration_text(grace)} have passed")


def _as_json(url: str, report: PruneReport) -> dict[str, Any]:
    return {
        "directory": url,
        "dry_run": report.dry_run,
        "decisions": [
            {"checkpoint": d.path, "step": d.step, "keep": d.keep, "reasons": list(d.reasons)} for d in report.decisions
        ],
        "removed": report.removed,
        **collected_json(report.collected),
    }


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) < 1 << 31:
        raise argparse.ArgumentTypeError("a whole number from 1 expected")
    return int(text)


def _best(text: str) -> tuple[int, str, str]:
    number, colon, rest = text.partition(":")
    metric, last, mode = rest.rpartition(":")
    if not colon or not last or not metric or mode not in ("min", "max"):
        raise argparse.ArgumentTypeError("N:METRIC:min or N:METRIC:max expected, as in 3:val_loss:min")
    return _count(number), metric, mode
