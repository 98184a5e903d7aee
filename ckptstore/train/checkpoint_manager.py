"""Looks after a directory of checkpoints: saves, restores, and keeps as many as it is told."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ckptstore._arguments import as_count, as_hours, as_step
from ckptstore._clock import Clock, SystemClock
from ckptstore.bundle import BundleWriter
from ckptstore.checkpoint import CheckpointDirectory, CheckpointReader, isolated, open_source
from ckptstore.checkpoint.retention import Kept, sweep_as_manager
from ckptstore.errors import (
    CheckpointExistsError,
    CheckpointNotFoundError,
    InvalidArgumentError,
    NotFoundError,
    StorageError,
    UnsafePathError,
    located,
)
from ckptstore.format.naming import meta_name, parse_step, step_name
from ckptstore.format.state import CheckpointState
from ckptstore.format.tensor import as_array
from ckptstore.graph import RunInfo
from ckptstore.storage import Store, check_key, from_url
from ckptstore.train.checkpoint_management import Options, Path, full_path
from ckptstore.train.checkpoint_utils import fill
from ckptstore.train.items import flatten

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

_log = logging.getLogger("ckptstore")


class RetentionWarning(UserWarning):
    """A checkpoint that is no longer listed could not be deleted. The save itself is safe."""


class CheckpointManager:
    """Saves steps into a directory and keeps the newest, as tf.train.CheckpointManager does.

    A step is written as TensorFlow's own files, and counts from the moment the state file names it: a process that dies
    in the middle leaves the directory as it was. TensorFlow reads what is written, and a directory that TensorFlow
    wrote is carried on.

    Used as a context manager, it lets go of its connections at the end.

    Args:
        directory: Where to: a path, or any fsspec URL. It is made by the first save.
        max_to_keep: How many checkpoints to keep, at least 1; None: all.
        keep_checkpoint_every_n_hours: Of those that are more than max_to_keep, preserve one every so many hours, for
            ever; a preserved checkpoint is no longer listed, and `restore` still finds its step.
        checkpoint_name: The base of the checkpoints' names: step 1200 of "ckpt" is "ckpt-1200".
        save_interval_steps: What `should_save` goes by.
        max_shard_bytes: Cut the data into files of at most this size (a single tensor may be larger), which are
            written side by side. None: one file.
        object_based: Write what tf.train.Checkpoint writes, for its restore(): each "/" in a name is a step down its
            object tree. By default names are stored as they are, as tf.train.Saver does.
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
        checkpoint_name: str = "ckpt",
        save_interval_steps: int = 1,
        max_shard_bytes: int | None = None,
        object_based: bool = False,
        storage_options: Options = None,
        clock: Clock | None = None,
    ) -> None:
        if not isinstance(checkpoint_name, str):
            raise InvalidArgumentError(f"checkpoint_name must be a str, not {checkpoint_name!r}.")
        if "/" in check_key(checkpoint_name) or not _is_utf8(checkpoint_name):
            raise UnsafePathError(f"checkpoint_name must be a plain name in UTF-8, not {checkpoint_name!a}.")
        self._max_to_keep = None if max_to_keep is None else as_count(max_to_keep, "max_to_keep")
        hours = keep_checkpoint_every_n_hours
        self._keep_hours = None if hours is None else as_hours(hours, "keep_checkpoint_every_n_hours")
        self._name = checkpoint_name
        self._interval = as_count(save_interval_steps, "save_interval_steps")
        self._max_shard_bytes = None if max_shard_bytes is None else as_count(max_shard_bytes, "max_shard_bytes")
        self._object_based = object_based
        self._clock = clock or SystemClock()
        self._leftover: list[str] = []
        self._notes_left = False
        self._last_preserved = 0.0
        self._store: Store = from_url(directory, storage_options)
        self._path = os.fspath(directory)
        self._directory = CheckpointDirectory(self._store)
        try:
            self._remember(self._directory.load_state())
        except BaseException:
            self._store.close()
            raise

    # -- what is there

    @property
    def directory(self) -> str:
        """The directory, as it was given."""
        return self._path

    @property
    def checkpoints(self) -> list[str]:
        """The paths of all listed checkpoints, oldest first."""
        return [full_path(self._path, key) for key in self._listed()]

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
        return sorted(step for key in self._listed() if (step := parse_step(key)) is not None)

    def should_save(self, step: int) -> bool:
        """Whether a step is one of those that save_interval_steps picks. `save` itself saves any step."""
        return as_step(step) % self._interval == 0

    def metrics(self, step: int | None = None) -> dict[str, float]:
        """The metrics that were saved with a step (None: the latest); empty if there were none.

        Raises:
            CheckpointNotFoundError: There is no such step.
        """
        return dict(self._run_info(self._find(step)).metrics)

    def metadata(self, step: int | None = None) -> dict[str, Any]:
        """The metadata that were saved with a step (None: the latest); empty if there were none.

        Raises:
            CheckpointNotFoundError: There is no such step.
        """
        return dict(self._run_info(self._find(step)).metadata)

    def best_step(self, metric: str, mode: Literal["min", "max"] = "min") -> int | None:
        """The listed step with the least or greatest value of a metric; of equals the latest; NaN counts as none.

        Returns:
            The step, or None if no listed checkpoint has that metric.
        """
        if mode not in ("min", "max"):
            raise InvalidArgumentError(f"mode must be 'min' or 'max', not {mode!r}.")
        best: tuple[float, int] | None = None
        for key in self._listed():
            value = self._run_info(key).metrics.get(metric)
            step = parse_step(key)
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
    ) -> str:
        """Saves a step, makes it the latest, and deletes what is then more than max_to_keep.

        Order on the store: data, `.meta`, `.index`, state file, deletions. Once this returns the checkpoint is durable.

        Args:
            step: The step, from 0.
            items: Arrays by name; the names of nested mappings are joined by "/". A `Partitioned` is stored in pieces.
            metrics: Numbers to pick the best checkpoint by.
            metadata: Whatever else to remember, as JSON can hold it.
            overwrite: Replace the step if it is saved already. The old one stays until the new one counts.

        Returns:
            The checkpoint's path.

        Raises:
            CheckpointExistsError: The step is saved already.
            InvalidArgumentError, IncompatibleTensorError: Something cannot be saved; nothing was written.
            StateError: The state file was lost or damaged meanwhile; nothing that was there is changed.
            StorageError: The store refused. The directory counts the same checkpoints as before, unless it was the
                reply to the state file's own put that was lost: `latest_step` tells.
        """
        number = as_step(step)
        flat = flatten(items)
        now = self._clock.time()
        info = RunInfo.of(number, now, metrics, metadata)
        state = self._directory.load_state()
        kept = self._kept(state)
        listed = [] if state is None else self._directory.listed(state)
        key = step_name(self._name, number)
        taken = self._directory.has_bundle(key) or key in self._leftover
        preserved = self._directory.preserved() if taken or self._keep_hours is not None else []
        replaced = [other for other in (*listed, *preserved) if parse_step(other) == number]
        if replaced and not overwrite:
            raise CheckpointExistsError(
                f"Step {number} is saved already, as {self._store.path(replaced[0])}; save another step, or pass "
                "overwrite=True.",
                path=self._store.path(replaced[0]),
            )
        if replaced or taken:
            # The name is taken: by the step to be replaced, by one that is preserved, or by a save that died before
            # it counted. None of them is touched; a directory of its own keeps the new files apart from theirs.
            key = isolated(key)
        writer = BundleWriter(self._store, key, max_shard_bytes=self._max_shard_bytes)
        fill(writer, flat, object_based=self._object_based, save_counter=number)

        kept = [item for item in kept if item.path not in replaced]
        sweep = sweep_as_manager([*kept, Kept(key, now)], self._max_to_keep, self._keep_hours, self._last_preserved)
        new_state = CheckpointState(
            key,
            tuple(item.path for item in sweep.listed),
            tuple(item.time for item in sweep.listed),
            sweep.mark,
        )
        marks = [item.path for item in sweep.preserved]
        self._directory.write(key, writer, info.encode(), new_state, first=state is None, preserve=marks)
        self._last_preserved = sweep.mark
        self._saved[key] = now
        self._tidy(
            [*replaced, *(item.path for item in sweep.removed)],
            keep={item.path for item in sweep.listed},
            unmark=[other for other in replaced if other in preserved],
            notes=self._notes_left or state is None,
        )
        return full_path(self._path, key)

    # -- restoring

    def restore(
        self,
        step: int | None = None,
        *,
        names: Iterable[str] | None = None,
        assignment_map: Mapping[str, Any] | None = None,
        strict: bool = True,
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Reads a step, all or nothing, each tensor held against its checksum.

        Args:
            step: None: the latest.
            names: Only these. None: all.
            assignment_map: As in `ckptstore.restore`.
            strict: Every name asked for must be there.

        Raises:
            CheckpointNotFoundError: There is no such step, none at all, or a file of it is gone.
            TensorNotFoundError: Names are not there; all of them are listed.
            IncompatibleTensorError: An array to be filled has another shape or dtype.
            DataLossError: It is damaged. Nothing older is restored in its place unasked.
            StateError: The state file is missing or cannot be read.
        """
        return self._read(self._find(step), names, assignment_map, strict)

    def restore_or_initialize(
        self, init_fn: Callable[[], Mapping[str, Any]]
    ) -> tuple[int, dict[str, np.ndarray[Any, Any]]]:
        """The latest step and its tensors, or 0 and what `init_fn` returns in a directory without checkpoints.

        Either way they are arrays under flat names, those of nested mappings joined by "/".

        Only an empty directory makes a fresh start: whatever else is wrong raises, as in `restore`.
        """
        key = self._directory.latest()
        if key is None:
            initial = init_fn()
            flat = {} if initial == {} else flatten(initial)
            # An array that is one already is handed on as it is.
            return 0, {name: as_array(value, name)[0] for name, value in flat.items()}
        return self._step_of(key), self._read(key, None, None, True)

    def reader(self, step: int | None = None) -> CheckpointReader:
        """Opens a step (None: the latest) for reading it in parts.

        Raises:
            CheckpointNotFoundError, DataLossError, StateError: As in `restore`.
        """
        return CheckpointReader(open_source(self._store, self._find(step)))

    def close(self) -> None:
        """Lets go of connections. Closing twice is harmless."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"CheckpointManager({self._store.url}, max_to_keep={self._max_to_keep})"

    # -- inside

    def _listed(self) -> list[str]:
        state = self._directory.load_state()
        return [] if state is None else self._directory.listed(state)

    def _find(self, step: int | None) -> str:
        if step is None:
            key = self._directory.latest()
            if key is None:
                raise CheckpointNotFoundError(
                    f"{self._store.url} holds no checkpoints; restore_or_initialize() starts afresh where there are "
                    "none.",
                    path=self._store.url,
                )
            return key
        number = as_step(step)
        listed = self._listed()
        found = [key for key in listed if parse_step(key) == number]
        found = [key for key in found if parse_step(key, self._name) is not None] or found
        if found:
            return found[-1]
        for key in reversed(self._directory.preserved()):
            if parse_step(key) == number and self._directory.has_bundle(key):
                return key
        steps = [s for key in listed if (s := parse_step(key)) is not None]
        raise CheckpointNotFoundError(
            f"{self._store.url} holds no step {number}; its steps are "
            f"{', '.join(map(str, sorted(steps)[-20:])) or 'none'}. (What no state lists is read with "
            "ckptstore.restore(path); `ckptstore ls` shows it.)",
            path=self._store.path(step_name(self._name, number)),
        )

    def _read(
        self, key: str, names: Iterable[str] | None, assignment_map: Mapping[str, Any] | None, strict: bool
    ) -> dict[str, np.ndarray[Any, Any]]:
        try:
            reader = CheckpointReader(open_source(self._store, key))
        except CheckpointNotFoundError as error:
            raise CheckpointNotFoundError(
                f"{error.message} The state file {self._directory.state_path} names it; restore another step if there "
                f"is one.",
                path=error.path,
            ) from error
        return reader.restore(names, assignment_map, strict=strict)

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

    def _remember(self, state: CheckpointState | None) -> None:
        """Takes over from a state file what TensorFlow's rule goes by, once, as TensorFlow does."""
        now = self._clock.time()
        self._opened = now
        self._saved: dict[str, float] = {}  # when this manager saved what it saved
        self._let_go = float("-inf")
        # The first period counts from just before the manager was made.
        self._last_preserved = now - 1.0
        stored = state.last_preserved_timestamp if state is not None else 0.0
        if stored > now:
            _log.warning(
                "%s is %.0f s ahead of the clock, which was set back", self._directory.state_path, stored - now
            )
            self._last_preserved = now
        elif stored:
            self._last_preserved = self._let_go = stored

    def _kept(self, state: CheckpointState | None) -> list[Kept]:
        """The listed checkpoints that are managed, with the times that the rule goes by."""
        if state is None:
            return []
        keys = self._directory.listed(state)
        stamps = list(state.all_model_checkpoint_timestamps)
        if len(stamps) != len(keys) or not np.isfinite(stamps).all():
            # TensorFlow's Saver lists checkpoints without times, and its CheckpointManager would then never delete
            # them. The files' own times stand in.
            times = {c.prefix: c.modified for c in self._directory.stored()}
            return [Kept(key, self._saved.get(key) or times.get(key) or self._opened) for key in keys]
        # TensorFlow leaves alone, and on the store, what is not newer than the last that was preserved. What is older
        # can only be listed because the clock was set back, and is not forgotten for that.
        return [
            Kept(key, self._saved.get(key, min(stamp, self._opened)))
            for key, stamp in zip(keys, stamps, strict=True)
            if key in self._saved or min(stamp, self._opened) != self._let_go
        ]

    def _tidy(self, keys: list[str], *, keep: set[str], unmark: list[str], notes: bool) -> None:
        """Deletes what is listed no more. The save counts already, so a failure must not look like one of it."""
        self._notes_left = notes
        pending = [key for key in (*self._leftover, *keys) if key not in keep]
        try:
            self._directory.remove(pending)
            self._leftover = []
            if unmark:
                self._directory.unmark(unmark)
            if notes:
                self._directory.clear_first_saves()
                self._notes_left = False
        except StorageError as error:
            self._leftover = pending
            what = f"deleting {', '.join(pending)}" if pending else "tidying up"
            warnings.warn(
                f"The checkpoint is saved; {what} failed ({error.message}) and is tried again with the next save.",
                RetentionWarning,
                stacklevel=3,
            )


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
