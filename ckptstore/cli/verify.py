"""`ckptstore verify`: whether every byte is what was stored."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ckptstore.cli._arguments import storage_options
from ckptstore.cli._output import Output
from ckptstore.cli._text import count_text, size_text

if TYPE_CHECKING:
    from ckptstore.checkpoint import CheckpointDirectory, Damage, VerifyReport

HELP = "read every byte and report what is damaged"
DESCRIPTION = """\
Read every byte of a checkpoint, or of all that a directory's state file lists, and hold it against its checksum.

A state file that is missing or damaged is reported as a damage; all complete checkpoints are then verified.
The exit code is 3 if anything is damaged or gone.
"""

BAD_DATA = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("path", metavar="CKPT|DIR", help="a checkpoint's prefix, or a directory; or the URL of one")
    parser.add_argument(
        "--all", action="store_true", help="of a directory: also complete checkpoints that are not listed"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar, and no output unless something is wrong")


@dataclass
class _Plan:
    """Which checkpoints to verify, and what is wrong with the state file."""

    keys: list[str]
    damages: list[Damage] = field(default_factory=list)


def run(args: argparse.Namespace, output: Output) -> int:
    """Runs the command; returns the exit code."""
    from ckptstore.checkpoint import CheckpointDirectory
    from ckptstore.cli._target import open_target

    store, key = open_target(args.path, storage_options(args))
    with store:
        directory = CheckpointDirectory(store)
        plan = _Plan([key]) if key is not None else _plan(directory, unlisted=args.all)
        for damage in plan.damages:
            if not args.json:
                output.line(f"damaged  {damage.file}")
                output.line(f"    {damage.problem}")
        reports: list[VerifyReport] = []
        for number, name in enumerate(plan.keys, 1):
            label = name if len(plan.keys) == 1 else f"{name} ({number}/{len(plan.keys)})"
            with output.progress(label, quiet=args.quiet) as update:
                report = _verify(directory, name, update)
            reports.append(report)
            if not args.json:
                _print(report, output, quiet=args.quiet)
    count = len(plan.damages) + sum(len(report.damages) for report in reports)
    if args.json:
        output.json(_as_json(store.path(key or ""), plan, reports))
    elif count or not args.quiet:
        _print_total(reports, count, output)
    return BAD_DATA if count else 0


def _plan(directory: CheckpointDirectory, *, unlisted: bool) -> _Plan:
    from ckptstore.checkpoint import Damage
    from ckptstore.errors import CheckpointNotFoundError, StateError, UnsafePathError

    plan = _Plan([])
    try:
        ledger = directory.ledger()
        plan.keys = [] if ledger is None else [entry.prefix for entry in ledger.listed]
    except (StateError, UnsafePathError) as error:
        plan.damages.append(Damage(directory.file.path, None, None, None, error.message))
        unlisted = True  # what counts is not known, so all of it
    if unlisted:
        plan.keys += [c.prefix for c in directory.stored() if c.complete and c.prefix not in plan.keys]
    if not plan.keys and not plan.damages:
        raise CheckpointNotFoundError(
            f"{directory.url} holds no checkpoints that a state file lists; `ckptstore ls` shows what is there.",
            path=directory.url,
        )
    return plan


def _verify(directory: CheckpointDirectory, key: str, update: Any) -> VerifyReport:
    from ckptstore.checkpoint import VerifyReport, verify_checkpoint
    from ckptstore.errors import CheckpointNotFoundError

    try:
        return verify_checkpoint(directory.store, key, update)
    except CheckpointNotFoundError as error:
        report = VerifyReport(directory.store.path(key), checkpoints=1)
        report.note(error, report.path)
        return report


def _print(report: VerifyReport, output: Output, *, quiet: bool) -> None:
    if report.ok:
        if not quiet:
            output.line(f"ok       {report.path} ({count_text(report.tensors, 'tensor')}, {size_text(report.nbytes)})")
        output.flush()
        return
    output.line(f"damaged  {report.path} ({count_text(len(report.damages), 'damage')})")
    by_file: dict[str, list[Damage]] = {}
    for damage in report.damages:
        by_file.setdefault(damage.file, []).append(damage)
    for file, damages in by_file.items():
        output.line(f"  {file}")
        for damage in damages:
            where = [
                *([f"tensor {damage.tensor}"] if damage.tensor is not None else []),
                *([f"offset {damage.offset}"] if damage.offset is not None else []),
                *([count_text(damage.size, "byte")] if damage.size is not None else []),
            ]
            output.line("    " + ": ".join(filter(None, (", ".join(where), damage.problem))))
    output.flush()


def _print_total(reports: list[VerifyReport], damages: int, output: Output) -> None:
    tensors, nbytes = sum(r.tensors for r in reports), sum(r.nbytes for r in reports)
    bad = sum(not report.ok for report in reports)
    verdict = count_text(damages, "damage") if damages else "all is well"
    if bad:
        verdict += f" in {count_text(bad, 'checkpoint')}"
    output.line()
    counts = (count_text(len(reports), "checkpoint"), count_text(tensors, "tensor"), size_text(nbytes))
    output.line(f"{', '.join(counts)} read: {verdict}")
    if loose := sum(report.unreferenced for report in reports):
        output.line(f"{count_text(loose, 'byte')} of data files belong to no tensor and have no checksum")


def _as_json(path: str, plan: _Plan, reports: list[VerifyReport]) -> dict[str, Any]:
    damages = [*plan.damages, *(damage for report in reports for damage in report.damages)]
    return {
        "path": path,
        "ok": not damages,
        "tensors": sum(report.tensors for report in reports),
        "size": sum(report.nbytes for report in reports),
        "unreferenced": sum(report.unreferenced for report in reports),
        "state_damages": [_damage_json(damage) for damage in plan.damages],
        "checkpoints": [
            {
                "path": report.path,
                "ok": report.ok,
                "tensors": report.tensors,
                "size": report.nbytes,
                "unreferenced": report.unreferenced,
                "damages": [_damage_json(damage) for damage in report.damages],
            }
            for report in reports
        ],
    }


def _damage_json(damage: Damage) -> dict[str, Any]:
    return {
        "file": damage.file,
        "tensor": damage.tensor,
        "offset": damage.offset,
        "size": damage.size,
        "problem": damage.problem,
    }
