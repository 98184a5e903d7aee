"""Pins: how a reader tells pruners which checkpoint it is reading.

    .ckptstore/pins/<16 hex of the checkpoint>-<32 hex of the reader>

A pin is put, and only then is the state file looked at again (R10 in docs/design/commit-protocol.md): either the reader
sees that the checkpoint is listed no more, or the pruner, who looks for pins after unlisting it, sees the pin. A pin
counts for an hour by the store's clock, and is put anew every ten minutes as long as its reader reads.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence

from ckptstore._clock import Clock
from ckptstore.checkpoint.directory import CheckpointDirectory
from ckptstore.checkpoint.reader import CheckpointReader, open_source
from ckptstore.checkpoint.state_file import PRIVATE_DIR, StateFile
from ckptstore.errors import (
    CheckpointNotFoundError,
    CheckpointPrunedError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionFailedError,
    StorageError,
)
from ckptstore.format.ledger import Entry, Ledger
from ckptstore.storage import ObjectMeta, Payload, ReadTarget, WrapperStore

PINS = f"{PRIVATE_DIR}/pins/"
"""Where those of the state file `checkpoint` are."""

LIFETIME = 3600.0
"""How long a pin counts, in seconds."""

_REFRESH = 600.0
_NAME = re.compile(r"[0-9a-f]{16}-[0-9a-f]{32}")


class Pins:
    """The pins of what one state file lists.

    Args:
        file: The state file.

    Attributes:
        prefix: What the keys of all pins begin with.
    """

    def __init__(self, file: StateFile) -> None:
        self.prefix = f"{file.private}pins/"

    def of(self, entry: Entry) -> str:
        """What the keys of all pins of a checkpoint begin with."""
        name = hashlib.sha256(f"{entry.prefix}@{entry.attempt or '-'}".encode("utf-8", "surrogateescape"))
        return f"{self.prefix}{name.hexdigest()[:16]}-"

    def is_pin(self, key: str) -> bool:
        """Whether a key is that of a pin."""
        return key.startswith(self.prefix) and _NAME.fullmatch(key[len(self.prefix) :]) is not None

    def hold(self, entry: Entry, listing: Iterable[ObjectMeta], now: float | None) -> bool:
        """Whether a reader reads a checkpoint, going by a listing of the pins; `now` is the store's time."""
        where = self.of(entry)
        return any(pin.key.startswith(where) and self.is_pin(pin.key) and not expired(pin, now) for pin in listing)

    def expired(self, listing: Iterable[ObjectMeta], now: float | None) -> list[str]:
        """The keys of the pins that dead readers left behind."""
        return [pin.key for pin in listing if self.is_pin(pin.key) and expired(pin, now)]


def expired(pin: ObjectMeta, now: float | None) -> bool:
    """Whether a pin no longer counts; `now` is the store's time."""
    return now is not None and pin.modified is not None and now - pin.modified > LIFETIME


class ReadingStore(WrapperStore):
    """A directory while one checkpoint of it is read.

    Args:
        directory: The directory.
        entry: The checkpoint.
        clock: For putting the pin anew.

    Attributes:
        entry: The checkpoint.
    """

    def __init__(self, directory: CheckpointDirectory, entry: Entry, clock: Clock) -> None:
        super().__init__(directory.store)
        self._directory = directory
        self.entry = entry
        self._clock = clock
        self._key: str | None = None
        self._due = 0.0

    def pin(self) -> None:
        """Puts the pin, or puts it anew.

        Raises:
            PermissionDeniedError: One may read here, and not write.
        """
        key = self._key or f"{Pins(self._directory.file).of(self.entry)}{secrets.token_hex(16)}"
        self._inner.put(key, Payload.of(b""))
        self._key, self._due = key, self._clock.monotonic() + _REFRESH

    def unpin(self) -> None:
        """Takes the pin back. Doing so twice is harmless; when it fails, the pin stays until it expires."""
        key, self._key = self._key, None
        if key is not None:
            with contextlib.suppress(StorageError):
                self._inner.delete([key])

    def get(self, key: str, *, limit: int | None = None) -> tuple[bytes, ObjectMeta]:
        """See `Store.get`."""
        with self._reading():
            return self._inner.get(key, limit=limit)

    def read_into(self, key: str, targets: Sequence[ReadTarget], *, version: str | None = None) -> None:
        """See `Store.read_into`."""
        with self._reading():
            self._inner.read_into(key, targets, version=version)

    def map(self, key: str, *, version: str | None = None) -> memoryview | None:
        """See `Store.map`."""
        with self._reading():
            return self._inner.map(key, version=version)

    def head(self, key: str) -> ObjectMeta:
        """See `Store.head`."""
        with self._reading():
            return self._inner.head(key)

    def renew(self) -> None:
        """Puts the pin anew if it is time to. Every read does so by itself."""
        if self._key is not None and self._clock.monotonic() >= self._due:
            with contextlib.suppress(StorageError):  # it still counts for most of an hour
                self.pin()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        self.renew()
        try:
            yield
        except (NotFoundError, PreconditionFailedError) as error:
            ledger = self._directory.ledger()
            if ledger is None or not _is_live(self.entry, ledger):
                raise CheckpointPrunedError(
                    f"{self.path(self.entry.prefix)} was removed while it was being read; nothing of it is returned. "
                    "Restore another step.",
                    path=self.path(self.entry.prefix),
                ) from error
            raise


def open_pinned(
    directory: CheckpointDirectory,
    ledger: Ledger | None,
    choose: Callable[[Ledger | None], Entry],
    *,
    clock: Clock,
    verify: bool = True,
    on_close: Callable[[], None] | None = None,
) -> tuple[CheckpointReader, Entry]:
    """Opens a listed checkpoint, and pins it so that no pruner of ours deletes it before the reader is closed.

    Where there are no pruners of ours, or no right to write, it is not pinned; should it be deleted, then reading it
    raises CheckpointPrunedError.

    Args:
        directory: Where it is.
        ledger: What the state file says.
        choose: The checkpoint to read, going by a ledger; raises if there is none.
        clock: For putting the pin anew.
        verify: Whether tensors that are read whole are held against their checksums.
        on_close: Called when the reader is closed.

    Returns:
        The opened checkpoint, and which it is.

    Raises:
        CheckpointNotFoundError: It is listed, and not there.
        DataLossError: Its index is damaged.
    """
    store, entry = _pinned(directory, ledger, choose, clock)

    def close() -> None:
        store.unpin()
        if on_close is not None:
            on_close()

    try:
        try:
            return CheckpointReader(open_source(store, entry.prefix), verify=verify, on_close=close), entry
        except CheckpointPrunedError:
            raise
        except CheckpointNotFoundError as error:
            raise CheckpointNotFoundError(
                f"{error.message} The state file {directory.file.path} names it; restore another step if there is one.",
                path=error.path,
            ) from error
    except BaseException:
        store.unpin()
        raise


def pin_entry(directory: CheckpointDirectory, ledger: Ledger, entry: Entry, clock: Clock) -> ReadingStore:
    """Pins an entry of a ledger that was just read, if it can be pinned; it may be gone already."""
    store = ReadingStore(directory, entry, clock)
    if ledger.managed:
        with contextlib.suppress(PermissionDeniedError):
            store.pin()
    return store


def _pinned(
    directory: CheckpointDirectory, ledger: Ledger | None, choose: Callable[[Ledger | None], Entry], clock: Clock
) -> tuple[ReadingStore, Entry]:
    while True:
        entry = choose(ledger)
        store = ReadingStore(directory, entry, clock)
        if ledger is None or not ledger.managed or not _is_live(entry, ledger):
            return store, entry
        try:
            store.pin()
        except PermissionDeniedError:
            return store, entry
        try:
            ledger = directory.ledger()
            if ledger is not None and _is_live(entry, ledger):
                return store, entry
        except BaseException:
            store.unpin()
            raise
        store.unpin()


def _is_live(entry: Entry, ledger: Ledger) -> bool:
    return any(entry.same(other) for other in ledger.live)
