"""Writes a V1 checkpoint to a store: one file, or one per shard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ckptstore.bundle.builder import tensor_key
from ckptstore.bundle.partitioned import Partitioned
from ckptstore.bundle.writer import put_all
from ckptstore.errors import IncompatibleTensorError, InvalidArgumentError
from ckptstore.format.dtypes import DType, as_dtype
from ckptstore.format.naming import expand_v1_pattern, v1_shard_name, v1_shard_pattern
from ckptstore.format.slices import TensorSlice
from ckptstore.format.tensor import as_array
from ckptstore.format.v1 import V1Writer
from ckptstore.storage import ObjectMeta, Payload, Store


class V1BundleWriter:
    """Collects tensors, then puts the files of a V1 checkpoint. A `TensorSink`; `BundleWriter` for the old format.

    Args:
        store: Where to.
        prefix: The checkpoint's name, a key of the store.
        sharded: Write `PREFIX-SSSSS-of-NNNNN`, one file for each `begin_shard`; else the one file `PREFIX`.
    """

    def __init__(self, store: Store, prefix: str, *, sharded: bool = False) -> None:
        self._store = store
        self._prefix = prefix
        self._sharded = sharded
        self._shards = [V1Writer()]
        self._placed = False
        self._apart = False
        self._tensors: dict[bytes, _Added] = {}

    def __len__(self) -> int:
        return len(self._tensors)

    def add(self, name: str, value: Any, *, dtype: Any = None) -> None:
        """Adds a tensor, or (as a `Partitioned`) the pieces of one. It is copied at once.

        Args:
            name: The tensor's name: not empty, and not added before.
            value: An array, or anything that numpy makes one of.
            dtype: The element type to store, where numpy's does not tell it (the quantised ones).

        Raises:
            InvalidArgumentError: The name is not a str, is empty or not UTF-8, or was added before.
            IncompatibleTensorError: The value cannot be stored, or not in this format.
        """
        if isinstance(value, Partitioned):
            if not value.pieces:
                raise IncompatibleTensorError(f"Tensor {name!r} is partitioned into no pieces.", name=str(name))
            for piece, part in value.pieces:
                self.add_slice(name, value.shape, piece, part, dtype=dtype)
            return
        array, found = as_array(value, str(name), None if dtype is None else as_dtype(dtype))
        if tensor_key(name) in self._tensors:
            raise InvalidArgumentError(f"Two tensors are named {name!r}; names must differ.", name=name)
        self._add(name, array.shape, TensorSlice.whole(array.ndim), array, found)

    def add_slice(
        self, name: str, shape: tuple[int, ...], piece: TensorSlice, value: Any, *, dtype: Any = None
    ) -> None:
        """Adds one piece of a tensor; unlike in a bundle, one that is all of it stays a piece.

        Raises:
            InvalidArgumentError, IncompatibleTensorError: As in `add`; or it contradicts an earlier piece.
        """
        array, found = as_array(value, str(name), None if dtype is None else as_dtype(dtype))
        before = self._tensors.get(tensor_key(name))
        if before is not None and not before.takes(_Added(found, tuple(shape), [piece])):
            raise IncompatibleTensorError(
                f"Tensor {name!r} was added before with another type or shape, or with the same slice.", name=name
            )
        self._add(name, tuple(shape), piece, array, found)

    def add_all(self, items: Mapping[str, Any]) -> None:
        """Adds several tensors, in the order of the mapping."""
        for name, value in items.items():
            self.add(name, value)

    def begin_shard(self) -> None:
        """Puts what is added from now on into another file. One that would hold no tensor is not made.

        Raises:
            InvalidArgumentError: It was not made with `sharded=True`.
        """
        if not self._sharded:
            raise InvalidArgumentError("A V1 checkpoint of one file has no shards; write it with sharded=True.")
        self._apart = True

    def name(self, prefix: str) -> str:
        """The name by which a state file lists the checkpoint: the prefix, or the pattern that stands for all shards.

        Raises:
            InvalidArgumentError: The prefix would be taken for such a pattern.
        """
        if self._sharded:
            return v1_shard_pattern(prefix, len(self._shards))
        if expand_v1_pattern(prefix) is not None:
            raise InvalidArgumentError(f"{prefix!r} would be read as the pattern of several files; use another name.")
        return prefix

    def move(self, store: Store, prefix: str) -> None:
        """Writes to another place from now on; the tensors stay."""
        self._store = store
        self._prefix = prefix

    def write_data(self) -> list[ObjectMeta]:
        """Puts every file but the last, several side by side.

        Raises:
            InvalidArgumentError: Nothing was added.
        """
        if not self._tensors:
            raise InvalidArgumentError("There is nothing to save: a checkpoint holds at least one tensor.")
        return put_all([partial(self._put, number, name) for number, name in enumerate(self._files()[:-1])])

    def _put(self, number: int, name: str) -> ObjectMeta:
        return self._store.put(name, Payload.of(self._shards[number].finish()))

    def write_index(self) -> ObjectMeta:
        """Puts the last file, without which there is no checkpoint; `write_data` has been called before."""
        return self._store.put(self._files()[-1], Payload.of(self._shards[-1].finish()))

    def finish(self) -> None:
        """Puts everything."""
        self.write_data()
        self.write_index()

    def _files(self) -> list[str]:
        if not self._sharded:
            return [self.name(self._prefix)]
        return [v1_shard_name(self._prefix, number, len(self._shards)) for number in range(len(self._shards))]

    def _add(self, name: str, shape: tuple[int, ...], piece: TensorSlice, value: Any, dtype: DType) -> None:
        key = tensor_key(name)
        shard = V1Writer() if self._apart and self._placed else self._shards[-1]
        shard.add_slice(key, shape, piece, value, dtype=dtype)
        if shard is not self._shards[-1]:  # only now: a tensor that is refused begins no shard
            self._shards.append(shard)
        self._placed, self._apart = True, False
        self._tensors.setdefault(key, _Added(dtype, shape, [])).slices.append(piece)


@dataclass(frozen=True, slots=True)
class _Added:
    """What was added of one tensor, in whatever shard."""

    dtype: DType
    shape: tuple[int, ...]
    slices: list[TensorSlice]

    def takes(self, other: _Added) -> bool:
        """Whether other pieces can join these."""
        whole = TensorSlice.whole(len(self.shape))
        mixed = whole in self.slices or whole in other.slices
        return (
            (self.dtype, self.shape) == (other.dtype, other.shape)
            and not mixed
            and not set(self.slices) & set(other.slices)
        )
