"""Which tensors of a checkpoint are asked for, and where they are to go. Pure.

The map has the form of tf.compat.v1.train.init_from_checkpoint, a mapping or a list of pairs:

    "name"    ->  "new name", an array to fill, a variable, or a list of the parts of a partitioned variable
    "scope/"  ->  "new scope/", and "/" is the root on either side
    "a*/w"    ->  "new scope/", below which every match keeps its full name, or None: each under its own name

A name that holds "*", "?" or "[" and is no tensor's own name is a pattern, matched by fnmatch.fnmatchcase against full
names; "/" is a character like any other. What ends in "/" is a scope, never a pattern.
"""

from __future__ import annotations

import difflib
import fnmatch
import heapq
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ckptstore.bundle import TensorInfo
from ckptstore.checkpoint.restored import RestoreReport
from ckptstore.checkpoint.targets import Target
from ckptstore.errors import IncompatibleTensorError, InvalidArgumentError, TensorNotFoundError
from ckptstore.format.block import common_prefix

_SHOWN = 20
_SEARCHED = 5000  # an error message is worth only so much time
_COMPARED = 50

AssignmentMap: TypeAlias = "Mapping[str, Any] | Iterable[tuple[str, Any]]"
"""Target by name, scope or pattern; in pairs, one tensor may go to several targets."""


@dataclass(frozen=True)
class Assignment:
    """One tensor to restore.

    Attributes:
        source: Its name in the checkpoint.
        target: Its name in the result.
        into: What is filled with it, or None.
    """

    source: str
    target: str
    into: Target | None = None


@dataclass(frozen=True)
class Plan:
    """What a restore will do.

    Attributes:
        items: The tensors to restore.
        report: What becomes of every name.
    """

    items: tuple[Assignment, ...]
    report: RestoreReport

    def __iter__(self) -> Iterator[Assignment]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


def plan_assignment(
    available: Iterable[str],
    *,
    names: Iterable[str] | None = None,
    assignment_map: AssignmentMap | None = None,
    strict: bool = True,
    path: str = "",
    aliases: Mapping[str, str] | None = None,
    info: Callable[[str], TensorInfo] | None = None,
) -> Plan:
    """Decides what to restore, before anything is read.

    Args:
        available: The names in the checkpoint.
        names: Only these names and patterns. None: all.
        assignment_map: Only what it names, and where to; see above. None: everything under its own name.
        strict: Every name asked for must be there, and every tensor readable.
        path: The checkpoint, for messages.
        aliases: Further names that find a tensor when they are asked for by themselves, each with the one of
            `available` that it stands for. Patterns and scopes do not look at them.
        info: Type and shape of a tensor, for whether it fits what it is to fill. None: not checked.

    Raises:
        TensorNotFoundError: Names are not there: all of them, each with the nearest that are; and all that do not fit.
        IncompatibleTensorError: Tensors do not fit what they are to fill: all of them.
        InvalidArgumentError: The map is malformed, or sends two tensors to one name, array or variable.
    """
    everything = list(available)
    aliases = aliases or {}
    have, known = everything, {*everything, *aliases}
    missing: list[str] = []
    if names is not None:
        have, missing = _select(_as_names(names), everything, known)
    if assignment_map is None:
        items = [Assignment(name, name) for name in have]
    else:
        found = known if names is None else set(have)
        items, unmatched = _apply(have, found, as_pairs(assignment_map))
        left_out = [name for name in unmatched if name in known]
        if left_out:
            raise InvalidArgumentError(f"assignment_map asks for {left_out[0]!r}, which names= leaves out.")
        missing += unmatched
    items = _distinct(items)
    skipped: dict[str, str] = {}
    if info is not None and not strict:
        for item in items:
            if (dtype := info(item.source).dtype).numpy is None:
                skipped[item.source] = f"it is of type {dtype}, which numpy cannot hold"
    asked = {aliases.get(item.source, item.source) for item in items}
    report = RestoreReport(
        path=path,
        used=tuple((i.into.name if i.into else i.target, i.source) for i in items if i.source not in skipped),
        missing=tuple(missing),
        unused=tuple(name for name in everything if name not in asked),
        skipped=tuple(skipped.items()),
    )
    items = [item for item in items if item.source not in skipped]
    misfits = {} if info is None else _misfits(items, info)
    if missing and strict:
        _raise_missing(report, sorted(known), misfits)
    if misfits:
        message, mismatched = _describe_misfits(list(misfits.values()), path), tuple(misfits)
        raise IncompatibleTensorError(message, path=path, name=mismatched[0], mismatched=mismatched)
    return Plan(tuple(items), report)


def as_pairs(assignment_map: AssignmentMap) -> list[tuple[str, Any]]:
    """The pairs of an assignment map, in order of the names in the checkpoint, as TensorFlow takes them.

    Raises:
        InvalidArgumentError: It is no such map.
    """
    pairs: Any = assignment_map.items() if isinstance(assignment_map, Mapping) else assignment_map
    if isinstance(pairs, Iterable) and not isinstance(pairs, str | bytes):
        pairs = list(pairs)
        if all(isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs):
            return sorted(((source, target) for source, target in pairs), key=lambda pair: pair[0])
    raise InvalidArgumentError(
        f"assignment_map must map names to names, arrays or variables, and is {assignment_map!r:.100}."
    )


def _as_names(names: Iterable[str]) -> list[str]:
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InvalidArgumentError(f"names must be a list of names, not {names!r}.")
    wanted = list(names)
    if not all(isinstance(name, str) for name in wanted):
        raise InvalidArgumentError(f"names must be a list of str, and holds {wanted!r:.100}.")
    return list(dict.fromkeys(wanted))


def _is_pattern(name: str) -> bool:
    return not name.endswith("/") and any(mark in name for mark in "*?[")


def _matching(pattern: str, names: Iterable[str]) -> list[str]:
    matches = re.compile(fnmatch.translate(pattern)).match
    return [name for name in names if matches(name)]


def _select(wanted: list[str], available: list[str], known: Collection[str]) -> tuple[list[str], list[str]]:
    """The names that a list of names and patterns selects, each once, and what of it finds none."""
    have: dict[str, None] = {}
    missing = []
    for name in wanted:
        found = [name] if name in known else _matching(name, available) if _is_pattern(name) else []
        have.update(dict.fromkeys(found))
        missing += [] if found else [name]
    return list(have), missing


def _apply(
    have: Sequence[str], known: Collection[str], pairs: Iterable[tuple[str, Any]]
) -> tuple[list[Assignment], list[str]]:
    """The tensors that a map asks for, and what of it finds none."""
    items: list[Assignment] = []
    unmatched: list[str] = []
    for source, target in pairs:
        if source.endswith("/"):
            if not isinstance(target, str) or not target.endswith("/"):
                raise InvalidArgumentError(
                    f"The scope {source!r} must map to a scope, which ends in '/', not to {target!r:.100}."
                )
            old, new = ("" if scope == "/" else scope for scope in (source, target))
            found = [Assignment(name, new + name[len(old) :]) for name in have if name.startswith(old)]
        elif source in known:
            found = [_assignment(source, target)]
        elif _is_pattern(source) and (target is None or (isinstance(target, str) and target.endswith("/"))):
            new = "" if target in (None, "/") else target
            found = [Assignment(name, new + name) for name in _matching(source, have)]
        else:
            found = []
        items += found
        unmatched += [] if found or source in unmatched else [source]
    return items, unmatched


def _assignment(source: str, target: Any) -> Assignment:
    if isinstance(target, str):
        if not target or target.endswith("/"):
            raise InvalidArgumentError(f"The tensor {source!r} cannot be restored as {target!r}; give a name.")
        return Assignment(source, target)
    into = Target.of(source, target)
    if into is None:
        raise InvalidArgumentError(
            f"The tensor {source!r} must map to a name, an array, a variable or a list of its parts, not to a "
            f"{type(target).__name__}."
        )
    return Assignment(source, source, into)


def _distinct(items: Iterable[Assignment]) -> list[Assignment]:
    """The assignments without repetitions; one name, array or variable for two tensors is an error."""
    out: dict[tuple[str, str, tuple[int, ...]], Assignment] = {}
    named: dict[str, str] = {}
    filled: dict[int, str] = {}
    for item in items:
        other = named.setdefault(item.target, item.source)
        if other != item.source:
            raise InvalidArgumentError(f"Both {other!r} and {item.source!r} would be restored as {item.target!r}.")
        holders = tuple(map(id, item.into.holders)) if item.into is not None else ()
        for holder in holders:
            other = filled.setdefault(holder, item.source)
            if other != item.source:
                raise InvalidArgumentError(
                    f"Both {other!r} and {item.source!r} would be restored into the same array or variable."
                )
        out.setdefault((item.source, item.target, holders), item)
    return list(out.values())


def _misfits(items: Iterable[Assignment], info: Callable[[str], TensorInfo]) -> dict[str, str]:
    """What is wrong, by tensor."""
    out: dict[str, str] = {}
    for item in items:
        problem = item.into.misfit(info(item.source)) if item.into is not None else None
        if problem is not None:
            out[item.source] = f"{out[item.source]}\n  {problem}" if item.source in out else problem
    return out


def _describe_misfits(problems: Sequence[str], path: str) -> str:
    remedy = "restored; restore {} by name and convert {}."
    if len(problems) == 1 and "\n" not in problems[0]:
        return f"{path}: {problems[0]}; nothing was {remedy.format('it', 'it')}"
    lines = [f"{path}: {len(problems)} tensors do not fit what they are restored into:"]
    lines += [f"  {problem}" for problem in problems]
    return "\n".join([*lines, f"Nothing was {remedy.format('them', 'them')}"])


def _raise_missing(report: RestoreReport, available: Sequence[str], misfits: Mapping[str, str]) -> None:
    message = describe_missing(report.missing, available, report.path)
    if misfits:
        text, _, remedy = message.rpartition("\n")
        message = "\n".join([text, "and of those that are there:", *(f"  {it}" for it in misfits.values()), remedy])
    raise TensorNotFoundError(
        message,
        path=report.path,
        name=report.missing[0],
        missing=report.missing,
        unexpected=report.unused,
        mismatched=tuple(misfits),
    )


def _candidates(name: str, available: Sequence[str]) -> list[str]:
    """The few names that share most of their beginning and end with one: difflib looks at those only."""
    wanted = name.encode("utf-8", "surrogatepass")

    def shared(other: str) -> int:
        given = other.encode("utf-8", "surrogatepass")
        return common_prefix(wanted, given) + common_prefix(wanted[::-1], given[::-1])

    return heapq.nlargest(_COMPARED, available[:_SEARCHED], key=shared)


def nearest(name: str, available: Sequence[str]) -> str:
    """The few names that are near one, for a message: "; near: 'a', 'b'", or nothing."""
    near = difflib.get_close_matches(name, _candidates(name, available), n=3, cutoff=0.6)
    return f"; near: {', '.join(map(repr, near))}" if near else ""


def _hint(name: str, available: Sequence[str]) -> str:
    return "; no name matches the pattern" if _is_pattern(name) else nearest(name, available)


def describe_missing(missing: Sequence[str], available: Sequence[str], path: str) -> str:
    """One message over all names that are not there, with the nearest that are."""
    missing = [name if isinstance(name, str) else repr(name) for name in missing]
    lines = [f"{path} does not have {len(missing)} of the tensors asked for (it has {len(available)}):"]
    lines += [f"  {name!r}{_hint(name, available)}" for name in missing[:_SHOWN]]
    if len(missing) > _SHOWN:
        lines.append(f"  and {len(missing) - _SHOWN} more")
    lines.append("`ckptstore inspect` lists its tensors; restore(strict=False) reads those that are there.")
    return "\n".join(lines)
