"""Slices of tensors: how the pieces of a partitioned variable are named, and how pieces make up a whole.

spec        "0,4:-"              per dimension `start,length`, or "-" for all of it, joined by ":"
shape spec  "10 4 0,4:-"         the full shape and a slice of it: SaveV2's and RestoreV2's shape_and_slices
key         num(0) str(name) num(rank) { snum(start) snum(length) }*     ordered code, see coding.py; a whole
                                 dimension is start 0, length -1
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ckptstore.errors import DataLossError, IncompatibleTensorError
from ckptstore.format.coding import (
    decode_ordered_num,
    decode_ordered_signed,
    decode_ordered_string,
    encode_ordered_num,
    encode_ordered_signed,
    encode_ordered_string,
)

_MAX_COMPARISONS = 100_000_000
_NUMBER = re.compile(r"[0-9]{1,18}")  # what fits into 63 bits

WHOLE = -1
"""The length that stands for a whole dimension."""

Box: TypeAlias = "tuple[tuple[int, int], ...]"
"""Start and stop per dimension."""


@dataclass(frozen=True, slots=True)
class TensorSlice:
    """A box within a tensor of a known rank.

    Attributes:
        extents: Start and length per dimension; the length WHOLE means all of it.
    """

    extents: tuple[tuple[int, int], ...]

    @classmethod
    def whole(cls, rank: int) -> TensorSlice:
        """The slice that is everything."""
        return cls(((0, WHOLE),) * rank)

    @classmethod
    def parse(cls, spec: str) -> TensorSlice:
        """Reads "0,4:-".

        Raises:
            IncompatibleTensorError: It is not of that form, a start is negative or a length is not positive.
        """
        extents: list[tuple[int, int]] = []
        for item in spec.split(":"):
            start, comma, length = item.partition(",")
            if item == "-":
                extents.append((0, WHOLE))
            elif comma and _NUMBER.fullmatch(start) and _NUMBER.fullmatch(length) and int(length) > 0:
                extents.append((int(start), int(length)))
            else:
                raise IncompatibleTensorError(
                    f"The slice {spec!r} is malformed at {item!r}; write 'start,length' or '-' per dimension."
                )
        return cls(tuple(extents))

    def __str__(self) -> str:
        return ":".join("-" if length == WHOLE else f"{start},{length}" for start, length in self.extents)

    def box(self, shape: Sequence[int]) -> Box:
        """The slice in a tensor of this shape.

        Raises:
            IncompatibleTensorError: The ranks differ, or the slice reaches outside the shape.
        """
        if len(shape) != len(self.extents):
            raise IncompatibleTensorError(f"The slice {self} has {len(self.extents)} dimensions, not {len(shape)}.")
        out = tuple(
            (0, size) if length == WHOLE else (start, start + length)
            for (start, length), size in zip(self.extents, shape, strict=True)
        )
        if any(start < 0 or stop < start or stop > size for (start, stop), size in zip(out, shape, strict=True)):
            raise IncompatibleTensorError(f"The slice {self} reaches outside the shape {list(shape)}.")
        return out

    def shape(self, full: Sequence[int]) -> tuple[int, ...]:
        """The shape of the piece that it cuts out of a tensor of the full shape."""
        return box_shape(self.box(full))


def parse_shape_and_slice(text: str) -> tuple[tuple[int, ...], TensorSlice]:
    """Reads "10 4 0,4:-": the full shape, and the slice.

    Raises:
        IncompatibleTensorError: It is malformed, or the slice does not fit the shape.
    """
    *dims, spec = text.split(" ")
    if not dims or not all(map(_NUMBER.fullmatch, dims)):
        raise IncompatibleTensorError(f"The shape in {text!r} is malformed; write 'd0 d1 ... start,length:...'.")
    shape = tuple(int(d) for d in dims)
    piece = TensorSlice.parse(spec)
    piece.box(shape)
    return shape, piece


def slice_key(name: bytes, piece: TensorSlice) -> bytes:
    """The table key of one stored piece."""
    out = [encode_ordered_num(0), encode_ordered_string(name), encode_ordered_num(len(piece.extents))]
    for start, length in piece.extents:
        out += [encode_ordered_signed(start), encode_ordered_signed(length)]
    return b"".join(out)


def parse_slice_key(key: bytes) -> tuple[bytes, TensorSlice]:
    """The inverse of `slice_key`.

    Raises:
        DataLossError: It is no slice key.
    """
    zero, position = decode_ordered_num(key, 0)
    if zero:
        raise DataLossError("a slice key must begin with 0")
    name, position = decode_ordered_string(key, position)
    rank, position = decode_ordered_num(key, position)
    if rank > len(key):
        raise DataLossError(f"a slice key of {len(key)} bytes claims {rank} dimensions")
    extents: list[tuple[int, int]] = []
    for _ in range(rank):
        start, position = decode_ordered_signed(key, position)
        length, position = decode_ordered_signed(key, position)
        extents.append((start, length))
    if position != len(key):
        raise DataLossError("a slice key has bytes behind its end")
    return name, TensorSlice(tuple(extents))


def box_shape(box: Box) -> tuple[int, ...]:
    """The extent of a box per dimension."""
    return tuple(stop - start for start, stop in box)


def intersect(a: Box, b: Box) -> Box | None:
    """What two boxes have in common, or None."""
    out = tuple((max(p, r), min(q, s)) for (p, q), (r, s) in zip(a, b, strict=True))
    return None if any(start >= stop for start, stop in out) else out


def within(box: Box, outer: Box) -> tuple[slice, ...]:
    """The index of `box` in an array that holds `outer`."""
    return tuple(slice(start - base, stop - base) for (start, stop), (base, _) in zip(box, outer, strict=True))


def cover(wanted: Box, pieces: Sequence[Box]) -> list[tuple[int, Box]]:
    """Which pieces make up a box: the number of each, and the part of the box that it holds.

    Raises:
        DataLossError: Pieces overlap, or leave a part of the box uncovered.
    """
    _refuse_overlap(pieces)
    found = [(i, common) for i, piece in enumerate(pieces) if (common := intersect(wanted, piece)) is not None]
    # No two overlap, so the volumes add up exactly when nothing is missing.
    have, want = sum(_volume(common) for _, common in found), _volume(wanted)
    if have != want:
        raise DataLossError(f"the stored slices cover {have} of {want} elements")
    return found


def _volume(box: Box) -> int:
    return math.prod(box_shape(box))


def _refuse_overlap(pieces: Sequence[Box]) -> None:
    """Sweeps along the axis on which the pieces differ most: linear for a variable cut along one axis."""
    solid = [box for box in pieces if _volume(box)]
    if len(solid) < 2:
        return
    if not solid[0]:
        raise DataLossError("a scalar is stored in several slices")
    bounds = np.array(solid, dtype=np.int64)  # piece, axis, (start, stop)
    axis = int(np.argmax([len(np.unique(bounds[:, a, 0])) for a in range(bounds.shape[1])]))
    bounds = bounds[np.argsort(bounds[:, axis, 0], kind="stable")]
    starts, stops = bounds[:, :, 0], bounds[:, :, 1]
    # Piece i can only meet those after it that begin, on this axis, before it ends.
    reach = np.searchsorted(starts[:, axis], stops[:, axis])
    if int((reach - np.arange(len(bounds))).sum()) > _MAX_COMPARISONS:
        raise DataLossError(f"{len(bounds)} slices lie so across each other that no writer can have meant them")
    for i in np.flatnonzero(reach > np.arange(len(bounds)) + 1):
        others = slice(i + 1, reach[i])
        met = ((starts[others] < stops[i]) & (starts[i] < stops[others])).all(axis=1)
        if met.any():
            other = i + 1 + int(np.argmax(met))
            raise DataLossError(
                f"stored slices overlap: {_spec(bounds[i].tolist())} and {_spec(bounds[other].tolist())}"
            )


def _spec(box: Sequence[Sequence[int]]) -> str:
    return str(TensorSlice(tuple((start, stop - start) for start, stop in box)))
