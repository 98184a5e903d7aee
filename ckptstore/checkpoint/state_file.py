"""The `checkpoint` state file of a directory: read, and replaced by compare and swap.

It alone says which checkpoints count (R1 in docs/design/commit-protocol.md), and it is the only object of a directory
that is ever replaced.
"""

from __future__ import annotations

import posixpath
import re
import secrets
from dataclasses import dataclass, replace
from errno import EFBIG

from ckptstore.errors import (
    AlreadyExistsError,
    CommitConflictError,
    NotFoundError,
    PreconditionFailedError,
    StateCorruptError,
    StorageError,
    UnsafePathError,
    UnsupportedError,
)
from ckptstore.format.ledger import Entry, Ledger
from ckptstore.format.naming import STATE_FILE
from ckptstore.format.state import MAX_STATE_BYTES
from ckptstore.storage import Payload, Store, check_key

PRIVATE_DIR = ".ckptstore"
"""Where ckptstore keeps what is its own; TensorFlow ignores it."""

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state file as it was read or written.

    Attributes:
        ledger: What it says, its names as keys of the directory.
        version: The store's token for these very bytes.
        data: The bytes.
    """

    ledger: Ledger
    version: str
    data: bytes


class StateFile:
    """One state file.

    Args:
        store: The directory.
        key: Its name in there. A directory may have several, that know nothing of each other's checkpoints.

    Attributes:
        key: Its name.
        private: What the keys of all that ckptstore keeps for it begin with.

    Raises:
        UnsafePathError: The name cannot be one.
    """

    def __init__(self, store: Store, key: str = STATE_FILE) -> None:
        self._store = store
        self.key = check_key(key)
        if "/" in key:
            raise UnsafePathError(
                f"The state file {key!r} has a '/' in its name; name a file of the directory.", path=key
            )
        self.private = f"{PRIVATE_DIR}/" if key == STATE_FILE else f"{PRIVATE_DIR}/{key}.state/"

    @property
    def path(self) -> str:
        """Where it is, in full."""
        return self._store.path(self.key)

    def read(self) -> Snapshot | None:
        """What it says, or None if there is none.

        Raises:
            StateCorruptError: It is there and cannot be read as one.
            UnsafePathError: It names what is no checkpoint of its directory.
            UnsupportedError: A newer ckptstore wrote it.
        """
        try:
            data, meta = self._store.get(self.key, limit=MAX_STATE_BYTES)
        except NotFoundError:
            return None
        except StorageError as error:
            if error.errno != EFBIG:
                raise
            raise self._corrupt(StateCorruptError(f"it has more than {MAX_STATE_BYTES} bytes")) from error
        return Snapshot(self.parse(data), meta.version or "", data)

    def parse(self, data: bytes) -> Ledger:
        """Reads the bytes of a state file of this directory; see `read`."""
        try:
            ledger = Ledger.from_bytes(data)
        except StateCorruptError as error:
            raise self._corrupt(error) from error
        except UnsupportedError as error:
            raise UnsupportedError(f"{self.path}: {error.message}", path=self.path) from error
        return self._resolved(ledger)

    def version(self) -> str | None:
        """The store's token for what is there, readable or not; None if there is nothing."""
        try:
            return self._store.head(self.key).version or ""
        except NotFoundError:
            return None

    def swap(self, old: str | None, new: Ledger) -> Snapshot:
        """Replaces it, if it still is of the version `old`; None: if there is none still.

        Raises:
            CommitConflictError: It is not. Nothing was changed.
            StorageUnavailableError: The store does not answer. Whether it was replaced is not known.
            UnsafePathError: The new one names what is no checkpoint of this directory.
        """
        self._resolved(new)
        data = new.to_bytes()
        # A name of its own for every try, by which the store tells a reply that was lost from another's success.
        tag = secrets.token_hex(16)
        try:
            if old is None:
                meta = self._store.create(self.key, Payload.of(data), tag=tag)
            else:
                meta = self._store.replace(self.key, Payload.of(data), version=old, tag=tag)
        except (AlreadyExistsError, PreconditionFailedError) as error:
            raise CommitConflictError(
                f"Another process replaced {self.path} meanwhile; nothing was changed. Read it anew.", path=self.path
            ) from error
        return Snapshot(new, meta.version or "", data)

    def resolve(self, path: str) -> str:
        """The key in this directory of a path in the state file.

        TensorFlow may write absolute paths; the directory may have been moved or copied since. So an absolute path
        (or URL) that does not lead below this directory is taken for its last part, here. Nothing outside of the
        directory is ever opened.

        Raises:
            UnsafePathError: It leads out of the directory by "..", or is no plain name.
        """
        if self.is_elsewhere(path) or path.startswith(self._below()):
            path = path[len(self._below()) :] if path.startswith(self._below()) else posixpath.basename(path)
        while path.startswith("./"):
            path = path[2:]
        try:
            key = check_key(path)
            if key == self.key or key.startswith(f"{PRIVATE_DIR}/"):
                raise UnsafePathError(f"{key!r} is no checkpoint's name", path=key)
            return key
        except UnsafePathError as error:
            raise UnsafePathError(
                f"The state file {self.path} names {path!r}, which is no checkpoint in its directory; "
                "nothing was opened or changed.",
                path=self.path,
            ) from error

    def is_elsewhere(self, path: str) -> bool:
        """Whether a path in the state file is absolute, and not below this directory."""
        absolute = _URL.match(path) is not None or path.startswith("/")
        return absolute and not path.startswith(self._below())

    def _below(self) -> str:
        return self._store.url.rstrip("/") + "/"

    def _resolved(self, ledger: Ledger) -> Ledger:
        def resolved(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
            return tuple(
                entry if (key := self.resolve(entry.prefix)) == entry.prefix else replace(entry, prefix=key)
                for entry in entries
            )

        out = replace(
            ledger,
            listed=resolved(ledger.listed),
            latest=self.resolve(ledger.latest),
            kept=resolved(ledger.kept),
            open=resolved(ledger.open),
            dead=resolved(ledger.dead),
            trash=resolved(ledger.trash),
        )
        if ledger.managed:
            if out != ledger:
                raise UnsafePathError(
                    f"The state file {self.path} spells a checkpoint's name in a way that ckptstore never does; "
                    "nothing was opened or changed.",
                    path=self.path,
                )
            return out
        once = {entry.prefix: entry for entry in reversed(out.listed)}  # TensorFlow may list one twice
        if len(once) < len(out.listed):
            out = replace(out, listed=tuple(dict.fromkeys(once[entry.prefix] for entry in out.listed)))
        return out

    def _corrupt(self, error: StateCorruptError) -> StateCorruptError:
        return StateCorruptError(
            f"The state file {self.path} cannot be read: {error.message}. Which checkpoints count is therefore not "
            "known, and nothing was changed. `ckptstore repair` brings back what it said last; if you know what it "
            "should say, write it anew with ckptstore.update_checkpoint_state(directory, latest, [all, oldest first]).",
            path=self.path,
        )
