"""Whether a store keeps its word: tried out, since servers that speak S3 differ, and a proxy may drop a header.

Four small requests, five in a directory's life the first time. The object they go by stays, so that most of them meet
one that is there already. Nothing else is touched, whatever the server does with them.
"""

from __future__ import annotations

from dataclasses import replace

from ckptstore.errors import AlreadyExistsError, PermissionDeniedError, PreconditionFailedError, UnsupportedError
from ckptstore.storage._base import Capabilities, ObjectMeta, Payload, Store

_NEVER = "1"  # no store's version of anything: not an ETag, not a generation, not an inode's


def probe(store: Store, key: str) -> Capabilities:
    """What a store can promise, once it was put to the test.

    Args:
        store: A store.
        key: Where an object of a few bytes may stay. Nothing must ever be at this key with "-absent" behind it.

    Returns:
        Its capabilities; `conditional_delete` only if that was seen.

    Raises:
        UnsupportedError: It claims to create only, or to compare and swap, and does not.
        StorageError: It cannot be reached, or refuses.
    """
    claimed = store.capabilities
    if not claimed.compare_and_swap:
        return claimed
    payload = Payload.of(b"ckptstore\n")
    if not _creates_only(store, key, payload):
        raise _liar(store, "creates an object that is there already")
    for name, what in ((key, "another version"), (f"{key}-absent", "an object that is not there")):
        try:
            store.replace(name, payload, version=_NEVER)
        except PreconditionFailedError:
            continue
        raise _liar(store, f"replaces {what}")
    return replace(claimed, conditional_delete=claimed.conditional_delete and _spares(store, key))


def _creates_only(store: Store, key: str, payload: Payload) -> bool:
    for _ in range(2):
        try:
            store.create(key, payload)
        except AlreadyExistsError:
            return True
    return False


def _spares(store: Store, key: str) -> bool:
    try:
        return list(store.delete_versions([ObjectMeta(key, 0, _NEVER)])) == [key]
    except UnsupportedError:
        return False
    except PermissionDeniedError:
        return True  # who may not delete finds out nothing, and needs to know nothing


def _liar(store: Store, what: str) -> UnsupportedError:
    return UnsupportedError(
        f"The server of {store.url} {what} though it was told not to, so no commit would be safe there: two jobs, or "
        "a job and its own restart, could overwrite each other's checkpoints. Use a server that honours If-Match and "
        "If-None-Match on PutObject (S3, GCS, MinIO, Ceph), or look for a proxy that drops these headers.",
        path=store.url,
    )
