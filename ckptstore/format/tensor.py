"""A tensor's bytes in a data file.

    numbers    elements in C order, little-endian; sub-byte types one element per byte, in the low bits
    strings    varint length * n, fixed32 masked crc of the lengths, then the strings one after the other
    variants   per element: varint length, a VariantTensorDataProto, fixed32 masked crc of all so far

The checksum in the entry is mask(crc32c(bytes)) for numbers. For strings it runs over each length as 4 bytes
little-endian (8 where it does not fit), then over the stored checksum, then over the strings; for variants over each
length as 8 bytes, the bytes and the stored checksum. Source: WriteStringTensor and WriteVariantTensor in
tensorflow/core/util/tensor_bundle/tensor_bundle.cc.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from itertools import accumulate, pairwise
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from ckptstore._memory import LARGE, allocate
from ckptstore.errors import DataLossError, IncompatibleTensorError, UnsupportedError
from ckptstore.format.checksum import crc32c, mask
from ckptstore.format.coding import decode_varint, encode_varint
from ckptstore.format.dtypes import PLAIN, STRING, VARIANT, DType, as_dtype, from_numpy

if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("ckptstore runs on little-endian machines only (it reads files of both byte orders).")

_UINT32_MAX = 0xFFFFFFFF


class EncodedTensor(NamedTuple):
    """A tensor ready to be written.

    Attributes:
        dtype: Element type.
        shape: Extent per dimension.
        buffers: The bytes, mostly the array's own memory, which must not change until they are written.
        crc: Masked checksum for the entry; None if that is to be computed later.
    """

    dtype: DType
    shape: tuple[int, ...]
    buffers: tuple[memoryview, ...]
    crc: int | None

    @property
    def size(self) -> int:
        """In bytes."""
        return self.buffers[0].nbytes if len(self.buffers) == 1 else sum(b.nbytes for b in self.buffers)


def as_array(value: Any, name: str, dtype: DType | None = None) -> tuple[np.ndarray[Any, Any], DType]:
    """Turns what a user hands over into a C-contiguous, little-endian array and its element type.

    Strings become an object array of bytes. An array that is fine already is not copied.

    Args:
        value: A numpy array, a scalar, a list, str or bytes, or anything with `__array__`.
        name: The tensor's name, for messages.
        dtype: The type to store it as; by default the one of the array.

    Raises:
        IncompatibleTensorError: It cannot be stored.
    """
    try:
        array = np.asarray(value)
    except Exception as error:
        raise IncompatibleTensorError(
            f"Tensor {name!r}: a {type(value).__name__} cannot be made a numpy array ({error}); "
            "convert it to one, or to a scalar, str or bytes.",
            name=name,
        ) from error
    if array.dtype.kind in "OSU":
        if dtype is not None and dtype != STRING:
            raise IncompatibleTensorError(f"Tensor {name!r} holds strings and cannot be stored as {dtype}.", name=name)
        return _string_array(value, array, name), STRING
    try:
        natural = from_numpy(array.dtype)
    except IncompatibleTensorError as error:
        raise IncompatibleTensorError(f"Tensor {name!r}: {error.message}", name=name) from None
    wanted = dtype or natural
    if wanted.numpy is None or wanted == STRING:
        raise IncompatibleTensorError(f"Tensor {name!r}: {array.dtype} cannot be stored as {wanted}.", name=name)
    if wanted.numpy != natural.numpy:
        raise IncompatibleTensorError(
            f"Tensor {name!r} is {natural}, and {wanted} was asked for; convert it with .astype() first.", name=name
        )
    stored: np.ndarray[Any, Any] = np.asarray(array, dtype=wanted.numpy, order="C")
    return stored, wanted


def _string_array(value: Any, array: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    # numpy's fixed-width types pad with NULs and drop them at the end, so scalars and lists go around them.
    if array.dtype.kind in "SU" and not isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value, dtype=object)
    flat = array.ravel().tolist()
    for i, item in enumerate(flat):
        if isinstance(item, str):
            try:
                flat[i] = item.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError as error:
                raise IncompatibleTensorError(
                    f"Tensor {name!r}: element {i} has a lone surrogate in it; encode it to bytes yourself.", name=name
                ) from error
        elif not isinstance(item, bytes):
            raise IncompatibleTensorError(
                f"Tensor {name!r}: element {i} of the object array is a {type(item).__name__}, not bytes or str. "
                "Objects are not stored: give numbers their own dtype.",
                name=name,
            )
    out = np.empty(array.shape, dtype=object)
    out.reshape(-1)[:] = flat
    return out


def is_plain(value: Any) -> bool:
    """Whether a value is an array whose memory is what is stored of it, and not empty."""
    return type(value) is np.ndarray and value.dtype in PLAIN and value.size > 0 and value.flags.c_contiguous


def are_plain(values: Sequence[Any], most: int) -> bool:
    """Whether `is_plain` holds for all values, and none takes more than `most` bytes: in a fraction of the time."""
    return (
        {*map(type, values)} == {np.ndarray}
        and all(dtype in PLAIN for dtype in {*map(attrgetter("dtype"), values)})
        and all(map(attrgetter("flags.c_contiguous"), values))
        and min(sizes := [*map(attrgetter("nbytes"), values)]) > 0
        and max(sizes) <= most
    )


def encode(value: Any, name: str, dtype: Any = None, *, defer: int | None = None) -> EncodedTensor:
    """The bytes of a tensor, and their checksum; numbers are not copied.

    Args:
        value: See `as_array`.
        name: The tensor's name, for messages.
        dtype: Any spelling of an element type, for instance "qint8" for an int8 array.
        defer: Leave the checksum of numbers out if they take more than this many bytes. None: never.

    Raises:
        IncompatibleTensorError: It cannot be stored.
    """
    if dtype is None and is_plain(value):  # as below, in a fraction of the time: most tensors are such
        data = memoryview(_bytes_of(value))  # type: ignore[arg-type]  # as in empty()
        crc = mask(crc32c(data)) if defer is None or data.nbytes <= defer else None
        return EncodedTensor(PLAIN[value.dtype], value.shape, (data,), crc)
    array, found = as_array(value, name, None if dtype is None else as_dtype(dtype))
    if found == STRING:
        buffers, crc = _encode_strings(array.ravel().tolist())
    else:
        view = _bytes_of(array)
        if found.low_bits:
            low = (1 << found.low_bits) - 1
            if view.size and int(view.max()) > low:  # some ml_dtypes releases sign-extend in memory
                view = view & np.uint8(low)
        data = memoryview(view)  # type: ignore[arg-type]  # as in empty()
        if defer is not None and data.nbytes > defer:
            return EncodedTensor(found, tuple(array.shape), (data,), None)
        buffers, crc = (data,) if data.nbytes else (), crc32c(data)
    return EncodedTensor(found, tuple(array.shape), buffers, mask(crc))


def encode_opaque(dtype: DType, shape: tuple[int, ...], data: bytes, crc: int) -> EncodedTensor:
    """A tensor whose bytes are carried over as they are, for copies of what numpy cannot hold."""
    return EncodedTensor(dtype, shape, (memoryview(data),), crc)


def new_array(shape: tuple[int, ...], dtype: DType) -> np.ndarray[Any, Any]:
    """An array that is yet to be filled. The caller has seen to it that its size is not a lie.

    Raises:
        UnsupportedError: numpy has no arrays of that shape: over 64 dimensions, or (an empty one) beyond 63 bits.
    """
    size = math.prod(shape) * dtype.itemsize  # 0 for strings
    try:
        if size < LARGE:
            return np.empty(shape, dtype.as_numpy_dtype)
        return allocate(size).view(dtype.as_numpy_dtype).reshape(shape)
    except ValueError as error:
        raise UnsupportedError(f"numpy cannot hold an array of the shape {list(shape)[:8]}... ({error})") from error


def empty(dtype: DType, shape: tuple[int, ...]) -> tuple[np.ndarray[Any, Any], memoryview]:
    """A new array of numbers, and its bytes to be filled."""
    array = new_array(shape, dtype)
    return array, memoryview(_bytes_of(array))  # type: ignore[arg-type]  # numpy's stubs for 3.10 lack __buffer__


def check(data: memoryview, crc: int) -> None:
    """Checks the bytes of a tensor of numbers.

    Raises:
        DataLossError: The checksum is not the stored one.
    """
    found = mask(crc32c(data))
    if found != crc:
        raise DataLossError(
            f"checksum does not match: stored {crc:08x}, of the {data.nbytes} bytes read {found:08x}; "
            "the file is damaged, restore another checkpoint"
        )


def to_native(array: np.ndarray[Any, Any], big_endian: bool) -> None:
    """Turns elements that were read from a big-endian file around, in place."""
    width = array.dtype.itemsize // 2 if array.dtype.kind == "c" else array.dtype.itemsize
    if big_endian and width > 1 and array.size:
        array.reshape(-1).view(f"u{width}").byteswap(inplace=True)


def decode(
    dtype: DType, shape: tuple[int, ...], data: memoryview, crc: int | None, *, big_endian: bool = False
) -> np.ndarray[Any, Any]:
    """The array of a tensor's bytes: a new one, also for numbers.

    Args:
        dtype: Element type.
        shape: Extent per dimension.
        data: The bytes of the whole tensor.
        crc: The masked checksum to hold them against, or None to trust them.
        big_endian: The byte order of the file.

    Raises:
        DataLossError: Sizes or checksums are wrong.
        UnsupportedError: It is a variant or resource, which only TensorFlow can decode.
    """
    if dtype == STRING:
        return _decode_strings(shape, bytes(data), crc, big_endian)
    if dtype.numpy is None:
        raise UnsupportedError(
            f"a tensor of type {dtype} cannot be read as an array; it can be copied with its checkpoint"
        )
    if crc is not None:
        check(data, crc)
    array, view = empty(dtype, shape)
    if view.nbytes != data.nbytes:
        raise DataLossError(f"{data.nbytes} bytes do not make up {dtype} {list(shape)}")
    view[:] = data
    to_native(array, big_endian)
    return array


def verify(dtype: DType, shape: tuple[int, ...], data: memoryview, crc: int, *, big_endian: bool = False) -> None:
    """Checks the bytes of a tensor of any type, without making an array of them.

    Raises:
        DataLossError: Sizes or checksums are wrong.
    """
    if dtype == STRING:
        _string_lengths(shape, bytes(data), crc, big_endian)
    elif dtype == VARIANT:
        _check_variants(math.prod(shape), bytes(data), crc, big_endian)
    else:
        check(data, crc)


def _bytes_of(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return array.reshape(-1).view(np.uint8)


def _length_bytes(lengths: list[int], order: str) -> bytes:
    if max(lengths, default=0) <= _UINT32_MAX:
        return np.array(lengths, dtype=f"{order}u4").tobytes()
    return b"".join(np.array(n, f"{order}u{4 if n <= _UINT32_MAX else 8}").tobytes() for n in lengths)


def _encode_strings(flat: list[bytes]) -> tuple[tuple[memoryview, ...], int]:
    lengths = [len(s) for s in flat]
    varints = bytes(lengths) if max(lengths, default=0) < 0x80 else b"".join(map(encode_varint, lengths))
    crc = crc32c(_length_bytes(lengths, "<"))
    stored = mask(crc).to_bytes(4, "little")
    body = b"".join(flat)
    return (memoryview(varints + stored), memoryview(body)), crc32c(body, crc32c(stored, crc))


def _string_lengths(shape: tuple[int, ...], data: bytes, crc: int | None, big_endian: bool) -> tuple[list[int], int]:
    """The lengths of the strings, and where the first one begins; the checksums are right."""
    count = math.prod(shape)
    if not data and not count:
        return [], 0
    if len(data) < count + 4:
        raise DataLossError(f"{len(data)} bytes cannot hold {count} strings")
    order = ">" if big_endian else "<"
    head = data[:count]
    if not any(b >= 0x80 for b in head) if count < 64 else int(np.frombuffer(head, np.uint8).max()) < 0x80:
        lengths, position = list(head), count
    else:
        lengths, position = [], 0
        for _ in range(count):
            length, position = decode_varint(data, position)
            lengths.append(length)
    if position + 4 + sum(lengths) != len(data):
        raise DataLossError("string lengths longer or shorter than the tensor's bytes")
    stored = data[position : position + 4]
    if crc is not None:
        running = crc32c(_length_bytes(lengths, order))
        if mask(running) != int.from_bytes(stored, "big" if big_endian else "little"):
            raise DataLossError("the length checksum does not match: the string lengths are damaged")
        found = mask(crc32c(memoryview(data)[position + 4 :], crc32c(stored, running)))
        if found != crc:
            raise DataLossError(f"checksum does not match: stored {crc:08x}, of the strings read {found:08x}")
    return lengths, position + 4


def _decode_strings(shape: tuple[int, ...], data: bytes, crc: int | None, big_endian: bool) -> np.ndarray[Any, Any]:
    lengths, start = _string_lengths(shape, data, crc, big_endian)
    stops = list(accumulate(lengths, initial=start))
    out = new_array(shape, STRING)
    out.reshape(-1)[:] = [data[a:b] for a, b in pairwise(stops)]
    return out


def _check_variants(count: int, data: bytes, crc: int, big_endian: bool) -> None:
    order = "big" if big_endian else "little"
    running = position = 0
    for _ in range(count):
        length, start = decode_varint(data, position)
        end = start + length
        if end + 4 > len(data):
            raise DataLossError("a variant reaches past the end of its tensor", offset=position)
        running = crc32c(data[start:end], crc32c(length.to_bytes(8, order), running))  # type: ignore[arg-type]
        stored = data[end : end + 4]
        if mask(running) != int.from_bytes(stored, order):  # type: ignore[arg-type]
            raise DataLossError("the checksum of a variant does not match", offset=position)
        running = crc32c(stored, running)
        position = end + 4
    if position != len(data) or mask(running) != crc:
        raise DataLossError("checksum does not match: the variants are damaged")
