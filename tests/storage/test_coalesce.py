import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptstore.errors import InvalidArgumentError
from ckptstore.storage._coalesce import plan_reads, sort_targets


def targets_of(*ranges):
    return [(start, memoryview(bytearray(size))) for start, size in ranges]


def shape(plan):
    return [(r.start, r.stop, [(offset, len(view)) for offset, view in r.targets]) for r in plan]


def test_neighbours_share_a_request():
    plan = plan_reads(targets_of((0, 10), (10, 10), (25, 5)), max_gap=5, max_request=100)
    assert shape(plan) == [(0, 30, [(0, 10), (10, 10), (25, 5)])]


def test_a_larger_gap_separates():
    plan = plan_reads(targets_of((0, 10), (16, 4)), max_gap=5, max_request=100)
    assert shape(plan) == [(0, 10, [(0, 10)]), (16, 20, [(16, 4)])]


def test_requests_stay_within_the_limit():
    plan = plan_reads(targets_of((0, 6), (6, 4), (10, 1)), max_gap=5, max_request=10)
    assert shape(plan) == [(0, 10, [(0, 6), (6, 4)]), (10, 11, [(10, 1)])]


def test_large_targets_are_cut():
    plan = plan_reads(targets_of((3, 25)), max_gap=0, max_request=10)
    assert shape(plan) == [(3, 13, [(3, 10)]), (13, 23, [(13, 10)]), (23, 28, [(23, 5)])]


def test_the_tail_of_a_cut_target_takes_its_neighbour_along():
    plan = plan_reads(targets_of((0, 12), (13, 3)), max_gap=1, max_request=10)
    assert shape(plan) == [(0, 10, [(0, 10)]), (10, 16, [(10, 2), (13, 3)])]


def test_a_target_inside_a_cut_one_comes_in_order():
    plan = plan_reads(targets_of((0, 30), (1, 2)), max_gap=0, max_request=10)
    assert shape(plan) == [(0, 10, [(0, 10), (1, 2)]), (10, 20, [(10, 10)]), (20, 30, [(20, 10)])]


def test_nothing_wanted_nothing_planned():
    assert plan_reads([], max_gap=0, max_request=1) == []
    assert plan_reads(targets_of((0, 0), (9, 0)), max_gap=0, max_request=1) == []


@pytest.mark.parametrize(("max_gap", "max_request"), [(-1, 10), (0, 0), (0, -5)])
def test_numbers_that_cannot_be_meant(max_gap, max_request):
    with pytest.raises(InvalidArgumentError):
        plan_reads([], max_gap=max_gap, max_request=max_request)


def test_targets_that_cannot_be_filled():
    with pytest.raises(InvalidArgumentError, match="count from 0"):
        sort_targets(targets_of((-1, 3)))
    with pytest.raises(InvalidArgumentError, match="read-only"):
        sort_targets([(0, memoryview(b"abc"))])
    with pytest.raises(InvalidArgumentError, match="contiguous"):
        sort_targets([(0, memoryview(bytearray(10))[::2])])


def test_views_of_other_elements_become_bytes():
    view = memoryview(bytearray(24)).cast("d", (3, 1))
    [(offset, flat)] = sort_targets([(5, view)])
    assert (offset, flat.format, flat.shape) == (5, "B", (24,))


ranges = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 60)), max_size=20)


@given(ranges, st.integers(0, 20), st.integers(1, 70))
def test_plan(ranges, max_gap, max_request):
    buffers = [bytearray(size) for _, size in ranges]
    plan = plan_reads(
        [(start, memoryview(buffer)) for (start, _), buffer in zip(ranges, buffers, strict=True)],
        max_gap=max_gap,
        max_request=max_request,
    )
    owner = {id(buffer): index for index, buffer in enumerate(buffers)}
    covered = Counter()
    for request in plan:
        assert request.targets
        assert request.stop - request.start <= max_request
        assert request.start == request.targets[0][0]
        assert request.stop == max(offset + len(view) for offset, view in request.targets)
        assert [o for o, _ in request.targets] == sorted(o for o, _ in request.targets)
        reached = request.start
        for offset, view in request.targets:
            assert len(view) > 0
            assert offset - reached <= max_gap
            reached = max(reached, offset + len(view))
            for at in range(len(view)):
                covered[owner[id(view.obj)], offset + at] += 1
                view[at] = (offset + at) % 251
    assert [r.start for r in plan] == sorted(r.start for r in plan)
    # Exactly once for each target ...
    assert covered == Counter((index, start + at) for index, (start, size) in enumerate(ranges) for at in range(size))
    # ... and into the right place of its buffer.
    for (start, size), buffer in zip(ranges, buffers, strict=True):
        assert buffer == bytes(at % 251 for at in range(start, start + size))
    # No two requests that could have been one.
    for left, right in itertools.pairwise(plan):
        first = right.targets[0]
        assert first[0] - left.stop > max_gap or max(left.stop, first[0] + len(first[1])) - left.start > max_request
