"""Verification: every damage once, with file, tensor and offset, and everything else read all the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import ckptstore as ck
from ckptstore.checkpoint import verification
from ckptstore.checkpoint.verification import Damage
from tests.support.golden import GOLDEN, HAND_MADE


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    items = {f"t{i}": np.full(100, i, np.int64) for i in range(6)} | {"s": np.array([b"abc", b"", b"x" * 300])}
    with ck.CheckpointManager(tmp_path, max_shard_bytes=1700) as manager:
        return Path(manager.save(1, items))


def test_a_whole_checkpoint(prefix: Path) -> None:
    report = ck.verify(prefix)
    assert report.ok
    assert (report.checkpoints, report.tensors, report.unreferenced) == (1, 7, 0)
    assert report.nbytes == sum(p.stat().st_size for p in prefix.parent.glob("*.data-*"))


def test_a_missing_file_is_one_damage_and_the_others_are_read(prefix: Path) -> None:
    shards = sorted(prefix.parent.glob("*.data-*"))
    shards[1].unlink()
    report = ck.verify(prefix)
    assert report.damages == [Damage(str(shards[1]), None, None, None, "it is not there")]
    assert 0 < report.tensors < 7


def test_each_damaged_tensor_is_named(prefix: Path) -> None:
    shard = sorted(prefix.parent.glob("*.data-*"))[0]
    data = bytearray(shard.read_bytes())
    offset = 900  # in the second tensor of 800 bytes, after the strings'
    data[offset] ^= 0x40
    shard.write_bytes(data)
    (damage,) = ck.verify(prefix).damages
    assert damage.file == str(shard)
    assert damage.tensor is not None
    assert damage.offset is not None
    assert damage.size is not None
    assert damage.offset <= offset < damage.offset + damage.size
    assert damage.problem.startswith("checksum does not match")
    with pytest.raises(ck.DataLossError) as caught:
        ck.restore(prefix)
    assert (caught.value.path, caught.value.name, caught.value.offset) == (damage.file, damage.tensor, damage.offset)


def test_one_bad_entry_does_not_hide_the_others() -> None:
    report = ck.verify(GOLDEN / HAND_MADE / "unknown_dtype_77" / "c")
    assert [d.tensor for d in report.damages] == ["a"]
    assert report.tensors == 1


def test_a_damaged_meta_file(prefix: Path) -> None:
    meta = prefix.parent / "ckpt-1.meta"
    meta.write_bytes(meta.read_bytes()[:-3])
    (damage,) = ck.verify(prefix).damages
    assert damage.file == str(meta)


def test_large_tensors_are_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "_PIECE", 1000)
    ck.save(tmp_path / "m", {"big": np.arange(5000, dtype=np.uint8), "small": 1})
    seen: list[tuple[int, int]] = []
    assert ck.verify(tmp_path / "m", progress=lambda done, total: seen.append((done, total))).ok
    assert seen == [(1000, 5008), (2000, 5008), (3000, 5008), (4000, 5008), (5000, 5008), (5008, 5008)]
    data = tmp_path / "m.data-00000-of-00001"
    damaged = bytearray(data.read_bytes())
    damaged[4321] ^= 1
    data.write_bytes(damaged)
    (damage,) = ck.verify(tmp_path / "m").damages
    assert (damage.tensor, damage.offset, damage.size) == ("big", 0, 5000)


def test_pieces_that_do_not_cover_their_tensor() -> None:
    (damage,) = ck.verify(GOLDEN / "05c_slices_raw" / "raw").damages
    assert damage.tensor == "hole"
    assert "cover 12 of 24" in damage.problem


def test_v1_files_and_their_progress() -> None:
    seen: list[tuple[int, int]] = []
    report = ck.verify(GOLDEN / "09b_v1_dtypes" / "all.v1", progress=lambda done, total: seen.append((done, total)))
    assert report.ok
    assert seen[-1][0] == seen[-1][1] == report.nbytes


def test_a_directory_with_a_listed_checkpoint_that_is_gone(tmp_path: Path) -> None:
    with ck.CheckpointManager(tmp_path) as manager:
        for step in (1, 2):
            manager.save(step, {"v": step})
    ck.remove_checkpoint(tmp_path / "ckpt-1")
    report = ck.verify(tmp_path)
    assert report.checkpoints == 2
    assert [(d.file, d.problem) for d in report.damages] == [(str(tmp_path / "ckpt-1"), "it is not there")]


def test_bytes_of_no_tensor_are_counted() -> None:
    assert ck.verify(GOLDEN / HAND_MADE / "gap_between_tensors" / "c").unreferenced == 37
