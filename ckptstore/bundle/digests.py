"""Digests of tensors' bytes: by them a save knows what the one before has stored already, without reading it."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ckptstore.errors import DataLossError

SIZE = 32
"""Bytes of a digest."""

# Both are cryptographic: nobody has ever found two texts of one digest. blake3 takes a third of the time.
_ALGORITHMS = ("blake3", "sha256")


@dataclass(frozen=True, slots=True)
class Digests:
    """The digests of all tensors (and pieces of tensors) of a bundle.

    Attributes:
        algorithm: How they were computed.
        by_key: Them, by key in the index.
    """

    algorithm: str
    by_key: Mapping[bytes, bytes]

    def encode(self) -> bytes:
        """All of them one after the other, in the order of the keys, which the index tells."""
        return b"".join(self.by_key[key] for key in sorted(self.by_key))

    @classmethod
    def decode(cls, algorithm: str, data: bytes, keys: Iterable[bytes]) -> Digests:
        """Reads what `encode` wrote.

        Args:
            algorithm: How they were computed.
            data: The bytes.
            keys: Of what has bytes of its own in the index.

        Raises:
            DataLossError: It is not of these keys.
        """
        ordered = sorted(keys)
        if len(data) != SIZE * len(ordered):
            raise DataLossError(f"{len(data)} bytes are not the digests of {len(ordered)} tensors")
        return cls(algorithm, {key: data[at * SIZE : (at + 1) * SIZE] for at, key in enumerate(ordered)})


def choose_algorithm(wanted: str | None = None) -> str:
    """The algorithm to use: the one wanted, if it is there, else the fastest that is (blake3, if installed)."""
    there = [name for name in _ALGORITHMS if _constructor(name) is not None]
    return wanted if wanted in there else there[0]


def digest(algorithm: str, buffers: Sequence[memoryview]) -> bytes:
    """The digest of the bytes of some buffers, one after the other."""
    new = _constructor(algorithm)
    if new is None:
        raise ValueError(f"{algorithm} is not installed")  # choose_algorithm has seen to that
    state = new()
    for buffer in buffers:
        state.update(buffer)
    return bytes(state.digest())


@cache
def _constructor(name: str) -> Callable[[], Any] | None:
    if name == "sha256":
        return hashlib.sha256
    try:
        return importlib.import_module(name).blake3  # type: ignore[no-any-return]
    except ImportError:
        return None
