"""Products of matrices, diagonals and bands."""

from __future__ import annotations

import numpy as np

from ckptstore.graph.kernels.precision import is_narrow, through_float32
from ckptstore.graph.kernels.registry import Array, Attributes, kernel


def _transposed(x: Array, *, conjugate: bool = False) -> Array:
    out = np.swapaxes(x, -1, -2)
    return np.conj(out) if conjugate else out


@through_float32
def _product(a: Array, b: Array) -> Array:
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"matrices of {list(a.shape[-2:])} and {list(b.shape[-2:])} cannot be multiplied")
    return np.asarray(np.matmul(a, b))


@kernel("MatMul")
def _matmul(attrs: Attributes, a: Array, b: Array) -> Array:
    if a.ndim != 2 or b.ndim != 2:
        raise ValueError("both inputs must be matrices")
    a = a.T if attrs.get("transpose_a") else a
    b = b.T if attrs.get("transpose_b") else b
    return np.asarray(_product(a, b))


@kernel("BatchMatMul", "BatchMatMulV2")
def _batch_matmul(attrs: Attributes, x: Array, y: Array) -> Array:
    if x.ndim < 2 or y.ndim < 2:
        raise ValueError("both inputs must have two dimensions or more")
    x = _transposed(x, conjugate=True) if attrs.get("adj_x") else x
    y = _transposed(y, conjugate=True) if attrs.get("adj_y") else y
    return np.asarray(_product(x, y))


@kernel("Einsum")
def _einsum(attrs: Attributes, *inputs: Array) -> Array:
    equation = attrs["equation"].decode("ascii")
    wide = [array.astype(np.float32) if is_narrow(array) else array for array in inputs]
    return np.asarray(np.einsum(equation, *wide, optimize=len(inputs) > 1)).astype(inputs[0].dtype)


@kernel("Diag")
def _diag(attrs: Attributes, x: Array) -> Array:
    del attrs
    out = np.zeros((x.size, x.size), x.dtype)
    np.fill_diagonal(out, x.reshape(-1))
    return np.asarray(out.reshape(x.shape + x.shape))


@kernel("DiagPart")
def _diag_part(attrs: Attributes, x: Array) -> Array:
    del attrs
    half = x.ndim // 2
    shape = x.shape[:half]
    if x.ndim % 2 or not half or x.shape[half:] != shape:
        raise ValueError("the second half of the dimensions must be as the first")
    count = int(np.prod(shape, dtype=np.int64))
    return np.asarray(np.diagonal(x.reshape(count, count)).reshape(shape))


@kernel("MatrixDiag")
def _matrix_diag(attrs: Attributes, x: Array) -> Array:
    del attrs
    if not x.ndim:
        raise ValueError("a diagonal cannot be a scalar")
    return np.where(np.eye(x.shape[-1], dtype=bool), x[..., None, :], np.zeros((), x.dtype))


@kernel("MatrixDiagPart")
def _matrix_diag_part(attrs: Attributes, x: Array) -> Array:
    del attrs
    return np.diagonal(_matrices(x), axis1=-2, axis2=-1)


@kernel("MatrixBandPart")
def _matrix_band_part(attrs: Attributes, x: Array, lower: Array, upper: Array) -> Array:
    del attrs
    rows, columns = np.indices(_matrices(x).shape[-2:])
    low, high = int(lower), int(upper)
    inside = ((low < 0) | (rows - columns <= low)) & ((high < 0) | (columns - rows <= high))
    return np.where(inside, x, np.zeros((), x.dtype))


def _matrices(x: Array) -> Array:
    if x.ndim < 2:
        raise ValueError("the input must have two dimensions or more")
    return x


def _bands(k: Array) -> tuple[int, int]:
    low, high = int(k.reshape(-1)[0]), int(k.reshape(-1)[-1])
    if low > high:
        raise ValueError(f"the first diagonal {low} lies above the last, {high}")
    return low, high


def _shift(attrs: Attributes, diagonal: int, length: int, longest: int) -> int:
    """Where in its row a diagonal that is shorter than others begins."""
    above, below = attrs.get("align", b"RIGHT_LEFT").decode("ascii").split("_")
    return longest - length if (above if diagonal >= 0 else below) == "RIGHT" else 0


@kernel("MatrixDiagPartV3")
def _matrix_diag_part_v3(attrs: Attributes, x: Array, k: Array, padding: Array) -> Array:
    low, high = _bands(k)
    rows, columns = _matrices(x).shape[-2:]
    lengths = {d: min(rows + min(d, 0), columns - max(d, 0)) for d in range(low, high + 1)}
    longest = max(lengths.values())
    out = np.full((*x.shape[:-2], high - low + 1, longest), padding, x.dtype)
    for diagonal, length in lengths.items():
        begin = _shift(attrs, diagonal, length, longest)
        out[..., high - diagonal, begin : begin + length] = np.diagonal(x, diagonal, -2, -1)
    return out if low < high else out[..., 0, :]


@kernel("MatrixDiagV3")
def _matrix_diag_v3(attrs: Attributes, x: Array, k: Array, num_rows: Array, num_cols: Array, padding: Array) -> Array:
    low, high = _bands(k)
    bands = x if low < high else x[..., None, :]
    longest = bands.shape[-1]
    rows, columns = int(num_rows), int(num_cols)
    least_rows, least_columns = longest - min(high, 0), longest + max(low, 0)
    if rows == -1 and columns == -1:
        rows = columns = max(least_rows, least_columns)
    rows, columns = (least_rows if rows == -1 else rows), (least_columns if columns == -1 else columns)
    if rows < least_rows or columns < least_columns or (rows > least_rows and columns > least_columns):
        raise ValueError(f"diagonals of {longest} are not those of {rows} rows and {columns} columns")
    out = np.full((*bands.shape[:-2], rows, columns), padding, x.dtype)
    for diagonal in range(low, high + 1):
        length = min(rows + min(diagonal, 0), columns - max(diagonal, 0))
        begin = _shift(attrs, diagonal, length, longest)
        at = np.arange(length)
        out[..., at - min(diagonal, 0), at + max(diagonal, 0)] = bands[..., high - diagonal, begin : begin + length]
    return out
