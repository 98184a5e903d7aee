"""A directory of checkpoints: what its state file says, and what is there."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from errno import EISDIR

from ckptstore.checkpoint.foreign import adopted
from ckptstore.checkpoint.history import History
from ckptstore.checkpoint.neighbours import Neighbours
from ckptstore.checkpoint.open_notes import OpenNotes
from ckptstore.checkpoint.state_file import PRIVATE_DIR, Snapshot, StateFile
from ckptstore.errors import (
    CommitConflictError,
    NotFoundError,
    StateCorruptError,
    StateMissingError,
    StorageError,
    UnsafePathError,
)
from ckptstore.format.ledger import Ledger
from ckptstore.format.naming import (
    STATE_FILE,
    CheckpointFile,
    expand_v1_pattern,
    index_name,
    parse_name,
    parse_step,
)
from ckptstore.format.state import CheckpointState
from ckptstore.storage import ObjectMeta, Store

_OWN = re.compile(r"(?s)(r-[0-9a-f]{16}/)?[^/]+")


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """The files of one prefix, as a listing shows them.

    Attributes:
        prefix: Its name in the directory.
        files: What is there, by name.
        complete: Whether its index and every shard that the names speak of are there.
    """

    prefix: str
    files: tuple[ObjectMeta, ...]
    complete: bool

    @property
    def indexed(self) -> bool:
        """Whether its index is there."""
        return any(file.key == index_name(self.prefix) for file in self.files)

    @property
    def nbytes(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)

    @property
    def modified(self) -> float | None:
        """When its index was written, by the store's clock, or None."""
        return next((f.modified for f in self.files if f.key == index_name(self.prefix)), None)


class CheckpointDirectory:
    """State file and checkpoints of one directory.

    Args:
        store: The directory.
        state_file: The name of the state file.
        unlisted_allowed: Checkpoints without a state file are no error: who saves here writes some that no state file
            lists (tf.train.Saver with write_state=False), and deletes none that his own does not. One that was lost, as
            its history tells, still is.

    Raises:
        UnsafePathError: The state file's name cannot be one.
    """

    def __init__(self, store: Store, state_file: str = STATE_FILE, *, unlisted_allowed: bool = False) -> None:
        self.store = store
        self.file = StateFile(store, state_file)
        self.history = History(store, self.file)
        self.notes = OpenNotes(self.file)
        self.neighbours = Neighbours(store, self.file)
        self._unlisted_allowed = unlisted_allowed

    @property
    def url(self) -> str:
        """Where it is, for messages."""
        return self.store.url

    def load(self) -> Snapshot | None:
        """What the state file says, or None in a directory without any checkpoints.

        A directory that has checkpoints and no state file is an error: a job that took it for empty would start from
        scratch.

        Raises:
            StateMissingError: There are checkpoints with steps, for which no other state file accounts, and no state
                file; or there was one.
            StateCorruptError, UnsafePathError, UnsupportedError: See `StateFile.read`.
        """
        snapshot = self.file.read()
        if snapshot is not None:
            return snapshot
        listing = list(self.store.list())
        # The index is written last, so one without its data is damage, and no save that died. A first save that died
        # before it counted left a note.
        uncounted = {attempt.prefix for attempt in self.notes.attempts(listing)}
        stored = [] if self._unlisted_allowed else _grouped(listing)
        found = [c.prefix for c in stored if c.indexed and parse_step(c.prefix) is not None]
        if not set(found) <= uncounted:
            others = {entry.prefix for entry in self.neighbours.entries(listing)}
            found = [prefix for prefix in found if prefix not in others]
        counted = any(meta.key.startswith(self.history.prefix) for meta in listing)
        if counted or not set(found) <= uncounted:
            snapshot = self.file.read()  # the first commit may have come between the two looks
            if snapshot is not None:
                return snapshot
            what = f"the checkpoints {', '.join(found[-5:])}" if found else "a history of checkpoints"
            raise StateMissingError(
                f"{self.url} holds {what} and no state file {self.file.key!r}, so which of them count is not known, "
                "and nothing was changed. "
                "`ckptstore repair` brings back what it said last; if you know what it should say, write it with "
                "ckptstore.update_checkpoint_state(directory, latest, [all, oldest first]).",
                path=self.file.path,
            )
        return None

    def private(self) -> list[ObjectMeta]:
        """Everything in the private directory: pins, history, notes, of other state files, too."""
        return list(self.store.list(f"{PRIVATE_DIR}/"))

    def ledger(self) -> Ledger | None:
        """As `load`: the ledger alone. What TensorFlow's rewriting of the state file dropped is gone from it."""
        snapshot = self.load()
        return None if snapshot is None else snapshot.ledger

    def owned(self, snapshot: Snapshot) -> Ledger:
        """The ledger of a state file, with what the history still knows if TensorFlow rewrote it."""
        if snapshot.ledger.managed:
            return snapshot.ledger
        last = self.history.newest()
        return snapshot.ledger if last is None else adopted(snapshot.ledger, last)

    def set_state(self, state: CheckpointState) -> None:
        """Makes the state file say this, whatever it says now, or whether it can be read.

        What only ckptstore knows stays in it. Where ckptstore never wrote, it is TensorFlow's to the byte.

        Raises:
            UnsafePathError: A path in it leaves the directory, or is the state file itself.
        """
        while True:
            new, version = Ledger.of(state), self.file.version()
            old: Ledger | None = None
            if version is not None:
                try:
                    snapshot = self.file.read()
                    if snapshot is None or snapshot.version != version:
                        continue
                    old = self.owned(snapshot)
                except (StateCorruptError, UnsafePathError):
                    old = self.history.newest()
            if old is not None and old.managed:
                listed = tuple(replace(entry, prefix=self.file.resolve(entry.prefix)) for entry in new.listed)
                new = adopted(replace(new, listed=listed, latest=self.file.resolve(new.latest)), old)
                names = {entry.prefix for entry in listed}
                pinned = tuple(entry for entry in old.listed if entry.pinned and entry.prefix not in names)
                new = replace(new, seq=old.seq + 1, kept=(*new.kept, *pinned))  # a pin holds for whoever edits the list
            with contextlib.suppress(CommitConflictError):
                self.file.swap(version, new)
                return

    def latest(self) -> str | None:
        """The key of the latest checkpoint, or None in a directory without any.

        Raises:
            StateMissingError, StateCorruptError, UnsafePathError: See `load`.
        """
        ledger = self.ledger()
        return None if ledger is None else ledger.latest

    def stored(self, prefix: str = "") -> list[StoredCheckpoint]:
        """Every V2 checkpoint whose files are there, listed in the state or not, by name.

        Directories below this one are other runs', but for those of `isolated`.

        Args:
            prefix: Only names that begin with this.
        """
        return _grouped(self.store.list(prefix))

    @staticmethod
    def is_own(prefix: str) -> bool:
        """Whether a name is one of this directory: not in a directory below, but for those of `isolated`."""
        return _OWN.fullmatch(prefix) is not None

    def has_bundle(self, key: str) -> bool:
        """Whether there is a V2 checkpoint of that name, which is to say its index."""
        try:
            self.store.head(index_name(key))
        except NotFoundError:
            return False
        return True

    def exists(self, key: str) -> bool:
        """Whether there is a checkpoint of that name: its index, or its V1 files. The name is literal."""
        return self.has_bundle(key) or self.has_v1(key)

    def has_v1(self, key: str) -> bool:
        """Whether there are V1 files of that name, whatever is in them."""
        try:
            for name in expand_v1_pattern(key) or [key]:
                self.store.head(name)
        except NotFoundError:
            return False
        except StorageError as error:
            if error.errno != EISDIR:
                raise
            return False
        return True


def _grouped(listing: Iterable[ObjectMeta]) -> list[StoredCheckpoint]:
    groups: dict[str, list[tuple[ObjectMeta, CheckpointFile]]] = {}
    for meta in listing:
        file = parse_name(meta.key)
        if file is not None and _OWN.fullmatch(file.prefix):
            groups.setdefault(file.prefix, []).append((meta, file))
    return [_assess(name, files) for name, files in sorted(groups.items()) if any(f.kind != "meta" for _, f in files)]


def _assess(prefix: str, files: list[tuple[ObjectMeta, CheckpointFile]]) -> StoredCheckpoint:
    kinds = {file.kind for _, file in files}
    sets: dict[int, set[int]] = {}
    for _, file in files:
        if file.kind == "data":
            sets.setdefault(file.shards, set()).add(file.shard)
    whole = any(len(shards) == count for count, shards in sets.items())
    return StoredCheckpoint(prefix, tuple(meta for meta, _ in files), "index" in kinds and whole)
