"""What the values of a tensor are like, computed in one pass over pieces of bounded size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptstore.bundle import LazyArray

PIECE = 64 << 20
"""Numeric tensors up to this size, in bytes, are read whole, and held against their checksum."""


def pieces(array: LazyArray) -> Iterator[np.ndarray[Any, Any]]:
    """The tensor in pieces of at most `PIECE` bytes; strings in one."""
    if array.dtype == object or array.nbytes <= PIECE:
        yield np.asarray(array)
        return
    for index in _boxes(array.shape, array.dtype.itemsize):
        yield array[index]


def _boxes(shape: tuple[int, ...], itemsize: int) -> Iterator[tuple[slice, ...]]:
    inner = math.prod(shape[1:]) * itemsize
    if inner > PIECE:
        for row in range(shape[0]):
            for rest in _boxes(shape[1:], itemsize):
                yield (slice(row, row + 1), *rest)
        return
    rows = PIECE // inner
    for start in range(0, shape[0], rows):
        yield (slice(start, min(start + rows, shape[0])),)


@dataclass
class NumberStatistics:
    """Of numbers and booleans (False is 0, True is 1), bit for bit as they are stored.

    Attributes:
        count: Elements.
        nan: Elements that are not a number; a complex one if either part is not.
        inf: Elements that are infinite; a complex one if either part is, and none is NaN.
        zeros: Elements that are 0 or -0.
        min, max: Of the finite ones, exact; None if there are none, and for complex numbers, which have no order.
        mean, std: Of the finite ones; std is that of the population.
    """

    count: int = 0
    nan: int = 0
    inf: int = 0
    zeros: int = 0
    min: int | float | None = None
    max: int | float | None = None
    _total: int = 0  # of integers
    _origin: int = 0  # of integers: what _mean counts from, so that large ones keep their small differences
    _n: int = 0
    _scale: float = 1.0
    _mean: complex = 0.0
    _squares: float = 0.0
    _kind: str = ""

    def add(self, values: np.ndarray[Any, Any]) -> None:
        """Takes in a piece."""
        flat = _widened(values.reshape(-1))
        self._kind = flat.dtype.kind
        self.count += flat.size
        self.zeros += flat.size - int(np.count_nonzero(flat))
        if self._kind in "fc":
            nan = np.isnan(flat)
            finite = np.isfinite(flat)
            self.nan += int(np.count_nonzero(nan))
            self.inf += flat.size - int(np.count_nonzero(nan)) - int(np.count_nonzero(finite))
            if not finite.all():
                flat = flat[finite]
        if not flat.size:
            return
        if self._kind != "c":
            low, high = flat.min().item(), flat.max().item()
            self.min = low if self.min is None else min(self.min, low)
            self.max = high if self.max is None else max(self.max, high)
        if self._kind in "iu":
            self._origin = self._origin if self._n else int(flat[0])
            self._total += _exact_sum(flat)
        self._merge(flat)

    @property
    def mean(self) -> float | complex | None:
        """See above."""
        if not self._n:
            return None
        if self._kind in "iu":
            return self._total / self._n  # of two int, rounded once
        mean = self._mean * self._scale
        return mean if self._kind == "c" else float(mean.real)

    @property
    def std(self) -> float | None:
        """See above."""
        return math.sqrt(self._squares / self._n) * self._scale if self._n else None

    def _merge(self, flat: np.ndarray[Any, Any]) -> None:
        """Chan's update of mean and sum of squares, on values scaled by a power of two, so that no square overflows."""
        if self._kind in "iu":
            wide = _distances(flat, self._origin)
        else:
            wide = flat.astype(np.complex128 if self._kind == "c" else np.float64)
        parts = wide.view(np.float64)
        # Half of the largest exponent is room enough for the mean's and the squares' sums.
        scale = math.ldexp(1.0, min(max(math.frexp(float(np.abs(parts).max()))[1], -1000), 1000))
        if self._n == 0:
            self._scale = scale
        elif scale > self._scale:
            ratio = self._scale / scale
            self._mean, self._squares, self._scale = self._mean * ratio, self._squares * ratio * ratio, scale
        parts *= 1 / self._scale
        mean = wide.mean()
        wide -= mean
        squares = float(np.sum(np.square(parts)))
        n = self._n + wide.size
        delta = complex(mean) - self._mean
        self._squares += squares + abs(delta) ** 2 * self._n * wide.size / n
        self._mean += delta * (wide.size / n)
        self._n = n

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        mean: Any = self.mean
        if isinstance(mean, complex):
            mean = {"real": mean.real, "imag": mean.imag}
        return {
            "count": self.count,
            "nan": self.nan,
            "inf": self.inf,
            "zeros": self.zeros,
            "min": self.min,
            "max": self.max,
            "mean": mean,
            "std": self.std,
        }


@dataclass
class StringStatistics:
    """Of strings.

    Attributes:
        count: Elements.
        empty: Elements without a byte.
        nbytes: Bytes of all, without what is stored of their lengths.
        shortest, longest: In bytes; None if there are none.
    """

    count: int = 0
    empty: int = 0
    nbytes: int = 0
    shortest: int | None = None
    longest: int | None = None

    def add(self, values: np.ndarray[Any, Any]) -> None:
        """Takes in a piece."""
        lengths = [len(value) for value in values.reshape(-1).tolist()]
        if not lengths:
            return
        self.count += len(lengths)
        self.empty += lengths.count(0)
        self.nbytes += sum(lengths)
        self.shortest = min(lengths) if self.shortest is None else min(self.shortest, *lengths)
        self.longest = max(lengths) if self.longest is None else max(self.longest, *lengths)

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return {
            "count": self.count,
            "empty": self.empty,
            "bytes": self.nbytes,
            "shortest": self.shortest,
            "longest": self.longest,
            "mean_length": self.nbytes / self.count if self.count else None,
        }


def statistics(array: LazyArray) -> NumberStatistics | StringStatistics:
    """Reads a tensor and describes its values.

    Raises:
        IncompatibleTensorError: It is a variant or resource, which has none.
        DataLossError, StorageError: It cannot be read.
    """
    out = StringStatistics() if array.dtype == object else NumberStatistics()
    for piece in pieces(array):
        out.add(piece)
    return out


def _widened(flat: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The values, each exactly, in a type that numpy computes with: the small ones as int8, uint8 or float32."""
    if flat.dtype.kind in "iufc" and flat.dtype.isbuiltin == 1 and flat.dtype != np.float16:
        return flat
    if flat.dtype.kind == "b":
        return flat.astype(np.uint8)
    if flat.dtype.name in ("int2", "int4"):
        return flat.astype(np.int8)
    if flat.dtype.name in ("uint2", "uint4"):
        return flat.astype(np.uint8)
    return flat.astype(np.float32)


def _distances(flat: np.ndarray[Any, Any], origin: int) -> np.ndarray[Any, Any]:
    """How far integers are from one of them, as float64."""
    if flat.dtype.itemsize == 8 and -(1 << 63) <= int(flat.min()) - origin <= int(flat.max()) - origin < 1 << 63:
        # Modulo 2**64 the differences are right, and as signed numbers they fit.
        distances: np.ndarray[Any, Any] = flat.view(np.uint64) - np.uint64(origin % (1 << 64))
        return distances.view(np.int64).astype(np.float64)
    return flat.astype(np.float64) - float(origin)


def _exact_sum(flat: np.ndarray[Any, Any]) -> int:
    if flat.dtype.itemsize < 8:
        return int(flat.sum(dtype=np.int64))
    low = int((flat & flat.dtype.type(0xFFFFFFFF)).astype(np.uint64).sum(dtype=np.uint64))
    return (int((flat >> flat.dtype.type(32)).astype(np.int64).sum(dtype=np.int64)) << 32) + low
