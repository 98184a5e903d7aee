"""What S3 and GCS have in common: buckets in URLs, ranged replies, single deletions, options with options in them."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ckptstore._concurrency import make_executor, run_all
from ckptstore.errors import (
    DataLossError,
    InvalidArgumentError,
    NotFoundError,
    PreconditionFailedError,
    StorageError,
    StorageUnavailableError,
)
from ckptstore.storage._base import ObjectMeta, check_key

ATTEMPT = "ckptstore-attempt"
"""The object metadata that holds an object's tag."""

_DELETES_AT_ONCE = 32  # GCS' batch interface is no faster, and has replies inside replies


def split_bucket(url: str) -> tuple[str, str]:
    """The bucket of an S3 or GCS URL, and the prefix in it: empty, or with a slash at its end.

    Raises:
        InvalidArgumentError: There is no bucket.
    """
    rest = url.partition("://")[2] if "://" in url else url
    # An access point's ARN has one slash of its own, an outpost's has three.
    arn = re.match(r"arn:[^/]*:(accesspoint/[^/]+|outpost/[^/]+/(bucket|accesspoint)/[^/]+|[^/]+)", rest)
    bucket = arn[0] if arn else rest.partition("/")[0]
    prefix = rest[len(bucket) :].strip("/")
    if not bucket:
        raise InvalidArgumentError(f"{url!r} names no bucket; write {url.partition('://')[0]}://bucket/prefix.")
    if prefix:
        check_key(prefix)
    return bucket, f"{prefix}/" if prefix else ""


def deep_merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with everything that `over` sets, also inside mappings."""
    merged = dict(base)
    for name, value in over.items():
        old = merged.get(name)
        merged[name] = deep_merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def check_range(status: int, content_range: str | None, length: int | None, start: int, stop: int, path: str) -> None:
    """Sees to it that a reply's body is the range asked for, before any of it is read.

    Args:
        status: The reply's HTTP status.
        content_range: Its Content-Range, if it has one.
        length: Its Content-Length, if it has one.
        start: The first byte asked for.
        stop: The end of the last one.
        path: The object, for messages.

    Raises:
        DataLossError: The object ends before the range does.
        StorageUnavailableError: Its length is not that of the range it names.
        StorageError: It is anything else.
    """
    wanted = stop - start
    if status == 200 and start == 0 and length == wanted:
        return  # the whole object, which is what the range comes to
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(?:\d+|\*)", content_range or "")
    if status != 206 or match is None or int(match[1]) != start:
        raise StorageError(
            f"The server ignores the range asked for of {path} (HTTP {status}, Content-Range {content_range!r}); "
            "look for a proxy in between, or use another server.",
            path=path,
        )
    end = int(match[2]) + 1
    if end < stop:
        raise DataLossError(f"{path} ends at byte {end}, before the bytes asked for.", path=path, offset=end)
    if end > stop:
        raise StorageError(f"The server sends other bytes of {path} than the {wanted} asked for.", path=path)
    if length is not None and length != wanted:  # it contradicts itself: garbled on its way
        raise StorageUnavailableError(f"The reply for {path} has {length} bytes, not the {wanted} it names.", path=path)


def versions_of(objects: Iterable[ObjectMeta]) -> list[tuple[str, str]]:
    """The keys and versions that `Store.delete_versions` is told of.

    Raises:
        InvalidArgumentError: One has no version; without a condition, whatever is there would go.
        UnsafePathError: One is no key.
    """
    found = []
    for meta in objects:
        if not meta.version:
            raise InvalidArgumentError(f"No version of {meta.key!r} is told, so none can be deleted by it.")
        found.append((check_key(meta.key), meta.version))
    return found


def delete_singly(
    deletions: Iterable[tuple[str, Callable[[], object]]],
) -> tuple[list[str], dict[str, StorageError]]:
    """Deletes objects by one request each, several at a time, on threads that end with it.

    Args:
        deletions: Keys, and what deletes them. A PreconditionFailedError of that spares the key, a NotFoundError is
            about the bucket.

    Returns:
        The keys that were spared, and what kept others from being deleted.

    Raises:
        NotFoundError: There is no such bucket.
    """
    spared: list[str] = []
    failures: dict[str, StorageError] = {}

    def one(key: str, delete: Callable[[], object]) -> None:
        try:
            delete()
        except PreconditionFailedError:
            spared.append(key)
        except NotFoundError:
            raise
        except StorageError as error:
            failures[key] = error

    calls = [functools.partial(one, key, delete) for key, delete in deletions]
    if len(calls) <= 1:
        run_all(None, calls, window=1)
        return spared, failures
    executor = make_executor(min(len(calls), _DELETES_AT_ONCE), "ckptstore-delete")
    try:
        run_all(executor, calls, window=_DELETES_AT_ONCE)
    except BaseException:
        executor.shutdown(wait=False)  # `run_all` has waited for the calls, unless a second Ctrl-C forbade it
        raise
    executor.shutdown(wait=True)
    return spared, failures
