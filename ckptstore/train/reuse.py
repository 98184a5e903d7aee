"""What the latest checkpoint of a directory has already of one that is to be saved."""

from __future__ import annotations

from collections.abc import Mapping

from ckptstore.bundle import BundleReader, Digests, ReusingWriter
from ckptstore.checkpoint import CheckpointDirectory
from ckptstore.errors import CheckpointError, NotFoundError
from ckptstore.format.entry import BundleEntry
from ckptstore.format.naming import meta_name
from ckptstore.graph.run_info import stored_digests


class Reuse:
    """Finds out, save after save, what the latest checkpoint has already.

    Args:
        directory: The directory.
    """

    def __init__(self, directory: CheckpointDirectory) -> None:
        self._directory = directory
        self._saved: tuple[str, Mapping[bytes, int]] = "", {}

    def compare(self, writer: ReusingWriter) -> tuple[str, bytes] | None:
        """Has a writer compare its tensors with those of the latest checkpoint.

        If there is none, or it cannot be read, everything is written: that is never a reason not to save.

        Args:
            writer: What is to be saved; all was added.

        Returns:
            The digests to be kept in the `.meta` file, or None.
        """
        directory = self._directory
        try:
            ledger = directory.ledger()
            if ledger is None:
                found = writer.compare(None)
            else:
                previous = BundleReader(directory.store, ledger.latest)
                needed = not directory.store.capabilities.maps
                prefix, checked = self._saved
                found = writer.compare(
                    previous,
                    _digests(directory, previous, ledger.latest) if needed else None,
                    checked if prefix == ledger.latest else None,
                )
        except CheckpointError:
            found = writer.compare(None)
        return None if found is None else (found.algorithm, found.encode())

    def saved(self, prefix: str, writer: ReusingWriter) -> None:
        """Remembers which checksums of a checkpoint need not be held against the bytes again."""
        self._saved = prefix, writer.checked


def _digests(directory: CheckpointDirectory, previous: BundleReader, prefix: str) -> Digests | None:
    try:
        stored = stored_digests(directory.store.get(meta_name(prefix))[0])
    except NotFoundError:
        return None
    if stored is None:
        return None
    keys = [key for key, entry in previous.index.entries() if isinstance(entry, BundleEntry) and not entry.slices]
    return Digests.decode(*stored, keys)
