"""The V1 files of a checkpoint, as a whole: read with all that they say of slices, and written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ckptstore.bundle.index import box_in
from ckptstore.errors import CheckpointNotFoundError, InvalidArgumentError, NotFoundError, located
from ckptstore.format.naming import expand_v1_pattern
from ckptstore.format.slices import TensorSlice, cover
from ckptstore.format.table import TableReader
from ckptstore.format.v1 import V1Reader, V1Tensor, V1Writer
from ckptstore.storage import Store


def v1_tables(store: Store, names: Sequence[str]) -> Iterator[tuple[bytes, TableReader]]:
    """The bytes of files, and the table in each.

    Raises:
        CheckpointNotFoundError: A file is not there.
        DataLossError: It holds no table.
    """
    for name in names:
        try:
            data, _ = store.get(name)
        except NotFoundError as error:
            raise CheckpointNotFoundError(f"There is no checkpoint {store.path(name)}.", path=store.path(name)) from (
                error
            )
        with located(store.path(name)):
            table = TableReader.from_bytes(data)
        yield data, table


def read_v1(store: Store, key: str) -> V1Reader:
    """Reads a V1 checkpoint: a file, or the pattern of several.

    Raises:
        CheckpointNotFoundError: A file is not there.
        DataLossError: A file is damaged, or no V1 checkpoint.
    """
    tables = [table for _, table in v1_tables(store, expand_v1_pattern(key) or [key])]
    with located(store.path(key)):
        return V1Reader(tables)


def pieces_of(reader: V1Reader, name: bytes) -> Iterator[tuple[TensorSlice, np.ndarray[Any, Any]]]:
    """The pieces of a tensor, in storage order; of one that is not partitioned, the whole.

    Raises:
        DataLossError: They are damaged, or do not make up the tensor.
    """
    tensor = reader.tensors[name]
    if not is_partitioned(tensor):
        yield TensorSlice.whole(len(tensor.shape)), reader.read(name)
        return
    cover(tuple((0, size) for size in tensor.shape), [box_in(piece, tensor.shape) for piece in tensor.slices])
    for piece in tensor.slices:
        yield piece, reader.read(name, piece)


def is_partitioned(tensor: V1Tensor) -> bool:
    """Whether a tensor is stored in pieces."""
    return tensor.slices != (TensorSlice.whole(len(tensor.shape)),)


def v1_bytes(reader: V1Reader, names: Mapping[str, str]) -> bytes:
    """One V1 file of some tensors of others, in the order of their new names.

    Args:
        reader: The others.
        names: New name by old name.

    Raises:
        DataLossError: A tensor is damaged.
        InvalidArgumentError: A name cannot be one.
    """
    writer = V1Writer()
    for old, new in sorted(names.items(), key=lambda item: item[1]):
        tensor = reader.tensors[v1_name(old)]
        for piece, value in pieces_of(reader, tensor.name):
            writer.add_slice(v1_name(new), tensor.shape, piece, value, dtype=tensor.dtype)
    return writer.finish()


def v1_name(name: str) -> bytes:
    """A tensor's name as V1 files hold it.

    Raises:
        InvalidArgumentError: It is not UTF-8.
    """
    try:
        return name.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(
            f"The name {name!a} is not UTF-8, which V1 checkpoints cannot hold; rename the tensor.", name=name
        ) from error
