"""Copies of single checkpoints, in the same format or another."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from ckptstore.bundle import Progress
from ckptstore.checkpoint import verify_checkpoint
from ckptstore.checkpoint.conversion import convert_to_v1, convert_to_v2
from ckptstore.checkpoint.copying import CopiedCheckpoint, Source, copy_files, copy_tensors
from ckptstore.checkpoint.publication import Publication
from ckptstore.checkpoint.selection import select_names
from ckptstore.errors import DataLossError, InvalidArgumentError
from ckptstore.format.naming import META_SUFFIX, expand_v1_pattern, meta_name, v1_shard_pattern
from ckptstore.storage import LocalStore, Store, from_url, split_path
from ckptstore.train.checkpoint_management import Options, Path
from ckptstore.train.sources import options_for, reading

Version = Literal["v1", "v2"]


def copy_checkpoint(
    src: Path,
    dst: Path,
    *,
    rename: Mapping[str, str] | None = None,
    include: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
    overwrite: bool = False,
    progress: Progress | None = None,
    storage_options: Options = None,
) -> CopiedCheckpoint:
    """Copies a checkpoint of either format to any store, each tensor held against its checksum on the way.

    All files go along, byte for byte. With `rename`, `include` or `exclude` the tensors that are left are written anew,
    as TensorFlow's Saver would write them, and without a `.meta` file, which tells of the old names. Large files pass
    in pieces; V1 files are read whole.

    The copy is listed in no state file; `update_checkpoint_state` lists it.

    Args:
        src: A prefix, a V1 file or pattern, or a directory (then its latest checkpoint); or a URL.
        dst: The new prefix; or, with a "/" at the end, the directory in which it keeps its name.
        rename: New name by old name; scopes end in "/", as in the assignment map of `restore`. The others stay.
        include: Patterns of the names to copy (`fnmatch.fnmatchcase`); by default all.
        exclude: Patterns of the names to leave out.
        overwrite: Replace a checkpoint of that prefix. The source is read once before, to see that it is whole, and
            then the old one is deleted; should the copy fail after that, neither is there.
        progress: Called now and then with the bytes that were read, and all there are to read.
        storage_options: For fsspec; of both paths, where they are not local.

    Raises:
        CheckpointNotFoundError: There is no such source.
        CheckpointExistsError: Files of that prefix are there already, and `overwrite` is not set.
        DataLossError: The source is damaged; nothing was left behind.
        TensorNotFoundError: Names to rename are not there: all of them, each with the nearest that are.
        InvalidArgumentError: Two tensors would have one name, or none is left; or source and target are the same.
        UnsupportedError: Tensors of an object-based checkpoint would not fit its object graph.
        StorageError: A store refused; what was written was deleted as far as that was possible.
    """
    include, exclude = ((given,) if isinstance(given, str) else tuple(given) for given in (include, exclude))

    def choose(available: list[str]) -> Mapping[str, str]:
        return select_names(available, rename=rename, include=include, exclude=exclude, path=source.path)

    anew = bool(rename or include or exclude)
    with _between(src, dst, storage_options, overwrite=overwrite, sharded=not anew) as (source, target):
        return copy_tensors(source, target, choose, progress) if anew else copy_files(source, target, progress)


def convert_checkpoint(
    src: Path,
    dst: Path,
    version: Version,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    storage_options: Options = None,
) -> CopiedCheckpoint:
    """Writes a V1 checkpoint as V2, or the other way round.

    Names, values, types and slices stay, and the `.meta` file goes along as it is: its saver_def.version still says
    what the source was. V1 files are read, and made, in memory.

    Args:
        src: A prefix, a V1 file or pattern, or a directory (then its latest checkpoint); or a URL.
        dst: The new prefix, or V1 file; or, with a "/" at the end, the directory in which it keeps its name.
        version: The format to write, "v1" or "v2".
        overwrite: As in `copy_checkpoint`.
        progress: Called now and then with what was read, and all there is.
        storage_options: For fsspec; of both paths, where they are not local.

    Raises:
        InvalidArgumentError: The source is of that format already.
        IncompatibleTensorError: V1 checkpoints cannot hold some of the tensors: all of those are listed.
        CheckpointNotFoundError, CheckpointExistsError, DataLossError, StorageError: As in `copy_checkpoint`.
    """
    if version not in ("v1", "v2"):
        raise InvalidArgumentError(f"version={version!r}: a checkpoint is 'v1' or 'v2'.")
    convert = convert_to_v1 if version == "v1" else convert_to_v2
    with _between(src, dst, storage_options, overwrite=overwrite, sharded=False) as (source, target):
        return convert(source, target, progress)


@contextlib.contextmanager
def _between(
    src: Path, dst: Path, storage_options: Options, *, overwrite: bool, sharded: bool
) -> Iterator[tuple[Source, Publication]]:
    """Source and target of a copy; nothing is written or deleted yet.

    Args:
        src: As in `copy_checkpoint`.
        dst: As in `copy_checkpoint`.
        storage_options: Of both.
        overwrite: Whether the target may be there.
        sharded: Whether the shards of a V1 checkpoint stay apart.
    """
    with reading(src, options_for(src, storage_options)) as (store, key):
        source = Source.open(store, key)
        kept = key.rpartition("/")[2]
        shards = expand_v1_pattern(kept) if source.index is None else None
        if shards:
            kept = meta_name(kept).removesuffix(f".{META_SUFFIX}")
        text = os.fspath(dst)
        parent, name = (text, kept) if text.endswith("/") else split_path(dst)
        if shards and sharded and expand_v1_pattern(name) is None:
            name = v1_shard_pattern(name, len(shards))
        with from_url(parent, options_for(parent, storage_options)) as there:
            if _same(source, there, name):
                raise InvalidArgumentError(f"{source.path} cannot be copied onto itself; choose another name.")
            target = Publication(there, name, replace=(lambda: _refuse_damage(source)) if overwrite else None)
            if not overwrite:
                target.claim()
            yield source, target


def _same(source: Source, store: Store, name: str) -> bool:
    """Whether source and target share a name, be it by two spellings of a local directory."""
    if source.store.path(source.key) == store.path(name):
        return True
    parent, key = source.store.url, source.key
    if not (isinstance(store, LocalStore) and os.path.isdir(parent) and os.path.isdir(store.url)):
        return False
    parent, _, key = f"{parent}/{key}".rpartition("/")
    return key == name and os.path.samefile(parent, store.url)


def _refuse_damage(source: Source) -> None:
    """Sees to it that a source is whole, before the target that it is to replace is lost."""
    damages = verify_checkpoint(source.store, source.key).damages
    if damages:
        first = damages[0]
        raise DataLossError(
            f"{first.file}: {first.problem}; nothing was replaced.",
            path=first.file,
            name=first.tensor,
            offset=first.offset,
        )
