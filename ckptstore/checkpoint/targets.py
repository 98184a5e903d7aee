"""What a tensor is restored into: an array, a variable, or the parts of a partitioned variable.

A variable is whatever has the attributes of `Variable`: a tf.Variable, one of Keras, one of ours. No framework is
imported here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ckptstore.bundle import TensorInfo
from ckptstore.errors import CheckpointError, IncompatibleTensorError, InvalidArgumentError
from ckptstore.format.dtypes import as_dtype
from ckptstore.format.slices import Box, TensorSlice

_PART = re.compile(r"/part_[0-9]+$")


class Variable(Protocol):
    """What is asked of a variable. One that also has `numpy()` gets its value back should a later one fail."""

    @property
    def name(self) -> str:
        """Its name; a ":0" at the end does not count."""

    @property
    def shape(self) -> Any:
        """Extent per dimension; None fits any."""

    @property
    def dtype(self) -> Any:
        """Whatever `as_dtype` takes."""

    def assign(self, value: np.ndarray[Any, Any]) -> Any:
        """Sets its value at once."""


def is_variable(value: Any) -> bool:
    """Whether it has what is asked of a variable."""
    return callable(getattr(value, "assign", None)) and all(hasattr(value, a) for a in ("name", "shape", "dtype"))


def variable_name(variable: Variable) -> str:
    """The name of a variable without TensorFlow's ":0"."""
    return str(variable.name).removesuffix(":0")


@dataclass(frozen=True, eq=False)
class Target:
    """Where one tensor goes.

    Attributes:
        name: The full name of the variable, or the tensor's own name for an array.
        holders: The array or the variable; or the parts of a partitioned variable, arrays or variables.
        partitioned: Whether the holders are parts.
    """

    name: str
    holders: tuple[Any, ...]
    partitioned: bool = False

    @classmethod
    def of(cls, source: str, value: Any) -> Target | None:
        """The target that a user's array, variable or list of parts is for a tensor, or None if it is neither.

        Raises:
            InvalidArgumentError: The parts are not all of one variable; or a variable belongs to a graph, and only a
                session could set it.
        """
        partitioned = isinstance(value, list | tuple)
        holders = tuple(value) if partitioned else (value,)
        if not holders or not all(isinstance(holder, np.ndarray) or is_variable(holder) for holder in holders):
            return None
        for holder in holders:
            _refuse_graphs(holder)
        return cls(_name(source, holders, partitioned), holders, partitioned)

    @property
    def array(self) -> np.ndarray[Any, Any] | None:
        """The array, if it is one and no more."""
        first = self.holders[0]
        return first if isinstance(first, np.ndarray) and not self.partitioned else None

    def misfit(self, info: TensorInfo) -> str | None:
        """Why a tensor cannot be restored into it, or None if it can."""
        writeable = all(not isinstance(holder, np.ndarray) or holder.flags.writeable for holder in self.holders)
        if writeable and self._boxes(info.shape) is not None and all(_holds(h, info) for h in self.holders):
            return None
        first = self.holders[0]
        kinds = [f"{_dtype_text(holder)} {_shape_text(holder)}" for holder in self.holders]
        if self.partitioned:
            what = f"the parts of {self.name!r}: {', '.join(kinds):.200}"
        elif isinstance(first, np.ndarray):
            what = f"a {'' if writeable else 'read-only '}{kinds[0]} array"
        else:
            what = f"variable {self.name!r} of {kinds[0]}"
        return f"tensor {info.name!r} is {info.dtype} {list(info.shape)} and cannot fill {what}"

    def pieces(self, value: np.ndarray[Any, Any]) -> Iterator[tuple[Any, np.ndarray[Any, Any]]]:
        """Every holder with what it gets of a tensor that fits."""
        if not self.partitioned:
            yield self.holders[0], value
            return
        for holder, box in zip(self.holders, self._boxes(value.shape) or (), strict=True):
            yield holder, value[tuple(slice(start, stop) for start, stop in box)]

    def _boxes(self, full: tuple[int, ...]) -> list[Box] | None:
        """The part of the full tensor that each holder takes, or None if they do not fit it."""
        if not self.partitioned:
            return [tuple((0, size) for size in full)] if _fits(_shape(self.holders[0]), full) else None
        told = [_slice_info(holder) for holder in self.holders]
        if all(info is not None for info in told):
            return _boxes_told(told, [_shape(holder) for holder in self.holders], full)
        return _boxes_in_a_row([_shape(holder) for holder in self.holders], full)


def fill(targets: Iterable[tuple[Target, np.ndarray[Any, Any]]]) -> None:
    """Gives every target its tensor, all or none.

    Should a variable refuse, those before it get their old values back where these can be read, and the error is
    raised. Arrays are filled last, since that cannot fail.
    """
    pieces = [piece for target, value in targets for piece in target.pieces(value)]
    arrays = [(holder, value) for holder, value in pieces if isinstance(holder, np.ndarray)]
    done: list[tuple[Variable, Any]] = []
    try:
        for holder, value in pieces:
            if not isinstance(holder, np.ndarray):
                old = _value(holder)
                holder.assign(value)
                done.append((holder, old))
    except BaseException as error:
        changed = [variable_name(variable) for variable, old in reversed(done) if not _put_back(variable, old)]
        if changed and hasattr(error, "add_note"):
            error.add_note(f"These variables keep their new values, the old ones being unknown: {sorted(changed)}")
        raise
    for array, value in arrays:
        array[...] = value


def _value(variable: Variable) -> Any:
    """A copy of a variable's value, or None if it cannot be read."""
    try:
        value = variable.numpy()  # type: ignore[attr-defined]
    except Exception:  # whatever it is: the variable can be assigned all the same
        return None
    return value.copy() if isinstance(value, np.ndarray) else value


def _put_back(variable: Variable, old: Any) -> bool:
    if old is None:
        return False
    try:
        variable.assign(old)
    except Exception:  # the first error is the one to raise
        return False
    return True


def _refuse_graphs(holder: Any) -> None:
    if not isinstance(holder, np.ndarray) and hasattr(holder, "graph") and not _is_held_here(holder):
        name = variable_name(holder)
        raise InvalidArgumentError(
            f"The variable {name!r} belongs to a graph, and its assign would only make an op; let TensorFlow restore "
            "it, or restore its tensor by name and load it in a session.",
            name=name,
        )


def _is_held_here(variable: Any) -> bool:
    """Whether a variable of a graph has its value itself: TensorFlow's have it in a session."""
    if not callable(getattr(variable, "numpy", None)):
        return False
    try:
        variable.numpy()
    except NotImplementedError:
        return False
    except CheckpointError:  # ours has no value yet
        return True
    return True


def _name(source: str, holders: Sequence[Any], partitioned: bool) -> str:
    variables = [holder for holder in holders if not isinstance(holder, np.ndarray)]
    if not variables:
        return source
    if not partitioned:
        return variable_name(variables[0])
    told = {info.full_name for holder in variables if hasattr(info := _slice_info(holder), "full_name")}
    if len(told) > 1:
        raise InvalidArgumentError(
            f"{source!r} must map to the parts of one variable, not to those of {sorted(told)}.", name=source
        )
    names = told or {_PART.sub("", variable_name(variable)) for variable in variables}
    return ",".join(sorted(names))


def _slice_info(holder: Any) -> Any:
    """TensorFlow's SaveSliceInfo of a part, or None."""
    for attribute in ("save_slice_info", "_save_slice_info"):
        if (info := getattr(holder, attribute, None)) is not None:
            return info
    ask = getattr(holder, "_get_save_slice_info", None)
    return ask() if callable(ask) else None


def _boxes_told(told: Sequence[Any], shapes: Sequence[Any], full: tuple[int, ...]) -> list[Box] | None:
    out: list[Box] = []
    for info, shape in zip(told, shapes, strict=True):
        offset, extent = tuple(info.var_offset), tuple(info.var_shape)
        if tuple(info.full_shape) != full or len(offset) != len(extent) or not _fits(shape, extent):
            return None
        try:
            out.append(TensorSlice(tuple(zip(offset, extent, strict=True))).box(full))
        except IncompatibleTensorError:
            return None
    return out


def _boxes_in_a_row(shapes: Sequence[Any], full: tuple[int, ...]) -> list[Box] | None:
    """The parts one after the other along the one axis on which they make up the full shape."""
    for axis, size in enumerate(full):
        stop, out = 0, []
        for shape in shapes:
            if shape is None or len(shape) != len(full) or shape[axis] is None:
                return None
            start, stop = stop, stop + shape[axis]
            out.append((*((0, n) for n in full[:axis]), (start, stop), *((0, n) for n in full[axis + 1 :])))
        others = full[:axis] + full[axis + 1 :]
        if stop == size and all(shape[:axis] + shape[axis + 1 :] == others for shape in shapes):
            return out
    return None


def _shape(holder: Any) -> tuple[int | None, ...] | None:
    """The shape of an array or variable; None where not even the rank is known."""
    shape = holder.shape
    if shape is None or getattr(shape, "rank", 0) is None:
        return None
    # With TensorFlow 1's behaviour a shape holds Dimensions, not integers.
    sizes = [getattr(size, "value", size) for size in shape]
    return tuple(None if size is None else int(size) for size in sizes)


def _fits(shape: tuple[int | None, ...] | None, full: tuple[int, ...]) -> bool:
    if shape is None:
        return True
    return len(shape) == len(full) and all(a is None or a == b for a, b in zip(shape, full, strict=True))


def _holds(holder: Any, info: TensorInfo) -> bool:
    if info.dtype.numpy is None:
        return False
    if isinstance(holder, np.ndarray):
        return bool(holder.dtype == info.dtype.numpy)
    dtype = getattr(holder.dtype, "base_dtype", holder.dtype)  # float32, not float32_ref
    try:
        found = as_dtype(dtype)
    except IncompatibleTensorError:
        return False
    # A numpy dtype cannot tell qint8 from int8.
    return found == info.dtype or (isinstance(dtype, np.dtype) and dtype == info.dtype.numpy)


def _dtype_text(holder: Any) -> str:
    dtype = getattr(holder.dtype, "base_dtype", holder.dtype)
    return str(getattr(dtype, "name", dtype)) if not isinstance(dtype, np.dtype) else str(dtype)


def _shape_text(holder: Any) -> str:
    shape = _shape(holder)
    return "of any shape" if shape is None else f"[{', '.join('?' if n is None else str(n) for n in shape)}]"
