"""The functions of tf.train that look after a directory of checkpoints.

They keep TensorFlow's names, arguments and results. Where TensorFlow would lose something without a word they raise:
a state file that cannot be read, or one that is missing beside checkpoints, is an error and never "no checkpoint", and
paths are literal, never patterns.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from errno import EISDIR
from typing import TYPE_CHECKING, Any

from ckptstore._clock import Clock, SystemClock
from ckptstore.checkpoint import CheckpointDirectory
from ckptstore.checkpoint.files import delete_files, files_of
from ckptstore.checkpoint.pins import ReadingStore, pin_entry
from ckptstore.checkpoint.state_paths import generate_checkpoint_state
from ckptstore.errors import CheckpointNotFoundError, InvalidArgumentError, NotFoundError, StorageError
from ckptstore.format.naming import META_SUFFIX, STATE_FILE, expand_v1_pattern, index_name, meta_name, parse_name
from ckptstore.format.state import CheckpointState
from ckptstore.storage import Store, from_url, join_path, split_path

if TYPE_CHECKING:
    from typing_extensions import Self

Path = str | os.PathLike[str]
Options = Mapping[str, Any] | None

_POLL_SECONDS = 1.0


def full_path(directory: Path, key: str) -> str:
    """The path of a checkpoint, as os.path.join gives it: "./ckpt-1" in the current directory."""
    return f"./{key}" if os.fspath(directory) == "." else join_path(directory, key)


def get_checkpoint_state(
    checkpoint_dir: Path, latest_filename: str | None = None, *, storage_options: Options = None
) -> CheckpointState | None:
    """What the state file of a directory says, its paths made full; None if there is no state file.

    A path that does not lead into the directory (it was moved, or copied from elsewhere) is taken for the file of that
    name in it.

    Args:
        checkpoint_dir: A directory, or the URL of one.
        latest_filename: The name of the state file; by default "checkpoint".
        storage_options: For fsspec.

    Raises:
        StateCorruptError: The state file cannot be read. (TensorFlow returns None.)
        UnsafePathError: It names a path that leads out of the directory.
    """
    with from_url(checkpoint_dir, storage_options) as store:
        directory = CheckpointDirectory(store, latest_filename or STATE_FILE)
        snapshot = directory.file.read()
        if snapshot is None:
            return None
        state = CheckpointState.from_bytes(snapshot.data)
        return replace(
            state,
            model_checkpoint_path=full_path(checkpoint_dir, directory.file.resolve(state.model_checkpoint_path)),
            all_model_checkpoint_paths=tuple(
                full_path(checkpoint_dir, directory.file.resolve(path)) for path in state.all_model_checkpoint_paths
            ),
        )


def latest_checkpoint(
    checkpoint_dir: Path, latest_filename: str | None = None, *, storage_options: Options = None
) -> str | None:
    """The path of the latest checkpoint, or None in a directory without any.

    Raises:
        StateMissingError: There are checkpoints with steps and no state file. (TensorFlow returns None.)
        StateCorruptError: The state file cannot be read. (TensorFlow returns None.)
        CheckpointNotFoundError: The latest checkpoint's files are gone. (TensorFlow returns None.)
    """
    with from_url(checkpoint_dir, storage_options) as store:
        directory = CheckpointDirectory(store, latest_filename or STATE_FILE)
        key = directory.latest()
        if key is None:
            return None
        if not directory.exists(key):
            raise CheckpointNotFoundError(
                f"The latest checkpoint {store.path(key)}, which {directory.file.path} names, is not there; "
                "nothing older is taken in its place unasked. `ckptstore ls` shows what is there.",
                path=store.path(key),
            )
        return full_path(checkpoint_dir, key)


def update_checkpoint_state(
    save_dir: Path,
    model_checkpoint_path: Path,
    all_model_checkpoint_paths: Sequence[Path] | None = None,
    latest_filename: str | None = None,
    all_model_checkpoint_timestamps: Sequence[float] | None = None,
    last_preserved_timestamp: float | None = None,
    *,
    save_relative_paths: bool = True,
    storage_options: Options = None,
) -> None:
    """Writes the state file of a directory, atomically, in place of what is there.

    Args:
        save_dir: The directory, or the URL of one.
        model_checkpoint_path: The latest checkpoint.
        all_model_checkpoint_paths: All that count, oldest first; by default the latest alone.
        latest_filename: The name of the state file; by default "checkpoint".
        all_model_checkpoint_timestamps: When each was saved, in seconds since 1970.
        last_preserved_timestamp: When the newest one that is kept for ever was saved.
        save_relative_paths: Store paths relative to the directory. (TensorFlow's default is False.)
        storage_options: For fsspec.

    Raises:
        InvalidArgumentError: There are not as many timestamps as paths.
        UnsafePathError: A path leads out of the directory, or is that of the state file.
    """
    paths = all_model_checkpoint_paths
    state = generate_checkpoint_state(
        _plain(save_dir),
        _plain(model_checkpoint_path),
        None if paths is None else [_plain(path) for path in paths],
        all_model_checkpoint_timestamps,
        last_preserved_timestamp,
        save_relative_paths=save_relative_paths,
    )
    with from_url(save_dir, storage_options) as store:
        CheckpointDirectory(store, latest_filename or STATE_FILE).set_state(state)


def checkpoint_exists(checkpoint_prefix: Path, *, storage_options: Options = None) -> bool:
    """Whether there is a checkpoint of that prefix: its index, or its V1 file. The prefix is literal.

    Raises:
        NotFoundError: There is no such bucket.
    """
    parent, key = split_path(checkpoint_prefix)
    with from_url(parent, storage_options) as store:
        if CheckpointDirectory(store).exists(key):
            return True
        next(iter(store.list(index_name(key))), None)  # a missing bucket shows only in a listing
        return False


def get_checkpoint_mtimes(checkpoint_prefixes: Sequence[Path], *, storage_options: Options = None) -> list[float]:
    """When the checkpoints were last written, in seconds since 1970 by the store's clock; those that are not there are
    left out.
    """
    if isinstance(checkpoint_prefixes, str | os.PathLike):
        raise InvalidArgumentError(f"checkpoint_prefixes must be a list of paths, not {checkpoint_prefixes!r}.")
    out = []
    for prefix in checkpoint_prefixes:
        parent, key = split_path(prefix)
        with from_url(parent, storage_options) as store:
            for name in (index_name(key), *(expand_v1_pattern(key) or [key])):
                try:
                    modified = store.head(name).modified
                except NotFoundError:
                    continue
                except StorageError as error:
                    if error.errno != EISDIR:
                        raise
                    continue
                out.append(modified or 0.0)
                break
    return out


def remove_checkpoint(
    checkpoint_prefix: Path, *, meta_graph_suffix: str = "meta", storage_options: Options = None
) -> None:
    """Deletes a checkpoint's files, of either format, and its `.meta` file; the state file is not touched.

    Nothing but files of exactly this prefix is deleted. (TensorFlow takes the prefix for a pattern, and leaves V1 files
    in place unless told that they are of that format.)

    Raises:
        InvalidArgumentError: It is the path of a state file, or the suffix is that of other files.
    """
    parent, key = split_path(checkpoint_prefix)
    if key == STATE_FILE:
        raise InvalidArgumentError(
            f"{checkpoint_prefix} is a state file, and no checkpoint.", path=str(checkpoint_prefix)
        )
    file = parse_name(meta_name(key, meta_graph_suffix), META_SUFFIX)
    if not meta_graph_suffix or (file is not None and file.kind != "meta"):
        raise InvalidArgumentError(f"meta_graph_suffix={meta_graph_suffix!r} is the ending of other files.")
    with from_url(parent, storage_options) as store:
        directory = CheckpointDirectory(store)
        delete_files(store, files_of(key, store.list(f"{key}."), meta_graph_suffix), conditional=False)
        v1 = (expand_v1_pattern(key) or [key]) if directory.has_v1(key) else []
        store.delete([*v1, meta_name(key, meta_graph_suffix)])


def wait_for_new_checkpoint(
    checkpoint_dir: Path,
    last_checkpoint: str | None = None,
    seconds_to_sleep: float = 1.0,
    timeout: float | None = None,
    *,
    storage_options: Options = None,
    clock: Clock | None = None,
) -> str | None:
    """Waits until the latest checkpoint is another one.

    Args:
        checkpoint_dir: A directory, or the URL of one; it need not be there yet.
        last_checkpoint: The path that is known already. None: any will do.
        seconds_to_sleep: Between two looks.
        timeout: How long to wait, in seconds; None: for ever.
        storage_options: For fsspec.
        clock: By default the system's.

    Returns:
        Its path, or None after the timeout.

    Raises:
        StateMissingError, StateCorruptError: The state file is lost, or cannot be read.
        StorageError: The store cannot be asked; there is no such bucket.
    """
    clock = clock or SystemClock()
    deadline = None if timeout is None else clock.monotonic() + timeout
    with from_url(checkpoint_dir, storage_options) as store:
        directory = CheckpointDirectory(store)
        while True:
            key = directory.latest()
            if key is not None and (path := full_path(checkpoint_dir, key)) != last_checkpoint:
                return path
            if deadline is not None and clock.monotonic() + seconds_to_sleep > deadline:
                return None
            clock.sleep(seconds_to_sleep)


def checkpoints_iterator(
    checkpoint_dir: Path,
    min_interval_secs: float = 0,
    timeout: float | None = None,
    timeout_fn: Callable[[], bool] | None = None,
    *,
    every: bool = False,
    storage_options: Options = None,
    clock: Clock | None = None,
) -> Iterator[str]:
    """Yields the path of the latest checkpoint whenever there is a new one.

    Args:
        checkpoint_dir: A directory, or the URL of one; it need not be there yet.
        min_interval_secs: The least time between two of them, in seconds.
        timeout: How long to wait for one, in seconds; None: for ever.
        timeout_fn: Asked after a timeout whether to stop; without it, a timeout stops.
        every: Yield every checkpoint that is listed from now on, in the order in which they were saved, and not just
            the one that is the latest at the time. Those that wait for their turn are pinned: no trainer and no pruner
            of ours removes them before. (A checkpoint that comes and goes between two looks is missed.)
        storage_options: For fsspec.
        clock: By default the system's.

    Raises:
        StateMissingError, StateCorruptError: The state file is lost, or cannot be read.
        StorageError: The store cannot be asked; there is no such bucket.
    """
    clock = clock or SystemClock()
    with from_url(checkpoint_dir, storage_options) as store, _Arrivals(store, clock, every=every) as arrivals:
        while True:
            deadline = None if timeout is None else clock.monotonic() + timeout
            while (key := arrivals.next()) is None:
                if deadline is not None and clock.monotonic() + _POLL_SECONDS > deadline:
                    break
                clock.sleep(_POLL_SECONDS)
            if key is None:
                if timeout_fn is None or timeout_fn():
                    return
                continue
            started = clock.monotonic()
            yield full_path(checkpoint_dir, key)
            clock.sleep(min_interval_secs - (clock.monotonic() - started))


class _Arrivals:
    """The checkpoints of a directory, as they come."""

    def __init__(self, store: Store, clock: Clock, *, every: bool) -> None:
        self._directory = CheckpointDirectory(store)
        self._clock = clock
        self._every = every
        self._seen: set[tuple[str, str | None]] = set()  # of those that are listed still
        self._waiting: list[ReadingStore] = []
        self._current: ReadingStore | None = None

    def next(self) -> str | None:
        """The next one's key, or None if there is none yet. It is pinned until it is asked for the one after it."""
        self._release()
        self._look()
        for store in self._waiting:
            store.renew()
        if not self._waiting:
            return None
        self._current = self._waiting.pop(0)
        return self._current.entry.prefix

    def _look(self) -> None:
        """Puts those in line that were not seen yet."""
        ledger = self._directory.ledger()
        if ledger is None:
            return
        listed = [entry for entry in ledger.listed if self._every or entry.prefix == ledger.latest]
        new = [entry for entry in listed if entry.identity not in self._seen]
        self._seen = {entry.identity for entry in listed}
        pinned = [pin_entry(self._directory, ledger, entry, self._clock) for entry in new]
        self._waiting += pinned
        if not (pinned and ledger.managed):
            return
        # One that left the list before its pin was there may be gone (R10).
        ledger = self._directory.ledger()
        live = set() if ledger is None else {entry.identity for entry in ledger.live}
        for store in pinned:
            if store.entry.identity not in live:
                store.unpin()
                self._waiting.remove(store)

    def _release(self) -> None:
        if self._current is not None:
            self._current.unpin()
            self._current = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._release()
        for store in self._waiting:
            store.unpin()


def _plain(path: Path) -> str:
    """A path as text; one on this machine without its "file://"."""
    text = os.fspath(path)
    if not isinstance(text, str):
        raise InvalidArgumentError(f"{path!r} is no path: pass a str or an os.PathLike.")
    for scheme in ("file://", "local://"):
        text = text.removeprefix(scheme)
    return text
