"""Variables while a graph runs, and how kernels that read or write them are registered."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptstore.errors import IncompatibleTensorError, InvalidArgumentError
from ckptstore.format.dtypes import DType
from ckptstore.graph.attributes import Shape
from ckptstore.graph.kernels.registry import Array, Attributes


@dataclass(frozen=True)
class Variable:
    """What stands for a variable in a graph: a reference to it, or its handle.

    Attributes:
        name: The key of its value.
        dtype: Its type.
        shape: Its static shape.
        is_reference: Whether it is read wherever its value is wanted; a handle is read by ReadVariableOp.
    """

    name: str
    dtype: DType
    shape: Shape
    is_reference: bool


class State:
    """What outlives a run: the values of variables, and the generators of random numbers.

    What was read from a handle stays as it was. What was read from a reference changes with the variable when an op
    works on it in place, as in TensorFlow: averages of variables are computed from what was read before the step.

    Args:
        variables: Values by the names of variables; assignments are written to it.
    """

    def __init__(self, variables: MutableMapping[str, Array]) -> None:
        self._variables = variables
        self._owned: dict[str, Array] = {}
        self._generators: dict[str, np.random.Generator] = {}

    def has(self, variable: Variable) -> bool:
        """Whether it has a value."""
        return variable.name in self._variables

    def read(self, variable: Variable) -> Array:
        """Its value.

        Raises:
            InvalidArgumentError: It has none.
            IncompatibleTensorError: What was given for it is of another type.
        """
        if variable.name not in self._variables:
            raise InvalidArgumentError(
                f"The variable {variable.name!r} has no value yet: restore a checkpoint or assign it.",
                name=variable.name,
            )
        value = np.asarray(self._variables[variable.name])
        if value.dtype != variable.dtype.numpy:
            raise IncompatibleTensorError(
                f"The variable {variable.name!r} is {variable.dtype}, and the value given for it {value.dtype}.",
                name=variable.name,
            )
        if variable.is_reference and self._owned.get(variable.name) is not value:
            value = np.array(value)  # the caller's own array is never changed in place
            self._variables[variable.name] = self._owned[variable.name] = value
        return value

    def update(self, variable: Variable, value: Array) -> None:
        """Makes it its value, as ops do that work in place.

        Raises:
            ValueError: It is of another type.
        """
        if variable.is_reference and value.dtype == variable.dtype.numpy:
            self.read(variable)[...] = value
        else:
            self.write(variable, value)

    def shares(self, value: Array) -> bool:
        """Whether an array is a view of something that may change in place."""
        return bool(self._owned) and value.base is not None

    def write(self, variable: Variable, value: Array) -> None:
        """Makes it its value.

        Raises:
            ValueError: It is of another type.
        """
        if value.dtype != variable.dtype.numpy:
            raise ValueError(f"{value.dtype} cannot be assigned to the variable {variable.name!r} of {variable.dtype}")
        self._variables[variable.name] = np.array(value)  # it may be what was read from another variable

    def generator(self, node: str, attrs: Attributes) -> np.random.Generator:
        """The generator of a node. With a seed, it gives the same numbers from the start of every evaluator."""
        if node not in self._generators:
            seeds = [attrs.get("seed", 0) & 0xFFFFFFFF, attrs.get("seed2", 0) & 0xFFFFFFFF]
            self._generators[node] = np.random.default_rng(seeds if any(seeds) else None)
        return self._generators[node]


StatefulKernel = Callable[..., Any]
"""Takes the state, the node's name, its attributes and its inputs: references and handles as they are.

Returns what a kernel returns, or such a `Variable`.
"""

STATEFUL: dict[str, StatefulKernel] = {}
"""By the name of the op."""


def stateful(*ops: str) -> Callable[[StatefulKernel], StatefulKernel]:
    """Registers the function below it for the ops named."""

    def register(function: StatefulKernel) -> StatefulKernel:
        for op in ops:
            if op in STATEFUL:
                raise AssertionError(f"two kernels for {op}")
            STATEFUL[op] = function
        return function

    return register


def check_assignable(variable: Variable, value: Array) -> None:
    """Makes sure that a value is of the shape of a variable.

    Raises:
        ValueError: It is not.
    """
    shape = variable.shape
    if shape is not None and (
        len(shape) != value.ndim or any(n not in (None, m) for n, m in zip(shape, value.shape, strict=True))
    ):
        wanted = ["?" if n is None else n for n in shape]
        raise ValueError(f"{list(value.shape)} is not the shape of the variable {variable.name!r}, {wanted}")
