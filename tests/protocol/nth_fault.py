"""A store on which the n-th request goes wrong in one of the ways that requests go wrong."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ckptstore._clock import Clock
from ckptstore.errors import CheckpointError, PermissionDeniedError, StorageUnavailableError
from ckptstore.storage import ObjectMeta, ObjectRange, Payload, ReadTarget, Store, Upload, UploadPart, WrapperStore
from ckptstore.testing import CrashError

KINDS = (
    "crash before",  # the process dies, and the request was never sent
    "crash after",  # the process dies, and the request was carried out
    "refused once",  # 503: not carried out
    "refused on",  # 503 to everything from here on
    "reply lost",  # carried out, and the reply does not come
    "lands late",  # given up as lost, and carried out when nobody waits for it any more
    "lands twice",  # carried out, and once more later
    "flipped",  # a bit of what is read is wrong
    "stalled",  # takes as long as a request may
    "forbidden",  # the credentials have run out
)
"""What can happen to a request."""


@dataclass(frozen=True)
class Plan:
    """What goes wrong: the request with this number, from 1, in this way."""

    number: int
    kind: str


class NthFaultStore(WrapperStore):
    """Sends requests on, but for those that are planned to go wrong.

    Attributes:
        requests: What was asked for, in order.
        late: Requests that will still land.
        dead: Whether the process has died.
    """

    def __init__(self, inner: Store, clock: Clock, plans: Iterable[Plan] = ()) -> None:
        super().__init__(inner)
        self._clock = clock
        self._plans = {plan.number: plan.kind for plan in plans}
        self._lock = threading.Lock()
        self.requests: list[str] = []
        self.late: list[Callable[[], Any]] = []
        self.dead = False
        self.storm = False

    def land(self) -> None:
        """Carries out what is still on its way, in the order in which it was sent."""
        late, self.late = self.late, []
        for request in late:
            with contextlib.suppress(CheckpointError):  # its condition does not hold any more; nobody hears of it
                request()

    def close(self) -> None:
        """The store below is the test's."""

    def _send(self, what: str, request: Callable[[], Any], *, write: bool = False) -> Any:
        with self._lock:
            if self.dead:
                raise CrashError("the process is dead")
            self.requests.append(what)
            kind = "refused on" if self.storm else self._plans.get(len(self.requests))
            self.dead = kind in ("crash before", "crash after")
            self.storm = self.storm or kind == "refused on"
        if kind in (None, "flipped"):
            return request()
        if kind == "stalled":
            self._clock.sleep(30.0)
            return request()
        if kind == "forbidden":
            raise PermissionDeniedError(f"{what} is forbidden.")
        if kind == "lands late":
            if write:
                self.late.append(request)
            raise StorageUnavailableError(f"{what} was given up.")
        if kind in ("crash after", "reply lost"):
            request()
        elif kind == "lands twice":
            answer = request()
            if write:
                self.late.append(request)
            return answer
        if self.dead:
            raise CrashError(f"at {what}")
        raise StorageUnavailableError(f"{what} failed.")

    def _flips(self) -> bool:
        return self._plans.get(len(self.requests)) == "flipped"

    def get(self, key: str, *, limit: int | None = None) -> tuple[bytes, ObjectMeta]:
        data, meta = self._send(f"get {key}", lambda: self._inner.get(key, limit=limit))
        if data and self._flips():
            middle = len(data) // 2
            data = data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]
        return data, meta

    def read_into(self, key: str, targets: Sequence[ReadTarget], *, version: str | None = None) -> None:
        self._send(f"read {key}", lambda: self._inner.read_into(key, targets, version=version))
        if self._flips():
            for _, view in targets:
                if view.nbytes:
                    view.cast("B")[0] ^= 4

    def map(self, key: str, *, version: str | None = None) -> memoryview | None:
        return self._send(f"map {key}", lambda: self._inner.map(key, version=version))

    def head(self, key: str) -> ObjectMeta:
        return self._send(f"head {key}", lambda: self._inner.head(key))

    def put(self, key: str, payload: Payload) -> ObjectMeta:
        return self._send(f"put {key}", lambda: self._inner.put(key, payload), write=True)

    def create(self, key: str, payload: Payload, *, tag: str | None = None) -> ObjectMeta:
        return self._send(f"create {key}", lambda: self._inner.create(key, payload, tag=tag), write=True)

    def replace(self, key: str, payload: Payload, *, version: str, tag: str | None = None) -> ObjectMeta:
        return self._send(
            f"replace {key}", lambda: self._inner.replace(key, payload, version=version, tag=tag), write=True
        )

    def copy(self, key: str, ranges: Sequence[ObjectRange], *, tag: str | None = None) -> ObjectMeta:
        return self._send(f"copy {key}", lambda: self._inner.copy(key, ranges, tag=tag), write=True)

    def delete_versions(self, objects: Iterable[ObjectMeta]) -> Sequence[str]:
        metas = [*objects]
        names = " ".join(meta.key for meta in metas)
        return self._send(f"delete_versions {names}", lambda: self._inner.delete_versions(metas), write=True)

    def unfinished(self, prefix: str = "") -> Iterator[ObjectMeta]:
        return iter(self._send(f"unfinished {prefix}", lambda: [*self._inner.unfinished(prefix)]))

    def list(self, prefix: str = "") -> Iterator[ObjectMeta]:
        return iter(self._send(f"list {prefix}", lambda: [*self._inner.list(prefix)]))

    def delete(self, keys: Iterable[str]) -> None:
        names = [*keys]
        self._send(f"delete {' '.join(names)}", lambda: self._inner.delete(names), write=True)

    def create_upload(self, key: str, *, tag: str | None = None, create_only: bool = False) -> Upload:
        return self._send(
            f"create_upload {key}", lambda: self._inner.create_upload(key, tag=tag, create_only=create_only), write=True
        )

    def put_part(self, upload: Upload, number: int, payload: Payload) -> UploadPart:
        return self._send(f"put_part {upload.key}", lambda: self._inner.put_part(upload, number, payload), write=True)

    def copy_part(self, upload: Upload, number: int, source: ObjectRange) -> UploadPart:
        return self._send(f"copy_part {upload.key}", lambda: self._inner.copy_part(upload, number, source), write=True)

    def complete_upload(self, upload: Upload, parts: Sequence[UploadPart]) -> ObjectMeta:
        return self._send(
            f"complete_upload {upload.key}", lambda: self._inner.complete_upload(upload, parts), write=True
        )

    def abort_upload(self, upload: Upload) -> None:
        self._send(f"abort_upload {upload.key}", lambda: self._inner.abort_upload(upload), write=True)


class DatedStore(WrapperStore):
    """A store whose objects are as old as a clock says that it is since they were written."""

    def __init__(self, inner: Store, clock: Clock) -> None:
        super().__init__(inner)
        self._clock = clock
        self._written: dict[tuple[str, str | None], float] = {}

    def _dated(self, meta: ObjectMeta) -> ObjectMeta:
        return replace(meta, modified=self._written.setdefault((meta.key, meta.version), self._clock.time()))

    def get(self, key: str, *, limit: int | None = None) -> tuple[bytes, ObjectMeta]:
        data, meta = self._inner.get(key, limit=limit)
        return data, self._dated(meta)

    def head(self, key: str) -> ObjectMeta:
        return self._dated(self._inner.head(key))

    def put(self, key: str, payload: Payload) -> ObjectMeta:
        return self._dated(self._inner.put(key, payload))

    def create(self, key: str, payload: Payload, *, tag: str | None = None) -> ObjectMeta:
        return self._dated(self._inner.create(key, payload, tag=tag))

    def replace(self, key: str, payload: Payload, *, version: str, tag: str | None = None) -> ObjectMeta:
        return self._dated(self._inner.replace(key, payload, version=version, tag=tag))

    def list(self, prefix: str = "") -> Iterator[ObjectMeta]:
        return map(self._dated, self._inner.list(prefix))

    def unfinished(self, prefix: str = "") -> Iterator[ObjectMeta]:
        return map(self._dated, self._inner.unfinished(prefix))
