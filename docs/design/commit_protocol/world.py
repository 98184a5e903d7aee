"""What there is: the objects on the store, the rules in force, and the store's primitives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

PARTS = ("d0", "d1", "ix")  # two data shards and the index, in the order of their writing

Attempt = tuple[str, str]  # (prefix, attempt's number)
File = tuple[str, str, str]  # (prefix, part, the attempt in its tag)
Request = tuple[Any, ...]  # a kind, and what it takes: see `arrive`


class Ledger(NamedTuple):
    """A state file."""

    seq: int
    epoch: int
    session: str
    listed: tuple[Attempt, ...] = ()
    kept: frozenset[Attempt] = frozenset()
    open: frozenset[Attempt] = frozenset()
    dead: frozenset[Attempt] = frozenset()
    trash: frozenset[Attempt] = frozenset()

    @property
    def live(self) -> tuple[Attempt, ...]:
        """What may be restored."""
        return (*self.listed, *sorted(self.kept))

    @property
    def named(self) -> set[Attempt]:
        """What is in any list."""
        return {*self.listed, *self.kept, *self.open, *self.dead, *self.trash}


LOST = Ledger(-1, 0, "")
"""Stands for a state file that was there and is gone: whoever reads it raises StateMissingError and stops."""


class Ghost(NamedTuple):
    """What nobody in the model can see, and the invariants need."""

    acked: frozenset[str] = frozenset()  # attempts that were acknowledged
    removed: frozenset[str] = frozenset()  # attempts that the retention policy removed
    graced: frozenset[tuple[Attempt, str]] = frozenset()  # (unlisted checkpoint, reader that was reading it then)


class World(NamedTuple):
    """One state of everything."""

    files: frozenset[File]
    ledger: Ledger | None  # None: no state file yet
    history: Ledger | None  # the newest copy
    notes: frozenset[Attempt]  # attempts of sessions that found no state file
    pins: frozenset[tuple[str, Attempt]]
    procs: tuple[Any, ...]
    ghost: Ghost
    network: frozenset[Request]  # requests that will arrive once more
    duplicates: int  # how many more requests may be duplicated
    unknowns: int  # how many more replies to commits may get lost
    wanted: frozenset[tuple[str, Attempt]]  # (chief, attempt): shards that hosts were told to write


@dataclass(frozen=True)
class Rules:
    """The rules in force. A mutant lacks one of them."""

    cas: bool = True  # R1: the state file is replaced by compare and swap
    create_first: bool = True  # R3: the first commit creates the state file, and never replaces one
    register: bool = True  # R3: an attempt is registered before its first file
    create_only: bool = True  # R4: files are created, never overwritten
    check_owner: bool = True  # R5: a file that is there already is not taken for ours
    files_first: bool = True  # R6: all files are there before the commit
    fencing: str = "session"  # R7: every change of a session is conditional on the owner: session | epoch | none
    check_open: bool = True  # R7: a commit needs the attempt in `open`
    reread_unknown: bool = True  # R7: an unknown outcome is looked up, never assumed
    counted_first: bool = True  # R7: "does it count already?" is asked before "am I fenced?"
    dead_apart: bool = True  # R2: what a take-over gives up is dead, and is not put among the trash
    unlist_first: bool = True  # R8: unlisted before deleted
    keep_in_swap: bool = True  # R8: what is kept for ever is in `kept` from the moment it leaves `listed`
    look_again: bool = True  # R8: a listing counts only if the state file names the entry before and after
    history_first: bool = True  # R9: the history's copy is written before anything is deleted or acknowledged
    pin: bool = True  # R10: a reader pins ...
    pin_then_look: bool = True  # R10: ... and then looks again
    unlist_then_pins: bool = True  # R10: a pruner looks for pins after unlisting
    list_then_read: bool = True  # R11: the collector lists before it reads the state
    needs_state: bool = True  # R11: without a state file nothing is an orphan
    conditional_delete: bool = True  # R4: a delete is conditional on the version seen
    isolated: bool = False  # R4: every save gets a name of its own (where deletes cannot be conditional)
    avoid_named: bool = True  # a name in the trash or among the dead is not used again
    seq: bool = True  # every state file differs from all before it
    grace: bool = True  # the assumption: who reads without a pin is done within the grace period


def tag_of(files: frozenset[File], prefix: str, part: str) -> str | None:
    """The attempt whose file is at a name, or None if there is no file."""
    for name, its_part, attempt in files:
        if name == prefix and its_part == part:
            return attempt
    return None


def whole(files: frozenset[File], attempt: Attempt) -> bool:
    """Whether all files of an attempt are there."""
    return all((attempt[0], part, attempt[1]) in files for part in PARTS)


def put_file(rules: Rules, files: frozenset[File], file: File) -> frozenset[File]:
    """Puts a file; create-only leaves what is there."""
    there = tag_of(files, file[0], file[1])
    if there is None:
        return files | {file}
    return files if rules.create_only else (files - {(file[0], file[1], there)}) | {file}


def delete_file(rules: Rules, files: frozenset[File], file: File) -> frozenset[File]:
    """Deletes a file, if it still is the one that was seen, or in any case where that cannot be asked for."""
    there = tag_of(files, file[0], file[1])
    if there is None or (there != file[2] and rules.conditional_delete):
        return files
    return files - {(file[0], file[1], there)}


def swap(rules: Rules, there: Ledger | None, seen: Ledger | None, new: Ledger) -> Ledger | None:
    """Replaces the state file if it still is the one that was seen: what is there then, or None if it is not."""
    if rules.cas and (seen is None or there is None or (there != seen if rules.seq else there[1:] != seen[1:])):
        return None
    return new._replace(seq=(there.seq if there is not None else 0) + 1)


def create(rules: Rules, there: Ledger | None, new: Ledger) -> Ledger | None:
    """Creates the state file if there is none: what is there then, or None if there is one."""
    return None if there is not None and rules.create_first else new


def arrive(rules: Rules, world: World, request: Request) -> World:
    """A late duplicate of a request arrives."""
    kind, *what = request
    if kind == "put":
        return world._replace(files=put_file(rules, world.files, what[0]))
    if kind == "delete":
        return world._replace(files=delete_file(rules, world.files, what[0]))
    new = swap(rules, world.ledger, *what) if kind == "swap" else create(rules, world.ledger, what[0])
    return world if new is None else world._replace(ledger=new)


def broken(world: World, *, mixed: bool) -> str | None:
    """The invariant that does not hold, or None.

    Args:
        world: The state.
        mixed: Whether I7 is asked for.
    """
    for proc in world.procs:
        if proc.pc.startswith("BAD "):
            return str(proc.pc[4:])
    ledger = world.ledger
    tags = {(prefix, part): attempt for prefix, part, attempt in world.files}
    live = () if ledger is None else ledger.live
    for prefix, attempt in live:
        for part in PARTS:
            tag = tags.get((prefix, part))
            if tag is None:
                return f"I1: {prefix} counts and lacks {part}"
            if tag != attempt:
                return f"I1: {prefix} counts and is mixed: {part} is of {tag}"
    if ledger is not LOST:
        counting = {attempt for _, attempt in live}
        for attempt in world.ghost.acked:
            if attempt not in counting and attempt not in world.ghost.removed:
                return f"I3: {attempt} was acknowledged and is lost"
    if mixed:
        for prefix in {file[0] for file in world.files}:
            found = {tags.get((prefix, part)) for part in PARTS}
            if None not in found and len(found) > 1:
                return f"I7: {prefix} looks whole and is mixed"
    return None


class Step(NamedTuple):
    """Something that may happen next."""

    what: str
    world: World
    request: Request | None = None  # what could arrive once more


Steps = Iterator[Step]


def moved(world: World, old: Any, new: Any, **changes: Any) -> World:
    """The world after a process has moved on."""
    procs = tuple(new if proc is old else proc for proc in world.procs)
    return world._replace(procs=procs, **changes)
