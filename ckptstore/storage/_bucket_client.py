"""A prefix in a bucket, and the client that makes the requests there."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ckptstore._per_process import PerProcess
from ckptstore.storage._bucket import split_bucket
from ckptstore.storage._fsspec import FsspecStore

if TYPE_CHECKING:
    from ckptstore.storage._base import Store


class BucketClient(FsspecStore):
    """What S3 and GCS have in common: each process makes a client when it first needs one, which keeps connections.

    Args:
        url: The bucket, and a prefix in it.
        storage_options: What the file system's class takes.
        filesystem: A file system object to use instead of making one.
        pool_connections: The most connections that are kept open, unless the options say otherwise.
    """

    def __init__(
        self,
        url: str,
        storage_options: Mapping[str, Any] | None = None,
        *,
        filesystem: Any | None = None,
        pool_connections: int = 64,
    ) -> None:
        super().__init__(url, storage_options, filesystem=filesystem)
        self._pool_connections = pool_connections
        self._bucket, self._prefix = split_bucket(self._url)
        self._client: PerProcess[Any] = PerProcess(self._make_client)

    def take_over(self, other: Store) -> None:
        """Goes on with the client of another store, if that is of the same class and options, in whatever bucket.

        To make one takes 20 ms and more, and its first request a handshake. The other store has none then, and makes
        one should it be used again.
        """
        if isinstance(other, type(self)) and other._makings == self._makings:  # noqa: SLF001 - of this very class
            client = other._client.pop()  # noqa: SLF001
            if client is not None:
                self._client.put(client)

    @property
    def _makings(self) -> tuple[Any, ...]:
        """All that a client depends on."""
        return id(self._given), self._options, self._pool_connections

    def close(self) -> None:
        """See `Store.close`. Closes the connections that are kept."""
        client = self._client.pop()
        if client is not None:
            client.close()
        super().close()

    @abc.abstractmethod
    def _make_client(self) -> Any:
        """Makes a client, as the file system object describes it; no request is sent."""
