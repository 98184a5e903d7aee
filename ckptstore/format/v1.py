"""V1 checkpoints: one table file per shard (TensorFlow 0.x and 1.0, SaverDef.V1).

    table    = key "" -> SavedTensorSlices.meta: per tensor its name, full shape, type and slices
               slice key -> SavedTensorSlices.data: name, slice, TensorProto with the value list alone

Every piece has a slice key, that of an unsliced tensor too (each dimension whole). The only checksums are those of
the table's blocks. Source: tensorflow/core/util/tensor_slice_writer.cc and tensor_slice_reader.cc.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from ckptstore._proto.saved_tensor_slice_pb2 import SavedTensorSlices
from ckptstore.errors import DataLossError, IncompatibleTensorError, InvalidArgumentError
from ckptstore.format.dtypes import DType, as_dtype, by_number
from ckptstore.format.entry import VERSION, decode_shape, decode_slice, encode_shape, encode_slice
from ckptstore.format.slices import TensorSlice, box_shape, cover, slice_key, within
from ckptstore.format.table import TableReader, TableWriter
from ckptstore.format.tensor import as_array, new_array
from ckptstore.format.tensor_proto import get_array, set_values

_WRITABLE = frozenset(
    [
        "float32",
        "float64",
        "int32",
        "int16",
        "int8",
        "uint8",
        "uint16",
        "qint8",
        "quint8",
        "qint32",
        "string",
        "complex64",
        "int64",
        "bool",
        "complex128",
        "float16",
    ]
)
_MAX_MESSAGE = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class V1Tensor:
    """One tensor of a V1 file: its type, full shape, and the pieces that are in this file."""

    name: bytes
    dtype: DType
    shape: tuple[int, ...]
    slices: tuple[TensorSlice, ...]


@dataclass(slots=True)
class _Collected:
    dtype: DType
    shape: tuple[int, ...]
    slices: list[TensorSlice] = field(default_factory=list)


class V1Writer:
    """Collects tensors, in order, into the bytes of one V1 file, exactly as TensorFlow writes them."""

    def __init__(self) -> None:
        self._tensors: dict[bytes, _Collected] = {}
        self._values: dict[bytes, bytes] = {}

    def add(self, name: bytes, value: Any, *, dtype: Any = None) -> None:
        """Adds a whole tensor."""
        array, found = as_array(value, name.decode("utf-8", "replace"), None if dtype is None else as_dtype(dtype))
        self._add(name, array, found, array.shape, TensorSlice.whole(array.ndim))

    def add_slice(
        self, name: bytes, shape: tuple[int, ...], piece: TensorSlice, value: Any, *, dtype: Any = None
    ) -> None:
        """Adds a piece of a tensor whose full shape is `shape`."""
        array, found = as_array(value, name.decode("utf-8", "replace"), None if dtype is None else as_dtype(dtype))
        self._add(name, array, found, shape, piece)

    def _add(
        self, name: bytes, array: np.ndarray[Any, Any], dtype: DType, shape: tuple[int, ...], piece: TensorSlice
    ) -> None:
        text = name.decode("utf-8", "replace")
        if not name or text.encode("utf-8") != name:
            raise InvalidArgumentError(
                f"The name {text!r} is empty or not UTF-8, which V1 checkpoints cannot hold.", name=text
            )
        if dtype.name not in _WRITABLE:
            raise IncompatibleTensorError(
                f"Tensor {text!r}: V1 checkpoints cannot hold {dtype}; write a V2 checkpoint.", name=text
            )
        if piece.shape(shape) != array.shape:
            raise IncompatibleTensorError(
                f"Tensor {text!r}: the slice {piece} of {list(shape)} is not of shape {list(array.shape)}.", name=text
            )
        tensor = self._tensors.setdefault(name, _Collected(dtype, shape))
        key = slice_key(name, piece)
        whole = TensorSlice.whole(len(shape))
        mixed = tensor.slices and whole in (piece, tensor.slices[0])
        if (tensor.dtype, tensor.shape) != (dtype, shape) or mixed or key in self._values:
            raise IncompatibleTensorError(
                f"Tensor {text!r} was added before with another type or shape, or with the same slice.", name=text
            )
        message = SavedTensorSlices()
        message.data.name = name.decode("utf-8")
        message.data.slice.SetInParent()
        encode_slice(piece, message.data.slice)
        message.data.data.SetInParent()
        set_values(message.data.data, dtype, array)
        if message.ByteSize() > _MAX_MESSAGE:
            raise IncompatibleTensorError(
                f"Tensor {text!r} is too large for one piece of a V1 checkpoint (2 GiB); write a V2 checkpoint.",
                name=text,
            )
        tensor.slices.append(piece)
        self._values[key] = message.SerializeToString()

    def finish(self) -> bytes:
        """The bytes of the file."""
        header = SavedTensorSlices()
        for name, tensor in self._tensors.items():
            meta = header.meta.tensor.add(name=name.decode("utf-8"), type=tensor.dtype.as_datatype_enum)
            encode_shape(tensor.shape, meta.shape)
            for piece in tensor.slices:
                encode_slice(piece, meta.slice.add())
        header.meta.versions.producer = VERSION
        table = TableWriter()
        table.add(b"", header.SerializeToString())
        for key in sorted(self._values):
            table.add(key, self._values[key])
        return table.finish()


class V1Reader:
    """Reads one or several V1 files, the shards of a checkpoint, as one.

    Args:
        tables: The table of each file.

    Raises:
        DataLossError: A file is not a V1 checkpoint, or files contradict each other.
    """

    def __init__(self, tables: list[TableReader]) -> None:
        self._tables = tables
        self._home: dict[tuple[bytes, TensorSlice], TableReader] = {}
        self.tensors: dict[bytes, V1Tensor] = {}
        for table in tables:
            for tensor in _metadata(table):
                have = self.tensors.get(tensor.name)
                if have is not None:
                    if (have.dtype, have.shape) != (tensor.dtype, tensor.shape):
                        raise DataLossError(f"tensor {tensor.name!r} has another type or shape in another shard")
                    slices = tuple(dict.fromkeys(have.slices + tensor.slices))
                    self.tensors[tensor.name] = V1Tensor(tensor.name, tensor.dtype, tensor.shape, slices)
                else:
                    self.tensors[tensor.name] = tensor
                for piece in tensor.slices:
                    self._home.setdefault((tensor.name, piece), table)

    def read(self, name: bytes, wanted: TensorSlice | None = None) -> np.ndarray[Any, Any]:
        """A tensor, or a slice of it, put together from its pieces; any slicing serves any other.

        Raises:
            KeyError: There is no such tensor.
            DataLossError: Pieces are missing, damaged or overlap.
        """
        tensor = self.tensors[name]
        box = (wanted or TensorSlice.whole(len(tensor.shape))).box(tensor.shape)
        boxes = [_box(piece, tensor.shape) for piece in tensor.slices]
        parts = [(number, common, self._piece(tensor, tensor.slices[number])) for number, common in cover(box, boxes)]
        for number, _, value in parts:
            # Every element takes at least a byte, so this is found out before memory is taken for a lie.
            if math.prod(box_shape(boxes[number])) > len(value):
                raise DataLossError(
                    f"{len(value)} bytes cannot hold the slice {tensor.slices[number]} of {tensor.shape}"
                )
        out = new_array(box_shape(box), tensor.dtype)
        for number, common, value in parts:
            shape = box_shape(boxes[number])
            piece = get_array(_parse(value).data.data, tensor.dtype, shape, exact=True)
            out[within(common, box)] = piece[within(common, boxes[number])]
        return out

    def _piece(self, tensor: V1Tensor, piece: TensorSlice) -> bytes:
        value = self._home[tensor.name, piece].get(slice_key(tensor.name, piece))
        if value is None:
            raise DataLossError(f"the slice {piece} of tensor {tensor.name!r} is listed and not there")
        return value


def _metadata(table: TableReader) -> list[V1Tensor]:
    value = table.get(b"")
    if value is None:
        raise DataLossError("the table has no metadata entry: it is not a V1 checkpoint")
    header = _parse(value)
    if not header.HasField("meta"):  # such as the index of a V2 bundle, which TensorFlow takes for an empty checkpoint
        raise DataLossError("the table's metadata entry is not that of a V1 checkpoint")
    out = []
    for meta in header.meta.tensor:
        shape = decode_shape(meta.shape)
        slices = tuple(decode_slice(piece, len(shape)) for piece in meta.slice)
        out.append(V1Tensor(meta.name.encode("utf-8"), by_number(meta.type), shape, slices))
    return out


def _parse(value: bytes) -> SavedTensorSlices:
    try:
        return SavedTensorSlices.FromString(value)
    except DecodeError as error:
        raise DataLossError("an entry is no SavedTensorSlices message") from error


def _box(piece: TensorSlice, shape: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    try:
        return piece.box(shape)
    except IncompatibleTensorError as error:
        raise DataLossError(error.message) from error
