"""Tensors whose bytes are mapped into memory, and that are checked when they are first touched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ckptstore.bundle.extents import alone
from ckptstore.bundle.fetching import fetch
from ckptstore.bundle.source import TensorInfo
from ckptstore.format.entry import BundleEntry
from ckptstore.format.slices import Box


class MappedTensors:
    """Tensors of numbers in mapped data files; a `TensorSource` that needs its store no more.

    Whoever asks for a tensor first waits until the whole of it has been held against its checksum. All get the same
    array, which is read-only.

    Args:
        path: The checkpoint's prefix, in full.
        entries: Their entries, by name.
        maps: The bytes of the data files that they are in, by number.
        files: The full names of those.
    """

    def __init__(
        self,
        path: str,
        entries: Mapping[str, BundleEntry],
        maps: Mapping[int, memoryview],
        files: Mapping[int, str],
    ) -> None:
        self._path = path
        self._entries = entries
        self._maps = maps
        self._files = files
        self._checked: dict[str, np.ndarray[Any, Any]] = {}

    @property
    def path(self) -> str:
        """See `TensorSource`."""
        return self._path

    def names(self) -> list[str]:
        """See `TensorSource`."""
        return sorted(self._entries)

    def info(self, name: str) -> TensorInfo | None:
        """See `TensorSource`."""
        entry = self._entries.get(name)
        return None if entry is None else TensorInfo(name, entry.dtype, entry.shape, entry.size)

    def read(
        self, names: Iterable[str], *, verify: bool = True, read_only: bool = True
    ) -> dict[str, np.ndarray[Any, Any]]:
        """The arrays of tensors, of which those are checked now that were not before.

        Raises:
            DataLossError: One is damaged: now, and whenever it is asked for.
        """
        del verify, read_only
        return {name: self._read(name) for name in names}

    def read_box(self, name: str, box: Box, *, verify: bool = True) -> np.ndarray[Any, Any]:
        """A part of a tensor, of which the whole is checked.

        Raises:
            DataLossError: The tensor is damaged.
        """
        del verify
        return self._read(name)[tuple(slice(start, stop) for start, stop in box)]

    def mapped(self, names: Iterable[str]) -> MappedTensors:
        """See `TensorSource`."""
        del names
        return self

    def _read(self, name: str) -> np.ndarray[Any, Any]:
        found = self._checked.get(name)
        if found is not None:
            return found
        extent = alone(name, self._entries[name], self._maps)
        if not extent.mapped:  # out of line for its type: no array can be made of it in place
            extent.data[:] = self._maps[extent.shard][extent.offset :][: extent.data.nbytes]
        fetch([extent], None, self._files.__getitem__, verify=True)
        (array,) = extent.arrays()
        array.flags.writeable = False
        # No lock, which a child of a fork would find locked for ever: two threads may check the same tensor.
        return self._checked.setdefault(name, array)
