"""One try at saving a checkpoint: its name, its identity, and a store that writes nothing but its files."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ckptstore.format.ledger import Entry
from ckptstore.storage import ObjectMeta, ObjectRange, Payload, Store, WrapperStore


@dataclass(frozen=True, slots=True)
class Attempt:
    """A save under way.

    Attributes:
        prefix: The checkpoint's name in the directory.
        id: 32 hexadecimal digits, never used twice.
        directory_id: The directory's name, from its ledger.
    """

    prefix: str
    id: str
    directory_id: str

    @property
    def entry(self) -> Entry:
        """As it stands in a ledger."""
        return Entry(self.prefix, self.id)

    def tag(self, key: str) -> str:
        """What is kept with a file of this attempt; see `file_tag`."""
        return file_tag(self.id, self.directory_id, key)


def file_tag(attempt: str, directory_id: str, key: str) -> str:
    """The tag of a file: whose it is, and where (R5 in docs/design/commit-protocol.md).

    Copies keep their tag. So it tells the directory and the name as well: a copy that somebody put under another name,
    or into another directory, is theirs, and never collected as one of ours.
    """
    place = hashlib.sha256(f"{directory_id}/{key}".encode("utf-8", "surrogateescape")).hexdigest()
    return f"{attempt}.{place[:12]}"


class AttemptStore(WrapperStore):
    """Writes the files of one attempt: every `put` creates, and bears the attempt's tag (R4, R5).

    Attributes:
        written: What was written, by key.
    """

    def __init__(self, inner: Store, attempt: Attempt) -> None:
        super().__init__(inner)
        self._attempt = attempt
        self._lock = threading.Lock()
        self.written: dict[str, ObjectMeta] = {}

    def put(self, key: str, payload: Payload) -> ObjectMeta:
        """See `Store.create`: an object that is there already, and is not of this attempt, is an AlreadyExistsError."""
        meta = self._inner.create(key, payload, tag=self._attempt.tag(key))
        with self._lock:
            self.written[key] = meta
        return meta

    def copy(self, key: str, ranges: Sequence[ObjectRange], *, tag: str | None = None) -> ObjectMeta:
        """See `Store.copy`; the tag is the attempt's."""
        meta = self._inner.copy(key, ranges, tag=self._attempt.tag(key))
        with self._lock:
            self.written[key] = meta
        return meta

    def shows_all(self, listing: Iterable[ObjectMeta]) -> bool:
        """Whether a listing shows all that was written, as it was written (R6)."""
        shown = {meta.key: meta for meta in listing}
        return all(
            (found := shown.get(key)) is not None
            and found.size == meta.size
            and (meta.version is None or found.version in (None, meta.version))
            for key, meta in self.written.items()
        )
