"""Checks of what users pass. Pure."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from ckptstore.errors import InvalidArgumentError


def as_integer(value: Any, name: str) -> int:
    """An integer of any kind (numpy's, too); what is none is an InvalidArgumentError that calls it `name`."""
    try:
        return operator.index(value)
    except TypeError as error:
        raise InvalidArgumentError(f"{name} must be an integer, not {value!r}.") from error


def as_step(value: Any) -> int:
    """A step: an integer from 0. True, 1.0 and NaN are none, and raise InvalidArgumentError."""
    step = as_integer(value, "A step")
    if isinstance(value, bool | np.bool_) or step < 0:
        raise InvalidArgumentError(f"A step must be an integer from 0, not {value!r}.")
    return step
