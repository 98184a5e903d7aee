"""Where the MetaGraph of what a path names is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckptstore.errors import CheckpointNotFoundError, InvalidArgumentError, NotFoundError, StorageError, UnsafePathError


def meta_file(path: str, options: Mapping[str, Any] | None) -> str:
    """The path of a MetaGraph: of the file itself, of a checkpoint's, or of that of a directory's latest checkpoint.

    Raises:
        CheckpointNotFoundError: There is none.
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
                try:
                    store.head(name)
                except (NotFoundError, StorageError):  # also a directory
                    continue
                return join_path(parent, name)
    latest = latest_checkpoint(path, storage_options=options)
    if latest is None:
        raise CheckpointNotFoundError(
            f"There is no MetaGraph {path}, no checkpoint of that name with one beside it, and no directory of "
            "checkpoints.",
            path=path,
        )
    parent, key = split_path(latest)
    return join_path(parent, meta_name(key))
