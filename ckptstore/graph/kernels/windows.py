"""Windows that slide over the spatial axes of images: where they begin, how many there are, and what they see."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptstore.graph.kernels.registry import Array, Attributes


def channels_last(x: Array, data_format: bytes) -> Array:
    """The view of a batch of images with its channels last.

    Raises:
        ValueError: The format has no such view.
    """
    if data_format == b"NCHW_VECT_C":
        raise ValueError("data_format NCHW_VECT_C is not supported: use NHWC or NCHW")
    return np.moveaxis(x, 1, -1) if data_format.startswith(b"NC") else x


def channels_back(x: Array, data_format: bytes) -> Array:
    """Undoes `channels_last`."""
    return np.moveaxis(x, -1, 1) if data_format.startswith(b"NC") else x


def check_rank(name: str, x: Array, rank: int) -> None:
    """Raises ValueError unless an input has so many dimensions."""
    if x.ndim != rank:
        raise ValueError(f"{name} must have {rank} dimensions, but its shape is {list(x.shape)}")


def spatial(name: str, values: Sequence[int], data_format: bytes) -> list[int]:
    """The entries of an attribute, one an axis, that are of spatial axes.

    Raises:
        ValueError: One is less than 1, or that of the batch or of the channels is not 1.
    """
    values = [int(value) for value in values]
    batch, *rest = values
    channels = rest.pop(0 if data_format.startswith(b"NC") else -1)
    if batch != 1 or channels != 1:
        raise ValueError(f"{name} {values} must be 1 in the batch and in the channels of {data_format.decode()}")
    if min(rest) < 1:
        raise ValueError(f"{name} {values} must be positive")
    return rest


@dataclass(frozen=True, slots=True)
class Axis:
    """One spatial axis and the window that slides along it.

    Attributes:
        extent: The input's length.
        size: How many places the window has.
        step: From one window to the next.
        rate: From one place of a window to the next; more than 1 in a dilated one.
        before: How far the first window begins before the input.
        outputs: How many windows there are.
    """

    extent: int
    size: int
    step: int
    rate: int
    before: int
    outputs: int

    @property
    def padded(self) -> int:
        """The length of the input with all that windows see before and after it."""
        reach = (self.outputs - 1) * self.step + (self.size - 1) * self.rate + 1
        return max(self.before + self.extent, reach)

    @property
    def inside(self) -> slice:
        """Where in the padded input the input is."""
        return slice(self.before, self.before + self.extent)

    def seen_by(self, place: int) -> slice:
        """What one place of all windows sees of the padded input."""
        start = place * self.rate
        return slice(start, start + self.outputs * self.step, self.step) if self.outputs else slice(0)

    def counts(self) -> Array:
        """How many places of each window, undilated, are over the input."""
        first = np.arange(self.outputs) * self.step - self.before
        return np.minimum(first + self.size, self.extent) - np.maximum(first, 0)


def slide(
    extents: Sequence[int], sizes: Sequence[int], strides: Sequence[int], rates: Sequence[int], attrs: Attributes
) -> list[Axis]:
    """The axes of windows that are padded as a node says.

    Args:
        extents: The input's spatial shape.
        sizes: That of the window.
        strides: How far it moves along each axis.
        rates: How far its places are apart.
        attrs: `padding`, and with EXPLICIT also `explicit_paddings` and `data_format`.

    Raises:
        ValueError: The padding is none, or the window is larger than the padded input.
    """
    padding = attrs["padding"]
    if padding == b"EXPLICIT":
        margins = _explicit(attrs, len(extents))
    elif padding in (b"SAME", b"VALID"):
        margins = [(0, 0)] * len(extents)
    else:
        raise ValueError(f"padding {padding!r} is none of SAME, VALID and EXPLICIT")
    axes = []
    for extent, size, step, rate, (before, after) in zip(extents, sizes, strides, rates, margins, strict=True):
        reach = (size - 1) * rate + 1
        if padding == b"SAME":
            outputs = -(-extent // step)
            before = max((outputs - 1) * step + reach - extent, 0) // 2  # noqa: PLW2901
        else:
            room = before + extent + after - reach + step
            outputs = int(room / step)  # cut towards zero, as in C: no window at all is no error
            if outputs < 0:
                raise ValueError(f"a window of {reach} does not fit into {before + extent + after}")
        axes.append(Axis(extent, size, step, rate, before, outputs))
    return axes


def _explicit(attrs: Attributes, rank: int) -> list[tuple[int, int]]:
    given = list(attrs.get("explicit_paddings", []))
    if len(given) != 2 * (rank + 2) or min(given) < 0:
        raise ValueError(f"explicit_paddings {given} must be {2 * (rank + 2)} numbers that are not negative")
    before = spatial("explicit_paddings", [n + 1 for n in given[::2]], attrs["data_format"])
    after = spatial("explicit_paddings", [n + 1 for n in given[1::2]], attrs["data_format"])
    return [(low - 1, high - 1) for low, high in zip(before, after, strict=True)]


def inside(axes: Sequence[Axis]) -> tuple[slice, ...]:
    """The index of the images in padded ones."""
    return (slice(None), *(axis.inside for axis in axes))


def padded(x: Array, axes: Sequence[Axis], fill: Any = 0) -> Array:
    """A batch of images, channels last, with all around that its windows see."""
    shape = (x.shape[0], *(axis.padded for axis in axes), x.shape[-1])
    if shape == x.shape:
        return x
    out = np.full(shape, fill, x.dtype)
    out[inside(axes)] = x
    return out


def places(axes: Sequence[Axis]) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """Each place of a window, row by row, with the index of what it sees of the padded images.

    What a place sees has the shape [batch, *outputs, channels], and no element twice.
    """
    for place in itertools.product(*(range(axis.size) for axis in axes)):
        yield place, (slice(None), *(axis.seen_by(at) for axis, at in zip(axes, place, strict=True)))


def patches(x: Array, axes: Sequence[Axis]) -> Array:
    """What each window sees, as one vector: [batch, *outputs, places * channels]."""
    source = padded(x, axes)
    return np.concatenate([source[index] for _, index in places(axes)], -1)
