"""A tensor that is stored in pieces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptstore._arguments import as_count, as_integer
from ckptstore.errors import DataLossError, IncompatibleTensorError
from ckptstore.format.slices import TensorSlice, box_shape, cover


@dataclass(frozen=True)
class Partitioned:
    """A value to save as a partitioned variable: the full shape, and the pieces with the slices they are.

    TensorFlow stores the variables of its partitioners so; readers get the whole tensor, or any slice of it,
    whatever the pieces were.

    Attributes:
        shape: The full shape.
        pieces: Slice (a TensorSlice, or its text such as "0,4:-") and array of each piece, in storage order.
    """

    shape: tuple[int, ...]
    pieces: tuple[tuple[TensorSlice, Any], ...]

    def __init__(self, shape: Sequence[int], pieces: Sequence[tuple[TensorSlice | str, Any]]) -> None:
        """See the class.

        Raises:
            IncompatibleTensorError: A slice is malformed or reaches outside the shape; or the pieces overlap, or do not
                cover it.
        """
        full = tuple(as_integer(d, "A dimension of a partitioned tensor") for d in shape)
        parsed = [(TensorSlice.parse(s) if isinstance(s, str) else s, value) for s, value in pieces]
        boxes = [piece.box(full) for piece, _ in parsed]
        try:
            cover(tuple((0, size) for size in full), boxes)
        except DataLossError as error:
            raise IncompatibleTensorError(f"The pieces do not make up {list(full)}: {error.message}.") from error
        # A host that holds no rows has a piece without elements. TensorFlow's slices have at least one.
        solid = [item for item, box in zip(parsed, boxes, strict=True) if math.prod(box_shape(box))]
        if not solid and parsed:
            solid = [(TensorSlice.whole(len(full)), np.empty(full, np.asarray(parsed[0][1]).dtype))]
        object.__setattr__(self, "shape", full)
        object.__setattr__(self, "pieces", tuple(solid))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """The whole tensor, in one array."""
        pieces = [(piece.box(self.shape), np.asarray(value)) for piece, value in self.pieces]
        out = np.empty(self.shape, dtype or pieces[0][1].dtype)
        for box, value in pieces:
            out[tuple(slice(start, stop) for start, stop in box)] = value
        return out

    @classmethod
    def concat(cls, arrays: Sequence[Any], axis: int = 0) -> Partitioned:
        """Pieces that lie one after the other along one axis."""
        parts = [np.asarray(a) for a in arrays]
        axis = as_integer(axis, "axis")
        if not parts or any(p.ndim != parts[0].ndim for p in parts) or not -parts[0].ndim <= axis < parts[0].ndim:
            raise IncompatibleTensorError(
                f"The pieces of a partitioned tensor must have the same rank, and axis {axis} must be one of theirs."
            )
        axis %= parts[0].ndim
        shape = list(parts[0].shape)
        shape[axis] = sum(p.shape[axis] for p in parts)
        pieces, start = [], 0
        for part in parts:
            extents = [(0, size) for size in part.shape]
            extents[axis] = (start, part.shape[axis])
            start += part.shape[axis]
            pieces.append((TensorSlice(tuple(extents)), part))
        return cls(shape, pieces)

    @classmethod
    def split(cls, array: Any, parts: int, axis: int = 0) -> Partitioned:
        """Cuts an array as tf.compat.v1.fixed_size_partitioner does: the first pieces get one more where it does not
        come out even, and no piece is empty.
        """
        whole = np.asarray(array)
        parts, axis = as_count(parts, "parts"), as_integer(axis, "axis")
        if not -whole.ndim <= axis < whole.ndim:
            raise IncompatibleTensorError(
                f"A tensor of the shape {list(whole.shape)} has no axis {axis} to be cut along."
            )
        count = max(1, min(parts, whole.shape[axis]))
        return cls.concat(np.array_split(whole, count, axis), axis)
