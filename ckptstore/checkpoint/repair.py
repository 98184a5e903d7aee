"""Brings a state file back that was lost or damaged: docs/design/commit-protocol.md, R13."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ckptstore.checkpoint.directory import CheckpointDirectory, StoredCheckpoint
from ckptstore.checkpoint.editing import refuse_root, require_swap
from ckptstore.checkpoint.verification import verify_checkpoint
from ckptstore.errors import (
    CheckpointNotFoundError,
    StateCorruptError,
    StateMissingError,
    UnsafePathError,
)
from ckptstore.format.ledger import Entry, Ledger
from ckptstore.format.naming import parse_step


@dataclass
class RepairReport:
    """What a repair did.

    Attributes:
        problem: What was wrong with the state file, or None if nothing was.
        source: "history" or "listing": from what it was brought back; None if it was not.
        listed: The checkpoints that it lists now, oldest first.
        unlisted: Checkpoints that are there, with an index, and are in no list.
        damaged: Those that a rebuilding from the listing left out as they are not whole.
        dry_run: Whether nothing was changed.
    """

    problem: str | None = None
    source: str | None = None
    listed: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    dry_run: bool = False


def repair(
    directory: CheckpointDirectory,
    *,
    from_listing: bool = False,
    skip_damaged: bool = False,
    dry_run: bool = False,
    progress: Callable[[str], None] | None = None,
) -> RepairReport:
    """Brings the state file back, if it is missing or cannot be read, from the newest copy in the history.

    Whoever was saving is fenced by that: what they thought the state was may be wrong.

    Args:
        directory: The directory.
        from_listing: Where there is no history, go by what is there: every checkpoint of which every byte can be
            verified is listed, in the order of their steps, but for those of other state files and for V1 checkpoints,
            whose files' names tell nothing. Only right while nobody prunes: a pruner may be deleting what the listing
            shows.
        skip_damaged: Where the newest copy in the history is damaged, go by an older one, that does not know of what
            was saved since.
        dry_run: Change nothing, and say what would be done.
        progress: Called with the name of each checkpoint before it is verified.

    Raises:
        StateMissingError: There is no history, and `from_listing` is not set.
        StateCorruptError: The newest copy in the history is damaged, and `skip_damaged` is not set.
        CheckpointNotFoundError: There is nothing to bring back.
        UnsupportedError: The store cannot compare and swap; or a newer ckptstore wrote the state file.
        UnsafePathError: The directory is the root of a bucket or of the file system.
        StorageError: The store could not be asked, or refused.
    """
    refuse_root(directory)
    report = RepairReport(dry_run=dry_run)
    version = directory.file.version()
    try:
        snapshot = directory.load()
    except (StateMissingError, StateCorruptError, UnsafePathError) as error:
        report.problem = error.message
    else:
        if snapshot is None:
            raise CheckpointNotFoundError(f"{directory.url} holds no checkpoints.", path=directory.url)
        _tell(report, directory, snapshot.ledger)
        return report
    last = directory.history.newest(skip_damaged=skip_damaged)
    if last is not None:
        report.source = "history"
        new = replace(last, open=(), dead=(*last.dead, *last.open))
    elif from_listing:
        report.source = "listing"
        new = _rebuilt(directory, report, progress)
    else:
        raise StateMissingError(
            f"{directory.url} has no history to bring its state file back from. If you are sure that nobody is saving "
            "or pruning there, let it be rebuilt from what can be verified: ckptstore repair --from-listing "
            "--no-pruner-is-running.",
            path=directory.file.path,
        )
    # Another session's name fences whoever was saving, also one of that same epoch.
    new = replace(
        new,
        seq=new.seq + 1,
        epoch=new.epoch + 1,
        session=secrets.token_hex(16),
        id=new.id or secrets.token_hex(8),
    )
    _tell(report, directory, new)
    if not dry_run:
        require_swap(directory)
        written = directory.file.swap(version, new)
        directory.history.record(written)
    return report


def _tell(report: RepairReport, directory: CheckpointDirectory, ledger: Ledger) -> None:
    named = {entry.prefix for entry in ledger.named} | _others(directory)
    report.listed = [entry.prefix for entry in ledger.listed]
    report.unlisted = [c.prefix for c in directory.stored() if c.indexed and c.prefix not in named]


def _others(directory: CheckpointDirectory) -> set[str]:
    return {entry.prefix for entry in directory.neighbours.entries(directory.private())}


def _rebuilt(directory: CheckpointDirectory, report: RepairReport, progress: Callable[[str], None] | None) -> Ledger:
    whole: list[StoredCheckpoint] = []
    others = _others(directory)
    for stored in directory.stored():
        if not stored.indexed or stored.prefix in others:
            continue
        if progress is not None:
            progress(stored.prefix)
        if stored.complete and verify_checkpoint(directory.store, stored.prefix).ok:
            whole.append(stored)
        else:
            report.damaged.append(stored.prefix)
    if not whole:
        raise CheckpointNotFoundError(
            f"{directory.url} holds no checkpoint that is whole, so there is nothing to bring back.", path=directory.url
        )

    def order(stored: StoredCheckpoint) -> tuple[int, float, str]:
        step = parse_step(stored.prefix)
        return (-1 if step is None else step, stored.modified or 0.0, stored.prefix)

    listed = tuple(Entry(stored.prefix, None, stored.modified) for stored in sorted(whole, key=order))
    return Ledger(listed, listed[-1].prefix)
