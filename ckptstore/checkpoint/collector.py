"""Deletes what the trash and the dead list of a ledger name (R8, R10 in docs/design/commit-protocol.md)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ckptstore.checkpoint.attempt import file_tag
from ckptstore.checkpoint.directory import CheckpointDirectory
from ckptstore.checkpoint.files import FileIndex, delete_files, files_of, is_v1_file
from ckptstore.checkpoint.pins import Pins
from ckptstore.errors import NotFoundError
from ckptstore.format.ledger import Entry, Ledger
from ckptstore.format.naming import meta_name, parse_name, stem
from ckptstore.storage import Capabilities, ObjectMeta

Identity = tuple[str, str | None]
Files = Mapping[Identity, Sequence[ObjectMeta]]
"""The files of checkpoints, by `Entry.identity`."""


@dataclass
class Collected:
    """What became of the trash.

    Attributes:
        done: Nothing of them is left; the ledger may forget them.
        pinned: A reader reads them.
        waiting: They have not been in the trash for long enough.
        undated: Those of the waiting whose time of unlisting is not recorded: who unlisted them died just then.
        blocked: Files of them are no checkpoint's, or were replaced, or cannot be deleted safely on this store; with
            the reason.
        deleted: The files that were deleted.
    """

    done: list[Entry] = field(default_factory=list)
    pinned: list[Entry] = field(default_factory=list)
    waiting: list[Entry] = field(default_factory=list)
    undated: list[Entry] = field(default_factory=list)
    blocked: dict[Entry, str] = field(default_factory=dict)
    deleted: list[ObjectMeta] = field(default_factory=list)

    @property
    def nbytes(self) -> int:
        """Bytes of the files that were deleted."""
        return sum(meta.size for meta in self.deleted)


class Collector:
    """Deletes files of checkpoints that no longer count.

    Args:
        directory: Where they are.
        capabilities: What the store can promise, as probed.
        reread: The ledger as it is now.
        known: Files that were written by this process itself, and need not be looked for.
    """

    def __init__(
        self,
        directory: CheckpointDirectory,
        capabilities: Capabilities,
        reread: Callable[[], Ledger],
        known: Files | None = None,
    ) -> None:
        self._directory = directory
        self._capabilities = capabilities
        self._reread = reread
        self._known = known or {}
        self._pins = Pins(directory.file)

    def collect(
        self,
        ledger: Ledger,
        *,
        private: Sequence[ObjectMeta],
        now: float | None,
        grace: Callable[[Entry], float],
        listing: Sequence[ObjectMeta] | None = None,
    ) -> Collected:
        """Deletes what may be deleted now.

        Args:
            ledger: As it was written last.
            private: A listing of the private directory, as a whole, that was begun after that (R10).
            now: The store's time, or None where it does not tell.
            grace: For how many seconds a checkpoint must have been out of the list.
            listing: A listing of the directory that was begun before `ledger` was written, if there is one.

        Raises:
            StorageError: A file could not be deleted.
            StateCorruptError: What another state file of the directory names is not known.
        """
        out = Collected()
        beside = self._directory.neighbours
        shared, elsewhere = bool(beside.files(private)), {entry.prefix for entry in beside.counting(private)}
        ages = {meta.key: meta.modified for meta in private}
        ready: list[Entry] = []
        counted = {entry.prefix for entry in (*ledger.live, *ledger.open)}
        for entry in ledger.trash:
            since, needed = ages.get(self._directory.history.copy_name(entry.seq)), grace(entry)
            if entry.prefix in counted:
                out.blocked[entry] = "a checkpoint that counts has the same name"
            elif entry.prefix in elsewhere:
                out.blocked[entry] = "another state file of the directory names it"
            elif self._pins.hold(entry, private, now):
                out.pinned.append(entry)
            elif needed > 0 and (since is None or now is None or now - since < needed):
                out.waiting.append(entry)
                if since is None:
                    out.undated.append(entry)
            else:
                ready.append(entry)
        saves = {entry.identity for entry in (*ledger.live, *ledger.open)}
        for entry in ledger.dead:  # its name alone says nothing: another save may have it by now
            if entry.identity in saves:
                out.blocked[entry] = "a checkpoint that counts has the same name"
            else:
                ready.append(entry)
        files = self._files(ledger, ready, listing, shared=shared, counted=counted | elsewhere)
        victims: list[ObjectMeta] = []
        for entry, found in files.items():
            obstacle = self._obstacle(entry, found)
            if obstacle is None:
                victims += found
            else:
                out.blocked[entry] = obstacle
        spared = set(delete_files(self._directory.store, victims, conditional=self._capabilities.conditional_delete))
        out.deleted = [meta for meta in victims if meta.key not in spared]
        for entry, found in files.items():
            if any(meta.key in spared for meta in found):
                out.blocked[entry] = "a file of it was replaced meanwhile"
            elif entry not in out.blocked:
                out.done.append(entry)
                if _is_isolated(entry):  # the directory was this attempt's alone
                    self._directory.store.remove_directory(entry.prefix.partition("/")[0])
        stale = [*self._directory.history.outdated(private, ledger), *self._pins.expired(private, now)]
        if stale:
            self._directory.store.delete(stale)
        return out

    def _files(
        self,
        ledger: Ledger,
        entries: Sequence[Entry],
        listing: Sequence[ObjectMeta] | None,
        *,
        shared: bool,
        counted: Collection[str],
    ) -> dict[Entry, Sequence[ObjectMeta]]:
        """The files of entries, each as it was when the entry still held its name."""
        found: dict[Entry, Sequence[ObjectMeta]] = {}
        unknown: list[Entry] = []
        for entry in entries:
            known = self._known.get(entry.identity)
            if known is None:
                unknown.append(entry)
            else:
                found[entry] = known
        if unknown and listing is None:
            prefix = stem(unknown[0].prefix) if len(unknown) == 1 and unknown[0].attempt is not None else ""
            listing = list(self._directory.store.list(prefix))
            # A name belongs to an entry for as long as a list names it. What was seen before this look was the
            # entry's; what somebody puts there later is of another version (R8).
            now = self._reread()
            unknown = [entry for entry in unknown if any(entry.same(other) for other in (*now.trash, *now.dead))]
        index = FileIndex(listing or ())
        saves = {entry.identity for entry in ledger.dead}
        for entry in unknown:
            if entry.attempt is None:
                found[entry] = _foreign(entry, index, counted)
            else:
                tags = _Tags(self._directory, entry, ledger.id)
                found[entry] = tags.files(index, dead=entry.identity in saves, shared=shared)
        return found

    def _obstacle(self, entry: Entry, files: Sequence[ObjectMeta]) -> str | None:
        """Why files must not be deleted; None if they may."""
        safe = self._capabilities.conditional_delete or not self._capabilities.compare_and_swap
        if files and not safe and entry.attempt is not None and not _is_isolated(entry):
            return "this store cannot delete by version, and the name is not unique"
        if entry.attempt is not None:
            return None
        # Any file can have the name of a V1 checkpoint: only what is in it tells. (A V2 file's ending cannot.)
        odd = [meta for meta in files if not files_of(entry.prefix, [meta]) and meta.key != meta_name(entry.prefix)]
        if not all(is_v1_file(self._directory.store, meta) for meta in odd):
            return "the file of that name is no checkpoint; if it is to go, delete it by hand"
        return None


class _Tags:
    """Finds the files of one attempt of ours: by name where the name proves enough, else by what they are tagged with.

    Args:
        directory: Where they are.
        entry: The attempt.
        directory_id: From its ledger.
    """

    def __init__(self, directory: CheckpointDirectory, entry: Entry, directory_id: str) -> None:
        self._store = directory.store
        self._entry = entry
        self._id = directory_id

    def files(self, index: FileIndex, *, dead: bool, shared: bool) -> list[ObjectMeta]:
        """The files in a listing that are the attempt's.

        Args:
            index: The listing.
            dead: It never counted, so that its first file may have met somebody else's.
            shared: Other state files give names in this directory, too.
        """
        prefix, apart = self._entry.prefix, _is_isolated(self._entry)
        named = index.bundle(prefix)
        bundle = named
        if dead or shared:
            bundle = [meta for meta in named if apart or self._bears(meta, tagless=not dead)]
        # Names of V1 files, and of .meta files with an ending of their own, may be anybody's.
        v1 = [meta for meta in index.v1(prefix) if meta not in named]
        odd = [meta for meta in index.odd(prefix) if meta not in v1]
        return [
            *bundle,
            *(meta for meta in v1 if apart or self._bears(meta, tagless=False)),
            *(meta for meta in odd if self._bears(meta, tagless=False)),
        ]

    def _bears(self, meta: ObjectMeta, *, tagless: bool) -> bool:
        """Whether a file bears the attempt's tag, or, if that will do, none at all: not every store keeps them."""
        try:
            head = self._store.head(meta.key)
        except NotFoundError:
            return False
        ours = file_tag(self._entry.attempt or "", self._id, meta.key)
        return head.version == meta.version and (head.tag == ours or (tagless and head.tag is None))


def _foreign(entry: Entry, index: FileIndex, counted: Collection[str]) -> list[ObjectMeta]:
    """The files of a checkpoint that TensorFlow wrote, by their names."""
    files = index.bundle(entry.prefix)
    if not all(meta.key == meta_name(entry.prefix) for meta in files):
        return files
    # What several files of V1 have in common is also a name that another checkpoint may have.
    return [
        meta
        for meta in index.v1(entry.prefix)
        if (file := parse_name(meta.key)) is None or file.prefix == entry.prefix or file.prefix not in counted
    ]


def _is_isolated(entry: Entry) -> bool:
    """Whether the name is the attempt's own, so that nobody else's files can ever be there."""
    return entry.attempt is not None and entry.prefix.startswith(f"r-{entry.attempt[:16]}/")


def named_in(ledger: Ledger, before: Ledger) -> Ledger:
    """A ledger with as much waste as another one, that was read before a listing was made, knew by name (R8)."""
    known = {entry.identity for entry in before.named}
    return replace(
        ledger,
        trash=tuple(entry for entry in ledger.trash if entry.identity in known),
        dead=tuple(entry for entry in ledger.dead if entry.identity in known),
    )
