"""The first glance at a tensor's values."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from ckptstore.bundle import LazyArray
from ckptstore.cli._statistics import PIECE

_EDGE = 3
_STRINGS = 10
_STRING_BYTES = 60
_FIRST = 10


def preview(array: LazyArray, columns: int = 80) -> list[str]:
    """The values as lines of text: all of a small tensor, the corners of a large one, the first few strings.

    Raises:
        IncompatibleTensorError: It is a variant or resource, which has none.
        DataLossError, StorageError: It cannot be read.
    """
    if array.dtype == object:
        return _strings(np.asarray(array))
    large = array.nbytes > PIECE
    values = _corners(array) if large else np.asarray(array)
    if values.dtype.isbuiltin != 1:  # numpy prints what it knows better than what ml_dtypes adds to it
        values = values.astype(np.int8 if "int" in values.dtype.name else np.float32)
    shown = np.array2string(
        values, threshold=0 if large else 200, edgeitems=_EDGE, max_line_width=columns, separator=" "
    )
    return shown.split("\n")


def first_values(array: LazyArray) -> list[Any]:
    """The first few values in row-major order, as JSON can hold them; strings as text, cut off where they are long."""
    if array.dtype != object and array.nbytes > PIECE:
        values = np.asarray(array[(0,) * (array.ndim - 1) + (slice(0, _FIRST),)])
    else:
        values = np.asarray(array)
    return [_plain(value) for value in values.reshape(-1)[:_FIRST].tolist()]


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value[:_STRING_BYTES].decode("utf-8", "surrogateescape")
    if isinstance(value, complex):
        return {"real": value.real, "imag": value.imag}
    return value if isinstance(value, bool | int | float) else float(value)


def _strings(values: np.ndarray[Any, Any]) -> list[str]:
    flat = values.reshape(-1)
    lines = []
    for value in flat[:_STRINGS].tolist():
        rest = len(value) - _STRING_BYTES
        lines.append(f"{value[:_STRING_BYTES]!r}" + (f" and {rest:,} more bytes" if rest > 0 else ""))
    if flat.size > _STRINGS:
        lines.append(f"and {flat.size - _STRINGS:,} more")
    return lines


def _corners(array: LazyArray) -> np.ndarray[Any, Any]:
    """An array that numpy prints, abridged, as it would print all of the tensor; only its edges are read."""
    axes = [
        [(slice(0, _EDGE + 1), slice(0, _EDGE + 1)), (slice(_EDGE + 1, None), slice(size - _EDGE, size))]
        if size > 2 * _EDGE + 1
        else [(slice(None), slice(None))]
        for size in array.shape
    ]
    out = np.empty([min(size, 2 * _EDGE + 1) for size in array.shape], array.dtype)
    for boxes in product(*axes):
        out[tuple(to for to, _ in boxes)] = array[tuple(source for _, source in boxes)]
    return out
