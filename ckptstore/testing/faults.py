"""A store that fails where a test wants it to."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from ckptstore.errors import StorageUnavailableError
from ckptstore.storage import ObjectMeta, ObjectRange, Payload, Upload, UploadPart, WrapperStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ckptstore.storage import ReadTarget, Store

T = TypeVar("T")

Verb = Literal[
    "get",
    "read_into",
    "map",
    "head",
    "put",
    "create",
    "copy",
    "replace",
    "list",
    "unfinished",
    "delete",
    "delete_versions",
    "create_upload",
    "put_part",
    "copy_part",
    "complete_upload",
    "abort_upload",
]


class CrashError(BaseException):
    """The process is dead. No `except Exception` sees it, and no clean-up reaches the store any more."""


@dataclass(frozen=True)
class Fault:
    """One planned failure.

    Attributes:
        verb: The verb that fails.
        first: The number of the failing call of this verb, from 1.
        times: How many calls in a row fail.
        when: "before": the store is not asked. "after": it does its work, and the reply is lost. "crash": the process
            dies: a `put` or `put_part` after half of its bytes, other verbs before the store is asked.
        error: What is raised, "crash" aside. None: a StorageUnavailableError.
    """

    verb: Verb
    first: int = 1
    times: int = 1
    when: Literal["before", "after", "crash"] = "before"
    error: BaseException | None = None


@dataclass(frozen=True)
class Call:
    """One call that a `FaultyStore` was asked for: the verb and the key (or prefix, or keys joined by commas)."""

    verb: Verb
    key: str


class FaultyStore(WrapperStore):
    """Fails as planned, and records what it was asked for.

    Args:
        inner: The store that works.
        plan: The failures. Where two cover one call, the first in the plan happens.

    Attributes:
        calls: Every call, also the failed ones, in the order of their beginnings.
        crashed: Whether a "crash" has happened. From then on every verb raises `CrashError`; look at `inner` to see
            what the dead process left behind.
    """

    def __init__(self, inner: Store, plan: Iterable[Fault] = ()) -> None:
        super().__init__(inner)
        self.plan: list[Fault] = list(plan)
        self.calls: list[Call] = []
        self.crashed = False
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def count(self, verb: Verb) -> int:
        """How many calls of the verb there were."""
        with self._lock:
            return self._counts[verb]

    def get(self, key: str, *, limit: int | None = None) -> tuple[bytes, ObjectMeta]:
        """See `Store.get`."""
        return self._call("get", key, lambda: self._inner.get(key, limit=limit))

    def read_into(self, key: str, targets: Sequence[ReadTarget], *, version: str | None = None) -> None:
        """See `Store.read_into`."""
        self._call("read_into", key, lambda: self._inner.read_into(key, targets, version=version))

    def map(self, key: str, *, version: str | None = None) -> memoryview | None:
        """See `Store.map`."""
        return self._call("map", key, lambda: self._inner.map(key, version=version))

    def head(self, key: str) -> ObjectMeta:
        """See `Store.head`."""
        return self._call("head", key, lambda: self._inner.head(key))

    def put(self, key: str, payload: Payload) -> ObjectMeta:
        """See `Store.put`."""
        return self._call(
            "put",
            key,
            lambda: self._inner.put(key, payload),
            torn=lambda: self._inner.put(key, TornPayload(payload, CrashError("in the middle of a put"))),
        )

    def create(self, key: str, payload: Payload, *, tag: str | None = None) -> ObjectMeta:
        """See `Store.create`."""
        return self._call(
            "create",
            key,
            lambda: self._inner.create(key, payload, tag=tag),
            torn=lambda: self._inner.create(key, TornPayload(payload, CrashError("in the middle")), tag=tag),
        )

    def replace(self, key: str, payload: Payload, *, version: str, tag: str | None = None) -> ObjectMeta:
        """See `Store.replace`."""
        return self._call(
            "replace",
            key,
            lambda: self._inner.replace(key, payload, version=version, tag=tag),
            torn=lambda: self._inner.replace(
                key, TornPayload(payload, CrashError("in the middle")), version=version, tag=tag
            ),
        )

    def copy(self, key: str, ranges: Sequence[ObjectRange], *, tag: str | None = None) -> ObjectMeta:
        """See `Store.copy`."""
        return self._call("copy", key, lambda: self._inner.copy(key, ranges, tag=tag))

    def delete_versions(self, objects: Iterable[ObjectMeta]) -> Sequence[str]:
        """See `Store.delete_versions`."""
        metas = [*objects]
        return self._call("delete_versions", ",".join(m.key for m in metas), lambda: self._inner.delete_versions(metas))

    def unfinished(self, prefix: str = "") -> Iterator[ObjectMeta]:
        """See `Store.unfinished`."""
        return self._call("unfinished", prefix, lambda: iter([*self._inner.unfinished(prefix)]))

    def list(self, prefix: str = "") -> Iterator[ObjectMeta]:
        """See `Store.list`."""
        return self._call("list", prefix, lambda: iter([*self._inner.list(prefix)]))

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store.delete`."""
        names = [*keys]
        self._call("delete", ",".join(names), lambda: self._inner.delete(names))

    def create_upload(self, key: str, *, tag: str | None = None, create_only: bool = False) -> Upload:
        """See `Store.create_upload`."""
        return self._call(
            "create_upload", key, lambda: self._inner.create_upload(key, tag=tag, create_only=create_only)
        )

    def put_part(self, upload: Upload, number: int, payload: Payload) -> UploadPart:
        """See `Store.put_part`."""
        return self._call(
            "put_part",
            upload.key,
            lambda: self._inner.put_part(upload, number, payload),
            torn=lambda: self._inner.put_part(
                upload, number, TornPayload(payload, CrashError("in the middle of a part"))
            ),
        )

    def copy_part(self, upload: Upload, number: int, source: ObjectRange) -> UploadPart:
        """See `Store.copy_part`."""
        return self._call("copy_part", upload.key, lambda: self._inner.copy_part(upload, number, source))

    def complete_upload(self, upload: Upload, parts: Sequence[UploadPart]) -> ObjectMeta:
        """See `Store.complete_upload`."""
        return self._call("complete_upload", upload.key, lambda: self._inner.complete_upload(upload, parts))

    def abort_upload(self, upload: Upload) -> None:
        """See `Store.abort_upload`."""
        self._call("abort_upload", upload.key, lambda: self._inner.abort_upload(upload))

    def _call(self, verb: Verb, key: str, call: Callable[[], T], *, torn: Callable[[], T] | None = None) -> T:
        with self._lock:
            if self.crashed:
                raise CrashError("the process is dead")
            self.calls.append(Call(verb, key))
            self._counts[verb] += 1
            fault = self._fault(verb, self._counts[verb])
            if fault is not None and fault.when == "crash":
                self.crashed = True
        if fault is None:
            return call()
        if fault.when == "crash":
            if torn is not None:
                torn()
            raise CrashError(f"at {verb} {key}")
        if fault.when == "after":
            call()
        raise fault.error or StorageUnavailableError(f"{verb} {key} failed as planned.", path=key)

    def _fault(self, verb: Verb, number: int) -> Fault | None:
        return next((f for f in self.plan if f.verb == verb and f.first <= number < f.first + f.times), None)


class TornPayload(Payload):
    """A payload that raises when its reader comes to the middle.

    Args:
        payload: What to hand out the first half of. An empty one raises at once.
        error: What is raised then.
    """

    __slots__ = ()

    def __init__(self, payload: Payload, error: BaseException) -> None:
        super().__init__(())
        half = payload.nbytes // 2
        first = payload.part(0, half).buffers
        torn = _Torn((*first, *payload.part(half, payload.nbytes).buffers))
        torn.good, torn.error = len(first), error
        self.buffers, self.nbytes = torn, payload.nbytes


class _Torn(tuple[memoryview, ...]):
    """Buffers of which only the first `good` can be had."""

    error: BaseException
    good: int

    def __iter__(self) -> Iterator[memoryview]:
        for index in range(self.good):
            yield super().__getitem__(index)
        raise self.error
