"""What a caller gives and asks for: names of tensors and operations, and values for them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ckptstore.errors import InvalidArgumentError
from ckptstore.format.dtypes import DType
from ckptstore.graph.attributes import Shape


def name_of(item: Any) -> str:
    """The name that a caller means: a string, or what an object has as `name`.

    Raises:
        InvalidArgumentError: It is neither.
    """
    name = getattr(item, "name", item)
    if not isinstance(name, str):
        raise InvalidArgumentError(f"Expected the name of a tensor or operation, or an object with one, not {item!r}.")
    return name


def names_in(fetches: Any) -> list[str]:
    """All names in a nest of lists, tuples and mappings, in their order.

    Raises:
        InvalidArgumentError: Something in it is no name.
    """
    names: list[str] = []
    put_together(fetches, names.append)
    return names


def put_together(fetches: Any, value: Callable[[str], Any]) -> Any:
    """The nest with each name replaced by its value.

    Raises:
        InvalidArgumentError: Something in it is no name.
    """
    if isinstance(fetches, Mapping):
        return {key: put_together(item, value) for key, item in fetches.items()}
    if isinstance(fetches, list | tuple) and not hasattr(fetches, "name"):
        items = [put_together(item, value) for item in fetches]
        if isinstance(fetches, list):
            return items
        return type(fetches)(*items) if hasattr(fetches, "_fields") else tuple(items)
    return value(name_of(fetches))


def as_fed(value: Any, dtype: DType | None, shape: Shape, name: str) -> Any:
    """The array of a fed value.

    Args:
        value: An array, or what numpy makes one of.
        dtype: The type of the tensor that it is fed for; None takes it as it is.
        shape: The shape that it has to fit.
        name: The tensor.

    Raises:
        InvalidArgumentError: It is of another type, and converting would change it, or of another shape.
    """
    try:
        array = _converted(value, dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidArgumentError(
            f"{value!r:.80} cannot be fed for {name!r}, which is {dtype}: {error}.", name=name
        ) from error
    if shape is not None and (
        len(shape) != array.ndim or any(n not in (None, m) for n, m in zip(shape, array.shape, strict=True))
    ):
        wanted = ["?" if n is None else n for n in shape]
        raise InvalidArgumentError(
            f"A value of shape {list(array.shape)} cannot be fed for {name!r}, which has the shape {wanted}.",
            name=name,
        )
    return array


def _converted(value: Any, dtype: DType | None) -> np.ndarray[Any, Any]:
    if dtype is not None and dtype.name == "string":
        return _strings(value)
    array = np.asarray(value)
    if array.dtype.kind in "SU" or array.dtype == object:
        if dtype is not None:
            raise ValueError("it is no array of numbers")
        return _strings(value)
    wanted = None if dtype is None else dtype.as_numpy_dtype
    if wanted is None or array.dtype == wanted:
        return array
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an imaginary part that is lost
        converted = array.astype(wanted)
        # What becomes a float is rounded, as TensorFlow does it; nothing else may change.
        exact = wanted.kind in "iub" or (array.dtype.kind == "c" and wanted.kind != "c")
        if exact and (converted != array).any():
            raise ValueError(f"{array.dtype} cannot be converted without changing it")
    return converted


def _strings(value: Any) -> np.ndarray[Any, Any]:
    array = np.asarray(value, object)
    out = np.empty(array.shape, object)
    flat = [item.encode() if isinstance(item, str) else item for item in array.reshape(-1).tolist()]
    if other := [item for item in flat if not isinstance(item, bytes)]:
        raise ValueError(f"{other[0]!r} is no string")
    out.reshape(-1)[:] = flat
    return out
