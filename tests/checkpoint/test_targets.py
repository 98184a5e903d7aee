"""What tensors are restored into: variables, parts of them, and arrays; all of them or none."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import ckptstore as ck
from tests.support.variables import FakeVariable

EMB = np.arange(40, dtype=np.float32).reshape(10, 4)


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    ck.save(tmp_path / "m", {"emb": EMB, "n": np.int64(7), "s": np.array([b"x\0", b""], object), "w": np.ones(3)})
    return tmp_path / "m"


def test_variables_are_assigned_and_come_back_under_the_checkpoints_names(prefix: Path) -> None:
    w, n, s = FakeVariable("new/w:0", np.zeros(3)), FakeVariable("n", np.int64(0)), FakeVariable("s", [b"", b""])
    out = ck.restore(prefix, assignment_map={"w": w, "n": n, "s": s})
    assert w.value.tolist() == [1, 1, 1]
    assert n.value == 7
    assert s.value.tolist() == [b"x\0", b""]
    assert list(out) == ["n", "s", "w"]
    assert out.report.used == (("n", "n"), ("s", "s"), ("new/w", "w"))
    assert out.report.unused == ("emb",)


@pytest.mark.parametrize(
    ("axis", "cuts"), [(0, [4, 7]), (1, [2]), (0, []), (1, [1, 2, 3])], ids=["rows", "columns", "one part", "thin"]
)
@pytest.mark.parametrize("told", [None, "_get_save_slice_info", "save_slice_info", "_save_slice_info"])
def test_a_partitioned_variable_gets_its_parts(prefix: Path, axis: int, cuts: list[int], told: str | None) -> None:
    starts = [0, *cuts]
    parts = []
    for number, (start, piece) in enumerate(zip(starts, np.split(EMB, cuts, axis), strict=True)):
        part = FakeVariable(f"new/part_{number}:0", np.zeros_like(piece))
        offset = [start, 0] if axis == 0 else [0, start]
        slice_info = SimpleNamespace(var_offset=offset, var_shape=[*piece.shape], full_shape=[10, 4], full_name="new")
        if told is not None:
            setattr(part, told, (lambda it=slice_info: it) if told.startswith("_get") else slice_info)
        parts.append(part)
    out = ck.restore(prefix, assignment_map={"emb": parts})
    assert np.array_equal(np.concatenate([part.value for part in parts], axis), EMB)
    assert np.array_equal(out["emb"], EMB)
    assert out.report.used == (("new", "emb"),)


def test_parts_that_do_not_make_up_the_tensor(prefix: Path) -> None:
    def parts(*shapes: tuple[int, ...]) -> list[FakeVariable]:
        return [FakeVariable(f"e/part_{i}", np.zeros(shape, np.float32)) for i, shape in enumerate(shapes)]

    for wrong in (parts((5, 4), (4, 4)), parts((5, 4), (5, 3)), parts((5, 2), (5, 2)), parts((40,)), parts((), ())):
        with pytest.raises(ck.IncompatibleTensorError, match=r"is float32 \[10, 4\] and cannot fill the parts of 'e'"):
            ck.restore(prefix, assignment_map={"emb": wrong})
    wider = parts((5, 4), (5, 4))
    wider[1].dtype = np.dtype(np.float64)
    with pytest.raises(ck.IncompatibleTensorError):
        ck.restore(prefix, assignment_map={"emb": wider})
    for offset, full, name in ([8, 0], [10, 4], "e"), ([0, 0], [9, 4], "e"), ([0], [10], "e"):
        told = parts((5, 4))
        told[0].save_slice_info = SimpleNamespace(var_offset=offset, var_shape=[5, 4], full_shape=full, full_name=name)
        with pytest.raises(ck.IncompatibleTensorError):
            ck.restore(prefix, assignment_map={"emb": told})
    two = parts((5, 4), (5, 4))
    for part, start, name in zip(two, (0, 5), "ef", strict=True):
        part.save_slice_info = SimpleNamespace(
            var_offset=[start, 0], var_shape=[5, 4], full_shape=[10, 4], full_name=name
        )
    with pytest.raises(ck.InvalidArgumentError, match="parts of one variable"):
        ck.restore(prefix, assignment_map={"emb": two})
    for empty in ([], ["w"], [FakeVariable("a", 1), 3]):
        with pytest.raises(ck.InvalidArgumentError, match="must map to a name, an array, a variable"):
            ck.restore(prefix, assignment_map={"emb": empty})


def test_unknown_dimensions_fit(prefix: Path) -> None:
    w = FakeVariable("w", np.zeros(5))
    w.shape = (None,)
    ck.restore(prefix, assignment_map={"w": w})
    assert w.value.tolist() == [1, 1, 1]
    w.shape = (None, None)
    with pytest.raises(ck.IncompatibleTensorError, match=r"variable 'w' of float64 \[\?, \?\]"):
        ck.restore(prefix, assignment_map={"w": w})
    for unknown in (SimpleNamespace(rank=None), None):  # TensorFlow's, and ours
        w.shape = unknown
        ck.restore(prefix, assignment_map={"w": w})
    assert len(w.assigned) == 3


def test_nothing_is_assigned_when_one_does_not_fit_or_is_missing(prefix: Path) -> None:
    w, n, array = FakeVariable("w", np.zeros(3)), FakeVariable("n", np.int32(1)), np.zeros((10, 4), np.float32)
    with pytest.raises(ck.IncompatibleTensorError, match=r"int64 \[\] and cannot fill variable 'n' of int32 \[\]"):
        ck.restore(prefix, assignment_map={"w": w, "n": n, "emb": array})
    with pytest.raises(ck.TensorNotFoundError) as caught:
        ck.restore(prefix, assignment_map={"w": w, "n": n, "emp": array})
    assert (caught.value.missing, caught.value.mismatched) == (("emp",), ("n",))
    data = prefix.with_name("m.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:-1] + b"\xff")
    with pytest.raises(ck.DataLossError):
        ck.restore(prefix, assignment_map={"w": w, "emb": array})
    assert not w.assigned
    assert not array.any()


def test_an_assignment_that_fails_half_way_is_taken_back(prefix: Path) -> None:
    first, last = FakeVariable("a", np.full((10, 4), 5, np.float32)), FakeVariable("z", np.zeros(3))
    n, array = FakeVariable("n", np.int64(3), readable=False), np.zeros(3)
    last.broken = RuntimeError("no device")
    with pytest.raises(RuntimeError, match="no device") as caught:
        ck.restore(prefix, assignment_map=[("emb", first), ("n", n), ("w", array), ("w", last)])
    assert first.value.tolist() == np.full((10, 4), 5).tolist()
    assert n.value == 7  # it cannot be read, so nobody knows what it was
    assert not array.any()
    if hasattr(caught.value, "__notes__"):  # Python 3.11
        assert "'n'" in caught.value.__notes__[0]


def test_one_variable_for_two_tensors_is_refused(prefix: Path) -> None:
    w = FakeVariable("w", np.zeros(3))
    with pytest.raises(ck.InvalidArgumentError, match="'n' and 'w' would be restored into the same"):
        ck.restore(prefix, assignment_map={"w": w, "n": w})
    ck.restore(prefix, assignment_map=[("w", w), ("w", w)])
    assert len(w.assigned) == 1


def test_one_tensor_for_two_names_or_variables_is_two_arrays(prefix: Path) -> None:
    first, second = FakeVariable("a", np.zeros(3)), FakeVariable("b", np.zeros(3))
    out = ck.restore(prefix, assignment_map=[("w", "x"), ("w", "y"), ("w", first), ("w", second)])
    arrays: list[Any] = [out["x"], out["y"], *first.assigned, *second.assigned]
    assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])


def test_a_variable_of_a_graph_is_refused(prefix: Path) -> None:
    """Its assign would only make an op that nobody runs."""
    for readable in (True, False):
        w = FakeVariable("w", np.zeros(3), readable=readable)
        w.graph = object()
        if readable:
            ck.restore(prefix, assignment_map={"w": w})
        else:
            with pytest.raises(ck.InvalidArgumentError, match="belongs to a graph"):
                ck.restore(prefix, assignment_map={"w": w})


def test_a_variable_without_a_value_yet_is_assigned(prefix: Path) -> None:
    def numpy() -> Any:
        raise ck.InvalidArgumentError("it has no value yet")

    w = FakeVariable("w", np.zeros(3))
    w.graph, w.numpy = object(), numpy
    ck.restore(prefix, assignment_map={"w": w})
    assert w.value.tolist() == [1, 1, 1]


def test_restored_is_a_dict_with_a_report(prefix: Path) -> None:
    import copy
    import pickle

    out = ck.restore(prefix, ["w", "n"])
    assert isinstance(out, dict)
    assert out.report.unused == ("emb", "s")
    for again in (pickle.loads(pickle.dumps(out)), copy.copy(out), copy.deepcopy(out)):
        assert again.report == out.report
        assert list(again) == ["w", "n"]
    assert str(out.report).startswith(f"{prefix}: 2 tensors restored\n")
    with ck.load_checkpoint(prefix) as reader:
        assert reader.restore().report.unused == ()
