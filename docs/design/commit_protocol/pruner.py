"""A pruner: lists, unlists, looks for pins, deletes, forgets. Afterwards, if it is told to, it collects orphans."""

from __future__ import annotations

from typing import NamedTuple

from docs.design.commit_protocol.trainer import unlisted
from docs.design.commit_protocol.world import (
    LOST,
    PARTS,
    Attempt,
    File,
    Ledger,
    Rules,
    Step,
    Steps,
    World,
    delete_file,
    moved,
    swap,
    tag_of,
)


class Pruner(NamedTuple):
    """One run of it. `pc` is the step that comes next."""

    name: str
    keep: int = 1  # how many stay listed
    rounds: int = 1  # how many victims it deals with at most
    collects: bool = True  # whether it collects orphans afterwards
    aborts: bool = False  # whether it (mis)judges a save under way to be dead
    pc: str = "prune"
    seen: Ledger | None = None
    victim: Attempt | None = None
    todo: tuple[File, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether nothing can come of it any more."""
        return self.pc == "end"

    def steps(self, rules: Rules, world: World, keeps_history: bool) -> Steps:
        """What it may do next."""
        if self.pc == "end":
            return
        if world.ledger is LOST and self.pc in ("prune", "again", "read", "orphans", "gc"):
            yield self._to(world, "finds no state: StateMissingError", pc="end")
        elif self.pc == "prune":
            yield from self._choose(rules, world)
        elif self.pc == "unlist":
            yield self._unlist(rules, world, keeps_history)
        elif self.pc == "history":
            yield self._record(rules, world)
        elif self.pc == "pins":
            yield from self._pins(rules, world)
        elif self.pc in ("list", "list dead"):
            yield self._list(rules, world)
        elif self.pc == "again":
            yield self._look_again(world)
        elif self.pc == "delete":
            yield self._delete(rules, world, "read")
        elif self.pc == "read":
            yield self._to(world, "reads the state", pc="forget", seen=world.ledger)
        elif self.pc == "forget":
            yield self._forget(rules, world)
        elif self.pc == "abort":
            yield self._abort(rules, world)
        else:
            yield from self._collect(rules, world)

    def _to(self, world: World, what: str, **changes: object) -> Step:
        return Step(f"{self.name} {what}", moved(world, self, self._replace(**changes)))  # type: ignore[arg-type]

    def _round_over(self) -> Pruner:
        return self._replace(pc="prune", rounds=self.rounds - 1, seen=None, victim=None, todo=())

    # -- R8, R9, R10

    def _choose(self, rules: Rules, world: World) -> Steps:
        ledger = world.ledger
        if not self.rounds or ledger is None:
            yield self._to(world, "is done pruning", pc="gc" if self.collects else "end")
            return
        for victim in sorted(ledger.open) if self.aborts else ():
            yield self._to(world, f"takes {victim} for dead", pc="abort", seen=ledger, victim=victim)
        for victim in sorted(ledger.trash) if rules.unlist_first else ():
            yield self._to(world, f"goes on with {victim} in the trash", pc="list", victim=victim)
        for victim in sorted(ledger.dead):
            yield self._to(world, f"goes on with the dead {victim}", pc="list dead", victim=victim)
        pinned = {attempt for _, attempt in world.pins}
        for victim in ledger.listed[: -self.keep][:1]:
            if not rules.unlist_then_pins and victim in pinned:
                return
            if rules.unlist_first:
                yield self._to(world, f"will unlist {victim}", pc="list", seen=ledger, victim=victim)
            elif victim not in pinned:
                yield self._to(world, f"lists {victim}", pc="delete", victim=victim, todo=_files(victim))
        yield Step(f"{self.name} leaves it at that", moved(world, self, self._round_over()))

    def _list(self, rules: Rules, world: World) -> Step:
        """What is seen at a name counts if the entry holds the name before and after: it is the entry's then."""
        assert self.victim is not None
        prefix, number = self.victim
        found = [(prefix, part, tag) for part in reversed(PARTS) if (tag := tag_of(world.files, prefix, part))]
        dead = self.pc == "list dead"  # its first file may have met somebody else's; what was listed had all its own
        todo = tuple(file for file in found if not dead or file[2] == number)
        after = "unlist" if self.seen is not None else "again" if rules.look_again else "delete" if dead else "pins"
        return self._to(world, f"lists {prefix}: {todo}", pc=after, todo=todo)

    def _unlist(self, rules: Rules, world: World, keeps_history: bool) -> Step:
        old, victim = self.seen, self.victim
        assert old is not None
        assert victim is not None
        new = old._replace(listed=tuple(a for a in old.listed if a != victim), trash=old.trash | {victim})
        after = swap(rules, world.ledger, old, new)
        if after is None:
            return self._to(world, "loses the race to unlist", pc="again", seen=None)
        me = self._replace(pc="history" if keeps_history and rules.history_first else "pins", seen=after)
        ghost = unlisted(world, frozenset({victim}))
        return Step(
            f"{self.name} unlists {victim}", moved(world, self, me, ledger=after, ghost=ghost), ("swap", old, new)
        )

    def _record(self, rules: Rules, world: World) -> Step:
        assert self.seen is not None
        old = world.history
        new = self.seen if old is None or self.seen.seq >= old.seq else old
        me = self._replace(pc="pins", seen=None)
        return Step(f"{self.name} copies the state", moved(world, self, me, history=new))

    def _pins(self, rules: Rules, world: World) -> Steps:
        victim = self.victim
        if rules.unlist_then_pins and any(attempt == victim for _, attempt in world.pins):
            yield Step(f"{self.name} finds {victim} pinned: leaves it", moved(world, self, self._round_over()))
            return
        reading = {proc.name for proc in world.procs if type(proc).__name__ == "PlainReader" and proc.is_reading}
        if rules.grace and any(attempt == victim and reader in reading for attempt, reader in world.ghost.graced):
            return  # the grace period is not over
        yield self._to(world, "finds no pin, and the grace period over", pc="delete", seen=None)

    def _look_again(self, world: World) -> Step:
        ledger, victim = world.ledger, self.victim
        assert victim is not None
        if ledger is not None and victim in ledger.listed[: -self.keep]:
            return self._to(world, "looks again: still to be unlisted", pc="unlist", seen=ledger)
        if ledger is not None and victim in ledger.trash:
            return self._to(world, "looks again: in the trash", pc="pins")
        if ledger is not None and victim in ledger.dead:
            return self._to(world, "looks again: dead", pc="delete")
        return Step(f"{self.name} looks again: somebody else dealt with it", moved(world, self, self._round_over()))

    def _delete(self, rules: Rules, world: World, after: str) -> Step:
        if not self.todo:
            return self._to(world, "has deleted all", pc=after)
        file, *rest = self.todo
        me = self._replace(todo=tuple(rest))
        files = delete_file(rules, world.files, file)
        what = f"{self.name} deletes {file[0]}.{file[1]}"
        return Step(what, moved(world, self, me, files=files), ("delete", file))

    def _forget(self, rules: Rules, world: World) -> Step:
        old, victim = self.seen, self.victim
        assert old is not None
        assert victim is not None
        new = old._replace(
            listed=tuple(a for a in old.listed if a != victim), trash=old.trash - {victim}, dead=old.dead - {victim}
        )
        after = swap(rules, world.ledger, old, new)
        if after is None:
            return self._to(world, "loses the race to forget", pc="read", seen=None)
        ghost = world.ghost if rules.unlist_first else unlisted(world, frozenset({victim}))
        return Step(f"{self.name} forgets {victim}", moved(world, self, self._round_over(), ledger=after, ghost=ghost))

    def _abort(self, rules: Rules, world: World) -> Step:
        old, victim = self.seen, self.victim
        assert old is not None
        assert victim is not None
        after = swap(rules, world.ledger, old, old._replace(open=old.open - {victim}, dead=old.dead | {victim}))
        me = self._replace(pc="prune", seen=None, victim=None)
        if after is None:
            return Step(f"{self.name} loses the race to abort", moved(world, self, me))
        return Step(f"{self.name} aborts {victim}", moved(world, self, me, ledger=after))

    # -- R11: no clock decides; the order of the two looks does

    def _collect(self, rules: Rules, world: World) -> Steps:
        if self.pc == "gc":
            if rules.list_then_read:
                yield self._to(world, "lists everything", pc="orphans", todo=tuple(sorted(world.files)))
            else:
                yield self._to(world, "reads the state", pc="orphans", seen=world.ledger)
        elif self.pc == "orphans":
            yield self._orphans(rules, world)
        elif not self.todo:
            yield self._to(world, "is done collecting", pc="end")
        else:
            yield self._delete(rules, world, "end")

    def _orphans(self, rules: Rules, world: World) -> Step:
        found = self.todo if rules.list_then_read else tuple(sorted(world.files))
        ledger = world.ledger if rules.list_then_read else self.seen
        if ledger is None and rules.needs_state:
            return self._to(world, "finds no state: collects nothing", pc="end", todo=())
        named = set() if ledger is None else ledger.named
        orphans = [file for file in found if (file[0], file[2]) not in named]
        if not rules.register:  # then what has no index is all that one can go by
            indexed = {file[0] for file in found if file[1] == "ix"}
            orphans = [file for file in orphans if file[0] not in indexed]
        todo = tuple(sorted(orphans, key=lambda file: file[1] != "ix"))
        return self._to(world, f"finds the orphans {todo}", pc="collect", seen=None, todo=todo)


def _files(attempt: Attempt) -> tuple[File, ...]:
    return tuple((attempt[0], part, attempt[1]) for part in reversed(PARTS))
