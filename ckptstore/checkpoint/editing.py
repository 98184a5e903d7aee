"""Changes the ledger of a directory that another process may own: pruners, pins and repairs."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from dataclasses import replace

from ckptstore.checkpoint.directory import CheckpointDirectory
from ckptstore.checkpoint.state_file import PRIVATE_DIR, Snapshot
from ckptstore.errors import CheckpointNotFoundError, CommitConflictError, UnsafePathError, UnsupportedError
from ckptstore.format.ledger import Entry, Ledger
from ckptstore.storage import Capabilities, probe

NOBODY = "0" * 32
"""The session of a ledger that no trainer has written yet."""

MOST_CONFLICTS = 100
"""Lost races in a row; each means that somebody else got on, so that so many are a store that lies."""


def edit(
    directory: CheckpointDirectory, change: Callable[[Ledger], Ledger], snapshot: Snapshot | None = None
) -> Snapshot:
    """Changes a ledger by compare and swap, leaves its owner the owner, and records it (R9).

    Args:
        directory: The directory.
        change: The new ledger from the old one, called anew after each conflict. Nothing is written if they are equal.
        snapshot: The state file as it was read last, to save a request.

    Raises:
        CheckpointNotFoundError: The directory holds no checkpoints.
        StateError, StorageError: The state file, or the store.
    """
    for _ in range(MOST_CONFLICTS):
        current, snapshot = snapshot or directory.load(), None
        if current is None:
            raise CheckpointNotFoundError(f"{directory.url} holds no checkpoints.", path=directory.url)
        old = directory.owned(current)
        new = change(old)
        if new == old:
            return replace(current, ledger=old)
        new = replace(new, seq=old.seq + 1, session=old.session or NOBODY, id=old.id or secrets.token_hex(8))
        with contextlib.suppress(CommitConflictError):
            written = directory.file.swap(current.version, new)
            directory.history.record(written)
            return written
    raise CommitConflictError(
        f"{directory.file.path} was replaced by others at each of {MOST_CONFLICTS} attempts; find out who writes to "
        "it.",
        path=directory.file.path,
    )


def require_swap(directory: CheckpointDirectory) -> Capabilities:
    """What the store can promise, as probed.

    Raises:
        UnsupportedError: It cannot compare and swap, so nobody but the trainer may change what counts.
    """
    capabilities = probe(directory.store, f"{PRIVATE_DIR}/probe")
    if not capabilities.compare_and_swap:
        raise UnsupportedError(
            f"{directory.url} is on a store that cannot compare and swap, so a second process could undo a trainer's "
            "commit. Let the trainer itself prune: CheckpointManager(retention=...).",
            path=directory.url,
        )
    return capabilities


def refuse_root(directory: CheckpointDirectory) -> None:
    """Sees to it that a directory is none that holds everything.

    Raises:
        UnsafePathError: It is the root of a bucket, or of the file system.
    """
    scheme, separator, rest = directory.url.partition("://")
    in_bucket = scheme in ("s3", "s3a", "gs", "gcs")
    root = "/" not in rest.strip("/") if in_bucket else not (rest if separator else scheme).strip("/")
    if root:
        raise UnsafePathError(
            f"{directory.url} is a whole bucket or file system, where nothing is removed; name the directory in it.",
            path=directory.url,
        )


def set_pinned(directory: CheckpointDirectory, prefix: str, *, pinned: bool) -> bool:
    """Pins a checkpoint, so that no policy removes it, or unpins it.

    Returns:
        Whether that changed anything.

    Raises:
        CheckpointNotFoundError: It is neither listed nor kept.
        UnsupportedError: The store cannot compare and swap.
        StateError, StorageError: The state file, or the store.
    """
    snapshot = directory.load()
    if snapshot is None:
        raise not_listed(directory, prefix)
    require_swap(directory)
    changed = False

    def marked(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        return tuple(replace(entry, pinned=pinned) if entry.prefix == prefix else entry for entry in entries)

    def change(ledger: Ledger) -> Ledger:
        nonlocal changed
        if all(entry.prefix != prefix for entry in ledger.live):
            raise not_listed(directory, prefix)
        new = replace(ledger, listed=marked(ledger.listed), kept=marked(ledger.kept))
        changed = new != ledger
        return new

    edit(directory, change, snapshot)
    return changed


def not_listed(directory: CheckpointDirectory, prefix: str) -> CheckpointNotFoundError:
    """For a checkpoint that does not count."""
    return CheckpointNotFoundError(
        f"{directory.store.path(prefix)} is neither listed nor kept in {directory.file.path}; `ckptstore ls` shows "
        "what is.",
        path=directory.store.path(prefix),
    )
