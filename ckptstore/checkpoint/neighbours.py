"""The other state files of a directory, and what they name: tf.train.Saver's `latest_filename` makes them.

Each is a ledger of its own, with an owner and a history of its own. They share the names and the files of the
directory, so whoever deletes by one must look at the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ckptstore.checkpoint.history import History
from ckptstore.checkpoint.open_notes import OpenNotes
from ckptstore.checkpoint.state_file import PRIVATE_DIR, StateFile
from ckptstore.errors import StateCorruptError, UnsafePathError
from ckptstore.format.ledger import Entry, Ledger
from ckptstore.format.naming import STATE_FILE
from ckptstore.storage import ObjectMeta, Store

_PRIVATE = re.compile(rf"(?s){re.escape(PRIVATE_DIR)}/([^/]+)\.state/.+")


class Neighbours:
    """The state files beside one: `checkpoint`, and all that ckptstore keeps something for.

    One that only TensorFlow ever wrote, and that is not named `checkpoint`, is not known: any file could be one.

    Args:
        store: The directory.
        file: The one beside which they are.
    """

    def __init__(self, store: Store, file: StateFile) -> None:
        self._store = store
        self._file = file

    def files(self, listing: Iterable[ObjectMeta]) -> list[StateFile]:
        """Which there may be, by a listing of the private directory."""
        found = (_PRIVATE.fullmatch(meta.key) for meta in listing)
        names = {STATE_FILE, *(match[1] for match in found if match is not None)} - {self._file.key}
        return [StateFile(self._store, name) for name in sorted(names)]

    def entries(self, listing: Iterable[ObjectMeta]) -> list[Entry]:
        """Everything in any of their lists, read after the listing (R11).

        Args:
            listing: One of the private directory at least.

        Raises:
            StateCorruptError: What one of them names is not known.
            UnsupportedError: A newer ckptstore wrote one.
        """
        return [entry for counting, waste in self._lists(listing) for entry in (*counting, *waste)]

    def counting(self, listing: Iterable[ObjectMeta]) -> list[Entry]:
        """As `entries`: what counts, or may come to; not what is to be deleted."""
        return [entry for counting, _ in self._lists(listing) for entry in counting]

    def _lists(self, listing: Iterable[ObjectMeta]) -> Iterator[tuple[list[Entry], list[Entry]]]:
        keys = list(listing)
        for file in self.files(keys):
            counting = [attempt.entry for attempt in OpenNotes(file).attempts(keys)]
            waste: list[Entry] = []
            for ledger in self._ledgers(file):
                counting += [*ledger.live, *ledger.open]
                waste += [*ledger.dead, *ledger.trash]
            yield counting, waste

    def _ledgers(self, file: StateFile) -> Iterator[Ledger]:
        """What a state file says, and what it said last if it was lost, damaged, or rewritten by TensorFlow."""
        history = History(self._store, file)
        try:
            snapshot = file.read()
        except (StateCorruptError, UnsafePathError):
            if (last := history.newest()) is None:
                raise
            yield last
            return
        if snapshot is not None:
            yield snapshot.ledger
        if (snapshot is None or not snapshot.ledger.managed) and (last := history.newest()) is not None:
            yield last
