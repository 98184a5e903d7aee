"""Saving and loading a single checkpoint by its path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ckptstore._clock import Clock, SystemClock
from ckptstore.bundle import BundleWriter, Progress
from ckptstore.checkpoint import (
    CheckpointDirectory,
    CheckpointReader,
    VerifyReport,
    object_items,
    open_source,
    verify_checkpoint,
    verify_directory,
)
from ckptstore.checkpoint.assignment import AssignmentMap, as_pairs
from ckptstore.checkpoint.pins import open_pinned
from ckptstore.checkpoint.reader import Verify
from ckptstore.checkpoint.restored import Restored, RestoreReport
from ckptstore.errors import CheckpointExistsError, CheckpointNotFoundError, InvalidArgumentError, UnsafePathError
from ckptstore.format.ledger import Entry, Ledger
from ckptstore.format.naming import STATE_FILE, meta_name, parse_name
from ckptstore.storage import Store, from_url, split_path
from ckptstore.train.checkpoint_management import Options, Path
from ckptstore.train.items import flatten
from ckptstore.train.variable_store import VariableStore


def stored_items(items: Mapping[str, Any], *, object_based: bool, save_counter: int) -> dict[str, Any]:
    """What is stored of what a user saves, in order: by name as TensorFlow's Saver does, or as tf.train.Checkpoint."""
    if object_based:
        return dict(object_items(items, save_counter))
    names = sorted(items)
    return dict(items) if names == [*items] else {name: items[name] for name in names}


def save(
    prefix: Path,
    items: Mapping[str, Any],
    *,
    overwrite: bool = False,
    object_based: bool = False,
    save_counter: int = 1,
    max_shard_bytes: int | None = None,
    progress: Progress | None = None,
    storage_options: Options = None,
) -> str:
    """Writes one checkpoint, index and data alone: exactly the bytes that TensorFlow's Saver would write.

    It is listed in no state file; `CheckpointManager` looks after a series of them.

    Args:
        prefix: Its path without the files' endings, or a URL.
        items: Arrays by name; names of nested mappings are joined by "/". A `Partitioned` is stored in pieces.
        overwrite: Replace a checkpoint of that prefix. Should the process die in between, neither can be read.
        object_based: Write what tf.train.Checkpoint writes, each "/" in a name being a step down the object tree.
        save_counter: The number of the save, for tf.train.Checkpoint to count on from.
        max_shard_bytes: Cut the data into files of at most this size (a single tensor may be larger).
        progress: As in `CheckpointManager.save`.
        storage_options: For fsspec.

    Returns:
        The prefix.

    Raises:
        CheckpointExistsError: There is a checkpoint of that prefix, and `overwrite` is not set.
        InvalidArgumentError, IncompatibleTensorError: Something cannot be saved; nothing was written.
        StorageError: The store refused.
    """
    parent, key = split_path(prefix)
    flat = flatten(items)
    with from_url(parent, storage_options) as store:
        directory = CheckpointDirectory(store)
        writer = BundleWriter(store, key, max_shard_bytes=max_shard_bytes, progress=progress)
        writer.add_all(stored_items(flat, object_based=object_based, save_counter=save_counter))
        replaced = directory.has_bundle(key)
        if replaced and not overwrite:
            raise CheckpointExistsError(
                f"There is a checkpoint {store.path(key)} already; choose another name or pass overwrite=True.",
                path=store.path(key),
            )
        kept = {meta.key for meta in writer.write_data()}
        if replaced:
            store.delete([meta_name(key)])  # it told of the old one
        writer.write_index()
        if replaced:
            # Shards of the old one, where it had another number of them, would look like parts of the new one.
            old = (m.key for c in directory.stored(key + ".") if c.prefix == key for m in c.files)
            store.delete([name for name in old if _is_data(name) and name not in kept])
    return str(prefix)


def locate(path: Path, storage_options: Options = None, *, instead_of: Store | None = None) -> tuple[Store, str | None]:
    """What a path names: the store and key of a checkpoint, or the store of a directory and None.

    The caller closes the store.

    Args:
        path: The path.
        storage_options: For fsspec.
        instead_of: See `ckptstore.storage.from_url`.

    Raises:
        CheckpointNotFoundError: It is one file of a checkpoint, or a state file.
    """
    try:
        parent, key = split_path(path)
    except (InvalidArgumentError, UnsafePathError):
        return from_url(path, storage_options, instead_of=instead_of), None  # "." or a bucket alone
    store = from_url(parent, storage_options, instead_of=instead_of)
    try:
        directory = CheckpointDirectory(store)
        if directory.has_bundle(key):
            return store, key
        file = parse_name(key)
        if directory.has_v1(key):
            if key == STATE_FILE:
                raise CheckpointNotFoundError(f"{path} is a state file; pass its directory, {parent}.", path=str(path))
            if file is not None:  # TensorFlow would take "ckpt-1.index" for an empty V1 checkpoint
                raise CheckpointNotFoundError(
                    f"{path} is one file of a checkpoint; pass its prefix, without {key[len(file.prefix) :]!r}.",
                    path=str(path),
                )
            return store, key
        return from_url(path, storage_options, instead_of=store), None
    except BaseException:
        store.close()
        raise


def load_checkpoint(
    ckpt_dir_or_file: Path, *, verify: bool = True, storage_options: Options = None, clock: Clock | None = None
) -> CheckpointReader:
    """Opens a checkpoint for reading; no tensor is read yet.

    The latest checkpoint of a directory is pinned until the reader is closed: no `ckptstore prune`, and no trainer,
    deletes it meanwhile.

    Args:
        ckpt_dir_or_file: A prefix, a V1 file, or a directory (then its latest checkpoint); or a URL.
        verify: Whether tensors that are read whole are held against their checksums.
        storage_options: For fsspec.
        clock: By default the system's.

    Raises:
        CheckpointNotFoundError: There is none.
        DataLossError: Its index is damaged.
        StateMissingError, StateCorruptError: The directory's state file.
    """
    clock = clock or SystemClock()
    store = from_url(ckpt_dir_or_file, storage_options)
    try:
        directory = CheckpointDirectory(store)
        snapshot = directory.file.read()  # TensorFlow looks for a directory first, too
        if snapshot is not None:
            return open_pinned(directory, snapshot.ledger, _latest, clock=clock, verify=verify, on_close=store.close)[0]
        store, key = locate(ckpt_dir_or_file, storage_options, instead_of=store)
        if key is not None:
            return CheckpointReader(open_source(store, key), verify=verify, on_close=store.close)
        CheckpointDirectory(store).load()  # a directory that has lost its state file says so
        raise CheckpointNotFoundError(
            f"There is no checkpoint {ckpt_dir_or_file}, and no directory of that name with a state file in it.",
            path=str(ckpt_dir_or_file),
        )
    except BaseException:
        store.close()
        raise


def _latest(ledger: Ledger | None) -> Entry:
    if ledger is None:
        raise CheckpointNotFoundError("The directory's checkpoints are gone.")
    return next(entry for entry in ledger.listed if entry.prefix == ledger.latest)


def list_variables(ckpt_dir_or_file: Path, *, storage_options: Options = None) -> list[tuple[str, list[int]]]:
    """Name and shape of every tensor, by name.

    Raises:
        CheckpointNotFoundError, DataLossError, StateError: As in `load_checkpoint`.
    """
    with load_checkpoint(ckpt_dir_or_file, storage_options=storage_options) as reader:
        return sorted(reader.get_variable_to_shape_map().items())


def load_variable(ckpt_dir_or_file: Path, name: str, *, storage_options: Options = None) -> Any:
    """Reads one tensor; a ":0" at the end of its name is dropped.

    Raises:
        TensorNotFoundError: There is none of that name; the nearest names are in the message.
        CheckpointNotFoundError, DataLossError, StateError: As in `load_checkpoint`.
    """
    with load_checkpoint(ckpt_dir_or_file, storage_options=storage_options) as reader:
        return reader.get_tensor(name.removesuffix(":0") if isinstance(name, str) else name)


def restore(
    prefix_or_dir: Path,
    names: Iterable[str] | None = None,
    assignment_map: AssignmentMap | None = None,
    *,
    strict: bool = True,
    read_only: bool = False,
    verify: Verify = True,
    storage_options: Options = None,
) -> Restored:
    """Reads a checkpoint's tensors, all or nothing, each held against its checksum.

    Args:
        prefix_or_dir: A prefix, a V1 file, or a directory (then its latest checkpoint); or a URL.
        names: Only these; "layer/*" is a pattern (`fnmatch.fnmatchcase`). None: all.
        assignment_map: As in tf.compat.v1.train.init_from_checkpoint, a mapping or a list of pairs: name -> new name,
            array to fill, variable to assign or list of its parts; "scope/" -> "new scope/", "/" for the root; and
            pattern -> "new scope/", or None for the names as they are. Only what it names is read.
        strict: Every name asked for must be there. False: what is there is read.
        read_only: Hand out arrays that cannot be written to. On a disk they are views of the files, mapped into memory:
            they cost no memory of their own, and stay what they are even if the checkpoint is deleted.
        verify: True: all bytes are checked before anything is returned. "lazy": on a disk, numbers come as LazyArrays,
            each of which is checked as a whole when it is first touched (`np.asarray(array)`, `array[5:7]`), and
            read-only; what cannot be mapped is read and checked at once. False: nothing is checked.
        storage_options: For fsspec.

    Returns:
        The tensors by name, a dict; its `report` tells what was used, what is missing and what nobody asked for.

    Raises:
        TensorNotFoundError: Names are not there: all of them, each with the nearest that are; and all that do not fit.
        IncompatibleTensorError: Arrays or variables to be filled have another shape or dtype: all of them. Nothing is
            filled then.
        CheckpointNotFoundError, DataLossError, StateError: As in `load_checkpoint`.
    """
    with load_checkpoint(prefix_or_dir, storage_options=storage_options) as reader:
        return reader.restore(names, assignment_map, strict=strict, read_only=read_only, verify=verify)


def init_from_checkpoint(
    ckpt_dir_or_file: Path,
    assignment_map: AssignmentMap,
    *,
    variables: Iterable[Any] | None = None,
    strict: bool = True,
    storage_options: Options = None,
) -> RestoreReport:
    """Sets variables from a checkpoint, all or none: tf.compat.v1.train.init_from_checkpoint, but at once.

    Args:
        ckpt_dir_or_file: A prefix, a V1 file, or a directory (then its latest checkpoint); or a URL.
        assignment_map: A mapping or a list of pairs: name -> variable, list of the parts of a partitioned one, or name
            of either; "scope/" -> "scope of variables/", each of which takes the tensor of its name; "/" is the root
            on either side.
        variables: Those that the right-hand sides name. A variable has name, shape, dtype and assign.
        strict: Every variable named must be among `variables`, and its tensor in the checkpoint. False: what is on both
            sides is set.
        storage_options: For fsspec.

    Returns:
        What was used, what is missing, what of the checkpoint nobody asked for, and what no variable was found for.

    Raises:
        InvalidArgumentError: The map is malformed, names variables that are not there (all are listed), or sends two
            tensors into one variable. (TensorFlow lets the last of them win.)
        TensorNotFoundError: Tensors are not there: all of them, and all that do not fit.
        IncompatibleTensorError: Tensors do not fit their variables: all of them.
        CheckpointNotFoundError, DataLossError, StateError: As in `load_checkpoint`.
    """
    store = VariableStore(() if variables is None else variables)
    bound, unknown = store.bind(as_pairs(assignment_map), strict=strict)
    with load_checkpoint(ckpt_dir_or_file, storage_options=storage_options) as reader:
        report = reader.restore(assignment_map=bound, strict=strict).report
    return replace(report, skipped=(*unknown, *report.skipped))


def verify(prefix_or_dir: Path, *, progress: Progress | None = None, storage_options: Options = None) -> VerifyReport:
    """Reads every byte of a checkpoint, or of all that a directory lists, and reports what is damaged.

    Args:
        prefix_or_dir: A prefix, a V1 file, or a directory; or a URL.
        progress: Called now and then with the bytes read and the bytes there are, per checkpoint.
        storage_options: For fsspec.

    Raises:
        CheckpointNotFoundError: There is nothing to verify.
        StateError: The directory's state file is missing or cannot be read.
    """
    store, key = locate(prefix_or_dir, storage_options)
    with store:
        if key is not None:
            return verify_checkpoint(store, key, progress)
        return verify_directory(CheckpointDirectory(store), progress)


def _is_data(name: str) -> bool:
    file = parse_name(name)
    return file is not None and file.kind == "data"
