from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ckptstore as ck
from tests.cli.conftest import Golden, Run


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with ck.CheckpointManager(tmp_path / "run") as manager:
        for step in (1, 2, 3):
            manager.save(step, {"w": np.zeros(2)})
    return tmp_path / "run"


def steps(path: Path) -> list[int]:
    with ck.CheckpointManager(path) as manager:
        return manager.all_steps()


def test_by_name_from_the_list_and_from_the_store(run: Run, path: Path) -> None:
    run("pin", f"{path}/ckpt-1")
    result = run("rm", f"{path}/ckpt-1", f"{path}/ckpt-2")
    assert result.code == 0
    assert [line.partition(",")[0] for line in result.out.splitlines()] == [
        f"{path}/ckpt-1 is removed",
        "3 files deleted",
        f"{path}/ckpt-2 is removed",
        "3 files deleted",
    ]
    assert steps(path) == [3]
    assert not list(path.glob("ckpt-[12].*"))


def test_json(run: Run, path: Path) -> None:
    (item,) = run("rm", "--json", f"{path}/ckpt-1").json["removed"]
    assert item["checkpoint"] == f"{path}/ckpt-1"
    assert set(item["deleted_files"]) == {"ckpt-1.data-00000-of-00001", "ckpt-1.index", "ckpt-1.meta"}
    assert (item["waiting"], item["being_read"], item["blocked"]) == ([], [], {})


def test_the_files_may_be_left_for_a_while(run: Run, path: Path) -> None:
    result = run("rm", f"{path}/ckpt-1", "--grace", "2h")
    assert result.out.splitlines()[-1] == "1 checkpoint in the trash, deleted by a prune once 2 h have passed"
    assert steps(path) == [2, 3]
    assert (path / "ckpt-1.index").exists()


def test_the_last_one_stays(run: Run, path: Path) -> None:
    assert run("rm", f"{path}/ckpt-1", f"{path}/ckpt-3").code == 0
    result = run("rm", f"{path}/ckpt-2")
    assert (result.code, result.out) == (1, "")
    assert "would list no checkpoint any more" in result.err
    assert steps(path) == [2]


@pytest.mark.parametrize("name", ["ckpt-9", "ckpt-1.index", "ckpt-*", "ckpt-?", "checkpoint", "ckpt"])
def test_what_is_not_listed(run: Run, path: Path, name: str) -> None:
    ck.save(path / "ckpt-9", {"w": np.zeros(2)})
    before = sorted(p.name for p in path.iterdir())
    result = run("rm", f"{path}/{name}")
    assert (result.code, result.out) == (1, "")
    assert "neither listed nor kept" in result.err
    assert sorted(p.name for p in path.iterdir()) == before


def test_one_that_is_not_there_does_not_undo_those_before(run: Run, path: Path) -> None:
    result = run("rm", f"{path}/ckpt-1", f"{path}/ckpt-9", f"{path}/ckpt-2")
    assert result.code == 1
    assert "ckpt-1 is removed" in result.out
    assert steps(path) == [2, 3]


def test_what_is_being_read_goes_with_the_next_prune(run: Run, path: Path) -> None:
    with ck.CheckpointManager(path) as manager, manager.reader(1) as reader:
        result = run("rm", f"{path}/ckpt-1")
        assert result.code == 0
        assert "ckpt-1 is being read" in result.out
        assert reader.restore()["w"].tolist() == [0, 0]
    assert "3 files deleted" in run("prune", str(path), "--keep-last", "9", "--grace", "0").out


def test_wrong_usage(run: Run, path: Path) -> None:
    assert run("rm").code == 2
    assert run("rm", f"{path}/ckpt-1", "--grace", "soon").code == 2
    assert steps(path) == [1, 2, 3]


def test_beside_tensorflow(run: Run, golden: Golden) -> None:
    path = Path(golden("07_keep_5_of_7"))
    assert run("rm", f"{path}/model.ckpt-400").code == 0
    assert not list(path.glob("model.ckpt-400.*"))
    assert len(list(path.glob("model.ckpt-*.index"))) == 4
