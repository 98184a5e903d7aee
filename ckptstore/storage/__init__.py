"""Keys to bytes: the stores, and what stands before them.

`from_url` makes the usual stack from a path or URL. fsspec and the cloud clients are imported when a name that needs
them is first used: reading a local checkpoint waits for none of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ckptstore.storage._base import (
    Capabilities,
    ObjectMeta,
    ObjectRange,
    Payload,
    ReadTarget,
    Store,
    Upload,
    UploadPart,
    check_key,
    check_tag,
)
from ckptstore.storage._local import LocalStore
from ckptstore.storage._memory import MemoryStore
from ckptstore.storage._probe import probe
from ckptstore.storage._retrying import RetryingStore, RetryPolicy
from ckptstore.storage._transfer import TransferStore
from ckptstore.storage._upload_notes import UPLOAD_NOTES, UploadNote
from ckptstore.storage._wrapper import WrapperStore

if TYPE_CHECKING:
    from ckptstore.storage._fsspec import FsspecStore
    from ckptstore.storage._url import from_url, join_path, split_path

__all__ = [
    "UPLOAD_NOTES",
    "Capabilities",
    "FsspecStore",
    "LocalStore",
    "MemoryStore",
    "ObjectMeta",
    "ObjectRange",
    "Payload",
    "ReadTarget",
    "RetryPolicy",
    "RetryingStore",
    "Store",
    "TransferStore",
    "Upload",
    "UploadNote",
    "UploadPart",
    "WrapperStore",
    "check_key",
    "check_tag",
    "from_url",
    "join_path",
    "probe",
    "split_path",
]

_LAZY = {
    "FsspecStore": "ckptstore.storage._fsspec",
    "from_url": "ckptstore.storage._url",
    "join_path": "ckptstore.storage._url",
    "split_path": "ckptstore.storage._url",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
