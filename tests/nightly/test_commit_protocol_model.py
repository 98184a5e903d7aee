"""The whole model of the commit protocol: every state of every scene, and that each rule is needed."""

from __future__ import annotations

import pytest

from docs.design.commit_protocol import posix, scenarios
from docs.design.commit_protocol.search import Scene, explore, walk

pytestmark = pytest.mark.nightly


def by_name(scene: Scene) -> str:
    return scene.name


def test_every_invariant_holds_in_every_state_of_the_protocol() -> None:
    states = 0
    for scene in (*scenarios.PROTOCOL, *scenarios.LARGE):
        result = explore(scene)
        assert result.holds, (scene.name, result.problem, result.trace)
        states += result.states
    assert states >= 5_000_000  # else the scenes have become smaller than they look


@pytest.mark.parametrize("scene", scenarios.MUTANTS, ids=by_name)
def test_a_protocol_that_lacks_one_rule_is_caught(scene: Scene) -> None:
    assert explore(scene).problem is not None


def test_there_is_a_mutant_for_each_rule_that_the_model_knows() -> None:
    assert len(scenarios.MUTANTS) >= 24
    cited = {scene.name.split()[0] for scene in scenarios.MUTANTS}
    assert cited == {f"R{number}" for number in range(1, 12)}  # R12 and R13 are argued, not modelled as rules


@pytest.mark.parametrize("scene", scenarios.NAIVE, ids=by_name)
def test_the_naive_way_is_caught(scene: Scene) -> None:
    assert explore(scene).problem is not None


@pytest.mark.parametrize("scene", scenarios.WINDOWS, ids=by_name)
def test_the_windows_that_the_document_admits_are_there(scene: Scene) -> None:
    assert explore(scene).problem is not None


@pytest.mark.parametrize("scene", scenarios.HOLDS, ids=by_name)
def test_what_is_said_to_hold_beyond_the_protocol_holds(scene: Scene) -> None:
    result = explore(scene)
    assert result.holds, (result.problem, result.trace)


def test_random_walks_through_a_scene_too_large_to_be_explored_break_nothing() -> None:
    steps, longest, result = walk(scenarios.WALK, walks=20_000, seed=1)
    assert result.holds, (result.problem, result.trace)
    assert steps > 1_000_000
    assert longest > 100


@pytest.mark.parametrize("journal", [False, True], ids=["any order", "journal"])
def test_a_power_cut_harms_nothing(journal: bool) -> None:
    outcome = posix.crash(posix.program(), journal=journal)
    assert (outcome.bad, outcome.looks_whole) == (0, 0), outcome.first
    assert outcome.cases > 40


@pytest.mark.parametrize("group", posix.SYNCS)
def test_no_sync_can_be_left_out(group: str) -> None:
    outcome = posix.crash(posix.program([group]), journal=False)
    assert outcome.bad or outcome.looks_whole
