"""The checkpoint that a path names, for as long as it is read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from ckptstore._clock import Clock, SystemClock
from ckptstore.checkpoint import CheckpointDirectory
from ckptstore.checkpoint.pins import pin_entry
from ckptstore.errors import CheckpointNotFoundError
from ckptstore.storage import LocalStore, Store, from_url
from ckptstore.train.checkpoint_management import Options, Path
from ckptstore.train.checkpoint_utils import locate


@contextlib.contextmanager
def reading(path: Path, storage_options: Options = None, *, clock: Clock | None = None) -> Iterator[tuple[Store, str]]:
    """Store and key of a checkpoint: of the prefix or V1 file, or of the latest in the directory that a path names.

    The latest one of a directory is pinned meanwhile, as by `load_checkpoint`.

    Raises:
        CheckpointNotFoundError: There is none.
        StateMissingError, StateCorruptError: The directory's state file.
    """
    with from_url(path, storage_options) as first:
        directory = CheckpointDirectory(first)
        if directory.file.read() is not None:
            with _latest(directory, clock or SystemClock()) as found:
                yield found
            return
        store, key = locate(path, storage_options, instead_of=first)
    with store:
        if key is None:
            CheckpointDirectory(store).load()  # a directory that has lost its state file says so
            raise CheckpointNotFoundError(
                f"There is no checkpoint {path}, and no directory of that name with a state file in it.",
                path=str(path),
            )
        yield store, key


@contextlib.contextmanager
def _latest(directory: CheckpointDirectory, clock: Clock) -> Iterator[tuple[Store, str]]:
    while True:
        ledger = directory.ledger()
        if ledger is None:
            raise CheckpointNotFoundError(f"The checkpoints of {directory.url} are gone.", path=directory.url)
        entry = next(item for item in ledger.listed if item.prefix == ledger.latest)
        store = pin_entry(directory, ledger, entry, clock)
        try:
            # One that left the list before its pin was there may be gone (R10).
            ledger = directory.ledger() if ledger.managed else ledger
            if ledger is not None and any(entry.same(item) for item in ledger.live):
                yield store, entry.prefix
                return
        finally:
            store.unpin()


def options_for(path: Path, storage_options: Options) -> dict[str, Any] | None:
    """What of the options given for several paths is meant for one of them: on the local disk, nothing."""
    if not storage_options:
        return None
    with from_url(path) as store:
        return None if isinstance(store, LocalStore) else dict(storage_options)
