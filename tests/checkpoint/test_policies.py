"""Policies: what each rule keeps, what no wrong clock or metric can make it remove, and what holds for all of them."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ckptstore as ck
from ckptstore.checkpoint.policies import (
    FUTURE,
    AnyOf,
    BestN,
    Candidate,
    EveryNHours,
    EveryNSteps,
    LatestN,
    Policy,
    Within,
    decide,
    removal_limit,
)

NOW = 1_700_000_000.0
HOUR = 3600.0
YEAR = 365 * 24 * HOUR
NAN, INF = math.nan, math.inf

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
many = settings(max_examples=5_000 if NIGHTLY else 150, deadline=None, derandomize=not NIGHTLY, database=None)


def saved(*hours: float | None, metrics: Sequence[float | None] = (), name: str = "loss") -> list[Candidate]:
    """Checkpoints of the steps 0, 10, 20, ..., saved so many hours after some moment a day before now."""
    values = [*metrics, *[None] * (len(hours) - len(metrics))]
    return [
        Candidate(
            f"ckpt-{10 * i}",
            10 * i,
            None if hour is None else NOW - 24 * HOUR + hour * HOUR,
            {} if value is None else {name: value},
        )
        for i, (hour, value) in enumerate(zip(hours, values, strict=True))
    ]


def kept(policy: Policy, candidates: Sequence[Candidate], now: float = NOW) -> list[int]:
    return sorted(policy.kept(candidates, now))


def survivors(candidates: Sequence[Candidate], policy: Policy, now: float = NOW) -> list[Candidate]:
    decisions = decide(candidates, policy, now=now)
    return [c for c, decision in zip(candidates, decisions, strict=True) if decision.keep]


# -- each rule


@pytest.mark.parametrize(("n", "left"), [(1, [4]), (3, [2, 3, 4]), (5, [0, 1, 2, 3, 4]), (9, [0, 1, 2, 3, 4])])
def test_the_newest_n_are_the_last_of_the_list_whatever_times_and_steps_say(n: int, left: list[int]) -> None:
    candidates = saved(9, 7, None, NAN, -99)
    assert kept(LatestN(n), candidates) == left
    turned = [Candidate(c.path, 1000 - (c.step or 0), c.time) for c in candidates]
    assert kept(LatestN(n), turned) == left


def test_every_n_hours_counts_from_the_last_that_it_kept() -> None:
    assert kept(EveryNHours(2), saved(0, 1, 1.9, 2.5, 4, 4.4, 4.5, 9)) == [0, 3, 6, 7]
    assert kept(EveryNHours(2), saved(0, 2, 4, 6)) == [0, 1, 2, 3]
    assert kept(EveryNHours(0.5), saved(0, 0.1, 0.2, 0.6)) == [0, 3]


def test_a_clock_that_was_set_back_makes_nothing_redundant() -> None:
    assert kept(EveryNHours(10), saved(0, 1, 2, -1, 0, 1)) == [0, 3]
    assert kept(EveryNHours(1), saved(0, 1, 2, 1, 2, 3)) == [0, 1, 2, 3, 4, 5]
    years = YEAR / HOUR
    assert kept(EveryNHours(10), saved(0, 1, 2, 2 - 10 * years, 3 - 10 * years, 3)) == [0, 3, 5]


@pytest.mark.parametrize("jump", [HOUR, 10 * YEAR])
def test_a_time_in_the_future_is_not_believed_and_does_not_count(jump: float) -> None:
    candidates = [*saved(0), Candidate("wrong", 5, NOW + jump), *saved(1, 5)]
    assert kept(EveryNHours(4), candidates) == [0, 1, 3]
    assert kept(Within(24), candidates) == [0, 1, 2, 3]
    assert kept(Within(4.5), candidates) == [1, 2, 3]  # counted from hour 5, not from the future
    assert "not known" in EveryNHours(4).kept(candidates, NOW)[1]


def test_a_little_in_the_future_is_what_clocks_are_like() -> None:
    candidates = [Candidate("a", 1, NOW + FUTURE - 2), Candidate("b", 2, NOW + FUTURE)]
    assert kept(EveryNHours(1), candidates) == [0]
    assert kept(EveryNHours(1), [Candidate("a", 1, NOW), Candidate("b", 2, NOW + FUTURE + 1)]) == [0, 1]


@pytest.mark.parametrize("odd", [None, NAN, INF, -INF, -1.0, 1e308, np.float64(NAN)])
@pytest.mark.parametrize("policy", [EveryNHours(5), Within(1)])
def test_what_has_no_time_that_can_be_believed_stays_and_does_not_count(policy: Policy, odd: float | None) -> None:
    candidates = saved(0, 0.5, 1, 9)
    with_odd = [*candidates[:2], Candidate("odd", 15, odd), *candidates[2:]]
    reasons = policy.kept(with_odd, NOW)
    assert "not known" in reasons[2]
    without = kept(policy, candidates)
    assert sorted(i - (i > 2) for i in reasons if i != 2) == without


def test_every_n_steps_goes_by_the_number() -> None:
    candidates = [Candidate(f"c{i}", step, None) for i, step in enumerate([0, 99, 100, None, 150, 200, 2**62])]
    assert kept(EveryNSteps(100), candidates) == [0, 2, 5]
    assert kept(EveryNSteps(1), candidates) == [0, 1, 2, 4, 5, 6]


def test_within_counts_from_the_newest_and_not_from_now() -> None:
    candidates = saved(0, 1, 2, 3)
    assert kept(Within(1.5), candidates) == [2, 3]
    assert kept(Within(1.5), candidates, NOW + 10 * YEAR) == [2, 3]  # a run that has ended is not emptied
    assert kept(Within(1), candidates) == [2, 3]
    assert kept(Within(1), saved(5, 1, 2)) == [0]  # the newest time, wherever it stands


@pytest.mark.parametrize(("mode", "left"), [("min", [1, 3]), ("max", [0, 2])])
def test_the_best_n_are_those_with_the_least_or_greatest_metric(mode: Any, left: list[int]) -> None:
    candidates = saved(*range(5), metrics=[4.0, 1.0, 3.0, -1.0, 2.0])
    assert kept(BestN(2, "loss", mode), candidates) == left


@pytest.mark.parametrize("mode", ["min", "max"])
def test_nan_and_nothing_are_never_best(mode: Any) -> None:
    candidates = saved(*range(5), metrics=[NAN, 2.0, None, 2.0, NAN])
    assert kept(BestN(3, "loss", mode), candidates) == [1, 3]
    assert kept(BestN(1, "loss", mode), candidates) == [3]  # of equals the newest
    assert kept(BestN(3, "accuracy", mode), candidates) == []


def test_infinities_are_extremes_like_any_other() -> None:
    candidates = saved(*range(4), metrics=[INF, 1.0, -INF, 2.0])
    assert kept(BestN(1, "loss"), candidates) == [2]
    assert kept(BestN(1, "loss", "max"), candidates) == [0]
    assert kept(BestN(3, "loss"), candidates) == [1, 2, 3]


def test_minus_zero_is_zero() -> None:
    assert kept(BestN(1, "loss"), saved(0, 1, metrics=[-0.0, 0.0])) == [1]
    assert kept(BestN(1, "loss"), saved(0, 1, metrics=[0.0, -0.0])) == [1]


# -- their arguments


@pytest.mark.parametrize("n", [0, -1, True, 1.0, NAN, None, "3", np.bool_(True)])
@pytest.mark.parametrize("make", [LatestN, EveryNSteps, lambda n: BestN(n, "loss")])
def test_what_is_no_count_is_refused(make: Callable[[Any], Policy], n: Any) -> None:
    with pytest.raises(ck.InvalidArgumentError, match="n"):
        make(n)


@pytest.mark.parametrize("hours", [0, -1, NAN, INF, -INF, True, None, "1"])
@pytest.mark.parametrize("make", [EveryNHours, Within])
def test_what_is_no_time_is_refused(make: Callable[[Any], Policy], hours: Any) -> None:
    with pytest.raises(ck.InvalidArgumentError, match="hours"):
        make(hours)


@pytest.mark.parametrize(
    ("metric", "mode"), [("", "min"), (None, "min"), (1, "min"), ("loss", "least"), ("loss", None)]
)
def test_what_is_no_metric_is_refused(metric: Any, mode: Any) -> None:
    with pytest.raises(ck.InvalidArgumentError, match=r"metric|mode"):
        BestN(1, metric, mode)


@pytest.mark.parametrize("policies", [(), (None,), (LatestN(1), 3)])
def test_a_policy_of_nothing_is_refused(policies: Any) -> None:
    with pytest.raises(ck.InvalidArgumentError, match="without rules"):
        AnyOf(policies)


def test_numpy_numbers_are_numbers() -> None:
    assert LatestN(np.int64(3)) == LatestN(3)  # type: ignore[arg-type]
    assert EveryNHours(np.float32(0.5)) == EveryNHours(0.5)  # type: ignore[arg-type]


# -- rules that are joined


def test_joined_rules_are_one_flat_policy_that_reads_as_it_was_written() -> None:
    policy = LatestN(3) | EveryNHours(2) | (BestN(1, "loss") | BestN(2, "accuracy", "max"))
    assert repr(policy) == (
        "LatestN(n=3) | EveryNHours(hours=2.0) | BestN(n=1, metric='loss', mode='min') | "
        "BestN(n=2, metric='accuracy', mode='max')"
    )
    assert eval(repr(policy)) == policy  # noqa: S307 - that is the point
    assert len(policy.policies) == 4
    assert AnyOf((LatestN(1) | Within(2), LatestN(1))).policies == (LatestN(1), Within(2), LatestN(1))
    assert policy.metrics == {"loss", "accuracy"}
    assert (LatestN(1) | Within(1)).metrics == frozenset()
    with pytest.raises(TypeError):
        LatestN(1) | 3  # type: ignore[operator]


def test_every_decision_has_its_reasons() -> None:
    candidates = saved(0, 1, 2, 3, 4, metrics=[9.0, 1.0])
    candidates[2] = Candidate("ckpt-20", 20, candidates[2].time, pinned=True)
    decisions = decide(candidates, BestN(1, "loss") | EveryNSteps(10**6), now=NOW)
    assert [(d.path, d.step, d.keep) for d in decisions] == [
        ("ckpt-0", 0, True),
        ("ckpt-10", 10, True),
        ("ckpt-20", 20, True),
        ("ckpt-30", 30, False),
        ("ckpt-40", 40, True),
    ]
    assert decisions[0].reasons == ("its step is a multiple of 1000000",)
    assert decisions[1].reasons == ("one of the best 1 by loss",)
    assert decisions[2].reasons == ("pinned",)
    assert decisions[3].reasons == ("no rule keeps it",)
    assert decisions[4].reasons == ("the newest",)
    both = decide(saved(0, metrics=[1.0]), LatestN(1) | BestN(1, "loss"), now=NOW)[0].reasons
    assert both == ("one of the newest 1, one of the best 1 by loss",)


def test_nothing_to_decide() -> None:
    assert decide([], LatestN(1) | Within(1) | EveryNHours(1) | BestN(1, "m"), now=NOW) == []


def test_the_oldest_go_first_when_not_all_may_go() -> None:
    decisions = decide(saved(*range(6)), LatestN(1), now=NOW, limit=2)
    assert [d.keep for d in decisions] == [False, False, True, True, True, True]
    assert decisions[2].reasons == ("not more than 2 are removed at once",)
    assert all(d.keep for d in decide(saved(*range(6)), LatestN(1), now=NOW, limit=0))


@pytest.mark.parametrize(("count", "limit"), [(0, 0), (1, 1), (2, 1), (3, 2), (10, 5), (10_001, 5_001)])
def test_at_most_half_goes_at_once(count: int, limit: int) -> None:
    assert removal_limit(count) == limit


def test_a_flood_of_tiny_new_checkpoints_removes_no_more_than_the_limit_and_soon() -> None:
    good = saved(*range(20), metrics=[float(i) for i in range(20)])
    flood = [Candidate(f"tiny-{i}", 1000 + i, NOW - 60 + i / 1000, {"loss": -INF}) for i in range(10_000)]
    candidates = good + flood
    policies: list[Policy] = [LatestN(5), EveryNHours(100), EveryNSteps(10**9), Within(0.001), BestN(5, "loss")]
    started = time.perf_counter()
    for policy in [*policies, AnyOf(tuple(policies))]:
        decisions = decide(candidates, policy, now=NOW, limit=removal_limit(len(candidates)))
        assert 0 < sum(not d.keep for d in decisions) <= 5_010
    assert (time.perf_counter() - started) / 6 < 1
    # Who keeps by time loses none of what is as far apart as that.
    decisions = decide(candidates, LatestN(5) | EveryNHours(1), now=NOW, limit=removal_limit(len(candidates)))
    assert all(d.keep for d in decisions[:20])


# -- what holds for all of them

times = st.one_of(
    st.none(),
    st.sampled_from([NAN, INF, -INF, -1.0, 0.0, NOW, NOW + FUTURE, NOW + 2 * FUTURE, NOW - HOUR, NOW - 10 * YEAR]),
    st.integers(-40, 40).map(lambda quarters: NOW + quarters * HOUR / 4),  # so that equal distances do happen
    st.floats(),
)
values = st.one_of(st.sampled_from([NAN, INF, -INF, 0.0, -0.0, 1.0]), st.floats())
candidate_lists = st.lists(
    st.builds(
        Candidate,
        path=st.just(""),
        step=st.one_of(st.none(), st.integers(0, 60)),
        time=times,
        metrics=st.dictionaries(st.sampled_from(["a", "b"]), values),
        pinned=st.sampled_from([False, False, False, True]),
    ),
    max_size=25,
).map(lambda cs: [Candidate(f"c{i}", c.step, c.time, c.metrics, c.pinned) for i, c in enumerate(cs)])
counts = st.integers(1, 8)
hours = st.sampled_from([0.25, 0.5, 1.0, 2.0, 7.0, 10.0**5, 1e308, 1e-300])
rules: st.SearchStrategy[Policy] = st.one_of(
    counts.map(LatestN),
    hours.map(EveryNHours),
    counts.map(EveryNSteps),
    hours.map(Within),
    st.builds(BestN, counts, st.sampled_from(["a", "b", "c"]), st.sampled_from(["min", "max"])),
)
policies = st.one_of(rules, st.lists(rules, min_size=1, max_size=4).map(lambda parts: AnyOf(tuple(parts))))


@many
@given(candidate_lists, policies, st.one_of(st.none(), st.integers(0, 10)))
def test_the_newest_and_the_pinned_stay_and_no_more_go_than_may(
    candidates: list[Candidate], policy: Policy, limit: int | None
) -> None:
    decisions = decide(candidates, policy, now=NOW, limit=limit)
    assert [(d.path, d.step) for d in decisions] == [(c.path, c.step) for c in candidates]
    assert all(d.reasons and all(d.reasons) for d in decisions)
    assert all(d.keep for c, d in zip(candidates, decisions, strict=True) if c.pinned or c is candidates[-1])
    gone = [i for i, d in enumerate(decisions) if not d.keep]
    may_go = [i for i, d in enumerate(decide(candidates, policy, now=NOW)) if not d.keep]
    assert gone == (may_go if limit is None else may_go[:limit])


@many
@given(candidate_lists, policies)
def test_deciding_again_about_what_stayed_removes_no_more(candidates: list[Candidate], policy: Policy) -> None:
    left = survivors(candidates, policy)
    assert survivors(left, policy) == left


@many
@given(candidate_lists, policies, st.integers(1, 5))
def test_who_may_remove_little_at_once_gets_to_the_same_end(
    candidates: list[Candidate], policy: Policy, limit: int
) -> None:
    left = candidates
    for _ in candidates:
        decisions = decide(left, policy, now=NOW, limit=limit)
        left = [c for c, d in zip(left, decisions, strict=True) if d.keep]
    assert left == survivors(candidates, policy)


@many
@given(candidate_lists, st.lists(rules, min_size=1, max_size=4))
def test_a_union_keeps_what_its_parts_keep_in_any_order(candidates: list[Candidate], parts: list[Policy]) -> None:
    whole = set(AnyOf(tuple(parts)).kept(candidates, NOW))
    assert whole == {i for part in parts for i in part.kept(candidates, NOW)}
    assert whole == set(AnyOf(tuple(parts[::-1])).kept(candidates, NOW))


@many
@given(candidate_lists, counts, st.sampled_from(["a", "b"]), st.sampled_from(["min", "max"]), hours)
def test_more_never_keeps_less(candidates: list[Candidate], n: int, metric: str, mode: Any, span: float) -> None:
    assert set(kept(LatestN(n), candidates)) <= set(kept(LatestN(n + 1), candidates))
    assert set(kept(BestN(n, metric, mode), candidates)) <= set(kept(BestN(n + 1, metric, mode), candidates))
    assert set(kept(EveryNSteps(2 * n), candidates)) <= set(kept(EveryNSteps(n), candidates))
    assert set(kept(Within(span / 2), candidates)) <= set(kept(Within(span), candidates))


@many
@given(candidate_lists, counts, st.randoms(use_true_random=False))
def test_the_order_matters_only_to_what_goes_by_it(candidates: list[Candidate], n: int, random: Any) -> None:
    """Steps and ages do not; the newest are judged by the order, and by nothing else."""
    shuffled = random.sample(candidates, len(candidates))
    for policy in (EveryNSteps(n), Within(float(n))):
        stays = {c.path for i, c in enumerate(candidates) if i in policy.kept(candidates, NOW)}
        assert stays == {c.path for i, c in enumerate(shuffled) if i in policy.kept(shuffled, NOW)}
    stripped = [Candidate(c.path, None, None) for c in candidates]
    assert kept(LatestN(n), candidates) == kept(LatestN(n), stripped)


@many
@given(candidate_lists, hours, st.sampled_from([-10 * YEAR, -HOUR, 0.0, HOUR, 10 * YEAR]))
def test_a_clock_that_is_off_where_the_pruner_runs_removes_nothing_that_a_right_one_keeps_by_age(
    candidates: list[Candidate], span: float, jump: float
) -> None:
    """A clock that lags believes fewer times, and what it does not believe stays; one that is ahead changes nothing for
    times that were believed already."""
    believed = [c for c in candidates if c.time is not None and math.isfinite(c.time) and 0 <= c.time <= NOW]
    right = kept(Within(span), believed)
    if jump >= 0:
        assert kept(Within(span), believed, NOW + jump) == right
        assert kept(EveryNHours(span), believed, NOW + jump) == kept(EveryNHours(span), believed)
    else:
        assert set(kept(Within(span), believed, NOW + jump)) >= set(right)


@many
@given(candidate_lists, hours)
def test_what_every_n_hours_drops_has_one_that_stays_within_so_many_hours_before_it(
    candidates: list[Candidate], span: float
) -> None:
    left = kept(EveryNHours(span), candidates)
    for index, candidate in enumerate(candidates):
        if index not in left:
            time = candidate.time
            assert time is not None
            before = [candidates[i].time for i in left if i < index]
            assert any(t is not None and 0 <= time - t < span * HOUR for t in before)
