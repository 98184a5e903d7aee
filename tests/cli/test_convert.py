from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ckptstore as ck
from ckptstore.train.copies import convert_checkpoint
from tests.cli.conftest import Run
from tests.support.golden import GOLDEN, expected_tensors, same_bits

PAIRS = [  # the same tensors, as TensorFlow wrote them in both formats
    ("01a_basic_ref/model.ckpt", "09a_v1_basic/model.ckpt"),
    ("05a_partitioned_ref/part.ckpt", "09c_v1_partitioned/part.ckpt"),
    ("06b_sharded_devices/sh.ckpt-3", "09d_v1_sharded/sh.ckpt-3-?????-of-00004"),
]


@pytest.mark.parametrize(("v2", "v1"), PAIRS)
def test_both_ways_give_what_tensorflow_wrote(v2: str, v1: str, run: Run, tmp_path: Path) -> None:
    for source, to, other in [(v2, "v1", v1), (v1, "v2", v2)]:
        target = str(tmp_path / to)
        assert run("convert", str(GOLDEN / source), target, "--to", to).code == 0
        assert run("diff", target, str(GOLDEN / other)).code == 0
        meta = (GOLDEN / source.partition("-?")[0]).with_name(Path(source.partition("-?")[0]).name + ".meta")
        assert Path(target + ".meta").read_bytes() == meta.read_bytes()
    # And back again, to the byte where one file was one file.
    assert run("convert", str(tmp_path / "v1"), str(tmp_path / "again"), "--to", "v2").code == 0
    for end in (".index", ".data-00000-of-00001"):
        assert Path(f"{tmp_path}/again{end}").read_bytes() == Path(f"{tmp_path}/v2{end}").read_bytes()


def test_the_same_bytes_as_tensorflow(run: Run, tmp_path: Path) -> None:
    for (v2, v1), exact in zip(PAIRS[:2], [True, False], strict=True):
        assert run("convert", str(GOLDEN / v2), str(tmp_path / "v1"), "--to", "v1", "--overwrite").code == 0
        assert run("convert", str(GOLDEN / v1), str(tmp_path / "v2"), "--to", "v2", "--overwrite").code == 0
        # A V2 bundle does not tell that a variable's only piece was one, and a V1 file does.
        assert ((tmp_path / "v1").read_bytes() == (GOLDEN / v1).read_bytes()) is exact
        for end in (".index", ".data-00000-of-00001"):
            assert Path(f"{tmp_path}/v2{end}").read_bytes() == Path(f"{GOLDEN / v2}{end}").read_bytes()


def test_a_save_of_ours_becomes_the_golden_v1_file(run: Run, tmp_path: Path) -> None:
    for case, prefix in [("09a_v1_basic", "model.ckpt"), ("09d_v1_sharded", None)]:
        values = {t.name: t.value for t in expected_tensors() if t.case == case}
        ck.save(tmp_path / case, values)
        assert run("convert", str(tmp_path / case), str(tmp_path / f"{case}.v1"), "--to", "v1").code == 0
        if prefix is not None:
            assert (tmp_path / f"{case}.v1").read_bytes() == (GOLDEN / case / prefix).read_bytes()
        got = ck.restore(tmp_path / f"{case}.v1")
        assert got.keys() == values.keys()
        assert all(same_bits(got[name], value) for name, value in values.items())


def test_every_type_that_v1_holds(run: Run, tmp_path: Path) -> None:
    source = GOLDEN / "09b_v1_dtypes" / "all.v1"
    assert run("convert", str(source), str(tmp_path / "v2"), "--to", "v2").code == 0
    with ck.load_checkpoint(str(source)) as old, ck.load_checkpoint(str(tmp_path / "v2")) as new:
        assert new.get_variable_to_dtype_map() == old.get_variable_to_dtype_map()
        assert all(same_bits(np.asarray(new.get_tensor(n)), np.asarray(old.get_tensor(n))) for n in old)
    assert run("convert", str(tmp_path / "v2"), str(tmp_path / "v1"), "--to", "v1").code == 0
    assert (tmp_path / "v1").read_bytes() == source.read_bytes()


def test_types_that_v1_cannot_hold_are_listed_in_one_error(run: Run, tmp_path: Path) -> None:
    result = run("convert", str(GOLDEN / "02_dtypes" / "dtypes"), str(tmp_path / "x"), "--to", "v1")
    assert result.code == 1
    for name in ("bfloat16", "uint64", "int4", "float8_e5m2"):
        assert f"'{name}' ({name})" in result.err
    assert "cannot hold 15 of the tensors" in result.err
    assert run("convert", str(GOLDEN / "02b_variant" / "variant"), str(tmp_path / "x"), "--to", "v1").code == 1
    ck.save(tmp_path / "bytes", {"\udcff": np.ones(1)})
    assert "UTF-8" in run("convert", str(tmp_path / "bytes"), str(tmp_path / "x"), "--to", "v1").err
    assert not list(tmp_path.glob("x*"))


def test_object_based_checkpoints_keep_their_graph(run: Run, tmp_path: Path) -> None:
    source = str(GOLDEN / "10a_object_simple" / "obj" / "ckpt-1")
    assert run("convert", source, str(tmp_path / "v1"), "--to", "v1").code == 0
    assert run("convert", str(tmp_path / "v1"), str(tmp_path / "v2"), "--to", "v2").code == 0
    assert run("diff", source, str(tmp_path / "v1")).code == 0
    assert run("diff", source, str(tmp_path / "v2")).code == 0


def test_wrong_usage(run: Run, tmp_path: Path) -> None:
    v2, v1 = (str(GOLDEN / path) for path in PAIRS[0])
    assert run("convert", v2, str(tmp_path / "x")).code == 2
    assert run("convert", v2, str(tmp_path / "x"), "--to", "npz").code == 2
    assert "already" in run("convert", v2, str(tmp_path / "x"), "--to", "v2").err
    assert "already" in run("convert", v1, str(tmp_path / "x"), "--to", "v1").err
    assert run("convert", v2, str(tmp_path / "x-?????-of-00002"), "--to", "v1").code == 1
    assert run("convert", v1, v1, "--to", "v2", "--overwrite").code == 1
    assert not list(tmp_path.iterdir())
    with pytest.raises(ck.InvalidArgumentError):
        convert_checkpoint(v1, tmp_path / "x", "v3")  # type: ignore[arg-type]


def test_what_it_says_and_what_it_replaces(run: Run, tmp_path: Path) -> None:
    v2, v1 = (str(GOLDEN / path) for path in PAIRS[0])
    document = run("convert", v1, f"{tmp_path}/", "--to", "v2", "--json").json
    assert (document["path"], document["tensors"]) == (f"{tmp_path}/model.ckpt", 2)
    assert run("convert", v2, f"{tmp_path}/", "--to", "v1").code == 1
    assert run("convert", v2, f"{tmp_path}/", "--to", "v1", "--overwrite").code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.ckpt", "model.ckpt.meta"]


@pytest.mark.parametrize("case", ["data_bit_flip", "data_missing", "slices_overlap"])
def test_a_damaged_source_leaves_nothing(case: str, run: Run, tmp_path: Path) -> None:
    result = run("convert", str(GOLDEN / "20_hand_made" / case / "c"), str(tmp_path / "x"), "--to", "v1")
    assert result.code == 3
    assert not list(tmp_path.iterdir())
