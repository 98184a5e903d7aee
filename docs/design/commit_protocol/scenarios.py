"""What is explored: the protocol, mutants that each lack one rule, the naive way, and the windows that remain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from docs.design.commit_protocol.host import Host
from docs.design.commit_protocol.pruner import Pruner
from docs.design.commit_protocol.readers import Disaster, PinningReader, PlainReader
from docs.design.commit_protocol.search import Scene
from docs.design.commit_protocol.trainer import Trainer
from docs.design.commit_protocol.world import Attempt, Rules

# Three steps; then a second session, which saves the same steps again.
A, B, C = ("A", "a1"), ("B", "a2"), ("C", "a3")
A2, B2, C2 = ("A", "b1"), ("B", "b2"), ("C", "b3")


def scene(
    name: str,
    *sessions: Sequence[Attempt],
    sweeps: int | None = None,
    forever: Sequence[str] = (),
    hosts: bool = False,
    pruners: int = 1,
    rounds: int = 1,
    keep: int = 1,
    collects: bool = True,
    aborts: bool = False,
    readers: int = 0,
    plain: int = 0,
    disaster: Disaster | None = None,
    duplicates: int = 0,
    unknowns: int = 0,
    mixed: bool = False,
    **rules: Any,
) -> Scene:
    """A scene with so many of each; see `Trainer`, `Pruner`, `Scene`, `Rules`."""
    names = [f"W{number}" for number in range(1, len(sessions) + 1)]
    procs: list[Any] = [
        Trainer(own, tuple(saves), sweeps, frozenset(forever), hosts)
        for own, saves in zip(names, sessions, strict=True)
    ]
    procs += [Host(f"H{own[1:]}", own) for own in names if hosts]
    procs += [Pruner(f"P{number}", keep, rounds, collects, aborts) for number in range(1, pruners + 1)]
    procs += [PinningReader(f"R{number}") for number in range(1, readers + 1)]
    procs += [PlainReader(f"U{number}") for number in range(1, plain + 1)]
    procs += [disaster] if disaster is not None else []
    return Scene(name, tuple(procs), Rules(**rules), duplicates, unknowns, mixed)


UNCONDITIONAL: dict[str, Any] = {"isolated": True, "conditional_delete": False, "mixed": True}

PROTOCOL = [
    scene("trainer x2, its restart saves A again; pruner + collector; pinning reader", [A, B], [A2], readers=1),
    scene("2 trainers on the same step; collector that misjudges; a late duplicate",
          [A], [A2], aborts=True, duplicates=1),
    scene("3 trainers in a fresh directory; an unknown commit", [A], [A2], [("A", "c1")], pruners=0, unknowns=1),
    scene("trainer x3; pruner, 2 rounds; pinning and plain reader",
          [A, B, C], readers=1, plain=1, rounds=2, collects=False),
    scene("2 hosts per save, a restart on the same step; collector that misjudges", [A], [A2], hosts=True, aborts=True),
    scene("the trainer sweeps with its commits; restart; pinning reader",
          [A, B, C], [A2], sweeps=1, pruners=0, readers=1),
    scene("trainers sweep, A for ever; pruner + collector; unknown", [A, B], [A2], sweeps=1, forever="A", unknowns=1),
    scene("isolated, deletes not conditional; restart; a late duplicate", [A, B], [A2], duplicates=1, **UNCONDITIONAL),
]  # fmt: skip
LARGE = [
    scene("2 unknown commits, a late duplicate; pruner; restart",
          [A, B], [A2], duplicates=1, unknowns=2, collects=False),
    scene("2 pruners at once; restart; a late duplicate", [A, B], [A2], pruners=2, duplicates=1, collects=False),
    scene("a pruner beside trainers that sweep; restart on A", [A, B, C], [A2], sweeps=1, collects=False),
    scene("isolated, not conditional; 2 pruners that misjudge; reader",
          [A, B], pruners=2, readers=1, aborts=True, **UNCONDITIONAL),
    scene("restart; pruner that misjudges + collector; reader; unknown",
          [A, B], [A2], readers=1, aborts=True, unknowns=1),
]  # fmt: skip

MUTANTS = [
    scene("R1 no compare and swap: the state is overwritten", [A, B], [B2], cas=False),
    scene("R2 what a take-over gives up is taken for committed", [A, B], [A2], dead_apart=False),
    scene("R3 the first commit overwrites a state", [A], [A2], create_first=False),
    scene("R3 files are written before they are registered", [A, B], register=False),
    scene("R4 files are overwritten", [A], [A2], create_only=False),
    scene("R4 flat names, unconditional deletes, a late duplicate",
          [A, B, C], [A2], sweeps=1, pruners=0, duplicates=1, conditional_delete=False),
    scene("R4 flat names, unconditional deletes, a pruner beside the trainer",
          [A, B, C], [A2], sweeps=1, collects=False, conditional_delete=False),
    scene("R4 a name in the trash is used again", [A, B], [A2], sweeps=1, collects=False, avoid_named=False),
    scene("R5 what is there already is taken for ours", [A], [A2], check_owner=False),
    scene("R6 committed before the index is there", [A], files_first=False),
    scene("R7 no fencing", [A, B], [B2], fencing="none"),
    scene("R7 fenced by the epoch alone, and a repair",
          [A, B], [A2, B2], fencing="epoch", pruners=0, disaster=Disaster("history")),
    scene("R7 a commit does not need the attempt in open", [A, B], check_open=False, aborts=True),
    scene("R7 an unknown commit is taken for done", [A], reread_unknown=False, unknowns=1),
    scene("R7 fenced is asked before counted, and its files are discarded", [A], [B2], counted_first=False, unknowns=1),
    scene("R8 deleted before unlisted", [A, B], unlist_first=False),
    scene("R8 what is kept for ever is in no list for a while", [A, B], sweeps=1, forever="A", keep_in_swap=False),
    scene("R8 a listing is believed without another look",
          [A, B, C], [A2], sweeps=1, collects=False, look_again=False),
    scene("R9 no copy of an unlisting before the deletion",
          [A, B], collects=False, disaster=Disaster("history"), history_first=False),
    scene("R10 a reader without a pin, and no grace", [A, B], readers=1, pin=False),
    scene("R10 pins, and does not look again", [A, B], readers=1, pin_then_look=False),
    scene("R10 pins are looked for before unlisting", [A, B], readers=1, unlist_then_pins=False),
    scene("R11 the collector reads the state, and then lists", [A, B], list_then_read=False),
    scene("R11 the collector takes no state for an empty one", [A], needs_state=False),
]  # fmt: skip

_NAIVE = Rules(
    cas=False, create_first=False, register=False, create_only=False, check_owner=False, fencing="none",
    check_open=False, counted_first=False, unlist_first=False, look_again=False, pin=False, needs_state=False,
    conditional_delete=False, avoid_named=False, grace=False,
)  # fmt: skip
NAIVE = [
    replace(one, rules=_NAIVE)
    for one in (
        scene("a trainer and a pruner (no crash is needed)", [A, B, C], collects=False),
        scene("a trainer and a clean-up by cron", [A], rounds=0),
        scene("a trainer is restarted and saves a step again", [A], [A2], pruners=0),
        scene("two trainers", [A], [B2], pruners=0),
        scene("a reader during a pruning", [A, B], readers=1, collects=False),
    )
]

WINDOWS = [
    scene("W1 a plain reader takes longer than the grace period", [A, B], plain=1, grace=False),
    scene("W5 rebuilt from a listing while a pruner deletes", [A, B], collects=False, disaster=Disaster("listing")),
    scene("W5 the state is lost between a commit and its copy in the history",
          [A, B], pruners=0, disaster=Disaster("history", quiet=False)),
    scene("W6 flat names: what a zombie left unlisted looks whole", [A, B], [B2], keep=9, rounds=2, mixed=True),
]  # fmt: skip
HOLDS = [
    scene("the state is lost, and repaired from the history",
          [A, B], [A2], collects=False, disaster=Disaster("history")),
    scene("the state is lost and rebuilt from a listing while nobody prunes",
          [A, B], [A2], pruners=0, keep=9, disaster=Disaster("listing")),
    scene("without seq, as attempts are unique", [A, B], [A2], duplicates=1, collects=False, seq=False),
]  # fmt: skip

WALK = scene(
    "3 sessions, hosts, 3 pruners, 4 readers, 3 duplicates, 2 unknown",
    [A, B, C], [A2, B2], [("C", "c1")],
    hosts=True, pruners=3, rounds=2, aborts=True, readers=2, plain=2, duplicates=3, unknowns=2,
)  # fmt: skip
