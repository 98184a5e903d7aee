"""Looks after a directory of checkpoints: saves, restores, and keeps as many as it is told."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ckptstore._arguments import as_count, as_hours, as_step
from ckptstore._clock import Clock, SystemClock
from ckptstore.bundle import BundleWriter, Progress, ReusingWriter
from ckptstore.checkpoint import CheckpointDirectory, CheckpointReader
from ckptstore.checkpoint.assignment import AssignmentMap
from ckptstore.checkpoint.pins import open_pinned
from ckptstore.checkpoint.policies import Decision, Policy
from ckptstore.checkpoint.reader import Verify
from ckptstore.checkpoint.restored import Restored
from ckptstore.checkpoint.retention import Sweep
from ckptstore.checkpoint.writer import CheckpointWriter
from ckptstore.errors import (
    CheckpointExistsError,
    CheckpointNotFoundError,
    InvalidArgumentError,
    NotFoundError,
    UnsafePathError,
    located,
)
from ckptstore.format.ledger import Entry, Ledger
from ckptstore.format.naming import meta_name, parse_step, step_name
from ckptstore.format.tensor import as_array
from ckptstore.graph import RunInfo
from ckptstore.storage import Store, check_key, from_url
from ckptstore.train.background import BackgroundSaves
from ckptstore.train.checkpoint_management import Options, Path, full_path
from ckptstore.train.checkpoint_utils import stored_items
from ckptstore.train.items import flatten
from ckptstore.train.retention import CountRetention, PolicyRetention, Retention, latest_last, stored_metrics
from ckptstore.train.reuse import Reuse
from ckptstore.train.staging import Staging

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self


class CheckpointManager:
    """Saves steps into a directory and keeps the newest, as tf.train.CheckpointManager does.

    A step is written as TensorFlow's own files, and counts from the moment the state file names it: a process that dies
    in the middle leaves the directory as it was. TensorFlow reads what is written, and a directory that TensorFlow
    wrote is carried on.

    The first save takes the directory over. If another job saves into it, perhaps the one that this one is the restart
    of, that job's next save raises FencedError, and changes nothing. Restoring takes nothing over.

    Used as a context manager, it lets go of its connections at the end.

    Args:
        directory: Where to: a path, or any fsspec URL. It is made by the first save.
        max_to_keep: How many checkpoints to keep, at least 1; None: all.
        keep_checkpoint_every_n_hours: Of those that are more than max_to_keep, preserve one every so many hours, for
            ever; a preserved checkpoint is no longer listed, and `restore` still finds its step.
        retention: What to keep, instead of the two: `LatestN(3) | EveryNHours(2)`. See `ckptstore.Policy`.
        grace_hours: How long the files of a checkpoint stay after it left the list, in hours, for readers that do not
            say that they read: TensorFlow's. ckptstore's own pin what they read, and need no grace.
        checkpoint_name: The base of the checkpoints' names: step 1200 of "ckpt" is "ckpt-1200".
        save_interval_steps: What `should_save` goes by.
        max_shard_bytes: Cut the data into files of at most this size (a single tensor may be larger), which are
            written side by side. None: one file.
        object_based: Write what tf.train.Checkpoint writes, for its restore(): each "/" in a name is a step down its
            object tree. By default names are stored as they are, as tf.train.Saver does.
        meta_graph: Put a graph into the `.meta` files: a variable for each tensor, and the nodes by which TensorFlow's
            import_meta_graph and Saver restore them. Without, a `.meta` file holds the record of the run alone.
        storage_options: For fsspec: credentials, endpoint_url and so on.
        clock: Where the time comes from.

    Raises:
        InvalidArgumentError: An argument that cannot be meant.
        StateMissingError: The directory holds checkpoints of this name, and no state file.
        StateCorruptError: Its state file cannot be read.
        StorageError: The store cannot be reached, or refuses: no such bucket, wrong credentials.
    """

    def __init__(
        self,
        directory: Path,
        *,
        max_to_keep: int | None = 5,
        keep_checkpoint_every_n_hours: float | None = None,
        retention: Policy | None = None,
        grace_hours: float = 0.0,
        checkpoint_name: str = "ckpt",
        save_interval_steps: int = 1,
        max_shard_bytes: int | None = None,
        object_based: bool = False,
        meta_graph: bool = False,
        storage_options: Options = None,
        clock: Clock | None = None,
    ) -> None:
        if not isinstance(checkpoint_name, str):
            raise InvalidArgumentError(f"checkpoint_name must be a str, not {checkpoint_name!r}.")
        if "/" in check_key(checkpoint_name) or not _is_utf8(checkpoint_name):
            raise UnsafePathError(f"checkpoint_name must be a plain name in UTF-8, not {checkpoint_name!a}.")
        most = None if max_to_keep is None else as_count(max_to_keep, "max_to_keep")
        hours = keep_checkpoint_every_n_hours
        hours = None if hours is None else as_hours(hours, "keep_checkpoint_every_n_hours")
        if retention is not None and (most != 5 or hours is not None):
            raise InvalidArgumentError("Pass retention, or max_to_keep and keep_checkpoint_every_n_hours; not both.")
        if retention is not None and not isinstance(retention, Policy):
            raise InvalidArgumentError(f"retention must be a policy such as ckptstore.LatestN(3), not {retention!r}.")
        grace = as_hours(grace_hours, "grace_hours", zero=True) * 3600.0
        self._name = checkpoint_name
        self._interval = as_count(save_interval_steps, "save_interval_steps")
        self._max_shard_bytes = None if max_shard_bytes is None else as_count(max_shard_bytes, "max_shard_bytes")
        self._object_based = object_based
        # Loaded for those who want it alone: a job that resumes should not wait for it.
        self._graph_of: Callable[[Mapping[str, Any]], Any] | None = None
        if meta_graph:
            self._graph_of = importlib.import_module("ckptstore.train.item_graph").graph_of
        self._clock = clock or SystemClock()
        self._store: Store = from_url(directory, storage_options)
        self._path = os.fspath(directory)
        self._directory = CheckpointDirectory(self._store)
        self._writer = CheckpointWriter(self._directory, grace=grace)
        self._background = BackgroundSaves()
        self._staging = Staging()
        self._reuse = Reuse(self._directory)
        self._one_async = threading.Lock()
        try:
            ledger = self._directory.ledger()
        except BaseException:
            self._store.close()
            raise
        self._retention: Retention
        if retention is not None:
            self._retention = PolicyRetention(
                retention, metrics=lambda entry: stored_metrics(self._directory, entry.prefix), clock=self._clock
            )
        else:
            self._retention = CountRetention(
                most,
                hours,
                ledger=ledger,
                file_times=lambda: {c.prefix: c.modified for c in self._directory.stored()},
                clock=self._clock,
                path=self._directory.file.path,
            )

    # -- what is there

    @property
    def directory(self) -> str:
        """The directory, as it was given."""
        return self._path

    @property
    def checkpoints(self) -> list[str]:
        """The paths of all listed checkpoints, oldest first."""
        return [full_path(self._path, entry.prefix) for entry in self._listed()]

    @property
    def latest_checkpoint(self) -> str | None:
        """The path of the latest checkpoint, or None in an empty directory."""
        key = self._directory.latest()
        return None if key is None else full_path(self._path, key)

    def latest_step(self) -> int | None:
        """The step of the latest checkpoint, or None in an empty directory.

        Raises:
            InvalidArgumentError: Its name has no step in it.
        """
        key = self._directory.latest()
        return None if key is None else self._step_of(key)

    def all_steps(self) -> list[int]:
        """The steps of all listed checkpoints, in ascending order."""
        return sorted(step for entry in self._listed() if (step := parse_step(entry.prefix)) is not None)

    def should_save(self, step: int) -> bool:
        """Whether a step is one of those that save_interval_steps picks. `save` itself saves any step."""
        return as_step(step) % self._interval == 0

    def metrics(self, step: int | None = None) -> dict[str, float]:
        """The metrics that were saved with a step (None: the latest); empty if there were none.

        Raises:
            CheckpointNotFoundError: There is no such step.
        """
        return dict(self._run_info(self._find(step).prefix).metrics)

    def metadata(self, step: int | None = None) -> dict[str, Any]:
        """The metadata that were saved with a step (None: the latest); empty if there were none.

        Raises:
            CheckpointNotFoundError: There is no such step.
        """
        return dict(self._run_info(self._find(step).prefix).metadata)

    def best_step(self, metric: str, mode: Literal["min", "max"] = "min") -> int | None:
        """The listed step with the least or greatest value of a metric; of equals the latest; NaN counts as none.

        Returns:
            The step, or None if no listed checkpoint has that metric.
        """
        if mode not in ("min", "max"):
            raise InvalidArgumentError(f"mode must be 'min' or 'max', not {mode!r}.")
        best: tuple[float, int] | None = None
        for entry in self._listed():
            value = self._run_info(entry.prefix).metrics.get(metric)
            step = parse_step(entry.prefix)
            if value is None or step is None or np.isnan(value):
                continue
            rank = -value if mode == "min" else value
            if best is None or rank >= best[0]:
                best = (rank, step)
        return None if best is None else best[1]

    # -- saving

    def save(
        self,
        step: int,
        items: Mapping[str, Any],
        *,
        metrics: Mapping[str, float] | None = None,
        metadata: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        reuse: bool = False,
        progress: Progress | None = None,
    ) -> str:
        """Saves a step, makes it the latest, and deletes what is then no longer to be kept.

        Order on the store: data, `.meta`, `.index`, state file, deletions. Once this returns the checkpoint is durable.

        Args:
            step: The step, from 0.
            items: Arrays by name; the names of nested mappings are joined by "/". A `Partitioned` is stored in pieces.
            metrics: Numbers to pick the best checkpoint by.
            metadata: Whatever else to remember, as JSON can hold it.
            overwrite: Replace the step if it is saved already. The old one stays until the new one counts.
            reuse: Do not send again what the latest checkpoint holds with the same bytes: the store copies it (S3,
                GCS), or the files share it (a disk: clones, else hard links). Each checkpoint is complete by itself,
                and TensorFlow's files; it may have more data files, with up to a quarter of bytes that are out of use.
                See docs/performance.md for what it saves, and for what it costs: time to compare, and files on one
                disk that are damaged together.
            progress: Called now and then with the bytes of the data files that the store has taken, and the bytes there
                are; by one thread at a time, but not by this one. What it raises calls the save off.

        Returns:
            The checkpoint's path.

        Raises:
            CheckpointExistsError: The step is saved already.
            InvalidArgumentError, IncompatibleTensorError: Something cannot be saved; nothing was written.
            FencedError: Another job has taken the directory over; nothing was changed. Do not save again: stop.
            SaveAbortedError: Somebody gave this save up while it was under way.
            CommitUnknownError: The store stopped answering just when the step was made to count; `latest_step` tells.
            StateError: The state file was lost or damaged meanwhile; nothing that was there is changed.
            UnsupportedError: The store does not keep its word, so nothing would be safe on it.
            StorageError: The store refused. The directory counts the same checkpoints as before.
        """
        self._background.wait()
        number, now = as_step(step), self._clock.time()
        info = RunInfo.of(number, now, metrics, metadata)
        return self._save(number, now, info, flatten(items), overwrite=overwrite, reuse=reuse, progress=progress)

    def save_async(
        self,
        step: int,
        items: Mapping[str, Any],
        *,
        metrics: Mapping[str, float] | None = None,
        metadata: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        reuse: bool = False,
        progress: Progress | None = None,
    ) -> Future[str]:
        """As `save`, but goes on in the background once the arrays are copied.

        One save goes on at a time: this waits for the one before. The copies are made by several threads, into memory
        that is kept for the next save until `close`: as much as the arrays take, and never more. Arrays that are
        read-only down to their owner are not copied. A save that fails, and whose result nobody has asked
        for, is told by the next call of `save`, `save_async`, `wait_until_finished` or `close`; if there is none, the
        process ends with a message and the exit code 1.

        Returns:
            The path to be. Only its `result()` is the acknowledgement that the checkpoint counts.

        Raises:
            InvalidArgumentError, IncompatibleTensorError: Something cannot be saved.
            CheckpointError: The save before this one failed.
        """
        number, now = as_step(step), self._clock.time()
        info = RunInfo.of(number, now, metrics, metadata)
        flat = flatten(items)
        with self._one_async:  # or another thread's copies would take the memory of these
            self._background.wait()
            copies = self._staging.copies(flat)
            return self._background.submit(
                lambda: self._save(number, now, info, copies, overwrite=overwrite, reuse=reuse, progress=progress)
            )

    def wait_until_finished(self) -> None:
        """Waits until nothing is being saved.

        Raises:
            CheckpointError: The last asynchronous save failed, and nobody has asked for its result.
        """
        self._background.wait()

    def _save(
        self,
        number: int,
        now: float,
        info: RunInfo,
        flat: Mapping[str, Any],
        *,
        overwrite: bool,
        reuse: bool,
        progress: Progress | None,
    ) -> str:
        kind = ReusingWriter if reuse else BundleWriter
        writer = kind(self._store, "", max_shard_bytes=self._max_shard_bytes, progress=progress)
        items = stored_items(flat, object_based=self._object_based, save_counter=number)
        writer.add_all(items)
        digests = self._reuse.compare(writer) if isinstance(writer, ReusingWriter) else None
        meta = info.encode(None if self._graph_of is None else self._graph_of(items), digests)

        def plan(ledger: Ledger, new: Entry) -> Sweep:
            replaced = [entry for entry in ledger.live if parse_step(entry.prefix) == number]
            self._refuse(number, () if overwrite else replaced)
            rest = [entry for entry in latest_last(ledger) if parse_step(entry.prefix) != number]
            sweep = self._retention.sweep([*rest, new])
            return replace(sweep, removed=(*replaced, *sweep.removed))

        ledger = self._writer.session.ledger
        if ledger is not None and not overwrite:  # before anything is written at all
            self._refuse(number, [entry for entry in ledger.live if parse_step(entry.prefix) == number])
        key, sweep = self._writer.save(step_name(self._name, number), writer, meta, now, plan)
        if isinstance(writer, ReusingWriter):
            self._reuse.saved(key, writer)
        self._retention.committed(Entry(key, time=now), sweep)
        return full_path(self._path, key)

    def acquire(self) -> None:
        """Takes the directory over for saving now, instead of at the first save.

        A wrong bucket, a right that is missing, or a store on which no commit would be safe, then shows before the
        training and not after its first hour; and whoever else saves here is fenced.

        Raises:
            UnsupportedError: The store does not keep its word.
            StateError: It is not known which checkpoints count.
            StorageError: The store cannot be reached, or refuses.
        """
        self._background.wait()
        self._writer.session.begin()

    def prune(self, *, dry_run: bool = False) -> list[Decision]:
        """Applies the retention now, without a save.

        Args:
            dry_run: Change nothing.

        Returns:
            For each listed checkpoint, oldest first, whether it stays, and why.

        Raises:
            StateError, StorageError: As in `save`.
        """
        self._background.wait()
        ledger = self._directory.ledger()
        decisions = [] if ledger is None else self._retention.decide(latest_last(ledger))
        if not dry_run and not all(decision.keep for decision in decisions):
            self._writer.session.begin()
            self._writer.prune(lambda now: self._retention.sweep(latest_last(now)))
        return decisions

    # -- restoring

    def restore(
        self,
        step: int | None = None,
        *,
        names: Iterable[str] | None = None,
        assignment_map: AssignmentMap | None = None,
        strict: bool = True,
        read_only: bool = False,
        verify: Verify = True,
    ) -> Restored:
        """Reads a step, all or nothing, each tensor held against its checksum.

        Args:
            step: None: the latest.
            names: Only these, names or patterns such as "layer/*". None: all.
            assignment_map: As in `ckptstore.restore`.
            strict: Every name asked for must be there.
            read_only: As in `ckptstore.restore`: arrays that cannot be written to, on a disk without a copy.
            verify: As in `ckptstore.restore`: True, False or "lazy".

        Returns:
            The tensors by name, a dict; its `report` tells what was used, what is missing and what nobody asked for.

        Raises:
            CheckpointNotFoundError: There is no such step, none at all, or a file of it is gone.
            TensorNotFoundError: Names are not there; all of them are listed, and all that do not fit.
            IncompatibleTensorError: Arrays or variables to be filled have another shape or dtype; all are listed.
            DataLossError: It is damaged. Nothing older is restored in its place unasked.
            StateError: The state file is missing or cannot be read.
        """
        with self.reader(step) as reader:
            return reader.restore(names, assignment_map, strict=strict, read_only=read_only, verify=verify)

    def restore_or_initialize(
        self, init_fn: Callable[[], Mapping[str, Any]]
    ) -> tuple[int, dict[str, np.ndarray[Any, Any]]]:
        """The latest step and its tensors, or 0 and what `init_fn` returns in a directory without checkpoints.

        Either way they are arrays under flat names, those of nested mappings joined by "/".

        Only an empty directory makes a fresh start: whatever else is wrong raises, as in `restore`.
        """
        ledger = self._directory.ledger()
        if ledger is None:
            initial = init_fn()
            flat = {} if initial == {} else flatten(initial)
            # An array that is one already is handed on as it is.
            return 0, {name: as_array(value, name)[0] for name, value in flat.items()}
        reader, entry = self._open(ledger, None)
        with reader:
            return self._step_of(entry.prefix), reader.restore()

    def reader(self, step: int | None = None) -> CheckpointReader:
        """Opens a step (None: the latest) for reading it in parts. It is pinned until the reader is closed.

        Raises:
            CheckpointNotFoundError, DataLossError, StateError: As in `restore`.
        """
        return self._open(self._directory.ledger(), step)[0]

    def close(self) -> None:
        """Waits for saves under way, and lets go of connections. Closing twice is harmless.

        Raises:
            CheckpointError: The last asynchronous save failed, and nobody has asked for its result.
        """
        try:
            self._background.close()
        finally:
            self._staging.forget()
            self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"CheckpointManager({self._store.url}, {self._retention!r})"

    # -- inside

    def _listed(self) -> tuple[Entry, ...]:
        ledger = self._directory.ledger()
        return () if ledger is None else ledger.listed

    def _refuse(self, step: int, saved: Sequence[Entry]) -> None:
        for entry in saved:
            raise CheckpointExistsError(
                f"Step {step} is saved already, as {self._store.path(entry.prefix)}; save another step, or pass "
                "overwrite=True.",
                path=self._store.path(entry.prefix),
            )

    def _find(self, step: int | None) -> Entry:
        return self._choose(self._directory.ledger(), step)

    def _choose(self, ledger: Ledger | None, step: int | None) -> Entry:
        """The entry of a step, the latest if it is None."""
        if step is None:
            if ledger is None:
                raise CheckpointNotFoundError(
                    f"{self._store.url} holds no checkpoints; restore_or_initialize() starts afresh where there are "
                    "none.",
                    path=self._store.url,
                )
            return next(entry for entry in reversed(ledger.listed) if entry.prefix == ledger.latest)
        number = as_step(step)
        listed = () if ledger is None else ledger.listed
        for group in (listed, () if ledger is None else ledger.kept):
            found = [entry for entry in group if parse_step(entry.prefix) == number]
            found = [entry for entry in found if parse_step(entry.prefix, self._name) is not None] or found
            if found:
                return found[-1]
        steps = [s for entry in listed if (s := parse_step(entry.prefix)) is not None]
        raise CheckpointNotFoundError(
            f"{self._store.url} holds no step {number}; its steps are "
            f"{', '.join(map(str, sorted(steps)[-20:])) or 'none'}. (What no state lists is read with "
            "ckptstore.restore(path); `ckptstore ls` shows it.)",
            path=self._store.path(step_name(self._name, number)),
        )

    def _open(self, ledger: Ledger | None, step: int | None) -> tuple[CheckpointReader, Entry]:
        return open_pinned(self._directory, ledger, lambda now: self._choose(now, step), clock=self._clock)

    def _step_of(self, key: str) -> int:
        step = parse_step(key)
        if step is None:
            raise InvalidArgumentError(
                f"The latest checkpoint {self._store.path(key)} has no step in its name; read it with "
                "ckptstore.restore(path).",
                path=self._store.path(key),
            )
        return step

    def _run_info(self, key: str) -> RunInfo:
        try:
            data, meta = self._store.get(meta_name(key))
        except NotFoundError:
            if self._directory.exists(key):
                return RunInfo()
            raise CheckpointNotFoundError(
                f"{self._store.path(key)} is listed and not there.", path=self._store.path(key)
            ) from None
        with located(self._store.path(meta.key)):
            return RunInfo.decode(data)


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
