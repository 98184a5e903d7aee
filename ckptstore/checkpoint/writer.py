"""Saves checkpoints into a directory by the commit protocol: docs/design/commit-protocol.md, step by step."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from dataclasses import replace

from ckptstore.bundle import BundleWriter
from ckptstore.checkpoint.attempt import Attempt, AttemptStore
from ckptstore.checkpoint.collector import Collector, Identity, named_in, private_listing
from ckptstore.checkpoint.directory import CheckpointDirectory
from ckptstore.checkpoint.files import delete_files
from ckptstore.checkpoint.history import COPIES, outdated
from ckptstore.checkpoint.retention import Sweep
from ckptstore.checkpoint.session import Session
from ckptstore.errors import (
    AlreadyExistsError,
    CheckpointError,
    CheckpointExistsError,
    CommitConflictError,
    StorageUnavailableError,
)
from ckptstore.format.ledger import Entry, Ledger
from ckptstore.format.naming import meta_name
from ckptstore.storage import ObjectMeta, Payload

STRANGERS_GRACE = 3600.0
"""Seconds that a trainer leaves the files of what others have unlisted: a pruner's grace is the pruner's to judge."""

Plan = Callable[[Ledger, Entry], Sweep]
"""What becomes of a ledger's list, and of those to be replaced, when a new entry joins it at its end."""


class RetentionWarning(UserWarning):
    """A checkpoint that is no longer listed could not be deleted, or not be judged. The save itself is safe."""


class CheckpointWriter:
    """Writes checkpoints, makes them count, and deletes what they replace.

    Args:
        directory: Where to.
        grace: Seconds that a checkpoint stays on the store after it left the list.
    """

    def __init__(self, directory: CheckpointDirectory, *, grace: float = 0.0) -> None:
        self.session = Session(directory)
        self._directory = directory
        self._grace = grace
        self._written: dict[Identity, tuple[ObjectMeta, ...]] = {}
        self._unlisted: set[Identity] = set()
        self._commits = 0
        self._seen: tuple[Ledger, list[ObjectMeta]] | None = None

    def save(self, prefix: str, bundle: BundleWriter, meta: bytes | None, time: float, plan: Plan) -> tuple[str, Sweep]:
        """Saves a checkpoint.

        Args:
            prefix: The name wanted; it gets a directory of its own where that is taken.
            bundle: Its tensors; where they go is decided here.
            meta: The bytes of its `.meta` file, or None for none.
            time: When it is saved, in seconds since 1970.
            plan: Called with the ledger as it is just before the commit, and anew after each conflict. It may raise to
                call the save off.

        Returns:
            The name it got, and what the plan that was committed said.

        Raises:
            FencedError, SaveAbortedError, CommitUnknownError, CommitConflictError: See `Session.commit`.
            StorageError: The store refused. It does not count, and its files were deleted as far as that was possible.
        """
        attempt = self.session.open(prefix)
        try:
            written = self._write(attempt, bundle, meta)
        except AlreadyExistsError:
            # Somebody else's file is there, or that of a save which died before it counted (R4).
            attempt = self.session.open(prefix, isolate=True)
            written = self._write(attempt, bundle, meta)
        entry = replace(attempt.entry, time=time)
        sweep: Sweep | None = None

        def change(ledger: Ledger) -> Ledger:
            nonlocal sweep
            sweep = plan(ledger, entry)
            return replace(swept(ledger, sweep), latest=attempt.prefix)

        try:
            ledger = self.session.commit(attempt, change)
        except (CommitConflictError, CheckpointExistsError):  # it surely does not count
            self._discard(written)
            raise
        if sweep is None:
            raise AssertionError("committed without a plan")
        self._written[attempt.entry.identity] = tuple(written.values())
        self._unlisted |= {old.identity for old in sweep.removed}
        self._tidy(ledger)
        return attempt.prefix, sweep

    def prune(self, plan: Callable[[Ledger], Sweep]) -> None:
        """Unlists and deletes, without a save.

        Raises:
            FencedError, StateMissingError, StorageError: See `Session.change`.
        """
        self._seen = None
        sweep: Sweep | None = None

        def change(ledger: Ledger) -> Ledger:
            nonlocal sweep
            sweep = plan(ledger)
            return swept(ledger, sweep)

        ledger = self.session.change(change)
        self._unlisted |= {old.identity for old in sweep.removed} if sweep is not None else set()
        self._tidy(ledger)

    def _grace_of(self, entry: Entry) -> float:
        return self._grace if entry.identity in self._unlisted else max(self._grace, STRANGERS_GRACE)

    def _write(self, attempt: Attempt, bundle: BundleWriter, meta: bytes | None) -> dict[str, ObjectMeta]:
        """Writes the files of an attempt, the index last, and sees that they are there (R6)."""
        store = AttemptStore(self._directory.store, attempt)
        bundle.move(store, attempt.prefix)
        try:
            bundle.write_data()
            if meta is not None:
                store.put(meta_name(attempt.prefix), Payload.of(meta))
            bundle.write_index()
            # One listing for two: what a predecessor wrote is found by name, and that before it is unlisted (R8).
            ledger = self.session.known
            strangers = ledger is not None and any(
                entry.identity not in self._written for entry in (*ledger.listed, *ledger.trash, *ledger.dead)
            )
            listing = list(self._directory.store.list("" if strangers else f"{attempt.prefix}."))
            self._seen = (ledger, listing) if ledger is not None and strangers else None
            if not store.shows_all(listing):
                self.session.require_open(attempt)  # somebody who gave it up may have deleted its files
                raise StorageUnavailableError(
                    f"The store does not show the files of {store.path(attempt.prefix)} as they were written, so it "
                    "was not made to count; save it again.",
                    path=store.path(attempt.prefix),
                )
        except Exception:
            self._discard(store.written)  # on a full disk they would be the next save's trouble
            raise
        return store.written

    def _discard(self, written: dict[str, ObjectMeta]) -> None:
        """Deletes the files of an attempt that failed; what is left of it is the next session's to collect."""
        conditional = self.session.capabilities.conditional_delete
        with contextlib.suppress(CheckpointError):
            delete_files(self._directory.store, list(written.values()), conditional=conditional)

    def _tidy(self, ledger: Ledger) -> None:
        """Records the commit, and deletes what is listed no more. The save counts, so no failure may look like one."""
        self._commits += 1
        try:
            self.session.record()  # first: without it nothing may be deleted (R9)
        except CheckpointError as error:
            _warn(f"writing the copy of the state file that `ckptstore repair` goes by failed ({error.message})")
            return
        try:
            waste = ledger.trash or ledger.dead
            if not (waste or self._commits % COPIES == 0):
                return
            private = private_listing(self._directory)
            if not waste:
                self._directory.store.delete(outdated(private, ledger))
                return
            collector = Collector(
                self._directory, self.session.capabilities, lambda: self.session.current().ledger, self._written
            )
            now = max((meta.modified for meta in private if meta.modified is not None), default=None)
            listing = None
            if self._seen is not None:
                before, listing = self._seen
                ledger = named_in(ledger, before)
            done = collector.collect(ledger, private=private, now=now, grace=self._grace_of, listing=listing).done
            self.session.forget(tuple(done))
            for entry in done:
                self._written.pop(entry.identity, None)
                self._unlisted.discard(entry.identity)
        except CheckpointError as error:  # also FencedError: then the next save says so
            names = ", ".join(entry.prefix for entry in ledger.trash) or "what a save that failed left behind"
            _warn(f"deleting {names} failed ({error.message}) and is tried again with the next save")


def swept(ledger: Ledger, sweep: Sweep) -> Ledger:
    """A ledger after a sweep: what leaves the list is kept or in the trash from the same moment on (R8)."""
    gone = tuple(replace(old, seq=ledger.seq + 1, pinned=False, time=None) for old in sweep.removed)
    leaving = {old.identity for old in gone}
    return replace(
        ledger,
        listed=sweep.listed,
        last_preserved=sweep.mark,
        kept=(*(old for old in ledger.kept if old.identity not in leaving), *sweep.preserved),
        trash=(*ledger.trash, *gone),
    )


def _warn(what: str) -> None:
    warnings.warn(f"The checkpoint is saved; {what}.", RetentionWarning, stacklevel=5)
