from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ckptstore as ck
from tests.cli.conftest import Golden, Run
from tests.cli.test_main import HOSTILE
from tests.support.golden import GOLDEN, index_files

HAND_MADE = GOLDEN / "20_hand_made"
GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
INCOMPLETE = {"raw", "part-00000-of-00002x", "part-00001-of-00002x"}  # slices alone, on purpose
PREFIXES = [path for p in index_files() if (path := p.with_suffix("")).name not in INCOMPLETE]


def files(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def tensors(prefix: Path | str) -> dict[str, list[int]]:
    return dict(ck.list_variables(str(prefix)))


@pytest.mark.parametrize("prefix", PREFIXES, ids=lambda path: "/".join(path.parts[-2:]))
def test_what_tensorflow_wrote_is_copied_byte_for_byte(prefix: Path, run: Run, tmp_path: Path) -> None:
    result = run("cp", str(prefix), f"{tmp_path}/")
    assert (result.code, result.err) == (0, "")
    copied = files(tmp_path)
    assert f"{prefix.name}.index" in copied
    for name, data in copied.items():
        assert data == (prefix.parent / name).read_bytes(), name


def test_what_it_says(run: Run, tmp_path: Path) -> None:
    case = GOLDEN / "01a_basic_ref"
    target = tmp_path / "run" / "best"
    result = run("cp", str(case), str(target))  # a directory: its latest
    assert result.out == f"{case}/model.ckpt -> {target} (2 tensors, 3 files, 5.0 KiB)\n"
    assert not (target.parent / "checkpoint").exists()
    document = run("cp", str(case / "model.ckpt"), f"{tmp_path}/", "--json").json
    assert document == {
        "source": f"{case}/model.ckpt",
        "path": f"{tmp_path}/model.ckpt",
        "files": [f"{tmp_path}/model.ckpt.{end}" for end in ("data-00000-of-00001", "meta", "index")],
        "tensors": 2,
        "size": 5091,
    }
    assert run("cp", str(case), str(tmp_path / "third"), "--quiet").out == ""
    ck.update_checkpoint_state(target.parent, target)
    assert ck.latest_checkpoint(target.parent) == str(target)


@pytest.mark.parametrize(("case", "names"), [("09a_v1_basic", 2), ("09d_v1_sharded", 5), ("09c_v1_partitioned", 2)])
def test_v1(case: str, names: int, run: Run, tmp_path: Path) -> None:
    assert run("cp", str(GOLDEN / case), f"{tmp_path}/").code == 0
    copied = files(tmp_path)
    assert len(copied) == names
    for name, data in copied.items():
        assert data == (GOLDEN / case / name).read_bytes()


def test_v1_shards_under_another_name(run: Run, tmp_path: Path) -> None:
    source = str(GOLDEN / "09d_v1_sharded")
    pattern = run("cp", source, str(tmp_path / "x"), "--json").json["path"]
    assert pattern == f"{tmp_path}/x-?????-of-00004"
    assert run("diff", source, pattern).code == 0
    assert run("cp", source, str(tmp_path / "y-?????-of-00003")).code == 1
    assert run("cp", source, str(tmp_path / "x")).code == 1
    assert run("cp", source, str(tmp_path / "x"), "--overwrite").code == 0
    assert sorted(files(tmp_path)) == [*(f"x-{n:05d}-of-00004" for n in range(4)), "x.meta"]
    assert run("cp", source, str(tmp_path / "z"), "--include", "w*").code == run("verify", str(tmp_path / "z")).code


def test_nothing_is_replaced_unless_asked_for(run: Run, golden: Golden, tmp_path: Path) -> None:
    source = golden("01a_basic_ref") + "/model.ckpt"
    target = tmp_path / "t" / "m"
    ck.save(target, {"old": np.ones(9)}, max_shard_bytes=1)
    before = files(tmp_path / "t")
    result = run("cp", source, str(target))
    assert result.code == 1
    assert "--overwrite" in result.err
    assert files(tmp_path / "t") == before
    assert run("cp", source, str(target), "--overwrite").code == 0
    assert tensors(target) == tensors(source)
    assert len(files(tmp_path / "t")) == 3
    for path in ("t/half.data-00000-of-00002", "t/lone.meta"):  # what could be taken for a part of the copy
        (tmp_path / path).write_bytes(b"x")
        assert run("cp", source, str(tmp_path / path.partition(".")[0])).code == 1
    (tmp_path / "link").symlink_to(tmp_path / "case")
    for same in (source, f"{tmp_path}/case/", f"{tmp_path}/link/model.ckpt"):
        assert "onto itself" in run("cp", source, same, "--overwrite").err


def test_a_damaged_source_is_exit_code_3_and_leaves_nothing(run: Run, tmp_path: Path) -> None:
    for case in ("data_bit_flip", "data_missing", "data_truncated", "index_block_bit_flip", "size_field_wrong"):
        for extra in ([], ["--include", "*"]):
            result = run("cp", str(HAND_MADE / case / "c"), str(tmp_path / "new" / "c"), *extra)
            assert result.code == 3, (case, extra)
            assert result.err.count("\n") == 1
    assert files(tmp_path) == {}
    ck.save(tmp_path / "old", {"w": np.ones(3)})
    result = run("cp", str(HAND_MADE / "data_bit_flip" / "c"), str(tmp_path / "old"), "--overwrite")
    assert result.code == 3
    assert "nothing was replaced" in result.err
    assert tensors(tmp_path / "old") == {"w": [3]}


@pytest.mark.parametrize("position", [5, 100, 200, -60, -1])
def test_a_damaged_v1_file(position: int, run: Run, golden: Golden, tmp_path: Path) -> None:
    file = Path(golden("09a_v1_basic")) / "model.ckpt"
    data = bytearray(file.read_bytes())
    data[position] ^= 16
    file.write_bytes(data)
    for command in (["cp"], ["cp", "--rename", "dense/=d/"], ["convert", "--to", "v2"]):
        assert run(*command, str(file), str(tmp_path / "new" / "c")).code == 3
    assert not (tmp_path / "new").exists()


def test_a_meta_file_that_is_none(run: Run, golden: Golden, tmp_path: Path) -> None:
    path = Path(golden("01a_basic_ref"))
    (path / "model.ckpt.meta").write_bytes(b"\xff\xff")
    assert run("cp", str(path / "model.ckpt"), str(tmp_path / "new" / "c")).code == 3
    assert run("cp", str(path / "model.ckpt"), str(tmp_path / "new" / "c"), "--include", "*").code == 0


def test_sources_and_targets_that_are_none(run: Run, tmp_path: Path) -> None:
    source = str(GOLDEN / "01a_basic_ref" / "model.ckpt")
    assert run("cp", str(tmp_path / "nothing"), str(tmp_path / "x")).code == 1
    assert "prefix" in run("cp", source + ".index", str(tmp_path / "x")).err
    for name in ("checkpoint", "x.index", "x.data-00000-of-00001"):
        assert run("cp", source, str(tmp_path / name)).code == 1
    assert run("cp", source, str(tmp_path / "x"), "--rename", "a").code == 2
    assert run("cp", source, str(tmp_path / "x"), "--rename", "a=b", "--rename", "a=c").code == 2
    assert files(tmp_path) == {}


# -- some tensors, other names


def test_renamed_tensors_are_what_a_saver_would_write(run: Run, tmp_path: Path) -> None:
    for case in ("05a_partitioned_ref/part.ckpt", "03_strings/vocab.ckpt", "14_names/saver_names", "11_ema/ema.ckpt-4"):
        prefix = GOLDEN / case
        there, back = (tmp_path / name / "m" for name in ("there", "back"))
        assert run("cp", str(prefix), str(there), "--rename", "/=n/", "--overwrite").code == 0
        assert set(tensors(there)) == {f"n/{name}" for name in tensors(prefix)}
        assert run("cp", str(there), str(back), "--rename", "n/=/", "--overwrite").code == 0
        for end in (".index", ".data-00000-of-00001"):
            assert Path(f"{back}{end}").read_bytes() == Path(f"{prefix}{end}").read_bytes()
        assert not Path(f"{back}.meta").exists()
        assert run("verify", str(there)).code == 0


def test_every_type_can_be_renamed(run: Run, tmp_path: Path) -> None:
    for case in ("02_dtypes/dtypes", "02b_variant/variant", "03_strings/strings", "06b_sharded_devices/sh.ckpt-3"):
        there, back = (str(tmp_path / name / "m") for name in ("there", "back"))
        assert run("cp", str(GOLDEN / case), there, "--rename", "/=n/", "--overwrite").code == 0
        assert run("verify", there).code == 0
        assert run("cp", there, back, "--rename", "n/=/", "--overwrite").code == 0
        assert run("diff", str(GOLDEN / case), back).code == 0


def test_the_bytes_are_those_of_a_save(run: Run, tmp_path: Path) -> None:
    w, b = np.arange(6.0).reshape(2, 3), np.array([b"x", b"yy"], object)
    parts = ck.Partitioned.split(np.arange(20), 3)
    ck.save(tmp_path / "src", {"net/w": w, "net/b": b, "net/p": parts, "step": np.int64(3)}, max_shard_bytes=1)
    argv = ["--rename", "net/=model/", "--rename", "net/b=a", "--exclude", "st*"]
    assert run("cp", str(tmp_path / "src"), str(tmp_path / "got"), *argv).code == 0
    ck.save(tmp_path / "want", {"model/w": w, "a": b, "model/p": parts})
    for end in (".index", ".data-00000-of-00001"):
        assert Path(f"{tmp_path}/got{end}").read_bytes() == Path(f"{tmp_path}/want{end}").read_bytes()


def test_v1_tensors_are_renamed_in_v1(run: Run, tmp_path: Path) -> None:
    source = GOLDEN / "09c_v1_partitioned" / "part.ckpt"
    assert run("cp", str(source), str(tmp_path / "x"), "--rename", "emb=z", "--rename", "single=s").code == 0
    assert run("cp", str(tmp_path / "x"), str(tmp_path / "y"), "--rename", "z=emb", "--rename", "s=single").code == 0
    assert (tmp_path / "y").read_bytes() == source.read_bytes()
    assert sorted(files(tmp_path)) == ["x", "y"]


def test_renames_that_cannot_be_meant(run: Run, tmp_path: Path) -> None:
    source = str(GOLDEN / "01a_basic_ref" / "model.ckpt")
    for argv, words in [
        (["--rename", "dense/kernle=k"], "near: 'dense/kernel'"),
        (["--rename", "dense/bias=dense/kernel"], "Both"),
        (["--include", "nothing"], "No tensor"),
        (["--rename", "dense/=d"], "scope"),
    ]:
        result = run("cp", source, str(tmp_path / "x"), *argv)
        assert result.code == 1
        assert words in result.err
    assert files(tmp_path) == {}


def test_object_based_checkpoints(run: Run, tmp_path: Path) -> None:
    source = str(GOLDEN / "10a_object_simple" / "obj" / "ckpt-1")
    result = run("cp", source, str(tmp_path / "x"), "--exclude", "*counter*")
    assert result.code == 1
    assert f"--exclude {GRAPH}" in result.err
    assert run("cp", source, str(tmp_path / "x"), "--exclude", GRAPH).code == 0
    assert set(tensors(tmp_path / "x")) == set(tensors(source)) - {GRAPH}


@pytest.mark.parametrize("name", [n for n in HOSTILE if "\n" not in n] + ["\x00w\x00", "a=b", "-", "../../x", "*"])
def test_hostile_tensor_names(name: str, run: Run, tmp_path: Path) -> None:
    ck.save(tmp_path / "src", {name: np.ones(2), "ok": np.zeros(1)})
    assert run("cp", str(tmp_path / "src"), str(tmp_path / "all")).code == 0
    assert run("cp", str(tmp_path / "src"), str(tmp_path / "some"), "--rename", "/=s/").code == 0
    assert set(tensors(tmp_path / "some")) == {f"s/{name}", "s/ok"}
    assert run("cp", str(tmp_path / "src"), str(tmp_path / "other"), "--rename", f"ok={name}").code == 1
    assert run("cp", str(tmp_path / "src"), str(tmp_path / "other"), "--rename", f"ok={name}x").code == 0
    result = run("diff", str(tmp_path / "src"), str(tmp_path / "other"))
    assert result.code == 1
    assert (result.out + result.err).replace("\n", "").isprintable()


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "..", "."])
def test_hostile_targets(name: str, run: Run, tmp_path: Path) -> None:
    result = run("cp", str(GOLDEN / "01a_basic_ref"), f"{tmp_path}/{name}")
    assert result.code == 1
    assert result.err.rstrip("\n").isprintable()
    assert files(tmp_path) == {}


def test_other_stores(run: Run) -> None:
    source = str(GOLDEN / "06b_sharded_devices" / "sh.ckpt-3")
    assert run("cp", source, "memory://cli-cp/a/").code == 0
    assert run("cp", "memory://cli-cp/a/sh.ckpt-3", "memory://cli-cp/b/m").code == 0
    assert run("cp", "memory://cli-cp/a/sh.ckpt-3", "memory://cli-cp/b/m").code == 1
    assert run("cp", "memory://cli-cp/a/sh.ckpt-3", "memory://cli-cp/b/m", "--overwrite").code == 0
    assert run("diff", source, "memory://cli-cp/b/m").code == 0


def test_a_checkpoint_in_a_directory_of_its_own_and_a_managed_one(run: Run, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    with ck.CheckpointManager(str(run_dir)) as manager:
        manager.save(1, {"w": np.ones(3)})
    ck.save(tmp_path / "elsewhere" / "ckpt-2", {"w": np.ones(3)})
    (run_dir / "ckpt-2.index").write_bytes(b"somebody else's")
    with ck.CheckpointManager(str(run_dir)) as manager:
        manager.save(2, {"w": np.full(3, 2.0)})
    latest = ck.latest_checkpoint(run_dir)
    assert latest is not None
    assert "/r-" in latest
    assert run("cp", str(run_dir), f"{tmp_path}/out/").code == 0
    np.testing.assert_array_equal(ck.load_variable(tmp_path / "out" / "ckpt-2", "w"), np.full(3, 2.0))
    assert not list((run_dir / ".ckptstore" / "pins").iterdir())
