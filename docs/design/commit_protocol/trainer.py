"""A trainer: takes the directory over, saves, commits, removes what its retention drops."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from docs.design.commit_protocol.world import (
    LOST,
    PARTS,
    Attempt,
    File,
    Ghost,
    Ledger,
    Request,
    Rules,
    Step,
    Steps,
    World,
    create,
    delete_file,
    moved,
    put_file,
    swap,
    tag_of,
)


class Trainer(NamedTuple):
    """One session. `pc` is the step that comes next."""

    name: str
    saves: tuple[Attempt, ...]  # what it is to save: (step's name, attempt's number)
    sweeps: int | None = None  # how many it keeps listed; None: it leaves that to others
    forever: frozenset[str] = frozenset()  # names that are kept for ever when they leave the list
    hosts: bool = False  # whether another host writes the shard d1
    pc: str = "begin"
    fresh: bool = False  # it found no state file
    epoch: int = 0
    mine: Attempt | None = None  # the attempt under way
    seen: Ledger | None = None  # the state file as this session read or wrote it last
    wrote: frozenset[Attempt] = frozenset()  # what it committed, and whose files it therefore knows
    gone: frozenset[Attempt] = frozenset()  # deleted, to be forgotten with the next change
    todo: tuple[File, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether nothing can come of it any more."""
        return self.pc == "end"

    def steps(self, rules: Rules, world: World, keeps_history: bool) -> Steps:
        """What it may do next."""
        if self.pc == "end":
            return
        if world.ledger is LOST and (self.pc in ("begin", "look") or (self.pc == "save" and self.seen is None)):
            yield Step(f"{self.name} finds no state: StateMissingError", moved(world, self, _ended(self)))
            return
        if self.pc == "begin":
            yield self._begin(world)
        elif self.pc == "take":
            yield self._take_over(rules, world)
        elif self.pc == "save":
            yield self._register(rules, world)
        elif self.pc in PARTS:
            yield from self._write(rules, world)
        elif self.pc == "commit":
            yield from self._commit(rules, world, keeps_history)
        elif self.pc == "look":
            yield self._look(rules, world, keeps_history)
        elif self.pc == "history":
            yield self._acknowledge(world._replace(history=_newer(world.history, self.seen)), self, "copies the state")
        elif self.pc == "pins":
            yield self._pins(world)
        elif self.pc == "list":
            yield self._list(rules, world)
        elif self.pc == "again":
            yield self._look_again(rules, world)
        else:
            yield self._delete(rules, world)

    # -- R2, R3

    def _begin(self, world: World) -> Step:
        if world.ledger is None:
            return Step(
                f"{self.name} finds no state: begins afresh",
                moved(world, self, self._replace(pc="save", fresh=True, epoch=1)),
            )
        return Step(f"{self.name} reads the state", moved(world, self, self._replace(pc="take", seen=world.ledger)))

    def _take_over(self, rules: Rules, world: World) -> Step:
        old = self.seen
        assert old is not None
        given_up = old.open if rules.register else frozenset()
        new = old._replace(
            epoch=old.epoch + 1,
            session=self.name,
            open=frozenset(),
            dead=old.dead | given_up if rules.dead_apart else old.dead,
            trash=old.trash if rules.dead_apart else old.trash | given_up,
        )
        after = swap(rules, world.ledger, old, new)
        if after is None:
            return Step(f"{self.name} loses the take-over", moved(world, self, self._replace(pc="begin", seen=None)))
        me = self._replace(pc="save", epoch=new.epoch, seen=after)
        return Step(f"{self.name} takes over: epoch {new.epoch}", moved(world, self, me, ledger=after))

    def _register(self, rules: Rules, world: World) -> Step:
        name, number = self.saves[0]
        if self.fresh:
            mine = self.mine or (f"{name}~{number}" if rules.isolated else name, number)
            me = self._replace(pc="d0", mine=mine)
            return Step(
                f"{self.name} notes {mine}",
                moved(world, self, me, notes=world.notes | {mine}, wanted=world.wanted | {(self.name, mine)}),
            )
        old = self.seen
        if old is None:
            assert world.ledger is not None
            if not self._owns(rules, world.ledger):
                return Step(f"{self.name} is fenced", moved(world, self, _ended(self)))
            return Step(f"{self.name} reads the state", moved(world, self, self._replace(seen=world.ledger)))
        in_use = old.named if rules.avoid_named else {*old.live, *old.open}
        taken = rules.isolated or (rules.create_only and name in {prefix for prefix, _ in in_use})
        mine = self.mine or (f"{name}~{number}" if taken else name, number)
        wanted = world.wanted | {(self.name, mine)}
        if not rules.register:
            return Step(
                f"{self.name} starts {mine}", moved(world, self, self._replace(pc="d0", mine=mine), wanted=wanted)
            )
        new = self._tidied(old)._replace(open=frozenset({mine}))
        new = new._replace(dead=new.dead | (old.open - {mine}))  # one session does one save at a time
        after = swap(rules, world.ledger, old, new)
        if after is None:
            return Step(f"{self.name} loses the race to register", moved(world, self, self._replace(seen=None)))
        me = self._replace(pc="d0", mine=mine, seen=after, gone=frozenset())
        return Step(
            f"{self.name} registers {mine}", moved(world, self, me, ledger=after, wanted=wanted), ("swap", old, new)
        )

    # -- R4, R5, R6

    def _write(self, rules: Rules, world: World) -> Steps:
        assert self.mine is not None
        prefix, number = self.mine
        part = self.pc
        after = {"d0": "d1", "d1": "ix" if rules.files_first else "commit", "ix": "commit"}[part]
        there = tag_of(world.files, prefix, part)
        by_host = self.hosts and part == "d1"
        if by_host and there is None:
            return  # it waits
        if there is not None and rules.create_only and there != number and rules.check_owner:
            again = (f"{self.saves[0][0]}~{number}'", f"{number}'")
            me = self._replace(pc="save", mine=again)
            yield Step(f"{self.name} meets {prefix}.{part} of {there}: takes another name", moved(world, self, me))
            return
        me = self._replace(pc=after)
        if by_host:
            yield Step(f"{self.name} sees {prefix}.{part} of its host", moved(world, self, me))
            return
        file = (prefix, part, number)
        files = put_file(rules, world.files, file)
        yield Step(f"{self.name} writes {prefix}.{part}", moved(world, self, me, files=files), ("put", file))

    # -- R7

    def _commit(self, rules: Rules, world: World, keeps_history: bool) -> Steps:
        mine, old = self.mine, self.seen
        assert mine is not None
        if self.fresh and old is None:
            # The notes are listed, and then the state file is created; what is noted between is nobody's.
            seen = Ledger(0, 1, self.name, dead=frozenset(world.notes - {mine}))
            yield Step(f"{self.name} lists the notes", moved(world, self, self._replace(seen=seen)))
            return
        if old is None:
            yield Step(f"{self.name} must look again", moved(world, self, self._replace(pc="look")))
            return
        new, ghost = self._with_mine(rules, world, old)
        if self.fresh:
            new = new._replace(seq=1)
            after = create(rules, world.ledger, new)
            request: Request = ("create", new)
        else:
            after = swap(rules, world.ledger, old, new)
            request = ("swap", old, new)
        lost = self._replace(pc="look", seen=None)
        if after is None:
            yield Step(f"{self.name} loses the race to commit", moved(world, self, lost))
        else:
            if world.ledger is not None and world.ledger.session != self.name and rules.cas and rules.create_first:
                bad = self._replace(pc="BAD I6: a commit of a session that was superseded")
                yield Step(f"{self.name} commits, superseded", moved(world, self, bad))
                return
            me = self._replace(seen=after, fresh=False, gone=frozenset())
            committed = world._replace(ledger=after, ghost=ghost)
            yield self._counts(committed, me, f"commits {mine}", keeps_history)._replace(request=request)
        if world.unknowns and rules.reread_unknown:
            silent = world._replace(unknowns=world.unknowns - 1)
            if after is not None:
                landed = silent._replace(ledger=after, ghost=ghost)
                yield Step(f"{self.name} commits {mine}, the reply is lost", moved(landed, self, lost))
            yield Step(f"{self.name}'s commit is lost, and the reply", moved(silent, self, lost), request)
        elif world.unknowns:
            silent = world._replace(unknowns=world.unknowns - 1)
            yield self._acknowledge(silent, self._replace(seen=None), "commit is lost, and taken for done")

    def _look(self, rules: Rules, world: World, keeps_history: bool) -> Step:
        """Does it count? Then: is the directory still ours? Then: was the attempt given up?"""
        mine, ledger = self.mine, world.ledger
        assert mine is not None
        if ledger is None:
            return Step(f"{self.name} finds no state yet", moved(world, self, self._replace(pc="commit")))
        counts = mine in ledger.live or mine in ledger.trash
        owns = self._owns(rules, ledger)
        if counts and (owns or rules.counted_first):
            me = self._replace(seen=ledger if owns else None, fresh=False)
            return self._counts(world, me, f"finds that {mine} counts", keeps_history)
        if not owns:
            return self._discard(world, self._replace(saves=(), seen=None), "is fenced")
        if rules.register and rules.check_open and mine not in ledger.open:
            me = self._replace(saves=self.saves[1:], seen=None, fresh=False)
            return self._discard(world, me, "was aborted")
        return Step(f"{self.name} reads the state", moved(world, self, self._replace(pc="commit", seen=ledger)))

    def _owns(self, rules: Rules, ledger: Ledger) -> bool:
        if rules.fencing == "none":
            return True
        return ledger.epoch == self.epoch and (rules.fencing == "epoch" or ledger.session == self.name)

    def _discard(self, world: World, me: Trainer, why: str) -> Step:
        """What surely does not count is deleted by who wrote it."""
        assert me.mine is not None
        prefix, number = me.mine
        me = me._replace(pc="discard", todo=tuple((prefix, part, number) for part in reversed(PARTS)))
        return Step(f"{self.name} {why}: discards {self.mine}", moved(world, self, me))

    def _with_mine(self, rules: Rules, world: World, old: Ledger) -> tuple[Ledger, Ghost]:
        """The ledger with the attempt committed and the list swept, all in one; and what the invariants are to know."""
        assert self.mine is not None
        new = self._tidied(old)
        new = new._replace(open=new.open - {self.mine}, listed=(*(a for a in new.listed if a != self.mine), self.mine))
        leaving = new.listed[: -self.sweeps] if self.sweeps else ()
        if not leaving:
            return new, world.ghost
        preserved = frozenset(a for a in leaving if a[0].partition("~")[0] in self.forever)
        removed = frozenset(leaving) - preserved
        new = new._replace(
            listed=new.listed[len(leaving) :],
            kept=new.kept | preserved if rules.keep_in_swap else new.kept,
            trash=new.trash | removed,
        )
        return new, unlisted(world, removed)

    def _tidied(self, ledger: Ledger) -> Ledger:
        return ledger._replace(trash=ledger.trash - self.gone, dead=ledger.dead - self.gone) if self.gone else ledger

    # -- R8, R9, R10

    def _counts(self, world: World, me: Trainer, what: str, keeps_history: bool) -> Step:
        if keeps_history and me.seen is not None:
            return Step(f"{self.name} {what}", moved(world, self, me._replace(pc="history")))
        return self._acknowledge(world, me, what)

    def _acknowledge(self, world: World, me: Trainer, what: str) -> Step:
        assert me.mine is not None
        ghost = world.ghost._replace(acked=world.ghost.acked | {me.mine[1]})
        waste = self.sweeps is not None and me.seen is not None and (me.seen.trash or me.seen.dead)
        me = me._replace(saves=me.saves[1:], mine=None, pc="pins", wrote=me.wrote | {me.mine})
        me = me if waste else _next(me)
        return Step(f"{self.name} {what} -> ACKNOWLEDGED", moved(world, self, me, ghost=ghost))

    def _pins(self, world: World) -> Step:
        assert self.seen is not None
        pinned = {attempt for _, attempt in world.pins}
        victims = (self.seen.trash - pinned) | self.seen.dead
        me = self._replace(gone=victims)
        if victims <= self.wrote:  # then it need not look for their files
            me = _deleting(me, [(prefix, part, number) for prefix, number in victims for part in PARTS])
        else:
            me = me._replace(pc="list")
        return Step(f"{self.name} lists the pins", moved(world, self, me))

    def _list(self, rules: Rules, world: World) -> Step:
        assert self.seen is not None
        known = [(prefix, part, number) for prefix, number in self.gone & self.wrote for part in PARTS]
        found = []
        for prefix, number in self.gone - self.wrote:
            tags = [(part, tag) for part in PARTS if (tag := tag_of(world.files, prefix, part)) is not None]
            dead = (prefix, number) in self.seen.dead  # its first file may have met somebody else's
            found += [(prefix, part, tag) for part, tag in tags if not dead or tag == number]
        todo = known + found
        me = self._replace(pc="again", todo=tuple(sorted(todo))) if rules.look_again else _deleting(self, todo)
        return Step(f"{self.name} lists the files of {sorted(self.gone - self.wrote)}", moved(world, self, me))

    def _look_again(self, rules: Rules, world: World) -> Step:
        """A name belongs to an entry as long as a list names it: what was seen there before this look was its own."""
        ledger = world.ledger
        if ledger is None or ledger is LOST or not self._owns(rules, ledger):
            me = _next(self._replace(seen=None, gone=frozenset()))
            return Step(f"{self.name} looks again: the directory is no longer its own", moved(world, self, me))
        gone = frozenset(one for one in self.gone if one in self.wrote or one in ledger.trash | ledger.dead)
        names = {prefix for prefix, _ in gone}
        me = _deleting(self._replace(seen=ledger, gone=gone), [file for file in self.todo if file[0] in names])
        return Step(f"{self.name} looks again", moved(world, self, me))

    def _delete(self, rules: Rules, world: World) -> Step:
        file, *rest = self.todo
        me = self._replace(todo=tuple(rest))
        files = delete_file(rules, world.files, file)
        return Step(
            f"{self.name} deletes {file[0]}.{file[1]}",
            moved(world, self, me if rest else _next(me), files=files),
            ("delete", file),
        )


def unlisted(world: World, removed: frozenset[Attempt]) -> Ghost:
    """The ghost after the policy has unlisted something: who reads it without a pin is to be given time."""
    ghost = world.ghost
    readers = [proc.name for proc in world.procs if type(proc).__name__ == "PlainReader" and proc.is_reading]
    return ghost._replace(
        removed=ghost.removed | {number for _, number in removed},
        graced=frozenset(g for g in ghost.graced if g[0] not in removed) | {(a, r) for a in removed for r in readers},
    )


def _deleting(me: Trainer, files: Iterable[File]) -> Trainer:
    """Goes on with deleting these: every index first."""
    todo = tuple(sorted(files, key=lambda file: (PARTS.index(file[1]), file), reverse=True))
    return me._replace(pc="sweep", todo=todo) if todo else _next(me)


def _next(me: Trainer) -> Trainer:
    return me._replace(pc="save", mine=None, todo=()) if me.saves else _ended(me)


def _ended(me: Trainer) -> Trainer:
    return Trainer(me.name, (), pc="end")


def _newer(one: Ledger | None, other: Ledger | None) -> Ledger | None:
    return other if one is None or (other is not None and other.seq >= one.seq) else one
