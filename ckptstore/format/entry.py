"""What a `.index` says: a header under the empty key, and an entry per tensor or piece of one.

Bytes: BundleHeaderProto and BundleEntryProto in their canonical form (ascending fields, defaults left out), which is
how TensorFlow writes them. Source: tensorflow/core/util/tensor_bundle/tensor_bundle.cc.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from google.protobuf.message import DecodeError

from ckptstore._proto import tensor_bundle_pb2 as pb
from ckptstore.errors import DataLossError
from ckptstore.format.coding import encode_fixed32, encode_varint
from ckptstore.format.dtypes import DType, by_number
from ckptstore.format.slices import WHOLE, TensorSlice

if TYPE_CHECKING:
    from ckptstore._proto.tensor_shape_pb2 import TensorShapeProto
    from ckptstore._proto.tensor_slice_pb2 import TensorSliceProto

HEADER_KEY = b""

VERSION = 1
"""The version of the format that is written, and the highest that is understood."""

_MAX_RANK = 254  # TensorFlow's TensorShape
_MAX_ELEMENTS = 1 << 63
_MAX_SHARDS = 100_000  # the shard number has five digits


@dataclass(frozen=True, slots=True)
class BundleHeader:
    """The header of a bundle.

    Attributes:
        num_shards: How many data files there are, and so how they are named.
        big_endian: Whether elements are stored most significant byte first.
        producer: Version of the format it was written in.
        min_consumer: The least version that a reader must understand.
        bad_consumers: Versions of readers that must not read it.
    """

    num_shards: int = 1
    big_endian: bool = False
    producer: int = VERSION
    min_consumer: int = 0
    bad_consumers: tuple[int, ...] = ()

    def encode(self) -> bytes:
        """The bytes of the header's value."""
        proto = pb.BundleHeaderProto(num_shards=self.num_shards)
        if self.big_endian:
            proto.endianness = pb.BundleHeaderProto.BIG
        proto.version.SetInParent()
        proto.version.producer = self.producer
        proto.version.min_consumer = self.min_consumer
        proto.version.bad_consumers.extend(self.bad_consumers)
        return proto.SerializeToString()

    @classmethod
    def decode(cls, value: bytes) -> BundleHeader:
        """Reads a header, and checks that this reader may read what follows.

        Raises:
            DataLossError: It is no header, or one for other readers.
        """
        try:
            proto = pb.BundleHeaderProto.FromString(value)
        except DecodeError as error:
            raise DataLossError("the bundle header is no BundleHeaderProto") from error
        version = proto.version
        if version.min_consumer > VERSION or VERSION in version.bad_consumers:
            raise DataLossError(
                f"the checkpoint asks for a reader of format version {version.min_consumer} or rules out version "
                f"{VERSION}, which is this one: it comes from a newer TensorFlow, or is damaged"
            )
        if not 0 <= proto.num_shards <= _MAX_SHARDS or proto.endianness not in (0, 1):
            raise DataLossError(f"the bundle header claims {proto.num_shards} shards, endianness {proto.endianness}")
        return cls(
            proto.num_shards,
            proto.endianness == pb.BundleHeaderProto.BIG,
            version.producer,
            version.min_consumer,
            tuple(version.bad_consumers),
        )


class BundleEntry(NamedTuple):
    """Where a tensor lies, or of which slices it consists. A tuple, since there may be a million of them.

    Attributes:
        dtype: Element type.
        shape: Extent per dimension.
        shard: Number of the data file, from 0.
        offset: Where in the data file it begins, in bytes.
        size: In bytes.
        crc: Masked crc32c of its bytes.
        slices: The pieces it is stored in, in which case it has no bytes of its own.
    """

    dtype: DType
    shape: tuple[int, ...]
    shard: int = 0
    offset: int = 0
    size: int = 0
    crc: int = 0
    slices: tuple[TensorSlice, ...] = ()

    @property
    def elements(self) -> int:
        """How many elements it has."""
        return math.prod(self.shape)

    def encode(self) -> bytes:
        """The bytes of the entry's value.

        They are put together here, since protobuf takes several times as long for the entries of many small tensors.
        """
        dtype, shape, shard, offset, size, crc, slices = self
        out = type_fields(dtype.as_datatype_enum, shape)
        if shard:
            out += b"\x18" + encode_varint(shard)
        if offset:
            out += b"\x20" + encode_varint(offset)
        if size:
            out += b"\x28" + encode_varint(size)
        if crc:
            out += b"\x35" + encode_fixed32(crc)
        if slices:
            proto = pb.BundleEntryProto()
            for piece in slices:
                encode_slice(piece, proto.slices.add())
            out += proto.SerializeToString()
        return out

    @classmethod
    def decode(cls, value: bytes) -> BundleEntry:
        """Reads an entry; nothing in it is trusted.

        Raises:
            DataLossError: It is no entry, or says something impossible.
        """
        return _decode_plain(value) or cls._decode_any(value)

    @classmethod
    def _decode_any(cls, value: bytes) -> BundleEntry:
        try:
            proto = pb.BundleEntryProto.FromString(value)
        except DecodeError as error:
            raise DataLossError("the entry is no BundleEntryProto") from error
        shape = decode_shape(proto.shape)
        shard, offset, size = proto.shard_id, proto.offset, proto.size
        if shard < 0 or offset < 0 or size < 0:
            raise DataLossError(f"the entry has a negative shard, offset or size ({shard}, {offset}, {size})")
        slices = tuple([decode_slice(piece, len(shape)) for piece in proto.slices]) if proto.slices else ()
        dtype = by_number(proto.dtype)
        _remember_types(value, dtype, shape)
        return cls(dtype, shape, shard, offset, size, proto.crc32c, slices)

    def check_size(self) -> None:
        """Checks that the stored size is what dtype and shape ask for, before anything of that size is allocated.

        Raises:
            DataLossError: It is not.
        """
        if self.dtype.itemsize:
            expected = self.elements * self.dtype.itemsize
            if self.size != expected:
                raise DataLossError(
                    f"invalid size in bundle entry: stored size {self.size}; expected size {expected} for "
                    f"{self.dtype} {list(self.shape)}"
                )
        # A string needs a byte for its length and all of them four for a checksum; TensorFlow also takes size 0.
        elif not self.slices and (self.size or self.elements) and self.size < self.elements:
            raise DataLossError(f"{self.size} bytes cannot hold {self.elements} elements of type {self.dtype}")


# The first bytes of entries that were decoded, and what they say: a model has few types and shapes, and many tensors.
_types: dict[bytes, tuple[DType, tuple[int, ...]]] = {}
_MOST_TYPES = 4096
_crc_at = struct.Struct("<I").unpack_from


def _remember_types(value: bytes, dtype: DType, shape: tuple[int, ...]) -> None:
    head = type_fields(dtype.as_datatype_enum, shape)
    if value.startswith(head) and len(head) < _PLAIN_HEAD:
        if len(_types) >= _MOST_TYPES:
            _types.clear()
        _types[head] = dtype, shape


_PLAIN_HEAD = 4 + 0x80  # a tag, a type, a tag, a length of one byte, a shape


def _decode_plain(value: bytes) -> BundleEntry | None:
    """As `BundleEntry.decode` in half the time, for what is mostly there; None for all else, be it right or wrong."""
    try:
        position = 4 + value[3]
        dtype, shape = _types[value[:position]]
        shard = offset = size = crc = 0
        end = len(value)
        while position < end:
            tag = value[position]
            if tag == 0x35:
                (crc,) = _crc_at(value, position + 1)
                position += 5
                continue
            number = value[position + 1]
            position += 2
            if number >= 0x80:
                number &= 0x7F
                shift = 7
                while True:
                    byte = value[position]
                    position += 1
                    number |= (byte & 0x7F) << shift
                    shift += 7
                    if byte < 0x80:
                        break
            if tag == 0x20:
                offset = number
            elif tag == 0x28:
                size = number
            elif tag == 0x18:
                shard = number
            else:
                return None
    except (LookupError, struct.error):
        return None
    if offset >> 63 or size >> 63 or shard >> 31:  # negative, or too long
        return None
    return BundleEntry(dtype, shape, shard, offset, size, crc)


@lru_cache(maxsize=1024)
def type_fields(dtype: int, shape: tuple[int, ...]) -> bytes:
    """The first fields of an entry's bytes: the number of its element type, and its shape."""
    proto = pb.BundleEntryProto(dtype=dtype)  # type: ignore[arg-type]  # the stubs have an enum's own type there
    encode_shape(shape, proto.shape)
    return proto.SerializeToString()


def encode_shape(shape: tuple[int, ...], proto: TensorShapeProto) -> None:
    """Puts a shape into a TensorShapeProto; a scalar is an empty message that is present."""
    proto.SetInParent()
    for size in shape:
        proto.dim.add(size=size)


def decode_shape(proto: TensorShapeProto) -> tuple[int, ...]:
    """The shape in a TensorShapeProto.

    Raises:
        DataLossError: The rank is unknown or over TensorFlow's limit, a dimension is negative, or the number of
            elements is over 63 bits.
    """
    shape = tuple([dim.size for dim in proto.dim])  # from lists: a model has few shapes and very many entries
    if proto.unknown_rank or len(shape) > _MAX_RANK or (shape and min(shape) < 0):
        raise DataLossError(f"the shape {list(shape)[:8]} has an unknown, excessive or negative dimension")
    if math.prod(shape if 0 not in shape else [size for size in shape if size]) >= _MAX_ELEMENTS:
        raise DataLossError(f"the shape {list(shape)[:8]} has more elements than 63 bits can count")
    return shape


def encode_slice(piece: TensorSlice, proto: TensorSliceProto) -> None:
    """Puts a slice into a TensorSliceProto; a whole dimension is an empty extent."""
    for start, length in piece.extents:
        extent = proto.extent.add()
        if length != WHOLE:
            extent.start = start
            extent.length = length


def decode_slice(proto: TensorSliceProto, rank: int) -> TensorSlice:
    """The slice in a TensorSliceProto.

    Raises:
        DataLossError: It is not of this rank, or an extent is negative.
    """
    extents = tuple((e.start, e.length if e.HasField("length") else WHOLE) for e in proto.extent)
    if len(extents) != rank:
        raise DataLossError(f"a slice of {len(extents)} dimensions in a tensor of {rank}")
    if any(start < 0 or (length < 0 and length != WHOLE) for start, length in extents):
        raise DataLossError(f"the slice {TensorSlice(extents)} is impossible")
    return TensorSlice(extents)
