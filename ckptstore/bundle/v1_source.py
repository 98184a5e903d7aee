"""Reads V1 checkpoints from a store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ckptstore.bundle.mapped import MappedTensors
from ckptstore.bundle.source import TensorInfo
from ckptstore.errors import CheckpointNotFoundError, NotFoundError, TensorNotFoundError, located
from ckptstore.format.naming import expand_v1_pattern
from ckptstore.format.slices import Box, TensorSlice
from ckptstore.format.table import TableReader
from ckptstore.format.v1 import V1Reader
from ckptstore.storage import Store


class V1Source:
    """The tensors of one V1 checkpoint; a `TensorSource`. The files are read whole when it is opened.

    Every block of a V1 file has a checksum of its own, which is always checked.

    Args:
        store: Where it is.
        key: The file, or the pattern `P-?????-of-NNNNN` that stands for all shards.

    Raises:
        CheckpointNotFoundError: A file is not there.
        DataLossError: A file is damaged, or no V1 checkpoint.
    """

    def __init__(self, store: Store, key: str) -> None:
        self.path = store.path(key)
        tables = []
        for file in expand_v1_pattern(key) or [key]:
            try:
                data, _ = store.get(file)
            except NotFoundError as error:
                raise CheckpointNotFoundError(
                    f"There is no checkpoint {store.path(file)}.", path=store.path(file)
                ) from error
            with located(store.path(file)):
                tables.append(TableReader.from_bytes(data))
        with located(self.path):
            self._reader = V1Reader(tables)

    def names(self) -> list[str]:
        """All names in ascending order of their bytes."""
        return [name.decode("utf-8") for name in sorted(self._reader.tensors)]

    def info(self, name: str) -> TensorInfo | None:
        """What the files' metadata say of a tensor, or None."""
        found = self._reader.tensors.get(_key(name))
        if found is None:
            return None
        sliced = any(piece != TensorSlice.whole(len(found.shape)) for piece in found.slices)
        nbytes = int(np.prod(found.shape, dtype=object)) * found.dtype.itemsize
        return TensorInfo(name, found.dtype, found.shape, nbytes, len(found.slices) if sliced else 0)

    def read(
        self, names: Iterable[str], *, verify: bool = True, read_only: bool = False
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Reads tensors whole, in any slicing.

        Raises:
            TensorNotFoundError: Some are not there; all of those are listed.
            DataLossError: Pieces are damaged or missing.
        """
        del verify  # the blocks' checksums are part of the format and cost nothing extra
        wanted = list(names)
        missing = tuple(name for name in wanted if _key(name) not in self._reader.tensors)
        if missing:
            raise TensorNotFoundError(
                f"{self.path} has no tensor {', '.join(map(repr, missing[:20]))}",
                path=self.path,
                name=missing[0],
                missing=missing,
            )
        out = {name: self._read(name, None) for name in wanted}
        for array in out.values():
            array.flags.writeable = not read_only
        return out

    def mapped(self, names: Iterable[str]) -> MappedTensors:
        """None of them: the format compresses, and splits tensors up."""
        del names
        return MappedTensors(self.path, {}, {}, {})

    def read_box(self, name: str, box: Box, *, verify: bool = True) -> np.ndarray[Any, Any]:
        """Reads a part of a tensor.

        Raises:
            TensorNotFoundError, DataLossError: As in `read`.
        """
        del verify
        if _key(name) not in self._reader.tensors:
            return self.read([name])[name]
        if any(start == stop for start, stop in box):  # a TensorSlice is never empty
            return self._read(name, None)[tuple(slice(a, b) for a, b in box)]
        return self._read(name, TensorSlice(tuple((start, stop - start) for start, stop in box)))

    def _read(self, name: str, piece: TensorSlice | None) -> np.ndarray[Any, Any]:
        with located(self.path, name):
            return self._reader.read(_key(name), piece)


def _key(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape") if isinstance(name, str) else b""
