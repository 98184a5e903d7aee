from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import ckptstore as ck
from ckptstore.testing import ManualClock
from tests.cli.conftest import WHEN, Golden, Run

KEEP_5 = """\
CHECKPOINT      STEP  SAVED                   SIZE  FILES  SHARDS  STATUS
model.ckpt-300   300  2023-11-14 22:13:20  3.5 KiB      3       1  listed
model.ckpt-400   400  2023-11-14 22:13:20  3.7 KiB      3       1  listed
model.ckpt-500   500  2023-11-14 22:13:20  3.9 KiB      3       1  listed
model.ckpt-600   600  2023-11-14 22:13:20  4.1 KiB      3       1  listed
model.ckpt-700   700  2023-11-14 22:13:20  4.4 KiB      3       1  latest

5 checkpoints, 19.6 KiB in {path}
"""


def test_a_directory_that_tensorflow_wrote(run: Run, golden: Golden) -> None:
    path = golden("07_keep_5_of_7")
    result = run("ls", path)
    assert (result.code, result.out, result.err) == (0, KEEP_5.format(path=path), "")


def test_v1_checkpoints_named_by_the_state(run: Run, golden: Golden) -> None:
    path = golden("09d_v1_sharded")
    assert run("ls", path).out.splitlines()[:2] == [
        "CHECKPOINT                STEP  SAVED                    SIZE  FILES  SHARDS  FORMAT  STATUS",
        "sh.ckpt-3-?????-of-00004     3  2023-11-14 22:13:20  20.1 KiB      5       4  V1      latest",
    ]
    Path(path, "sh.ckpt-3-00002-of-00004").unlink()
    (item,) = run("ls", "--json", path).json["checkpoints"]
    assert (item["status"], item["format"], item["shards"], item["shards_expected"]) == ("incomplete", "v1", 3, 4)


def test_every_status(run: Run, golden: Golden) -> None:
    path = Path(golden("07_keep_5_of_7"))
    (path / "model.ckpt-300.data-00000-of-00001").unlink()
    for file in path.glob("model.ckpt-700.*"):
        file.unlink()
    for suffix in (".index", ".data-00000-of-00001"):
        shutil.copy2(path / f"model.ckpt-400{suffix}", path / f"model.ckpt-100{suffix}")
    shutil.copy2(path / "model.ckpt-400.data-00000-of-00001", path / "model.ckpt-200.data-00001-of-00003")
    rows = [line.split() for line in run("ls", str(path)).out.splitlines()[1:8]]
    assert [(row[1], " ".join(row[7:])) for row in rows[:6]] == [
        ("100", "1 unlisted"),
        ("200", "1/3 incomplete"),
        ("300", "0 incomplete, listed"),
        ("400", "1 listed"),
        ("500", "1 listed"),
        ("600", "1 listed"),
    ]
    assert rows[6] == ["model.ckpt-700", "700", "-", "-", "-", "-", "missing,", "latest"]
    document = run("ls", "--json", str(path)).json
    assert [(c["step"], c["status"], c["listed"], c["latest"]) for c in document["checkpoints"]] == [
        (100, "unlisted", False, False),
        (200, "incomplete", False, False),
        (300, "incomplete", True, False),
        (400, "listed", True, False),
        (500, "listed", True, False),
        (600, "listed", True, False),
        (700, "missing", True, True),
    ]
    assert document["latest"] == "model.ckpt-700"


def test_what_the_run_saved(run: Run, tmp_path: Path) -> None:
    with ck.CheckpointManager(tmp_path, clock=ManualClock(WHEN)) as manager:
        manager.save(1, {"w": np.zeros(2)}, metrics={"loss": 0.5, "acc": 0.25})
        manager.save(2, {"w": np.zeros(2)}, metrics={"loss": float("nan")})
        manager.save(2, {"w": np.zeros(2)}, overwrite=True)
    ck.save(tmp_path / "other-5", {"w": np.zeros(2)})
    document = run("ls", "--metrics", "--json", str(tmp_path)).json
    assert [set(c) for c in document["checkpoints"]] == [
        {
            "checkpoint", "path", "step", "status", "listed", "latest", "pinned", "complete", "format", "time",
            "time_source", "size", "files", "shards", "shards_expected", "metrics",
        }
    ] * 3  # fmt: skip
    first, second, third = document["checkpoints"]
    assert first["metrics"] == {"loss": 0.5, "acc": 0.25}
    assert (first["time"], first["time_source"], first["path"]) == (WHEN, "state", str(tmp_path / "ckpt-1"))
    assert second["checkpoint"].startswith("r-")
    assert second["latest"]
    assert (third["checkpoint"], third["metrics"], third["time_source"]) == ("other-5", {}, "store")
    assert "loss=0.5 acc=0.25" in run("ls", "--metrics", str(tmp_path)).out
    assert "metrics" not in run("ls", "--json", str(tmp_path)).json["checkpoints"][0]


@pytest.mark.parametrize("state", [None, b"\xff\xfe nonsense", b""])
def test_a_bad_state_file_is_told_and_the_rest_shown(state: bytes | None, run: Run, golden: Golden) -> None:
    path = golden("07_keep_5_of_7")
    if state is None:
        Path(path, "checkpoint").unlink()
    else:
        Path(path, "checkpoint").write_bytes(state)
    result = run("ls", path)
    assert result.code == 1
    assert result.out.count("unlisted") == 5
    assert result.err.startswith("ckptstore: error: ")
    assert result.err.count("\n") == 1
    document = run("ls", "--json", path).json
    assert (document["state_file"], document["latest"], len(document["problems"])) == (False, None, 1)


def test_a_state_file_that_leads_elsewhere(run: Run, golden: Golden) -> None:
    path = Path(golden("07_keep_5_of_7"))
    with (path / "checkpoint").open("a") as file:
        file.write('all_model_checkpoint_paths: "../../etc/passwd"\n')
    result = run("ls", str(path))
    assert result.code == 1
    assert "'../../etc/passwd'" in result.err
    assert result.out.count("unlisted") == 5  # none of what it says is believed


def test_damaged_metrics(run: Run, golden: Golden) -> None:
    path = Path(golden("07_keep_5_of_7"))
    (path / "model.ckpt-500.meta").write_bytes(b"\xff" * 20)
    result = run("ls", "--metrics", str(path))
    assert result.code == 1
    assert "model.ckpt-500.meta" in result.err
    assert result.out.splitlines()[3].endswith("?")


def test_empty_and_missing(run: Run, tmp_path: Path, golden: Golden) -> None:
    (tmp_path / "empty").mkdir()
    result = run("ls", str(tmp_path / "empty"))
    assert (result.code, result.out) == (0, "")
    assert "holds no checkpoints" in result.err
    assert run("ls", "--json", str(tmp_path / "empty")).json["checkpoints"] == []
    assert run("ls", str(tmp_path / "typo")).code == 1
    result = run("ls", golden("07_keep_5_of_7") + "/model.ckpt-300")
    assert result.code == 1
    assert "ckptstore inspect" in result.err


def test_a_url(run: Run) -> None:
    ck.save("memory://cli-ls/run/ckpt-7", {"w": np.zeros(2)})
    (item,) = run("ls", "memory://cli-ls/run", "--json").json["checkpoints"]
    assert (item["checkpoint"], item["step"], item["status"]) == ("ckpt-7", 7, "unlisted")
