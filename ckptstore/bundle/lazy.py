"""An array whose bytes are still in the checkpoint."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ckptstore.bundle.source import TensorInfo, TensorSource
from ckptstore.errors import IncompatibleTensorError
from ckptstore.format.dtypes import STRING
from ckptstore.format.slices import Box


class LazyArray:
    """A tensor of a checkpoint, read when it is asked for.

    `array[100:200]` reads only the bytes it needs, which no checksum covers unless it is all of the tensor or, for a
    partitioned one, all of a piece; `np.asarray(array)` reads the whole and checks it.

    Attributes:
        name: The tensor's name.
        shape: Extent per dimension.
        dtype: numpy dtype.
    """

    def __init__(self, source: TensorSource, info: TensorInfo, *, verify: bool = True) -> None:
        self._source = source
        self._info = info
        self._verify = verify
        self.name = info.name
        self.shape = info.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Numpy dtype; object for strings.

        Raises:
            IncompatibleTensorError: It is a variant, which numpy cannot hold.
        """
        if self._info.dtype.numpy is None:
            raise IncompatibleTensorError(
                f"{self._source.path}: tensor {self.name!r} is of type {self._info.dtype}, which numpy cannot hold.",
                path=self._source.path,
                name=self.name,
            )
        return self._info.dtype.numpy

    @property
    def tf_dtype(self) -> str:
        """TensorFlow's name of the element type."""
        return self._info.dtype.name

    @property
    def nbytes(self) -> int:
        """Bytes of the array in memory; for strings, of what is stored."""
        return self._info.nbytes

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a scalar")
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if copy is False:
            raise ValueError("a LazyArray has no memory to share; reading it makes a new array")
        whole = self._source.read([self.name], verify=self._verify)[self.name]
        array = whole if dtype is None else whole.astype(dtype, copy=False)
        return array.copy() if copy and not array.flags.writeable else array  # read-only: others have it, too

    def __getitem__(self, index: Any) -> Any:
        """What numpy would give for integers, slices and `...`; other kinds of index read the whole tensor."""
        basic = _bounds(index, self.shape)
        if basic is None or self._info.dtype == STRING or not self.shape:
            return self.__array__()[index]
        box, rest = basic
        if box == tuple((0, size) for size in self.shape):
            return self.__array__()[rest]
        return self._source.read_box(self.name, box, verify=self._verify)[rest]

    def __repr__(self) -> str:
        return f"LazyArray(name={self.name!r}, shape={self.shape}, dtype={self.tf_dtype})"


def _is_basic(item: Any) -> bool:
    return item is Ellipsis or (isinstance(item, int | np.integer | slice) and not isinstance(item, bool))


def _bounds(index: Any, shape: tuple[int, ...]) -> tuple[Box, tuple[Any, ...]] | None:
    """The box that an index touches, and the index within it; None for an index that is not basic."""
    items = index if isinstance(index, tuple) else (index,)
    if sum(item is Ellipsis for item in items) > 1 or not all(map(_is_basic, items)):
        return None
    if Ellipsis in items:
        at = items.index(Ellipsis)
        items = items[:at] + (slice(None),) * (len(shape) - len(items) + 1) + items[at + 1 :]
    if len(items) > len(shape):
        raise IndexError(f"too many indices: the tensor has {len(shape)} dimensions, {len(items)} were given")
    items += (slice(None),) * (len(shape) - len(items))
    box: list[tuple[int, int]] = []
    rest: list[Any] = []
    for axis, (item, size) in enumerate(zip(items, shape, strict=True)):
        if isinstance(item, slice):
            start, stop, step = item.indices(size)
            count = len(range(start, stop, step))
            if count == 0:
                box.append((0, 0))
                rest.append(slice(0, 0))
                continue
            last = start + (count - 1) * step
            low, high = min(start, last), max(start, last) + 1
            box.append((low, high))
            rest.append(slice(None, None, step) if step > 0 else slice(high - low - 1, None, step))
        else:
            position = int(item)
            if not -size <= position < size:
                raise IndexError(f"index {position} is out of bounds for axis {axis} with size {size}")
            box.append((position % size, position % size + 1))
            rest.append(0)
    return tuple(box), tuple(rest)
