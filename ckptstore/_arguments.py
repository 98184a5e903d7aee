"""Checks of what users pass. Pure."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ckptstore.errors import InvalidArgumentError


def as_integer(value: Any, name: str) -> int:
    """An integer of any kind (numpy's, too); what is none is an InvalidArgumentError that calls it `name`."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        return operator.index(value)
    except TypeError as error:
        raise InvalidArgumentError(f"{name} must be an integer, not {value!r}.") from error


def as_count(value: Any, name: str) -> int:
    """An integer from 1."""
    count = as_integer(value, name)
    if count < 1:
        raise InvalidArgumentError(f"Expected a positive integer for {name}, got {value!r}.")
    return count


def as_hours(value: Any, name: str, *, zero: bool = False) -> float:
    """A number of hours over 0; with `zero`, that too."""
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not (value > 0 or (zero and value == 0)):
        raise InvalidArgumentError(f"{name} must be a number of hours {'from' if zero else 'over'} 0, not {value!r}.")
    return float(value)


def as_step(value: Any) -> int:
    """A step: an integer from 0 that fits into 63 bits. True, 1.0 and NaN are none, and raise InvalidArgumentError."""
    step = as_integer(value, "A step")
    if not 0 <= step < 1 << 63:
        raise InvalidArgumentError(f"A step must be an integer from 0 and below 2**63, not {hex(step):.24}.")
    return step
