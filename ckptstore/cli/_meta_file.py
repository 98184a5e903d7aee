"""The checkpoint that a path names, and where its MetaGraph is."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ckptstore.errors import CheckpointNotFoundError, InvalidArgumentError, NotFoundError, StorageError, UnsafePathError

if TYPE_CHECKING:
    from ckptstore.storage import Store


def meta_file(path: str, options: Mapping[str, Any] | None) -> str:
    """The path of a MetaGraph: of the file itself, of a checkpoint's, or of that of a directory's latest checkpoint.

    Raises:
        CheckpointNotFoundError: There is none.
        StorageError: The store could not be asked.
    """
    from ckptstore.format.naming import meta_name
    from ckptstore.storage import from_url, join_path, split_path
    from ckptstore.train.checkpoint_management import latest_checkpoint

    try:
        parent, key = split_path(path)
    except (InvalidArgumentError, UnsafePathError):
        parent, key = path, ""  # "." or a bucket alone
    if key:
        with from_url(parent, options) as store:
            for name in (meta_name(key), key):
                if _is_file(store, name):
                    return join_path(parent, name)
    latest = latest_checkpoint(path, storage_options=options)
    if latest is None:
        raise CheckpointNotFoundError(
            f"There is no MetaGraph {path}, no checkpoint of that name with one beside it, and no directory of "
            "checkpoints.",
            path=path,
        )
    return beside(latest)


def checkpoint_prefix(path: str, options: Mapping[str, Any] | None) -> str:
    """The prefix of a checkpoint: the path itself, or that of the latest in a directory.

    Raises:
        CheckpointNotFoundError: There is none.
    """
    from ckptstore.cli._target import open_target
    from ckptstore.train.checkpoint_management import latest_checkpoint

    store, key = open_target(path, options)
    store.close()
    prefix = path if key is not None else latest_checkpoint(path, storage_options=options)
    if prefix is None:
        raise CheckpointNotFoundError(
            f"{path} holds no checkpoints that a state file lists; `ckptstore ls` shows what is there.", path=path
        )
    return prefix


def beside(prefix: str) -> str:
    """Where the MetaGraph of a checkpoint is, if it has one."""
    from ckptstore.format.naming import meta_name
    from ckptstore.storage import join_path, split_path

    parent, key = split_path(prefix)
    return join_path(parent, meta_name(key))


def _is_file(store: Store, name: str) -> bool:
    try:
        store.head(name)
    except NotFoundError:
        return False
    except StorageError as error:
        if error.errno == errno.EISDIR:
            return False
        raise
    return True
