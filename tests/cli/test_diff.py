from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import ckptstore as ck
from ckptstore.checkpoint import comparison
from ckptstore.train.differences import diff_checkpoints
from tests.cli.conftest import Run
from tests.support.golden import GOLDEN

A = {
    "kernel": np.array([1.0, 2.0, 4.0], np.float32),
    "bias": np.zeros(2),
    "names": np.array([b"a", b"b", b"c"], object),
    "same": np.arange(5),
    "gone": np.ones(1),
    "shape": np.zeros((2, 3)),
    "type": np.zeros(3, np.float32),
    "count": np.int64(1 << 62),
}
B = {
    "kernel": np.array([1.0, 2.5, 3.0], np.float32),
    "bias": np.array([0.0, 1e-9]),
    "names": np.array([b"a", b"B", b"C"], object),
    "same": np.arange(5),
    "new": np.ones(1),
    "shape": np.zeros((3, 2)),
    "type": np.zeros(3, np.float64),
    "count": np.int64((1 << 62) + 1),
}


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    return ck.save(str(tmp_path / "a"), A), ck.save(str(tmp_path / "b"), B)


def test_the_table(pair: tuple[str, str], run: Run) -> None:
    result = run("diff", *pair)
    assert (result.code, result.err) == (1, "")
    lines = [line.rstrip() for line in result.out.splitlines()]
    assert lines[:2] == [f"a: {pair[0]}", f"b: {pair[1]}"]
    assert [line.split("  ")[0] for line in lines[4:-2]] == [
        "gone", "new", "type", "shape", "count", "kernel", "bias", "names",
    ]  # fmt: skip
    assert lines[-1] == "8 of 9 tensors differ"
    rows = {line.split("  ")[0]: line.split() for line in lines[4:-2]}
    assert rows["kernel"][-3:] == ["2/3", "1", "0.25"]
    assert rows["names"][-3:] == ["2/3", "-", "-"]
    assert rows["count"][-3:] == ["1/1", "1", "2.1684e-19"]


def test_json(pair: tuple[str, str], run: Run) -> None:
    document = run("diff", *pair, "--json").json
    assert (document["equal"], document["tensors"]) == (False, 9)
    found = {item["name"]: item for item in document["differences"]}
    assert found["new"] == {
        "name": "new", "difference": "only in b", "a": None,
        "b": {"name": "new", "dtype": "float64", "shape": [1]}, "values": None,
    }  # fmt: skip
    assert found["kernel"]["values"] == {"elements": 3, "differing": 2, "max_abs": 1.0, "max_rel": 0.25}
    assert found["names"]["values"] == {"elements": 3, "differing": 2, "max_abs": None, "max_rel": None}
    assert found["shape"]["difference"] == "shape"
    assert found["type"]["difference"] == "dtype"


def test_exit_codes_and_tolerance(run: Run, tmp_path: Path) -> None:
    a = ck.save(str(tmp_path / "a"), {"w": np.array([100.0, 0.0])})
    b = ck.save(str(tmp_path / "b"), {"w": np.array([101.0, 1e-6])})
    assert run("diff", a, a).code == 0
    assert run("diff", a, b).code == 1
    assert run("diff", a, b, "--rtol", "0.01").code == 1
    assert run("diff", a, b, "--rtol", "0.01", "--atol", "1e-6").code == 0
    assert run("diff", b, a, "--rtol", "0.01", "--atol", "1e-6").code == 0
    assert run("diff", a, b, "--atol", "0.5", "--json").json["differences"][0]["values"]["differing"] == 1
    assert run("diff", a, b, "--names-only").code == 0
    quiet = run("diff", a, b, "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (1, "", "")
    assert run("diff", a, a).out.splitlines()[-1] == "1 tensor, no difference"
    for bad in ("-1", "nan", "inf", "x"):
        assert run("diff", a, b, f"--rtol={bad}").code == 2
    assert run("diff", a, str(tmp_path / "nothing")).code == 1
    assert run("diff", a).code == 2


def test_damage_is_exit_code_3(run: Run) -> None:
    prefix = str(GOLDEN / "20_hand_made" / "data_bit_flip" / "c")
    assert run("diff", prefix, prefix).code == 3
    assert run("diff", prefix, prefix, "--names-only").code == 0


@pytest.mark.parametrize(
    "case", ["02_dtypes/dtypes", "02b_variant/variant", "03_strings/strings", "04_scalars_empty/sc", "14_names/names"]
)
def test_a_checkpoint_equals_itself(case: str, run: Run) -> None:
    result = run("diff", str(GOLDEN / case), str(GOLDEN / case))
    assert result.code == 0, result.out


def test_formats_files_and_slices_make_no_difference(run: Run) -> None:
    assert run("diff", str(GOLDEN / "01a_basic_ref"), str(GOLDEN / "09a_v1_basic")).code == 0
    assert run("diff", str(GOLDEN / "05a_partitioned_ref"), str(GOLDEN / "09c_v1_partitioned" / "part.ckpt")).code == 0
    assert run("diff", str(GOLDEN / "06b_sharded_devices"), str(GOLDEN / "09d_v1_sharded")).code == 0


def test_object_based_ones_go_by_object_path(run: Run, tmp_path: Path) -> None:
    items = {"layer/w": np.ones(3), "b": np.zeros(1)}
    plain = ck.save(str(tmp_path / "plain"), items)
    objects = [ck.save(str(tmp_path / f"o{n}"), items, object_based=True, save_counter=n) for n in (1, 2)]
    assert run("diff", plain, objects[0]).code == 0
    assert run("diff", objects[0], plain).code == 0
    assert [item.name for item in diff_checkpoints(*objects)] == ["save_counter"]
    other = ck.save(str(tmp_path / "other"), items | {"save_counter": np.int64(1)})
    assert not diff_checkpoints(objects[0], other)
    assert [item.name for item in diff_checkpoints(objects[1], other)] == ["save_counter"]


def only(a: Any, b: Any, tmp_path: Path, **kwargs: Any) -> Any:
    """How one tensor differs from another; None if it does not."""
    found = diff_checkpoints(
        ck.save(str(tmp_path / "x"), {"t": a}, overwrite=True),
        ck.save(str(tmp_path / "y"), {"t": b}, overwrite=True),
        **kwargs,
    )
    return found[0].values if found else None


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("a", "b", "want"),
    [
        ([NAN, 1.0], [NAN, 1.0], None),
        ([0.0], [-0.0], None),
        ([INF, -INF], [INF, -INF], None),
        ([NAN], [1.0], (1, INF, INF)),
        ([INF, 1.0], [1.0, 1.5], (2, INF, INF)),
        ([INF], [-INF], (1, INF, INF)),
        ([NAN], [INF], (1, INF, INF)),
        ([0.0, 3.0], [2.0, 3.0], (1, 2.0, 1.0)),
        ([-1.0], [1.0], (1, 2.0, 2.0)),
    ],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.complex64])
def test_floats(a: list[float], b: list[float], want: Any, dtype: Any, tmp_path: Path) -> None:
    got = only(np.array(a, dtype), np.array(b, dtype), tmp_path)
    assert (got and (got.differing, got.max_abs, got.max_rel)) == want
    if want and want[1] == INF:  # no tolerance makes up for it
        assert only(np.array(a, dtype), np.array(b, dtype), tmp_path, rtol=1.0, atol=1e30) is not None


@pytest.mark.parametrize(
    ("a", "b", "dtype", "apart"),
    [
        (-(1 << 63), (1 << 63) - 1, np.int64, (1 << 64) - 1),
        (0, (1 << 64) - 1, np.uint64, (1 << 64) - 1),
        ((1 << 53) + 1, 1 << 53, np.int64, 1),
        (-128, 127, np.int8, 255),
        (250, 3, np.uint8, 247),
        (-8, 7, ml_dtypes.int4, 15),
        (15, 1, ml_dtypes.uint4, 14),
        (False, True, np.bool_, 1),
    ],
)
def test_integers_are_exact(a: int, b: int, dtype: Any, apart: int, tmp_path: Path) -> None:
    for x, y in ((a, b), (b, a)):
        got = only(np.array([x, 1], dtype), np.array([y, 1], dtype), tmp_path)
        assert (got.elements, got.differing, got.max_abs) == (2, 1, apart)
    tolerant = only(np.array([a], dtype), np.array([b], dtype), tmp_path, atol=2.0**65)
    assert (tolerant is None) is (dtype != np.bool_)


def test_complex_numbers_of_which_a_part_is_infinite(tmp_path: Path) -> None:
    a, b = np.array([complex(INF, 1)]), np.array([complex(INF, 2)])
    assert only(a, a, tmp_path) is None
    assert only(a, b, tmp_path).differing == 1


def test_pieces_and_batches_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    items = {f"t{n}": rng.normal(size=n) for n in range(30)}
    other = {name: value + (0 if n % 3 else 1e-3) for n, (name, value) in enumerate(items.items())}
    a, b = ck.save(str(tmp_path / "a"), items), ck.save(str(tmp_path / "b"), other)
    want = diff_checkpoints(a, b)
    assert [item.name for item in want] == sorted(f"t{n}" for n in range(3, 30, 3))
    for batch, chunk in [(1, 1), (100, 7), (1 << 20, 4)]:
        with monkeypatch.context() as patch:
            patch.setattr(comparison, "_BATCH", batch)
            patch.setattr(comparison, "_CHUNK", chunk)
            assert diff_checkpoints(a, b) == want


def test_a_variant_that_differs(run: Run, tmp_path: Path) -> None:
    source = str(GOLDEN / "02b_variant" / "variant")
    names = [name for name, _ in ck.list_variables(source)]
    assert len(names) == 2
    x, y = (str(tmp_path / name) for name in "xy")
    for target, kept in zip((x, y), names, strict=True):
        assert run("cp", source, target, "--include", kept, "--rename", f"{kept}=v").code == 0
    (found,) = diff_checkpoints(x, y)
    assert found.status in ("values", "shape", "dtype")
