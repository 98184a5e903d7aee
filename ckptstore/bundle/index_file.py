"""The `.index` file of a bundle, of which as much is read as is looked at."""

from __future__ import annotations

from errno import EFBIG

from ckptstore.errors import CheckpointNotFoundError, NotFoundError, PreconditionFailedError, StorageError
from ckptstore.storage import Store

WHOLE = 1 << 20
"""A file of up to so many bytes is read in one request: to seek in it would take several."""

_TAIL = 64 << 10  # the end of a larger one: footer and block index of some hundred thousand tensors


class IndexFile:
    """An index file, read when it is opened if it is small, and else where and when it is looked at.

    All reads are of one version of it.

    Args:
        store: Where it is.
        key: Its key.

    Attributes:
        meta: What the store tells of it.

    Raises:
        NotFoundError: It is not there.
    """

    def __init__(self, store: Store, key: str) -> None:
        self._store = store
        self._start = 0  # where the bytes that are here begin
        try:
            self._data, self.meta = store.get(key, limit=WHOLE)
        except StorageError as error:
            if error.errno != EFBIG:
                raise
            self.meta = store.head(key)
            self._start = max(0, self.meta.size - _TAIL)
            self._data = self._fetch(self._start, self.meta.size - self._start)

    @property
    def size(self) -> int:
        """In bytes."""
        return self.meta.size

    def read(self, offset: int, size: int) -> bytes | memoryview:
        """Some bytes of it.

        Raises:
            CheckpointNotFoundError: It was deleted or replaced since it was opened.
        """
        begin = offset - self._start
        return memoryview(self._data)[begin : begin + size] if begin >= 0 else self._fetch(offset, size)

    def load(self) -> None:
        """Reads the rest of it at once, for somebody who means to look at most of it."""
        if self._start:
            self._data = self._fetch(0, self._start) + self._data
            self._start = 0

    def _fetch(self, offset: int, size: int) -> bytes:
        data = bytearray(size)
        path = self._store.path(self.meta.key)
        try:
            self._store.read_into(self.meta.key, [(offset, memoryview(data))], version=self.meta.version)
        except (NotFoundError, PreconditionFailedError) as error:
            raise CheckpointNotFoundError(
                f"{path} was deleted or replaced while it was read; open the checkpoint again, or restore another.",
                path=path,
            ) from error
        return bytes(data)
