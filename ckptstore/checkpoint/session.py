"""One writer's tenure of a directory.

A session begins by taking the directory over (R2 in docs/design/commit-protocol.md): it puts its own name and a new
epoch into the state file, and gives up whatever saves its predecessor left open. From then on its every change is
conditional on being the owner still. So a predecessor that was suspended, or cut off, and comes back finds itself
fenced, and can harm nothing.

In a directory without a state file there is nothing to take over: the first commit creates it (R3). Until then a note
stands for the entry in the ledger.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Callable
from dataclasses import replace

from ckptstore.checkpoint.attempt import Attempt
from ckptstore.checkpoint.directory import CheckpointDirectory
from ckptstore.checkpoint.foreign import adopted
from ckptstore.checkpoint.state_file import PRIVATE_DIR, Snapshot
from ckptstore.errors import (
    CommitConflictError,
    CommitUnknownError,
    FencedError,
    SaveAbortedError,
    StateError,
    StateMissingError,
    StorageError,
    StorageUnavailableError,
    UnsupportedError,
)
from ckptstore.format.ledger import Entry, Ledger
from ckptstore.format.naming import isolated
from ckptstore.storage import Payload, probe

_log = logging.getLogger("ckptstore")

_MOST_CONFLICTS = 100  # each means that somebody else got on; so many in a row is a store that lies

Change = Callable[[Ledger], Ledger]


class Session:
    """Takes a directory over when it first has to, and commits saves to it.

    Args:
        directory: What to own.

    Attributes:
        capabilities: What the store can promise; from `begin` on, as probed.
    """

    def __init__(self, directory: CheckpointDirectory) -> None:
        self._directory = directory
        self._name = secrets.token_hex(16)
        self._epoch: int | None = None  # None: not begun
        self._snapshot: Snapshot | None = None  # None: unknown, or there is none yet
        self._seen: Snapshot | None = None  # what was there before it began
        self._fresh = False  # whether there is no state file yet
        self._id = ""
        self.capabilities = directory.store.capabilities
        self._opened: Entry | None = None  # the save under way
        self._forgotten: set[tuple[str, str | None]] = set()
        self._notes: list[str] = []  # that mean nothing any more
        self._shared = False  # whether the directory has other state files

    @property
    def begun(self) -> bool:
        """Whether the directory was taken over."""
        return self._epoch is not None

    @property
    def ledger(self) -> Ledger | None:
        """What the state file says, as far as this session knows; None if there is none yet.

        Another session's change shows at the next attempt to commit, not before.
        """
        if not self.begun:
            self._seen = self._directory.load()
            return None if self._seen is None else self._seen.ledger
        return None if self._fresh else self._current().ledger

    @property
    def known(self) -> Ledger | None:
        """What this session wrote or read last, without asking the store; None if that is not known."""
        return None if self._snapshot is None else self._snapshot.ledger

    @property
    def isolates(self) -> bool:
        """Whether every save gets a directory of its own."""
        # Where a delete cannot be conditional, one that arrives late must never meet a file of the same name (R4).
        return self.capabilities.compare_and_swap and not self.capabilities.conditional_delete

    def holds(self, prefix: str) -> bool:
        """Whether a list holds a name, so that a save would get another one; see `change` for errors."""
        return not self._fresh and any(entry.prefix == prefix for entry in self._tidied(self._current().ledger).named)

    def refresh(self) -> None:
        """Forgets what it knows of the state file, so that it is read anew."""
        self._snapshot = None

    def begin(self) -> None:
        """Takes the directory over, if that was not done yet.

        Raises:
            UnsupportedError: The store does not keep its word, or cannot do what a commit takes.
            StateMissingError, StateCorruptError: It is not known which checkpoints count.
            StorageError: The store cannot be reached, or refuses.
        """
        if self.begun:
            return
        snapshot, self._seen = self._seen or self._directory.load(), None
        self.capabilities = probe(self._directory.store, f"{PRIVATE_DIR}/probe")
        private = self._directory.private()
        self._shared = bool(self._directory.neighbours.files(private))
        if snapshot is None:
            notes = self._directory.notes.attempts(private)
            self._id = next((note.directory_id for note in notes), secrets.token_hex(8))
            self._epoch, self._fresh = 1, True
            return
        for _ in range(_MOST_CONFLICTS):
            old = self._owned(snapshot)
            self._id = old.id or secrets.token_hex(8)
            new = replace(
                old,
                open=(),
                dead=(*old.dead, *old.open),
                seq=old.seq + 1,
                epoch=old.epoch + 1,
                session=self._name,
                id=self._id,
            )
            try:
                self._snapshot = self._directory.file.swap(snapshot.version, new)
            except CommitConflictError:
                again = self._directory.load()
                if again is None:
                    raise self._lost() from None
                snapshot = again
                continue
            self._epoch = new.epoch
            self.record()  # should TensorFlow rewrite the state file, the history tells whose the directory is
            return
        raise self._lost_races()

    def open(self, prefix: str, *, isolate: bool = False) -> Attempt:
        """Registers an attempt before its first file (R3).

        Args:
            prefix: The name wanted. It is given another directory where it is taken.
            isolate: Give it one in any case.

        Raises:
            FencedError: Another session has taken the directory over.
        """
        self.begin()

        def attempted(*, apart: bool) -> Attempt:
            number = secrets.token_hex(16)
            return Attempt(isolated(prefix, number) if apart or self.isolates else prefix, number, self._id)

        # Another state file's names are taken as well; who takes one at this very moment is met by its files (R4).
        isolate = isolate or (self._shared and self._is_named_elsewhere(prefix))
        attempt = attempted(apart=isolate)
        if self._fresh:
            self._directory.store.put(self._directory.notes.key(attempt), Payload.of(b""))
            return attempt

        def register(ledger: Ledger) -> Ledger:
            nonlocal attempt
            if any(entry.same(attempt.entry) for entry in ledger.open):
                return ledger  # an earlier try has landed, unheard of
            taken = any(entry.prefix == prefix for entry in ledger.named)
            attempt = attempted(apart=isolate or taken)  # a new one: an earlier try's may have been given up since
            # One session does one save at a time: what else it has open has failed.
            return replace(ledger, open=(attempt.entry,), dead=(*ledger.dead, *ledger.open))

        self.change(register)
        self._opened = attempt.entry
        return attempt

    def commit(self, attempt: Attempt, change: Change) -> Ledger:
        """Makes a complete attempt count: the one moment at which it begins to (R7).

        Args:
            attempt: All its files are on the store.
            change: The ledger with the checkpoint in `listed`, from the one without; called anew after each conflict.
                In a directory without a state file it is handed an empty one.

        Returns:
            What the state file says then.

        Raises:
            FencedError, SaveAbortedError: It does not count.
            CommitUnknownError: The store stopped answering.
        """
        if self._fresh:
            return self._commit_first(attempt, change)

        def committed(ledger: Ledger) -> Ledger:
            self._check_open(attempt, ledger)
            rest = tuple(entry for entry in ledger.open if not entry.same(attempt.entry))
            return change(replace(ledger, open=rest))

        try:
            return self.change(committed)
        except (StorageUnavailableError, CommitConflictError) as error:
            # Also when somebody else has written since: it may have been after ours had landed unheard of.
            return self._outcome(attempt, error)

    def require_open(self, attempt: Attempt) -> None:
        """Raises FencedError or SaveAbortedError if an attempt can no longer be committed."""
        if not self._fresh:
            self._check_open(attempt, self.current().ledger)
        elif (found := self._directory.file.read()) is not None:
            self._check_owner(found.ledger)

    def change(self, change: Change) -> Ledger:
        """Changes the ledger by compare and swap, as its owner.

        Raises:
            FencedError: Another session has taken the directory over; nothing was changed.
            StateMissingError: The state file is gone.
        """
        for _ in range(_MOST_CONFLICTS):
            snapshot = self._current()
            new = change(self._tidied(snapshot.ledger))
            self._snapshot = None  # whatever happens now, it is another one
            with contextlib.suppress(CommitConflictError):
                self._snapshot = self._directory.file.swap(snapshot.version, replace(new, seq=snapshot.ledger.seq + 1))
                self._forgotten.clear()
                return self._snapshot.ledger
        raise self._lost_races()

    def record(self) -> None:
        """Writes the history's copy of the state file (R9)."""
        if self._snapshot is None:
            return
        self._directory.history.record(self._snapshot)
        if self._notes:  # only now: by one of the two others know that there is this state file
            with contextlib.suppress(StorageError):
                self._directory.store.delete(self._notes)
            self._notes = []

    def forget(self, entries: tuple[Entry, ...]) -> None:
        """Drops entries whose files are gone, from trash and dead, with the next change (R8)."""
        self._forgotten |= {entry.identity for entry in entries}

    def current(self) -> Snapshot:
        """What the state file says now, as its owner; see `change` for errors."""
        self._snapshot = None
        return self._current()

    # -- inside

    def _is_named_elsewhere(self, prefix: str) -> bool:
        try:
            others = self._directory.neighbours.entries(self._directory.private())
        except (StateError, UnsupportedError):
            return True  # what cannot be read may name it
        return any(entry.prefix == prefix for entry in others)

    def _tidied(self, ledger: Ledger) -> Ledger:
        def rest(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
            return tuple(entry for entry in entries if entry.identity not in self._forgotten)

        return replace(ledger, trash=rest(ledger.trash), dead=rest(ledger.dead)) if self._forgotten else ledger

    def _current(self) -> Snapshot:
        """The state file as this session last wrote it (R7), else as it is now, if this session still owns it."""
        if self._snapshot is None:
            snapshot = self._directory.file.read()
            if snapshot is None:
                raise self._lost()
            ledger = self._owned(snapshot)
            self._check_owner(ledger)
            self._snapshot = replace(snapshot, ledger=ledger)
        return self._snapshot

    def _owned(self, snapshot: Snapshot) -> Ledger:
        if snapshot.ledger.managed:
            return snapshot.ledger
        last = self._directory.history.newest()
        if last is None:
            return snapshot.ledger
        mine = last.session == self._name and self._opened is not None
        return adopted(snapshot.ledger, replace(last, open=(self._opened,)) if mine and self._opened else last)

    def _check_owner(self, ledger: Ledger) -> None:
        if (ledger.epoch, ledger.session) == (self._epoch, self._name):
            return
        raise FencedError(
            f"{self._directory.url} has been taken over by another process (its epoch is {ledger.epoch}), so nothing "
            "was saved. Two jobs must not save into one directory: stop this one, or give it a directory of its own.",
            path=self._directory.file.path,
        )

    def _check_open(self, attempt: Attempt, ledger: Ledger) -> None:
        if not any(entry.same(attempt.entry) for entry in ledger.open):
            raise SaveAbortedError(
                f"The save of {self._directory.store.path(attempt.prefix)} was aborted by another process while it was "
                "under way; it does not count. Save again.",
                path=self._directory.store.path(attempt.prefix),
            )

    def _lost(self) -> StateMissingError:
        return StateMissingError(
            f"The state file {self._directory.file.path} is gone, so nothing was saved. `ckptstore repair` brings back "
            "what it said last.",
            path=self._directory.file.path,
        )

    def _lost_races(self) -> CommitConflictError:
        return CommitConflictError(
            f"{self._directory.file.path} was replaced by others at each of {_MOST_CONFLICTS} attempts; find out who "
            "writes to it.",
            path=self._directory.file.path,
        )

    def _commit_first(self, attempt: Attempt, change: Change) -> Ledger:
        private = self._directory.private()
        counted = any(meta.key.startswith(self._directory.history.prefix) for meta in private)
        if counted and self._directory.file.version() is None:
            raise self._lost()  # there was one, meanwhile
        notes = self._directory.notes.attempts(private)
        empty = Ledger((), "", id=self._id, epoch=1, session=self._name)
        others = tuple(note.entry for note in notes if note.id != attempt.id)
        new = replace(change(empty), seq=1, dead=others)
        try:
            self._snapshot = self._directory.file.swap(None, new)
        except (StorageUnavailableError, CommitConflictError) as error:
            return self._outcome(attempt, error)
        self._fresh = False
        self._notes = [self._directory.notes.key(note) for note in notes]
        return new

    def _outcome(self, attempt: Attempt, error: StorageUnavailableError | CommitConflictError) -> Ledger:
        """What became of a commit that lost its reply, or the race (R7): the ledger if it counts, else the error."""
        self._snapshot = None
        path = self._directory.store.path(attempt.prefix)
        try:
            snapshot = self._directory.file.read()
        except StorageError:
            raise CommitUnknownError(
                f"{error.message} Whether {path} counts is not known: latest_step() tells once the store answers.",
                path=path,
            ) from error
        if snapshot is None:
            if isinstance(error, StorageUnavailableError) and self._fresh:
                raise error
            raise self._lost()
        # Whether it counts is asked before whose the directory is: a successor may have come after the commit.
        # Listed, or already listed no more: it counted either way. A dead one never did.
        ledger = snapshot.ledger
        counts = any(entry.same(attempt.entry) for entry in (*ledger.live, *ledger.trash))
        try:
            self._check_owner(self._owned(snapshot))
        except FencedError:
            if not counts:
                raise
        else:
            self._fresh = False  # the first commit has landed, be it this one or an earlier one of ours
        if not counts:
            raise error
        return ledger
