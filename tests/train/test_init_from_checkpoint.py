"""Variables take their values from a checkpoint, by name, by scope and in parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptstore as ck
from ckptstore.train.checkpoint_utils import init_from_checkpoint
from tests.support.golden import GOLDEN
from tests.support.variables import FakeVariable

EMB = np.arange(12, dtype=np.float32).reshape(6, 2)


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    ck.save(tmp_path / "m", {"old/w": np.ones(3), "old/in/b": np.float64(2), "emb": EMB, "step": np.int64(9)})
    return tmp_path / "m"


def variables(*names: str, value: Any = 0.0) -> list[FakeVariable]:
    return [FakeVariable(f"{name}:0", value) for name in names]


def emb_parts(scope: str = "") -> list[FakeVariable]:
    return [FakeVariable(f"{scope}emb/part_{i}:0", np.zeros((2, 2), np.float32)) for i in range(3)]


def test_by_name_and_by_scope(prefix: Path) -> None:
    w, b, step, other = (
        FakeVariable("new/w:0", np.zeros(3)), FakeVariable("new/in/b:0", 0.0), FakeVariable("global_step", np.int64(0)),
        FakeVariable("other", 5.0),
    )  # fmt: skip
    report = init_from_checkpoint(
        prefix, {"old/": "new/", "step": "global_step:0"}, variables=iter([w, b, step, other])
    )
    assert (w.value.tolist(), b.value, step.value, other.value) == ([1, 1, 1], 2, 9, 5)
    assert report.used == (("new/in/b", "old/in/b"), ("new/w", "old/w"), ("global_step", "step"))
    assert report.unused == ("emb",)


def test_the_root_on_either_side(prefix: Path) -> None:
    for key, scope, names in ("/", "a/", ["a/old/in/b"]), ("old/", "/", ["in/b"]), ("/", "/", ["old/in/b"]):
        found = variables(*names)
        init_from_checkpoint(prefix, {key: scope}, variables=found)
        assert [v.value for v in found] == [2]


def test_parts_are_found_under_their_full_name(prefix: Path) -> None:
    for mapping in {"emb": "emb"}, {"/": "/"}, [("emb", "emb/part_2"), ("emb", "emb")]:
        parts = emb_parts()
        if isinstance(mapping, list):
            with pytest.raises(ck.IncompatibleTensorError, match="'emb/part_2' of float32"):
                init_from_checkpoint(prefix, mapping, variables=parts)
            continue
        report = init_from_checkpoint(prefix, mapping, variables=[parts[2], parts[0], parts[1]])
        assert np.array_equal(np.concatenate([p.value for p in parts]), EMB)
        assert report.used == (("emb", "emb"),)
    # A name of that kind that has no parts before it is a name like any other.
    lone = FakeVariable("x/part_1", np.zeros(3))
    init_from_checkpoint(prefix, {"old/w": "x/part_1"}, variables=[lone])
    assert lone.value.tolist() == [1, 1, 1]


def test_many_parts_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    ck.save(tmp_path / "m", {"v": np.arange(12)})
    parts = [FakeVariable(f"v/part_{i}", np.zeros(1, np.int64)) for i in range(12)]
    init_from_checkpoint(tmp_path / "m", {"v": "v"}, variables=sorted(parts, key=lambda p: p.name))
    assert [int(p.value[0]) for p in parts] == list(range(12))


def test_variables_themselves_need_no_names(prefix: Path) -> None:
    first, second, array = FakeVariable("v", np.zeros(3)), FakeVariable("v", np.zeros(3)), np.zeros((6, 2), np.float32)
    report = init_from_checkpoint(prefix, [("old/w", first), ("old/w", second), ("emb", array)])
    assert first.value.tolist() == second.value.tolist() == [1, 1, 1]
    assert np.array_equal(array, EMB)
    assert len(report.used) == 3


def test_variables_that_are_not_there_are_told_all_at_once(prefix: Path) -> None:
    w = FakeVariable("new/w", np.zeros(3))
    with pytest.raises(ck.InvalidArgumentError) as caught:
        init_from_checkpoint(prefix, {"old/w": "new/v", "old/": "nwe/", "step": "step"}, variables=[w])
    text = str(caught.value)
    assert "no variable 'new/v', to be initialised from 'old/w'; near: 'new/w'" in text
    assert "no variable under 'nwe/', to be initialised from 'old/'" in text
    assert "no variable 'step', to be initialised from 'step'" in text
    with pytest.raises(ck.InvalidArgumentError, match="pass variables="):
        init_from_checkpoint(prefix, {"old/w": "new/w"})
    report = init_from_checkpoint(
        prefix, [("old/w", "new/v"), ("old/w", w), ("none", w), ("old/", "nwe/")], variables=[w], strict=False
    )
    assert report.skipped == (("old/", "there is no variable under 'nwe/'"), ("old/w", "there is no variable 'new/v'"))
    assert report.missing == ("none",)
    assert w.value.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "wrong",
    [{"old/w": "new/"}, {"old/": "new"}, {"old/": "new/w"}, {"old/*": None}, {"old/*": "new/"}, {"old/w": 3}, {"": ""},
     5, ["old/w"]],
    ids=repr,
)  # fmt: skip
def test_malformed_maps(prefix: Path, wrong: Any) -> None:
    w = FakeVariable("new/w", np.zeros(3))
    with pytest.raises((ck.InvalidArgumentError, ck.TensorNotFoundError)):
        init_from_checkpoint(prefix, wrong, variables=[w])
    assert not w.assigned


def test_a_name_that_is_no_scope_is_told_so(prefix: Path) -> None:
    """TensorFlow: "Assignment map with scope only name ..."."""
    w = FakeVariable("new/w", np.zeros(3))
    with pytest.raises(ck.InvalidArgumentError, match="'old' must end in '/', too: 'old/' -> 'new/'"):
        init_from_checkpoint(prefix, {"old": "new/"}, variables=[w])
    with pytest.raises(ck.InvalidArgumentError, match="'new' must end in '/', too: 'old/' -> 'new/'"):
        init_from_checkpoint(prefix, {"old/": "new"}, variables=[w])


def test_every_variable_of_a_scope_must_be_in_the_checkpoint(prefix: Path) -> None:
    w, v, u = FakeVariable("new/w", np.zeros(3)), FakeVariable("new/v", 0.0), FakeVariable("new/in/b", np.float32(0))
    with pytest.raises(ck.TensorNotFoundError) as caught:
        init_from_checkpoint(prefix, {"old/": "new/"}, variables=[w, v, u])
    assert caught.value.missing == ("old/v",)
    assert caught.value.mismatched == ("old/in/b",)
    assert caught.value.unexpected == ("emb", "step")
    assert not w.assigned
    report = init_from_checkpoint(prefix, {"old/": "new/"}, variables=[w, v], strict=False)
    assert report.missing == ("old/v",)
    assert w.value.tolist() == [1, 1, 1]


def test_two_variables_of_one_name_cannot_be_told_apart(prefix: Path) -> None:
    w = FakeVariable("w", np.zeros(3))
    with pytest.raises(ck.InvalidArgumentError, match="Two variables are named 'w'"):
        init_from_checkpoint(prefix, {"old/w": "w"}, variables=[w, FakeVariable("w:0", np.zeros(3))])
    init_from_checkpoint(prefix, {"old/w": "w"}, variables=[w, w])
    with pytest.raises(ck.InvalidArgumentError, match="Two variables are named 'emb/part_1'"):
        init_from_checkpoint(prefix, {"/": "/"}, variables=[*emb_parts(), emb_parts()[1]])
    with pytest.raises(ck.InvalidArgumentError, match="variables must be"):
        init_from_checkpoint(prefix, {"old/w": "w"}, variables=[3])
    with pytest.raises(ck.InvalidArgumentError, match="variables must be"):
        init_from_checkpoint(prefix, {"old/w": "w"}, variables=5)  # type: ignore[arg-type]


def test_object_based_checkpoints_by_full_name() -> None:
    prefix = GOLDEN / "10b_object_v1_optimizer_slots" / "adam" / "ckpt-1"
    value = ck.load_variable(prefix, "w/Adam")
    slot = FakeVariable("w/Adam", np.zeros_like(value))
    init_from_checkpoint(prefix, {"/": "/"}, variables=[slot])
    assert np.array_equal(slot.value, value)


def test_a_directory_stands_for_its_latest() -> None:
    v = FakeVariable("v", np.float32(0))
    init_from_checkpoint(GOLDEN / "07_keep_5_of_7", {"v": v})
    assert v.value == 7
    with pytest.raises(ck.CheckpointNotFoundError):
        init_from_checkpoint(GOLDEN / "07_keep_5_of_7" / "none", {"v": v})
