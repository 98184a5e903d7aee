"""The model of the commit protocol, as far as it goes in seconds; all of it is in tests/nightly."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from docs.design.commit_protocol import posix, scenarios
from docs.design.commit_protocol.__main__ import main
from docs.design.commit_protocol.search import Scene, explore, walk
from docs.design.commit_protocol.world import Rules

A, B, A2 = scenarios.A, scenarios.B, scenarios.A2
ROOT = Path(__file__).parents[2]
SMALL = [
    scenarios.scene("two sessions on the same step, a collector", [A], [A2]),
    scenarios.scene("trainers that sweep; a reader", [A, B], [A2], sweeps=1, pruners=0, readers=1),
    scenarios.scene("an unknown commit in a fresh directory", [A], [A2], pruners=0, unknowns=1),
]
QUICK = [
    scene
    for scene in scenarios.MUTANTS
    if scene.name.startswith(
        (
            "R2 what a take-over gives up",
            "R3 the first commit overwrites",
            "R7 fenced is asked before counted",
            "R10 pins, and does not look again",
            "R11 the collector takes no state",
        )
    )
]


def by_name(scene: Scene) -> str:
    return scene.name


@pytest.mark.parametrize("scene", SMALL, ids=by_name)
def test_every_invariant_holds_in_every_state(scene: Scene) -> None:
    result = explore(scene)
    assert result.holds, (result.problem, result.trace)
    assert result.states > 300


@pytest.mark.parametrize("scene", QUICK, ids=by_name)
def test_a_protocol_that_lacks_one_rule_is_caught_and_holds_with_it(scene: Scene) -> None:
    result = explore(scene)
    assert result.problem is not None
    assert result.trace  # the shortest way to it is known
    mended = explore(replace(scene, rules=Rules()), limit=20_000)
    assert mended.problem is None, (mended.problem, mended.trace)


def test_there_are_five_quick_mutants() -> None:
    assert len(QUICK) == 5


def test_a_mutant_lacks_exactly_one_rule() -> None:
    """Else it could be caught for something else. Readers without a grace period are an assumption, and no rule."""
    for scene in scenarios.MUTANTS:
        changed = [one.name for one in fields(Rules) if getattr(scene.rules, one.name) != one.default]
        assert len(changed) == 1, (scene.name, changed)


def test_random_walks_break_nothing_and_replay_by_their_seed() -> None:
    one, again = (walk(scenarios.WALK, walks=20, seed=3) for _ in range(2))
    assert one[2].holds, (one[2].problem, one[2].trace)
    assert one[:2] == again[:2]


@pytest.mark.parametrize("journal", [False, True], ids=["any order", "journal"])
def test_a_power_cut_harms_nothing(journal: bool) -> None:
    outcome = posix.crash(posix.program(), journal=journal)
    assert (outcome.bad, outcome.looks_whole) == (0, 0), outcome.first


def test_the_command_line_tells_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "naive", "--trace"]) == 0
    out = capsys.readouterr().out
    assert out.count("caught") == len(scenarios.NAIVE)
    assert " 1. W1 finds no state: begins afresh" in out
    assert "everything as expected" in out


def test_every_rule_that_code_or_model_cites_is_in_the_document() -> None:
    document = (ROOT / "docs/design/commit-protocol.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\*\*(R\d+) ", document, re.MULTILINE))
    assert told == {f"R{number}" for number in range(1, 14)}
    sources = [*(ROOT / "ckptstore").rglob("*.py"), *(ROOT / "docs/design/commit_protocol").glob("*.py")]
    for path in sources:
        cited = set(re.findall(r"\bR(?:1[0-9]|[1-9])\b", path.read_text(encoding="utf-8")))
        assert "_proto" in path.parts or cited <= told, (path, cited - told)
