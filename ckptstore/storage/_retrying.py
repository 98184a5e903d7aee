"""Trying again after a passing failure: the only retry layer there is.

The clients below are set to a single attempt, so that attempts do not multiply.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ckptstore._clock import SystemClock
from ckptstore.errors import InvalidArgumentError, StorageUnavailableError
from ckptstore.storage._deletion import key_list
from ckptstore.storage._wrapper import WrapperStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import tenacity

    from ckptstore._clock import Clock
    from ckptstore.storage._base import ObjectMeta, ObjectRange, Payload, ReadTarget, Store, Upload, UploadPart

T = TypeVar("T")

_JITTER = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to go on trying. The defaults outlast a server's restart and a burst of "slow down" replies.

    Attributes:
        attempts: The most attempts in all, at least 1 (which is: no retries).
        total: Seconds after which no further attempt begins; one that is under way is not cut short.
        initial: Seconds before the second attempt. Each further wait is twice as long, plus up to a second at random,
            so that hosts which failed together do not come back together.
        max_wait: The most seconds between two attempts, that random second aside.
    """

    attempts: int = 6
    total: float = 120.0
    initial: float = 0.2
    max_wait: float = 20.0

    def __post_init__(self) -> None:
        if self.attempts < 1 or not (self.total >= 0 and self.initial >= 0 and self.max_wait >= 0):
            raise InvalidArgumentError(f"{self} cannot be followed; give at least 1 attempt and no negative times.")


class RetryingStore(WrapperStore):
    """Repeats a verb that failed with StorageUnavailableError, and with nothing else.

    That is safe for every verb; each says why. When the policy is used up, the last error is raised anew, telling how
    many attempts there were in how many seconds; its cause is the error itself.

    Args:
        inner: The store that may fail.
        policy: How often and how long.
        clock: Measures the total and waits between attempts.
    """

    def __init__(self, inner: Store, policy: RetryPolicy | None = None, *, clock: Clock | None = None) -> None:
        super().__init__(inner)
        self._policy = policy or RetryPolicy()
        self._clock: Clock = clock or SystemClock()

    @property
    def policy(self) -> RetryPolicy:
        """How often and how long it tries."""
        return self._policy

    def get(self, key: str, *, limit: int | None = None) -> tuple[bytes, ObjectMeta]:
        """See `Store.get`. Reading changes nothing."""
        return self._attempt(lambda: self._inner.get(key, limit=limit))

    def read_into(self, key: str, targets: Sequence[ReadTarget], *, version: str | None = None) -> None:
        """See `Store.read_into`. Each attempt fills all the buffers from their beginning."""
        self._attempt(lambda: self._inner.read_into(key, targets, version=version))

    def map(self, key: str, *, version: str | None = None) -> memoryview | None:
        """See `Store.map`. Reading changes nothing."""
        return self._attempt(lambda: self._inner.map(key, version=version))

    def head(self, key: str) -> ObjectMeta:
        """See `Store.head`. Reading changes nothing."""
        return self._attempt(lambda: self._inner.head(key))

    def put(self, key: str, payload: Payload) -> ObjectMeta:
        """See `Store.put`. A payload can be read again, and putting the same bytes twice leaves the same object.

        An attempt that was given up may still arrive later. That is harmless as long as the key is not put with other
        bytes meanwhile; what is, goes by `replace`.
        """
        return self._attempt(lambda: self._inner.put(key, payload))

    def create(self, key: str, payload: Payload, *, tag: str | None = None) -> ObjectMeta:
        """See `Store.create`. Our own earlier attempt is recognised by its tag.

        Without a tag it shows as somebody else's object.
        """
        return self._attempt(lambda: self._inner.create(key, payload, tag=tag))

    def replace(self, key: str, payload: Payload, *, version: str, tag: str | None = None) -> ObjectMeta:
        """See `Store.replace`. Our own earlier attempt is recognised by its tag, as long as nobody else replaced it.

        Without a tag it shows as somebody else's change.
        """
        return self._attempt(lambda: self._inner.replace(key, payload, version=version, tag=tag))

    def delete_versions(self, objects: Iterable[ObjectMeta]) -> Sequence[str]:
        """See `Store.delete_versions`. What an earlier attempt deleted is not there any more, which is no error."""
        metas = [*objects]
        return self._attempt(lambda: self._inner.delete_versions(metas))

    def unfinished(self, prefix: str = "") -> Iterator[ObjectMeta]:
        """See `Store.unfinished`. The whole listing is fetched before it is handed out."""
        return iter(self._attempt(lambda: [*self._inner.unfinished(prefix)]))

    def copy(self, key: str, ranges: Sequence[ObjectRange], *, tag: str | None = None) -> ObjectMeta:
        """See `Store.copy`. Our own earlier attempt is recognised by its tag."""
        return self._attempt(lambda: self._inner.copy(key, ranges, tag=tag))

    def list(self, prefix: str = "") -> Iterator[ObjectMeta]:
        """See `Store.list`. The whole listing is fetched before it is handed out.

        A failure at the fiftieth page then starts over unseen. To go on from the last key instead would save little,
        hold the retry's clock while the caller looks at an entry, and mix two moments in one listing.
        """
        return iter(self._attempt(lambda: [*self._inner.list(prefix)]))

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store.delete`. What an earlier attempt deleted is not there any more, which is no error."""
        names = key_list(keys)  # an iterator could be read only once
        self._attempt(lambda: self._inner.delete(names))

    def create_upload(self, key: str, *, tag: str | None = None, create_only: bool = False) -> Upload:
        """See `Store.create_upload`.

        When only the reply was lost, the first upload stays behind without parts and unseen at the key. It costs
        nothing to speak of until a life-cycle rule of the bucket aborts it.
        """
        return self._attempt(lambda: self._inner.create_upload(key, tag=tag, create_only=create_only))

    def put_part(self, upload: Upload, number: int, payload: Payload) -> UploadPart:
        """See `Store.put_part`. A part sent again replaces the one of its number."""
        return self._attempt(lambda: self._inner.put_part(upload, number, payload))

    def copy_part(self, upload: Upload, number: int, source: ObjectRange) -> UploadPart:
        """See `Store.copy_part`. A part copied again replaces the one of its number."""
        return self._attempt(lambda: self._inner.copy_part(upload, number, source))

    def complete_upload(self, upload: Upload, parts: Sequence[UploadPart]) -> ObjectMeta:
        """See `Store.complete_upload`. A store recognises its own finished object by `Upload.tag`."""
        return self._attempt(lambda: self._inner.complete_upload(upload, parts))

    def abort_upload(self, upload: Upload) -> None:
        """See `Store.abort_upload`. An upload that is already gone is no error."""
        self._attempt(lambda: self._inner.abort_upload(upload))

    def _attempt(self, call: Callable[[], T]) -> T:
        # Here, since it takes 50 ms, which those who only read local files need not pay.
        import tenacity  # noqa: PLC0415

        begun = self._clock.monotonic()
        count = 0

        def is_used_up(state: tenacity.RetryCallState) -> bool:
            nonlocal count
            count = state.attempt_number
            return count >= self._policy.attempts or self._clock.monotonic() - begun >= self._policy.total

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(StorageUnavailableError),
            # Not wait_exponential_jitter: its first argument has one name up to tenacity 9.1 and another from 9.2 on.
            wait=tenacity.wait_exponential(multiplier=self._policy.initial, max=self._policy.max_wait)
            + tenacity.wait_random(0, _JITTER),
            stop=is_used_up,
            sleep=self._clock.sleep,
            reraise=True,
        )
        try:
            return retrying(call)
        except StorageUnavailableError as error:
            times = "1 attempt" if count == 1 else f"{count} attempts"
            raise StorageUnavailableError(
                f"{error.message} Given up after {times} in {self._clock.monotonic() - begun:.1f} s.",
                path=error.path,
                name=error.name,
                errno=error.errno,
            ) from error
