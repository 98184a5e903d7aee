"""A disk that loses power: every crash point of a save and a removal, and every subset of what was not yet synced.

A file that was written and not synced may be lost, torn or whole afterwards. An operation on the directory that was not
yet synced may have happened or not: any subset of them ("any order"), or the first so many (as on a file system with an
ordered journal).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

Operation = tuple[str, ...]
"""write INODE, sync INODE, link NAME INODE, truncate NAME INODE, unlink NAME, sync-directory, acknowledge CHECKPOINT"""

_DATA = (".data-00000-of-00002", ".data-00001-of-00002", ".meta")
_ALL = (*_DATA, ".index")
_LISTED = {"state-1": ("A",), "state-2": ("A", "B"), "state-3": ("B",)}  # what each version of the state file lists

SYNCS = {
    "files": "no sync of the files",
    "data-before-index": "no sync of the directory between data and index",
    "index-before-state": "no sync of the directory between index and state",
    "state": "no sync of the state's temporary file",
    "before-acknowledging": "no sync of the directory before the acknowledgement",
    "before-deleting": "no sync of the directory between unlisting and deleting",
    "index-before-data": "no sync of the directory between deleting the index and the data",
}
"""Each group of syncs, by what it is called when it is left out."""


@dataclass(frozen=True)
class Outcome:
    """What is left after all the crashes.

    Attributes:
        cases: How many there are.
        bad: In how many of them the state file is damaged, or lists what is not whole, or not what was acknowledged.
        looks_whole: In how many of them an index is there and a file that it needs is not.
        first: The first bad one.
    """

    cases: int
    bad: int
    looks_whole: int
    first: str


def program(without: Iterable[str] = (), *, in_place: bool = False) -> list[Operation]:
    """What saving B and removing A comes to, without some of the syncs; `in_place` overwrites the state file."""
    left_out = {*without}

    def sync(group: str, *operation: str) -> list[Operation]:
        return [] if group in left_out else [operation or ("sync-directory",)]

    def put(name: str, inode: str, group: str) -> list[Operation]:
        return [("write", inode), *sync(group, "sync", inode), ("link", name, inode)]

    out: list[Operation] = []
    for part in _DATA:
        out += [("write", f"B{part}"), *sync("files", "sync", f"B{part}")]
    out += [("link", f"B{part}", f"B{part}") for part in _DATA]
    out += sync("data-before-index")
    out += put("B.index", "B.index", "files")
    out += sync("index-before-state")
    if in_place:
        out += [("truncate", "checkpoint", "state-2"), *sync("state", "sync", "state-2")]
    else:
        out += put("checkpoint", "state-2", "state")
    out += [*sync("before-acknowledging"), ("acknowledge", "B")]
    out += [*put("checkpoint", "state-3", "state"), *sync("before-deleting")]
    out += [("unlink", "A.index"), *sync("index-before-data")]
    return [*out, *(("unlink", f"A{part}") for part in _DATA), ("sync-directory",)]


def crash(operations: list[Operation], *, journal: bool) -> Outcome:
    """Crashes everywhere, in every way.

    Args:
        operations: A program that begins where A is saved, and listed.
        journal: Whether operations on the directory survive in their order.
    """
    cases = bad = looks_whole = 0
    first = ""
    for cut in range(len(operations) + 1):
        done = operations[:cut]
        acknowledged = {what[0] for kind, *what in done if kind == "acknowledge"}
        for names, good in _survivors(done, journal=journal):
            cases += 1
            problem = _problem(names, good, acknowledged)
            bad += problem is not None
            if problem is not None and not first:
                first = f"after {cut} operations: {problem}"
            looks_whole += any(
                names.get(f"{name}.index") in good and any(names.get(name + part) not in good for part in _DATA)
                for name in "AB"
            )
    return Outcome(cases, bad, looks_whole, first)


def _survivors(done: list[Operation], *, journal: bool) -> Iterable[tuple[dict[str, str], set[str | None]]]:
    """What may be there after a crash: the inode behind each name, and the inodes that are whole."""
    begin = {"checkpoint": "state-1", **{f"A{part}": f"A{part}" for part in _ALL}}
    synced, written = set(begin.values()), set(begin.values())
    pending: list[Operation] = []
    durable: list[Operation] = []
    for operation in done:
        kind = operation[0]
        if kind == "write":
            written.add(operation[1])
        elif kind == "sync":
            synced.add(operation[1])
        elif kind in ("link", "unlink"):
            pending.append(operation)
        elif kind == "truncate":  # the same inode: what was in it is gone at once
            written.add(operation[2])
            durable, pending = [*durable, *pending, operation], []
        elif kind == "sync-directory":
            durable, pending = durable + pending, []
    count = len(pending)
    masks: Iterable[tuple[bool, ...]] = (
        [tuple(i < k for i in range(count)) for k in range(count + 1)]
        if journal
        else itertools.product((False, True), repeat=count)
    )
    for mask in masks:
        names = dict(begin)
        for kind, name, *inode in [*durable, *itertools.compress(pending, mask)]:
            if kind == "unlink":
                names.pop(name, None)
            else:
                names[name] = inode[0]
        unsure = sorted((written - synced) & set(names.values()))
        for fates in itertools.product(("lost", "torn", "whole"), repeat=len(unsure)):
            yield names, {*synced, *(inode for inode, fate in zip(unsure, fates, strict=True) if fate == "whole")}


def _problem(names: dict[str, str], good: set[str | None], acknowledged: set[str]) -> str | None:
    state = names["checkpoint"]
    if state not in good:
        return "the state file is lost or torn"
    for name in _LISTED[state]:
        for part in _ALL:
            if names.get(name + part) not in good:
                return f"I1: {name} is listed and lacks {part}"
    if not acknowledged <= set(_LISTED[state]):
        return "I3: B was acknowledged and is not listed"
    return None
