"""What there is in a directory of checkpoints, and what its state file says of it."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from errno import EISDIR

from ckptstore.checkpoint import CheckpointDirectory, StoredCheckpoint
from ckptstore.errors import (
    DataLossError,
    NotFoundError,
    StateError,
    StorageError,
    UnsafePathError,
    UnsupportedError,
    located,
)
from ckptstore.format.ledger import Ledger
from ckptstore.format.naming import expand_v1_pattern, meta_name, parse_name, parse_step
from ckptstore.graph import RunInfo
from ckptstore.storage import ObjectMeta

_PLACES = {"open": "saving", "dead": "aborted", "trash": "trash"}


@dataclass
class Found:
    """One checkpoint, there or only listed.

    Attributes:
        prefix: Its name in the directory.
        step: The step in its name, or None.
        time: When it was saved, in seconds since 1970: by the state file, else by the store; None if neither tells.
        time_source: "state", "store" or None.
        files: What is there of it.
        shards: How many data files are there.
        shards_expected: How many their names speak of, or None where they do not.
        complete: Whether all of its files are there.
        listed: Whether the state file lists it.
        latest: Whether the state file says it is the latest.
        pinned: Whether it must stay, by a user's word.
        place: In which other list of the state file it stands: "kept", "open", "dead" or "trash"; or None.
        format: "v2", "v1", or None if nothing is there.
        metrics: The run's numbers, or None if they were not asked for or cannot be read.
    """

    prefix: str
    step: int | None
    time: float | None = None
    time_source: str | None = None
    files: tuple[ObjectMeta, ...] = ()
    shards: int = 0
    shards_expected: int | None = None
    complete: bool = False
    listed: bool = False
    latest: bool = False
    pinned: bool = False
    place: str | None = None
    format: str | None = None
    metrics: Mapping[str, float] | None = None

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def status(self) -> str:
        """In one word: latest, listed, kept, trash, saving, aborted, unlisted, incomplete or missing."""
        if not self.files:
            return "missing"
        if self.place in _PLACES and not self.listed:
            return _PLACES[self.place]
        if not self.complete:
            return "incomplete"
        return "latest" if self.latest else "listed" if self.listed else self.place or "unlisted"


@dataclass
class Survey:
    """All checkpoints of a directory, by name and step, and what is wrong with the state file."""

    checkpoints: list[Found]
    has_state: bool
    problems: list[str] = field(default_factory=list)


def survey(directory: CheckpointDirectory) -> Survey:
    """Looks at a directory, whatever the condition of its state file.

    Raises:
        StorageError: The store could not be asked.
    """
    problems: list[str] = []
    ledger: Ledger | None = None
    try:
        ledger = directory.ledger()
    except (StateError, UnsafePathError, UnsupportedError) as error:
        problems.append(error.message)
    found = {stored.prefix: _found(stored) for stored in directory.stored()}
    if ledger is not None:
        _mark(directory, ledger, found)
    return Survey(sorted(found.values(), key=_order), ledger is not None, problems)


def add_metrics(directory: CheckpointDirectory, found: Found) -> str | None:
    """Reads the metrics of a checkpoint; returns what is wrong with its `.meta` file, if anything."""
    key = meta_name(found.prefix)
    if not any(file.key == key for file in found.files):
        found.metrics = {}
        return None
    try:
        data, _ = directory.store.get(key)
        with located(directory.store.path(key)):
            found.metrics = RunInfo.decode(data).metrics
    except NotFoundError:
        found.metrics = {}  # deleted since it was listed
    except DataLossError as error:
        return error.message
    return None


def _found(stored: StoredCheckpoint) -> Found:
    sets: dict[int, int] = {}
    for meta in stored.files:
        file = parse_name(meta.key)
        if file is not None and file.kind == "data":
            sets[file.shards] = sets.get(file.shards, 0) + 1
    # Two sets of shards, where one save died over another: the one that is whole, or nearest to it.
    expected = max(sets, key=lambda count: (sets[count] / count, count), default=None)
    times = [stored.modified] if stored.modified is not None else [f.modified for f in stored.files if f.modified]
    return Found(
        prefix=stored.prefix,
        step=parse_step(stored.prefix),
        time=max(times, default=None),
        time_source="store" if times else None,
        files=stored.files,
        shards=0 if expected is None else sets[expected],
        shards_expected=expected,
        complete=stored.complete,
        format="v2",
    )


def _mark(directory: CheckpointDirectory, ledger: Ledger, found: dict[str, Found]) -> None:
    for entry in ledger.listed:
        if entry.prefix not in found:
            found[entry.prefix] = _v1(directory, entry.prefix)
        item = found[entry.prefix]
        item.listed = True
        item.latest = entry.prefix == ledger.latest
    for entry in ledger.live:
        item = found.get(entry.prefix) or found.setdefault(entry.prefix, _v1(directory, entry.prefix))
        item.pinned = entry.pinned
        if entry.time is not None:
            item.time, item.time_source = entry.time, "state"
    for kind in ("kept", "open", "dead", "trash"):
        for entry in getattr(ledger, kind):
            if entry.prefix in found:
                found[entry.prefix].place = kind


def _v1(directory: CheckpointDirectory, key: str) -> Found:
    """A checkpoint that is no bundle: V1 files, or nothing at all."""
    names = expand_v1_pattern(key) or [key]
    files = [meta for name in names if (meta := _head(directory, name)) is not None]
    step = parse_step(key.partition("-?????-of-")[0])
    if not files:
        return Found(key, step)
    shards = len(files)
    times = [meta.modified for meta in files if meta.modified is not None]
    if (meta := _head(directory, meta_name(key))) is not None:
        files.append(meta)
    return Found(
        prefix=key,
        step=step,
        time=max(times, default=None),
        time_source="store" if times else None,
        files=tuple(files),
        shards=shards,
        shards_expected=len(names),
        complete=shards == len(names),
        format="v1",
    )


def _head(directory: CheckpointDirectory, key: str) -> ObjectMeta | None:
    try:
        return directory.store.head(key)
    except NotFoundError:
        return None
    except StorageError as error:
        if error.errno == EISDIR:
            return None
        raise


def _order(item: Found) -> tuple[str, str, int, str]:
    folder, name = posixpath.split(item.prefix)
    if folder.startswith("r-"):  # a step that was saved once more: beside its neighbours
        folder = ""
    base = name if item.step is None else name.rpartition("-")[0]
    return folder, base, -1 if item.step is None else item.step, item.prefix
