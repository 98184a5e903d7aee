"""Copies of the state file, one for each change of what counts: for `repair`, and for telling how long ago it was.

    .ckptstore/history/<seq, 18 digits>     the bytes of the state file of that seq

A copy is written after the state file, and before anything is deleted or acknowledged (R9 in
docs/design/commit-protocol.md). So its age never overstates how long a checkpoint has been out of the list.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ckptstore.checkpoint.state_file import PRIVATE_DIR, Snapshot, StateFile
from ckptstore.errors import NotFoundError, StateCorruptError, StateError, UnsafePathError, UnsupportedError
from ckptstore.format.ledger import Ledger
from ckptstore.format.state import MAX_STATE_BYTES
from ckptstore.storage import ObjectMeta, Payload, Store

HISTORY = f"{PRIVATE_DIR}/history/"
COPIES = 16
"""How many copies are kept; those that the trash still needs are kept on top."""

_NAME = re.compile(rf"{re.escape(HISTORY)}([0-9]{{18}})")


def copy_name(seq: int) -> str:
    """The key of the copy of a seq."""
    return f"{HISTORY}{seq:018d}"


def seq_of(key: str) -> int | None:
    """The seq of a copy, or None if it is none."""
    match = _NAME.fullmatch(key)
    return None if match is None else int(match[1])


def record(store: Store, snapshot: Snapshot) -> ObjectMeta:
    """Writes the copy of a state file that was just written."""
    return store.put(copy_name(snapshot.ledger.seq), Payload.of(snapshot.data))


def outdated(copies: Iterable[ObjectMeta], ledger: Ledger) -> list[str]:
    """The keys of the copies that may go: all but the newest, and those by which the trash tells its age."""
    seqs = sorted(seq for meta in copies if (seq := seq_of(meta.key)) is not None)
    needed = {entry.seq for entry in ledger.trash} | set(seqs[-COPIES:])
    return [copy_name(seq) for seq in seqs if seq not in needed]


def newest(store: Store, file: StateFile, *, skip_damaged: bool = False) -> Ledger | None:
    """What the newest copy says, or None if there is none.

    Args:
        store: The directory.
        file: Its state file.
        skip_damaged: Go on to older ones if it cannot be read. They do not know of what was saved since.

    Raises:
        StateCorruptError: It is damaged.
    """
    seqs = sorted((seq for meta in store.list(HISTORY) if (seq := seq_of(meta.key)) is not None), reverse=True)
    for seq in seqs:
        key = copy_name(seq)
        ledger = _read(store, file, key, seq) or _read(store, file, key, seq)  # once more: damaged on the way, perhaps
        if ledger is not None:
            return ledger
        if not skip_damaged:
            raise StateCorruptError(
                f"The newest copy of the state file, {store.path(key)}, is damaged, and older ones do not know of what "
                "was saved since. To go by an older one all the same: ckptstore repair --skip-damaged.",
                path=store.path(key),
            )
    return None


def _read(store: Store, file: StateFile, key: str, seq: int) -> Ledger | None:
    try:
        data, _ = store.get(key, limit=MAX_STATE_BYTES)
        ledger = file.parse(data)
    except (NotFoundError, StateError, UnsafePathError, UnsupportedError):
        return None
    return ledger if ledger.managed and ledger.seq == seq else None
