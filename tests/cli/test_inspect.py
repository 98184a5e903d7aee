from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ckptstore as ck
from ckptstore.testing import ManualClock
from tests.cli.conftest import WHEN, Golden, Run
from tests.support.golden import CASES, GOLDEN, HAND_MADE, expected_tensors

PARTITIONED = """\
checkpoint  {path}/part.ckpt
format      TensorFlow V2, name-based, 1 shard
saved       2023-11-14 22:13:20

TENSOR  DTYPE    SHAPE        SIZE  SLICES
conv/k  int32    [2, 130]  1.0 KiB       2
emb     float32  [10, 4]     160 B       3
plain   float32  []            4 B       -
single  float32  [3]          12 B       -

4 tensors, 304 elements, 1.2 KiB
"""

OBJECTS = """\
checkpoint  {path}/obj/ckpt-1
format      TensorFlow V2, object-based, 1 shard
step        1
saved       2023-11-14 22:13:20

TENSOR                        DTYPE    SHAPE    SIZE
_CHECKPOINTABLE_OBJECT_GRAPH  string   []      865 B
a                             float32  [2]       8 B
b                             int64    []        8 B
dct/                                            17 B
├─ k.Sslash                   float32  []        4 B
├─ k.dot                      float32  []        4 B
└─ plain                      string   []        9 B
lst/                                             8 B
├─ 0                          float32  []        4 B
└─ 1                          float32  []        4 B
mod/w                         float32  [2, 2]   16 B
save_counter                  int64    []        8 B
tup/0                         float32  []        4 B

11 tensors, 15 elements, 934 B
"""

V1 = """\
checkpoint  {path}/model.ckpt
format      TensorFlow V1, name-based
saved       2023-11-14 22:13:20

TENSOR     DTYPE    SHAPE   SIZE
dense/                      32 B
├─ bias    float32  [2]      8 B
└─ kernel  float32  [3, 2]  24 B

2 tensors, 8 elements, 32 B
"""

ONE = """\
checkpoint   {path}/c
tensor       a
dtype        float32
shape        [2, 3]
elements     6
size         24 B
nan          0
inf          0
zeros        1
min          0
max          5
mean         2.5
std          1.70783

[[0. 1. 2.]
 [3. 4. 5.]]
"""

STATS = """\
TENSOR  DTYPE    MIN  MAX  MEAN    STD  NAN  INF  ZEROS
a       float32    0    5   2.5  1.708    0    0      1
b       int64     -7    5    -1      6    0    0      0
"""


@pytest.mark.parametrize(
    ("case", "prefix", "text"),
    [("05a_partitioned_ref", "", PARTITIONED), ("10a_object_simple", "/obj/ckpt-1", OBJECTS), ("09a_v1_basic", "", V1)],
)
def test_what_tensorflow_wrote(case: str, prefix: str, text: str, run: Run, golden: Golden) -> None:
    path = golden(case)
    result = run("inspect", path + prefix)
    assert (result.code, result.err) == (0, "")
    assert result.out == text.format(path=path)


def test_flat_shows_stored_names(run: Run) -> None:
    out = run("inspect", "--flat", str(GOLDEN / "10a_object_simple" / "obj" / "ckpt-1")).out
    assert out.count("/.ATTRIBUTES/VARIABLE_VALUE ") == 10 - out.count("py_state")
    assert "├" not in out


def test_one_tensor(run: Run) -> None:
    path = str(GOLDEN / HAND_MADE / "ok_plain")
    assert run("inspect", path + "/c", "--tensor", "a", "--stats").out == ONE.format(path=path)
    assert run("inspect", path + "/c", "--tensor", "a:0").code == 0
    assert STATS in run("inspect", path + "/c", "--stats").out
    result = run("inspect", path + "/c", "--tensor", "aa")
    assert (result.code, result.out) == (1, "")
    assert "'aa'" in result.err
    assert result.err.count("\n") == 1


def test_one_tensor_by_object_path(run: Run) -> None:
    prefix = str(GOLDEN / "10a_object_simple" / "obj" / "ckpt-1")
    found = run("inspect", prefix, "--tensor", "mod/w", "--json").json["tensor"]
    assert (found["path"], found["name"]) == ("mod/w", "mod/w/.ATTRIBUTES/VARIABLE_VALUE")
    assert len(found["first"]) == 4


@pytest.mark.parametrize("case", [case for case in CASES if case in {e.case for e in expected_tensors()}])
def test_every_tensor_that_tensorflow_wrote(case: str, run: Run) -> None:
    for prefix in sorted({e.prefix for e in expected_tensors() if e.case == case}):
        tensors = [e for e in expected_tensors() if e.case == case and e.prefix == prefix]
        path = str(GOLDEN / case / prefix)
        result = run("inspect", path, "--stats", "--json")
        has_hole = case == "05c_slices_raw"  # TensorFlow cannot read that tensor, either
        assert result.code == (3 if has_hole else 0), result.err
        assert ("cover 12 of 24 elements" in result.err) == has_hole
        found = {t["name"]: t for t in result.json["tensors"]}
        assert run("inspect", path).code == 0
        for item in tensors:
            tensor = found[item.name]
            assert (tensor["dtype"], tuple(tensor["shape"])) == (item.dtype, item.value.shape)
            assert tensor["stats"]["count"] == item.value.size
            if item.value.dtype.kind in "iu" and item.value.size:
                assert (tensor["stats"]["min"], tensor["stats"]["max"]) == (item.value.min(), item.value.max())
            if item.value.dtype.kind == "f":
                assert tensor["stats"]["nan"] == np.isnan(item.value).sum()


def test_variants_have_no_values(run: Run) -> None:
    prefix = str(GOLDEN / "02b_variant" / "variant")
    assert "variant" in run("inspect", prefix, "--stats").out
    assert "Only TensorFlow" in run("inspect", prefix, "--tensor", "list", "--stats").out
    assert run("inspect", prefix, "--tensor", "list", "--json").json["tensor"]["first"] is None


def test_what_the_run_saved(run: Run, tmp_path: Path) -> None:
    with ck.CheckpointManager(tmp_path, clock=ManualClock(WHEN)) as manager:
        manager.save(
            12, {"w": np.zeros(2)}, metrics={"loss": float("inf"), "acc": 0.5},
            metadata={"git": "ab\x1b[2J", "x": float("nan")},
        )  # fmt: skip
    lines = run("inspect", str(tmp_path)).out.splitlines()
    assert lines[2:6] == [
        "step        12",
        "saved       2023-11-14 22:13:20",
        "metrics     loss=inf acc=0.5",
        'metadata    {"git": "ab\\u001b[2J", "x": NaN}',
    ]
    document = run("inspect", str(tmp_path), "--json").json
    assert set(document) == {
        "checkpoint", "format", "object_based", "shards", "step", "time", "metrics", "metadata", "tensors", "size",
        "problems",
    }  # fmt: skip
    assert document["metrics"] == {"loss": "Infinity", "acc": 0.5}
    assert document["metadata"]["x"] == "NaN"
    assert (document["step"], document["time"]) == (12, WHEN)


def test_strings(run: Run, tmp_path: Path) -> None:
    ck.save(tmp_path / "m", {"s": np.array([b"ok", b"\x1b[2J\xff", b"y" * 500, *[b""] * 20], object)})
    out = run("inspect", str(tmp_path / "m"), "--tensor", "s", "--stats").out
    assert out.splitlines()[-12:-8] == ["", "b'ok'", "b'\\x1b[2J\\xff'", "b'" + "y" * 60 + "' and 440 more bytes"]
    assert out.splitlines()[-1] == "and 13 more"
    tensor = run("inspect", str(tmp_path / "m"), "--tensor", "s", "--stats", "--json").json["tensor"]
    assert tensor["stats"] == {
        "count": 23, "empty": 20, "bytes": 507, "shortest": 0, "longest": 500, "mean_length": 507 / 23,
    }  # fmt: skip
    assert tensor["first"][:2] == ["ok", "\x1b[2J\udcff"]


def test_what_is_whole_is_shown_beside_what_is_damaged(run: Run) -> None:
    result = run("inspect", str(GOLDEN / HAND_MADE / "unknown_dtype_77" / "c"))
    assert result.code == 3
    assert "b       int64  [2]    16 B" in result.out
    assert "unknown dtype number 77" in result.err
    result = run("inspect", str(GOLDEN / HAND_MADE / "data_bit_flip" / "c"), "--stats")
    assert result.code == 3
    assert "b       int64     -7    5    -1    6" in result.out
    assert "checksum does not match" in result.err
    result = run("inspect", str(GOLDEN / HAND_MADE / "index_bad_magic" / "c"))
    assert (result.code, result.out) == (3, "")


def test_a_damaged_meta_file(run: Run, golden: Golden) -> None:
    path = Path(golden("07_keep_5_of_7"))
    (path / "model.ckpt-700.meta").write_bytes(b"\xff" * 9)
    result = run("inspect", str(path))
    assert result.code == 3
    assert "1 tensor" in result.out
    assert "model.ckpt-700.meta" in result.err


def test_a_directory_without_state(run: Run, tmp_path: Path) -> None:
    result = run("inspect", str(tmp_path))
    assert result.code == 1
    assert "ckptstore ls" in result.err


def test_a_url(run: Run) -> None:
    ck.save("memory://cli-inspect/run/m", {"w": np.arange(4)})
    assert "[0 1 2 3]" in run("inspect", "memory://cli-inspect/run/m", "--tensor", "w").out
