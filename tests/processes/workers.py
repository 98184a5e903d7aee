"""What the processes do. Each tells of everything that somebody else is to judge it by."""

from __future__ import annotations

import itertools
import random
import time
import warnings

import ckptstore as ck
from ckptstore.errors import FencedError, PreconditionFailedError, SaveAbortedError
from ckptstore.storage import Payload
from tests.processes.bundles import author_of, items
from tests.processes.child import Teller
from tests.processes.judge import collect, prune
from tests.processes.places import Place


def train(tell: Teller, place: Place, author: int, keep: int, pause: float, large_every: int, acquire: bool) -> None:
    """Resumes, and saves step after step until it is fenced: every other one asynchronously.

    Tells:
        resumed: The save that it found, None in an empty directory.
        begun, saved: A save, before and after it.
        aborted: A save that somebody gave up. It is tried again.
        fenced: A save that was refused for good. That is the end.
        warned: Files that could not be deleted.
    """
    with (
        warnings.catch_warnings(),
        ck.CheckpointManager(place.url, max_to_keep=keep, storage_options=place.options or None) as manager,
    ):
        warnings.showwarning = lambda message, *_: tell("warned", str(message))  # type: ignore[assignment]
        warnings.simplefilter("always", ck.RetentionWarning)
        if acquire:
            manager.acquire()  # before it looks: nobody else may save between that and its first save
        step, found = manager.restore_or_initialize(dict)
        tell("resumed", author_of(found) if step else None)
        step += 1
        while True:
            save = step, author
            arrays = items(save, large=large_every > 0 and step % large_every == 0)
            tell("begun", save)
            try:
                if step % 2:
                    manager.save(step, arrays)
                else:
                    error = manager.save_async(step, arrays).exception()
                    if error is not None:
                        raise error
            except SaveAbortedError:
                tell("aborted", save)
            except FencedError:
                tell("fenced", save)
                return
            else:
                tell("saved", save)
                step += 1
            time.sleep(pause)


def read(tell: Teller, place: Place, pause: float) -> None:
    """Restores the latest checkpoint, again and again.

    Tells:
        read: When it began, and whose save it got.
    """
    while True:
        begun = time.monotonic()
        with ck.CheckpointManager(place.url, storage_options=place.options or None) as manager:
            for _ in range(20):
                begun = time.monotonic()
                found = manager.restore()
                tell("read", (begun, author_of(found)))
                time.sleep(pause)


def keep_pruning(tell: Teller, place: Place, keep: int, pause: float) -> None:
    """Prunes, again and again. Tells: pruned."""
    with place.store() as store:
        while True:
            prune(store, keep)
            tell("pruned")
            time.sleep(pause)


def keep_collecting(tell: Teller, place: Place, seed: int, pause: float) -> None:
    """Collects garbage, again and again; at every tenth time, on average, it gives up saves under way.

    Tells:
        collected: Whether saves were given up.
    """
    rng = random.Random(seed)
    with place.store() as store:
        while True:
            bold = rng.random() < 0.1
            collect(store, abort_open=bold)
            tell("collected", bold)
            time.sleep(pause)


def count(tell: Teller, place: Place, key: str, number: int, times: int) -> None:
    """Counts in an object that others count in, too.

    Tells:
        counted: How often it met another's change, and the longest that one count took, in seconds.
    """
    conflicts, longest = 0, 0.0
    with place.store() as store:
        for mine in range(times):
            begun = time.monotonic()
            for attempt in itertools.count():
                data, meta = store.get(key)
                counts = [int(word) for word in data.split()]
                if counts[number] != mine:
                    raise AssertionError(f"process {number} has counted to {mine}, and {key} says {counts[number]}")
                counts[number] += 1
                new = Payload.of(b" ".join(b"%d" % value for value in counts))
                try:
                    store.replace(key, new, version=str(meta.version), tag=f"{number}.{mine}.{attempt}")
                except PreconditionFailedError:
                    conflicts += 1
                else:
                    break
            longest = max(longest, time.monotonic() - begun)
    tell("counted", (conflicts, longest))
