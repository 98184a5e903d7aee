"""A block of a sorted table: entries whose keys leave out what they share with the key before.

    block    = entry*  restart*  fixed32 count of restarts
    entry    = varint shared, varint unshared, varint value length, key[shared:], value
    restart  = fixed32 offset of an entry whose key is written in full; there is always one, at 0
    stored   = block, type byte (0 plain, 1 snappy), fixed32 masked crc32c of block and type byte

An empty block is 00 00 00 00 01 00 00 00.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np

from ckptstore.errors import DataLossError
from ckptstore.format.checksum import crc32c, mask
from ckptstore.format.coding import decode_fixed32, decode_varint, encode_fixed32, encode_varint
from ckptstore.format.rows import Integers, Rows, join, total_lengths, varints
from ckptstore.format.snappy import decompress

TRAILER_SIZE = 5
_PLAIN = 0
_SNAPPY = 1
# With 16 keys per restart, as everybody writes, shared prefixes save a factor of 16 at the most.
_MAX_KEY_RATIO = 32
_KEY_SLACK = 1 << 20
_WINDOW = 4096  # rows that are looked at together: their matrices stay in the processor's cache


class BlockBuilder:
    """Collects sorted entries into one block.

    Args:
        restart_interval: How many entries may share prefixes before a key is written in full again.
    """

    def __init__(self, restart_interval: int) -> None:
        self._interval = restart_interval
        self._restarts = [0]
        self._since_restart = 0
        self._last_key = b""
        self._buffer = bytearray()

    @property
    def empty(self) -> bool:
        """Whether nothing was added."""
        return not self._buffer

    @property
    def last_key(self) -> bytes:
        """The key that was added last."""
        return self._last_key

    @property
    def size(self) -> int:
        """The size of the finished block, in bytes, by TensorFlow's reckoning."""
        return len(self._buffer) + 4 * len(self._restarts) + 4

    def add(self, key: bytes, value: bytes) -> None:
        """Appends an entry; the caller keeps the keys in order."""
        shared = 0
        if self._since_restart < self._interval:
            shared = common_prefix(self._last_key, key)
        else:
            self._restarts.append(len(self._buffer))
            self._since_restart = 0
        unshared = len(key) - shared
        if shared < 0x80 and unshared < 0x80 and len(value) < 0x80:
            self._buffer += bytes((shared, unshared, len(value)))
        else:
            self._buffer += encode_varint(shared) + encode_varint(unshared) + encode_varint(len(value))
        self._buffer += key[shared:]
        self._buffer += value
        self._last_key = key
        self._since_restart += 1

    def add_rows(self, keys: Rows, shared: Integers, values: Sequence[Rows], limit: int) -> int:
        """Appends entries in one go, as `add` would one by one, until the block has `limit` bytes.

        Args:
            keys: Ascending, the first one greater than the last that was added.
            shared: How many bytes each has in common with the one before.
            values: The parts that the values are joined of.
            limit: By the reckoning of `size`.

        Returns:
            How many were taken: at least one, all if the block is not full.
        """
        taken = 0
        while taken < len(keys) and (not taken or self.size < limit):
            part = slice(taken, taken + _WINDOW)
            taken += self._add_window(keys[part], shared[part], [value[part] for value in values], limit)
        return taken

    def _add_window(self, keys: Rows, shared: Integers, values: Sequence[Rows], limit: int) -> int:
        since = self._since_restart + np.arange(len(keys))
        restart = (since > 0) & (since % self._interval == 0)
        shared = np.where(restart, 0, shared)
        shared[0] = 0 if restart[0] else common_prefix(self._last_key, keys[:1].tolist()[0])
        unshared = Rows(keys.data, shared, keys.stops)
        sizes = total_lengths(values)
        parts = [varints(shared), varints(unshared.lengths), varints(sizes), unshared, *values]
        ends = len(self._buffer) + np.cumsum(total_lengths(parts))
        full = ends + 4 * (len(self._restarts) + np.cumsum(restart)) + 4 >= limit
        taken = int(full.argmax()) + 1 if full.any() else len(keys)
        starts = np.concatenate([[len(self._buffer)], ends])[:taken][restart[:taken]]
        self._restarts += starts.tolist()
        self._buffer += join([part[:taken] for part in parts])
        self._last_key = keys[taken - 1 : taken].tolist()[0]
        last = int(since[taken - 1])
        self._since_restart = (last % self._interval if last else 0) + 1
        return taken

    def finish(self) -> bytes:
        """The block, without its trailer."""
        restarts = b"".join(map(encode_fixed32, self._restarts))
        return bytes(self._buffer) + restarts + encode_fixed32(len(self._restarts))


def common_prefix(a: bytes, b: bytes) -> int:
    """How many leading bytes are the same."""
    limit = min(len(a), len(b))
    # As numbers, since that is one comparison whatever the length: the highest bit that differs tells the byte.
    differing = int.from_bytes(a[:limit], "big") ^ int.from_bytes(b[:limit], "big")
    return limit - (differing.bit_length() + 7) // 8


def seal(block: bytes) -> bytes:
    """The trailer of a plainly stored block."""
    return bytes((_PLAIN,)) + encode_fixed32(mask(crc32c(bytes((_PLAIN,)), crc32c(block))))


def unseal(stored: bytes | memoryview, offset: int) -> bytes:
    """Checks a block with its trailer, and decompresses it.

    Args:
        stored: The bytes of the block and its trailer.
        offset: Where in the file it stands, for the message.

    Raises:
        DataLossError: The checksum is wrong, or the type is unknown.
    """
    end = len(stored) - TRAILER_SIZE
    if end < 0:
        raise DataLossError("truncated block read", offset=offset)
    data = memoryview(stored)
    if mask(crc32c(data[: end + 1])) != decode_fixed32(stored, end + 1):
        raise DataLossError("block checksum mismatch", offset=offset)
    kind = stored[end]
    if kind == _PLAIN:
        return bytes(data[:end])
    if kind == _SNAPPY:
        return decompress(bytes(data[:end]))
    raise DataLossError(f"bad block type {kind}", offset=offset)


def entries(block: bytes, start: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a block, in order.

    Args:
        block: Its bytes.
        start: Where to begin: at 0, or another restart.

    Raises:
        DataLossError: An entry runs over the block, or the keys do not ascend.
    """
    end, _ = _restarts(block)
    position, key, first = start, b"", True
    room = _MAX_KEY_RATIO * len(block) + _KEY_SLACK
    while position < end:
        if position + 3 <= end and (block[position] | block[position + 1] | block[position + 2]) < 0x80:
            shared, unshared, value_size = block[position], block[position + 1], block[position + 2]
            position += 3
        else:
            shared, position = decode_varint(block, position, end)
            unshared, position = decode_varint(block, position, end)
            value_size, position = decode_varint(block, position, end)
        value_start = position + unshared
        if shared > len(key) or value_start + value_size > end:
            raise DataLossError("bad entry in block: it reaches outside the block or its key", offset=position)
        room -= shared + unshared
        if room < 0:
            raise DataLossError("bad entry in block: the keys take many times the room of the block", offset=position)
        last, key = key, key[:shared] + block[position:value_start]
        if key <= last and not first:
            raise DataLossError("bad entry in block: the keys do not ascend", offset=position)
        first = False
        position = value_start + value_size
        yield key, block[value_start:position]


def _restarts(block: bytes) -> tuple[int, int]:
    """Where the restarts of a block stand, and how many there are."""
    if len(block) < 4:
        raise DataLossError("bad block contents: too short for its restart count")
    restarts = decode_fixed32(block, len(block) - 4)
    end = len(block) - 4 - 4 * restarts
    if end < 0:
        raise DataLossError("bad block contents: more restarts than the block has room for")
    return end, restarts


def seek(block: bytes, key: bytes) -> bytes | None:
    """The value of a key of a block, or None; of its other entries only a few are looked at.

    Raises:
        DataLossError: One of those is damaged.
    """
    for found, value in entries(block, _restart_before(block, key)):
        if found >= key:
            return value if found == key else None
    return None


def limits(block: bytes) -> tuple[bytes, bytes] | None:
    """The first and the last key of a block, or None of an empty one.

    Raises:
        DataLossError: What is looked at is damaged.
    """
    first = next(entries(block), None)
    last = deque(entries(block, _restart_before(block, None)), maxlen=1)
    return None if first is None or not last else (first[0], last[0][0])


def _restart_before(block: bytes, key: bytes | None) -> int:
    """The offset of the last restart whose key is not greater than a key; None is greater than all."""
    end, count = _restarts(block)
    low, high = 0, count
    while high - low > 1:
        middle = (low + high) // 2
        offset = decode_fixed32(block, end + 4 * middle)
        found = next(entries(block, offset), None)
        if found is None:
            raise DataLossError("bad block contents: a restart behind the entries", offset=offset)
        if key is None or found[0] <= key:
            low = middle
        else:
            high = middle
    return decode_fixed32(block, end + 4 * low) if count else 0
