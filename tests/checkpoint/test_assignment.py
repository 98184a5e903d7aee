"""Which tensors an assignment asks for: names, patterns, scopes, pairs; and what is told of the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ckptstore.bundle import TensorInfo
from ckptstore.checkpoint.assignment import Plan, plan_assignment
from ckptstore.errors import IncompatibleTensorError, InvalidArgumentError, TensorNotFoundError
from ckptstore.format.dtypes import as_dtype

NAMES = ["a/b/w", "a/b/x", "a/w", "odd[0]", "step", "w"]


def pairs(plan: Plan) -> list[tuple[str, str]]:
    return [(item.source, item.target) for item in plan]


def info(dtype: str = "float32", shape: tuple[int, ...] = (3,)) -> Any:
    return lambda name: TensorInfo(name, as_dtype(dtype), shape, 0)


@pytest.mark.parametrize(
    ("names", "want"),
    [
        (["a/*"], ["a/b/w", "a/b/x", "a/w"]),  # "/" is a character like any other
        (["*/w"], ["a/b/w", "a/w"]),
        (["?"], ["w"]),
        (["[sw]*"], ["step", "w"]),
        (["step", "*/x", "a/b/*"], ["step", "a/b/x", "a/b/w"]),  # in the order asked, each once
        (["odd[0]"], ["odd[0]"]),  # a tensor's name before all
        (["odd[[]?]"], ["odd[0]"]),
        (["A*", "w"], ["w"]),  # case counts
    ],
)
def test_patterns_among_names(names: list[str], want: list[str]) -> None:
    plan = plan_assignment(NAMES, names=names, strict=False)
    assert pairs(plan) == [(name, name) for name in want]


def test_a_pattern_without_a_match_is_missing() -> None:
    with pytest.raises(TensorNotFoundError, match=r"'b/\*'; no name matches the pattern") as caught:
        plan_assignment(NAMES, names=["a/*", "b/*", "nothing"], path="p")
    assert caught.value.missing == ("b/*", "nothing")
    assert caught.value.unexpected == ("odd[0]", "step", "w")
    report = plan_assignment(NAMES, names=["b/*", "w"], strict=False).report
    assert report.missing == ("b/*",)


def test_patterns_as_keys_of_a_map() -> None:
    assert pairs(plan_assignment(NAMES, assignment_map={"a/b/*": "new/"})) == [
        ("a/b/w", "new/a/b/w"), ("a/b/x", "new/a/b/x"),
    ]  # fmt: skip
    assert pairs(plan_assignment(NAMES, assignment_map={"*w": None, "step": "s"})) == [
        ("a/b/w", "a/b/w"), ("a/w", "a/w"), ("w", "w"), ("step", "s"),
    ]  # fmt: skip
    with pytest.raises(TensorNotFoundError):
        plan_assignment(NAMES, assignment_map={"z*": "new/"})
    with pytest.raises(TensorNotFoundError):  # one name cannot stand for many: it is a name that is not there
        plan_assignment(NAMES, assignment_map={"a*": "new"})
    with pytest.raises(InvalidArgumentError):
        plan_assignment(NAMES, assignment_map={"w": None})


def test_a_list_of_pairs_gives_one_tensor_many_names() -> None:
    plan = plan_assignment(NAMES, assignment_map=[("w", "two"), ("a/", "b/"), ("w", "one"), ("w", "one")])
    assert pairs(plan) == [
        ("a/b/w", "b/b/w"), ("a/b/x", "b/b/x"), ("a/w", "b/w"), ("w", "two"), ("w", "one"),
    ]  # fmt: skip
    assert pairs(plan_assignment(NAMES, assignment_map={"w": "x"}.items())) == [("w", "x")]


@pytest.mark.parametrize("wrong", [["ab"], [("a",)], [("w", "x", "y")], [(1, "x")], "ab", 5, [None], {1: "x"}])
def test_what_is_no_map(wrong: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="assignment_map must map names"):
        plan_assignment(NAMES, assignment_map=wrong)


def test_aliases_are_found_by_name_alone() -> None:
    alias = {"other/w": "w"}
    assert pairs(plan_assignment(NAMES, aliases=alias)) == [(name, name) for name in NAMES]
    plan = plan_assignment(NAMES, names=["other/w"], aliases=alias)
    assert pairs(plan) == [("other/w", "other/w")]
    assert "w" not in plan.report.unused
    with pytest.raises(TensorNotFoundError):
        plan_assignment(NAMES, names=["other/*"], aliases=alias)
    with pytest.raises(TensorNotFoundError):
        plan_assignment(NAMES, assignment_map={"other/": "x/"}, aliases=alias)


def test_the_report_says_what_became_of_every_name() -> None:
    into = np.zeros(3, np.float32)
    plan = plan_assignment(
        NAMES, assignment_map=[("a/b/", "n/"), ("w", into), ("gone", "x")], strict=False, path="m", info=info()
    )
    report = plan.report
    assert report.used == (("n/w", "a/b/w"), ("n/x", "a/b/x"), ("w", "w"))
    assert (report.missing, report.unused, report.skipped) == (("gone",), ("a/w", "odd[0]", "step"), ())
    assert str(report).splitlines() == [
        "m: 3 tensors restored, 2 of them under other names",
        "  1 missing: 'gone'",
        "  3 not used: 'a/w', 'odd[0]', 'step'",
    ]


def test_what_cannot_be_read_is_skipped_with_a_reason() -> None:
    plan = plan_assignment(["v"], strict=False, info=info("variant"))
    assert not list(plan)
    assert plan.report.skipped == (("v", "it is of type variant, which numpy cannot hold"),)
    assert plan.report.unused == ()
    assert "1 skipped: 'v' (it is of type variant" in str(plan.report)


def test_every_misfit_is_told_at_once() -> None:
    wanted = {"w": np.zeros(3), "step": np.zeros(2, np.float32), "a/w": np.zeros(3, np.float32)}
    with pytest.raises(IncompatibleTensorError) as caught:
        plan_assignment(NAMES, assignment_map=wanted, path="m", info=info())
    assert caught.value.mismatched == ("step", "w")
    assert caught.value.name == "step"
    assert str(caught.value).splitlines() == [
        "m: 2 tensors do not fit what they are restored into:",
        "  tensor 'step' is float32 [3] and cannot fill a float32 [2] array",
        "  tensor 'w' is float32 [3] and cannot fill a float64 [3] array",
        "Nothing was restored; restore them by name and convert them.",
    ]


def test_missing_names_and_misfits_are_one_error() -> None:
    with pytest.raises(TensorNotFoundError) as caught:
        plan_assignment(NAMES, assignment_map={"W": "x", "w": np.zeros(3)}, path="m", info=info())
    error = caught.value
    assert (error.missing, error.mismatched) == (("W",), ("w",))
    assert error.unexpected == ("a/b/w", "a/b/x", "a/w", "odd[0]", "step")
    assert "tensor 'w' is float32 [3] and cannot fill a float64 [3] array" in str(error)
    with pytest.raises(IncompatibleTensorError):  # what is there must fit, strict or not
        plan_assignment(NAMES, assignment_map={"W": "x", "w": np.zeros(3)}, strict=False, info=info())
