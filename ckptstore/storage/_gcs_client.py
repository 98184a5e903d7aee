"""Requests to GCS, on the calling thread, as a gcsfs file system describes them."""

from __future__ import annotations

import datetime
import functools
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ckptstore.errors import CheckpointError, StorageUnavailableError, UnsafePathError, UnsupportedError
from ckptstore.storage._base import ObjectMeta, check_key
from ckptstore.storage._bodies import PayloadReader, open_body
from ckptstore.storage._bucket import ATTEMPT, deep_merge
from ckptstore.storage._bucket_client import BucketClient
from ckptstore.storage._gcs_errors import from_reply, gcs_errors, is_missing_bucket
from ckptstore.storage._gcs_http import Download, GcsHttp, Reply
from ckptstore.storage._temporary_file import is_temporary

if TYPE_CHECKING:
    from ckptstore._per_process import PerProcess
    from ckptstore.storage._base import Payload

LISTED = "name,size,generation,updated"
"""The fields of an object's description that a listing asks for."""

DESCRIBED = f"{LISTED},crc32c,metadata"
"""Those that a request about one object asks for."""

# A public object would be cached for an hour by default, and the state file must never be an old one.
CACHE_CONTROL = "no-store"
CONTENT_TYPE = "application/octet-stream"

# The file system object makes no requests, so it needs no thread to make them on.
_OPTIONS = {"use_listings_cache": False, "asynchronous": True}


class GcsClient(BucketClient):
    """What all verbs of `GcsStore` go through, and the one verb that the others look with."""

    _client: PerProcess[GcsHttp]

    def head(self, key: str) -> ObjectMeta:
        """See `Store.head`."""
        return object_meta(key, self._describe(check_key(key)))

    def _describe(self, key: str) -> Mapping[str, Any]:
        """GCS' description of an object."""
        return json_of(self._request("GET", self._objects(key), {"fields": DESCRIBED}, key=key), self.path(key))

    def _writable(self, key: str) -> str:
        """The path of a key that may be written.

        Raises:
            UnsafePathError: It is no key, or has the form of a temporary one, which no listing would show.
        """
        if is_temporary(check_key(key)):
            raise UnsafePathError(f"The key {key!r} has the form of a temporary one; choose another.", path=key)
        return self.path(key)

    def _objects(self, key: str = "") -> str:
        base = f"/storage/v1/b/{quote(self._bucket, safe='')}/o"
        return f"{base}/{quote(self._prefix + key, safe='')}" if key else base

    def _request(
        self,
        method: str,
        where: str,
        query: Mapping[str, str],
        headers: Mapping[str, str] | None = None,
        payload: Payload | None = None,
        *,
        key: str = "",
        may_be_missing: bool = False,
    ) -> Reply:
        """One request, and its whole reply; with `may_be_missing`, also a 404 that is not about the bucket."""
        body = PayloadReader(payload) if payload is not None else None
        with self._errors(key):
            reply = self._client.get().request(method, where, query, headers or {}, body)
            missing = may_be_missing and reply.status == 404 and not is_missing_bucket(reply.body)
            if not 200 <= reply.status < 300 and not missing:
                raise self._refusal(reply, key)
            return reply

    @contextmanager
    def _download(self, key: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Iterator[Download]:
        """Asks for an object's bytes, which are to be read in the block, to their end."""
        with self._errors(key):
            found = self._client.get().download(f"/download{self._objects(key)}", {"alt": "media", **query}, headers)
            if isinstance(found, Reply):
                raise self._refusal(found, key)
            with open_body(found.body):
                self._check_encoding(found.headers, key)
                yield found

    def _refusal(self, reply: Reply, key: str) -> CheckpointError:
        return from_reply(reply.status, reply.body, self.path(key), self._bucket, self._secrets)

    def _check_encoding(self, headers: Mapping[str, str], key: str) -> None:
        """Refuses an object that GCS would decompress on the way, which makes ranges and sizes meaningless."""
        for name in ("Content-Encoding", "X-Goog-Stored-Content-Encoding"):
            encoding = headers.get(name, "identity")
            if encoding not in ("", "identity"):
                raise UnsupportedError(
                    f"{self.path(key)} is stored with the content encoding {encoding!r}; upload it again without.",
                    path=self.path(key),
                )

    def _errors(self, key: str = "") -> AbstractContextManager[None]:
        return gcs_errors(self.path(key), self._bucket, self._secrets)

    def _make(self) -> tuple[Any, str]:
        if self._given is not None:
            return self._given, ""
        import fsspec.config  # noqa: PLC0415 - nobody else needs it

        # Not gcsfs.GCSFileSystem: unless an environment variable says otherwise, that one looks every bucket up by
        # gRPC first, which takes most of a minute where it cannot be reached.
        from gcsfs.core import GCSFileSystem  # noqa: PLC0415 - an optional dependency

        configured = [fsspec.config.conf.get(protocol, {}) for protocol in ("gs", "gcs")]  # FSSPEC_GS_... variables
        options = functools.reduce(deep_merge, [*configured, self._options], _OPTIONS)
        return GCSFileSystem(**options, skip_instance_cache=True), ""

    def _make_client(self) -> GcsHttp:
        return GcsHttp(self._fs(), self._pool_connections)


def only_if(version: str) -> dict[str, str]:
    """The query that makes a request depend on a version.

    A text that is no generation stands for 1, which no object ever has (they are microseconds since 1970): GCS would
    refuse to read another, and take 0 for "there is no such object".
    """
    return {"ifGenerationMatch": version if re.fullmatch("[1-9][0-9]*", version) else "1"}


def json_of(reply: Reply, path: str) -> Mapping[str, Any]:
    """The object in a reply's body.

    Raises:
        StorageUnavailableError: There is none.
    """
    try:
        value = json.loads(reply.body)
    except ValueError:
        value = None
    if not isinstance(value, dict):  # a proxy's error page under a good status
        raise StorageUnavailableError(f"The reply about {path} is not GCS'.", path=path)
    return value


def object_meta(key: str, resource: Mapping[str, Any]) -> ObjectMeta:
    """What GCS' description of an object tells of it."""
    updated = resource.get("updated")
    modified = datetime.datetime.fromisoformat(updated.replace("Z", "+00:00")).timestamp() if updated else None
    generation = resource.get("generation")
    return ObjectMeta(
        key,
        int(resource["size"]),
        str(generation) if generation is not None else None,
        modified,
        (resource.get("metadata") or {}).get(ATTEMPT),
    )
