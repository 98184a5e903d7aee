"""Which Python function computes which op."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Attributes = Mapping[str, Any]
"""A node's attributes, as `attributes.decode_attribute` gives them, with the op's defaults filled in."""

Kernel = Callable[..., "Array | Sequence[Array]"]
"""Takes a node's attributes and one array per data input; returns its output, or a sequence of its outputs.

Kernels are pure: they change no input, and may return one as it is. They may raise ValueError with what is wrong with
the inputs; who runs them adds the node.
"""

KERNELS: dict[str, Kernel] = {}
"""By the name of the op."""


def kernel(*ops: str) -> Callable[[Kernel], Kernel]:
    """Registers the function below it for the ops named."""

    def register(function: Kernel) -> Kernel:
        for op in ops:
            if op in KERNELS:
                raise AssertionError(f"two kernels for {op}")
            KERNELS[op] = function
        return function

    return register
