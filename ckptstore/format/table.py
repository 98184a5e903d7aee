"""The sorted string table: TensorFlow's `.index` files and V1 checkpoints (LevelDB's format without filters).

    table    = data block*  metaindex block  index block  footer      (blocks: see block.py)
    index    = one entry per data block: a key that is >= the block's last and < the next one's first -> handle
    handle   = varint offset, varint size without the 5-byte trailer
    footer   = metaindex handle, index handle, zeros up to 40 bytes, fixed64 magic

Source of the constants and of the order of the writer's decisions: tensorflow/tsl lib/io/table_builder.cc.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ckptstore.errors import DataLossError
from ckptstore.format.block import (
    TRAILER_SIZE,
    BlockBuilder,
    common_prefix,
    entries,
    limits,
    seal,
    seek,
    unseal,
)
from ckptstore.format.block_rows import BlockRows, entry_rows
from ckptstore.format.coding import decode_fixed64, decode_varint, encode_fixed64, encode_varint
from ckptstore.format.rows import Rows, ascending, common_prefixes, total_lengths

MAGIC = 0xDB4775248B80FB57
FOOTER_SIZE = 48
BLOCK_SIZE = 262144
_DATA_RESTART_INTERVAL = 16
_INDEX_RESTART_INTERVAL = 1
_SEEKS = 16  # in a block, each of which costs a hundredth of decoding it
_KEPT_BLOCKS = 64  # decoded blocks that are kept; neighbours are mostly asked for one after the other


class TableWriter:
    """Turns ascending keys and their values into the bytes of a table, exactly as TensorFlow's writer does.

    Args:
        block_size: A block is closed once it has this many bytes.
        restart_interval: See block.py.
    """

    def __init__(self, *, block_size: int = BLOCK_SIZE, restart_interval: int = _DATA_RESTART_INTERVAL) -> None:
        self._block_size = block_size
        self._interval = restart_interval
        self._out: list[bytes] = []
        self._offset = 0
        self._data = BlockBuilder(restart_interval)
        self._index = BlockBuilder(_INDEX_RESTART_INTERVAL)
        self._pending: bytes | None = None  # the handle of a finished block whose index key is not chosen yet
        self._last_key: bytes | None = None

    def add(self, key: bytes, value: bytes) -> None:
        """Appends an entry.

        Raises:
            ValueError: The key is not greater than the one before.
        """
        if self._last_key is not None:
            if key <= self._last_key:
                raise ValueError(f"table keys must ascend: {key!r} after {self._last_key!r}")
            if len(key) + len(value) >= 2 * self._block_size:
                self._flush()
        if self._pending is not None:
            self._index.add(separator(self._last_key or b"", key), self._pending)
            self._pending = None
        self._last_key = key
        self._data.add(key, value)
        if self._data.size >= self._block_size:
            self._flush()

    def add_rows(self, keys: Rows, values: Sequence[Rows]) -> None:
        """Appends entries as `add` does, in a fraction of the time where there are many, and none is long.

        Args:
            keys: Their keys.
            values: The parts that their values are joined of.

        Raises:
            ValueError: The keys do not ascend.
        """
        if not len(keys):
            return
        shared = common_prefixes(keys)
        first = keys[:1].tolist()[0]
        if not ascending(keys, shared).all() or (self._last_key is not None and first <= self._last_key):
            raise ValueError(f"table keys must ascend: not so from {first!r} on")
        shared = np.concatenate([[0], shared])
        if int(total_lengths([keys, *values]).max()) >= 2 * self._block_size:
            raise ValueError("entries that are larger than a block are added one by one")
        taken = 0
        while taken < len(keys):
            if self._pending is not None:
                self._index.add(separator(self._last_key or b"", keys[taken : taken + 1].tolist()[0]), self._pending)
                self._pending = None
            rest = slice(taken, None)
            taken += self._data.add_rows(keys[rest], shared[rest], [value[rest] for value in values], self._block_size)
            self._last_key = self._data.last_key
            if self._data.size >= self._block_size:
                self._flush()

    def finish(self) -> bytes:
        """The bytes of the whole table. The writer is used up."""
        self._flush()
        metaindex = self._emit(BlockBuilder(_DATA_RESTART_INTERVAL).finish())
        if self._pending is not None:
            self._index.add(successor(self._last_key or b""), self._pending)
        index = self._emit(self._index.finish())
        return b"".join([*self._out, _encode_footer(metaindex, index)])

    def _flush(self) -> None:
        if not self._data.empty:
            self._pending = self._emit(self._data.finish())
            self._data = BlockBuilder(self._interval)

    def _emit(self, block: bytes) -> bytes:
        handle = _encode_handle(self._offset, len(block))
        self._out += [block, seal(block)]
        self._offset += len(block) + TRAILER_SIZE
        return handle


def separator(low: bytes, high: bytes) -> bytes:
    """A short key k with low <= k < high: what an index block says between two data blocks."""
    i = common_prefix(low, high)
    if i < min(len(low), len(high)) and low[i] < 0xFF and low[i] + 1 < high[i]:
        return low[:i] + bytes((low[i] + 1,))
    return low


def successor(key: bytes) -> bytes:
    """A short key >= `key`: what an index block says after the last data block."""
    for i, byte in enumerate(key):
        if byte != 0xFF:
            return key[:i] + bytes((byte + 1,))
    return key


class TableReader:
    """Looks keys up in a table, reading only the blocks it needs.

    Takes any block size, restart interval and index key, snappy blocks, and extra bytes behind a handle.

    Args:
        read: `read(offset, size)` hands over that many bytes of the file; called within the file's bounds only.
        size: The size of the file, in bytes.

    Raises:
        DataLossError: Footer or index block are damaged, here and in every method.
    """

    def __init__(self, read: Callable[[int, int], bytes | memoryview], size: int) -> None:
        self._read = read
        self._size = size
        self._decoded: dict[int, dict[bytes, bytes]] = {}
        self._sought: dict[int, int] = {}  # how often keys were looked for in blocks that were not decoded then
        self._last: tuple[int, bytes] | None = None  # the data block that was read last
        if size < FOOTER_SIZE:
            raise DataLossError(f"file is too short to be an sstable: {size} bytes", offset=0)
        footer = bytes(read(size - FOOTER_SIZE, FOOTER_SIZE))
        if decode_fixed64(footer, FOOTER_SIZE - 8) != MAGIC:
            raise DataLossError("not an sstable (bad magic number)", offset=size - 8)
        metaindex, position = _decode_handle(footer, 0)
        index, _ = _decode_handle(footer, position)
        # Neither the padding nor the metaindex block says anything. They are looked at so that a table with any bit
        # of it flipped is found out.
        if footer != _encode_footer(_encode_handle(*metaindex), _encode_handle(*index)):
            raise DataLossError("bad table footer: odd handles, or padding that is not zero", offset=size - FOOTER_SIZE)
        self._load(metaindex)
        self._index_keys: list[bytes] = []
        self._handles: list[tuple[int, int]] = []
        end = 0
        for key, value in entries(self._load(index)):
            handle, _ = _decode_handle(value, 0)
            if handle[0] < end:
                raise DataLossError("the index names blocks out of order or twice", offset=index[0])
            end = handle[0] + handle[1] + TRAILER_SIZE
            self._index_keys.append(key)
            self._handles.append(handle)

    @classmethod
    def from_bytes(cls, data: bytes) -> TableReader:
        """A reader of a table in memory."""
        view = memoryview(data)
        return cls(lambda offset, size: view[offset : offset + size], len(data))

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, or None if the table does not have it."""
        block = bisect_left(self._index_keys, key)
        if block < len(self._handles):
            value = self._find(block, key)
            if value is not None:
                return value
        if block:
            self._find(block - 1, key)  # raises if that block holds keys behind its index key, such as this one
        return None

    def _find(self, number: int, key: bytes) -> bytes | None:
        """The value of a key of a block: sought in it, until it is asked for so often that it is better decoded."""
        if number not in self._decoded and self._sought.get(number, 0) < _SEEKS:
            self._sought[number] = self._sought.get(number, 0) + 1
            block = self._block(number)
            keys = limits(block)
            if keys is None:
                return None
            self._check_limits(number, *keys)
            return seek(block, key)
        return self._entries(number).get(key)

    def first(self) -> tuple[bytes, bytes] | None:
        """The first entry, without a look at the others."""
        return next(entries(self._block(0)), None) if self._handles else None

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """All entries in order."""
        for block in range(len(self._handles)):
            yield from self._entries(block).items()

    def blocks(self) -> Iterator[BlockRows | dict[bytes, bytes]]:
        """All entries in order, those of a block together: as rows, or where that cannot be one by one."""
        for block in range(len(self._handles)):
            rows = None if block in self._decoded else entry_rows(self._block(block))
            if rows is None:
                yield self._entries(block)
            else:
                self._check_limits(block, rows.keys[:1].tolist()[0], rows.keys[-1:].tolist()[0])
                yield rows

    def _check_limits(self, block: int, first: bytes, last: bytes) -> None:
        if last > self._index_keys[block] or (block and first <= self._index_keys[block - 1]):
            raise DataLossError("a block holds keys that its index entry rules out", offset=self._handles[block][0])

    def _entries(self, number: int) -> dict[bytes, bytes]:
        found = self._decoded.get(number)
        if found is None:
            found = dict(entries(self._block(number)))  # ascending, so none is there twice
            if found:
                self._check_limits(number, next(iter(found)), next(reversed(found)))
            for first in [*self._decoded][: 1 - _KEPT_BLOCKS]:  # those that were decoded first go
                self._decoded.pop(first, None)
            self._decoded[number] = found
        return found

    def _block(self, number: int) -> bytes:
        last = self._last
        if last is None or last[0] != number:
            last = self._last = number, self._load(self._handles[number])
        return last[1]

    def _load(self, handle: tuple[int, int]) -> bytes:
        offset, size = handle
        if offset + size + TRAILER_SIZE > self._size - FOOTER_SIZE:
            raise DataLossError(f"a block of {size} bytes reaches past the end of the table", offset=offset)
        stored = self._read(offset, size + TRAILER_SIZE)
        if len(stored) != size + TRAILER_SIZE:
            raise DataLossError("truncated block read", offset=offset)
        return unseal(stored, offset)


def _encode_handle(offset: int, size: int) -> bytes:
    return encode_varint(offset) + encode_varint(size)


def _encode_footer(metaindex: bytes, index: bytes) -> bytes:
    return (metaindex + index).ljust(FOOTER_SIZE - 8, b"\x00") + encode_fixed64(MAGIC)


def _decode_handle(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    offset, position = decode_varint(data, position)
    size, position = decode_varint(data, position)
    return (offset, size), position
