"""Copies of a state file, one for each change of what counts: for `repair`, and for telling how long ago it was.

    .ckptstore/history/<seq, 18 digits>     the bytes of the state file of that seq

A copy is written after the state file, and before anything is deleted or acknowledged (R9 in
docs/design/commit-protocol.md). So its age never overstates how long a checkpoint has been out of the list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ckptstore.checkpoint.state_file import Snapshot, StateFile
from ckptstore.errors import NotFoundError, StateCorruptError, StateError, UnsafePathError, UnsupportedError
from ckptstore.format.ledger import Ledger
from ckptstore.format.state import MAX_STATE_BYTES
from ckptstore.storage import ObjectMeta, Payload, Store

COPIES = 16
"""How many copies are kept; those that the trash still needs are kept on top."""

_NUMBER = re.compile(r"[0-9]{18}")


class History:
    """The copies of one state file.

    Args:
        store: The directory.
        file: The state file.

    Attributes:
        prefix: What the keys of all copies begin with.
    """

    def __init__(self, store: Store, file: StateFile) -> None:
        self._store = store
        self._file = file
        self.prefix = f"{file.private}history/"

    def copy_name(self, seq: int) -> str:
        """The key of the copy of a seq."""
        return f"{self.prefix}{seq:018d}"

    def seq_of(self, key: str) -> int | None:
        """The seq of a copy, or None if it is none."""
        number = key.removeprefix(self.prefix)
        return int(number) if key.startswith(self.prefix) and _NUMBER.fullmatch(number) else None

    def record(self, snapshot: Snapshot) -> ObjectMeta:
        """Writes the copy of the state file, which was just written."""
        return self._store.put(self.copy_name(snapshot.ledger.seq), Payload.of(snapshot.data))

    def outdated(self, copies: Iterable[ObjectMeta], ledger: Ledger) -> list[str]:
        """The keys of the copies that may go: all but the newest, and those by which the trash tells its age."""
        seqs = self._seqs(copies)
        needed = {entry.seq for entry in ledger.trash} | set(seqs[-COPIES:])
        return [self.copy_name(seq) for seq in seqs if seq not in needed]

    def newest(self, *, skip_damaged: bool = False) -> Ledger | None:
        """What the newest copy says, or None if there is none.

        Args:
            skip_damaged: Go on to older ones if it cannot be read. They do not know of what was saved since.

        Raises:
            StateCorruptError: It is damaged.
        """
        for seq in reversed(self._seqs(self._store.list(self.prefix))):
            path = self._store.path(self.copy_name(seq))
            ledger = self._read(seq) or self._read(seq)  # once more: damaged on the way, perhaps
            if ledger is not None:
                return ledger
            if not skip_damaged:
                raise StateCorruptError(
                    f"The newest copy of the state file, {path}, is damaged, and older ones do not know of what was "
                    "saved since. To go by an older one all the same: ckptstore repair --skip-damaged.",
                    path=path,
                )
        return None

    def _seqs(self, copies: Iterable[ObjectMeta]) -> list[int]:
        return sorted(seq for meta in copies if (seq := self.seq_of(meta.key)) is not None)

    def _read(self, seq: int) -> Ledger | None:
        try:
            data, _ = self._store.get(self.copy_name(seq), limit=MAX_STATE_BYTES)
            ledger = self._file.parse(data)
        except (NotFoundError, StateError, UnsafePathError, UnsupportedError):
            return None
        return ledger if ledger.managed and ledger.seq == seq else None
