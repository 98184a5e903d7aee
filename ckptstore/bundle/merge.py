"""One index over several bundles: what TensorFlow's MergeV2Checkpoints does, without moving a byte. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ckptstore.errors import DataLossError, InvalidArgumentError
from ckptstore.format.entry import HEADER_KEY, BundleEntry, BundleHeader
from ckptstore.format.table import TableReader, TableWriter


@dataclass(frozen=True, slots=True)
class MergedIndex:
    """The outcome of a merge.

    Attributes:
        index: The bytes of the merged `.index` file.
        shards: For each data shard of the result, in order: which part it comes from, and which shard of that part.
    """

    index: bytes
    shards: tuple[tuple[int, int], ...]


def merge_indexes(parts: Sequence[bytes]) -> MergedIndex:
    """Merges the `.index` files of several bundles, in order.

    Shards are numbered in the order in which entries mention them, as TensorFlow does; slices of one tensor from
    several parts come together under one entry, which carries the shard number of the first part that mentions it.

    Args:
        parts: The bytes of each part's `.index` file.

    Raises:
        DataLossError: A part is damaged.
        InvalidArgumentError: There are no parts, a part holds no tensors (TensorFlow's outcome would be unreadable),
            two parts hold the same tensor, or they differ in byte order or version.
    """
    shards: dict[tuple[int, int], int] = {}
    merged: dict[bytes, BundleEntry] = {}
    first: BundleHeader | None = None
    total = 0
    for number, data in enumerate(parts):
        header, entries = _read(data)
        first = first or header
        if replace(header, num_shards=first.num_shards) != first:
            raise InvalidArgumentError("Bundles of different byte order or version cannot be merged.")
        total += header.num_shards
        for key, entry in entries:
            have = merged.get(key)
            if have is None:
                shard = shards.setdefault((number, entry.shard), len(shards))
                merged[key] = entry._replace(shard=shard)
            elif have.slices and entry.slices and (have.dtype, have.shape) == (entry.dtype, entry.shape):
                merged[key] = have._replace(slices=have.slices + entry.slices)
            else:
                raise InvalidArgumentError(f"Two parts hold the tensor {key!r}, or slices of it that do not fit.")
    if first is None or total != len(shards):
        raise InvalidArgumentError(
            f"{len(parts)} parts with {total} shards, of which {len(shards)} hold tensors, cannot be merged; "
            "leave out parts without tensors."
        )
    table = TableWriter()
    table.add(HEADER_KEY, replace(first, num_shards=total).encode())
    for key in sorted(merged):
        table.add(key, merged[key].encode())
    return MergedIndex(table.finish(), tuple(shards))


def _read(data: bytes) -> tuple[BundleHeader, Iterable[tuple[bytes, BundleEntry]]]:
    entries = iter(TableReader.from_bytes(data))
    key, value = next(entries, (None, b""))
    if key != HEADER_KEY:
        raise DataLossError("the index has no header entry")
    return BundleHeader.decode(value), ((key, BundleEntry.decode(value)) for key, value in entries)
