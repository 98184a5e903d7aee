"""Notes of the saves under way where there is no state file yet in which they could be registered (R3).

.ckptstore/open/<attempt>.<directory id>/<prefix>
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ckptstore.checkpoint.attempt import Attempt
from ckptstore.checkpoint.state_file import StateFile
from ckptstore.storage import ObjectMeta

_NOTE = re.compile(r"(?s)([0-9a-f]{32})\.([0-9a-f]{16})/(.+)")


class OpenNotes:
    """The notes of one state file.

    Args:
        file: The state file.

    Attributes:
        prefix: What the keys of all notes begin with.
    """

    def __init__(self, file: StateFile) -> None:
        self.prefix = f"{file.private}open/"

    def key(self, attempt: Attempt) -> str:
        """Where the note of an attempt is."""
        return f"{self.prefix}{attempt.id}.{attempt.directory_id}/{attempt.prefix}"

    def attempts(self, listing: Iterable[ObjectMeta]) -> list[Attempt]:
        """The attempts of which notes in a listing tell."""
        keys = (meta.key[len(self.prefix) :] for meta in listing if meta.key.startswith(self.prefix))
        found = (_NOTE.fullmatch(key) for key in keys)
        return [Attempt(match[3], match[1], match[2]) for match in found if match is not None]
