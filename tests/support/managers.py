"""Managers on stores that have no URL."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import ckptstore as ck
from ckptstore.storage import Store, from_url
from ckptstore.train import checkpoint_manager

_stores: dict[str, Store] = {}
_numbers = itertools.count()


def _from_url(url: Any, options: Mapping[str, Any] | None = None) -> Store:
    store = _stores.get(url) if isinstance(url, str) else None
    return from_url(url, options) if store is None else store


# For good: a patch that is taken back would cross that of another thread, which makes its manager at the same time.
checkpoint_manager.from_url = _from_url  # type: ignore[attr-defined]


def manager_on(store: Store, **options: Any) -> ck.CheckpointManager:
    """A CheckpointManager whose directory is a store's root."""
    path = f"dir-{next(_numbers)}"
    _stores[path] = store
    try:
        return ck.CheckpointManager(path, **options)
    finally:
        del _stores[path]
