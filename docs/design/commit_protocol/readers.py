"""Readers, with and without a pin; and a disaster: the state file is lost, and repaired."""

from __future__ import annotations

from typing import NamedTuple

from docs.design.commit_protocol.world import (
    LOST,
    PARTS,
    Attempt,
    Ledger,
    Rules,
    Step,
    Steps,
    World,
    moved,
    tag_of,
    whole,
)

_ORDER = {"ix": "d0", "d0": "d1", "d1": "done"}


class PinningReader(NamedTuple):
    """Pins, looks again, reads, unpins."""

    name: str
    pc: str = "choose"
    what: Attempt | None = None

    @property
    def is_done(self) -> bool:
        """Whether nothing can come of it any more."""
        return self.pc == "end"

    def steps(self, rules: Rules, world: World, keeps_history: bool) -> Steps:
        """What it may do next."""
        del keeps_history
        if self.pc in ("choose", "again") and world.ledger is LOST:
            yield Step(f"{self.name} finds no state: StateMissingError", moved(world, self, self._replace(pc="end")))
        elif self.pc == "choose":
            for what in world.ledger.live if world.ledger is not None else ():
                me = self._replace(pc="pin" if rules.pin else "ix", what=what)
                yield Step(f"{self.name} reads the state, chooses {what}", moved(world, self, me))
        elif self.pc == "pin":
            assert self.what is not None
            me = self._replace(pc="again" if rules.pin_then_look else "ix")
            yield Step(f"{self.name} pins", moved(world, self, me, pins=world.pins | {(self.name, self.what)}))
        elif self.pc == "again":
            if world.ledger is not None and self.what in world.ledger.live:
                yield Step(f"{self.name} looks again: it counts", moved(world, self, self._replace(pc="ix")))
            else:
                yield self._unpin(world, "looks again: it counts no more; unpins")
        elif self.pc == "done":
            yield self._unpin(world, "unpins")
        elif self.pc in _ORDER:
            yield _read(world, self, "I4: a reader with a pin")

    def _unpin(self, world: World, what: str) -> Step:
        pins = frozenset(pin for pin in world.pins if pin[0] != self.name)
        return Step(f"{self.name} {what}", moved(world, self, self._replace(pc="end", what=None), pins=pins))


class PlainReader(NamedTuple):
    """Reads as TensorFlow does."""

    name: str
    pc: str = "choose"
    what: Attempt | None = None

    @property
    def is_reading(self) -> bool:
        """Whether the grace period is for it."""
        return self.pc in _ORDER

    @property
    def is_done(self) -> bool:
        """Whether nothing can come of it any more."""
        return self.pc in ("end", "done")

    def steps(self, rules: Rules, world: World, keeps_history: bool) -> Steps:
        """What it may do next."""
        del rules, keeps_history
        if self.pc == "choose":
            for what in world.ledger.live if world.ledger is not None else ():
                me = self._replace(pc="ix", what=what)
                yield Step(f"{self.name} reads the state, chooses {what}", moved(world, self, me))
        elif self.pc in _ORDER:
            yield _read(world, self, "I4: a reader without a pin")


class Disaster(NamedTuple):
    """The state file is lost once, at any moment, and repaired.

    `how` is "history" (the newest copy) or "listing" (every attempt all of whose files are there). `quiet` means: not
    between a change and its copy, and, for a listing, not while anybody deletes.
    """

    how: str
    quiet: bool = True
    name: str = "ENV"
    pc: str = "lose"

    @property
    def is_done(self) -> bool:
        """Whether nothing can come of it any more."""
        return True

    def steps(self, rules: Rules, world: World, keeps_history: bool) -> Steps:
        """What it may do next."""
        del rules, keeps_history
        busy = {proc.pc for proc in world.procs}
        if self.pc == "lose" and world.ledger is not None and not (self.quiet and "history" in busy):
            # What is gone cannot be copied any more: the numbers of its successor are in `seq` and `epoch`.
            me = self._replace(pc="repair")
            yield Step("the state file is lost", moved(world, self, me, ledger=LOST))
        elif self.pc == "repair" and self.how == "history" and world.history is not None:
            old = world.history
            new = old._replace(
                seq=old.seq + 1, epoch=old.epoch + 1, session="R", open=frozenset(), dead=old.dead | old.open
            )
            yield self._repaired(world, new)
        elif self.pc == "repair" and self.how == "listing" and not (self.quiet and "discard" in busy):
            found = sorted({(file[0], file[2]) for file in world.files if whole(world.files, (file[0], file[2]))})
            yield self._repaired(world, Ledger(1, 1, "R", tuple(found)))

    def _repaired(self, world: World, new: Ledger) -> Step:
        after = moved(world, self, self._replace(pc="done"), ledger=new, history=new)
        return Step(f"the state is repaired from the {self.how}: {new.live}", after)


def _read(world: World, reader: PinningReader | PlainReader, who: str) -> Step:
    assert reader.what is not None
    prefix, number = reader.what
    tag = tag_of(world.files, prefix, reader.pc)
    if tag == number:
        me = reader._replace(pc=_ORDER[reader.pc])
        return Step(f"{reader.name} reads {prefix}.{reader.pc}", moved(world, reader, me))
    problem = "misses" if tag is None else "reads a foreign"
    bad = reader._replace(pc=f"BAD {who} {problem} {prefix}.{reader.pc}")
    return Step(f"{reader.name} {problem} {prefix}.{reader.pc}", moved(world, reader, bad))


assert set(_ORDER) == set(PARTS)
