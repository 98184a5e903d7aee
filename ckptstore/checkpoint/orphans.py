"""Finds, and deletes, what dead processes left behind: docs/design/commit-protocol.md, R11 and R12.

Files are never judged by their age or by a listing alone: a save that takes a day is no orphan. What goes bears our own
tag, names an attempt that no list of the state file knows, and was there before the state file was looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from ckptstore._clock import Clock
from ckptstore.checkpoint.attempt import file_tag
from ckptstore.checkpoint.directory import CheckpointDirectory
from ckptstore.checkpoint.editing import edit, refuse_root, require_swap
from ckptstore.checkpoint.files import delete_files, is_v1_file
from ckptstore.checkpoint.pins import Pins
from ckptstore.checkpoint.pruning import check_names
from ckptstore.checkpoint.state_file import PRIVATE_DIR, Snapshot
from ckptstore.checkpoint.store_time import store_time
from ckptstore.errors import (
    DataLossError,
    NotFoundError,
    StateMissingError,
    StorageError,
    UnsafePathError,
    UnsupportedError,
)
from ckptstore.format.ledger import Entry, Ledger
from ckptstore.format.naming import CheckpointFile, expand_v1_pattern, index_name, parse_name, v1_pattern_of
from ckptstore.storage import UPLOAD_NOTES, ObjectMeta, UploadNote

DAY = 86400.0


@dataclass
class GcReport:
    """What a garbage collector found.

    Attributes:
        deleted: Files of saves that died, and left-overs of ckptstore's own housekeeping, that were deleted.
        aborted: The uploads that were aborted, by the key they were for.
        complete: Checkpoints that are whole, of which no list knows, and that stay.
        foreign: Files that look like parts of checkpoints and bear no tag of this directory.
        open: Saves that are under way, or whose process died: nobody can tell.
        problems: What could not be deleted or read, in words.
        dry_run: Whether nothing was changed.
    """

    deleted: list[ObjectMeta] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    complete: list[str] = field(default_factory=list)
    foreign: list[ObjectMeta] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    dry_run: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes that were deleted, or would be."""
        return sum(meta.size for meta in self.deleted)


class OrphanCollector:
    """Deletes what no list of a directory's state file knows.

    Args:
        directory: The directory.
        clock: This machine's; it is held against the store's.

    Raises:
        UnsafePathError: The directory is the root of a bucket or of the file system.
    """

    def __init__(self, directory: CheckpointDirectory, clock: Clock) -> None:
        refuse_root(directory)
        self._directory = directory
        self._store = directory.store
        self._clock = clock

    def collect(
        self,
        *,
        dry_run: bool = False,
        abort_open: bool = False,
        complete_orphans: bool = False,
        foreign_older_than: float | None = None,
        unfinished_older_than: float = DAY,
    ) -> GcReport:
        """Deletes orphans.

        Args:
            dry_run: Change nothing, and say what would be done.
            abort_open: Give up the saves that are under way. One whose process lives fails with SaveAbortedError, and
                nothing else is lost.
            complete_orphans: Also delete checkpoints that are whole, unlisted, and ours to the last file.
            foreign_older_than: Also delete files that look like parts of checkpoints, are not those of a whole one, and
                bear no tag, if they are older than this, in seconds. None: leave them.
            unfinished_older_than: How old temporary files and uploads must be, in seconds.

        Raises:
            StateMissingError: There is no state file, so that nothing is known to be an orphan.
            StateCorruptError: What this or another state file of the directory names is not known.
            UnsupportedError: The state file is TensorFlow's, or the store cannot compare and swap.
            UnsafePathError, ClockSkewError, StateError, StorageError: As in `Pruner.prune`.
        """
        report = GcReport(dry_run=dry_run)
        snapshot = self._load()  # before anything is written: a path may be mistyped
        capabilities = None if dry_run else require_swap(self._directory)
        if abort_open and not dry_run:
            edit(self._directory, lambda old: replace(old, open=(), dead=(*old.dead, *old.open)), snapshot)
        listing = list(self._store.list())  # R11: first what is there, then who knows of it
        unfinished = list(self._store.unfinished())
        ledger = self._load().ledger
        others = self._directory.neighbours.entries(listing)
        report.open = [] if abort_open else [entry.prefix for entry in ledger.open]
        now = self._clock.time() if dry_run else store_time(self._store, self._clock)
        victims = self._orphans(listing, ledger, others, now, report, complete_orphans, foreign_older_than)
        waste = [
            *(meta for meta in unfinished if _older(meta, now, unfinished_older_than)),
            *self._private(listing, ledger, now),
        ]
        uploads = self._uploads(listing, [*ledger.open, *others], now, unfinished_older_than, report)
        report.deleted = [*victims, *waste]
        if capabilities is None:
            report.aborted = [note.key for _, note in uploads]
            return report
        if not capabilities.conditional_delete:
            # What is there at a name may be another file by the time it is deleted (R4).
            flat = [meta for meta in victims if not meta.key.startswith("r-")]
            report.problems += [f"{meta.key} stays: this store cannot delete by version" for meta in flat]
            victims = [meta for meta in victims if meta not in flat]
        spared = set(delete_files(self._store, victims, conditional=capabilities.conditional_delete))
        self._store.delete([meta.key for meta in waste])
        report.deleted = [*(meta for meta in victims if meta.key not in spared), *waste]
        for meta, note in uploads:
            try:
                self._store.abort_upload(note.upload())
                self._store.delete([meta.key])
            except StorageError as error:
                report.problems.append(error.message)
            else:
                report.aborted.append(note.key)
        return report

    def _load(self) -> Snapshot:
        """The state file, if it is one that tells orphans from others; see `collect` for errors."""
        snapshot = self._directory.load()
        if snapshot is None:
            raise StateMissingError(
                f"{self._directory.url} has no state file yet, so nothing in it is known to be an orphan.",
                path=self._directory.file.path,
            )
        if not snapshot.ledger.managed:
            raise UnsupportedError(
                f"The state file {self._directory.file.path} is TensorFlow's, which does not say what is being saved, "
                "so nothing can be told to be an orphan. It becomes ours with the first save or `ckptstore prune`.",
                path=self._directory.file.path,
            )
        check_names(self._directory, snapshot)
        return snapshot

    def _orphans(
        self,
        listing: Sequence[ObjectMeta],
        ledger: Ledger,
        others: Sequence[Entry],
        now: float | None,
        report: GcReport,
        complete_orphans: bool,
        foreign_older_than: float | None,
    ) -> list[ObjectMeta]:
        named = {entry.prefix for entry in (*ledger.named, *others)}
        known = {entry.attempt for entry in ledger.named}
        groups: dict[str, list[tuple[ObjectMeta, CheckpointFile]]] = {}
        lost: dict[str, list[ObjectMeta]] = {}  # files by the attempt that left them
        staying: set[str] = set()  # attempts
        for meta in listing:
            file = parse_name(meta.key)
            if file is not None and file.prefix not in named and self._directory.is_own(file.prefix):
                groups.setdefault(file.prefix, []).append((meta, file))
            elif file is None and meta.key not in named and self._directory.is_own(meta.key):
                # A V1 checkpoint's, or a .meta file with an ending of its own: only the tag can tell.
                attempt = self._lost_attempt(meta, ledger.id, known)
                if attempt is not None:
                    lost.setdefault(attempt, []).append(meta)
        if not complete_orphans:
            for attempt, files in lost.items():
                whole = self._whole_v1(files)
                report.complete += whole
                staying |= {attempt} if whole else set()
        foreign: list[ObjectMeta] = []
        for prefix, parts in groups.items():
            owners = {meta: self._lost_attempt(meta, ledger.id, known) for meta, _ in parts}
            theirs = [meta for meta, owner in owners.items() if owner is None]
            if any(meta.key == index_name(prefix) for meta in owners) and (theirs or not complete_orphans):
                report.complete.append(prefix)  # kept for ever by TensorFlow, or somebody's copy
                staying |= {owner for owner in owners.values() if owner is not None}
                continue
            foreign += theirs
            for meta, owner in owners.items():
                if owner is not None:
                    lost.setdefault(owner, []).append(meta)
        old = [meta for meta in foreign if foreign_older_than is not None and _older(meta, now, foreign_older_than)]
        report.foreign = [meta for meta in foreign if meta not in old]
        ours = [meta for attempt, files in lost.items() if attempt not in staying for meta in files]
        return sorted([*ours, *old], key=lambda meta: meta.key)

    def _lost_attempt(self, meta: ObjectMeta, directory_id: str, known: Collection[str | None]) -> str | None:
        """The attempt of this directory whose tag a file bears, if no list knows of it."""
        try:
            head = self._store.head(meta.key)
        except NotFoundError:
            return None
        if head.tag is None or head.version != meta.version:
            return None
        attempt = head.tag.partition(".")[0]
        return attempt if attempt not in known and head.tag == file_tag(attempt, directory_id, meta.key) else None

    def _whole_v1(self, files: Sequence[ObjectMeta]) -> list[str]:
        """The name of the V1 checkpoint that some files of one attempt are, if they are a whole one."""
        tables = {meta.key for meta in files if is_v1_file(self._store, meta)}
        names = {v1_pattern_of(key) or key for key in tables}
        return sorted(name for name in names if tables.issuperset(expand_v1_pattern(name) or [name]))

    def _private(self, listing: Iterable[ObjectMeta], ledger: Ledger, now: float | None) -> list[ObjectMeta]:
        """What is of no use any more in the private directory, and not another state file's."""
        private = [meta for meta in listing if meta.key.startswith(f"{PRIVATE_DIR}/")]
        pins = Pins(self._directory.file)
        useless = {*pins.expired(private, now), *self._directory.history.outdated(private, ledger)}
        return [
            meta
            for meta in private
            if meta.key in useless
            or meta.key.startswith(self._directory.notes.prefix)  # they count only while there is no state file
            or (meta.key.startswith(f"{PRIVATE_DIR}/clock/") and _older(meta, now, DAY))
            or (meta.key.startswith(pins.prefix) and not pins.is_pin(meta.key) and _older(meta, now, DAY))
        ]

    def _uploads(
        self,
        listing: Iterable[ObjectMeta],
        open_: Sequence[Entry],
        now: float | None,
        older_than: float,
        report: GcReport,
    ) -> list[tuple[ObjectMeta, UploadNote]]:
        """The uploads that our own notes tell of, and that no save under way can be making (R12)."""
        live = {entry.attempt for entry in open_}
        found = []
        for meta in listing:
            if not meta.key.startswith(UPLOAD_NOTES) or not _older(meta, now, older_than):
                continue
            try:
                note = UploadNote.from_bytes(self._store.get(meta.key, limit=1 << 16)[0])
            except NotFoundError:
                continue
            except (DataLossError, UnsafePathError):
                report.problems.append(f"{meta.key} is no note of an upload, and was left alone")
                continue
            if note.tag.partition(".")[0] not in live:
                found.append((meta, note))
        return found


def _older(meta: ObjectMeta, now: float | None, seconds: float) -> bool:
    # Of two times of one store, one may be in whole seconds and so seem older.
    return now is not None and meta.modified is not None and max(0.0, now - meta.modified) >= seconds
