"""Buckets and objects, strongly consistent: whatever a call returns, the next call sees.

An object is an immutable value and is replaced as a whole, so a reader that holds one has a consistent snapshot
without holding a lock. Every condition is checked under the lock of the change that depends on it.

https://cloud.google.com/storage/docs/consistency, https://cloud.google.com/storage/docs/objects
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tests.support.gcs import errors
from tests.support.gcs.hashes import Hashes
from tests.support.gcs.preconditions import Preconditions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_NO_CONDITIONS = Preconditions()
_MAX_NAME_BYTES = 1024
DEFAULT_CONTENT_TYPE = "application/octet-stream"


@dataclass(frozen=True)
class Attributes:
    """What a client says of an object besides its bytes; `metadata` is its own names and values."""

    content_type: str = DEFAULT_CONTENT_TYPE
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StoredObject:
    """One generation of one object.

    Attributes:
        bucket: Where it is.
        name: What it is called there.
        data: Its bytes.
        attributes: What the client said of it.
        generation: Changes with the bytes; greater than that of anything written before.
        metageneration: Changes with the attributes; from 1 in every generation.
        hashes: Of the bytes.
        created: Seconds since 1970.
        updated: Likewise, when the attributes last changed.
        components: How many objects it was composed of, directly or not; None if it is no composite object.
    """

    bucket: str
    name: str
    data: bytes
    attributes: Attributes
    generation: int
    metageneration: int
    hashes: Hashes
    created: float
    updated: float
    components: int | None = None

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.data)

    @property
    def etag(self) -> str:
        """Changes with the generation and the metageneration; never made from an md5 here, so nobody relies on it."""
        return f"{self.generation:x}/{self.metageneration}"


class ObjectStore:
    """All buckets of the server.

    Args:
        now: The time of day in seconds since 1970.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = threading.RLock()
        self._buckets: dict[str, dict[str, StoredObject]] = {}
        self._generation = 0

    def clear(self) -> None:
        """Forgets all buckets. Generations go on from where they are."""
        with self._lock:
            self._buckets.clear()

    # Buckets

    def create_bucket(self, name: str) -> None:
        """Makes an empty bucket.

        Raises:
            GcsError: 409, it exists.
        """
        with self._lock:
            if name in self._buckets:
                message = "Your previous request to create the named bucket succeeded and you already own it."
                raise errors.GcsError(409, "conflict", "BucketAlreadyOwnedByYou", message)
            self._buckets[name] = {}

    def delete_bucket(self, name: str) -> None:
        """Removes an empty bucket.

        Raises:
            GcsError: 404, there is none; 409, it has objects.
        """
        with self._lock:
            if self._bucket(name):
                message = "The bucket you tried to delete is not empty."
                raise errors.GcsError(409, "conflict", "BucketNotEmpty", message)
            del self._buckets[name]

    def buckets(self) -> list[str]:
        """The names of all buckets, in order."""
        with self._lock:
            return sorted(self._buckets)

    def objects(self, bucket: str) -> dict[str, StoredObject]:
        """All objects of the bucket by name, at one moment.

        Raises:
            GcsError: 404, there is no such bucket.
        """
        with self._lock:
            return dict(self._bucket(bucket))

    # Objects

    def get(
        self, bucket: str, name: str, generation: int | None = None, conditions: Preconditions = _NO_CONDITIONS
    ) -> StoredObject:
        """The live object.

        Args:
            bucket: Where it is.
            name: What it is called there.
            generation: It must be this one: buckets keep no older ones.
            conditions: What must hold of it.

        Raises:
            GcsError: 404, no such bucket, object or generation; 412 or 304, a condition does not hold.
        """
        with self._lock:
            found = self._live(bucket, name, generation)
        conditions.check(found.generation, found.metageneration, reading=True)
        return found

    def check(self, bucket: str, name: str, conditions: Preconditions) -> None:
        """Tells early whether a `put` would be refused now.

        Raises:
            GcsError: 404, no such bucket; 412, a condition does not hold.
        """
        with self._lock:
            self._check(self._bucket(bucket).get(name), conditions)

    def put(
        self,
        bucket: str,
        name: str,
        data: bytes,
        attributes: Attributes,
        *,
        hashes: Hashes | None = None,
        components: int | None = None,
        conditions: Preconditions = _NO_CONDITIONS,
    ) -> StoredObject:
        """Makes the object, in place of the live one if there is one: all of it at once, or nothing.

        Args:
            bucket: Where.
            name: What to call it there.
            data: Its bytes.
            attributes: What the client says of it.
            hashes: Of the bytes, where the caller has them already.
            components: How many objects it was composed of.
            conditions: What must hold of the object that is replaced.

        Raises:
            GcsError: 400, no name for an object; 404, no such bucket; 412, a condition does not hold.
        """
        _check_name(name)
        hashes = hashes or Hashes.of(data)  # out of the lock: it takes a while
        with self._lock:
            objects = self._bucket(bucket)
            self._check(objects.get(name), conditions)
            now = self._now()
            # Real generations are microseconds of the clock; a clock that stands still must not repeat one.
            self._generation = max(self._generation + 1, int(now * 1e6))
            made = StoredObject(bucket, name, data, attributes, self._generation, 1, hashes, now, now, components)
            objects[name] = made
            return made

    def delete(
        self, bucket: str, name: str, generation: int | None = None, conditions: Preconditions = _NO_CONDITIONS
    ) -> None:
        """Removes the object.

        Raises:
            GcsError: 404, no such bucket, object or generation; 412, a condition does not hold.
        """
        with self._lock:
            self._check(self._live(bucket, name, generation), conditions)
            del self._bucket(bucket)[name]

    def update(
        self,
        bucket: str,
        name: str,
        change: Callable[[Attributes], Attributes],
        generation: int | None = None,
        conditions: Preconditions = _NO_CONDITIONS,
    ) -> StoredObject:
        """Changes the attributes. The generation stays, the metageneration grows.

        Raises:
            GcsError: 404, no such bucket, object or generation; 412, a condition does not hold.
        """
        with self._lock:
            found = self._live(bucket, name, generation)
            self._check(found, conditions)
            changed = replace(
                found,
                attributes=change(found.attributes),
                metageneration=found.metageneration + 1,
                updated=self._now(),
            )
            self._bucket(bucket)[name] = changed
            return changed

    def move(
        self,
        bucket: str,
        source: str,
        target: str,
        generation: int | None = None,
        source_conditions: Preconditions = _NO_CONDITIONS,
        conditions: Preconditions = _NO_CONDITIONS,
    ) -> StoredObject:
        """Renames within the bucket, atomically. The target has a generation of its own.

        Raises:
            GcsError: 404, no such bucket or source; 412, a condition does not hold.
        """
        with self._lock:
            found = self._live(bucket, source, generation)
            self._check(found, source_conditions)
            moved = self.put(
                bucket,
                target,
                found.data,
                found.attributes,
                hashes=found.hashes,
                components=found.components,
                conditions=conditions,
            )
            if source != target:
                del self._bucket(bucket)[source]
            return moved

    def _bucket(self, name: str) -> dict[str, StoredObject]:
        try:
            return self._buckets[name]
        except KeyError:
            raise errors.no_bucket() from None

    def _live(self, bucket: str, name: str, generation: int | None) -> StoredObject:
        found = self._bucket(bucket).get(name)
        if found is None or generation not in (None, found.generation):
            raise errors.no_object(bucket, name)
        return found

    @staticmethod
    def _check(current: StoredObject | None, conditions: Preconditions) -> None:
        if current is None:
            conditions.check(0, 0)
        else:
            conditions.check(current.generation, current.metageneration)


def _check_name(name: str) -> None:
    """Refuses what https://cloud.google.com/storage/docs/objects#naming forbids."""
    size = len(name.encode("utf-8", "surrogateescape"))
    if not 1 <= size <= _MAX_NAME_BYTES or "\r" in name or "\n" in name or name in (".", ".."):
        raise errors.invalid(f"Invalid object name: {name[:80]!r}", "InvalidObjectName")
