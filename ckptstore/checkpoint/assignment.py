"""Which tensors of a checkpoint are asked for, and what they are to be called. Pure.

The map has the form of tf.compat.v1.train.init_from_checkpoint: "name" -> "new name" or an array to fill, "scope/" ->
"new scope/", and "/" for the root on either side.
"""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptstore.errors import InvalidArgumentError, TensorNotFoundError
from ckptstore.format.block import common_prefix

_SHOWN = 20
_SEARCHED = 5000  # an error message is worth only so much time
_COMPARED = 50


@dataclass(frozen=True)
class Assignment:
    """One tensor to restore.

    Attributes:
        source: Its name in the checkpoint.
        target: Its name in the result.
        into: An array to be filled with it, or None.
    """

    source: str
    target: str
    into: np.ndarray[Any, Any] | None = None


def plan_assignment(
    available: Iterable[str],
    *,
    names: Iterable[str] | None = None,
    assignment_map: Mapping[str, Any] | None = None,
    strict: bool = True,
    path: str = "",
) -> list[Assignment]:
    """Decides what to restore, before anything is read.

    Args:
        available: The names in the checkpoint.
        names: Only these. None: all.
        assignment_map: Only what it names, under its names. None: everything under its own name.
        strict: Every name asked for must be there.
        path: The checkpoint, for messages.

    Raises:
        TensorNotFoundError: Names are not there: all of them, each with the nearest that are.
        InvalidArgumentError: The map is malformed, or sends two tensors to one name.
    """
    have = list(available)
    known = set(have)
    missing: list[str] = []
    if names is not None:
        if isinstance(names, str) or not isinstance(names, Iterable):
            raise InvalidArgumentError(f"names must be a list of names, not {names!r}.")
        wanted = list(names)
        if not all(isinstance(name, str) for name in wanted):
            raise InvalidArgumentError(f"names must be a list of str, and holds {wanted!r:.100}.")
        wanted = list(dict.fromkeys(wanted))
        missing += [name for name in wanted if name not in known]
        have = [name for name in wanted if name in known]
    if assignment_map is None:
        plan = [Assignment(name, name) for name in have]
    else:
        plan, unmatched = _apply(have, assignment_map)
        left_out = [name for name in unmatched if name in known]
        if left_out:
            raise InvalidArgumentError(f"assignment_map asks for {left_out[0]!r}, which names= leaves out.")
        missing += unmatched
    if missing and strict:
        raise TensorNotFoundError(
            describe_missing(missing, sorted(known), path), path=path, name=missing[0], missing=tuple(missing)
        )
    arrays = [id(item.into) for item in plan if item.into is not None]
    if len(set(arrays)) < len(arrays):
        raise InvalidArgumentError("Two tensors would be restored into the same array.")
    seen: dict[str, str] = {}
    for item in plan:
        other = seen.setdefault(item.target, item.source)
        if other != item.source:
            raise InvalidArgumentError(f"Both {other!r} and {item.source!r} would be restored as {item.target!r}.")
    return plan


def _apply(have: Sequence[str], assignment_map: Mapping[str, Any]) -> tuple[list[Assignment], list[str]]:
    if not isinstance(assignment_map, Mapping) or not all(isinstance(name, str) for name in assignment_map):
        raise InvalidArgumentError(f"assignment_map must map names to names or arrays, and is {assignment_map!r:.100}.")
    plan: list[Assignment] = []
    unmatched: list[str] = []
    known = set(have)
    for source in sorted(assignment_map):
        target = assignment_map[source]
        if source.endswith("/"):
            if not isinstance(target, str) or not target.endswith("/"):
                raise InvalidArgumentError(
                    f"The scope {source!r} must map to a scope, which ends in '/', not to {target!r}."
                )
            old, new = ("" if scope == "/" else scope for scope in (source, target))
            found = [name for name in have if name.startswith(old)]
            plan += [Assignment(name, new + name[len(old) :]) for name in found]
            unmatched += [] if found else [source]
        elif source not in known:
            unmatched.append(source)
        elif isinstance(target, str):
            if not target or target.endswith("/"):
                raise InvalidArgumentError(f"The tensor {source!r} cannot be restored as {target!r}; give a name.")
            plan.append(Assignment(source, target))
        elif isinstance(target, np.ndarray):
            plan.append(Assignment(source, source, target))
        else:
            raise InvalidArgumentError(
                f"The tensor {source!r} must map to a name or a numpy array, not to a {type(target).__name__}."
            )
    return plan, unmatched


def _candidates(name: str, available: Sequence[str]) -> list[str]:
    """The few names that share most of their beginning and end with one: difflib looks at those only."""
    wanted = name.encode("utf-8", "surrogatepass")

    def shared(other: str) -> int:
        given = other.encode("utf-8", "surrogatepass")
        return common_prefix(wanted, given) + common_prefix(wanted[::-1], given[::-1])

    return heapq.nlargest(_COMPARED, available[:_SEARCHED], key=shared)


def describe_missing(missing: Sequence[str], available: Sequence[str], path: str) -> str:
    """One message over all names that are not there, with the nearest that are."""
    missing = [name if isinstance(name, str) else repr(name) for name in missing]
    lines = [f"{path} does not have {len(missing)} of the tensors asked for (it has {len(available)}):"]
    for name in missing[:_SHOWN]:
        near = difflib.get_close_matches(name, _candidates(name, available), n=3, cutoff=0.6)
        lines.append(f"  {name!r}" + (f"; near: {', '.join(map(repr, near))}" if near else ""))
    if len(missing) > _SHOWN:
        lines.append(f"  and {len(missing) - _SHOWN} more")
    lines.append("`ckptstore inspect` lists its tensors; restore(strict=False) reads those that are there.")
    return "\n".join(lines)
