"""Variables as TensorFlow's look from outside."""

from __future__ import annotations

from typing import Any

import numpy as np


class FakeVariable:
    """The duck type: name, shape, dtype, assign, and numpy where it is readable."""

    def __init__(self, name: str, value: Any, *, readable: bool = True) -> None:
        self.name = name
        self.value = np.asarray(value, object if isinstance(value, list) else None)
        self.shape: Any = self.value.shape
        self.dtype: Any = self.value.dtype
        self.assigned: list[Any] = []
        self.broken: Exception | None = None
        if readable:
            self.numpy = lambda: self.value

    def __eq__(self, other: object) -> Any:  # TensorFlow's compares by element
        raise AssertionError("variables are told apart by identity")

    __hash__ = None  # type: ignore[assignment]

    def assign(self, value: Any) -> None:
        if self.broken is not None:
            raise self.broken
        self.assigned.append(value)
        self.value = value
