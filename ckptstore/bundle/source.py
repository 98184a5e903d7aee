"""What a checkpoint is to a reader, whichever format it is stored in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ckptstore.format.dtypes import DType
from ckptstore.format.slices import Box

if TYPE_CHECKING:
    from ckptstore.bundle.mapped import MappedTensors


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """What is known of a tensor without reading it.

    Attributes:
        name: Its name; bytes that are not UTF-8 as surrogate escapes.
        dtype: Element type.
        shape: Extent per dimension.
        nbytes: Stored bytes (for V1 files: of the array).
        slices: In how many pieces it is stored, or 0 if it is whole.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    nbytes: int
    slices: int = 0


class TensorSource(Protocol):
    """Tensors by name. Every method may raise DataLossError and StorageError, each naming file and tensor."""

    @property
    def path(self) -> str:
        """The checkpoint's prefix or path, for messages."""

    def names(self) -> list[str]:
        """All names in ascending order; pieces of partitioned tensors are not among them."""

    def info(self, name: str) -> TensorInfo | None:
        """What is known of a tensor, or None if there is none of that name."""

    def read(
        self, names: Iterable[str], *, verify: bool = True, read_only: bool = False
    ) -> dict[str, np.ndarray[Any, Any]]:
        """Reads tensors whole, and checks the checksum of each unless told not to.

        Args:
            names: Which.
            verify: Whether to check.
            read_only: Hand out arrays that cannot be written to, and that may be the files' own memory.
        """

    def read_box(self, name: str, box: Box, *, verify: bool = True) -> np.ndarray[Any, Any]:
        """Reads a part of a tensor, and little more than its bytes."""

    def mapped(self, names: Iterable[str]) -> MappedTensors:
        """Those of some tensors whose files can be mapped into memory; they are checked when they are touched."""
