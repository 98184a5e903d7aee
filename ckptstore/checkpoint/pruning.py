"""Removes checkpoints from a directory that somebody else writes to, by the steps of docs/design/commit-protocol.md.

Safe beside a trainer, readers and other pruners: what goes leaves the list by compare and swap before a file of it is
touched, and whoever dies in the middle leaves the rest of the work in the trash, for the next to go on with.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from ckptstore._clock import Clock
from ckptstore.bundle import BundleReader
from ckptstore.checkpoint.collector import Collected, Collector, named_in
from ckptstore.checkpoint.directory import CheckpointDirectory
from ckptstore.checkpoint.editing import edit, not_listed, refuse_root, require_swap
from ckptstore.checkpoint.files import files_of, v1_files_of
from ckptstore.checkpoint.policies import Decision
from ckptstore.checkpoint.state_file import Snapshot
from ckptstore.checkpoint.store_time import store_time
from ckptstore.errors import (
    CheckpointNotFoundError,
    DataLossError,
    InvalidArgumentError,
    StateMissingError,
    UnsafePathError,
)
from ckptstore.format.entry import BundleEntry
from ckptstore.format.ledger import Entry, Ledger
from ckptstore.format.naming import expand_v1_pattern, index_name, parse_name
from ckptstore.storage import Capabilities, ObjectMeta

Decide = Callable[[Sequence[Entry], float], list[Decision]]
"""Says of each listed checkpoint, oldest first, whether it stays; the second argument is the time now."""


@dataclass
class PruneReport:
    """What a pruner did.

    Attributes:
        decisions: For each listed checkpoint, oldest first, whether it stays, and why.
        collected: What became of the trash.
        dry_run: Whether nothing was changed.
    """

    decisions: list[Decision] = field(default_factory=list)
    collected: Collected = field(default_factory=Collected)
    dry_run: bool = False

    @property
    def removed(self) -> list[str]:
        """The checkpoints that left the list, or would."""
        return [decision.path for decision in self.decisions if not decision.keep]


class Pruner:
    """Removes checkpoints of one directory.

    Args:
        directory: The directory.
        clock: This machine's; it is held against the store's.

    Raises:
        UnsafePathError: The directory is the root of a bucket or of the file system.
    """

    def __init__(self, directory: CheckpointDirectory, clock: Clock) -> None:
        refuse_root(directory)
        self._directory = directory
        self._clock = clock

    def prune(self, decide: Decide, *, grace: float, dry_run: bool = False) -> PruneReport:
        """Unlists what is not to stay, and deletes what has been out of the list for long enough.

        Args:
            decide: What stays. It is asked again after every conflict.
            grace: Seconds that files stay after their checkpoint left the list.
            dry_run: Change nothing, and say what would be done.

        Raises:
            CheckpointNotFoundError: The latest checkpoint is listed and not there, so nothing is removed.
            UnsafePathError: The state file names what could be misread, so nothing is removed.
            ClockSkewError: The clocks disagree, so ages mean nothing.
            UnsupportedError: The store cannot compare and swap.
            StateError, StorageError: The state file, or the store.
        """
        while True:
            snapshot = self._directory.load()
            if snapshot is None:
                return PruneReport(dry_run=dry_run)
            try:
                return self._prune(snapshot, decide, grace, dry_run=dry_run)
            except CheckpointNotFoundError:
                # Between our look at the state file and that at the files, others may have replaced both.
                if snapshot.version == self._directory.file.version():
                    raise

    def _prune(self, snapshot: Snapshot, decide: Decide, grace: float, *, dry_run: bool) -> PruneReport:
        check_names(self._directory, snapshot)
        whole = _Wholeness(self._directory, self._directory.owned(snapshot))
        if dry_run:
            ledger = self._directory.owned(snapshot)
            return PruneReport(whole.protect(ledger, decide(ledger.listed, self._clock.time())), dry_run=True)
        capabilities = require_swap(self._directory)
        now = store_time(self._directory.store, self._clock)
        report = PruneReport()

        def unlist(ledger: Ledger) -> Ledger:
            report.decisions = whole.protect(ledger, decide(ledger.listed, self._clock.time() if now is None else now))
            return unlisted(ledger, report.removed)

        report.collected = self._collect(snapshot, unlist, whole.listing, grace, now, capabilities)
        return report

    def remove(self, prefixes: Sequence[str], *, grace: float = 0.0) -> Collected:
        """Removes checkpoints by name: kept and pinned ones, too, and the latest, if others are listed.

        Raises:
            CheckpointNotFoundError: One is neither listed nor kept.
            InvalidArgumentError: Nothing would be listed any more.
            UnsupportedError, UnsafePathError, ClockSkewError, StateError, StorageError: As in `prune`.
        """
        snapshot = self._directory.load()
        if snapshot is None:
            raise not_listed(self._directory, prefixes[0])
        check_names(self._directory, snapshot)
        capabilities = require_swap(self._directory)
        now = store_time(self._directory.store, self._clock)

        def unlist(ledger: Ledger) -> Ledger:
            for prefix in prefixes:
                if all(entry.prefix != prefix for entry in ledger.live):
                    raise not_listed(self._directory, prefix)
            new = unlisted(ledger, prefixes)
            if not new.listed:
                raise InvalidArgumentError(
                    f"{self._directory.url} would list no checkpoint any more, and TensorFlow could not read such a "
                    "state file; delete the directory, if that is what you mean.",
                    path=self._directory.file.path,
                )
            return new

        listing = list(self._directory.store.list())
        return self._collect(snapshot, unlist, listing, grace, now, capabilities)

    def _collect(
        self,
        snapshot: Snapshot,
        unlist: Callable[[Ledger], Ledger],
        listing: Sequence[ObjectMeta],
        grace: float,
        now: float | None,
        capabilities: Capabilities,
    ) -> Collected:
        """Unlists, and deletes what the trash holds then."""
        # What is named both before and after the listing was made was there under its name when it was (R8).
        before = self._directory.owned(snapshot)
        changed = edit(self._directory, unlist, snapshot)
        if changed.version == snapshot.version:
            changed = self._reload()
        waste = named_in(self._directory.owned(changed), before)
        if not (waste.trash or waste.dead):
            return Collected()
        private = self._directory.private()
        collector = Collector(self._directory, capabilities, lambda: self._directory.owned(self._reload()))
        collected = collector.collect(waste, private=private, now=now, grace=lambda _: grace, listing=listing)
        done = {entry.identity for entry in collected.done}
        undated = {entry.identity for entry in collected.undated}

        def forget(ledger: Ledger) -> Ledger:
            return replace(
                ledger,
                trash=tuple(
                    # The grace of what is not dated begins now, with the copy of this change.
                    replace(entry, seq=ledger.seq + 1) if entry.identity in undated else entry
                    for entry in ledger.trash
                    if entry.identity not in done
                ),
                dead=tuple(entry for entry in ledger.dead if entry.identity not in done),
            )

        if done or undated:
            edit(self._directory, forget, changed)
        return collected

    def _reload(self) -> Snapshot:
        snapshot = self._directory.load()
        if snapshot is None:
            raise StateMissingError(
                f"The state file {self._directory.file.path} is gone; nothing more was deleted.",
                path=self._directory.file.path,
            )
        return snapshot


def unlisted(ledger: Ledger, prefixes: Iterable[str]) -> Ledger:
    """A ledger in which some of what is listed or kept is in the trash."""
    names = set(prefixes)
    gone = tuple(
        Entry(entry.prefix, entry.attempt, seq=ledger.seq + 1) for entry in ledger.live if entry.prefix in names
    )
    listed = tuple(entry for entry in ledger.listed if entry.prefix not in names)
    latest = ledger.latest if ledger.latest not in names or not listed else listed[-1].prefix
    return replace(
        ledger,
        listed=listed,
        latest=latest,
        kept=tuple(entry for entry in ledger.kept if entry.prefix not in names),
        trash=(*ledger.trash, *gone),
    )


def check_names(directory: CheckpointDirectory, snapshot: Snapshot) -> None:
    """Sees to it that nothing a state file names could be taken for something else: then nothing is removed at all.

    Raises:
        UnsafePathError: A name leads elsewhere, is that of a file, has a character that means something to a shell, a
            pattern or a terminal, is another's but for capitals or accents, or stands in two lists.
    """
    raw = Ledger.from_bytes(snapshot.data)
    for entry in raw.named:
        path = entry.prefix
        literal = path if expand_v1_pattern(path) is None else path.replace("?", "")
        if directory.file.is_elsewhere(path):
            problem = "leads out of it"
        elif parse_name(path) is not None:
            problem = "is that of a checkpoint's file"
        elif any(character in literal for character in "*?[]\\") or ":" in path.split("/")[0][:2]:
            problem = "has a character that is not literal everywhere"
        elif any(unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") for character in path):
            problem = "has a character that does not show"
        else:
            continue
        raise _suspicious(directory, f"it names {path!a}, which {problem}")
    seen: dict[str, str] = {}
    for entry in snapshot.ledger.named:
        folded = unicodedata.normalize("NFKC", entry.prefix).casefold()
        other = seen.setdefault(folded, entry.prefix)
        if other != entry.prefix:
            raise _suspicious(directory, f"it names {other!a} and {entry.prefix!a}, which some file systems confuse")
    # Of the dead only what bears their tag is deleted, so their names may be others', too.
    ledger, once = snapshot.ledger, set[str]()
    for entry in (*ledger.live, *ledger.open, *ledger.trash):
        if entry.prefix in once:
            raise _suspicious(directory, f"it names {entry.prefix!a} in two lists")
        once.add(entry.prefix)


def _suspicious(directory: CheckpointDirectory, why: str) -> UnsafePathError:
    return UnsafePathError(
        f"Nothing was removed, as the state file {directory.file.path} cannot be trusted: {why}. Look at it; then "
        "write it anew with ckptstore.update_checkpoint_state, or move it away and let `ckptstore repair` bring back "
        "what ckptstore wrote last.",
        path=directory.file.path,
    )


class _Wholeness:
    """Which checkpoints are whole, by one listing, and by the indexes of as few as possible.

    Args:
        directory: The directory.
        ledger: As it was read before this is made. What joins it later was seen to be whole by its writer (R6).

    Attributes:
        listing: The directory as it was when this was made.
    """

    def __init__(self, directory: CheckpointDirectory, ledger: Ledger) -> None:
        self._directory = directory
        self._before = {entry.identity for entry in ledger.live}
        self.listing = list(directory.store.list())
        self._sizes = {meta.key: meta.size for meta in self.listing}
        self._known: dict[str, bool] = {}

    def protect(self, ledger: Ledger, decisions: list[Decision]) -> list[Decision]:
        """The decisions, but that the latest checkpoint, and the newest whole one, stay whatever a policy says.

        Raises:
            CheckpointNotFoundError: The latest one is listed and not there.
        """
        newest = next(entry for entry in ledger.listed if entry.prefix == ledger.latest)
        there = files_of(ledger.latest, self.listing) or v1_files_of(ledger.latest, self.listing)
        if newest.identity in self._before and not there:
            raise CheckpointNotFoundError(
                f"The latest checkpoint {self._directory.store.path(ledger.latest)}, which {self._directory.file.path} "
                "names, is not there, so nothing was removed. `ckptstore ls` shows what is.",
                path=self._directory.store.path(ledger.latest),
            )
        # TensorFlow's list may go on behind the latest: somebody went back to an older one.
        decisions = [_kept(d, "the latest") if d.path == ledger.latest else d for d in decisions]
        if all(decision.keep for decision in decisions):
            return decisions
        new = {entry.prefix for entry in ledger.listed if entry.identity not in self._before}
        whole = next((d.path for d in reversed(decisions) if d.path in new or self._is_whole(d.path)), None)
        if whole is None:
            return [_kept(decision, "no checkpoint is whole") for decision in decisions]
        return [_kept(d, "the newest that is whole") if d.path == whole else d for d in decisions]

    def _is_whole(self, prefix: str) -> bool:
        if prefix not in self._known:
            self._known[prefix] = self._look(prefix)
        return self._known[prefix]

    def _look(self, prefix: str) -> bool:
        """Whether a checkpoint's index can be read, and its data files are as long as that says."""
        if index_name(prefix) not in self._sizes:
            return all(name in self._sizes for name in expand_v1_pattern(prefix) or [prefix])
        try:
            reader = BundleReader(self._directory.store, prefix)
            for shard in range(reader.header.num_shards):
                if reader.files.key(shard) not in self._sizes:
                    return False
            return all(
                isinstance(entry, BundleEntry)
                and (
                    bool(entry.slices)
                    or entry.offset + entry.size <= self._sizes.get(reader.files.key(entry.shard), -1)
                )
                for _, entry in reader.index.entries()
            )
        except (CheckpointNotFoundError, DataLossError):
            return False


def _kept(decision: Decision, reason: str) -> Decision:
    return decision if decision.keep else replace(decision, keep=True, reasons=(reason,))
