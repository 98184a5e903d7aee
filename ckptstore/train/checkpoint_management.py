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
from typing import Any

from ckptstore._clock import Clock, SystemClock
from ckptstore.checkpoint import CheckpointDirectory
from ckptstore.checkpoint.state_paths import generate_checkpoint_state
from ckptstore.errors import CheckpointNotFoundError, InvalidArgumentError, NotFoundError, StorageError
from ckptstore.format.naming import META_SUFFIX, STATE_FILE, expand_v1_pattern, index_name, meta_name, parse_name
from ckptstore.format.state import CheckpointState
from ckptstore.storage import from_url, join_path, split_path

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
        state = directory.read_state()
        if state is None:
            return None
        return replace(
            state,
            model_checkpoint_path=full_path(checkpoint_dir, directory.resolve(state.model_checkpoint_path)),
            all_model_checkpoint_paths=tuple(
                full_path(checkpoint_dir, directory.resolve(path)) for path in state.all_model_checkpoint_paths
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
                f"The latest checkpoint {store.path(key)}, which {directory.state_path} names, is not there; "
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
        CheckpointDirectory(store, latest_filename or STATE_FILE).write_state(state)


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
        directory.remove([key], meta_graph_suffix)
        v1 = (expand_v1_pattern(key) or [key]) if directory.has_v1(key) else []
        store.delete([*v1, meta_name(key, meta_graph_suffix)])


def checkpoints_iterator(
    checkpoint_dir: Path,
    min_interval_secs: float = 0,
    timeout: float | None = None,
    timeout_fn: Callable[[], bool] | None = None,
    *,
    storage_options: Options = None,
    clock: Clock | None = None,
) -> Iterator[str]:
    """Yields the path of the latest checkpoint whenever there is a new one.

    Args:
        checkpoint_dir: A directory, or the URL of one; it need not be there yet.
        min_interval_secs: The least time between two of them, in seconds.
        timeout: How long to wait for one, in seconds; None: for ever.
        timeout_fn: Asked after a timeout whether to stop; without it, a timeout stops.
        storage_options: For fsspec.
        clock: By default the system's.

    Raises:
        StateMissingError, StateCorruptError: The state file is lost, or cannot be read.
        StorageError: The store cannot be asked; there is no such bucket.
    """
    clock = clock or SystemClock()
    last: str | None = None
    while True:
        deadline = None if timeout is None else clock.monotonic() + timeout
        while (found := _newest(checkpoint_dir, storage_options)) is None or found == last:
            if deadline is not None and clock.monotonic() + _POLL_SECONDS > deadline:
                found = None
                break
            clock.sleep(_POLL_SECONDS)
        if found is None:
            if timeout_fn is None or timeout_fn():
                return
            continue
        last = found
        started = clock.monotonic()
        yield found
        clock.sleep(min_interval_secs - (clock.monotonic() - started))


def _plain(path: Path) -> str:
    """A path as text; one on this machine without its "file://"."""
    text = os.fspath(path)
    if not isinstance(text, str):
        raise InvalidArgumentError(f"{path!r} is no path: pass a str or an os.PathLike.")
    for scheme in ("file://", "local://"):
        text = text.removeprefix(scheme)
    return text


def _newest(checkpoint_dir: Path, storage_options: Options) -> str | None:
    try:
        return latest_checkpoint(checkpoint_dir, storage_options=storage_options)
    except CheckpointNotFoundError:
        return None  # removed since the state was read: the next look tells
