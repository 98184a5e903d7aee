"""Builds tables that no writer would write: keys in any order, blocks that lie, handles to anywhere.

The checksums are right.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ckptstore.format.block import BlockBuilder
from ckptstore.format.checksum import crc32c, mask
from ckptstore.format.coding import encode_fixed32, encode_fixed64, encode_varint
from ckptstore.format.table import FOOTER_SIZE, MAGIC

EMPTY_BLOCK = bytes.fromhex("0000000001000000")


def block(entries: Iterable[tuple[bytes, bytes]], interval: int = 16) -> bytes:
    """A block of entries, in whatever order they come."""
    builder = BlockBuilder(interval)
    for key, value in entries:
        builder.add(key, value)
    return builder.finish()


def sealed(contents: bytes, kind: int = 0) -> bytes:
    """Contents with a type byte and the right checksum."""
    stored = contents + bytes((kind,))
    return stored + encode_fixed32(mask(crc32c(stored)))


def raw_entry(shared: int, key: bytes, value: bytes, unshared: int | None = None, size: int | None = None) -> bytes:
    """An entry whose lengths say whatever one likes."""
    lengths = (shared, len(key) if unshared is None else unshared, len(value) if size is None else size)
    return b"".join(map(encode_varint, lengths)) + key + value


def raw_block(entries: bytes, restarts: Sequence[int] = (0,), count: int | None = None) -> bytes:
    """A block of entries that are bytes already."""
    tail = b"".join(map(encode_fixed32, restarts))
    return entries + tail + encode_fixed32(len(restarts) if count is None else count)


def handle(offset: int, size: int) -> bytes:
    return encode_varint(offset) + encode_varint(size)


def footer(metaindex: bytes, index: bytes) -> bytes:
    return (metaindex + index).ljust(FOOTER_SIZE - 8, b"\x00") + encode_fixed64(MAGIC)


def table(blocks: Sequence[bytes], *, kinds: Sequence[int] | None = None, keys: Sequence[bytes] | None = None) -> bytes:
    """A table of ready blocks; each is entered in the index under a key of its own."""
    out = bytearray()
    handles = []
    for contents, kind in zip(blocks, kinds or [0] * len(blocks), strict=True):
        handles.append(handle(len(out), len(contents)))
        out += sealed(contents, kind)
    if keys is None:
        keys = [b"\xff" * (i + 1) for i in range(len(blocks))]
    return with_index(bytes(out), list(zip(keys, handles, strict=True)))


def with_index(body: bytes, index: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Data blocks that are bytes already, under an index of any keys and handles."""
    contents = block(index, 1)
    meta = handle(len(body), len(EMPTY_BLOCK))
    body += sealed(EMPTY_BLOCK)
    return body + sealed(contents) + footer(meta, handle(len(body), len(contents)))
