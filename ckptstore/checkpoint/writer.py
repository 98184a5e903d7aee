"""Saves checkpoints into a directory by the commit protocol: docs/design/commit-protocol.md, step by step."""

from __future__ import annotations

import contextlib
import os.path
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

from ckptstore.bundle import TensorSink
from ckptstore.checkpoint.attempt import Attempt, AttemptStore
from ckptstore.checkpoint.collector import Collector, Identity, named_in
from ckptstore.checkpoint.directory import CheckpointDirectory
from ckptstore.checkpoint.files import FileIndex, delete_files
from ckptstore.checkpoint.history import COPIES
from ckptstore.checkpoint.retention import Sweep
from ckptstore.checkpoint.session import Session
from ckptstore.errors import (
    AlreadyExistsError,
    CheckpointError,
    CheckpointExistsError,
    CheckpointPrunedError,
    CommitConflictError,
    StorageUnavailableError,
)
from ckptstore.format.ledger import Entry, Ledger
from ckptstore.format.naming import META_SUFFIX, check_meta_suffix, meta_name, stem
from ckptstore.storage import ObjectMeta, Payload

STRANGERS_GRACE = 3600.0
"""Seconds that a trainer leaves the files of what others have unlisted: a pruner's grace is the pruner's to judge."""

MOST_KEPT = 10_000
"""How many preserved checkpoints a state file names. The files of older ones stay all the same, named no more."""

Plan = Callable[[Ledger, Entry], Sweep]
"""What becomes of a ledger's list, and of those to be replaced, when a new entry joins it at its end."""


class RetentionWarning(UserWarning):
    """A checkpoint that is no longer listed could not be deleted, or not be judged, or one not get the name wanted.

    The save itself is safe.
    """


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

    def save(
        self,
        prefix: str,
        tensors: TensorSink,
        meta: bytes | None,
        time: float,
        plan: Plan,
        *,
        meta_suffix: str = META_SUFFIX,
        settle: bool = False,
    ) -> tuple[str, Sweep]:
        """Saves a checkpoint.

        Args:
            prefix: The name wanted; it gets a directory of its own where that is taken.
            tensors: What it holds; where they go is decided here.
            meta: The bytes of its `.meta` file, or None for none.
            time: When it is saved, in seconds since 1970.
            plan: Called with the ledger as it is just before the commit, and anew after each conflict. It may raise to
                call the save off.
            meta_suffix: The ending of the `.meta` file.
            settle: Where the name was taken, and is free once what the plan removed is deleted, write the checkpoint
                once more under that name, and list it in place of the one that has a directory of its own. At every
                moment a whole checkpoint is listed. Where the name cannot be had (a reader or the grace holds its
                files, somebody's file is there, the store cannot delete by version) it stays where it is.

        Returns:
            The name it got, and what the plan that was committed said, of that name. With `settle`, the checkpoint
            counts before it is moved. So whatever goes wrong then, be it that another session takes over, is a
            RetentionWarning and no error; the next save says what is the matter.

        Raises:
            FencedError, SaveAbortedError, CommitUnknownError, CommitConflictError: See `Session.commit`.
            InvalidArgumentError: The name or the suffix cannot be one.
            StorageError: The store refused. It does not count, and its files were deleted as far as that was possible.
        """
        contents = _Contents(tensors, prefix, tensors.name(prefix), meta, check_meta_suffix(meta_suffix))
        attempt = self.session.open(contents.name)
        try:
            written = self._write(attempt, contents)
        except AlreadyExistsError:
            # Somebody else's file is there, or that of a save which died before it counted (R4).
            attempt = self.session.open(contents.name, isolate=True)
            written = self._write(attempt, contents)
        entry = replace(attempt.entry, time=time)
        sweep: Sweep | None = None

        def change(ledger: Ledger) -> Ledger:
            nonlocal sweep
            sweep = plan(ledger, entry)
            return replace(swept(ledger, sweep), latest=attempt.prefix)

        ledger = self._commit(attempt, written, change)
        if sweep is None:
            raise AssertionError("committed without a plan")
        self._unlisted |= {old.identity for old in sweep.removed}
        if settle:  # whoever saves a name again replaces its files, whoever has unlisted them
            self._unlisted |= {old.identity for old in ledger.trash if old.prefix == contents.name}
        self._tidy(ledger)
        if not settle or attempt.prefix == contents.name:
            return attempt.prefix, sweep
        settled = self._settle(contents, entry)
        listed = tuple(_renamed(old, entry, settled) for old in sweep.listed)
        return settled.prefix, replace(sweep, listed=listed)

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

    def _settle(self, contents: _Contents, entry: Entry) -> Entry:
        """Writes what counts already once more, under the name that was wanted, and lists that in its place.

        Returns:
            The entry that is listed now, as far as is known: the new one, or the old one.
        """
        try:
            if not self._is_free(contents):
                return entry
            attempt = self.session.open(contents.name)
            if attempt.prefix != contents.name:  # somebody was faster
                return entry
            settled = replace(entry, prefix=attempt.prefix, attempt=attempt.id)
            written = self._write(attempt, contents)
            ledger = self._commit(attempt, written, lambda ledger: moved(ledger, entry, settled))
        except AlreadyExistsError:
            return entry
        except CheckpointError as error:
            _warn(f"listing it as {contents.name} and not as {entry.prefix} failed ({error.message})")
            return entry
        self._unlisted.add(entry.identity)
        self._tidy(ledger)
        return settled

    def _is_free(self, contents: _Contents) -> bool:
        """Whether a name can be used again: no list holds it, and no file is there."""
        if self.session.isolates or self.session.holds(contents.name):
            return False
        index = FileIndex(self._directory.store.list(stem(contents.name)))
        name = contents.name
        found = {meta.key for meta in (*index.bundle(name), *index.v1(name))} - {meta_name(name)}
        return not (found or (contents.meta is not None and index.has(meta_name(name, contents.meta_suffix))))

    def _commit(self, attempt: Attempt, written: dict[str, ObjectMeta], change: Callable[[Ledger], Ledger]) -> Ledger:
        try:
            ledger = self.session.commit(attempt, change)
        except (CommitConflictError, CheckpointExistsError, CheckpointPrunedError):  # it surely does not count
            self._discard(written)
            raise
        self._written[attempt.entry.identity] = tuple(written.values())
        return ledger

    def _write(self, attempt: Attempt, contents: _Contents) -> dict[str, ObjectMeta]:
        """Writes the files of an attempt, the index last, and sees that they are there (R6)."""
        store = AttemptStore(self._directory.store, attempt)
        tensors = contents.tensors
        tensors.move(store, attempt.prefix.removesuffix(contents.name) + contents.prefix)
        try:
            tensors.write_data()
            if contents.meta is not None:
                store.put(meta_name(attempt.prefix, contents.meta_suffix), Payload.of(contents.meta))
            tensors.write_index()
            # One listing for two: what a predecessor wrote is found by name, and that before it is unlisted (R8).
            ledger = self.session.known
            strangers = ledger is not None and any(
                entry.identity not in self._written for entry in (*ledger.listed, *ledger.trash, *ledger.dead)
            )
            where = os.path.commonprefix([*store.written])  # noqa: RUF071 # keys, of which any part can be listed
            listing = list(self._directory.store.list("" if strangers else where))
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
            private = self._directory.private()
            if not waste:
                self._directory.store.delete(self._directory.history.outdated(private, ledger))
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


@dataclass(frozen=True, slots=True)
class _Contents:
    """What is saved: tensors, the name wanted, and the name by which a state file lists that."""

    tensors: TensorSink
    prefix: str
    name: str
    meta: bytes | None
    meta_suffix: str


def swept(ledger: Ledger, sweep: Sweep) -> Ledger:
    """A ledger after a sweep: what leaves the list is kept or in the trash from the same moment on (R8).

    Of what is kept the oldest is named no more beyond `MOST_KEPT`, but for what a user has pinned: a state file that
    grew with every save would be ever slower to replace, and at last be refused.
    """
    gone = tuple(_unlisted(old, ledger) for old in sweep.removed)
    leaving = {old.identity for old in gone}
    kept = (*(old for old in ledger.kept if old.identity not in leaving), *sweep.preserved)
    old, new = kept[:-MOST_KEPT], kept[-MOST_KEPT:]
    return replace(
        ledger,
        listed=sweep.listed,
        last_preserved=sweep.mark,
        kept=(*(entry for entry in old if entry.pinned), *new),
        trash=(*ledger.trash, *gone),
    )


def moved(ledger: Ledger, old: Entry, new: Entry) -> Ledger:
    """A ledger in which a checkpoint that counts has another name and attempt, at its place; the old one is trash.

    Raises:
        CheckpointPrunedError: It does not count any more.
    """
    if not any(entry.same(old) for entry in ledger.live):
        raise CheckpointPrunedError(f"{old.prefix} was removed meanwhile.", path=old.prefix)
    return replace(
        ledger,
        listed=tuple(_renamed(entry, old, new) for entry in ledger.listed),
        kept=tuple(_renamed(entry, old, new) for entry in ledger.kept),
        latest=new.prefix if ledger.latest == old.prefix else ledger.latest,
        trash=(*ledger.trash, _unlisted(old, ledger)),
    )


def _renamed(entry: Entry, old: Entry, new: Entry) -> Entry:
    return replace(entry, prefix=new.prefix, attempt=new.attempt) if entry.same(old) else entry


def _unlisted(entry: Entry, ledger: Ledger) -> Entry:
    return replace(entry, seq=ledger.seq + 1, pinned=False, time=None)


def _warn(what: str) -> None:
    warnings.warn(f"The checkpoint is saved; {what}.", RetentionWarning, stacklevel=5)
