"""S3's conditional requests: If-None-Match and If-Match on PutObject, If-Match on DeleteObject."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from ckptstore.errors import NotFoundError, PreconditionFailedError, StorageFullError, UnsupportedError
from ckptstore.storage._base import ObjectMeta, check_key, check_tag
from ckptstore.storage._bucket import ATTEMPT, delete_singly, versions_of
from ckptstore.storage._conditions import not_new, not_that_version
from ckptstore.storage._deletion import deletion_error
from ckptstore.storage._s3_client import S3Client
from ckptstore.storage._s3_errors import is_missing_bucket

if TYPE_CHECKING:
    from ckptstore.storage._base import Payload


class S3Conditions(S3Client):
    """The verbs of `S3Store` that write and delete single objects under a condition.

    A condition that does not hold may be the echo of our own request, which `RetryingStore` repeats when the
    reply is lost. So the tag of the object that is there is looked at
    before anybody else is blamed.
    """

    # Ceph up to 16 compares an ETag with its quotes in If-Match to its own without, and so refuses every one.
    _bare_etags = False

    def create(self, key: str, payload: Payload, *, tag: str | None = None) -> ObjectMeta:
        """See `Store.create`. One request; a second one when there is an object and a tag to look for."""
        try:
            return self._put(key, payload, tag, {"IfNoneMatch": "*"})
        except PreconditionFailedError as error:
            there = self._look(key, tag)
            if there is None or there.tag != tag:
                raise not_new(self.path(key)) from error
            return there

    def replace(self, key: str, payload: Payload, *, version: str, tag: str | None = None) -> ObjectMeta:
        """See `Store.replace`. Requests as for `create`.

        Raises:
            UnsupportedError: Also if the server refuses the very version that it tells itself.
        """
        path = self.path(check_key(key))
        for bare in (self._bare_etags, not self._bare_etags):
            try:
                meta = self._put(key, payload, tag, {"IfMatch": _etag(version, bare=bare)})
            except NotFoundError as error:
                if is_missing_bucket(error):
                    raise
                raise not_that_version(path) from error
            except PreconditionFailedError as error:
                there = self._look(key, tag)
                if there is not None and there.tag == tag:
                    return there
                if there is None or there.version != version:
                    raise not_that_version(path) from error
            else:
                self._bare_etags = bare
                return meta
        raise UnsupportedError(
            f"The server says of {path} that it is version {version}, and refuses to replace that; look for a proxy in "
            "between that changes ETags, or use another server.",
            path=path,
        )

    def delete_versions(self, objects: Iterable[ObjectMeta]) -> Sequence[str]:
        """See `Store.delete_versions`. Single requests, several at a time.

        DeleteObjects takes ETags too, but what other servers than AWS' make of them nobody has tried.
        """
        spared, failures = delete_singly(
            (key, functools.partial(self._delete_version, key, version)) for key, version in versions_of(objects)
        )
        if failures:
            raise deletion_error(failures) from next(iter(failures.values()))
        return spared

    def _delete_version(self, key: str, version: str) -> None:
        try:
            self._call("delete_object", key, conditions={"IfMatch": _etag(version, bare=self._bare_etags)})
        except NotFoundError as error:
            if is_missing_bucket(error):
                raise

    def _put(self, key: str, payload: Payload, tag: str | None, conditions: Mapping[str, str]) -> ObjectMeta:
        path = self.path(check_key(key))
        limit = self.capabilities.max_put_size
        if limit is not None and payload.nbytes > limit:
            raise StorageFullError(f"{path} has {payload.nbytes} bytes; S3 takes {limit} in one request.", path=path)
        metadata = {} if tag is None else {"Metadata": {ATTEMPT: check_tag(tag)}}
        reply = self._call("put_object", key, payload, conditions=conditions, **metadata)
        return ObjectMeta(key, payload.nbytes, reply.get("ETag") or None, tag=tag)

    def _look(self, key: str, tag: str | None) -> ObjectMeta | None:
        """What is there, if anything; nothing is asked when there is no tag to tell it by."""
        try:
            return None if tag is None else self.head(key)
        except NotFoundError:
            return None


def _etag(version: str, *, bare: bool) -> str:
    """A version as If-Match has it: within quotes, whatever it is, unless the server wants it without."""
    if version.startswith("W/"):
        return version
    plain = version.strip('"')
    return plain if bare else f'"{plain}"'
