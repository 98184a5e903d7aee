"""A bundle of some tensors of another one, under other names: where which bytes go, without reading one. Pure.

The bytes of a tensor, and their checksum, do not depend on its name or place, so tensors of every type, and the pieces
of partitioned ones, are taken over as they are stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ckptstore.bundle.index import BundleIndex
from ckptstore.errors import InvalidArgumentError
from ckptstore.format.entry import HEADER_KEY, BundleEntry
from ckptstore.format.slices import slice_key
from ckptstore.format.table import TableWriter


@dataclass(frozen=True, slots=True)
class Placed:
    """A tensor, or a piece of one, and where it goes.

    Attributes:
        name: The tensor's name in the old bundle.
        entry: Where its bytes lie in the old bundle.
        offset: Where they lie in the one data file of the new bundle.
    """

    name: str
    entry: BundleEntry
    offset: int


@dataclass(frozen=True, slots=True)
class Relayout:
    """A bundle to be written.

    Attributes:
        index: The bytes of its `.index` file.
        placed: What its data file holds, from the beginning to the end.
    """

    index: bytes
    placed: tuple[Placed, ...]


def lay_out(index: BundleIndex, names: Mapping[str, str]) -> Relayout:
    """Lays tensors out as TensorFlow's Saver does: one data file, in the order of their new names.

    Args:
        index: The index of the old bundle.
        names: New name by old name.

    Raises:
        DataLossError: An entry is damaged, or pieces of a tensor are missing.
        InvalidArgumentError: Two tensors would have the same name, or a name cannot be one.
    """
    entries: dict[bytes, BundleEntry] = {}
    placed: list[Placed] = []
    end = 0

    def claim(key: bytes, entry: BundleEntry, name: str) -> None:
        if key in entries or key == HEADER_KEY:
            raise InvalidArgumentError(f"No other tensor can be named {name!r}; choose another name.", name=name)
        entries[key] = entry

    def place(key: bytes, entry: BundleEntry, old: str, new: str) -> None:
        nonlocal end
        claim(key, entry._replace(shard=0, offset=end), new)
        placed.append(Placed(old, entry, end))
        end += entry.size

    for old, new in sorted(names.items(), key=lambda item: item[1]):
        entry = index.get(old)
        if entry is None:
            raise InvalidArgumentError(f"{index.path} has no tensor {old!r}.", path=index.path, name=old)
        key = _encoded(new)
        if entry.slices:
            index.check_pieces(old)
            claim(key, entry._replace(shard=0, offset=0), new)
            for piece in entry.slices:
                place(slice_key(key, piece), index.piece(old, entry, piece), old, new)
        else:
            place(key, entry, old, new)
    table = TableWriter()
    table.add(HEADER_KEY, replace(index.header, num_shards=1).encode())
    for key in sorted(entries):
        table.add(key, entries[key].encode())
    return Relayout(table.finish(), tuple(placed))


def _encoded(name: str) -> bytes:
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(f"The name {name!a} has a lone surrogate in it.", name=name) from error
