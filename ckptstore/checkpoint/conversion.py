"""Turns V1 checkpoints into V2 bundles and back. Values, types and slices stay; the `.meta` file goes along as it is.

A further format is a further function: it takes a `Source` and a `Publication`, checks all before it puts anything, and
puts last what readers know the checkpoint by.
"""

from __future__ import annotations

import math

import numpy as np

from ckptstore.bundle import BundleBuilder, BundleReader, Progress
from ckptstore.checkpoint.copying import CopiedCheckpoint, Source, finished, put_meta
from ckptstore.checkpoint.publication import Publication
from ckptstore.checkpoint.v1_files import is_partitioned, pieces_of, read_v1, v1_name
from ckptstore.errors import IncompatibleTensorError, InvalidArgumentError, located
from ckptstore.format.dtypes import DType
from ckptstore.format.naming import data_name, expand_v1_pattern, index_name
from ckptstore.format.v1 import V1Tensor, V1Writer
from ckptstore.storage import Payload

_SHOWN = 20


def convert_to_v2(source: Source, target: Publication, progress: Progress | None = None) -> CopiedCheckpoint:
    """Writes a V1 checkpoint, of however many files, as a bundle with one data file. It is held in memory whole.

    Raises:
        InvalidArgumentError: It is no V1 checkpoint.
        DataLossError: It is damaged.
        CheckpointExistsError: Files of the target are there already.
        StorageError: A store refused.
    """
    if source.index is not None:
        raise _nothing_to_do(source, "V2")
    reader = read_v1(source.store, source.key)
    builder = BundleBuilder()
    total, done = sum(map(_size, reader.tensors.values())), 0
    for name in sorted(reader.tensors):
        tensor, shown = reader.tensors[name], name.decode("utf-8")
        with located(source.path, shown):
            for piece, value in pieces_of(reader, name):
                if is_partitioned(tensor):
                    builder.add_slice(shown, tensor.shape, piece, value, dtype=tensor.dtype)
                else:
                    builder.add(shown, value, dtype=tensor.dtype)
        done += _size(tensor)
        if progress is not None:
            progress(done, total)
    index, graph = builder.index(), source.meta()
    with target:
        target.put(data_name(target.key, 0, 1), builder.shards[0].payload())
        put_meta(target, graph)
        target.put(index_name(target.key), Payload.of(index))
    return finished(source, target, len(reader.tensors))


def convert_to_v1(source: Source, target: Publication, progress: Progress | None = None) -> CopiedCheckpoint:
    """Writes a bundle as one V1 file, which is made in memory.

    Raises:
        InvalidArgumentError: It is no bundle; or a name is not UTF-8.
        IncompatibleTensorError: V1 checkpoints cannot hold some of its tensors: all of those are listed.
        DataLossError: It is damaged.
        CheckpointExistsError: Files of the target are there already.
        StorageError: A store refused.
    """
    if source.index is None:
        raise _nothing_to_do(source, "V1")
    if expand_v1_pattern(target.key) is not None:
        raise InvalidArgumentError(f"{target.key!r} stands for several files, and one is written; name that.")
    reader = BundleReader(source.store, source.key)
    source.shards(reader.index)
    infos = {name: info for name in sorted(reader.names()) if (info := reader.info(name)) is not None}
    held: dict[DType, bool] = {dtype: _holds(dtype) for dtype in {info.dtype for info in infos.values()}}
    refused = [f"{name!r} ({info.dtype})" for name, info in infos.items() if not held[info.dtype]]
    if refused:
        more = f" and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
        raise IncompatibleTensorError(
            f"V1 checkpoints cannot hold {len(refused)} of the tensors of {source.path}: "
            f"{', '.join(refused[:_SHOWN])}{more}. Leave them out of a copy (`ckptstore cp --exclude`), "
            "and convert that.",
            path=source.path,
        )
    writer = V1Writer()
    total, done = sum(info.nbytes for info in infos.values()), 0
    for name, info in infos.items():
        key = v1_name(name)
        entry = reader.index.get(name)
        pieces = () if entry is None else entry.slices
        if pieces:
            reader.index.check_pieces(name)
        for piece in pieces:
            value = reader.read_box(name, piece.box(info.shape))
            writer.add_slice(key, info.shape, piece, value, dtype=info.dtype)
        if not pieces:
            writer.add(key, reader.read([name])[name], dtype=info.dtype)
        done += info.nbytes
        if progress is not None:
            progress(done, total)
    data, graph = writer.finish(), source.meta()
    with target:
        put_meta(target, graph)
        target.put(target.key, Payload.of(data))
    return finished(source, target, len(infos))


def _size(tensor: V1Tensor) -> int:
    return math.prod(tensor.shape) * tensor.dtype.itemsize


def _holds(dtype: DType) -> bool:
    """Whether V1 files can hold a type: the writer itself is asked, with an array of nothing."""
    if dtype.numpy is None:
        return False
    try:
        V1Writer().add(b"x", np.empty(0, dtype.numpy), dtype=dtype)
    except IncompatibleTensorError:
        return False
    return True


def _nothing_to_do(source: Source, version: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"{source.path} is a {version} checkpoint already; `ckptstore cp` copies it.", path=source.path
    )
