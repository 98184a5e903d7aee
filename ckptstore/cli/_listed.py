"""The checkpoint that a command's path names, in the directory that lists it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ckptstore.checkpoint import CheckpointDirectory


@contextlib.contextmanager
def listed_target(path: str, options: Mapping[str, Any] | None) -> Iterator[tuple[CheckpointDirectory, str]]:
    """The directory of a checkpoint, and its name there.

    A name with a directory of its own ("run/r-0123456789abcdef/ckpt-7") is one of "run".
    """
    import re

    from ckptstore.checkpoint import CheckpointDirectory
    from ckptstore.storage import from_url, split_path

    parent, key = split_path(path)
    above = re.fullmatch(r"(.*[^/:])/+(r-[0-9a-f]{16})/*", parent) or re.fullmatch(r"(\.?)(r-[0-9a-f]{16})", parent)
    if above is not None:
        parent, key = above[1] or ".", f"{above[2]}/{key}"
    with from_url(parent, options) as store:
        yield CheckpointDirectory(store), key
