"""Tensors, names, tilings and bytes of every kind."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from ckptstore.bundle import Partitioned
from ckptstore.format.dtypes import DTYPES, STRING, DType, as_dtype
from ckptstore.format.slices import TensorSlice

STORABLE = [d for d in DTYPES if d.numpy is not None]
V1_STORABLE = [
    as_dtype(name)
    for name in [
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
]
_MAX_ELEMENTS = 400

# Any bytes but the empty string, as the str that stands for them; NUL and slashes are names like any other.
names = st.one_of(
    st.sampled_from(
        [
            "w",
            "layer/w",
            "layer/w/Adam",
            "a b",
            "a:0",
            ".",
            "..",
            "/",
            "é世😀",
            "\x00",
            "\x00w\x00\x01\x00",
            "\udcff",
            "\n",
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12),
    st.binary(min_size=1, max_size=12).map(lambda b: b.decode("utf-8", "surrogateescape")),
)


@st.composite
def shapes(draw: st.DrawFn, max_rank: int = 8, min_side: int = 0) -> tuple[int, ...]:
    sides: list[int] = []
    room = _MAX_ELEMENTS
    for _ in range(draw(st.integers(0, max_rank))):
        sides.append(draw(st.integers(min_side, max(min(room, 7), min_side))))
        room = max(1, room // max(sides[-1], 1))
    return tuple(sides)


@st.composite
def plain_arrays(draw: st.DrawFn, dtype: DType, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """A C-ordered array of arbitrary bits: NaNs with any payload, denormals, every sign of zero."""
    count = int(np.prod(shape, dtype=object))
    if dtype == STRING:
        pool = draw(
            st.lists(
                st.binary(max_size=20) | st.sampled_from([b"", b"\x00", b"x" * 127, b"y" * 128]), min_size=1, max_size=5
            )
        )
        flat = np.empty(count, object)
        flat[:] = [pool[i % len(pool)] for i in range(count)]
        return flat.reshape(shape)
    seed = np.frombuffer(draw(st.binary(min_size=1, max_size=24)), np.uint8)
    bits = np.resize(seed, count * dtype.itemsize)
    if dtype.low_bits:
        bits = bits & np.uint8((1 << dtype.low_bits) - 1)
    elif dtype.name == "bool":
        bits = bits & np.uint8(1)
    return bits.view(dtype.as_numpy_dtype).reshape(shape)


@st.composite
def laid_out(draw: st.DrawFn, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same values in another order of memory or bytes."""
    kind = draw(
        st.sampled_from(["c", "fortran", "strided", "reversed", "big", "big fortran", "read-only", "transposed"])
    )
    if "big" in kind and array.dtype != object:
        array = (
            array.astype(array.dtype.newbyteorder(">"))
            if array.dtype.kind in "iufc" and _bits_survive(array)
            else array
        )
    if "fortran" in kind:
        return np.asfortranarray(array)
    if kind == "transposed":
        return np.ascontiguousarray(array.T).T
    if kind == "strided" and array.ndim:
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    if kind == "reversed" and array.ndim:
        return array[::-1].copy()[::-1]
    if kind == "read-only":
        array = array.copy()
        array.flags.writeable = False
    return array


def _bits_survive(array: np.ndarray[Any, Any]) -> bool:
    # A conversion of byte order moves bits and computes nothing; only a check that numpy keeps it so.
    return array.astype(array.dtype.newbyteorder(">")).astype(array.dtype).tobytes() == array.tobytes()


@st.composite
def tensors(
    draw: st.DrawFn, dtypes: list[DType] | None = None, max_rank: int = 8
) -> tuple[DType, np.ndarray[Any, Any]]:
    dtype = draw(st.sampled_from(dtypes or STORABLE))
    array = draw(plain_arrays(dtype, draw(shapes(max_rank))))
    return dtype, draw(laid_out(array))


def bits(array: np.ndarray[Any, Any]) -> tuple[Any, ...]:
    """What must be the same when an array comes back: type, shape and every bit."""
    native = np.asarray(array)
    native = native.astype(native.dtype.newbyteorder("=")) if native.dtype.kind in "iufc" else native
    content = native.ravel().tolist() if native.dtype == object else native.tobytes()
    return native.dtype, native.shape, content


@st.composite
def tilings(draw: st.DrawFn, shape: tuple[int, ...]) -> list[tuple[tuple[int, int], ...]]:
    """Boxes that make up a shape, in any order, by cuts anywhere."""
    boxes = [tuple((0, side) for side in shape)]
    for _ in range(draw(st.integers(0, 8))):
        box = boxes.pop(draw(st.integers(0, len(boxes) - 1)))
        axes = [a for a, (start, stop) in enumerate(box) if stop - start > 1]
        if not axes:
            boxes.append(box)
            continue
        axis = draw(st.sampled_from(axes))
        cut = draw(st.integers(box[axis][0] + 1, box[axis][1] - 1))
        boxes.append((*box[:axis], (box[axis][0], cut), *box[axis + 1 :]))
        boxes.append((*box[:axis], (cut, box[axis][1]), *box[axis + 1 :]))
    return draw(st.permutations(boxes))


@st.composite
def partitioned(draw: st.DrawFn, dtypes: list[DType]) -> tuple[DType, np.ndarray[Any, Any], Partitioned]:
    """A tensor, and the same in pieces."""
    dtype = draw(st.sampled_from(dtypes))
    shape = draw(shapes(4, min_side=1))
    array = draw(plain_arrays(dtype, shape))
    pieces = []
    for box in draw(tilings(shape)):
        whole = draw(st.booleans())  # where a piece spans a dimension, it may say so with a dash
        extents = tuple(
            (0, -1) if whole and (a, b) == (0, n) else (a, b - a) for (a, b), n in zip(box, shape, strict=True)
        )
        pieces.append((TensorSlice(extents), array[tuple(slice(a, b) for a, b in box)]))
    return dtype, array, Partitioned(shape, pieces)


# Integers at which something gives way: bytes, blocks, 31, 32, 63 and 64 bits.
edges = st.sampled_from(
    [0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 127, 128, 255, 256, 4096, 2**31 - 1, 2**32, 2**40, 2**62, 2**63 - 1]
) | st.integers(0, 64)
