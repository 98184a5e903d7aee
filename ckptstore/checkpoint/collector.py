"""Deletes what the trash and the dead list of a ledger name (R8, R10 in docs/design/commit-protocol.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ckptstore.checkpoint.attempt import file_tag
from ckptstore.checkpoint.directory import CheckpointDirectory
from ckptstore.checkpoint.files import delete_files, files_of, v1_files_of
from ckptstore.checkpoint.history import copy_name, outdated
from ckptstore.checkpoint.pins import expired_pins, is_pinned
from ckptstore.checkpoint.state_file import PRIVATE_DIR
from ckptstore.errors import NotFoundError, PreconditionFailedError
from ckptstore.format.coding import decode_fixed64
from ckptstore.format.ledger import Entry, Ledger
from ckptstore.format.naming import meta_name, parse_name
from ckptstore.format.table import FOOTER_SIZE, MAGIC
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
            private: A listing of the private directory that was begun after that (R10).
            now: The store's time, or None where it does not tell.
            grace: For how many seconds a checkpoint must have been out of the list.
            listing: A listing of the directory that was begun before `ledger` was written, if there is one.

        Raises:
            StorageError: A file could not be deleted.
        """
        out = Collected()
        ages = {meta.key: meta.modified for meta in private}
        ready: list[Entry] = []
        counted = {entry.prefix for entry in (*ledger.live, *ledger.open)}
        for entry in ledger.trash:
            since, needed = ages.get(copy_name(entry.seq)), grace(entry)
            if entry.prefix in counted:
                out.blocked[entry] = "a checkpoint that counts has the same name"
            elif is_pinned(entry, private, now):
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
        files = self._files(ledger, ready, listing)
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
        stale = [*outdated(private, ledger), *expired_pins(private, now)]
        if stale:
            self._directory.store.delete(stale)
        return out

    def _files(
        self, ledger: Ledger, entries: Sequence[Entry], listing: Sequence[ObjectMeta] | None
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
            prefix = f"{unknown[0].prefix}." if len(unknown) == 1 and unknown[0].attempt is not None else ""
            listing = list(self._directory.store.list(prefix))
            # A name belongs to an entry for as long as a list names it. What was seen before this look was the
            # entry's; what somebody puts there later is of another version (R8).
            now = self._reread()
            unknown = [entry for entry in unknown if any(entry.same(other) for other in (*now.trash, *now.dead))]
        parts: dict[str, list[ObjectMeta]] = {}
        for meta in listing or ():
            if (file := parse_name(meta.key)) is not None:
                parts.setdefault(file.prefix, []).append(meta)
        saves = {entry.identity for entry in ledger.dead}
        for entry in unknown:
            files = parts.get(entry.prefix, [])
            if entry.attempt is None and all(meta.key == meta_name(entry.prefix) for meta in files):
                files = v1_files_of(entry.prefix, listing or ())
            # The first file of a dead save may have met somebody else's: only a tag tells them apart.
            dead = entry.identity in saves
            found[entry] = [meta for meta in files if not dead or self._is_ours(entry, meta, ledger.id)]
        return found

    def _obstacle(self, entry: Entry, files: Sequence[ObjectMeta]) -> str | None:
        """Why files must not be deleted; None if they may."""
        safe = self._capabilities.conditional_delete or not self._capabilities.compare_and_swap
        if files and not safe and entry.attempt is not None and not _is_isolated(entry):
            return "this store cannot delete by version, and the name is not unique"
        # Any file can have the name of a V1 checkpoint: only what is in it tells. (A V2 file's ending cannot.)
        odd = [meta for meta in files if not files_of(entry.prefix, [meta]) and meta.key != meta_name(entry.prefix)]
        if not all(self._is_v1(meta) for meta in odd):
            return "the file of that name is no checkpoint; if it is to go, delete it by hand"
        return None

    def _is_v1(self, meta: ObjectMeta) -> bool:
        if meta.size < FOOTER_SIZE or parse_name(meta.key) is not None:
            return False
        magic = bytearray(8)
        try:
            self._directory.store.read_into(meta.key, [(meta.size - 8, memoryview(magic))], version=meta.version)
        except (NotFoundError, PreconditionFailedError):
            return False
        return decode_fixed64(bytes(magic), 0) == MAGIC

    def _is_ours(self, entry: Entry, meta: ObjectMeta, directory_id: str) -> bool:
        if entry.attempt is None or _is_isolated(entry):
            return entry.attempt is not None
        try:
            head = self._directory.store.head(meta.key)
        except NotFoundError:
            return False
        return head.tag == file_tag(entry.attempt, directory_id, meta.key) and head.version == meta.version


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


def private_listing(directory: CheckpointDirectory) -> list[ObjectMeta]:
    """Everything in the private directory: pins, history, notes."""
    return list(directory.store.list(f"{PRIVATE_DIR}/"))
