"""What is saved as a step, so that every checkpoint tells who saved it, and a mixture of two is told from both."""

from __future__ import annotations

from typing import Any

import numpy as np

Save = tuple[int, int]
"""A step, and the number of the process that saved it: no two saves are the same."""

LARGE = 17 << 20
"""Bytes in a large array: more than one part of an upload."""


class ViolationError(Exception):
    """Something that was promised did not hold."""


def items(save: Save, *, large: bool = False) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of a save; the same at every call."""
    step, author = save
    seed = np.uint32(step * 7919 + author * 104_729)
    found = {
        "step": np.array(step, np.int64),
        "author": np.array(author, np.int64),
        "w": np.arange(2048, dtype=np.uint32) * np.uint32(2_654_435_761) ^ seed,
        "layer/b": np.full((7, 5), seed, np.float64),
    }
    if large:
        found["layer/large"] = np.full(LARGE // 4, seed, np.uint32)
    return found


def author_of(found: dict[str, np.ndarray[Any, Any]]) -> Save:
    """Which save the arrays of a checkpoint are.

    Raises:
        ViolationError: They are not those of one save.
    """
    try:
        save = int(found["step"]), int(found["author"])
    except KeyError:
        raise ViolationError(f"a checkpoint without step or author: {sorted(found)}") from None
    wanted = items(save, large="layer/large" in found)
    same = found.keys() == wanted.keys() and all(
        found[name].dtype == wanted[name].dtype and np.array_equal(found[name], wanted[name]) for name in wanted
    )
    if not same:
        raise ViolationError(f"a checkpoint calls itself {save} and holds something else")
    return save
