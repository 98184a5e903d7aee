"""What the path of a command line names, with a hint for the usual slips."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ckptstore.errors import CheckpointNotFoundError

if TYPE_CHECKING:
    from ckptstore.storage import Store


def open_target(path: str, options: Mapping[str, Any] | None) -> tuple[Store, str | None]:
    """The store and key of a checkpoint, or the store of a directory and None. The caller closes the store.

    Raises:
        CheckpointNotFoundError: It is neither; the message says what it might have been meant for.
    """
    from ckptstore.checkpoint import CheckpointDirectory
    from ckptstore.storage import LocalStore
    from ckptstore.train.checkpoint_utils import locate

    store, key = locate(path, options)
    try:
        if key is None and isinstance(store, LocalStore) and not os.path.isdir(store.url):
            parent, _, name = store.url.rpartition("/")
            parts = [c for c in CheckpointDirectory(LocalStore(parent or "/")).stored(name + ".") if c.prefix == name]
            if parts:
                files = ", ".join(file.key for file in parts[0].files)
                raise CheckpointNotFoundError(
                    f"There is no checkpoint {store.url}, only parts of one ({files}) and no index: its save did not "
                    "finish, or its deletion.",
                    path=store.url,
                )
            raise CheckpointNotFoundError(f"There is no checkpoint and no directory {store.url}.", path=store.url)
    except BaseException:
        store.close()
        raise
    return store, key
