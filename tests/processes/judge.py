"""The look at a directory from outside: by the state file and the files, without the library's notion of a ledger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ckptstore._clock import SystemClock
from ckptstore.checkpoint import CheckpointDirectory, CheckpointReader, open_source
from ckptstore.checkpoint.orphans import OrphanCollector
from ckptstore.checkpoint.pins import PINS
from ckptstore.checkpoint.policies import LatestN, decide
from ckptstore.checkpoint.pruning import Pruner
from ckptstore.errors import CheckpointError, NotFoundError
from ckptstore.format.naming import parse_name, parse_step
from ckptstore.format.state import CheckpointState
from ckptstore.storage import Store
from ckptstore.train.retention import candidates
from tests.processes.bundles import Save, ViolationError, author_of
from tests.processes.places import Place

_COPIES = 18  # of the state file: 16, and those of the last two changes


def listed(store: Store) -> list[str]:
    """What the state file names, oldest first; nothing if there is none."""
    try:
        data, _ = store.get("checkpoint")
    except NotFoundError:
        return []
    state = CheckpointState.from_bytes(data)
    if state.model_checkpoint_path != state.all_model_checkpoint_paths[-1]:
        raise ViolationError(f"the latest is not the last: {state}")
    return list(state.all_model_checkpoint_paths)


def saves(store: Store) -> list[Save]:
    """Whose saves are listed, oldest first, each read to its last byte.

    Raises:
        ViolationError: One is not whole, or holds what nobody saved.
    """
    found = []
    for prefix in listed(store):
        try:
            save = author_of(CheckpointReader(open_source(store, prefix)).restore())
        except CheckpointError as error:
            raise ViolationError(f"{prefix} is listed, and cannot be restored: {error}") from error
        if save[0] != parse_step(prefix):
            raise ViolationError(f"{prefix} is listed, and holds {save}")
        found.append(save)
    return found


def prune(store: Store, keep: int) -> None:
    """Removes all but the newest checkpoints, as `ckptstore prune` does."""
    policy = LatestN(keep)

    def decisions(entries: Sequence[Any], now: float) -> Any:
        return decide(candidates(entries, policy, lambda _: {}), policy, now=now)

    Pruner(CheckpointDirectory(store), SystemClock()).prune(decisions, grace=0.0)


def collect(store: Store, *, abort_open: bool, old: float = 86_400.0) -> None:
    """Removes what dead processes left behind, as `ckptstore gc` does."""
    report = OrphanCollector(CheckpointDirectory(store), SystemClock()).collect(
        abort_open=abort_open, complete_orphans=True, unfinished_older_than=old
    )
    if report.problems:
        raise ViolationError(f"the collector could not do its work: {report.problems}")


def tidy(here: Place, store: Store, keep: int) -> None:
    """What an administrator does when no process is alive, after which nothing may be left over.

    Raises:
        ViolationError: Something is.
    """
    store.delete([pin.key for pin in store.list(PINS)])  # a dead reader's counts for an hour
    collect(store, abort_open=True, old=0.0)
    prune(store, keep)
    collect(store, abort_open=True, old=0.0)  # the copies by which what has just gone told its age
    left = [*litter(store), *here.parts()]
    if left:
        raise ViolationError(f"left over after pruning and collecting: {left}")


def litter(store: Store) -> list[str]:
    """What is there and of no use to anybody."""
    useful = set(listed(store))
    left = [meta.key for meta in store.unfinished()]
    private: dict[str, list[str]] = {}
    for meta in store.list():
        file = parse_name(meta.key)
        if meta.key.startswith(".ckptstore/"):
            private.setdefault(meta.key.split("/")[1], []).append(meta.key)
        elif meta.key != "checkpoint" and (file is None or file.prefix not in useful):
            left.append(meta.key)
    for name, keys in private.items():
        most = {"probe": 1, "history": _COPIES}.get(name, 0)
        # The name of a clock object is random, so it waits for a day as temporary files do.
        if len(keys) > most and name != "clock":
            left += keys
    return left
