"""restore(read_only=True) and restore(verify="lazy"): no copy on a disk, and never an unchecked byte."""

from __future__ import annotations

import mmap
import shutil

import numpy as np
import pytest

import ckptstore as ck
from ckptstore.bundle import LazyArray
from ckptstore.errors import DataLossError, InvalidArgumentError

ITEMS = {
    "a/big": np.arange(100_000, dtype=np.float32).reshape(100, 1000),
    "b/flag": np.array([True]),
    "c/odd": np.arange(7, dtype=np.float64),  # one byte behind a multiple of eight
    "d/name": np.array([b"x", b"yy"], dtype=object),
    "e/none": np.zeros((0, 3), np.int32),
    "f/small": np.arange(5, dtype=np.int8),
}


@pytest.fixture(params=["disk", "memory"])
def path(request, tmp_path):
    return str(tmp_path / "run") if request.param == "disk" else f"memory://{tmp_path.name}-read-only"


@pytest.fixture
def saved(path):
    with ck.CheckpointManager(path) as manager:
        manager.save(1, ITEMS)
        yield manager


def same(found):
    assert set(found) == set(ITEMS)
    for name, array in ITEMS.items():
        np.testing.assert_array_equal(np.asarray(found[name]), array)
        assert np.asarray(found[name]).dtype == array.dtype


@pytest.mark.parametrize("verify", [True, False, "lazy"])
def test_every_value_is_there_and_read_only(saved, verify):
    found = saved.restore(read_only=True, verify=verify)
    same(found)
    for value in found.values():
        array = np.asarray(value)
        assert not array.flags.writeable
        assert array.flags.aligned


def test_without_it_arrays_can_be_written_to(saved):
    assert all(array.flags.writeable for array in saved.restore().values())


def flip(tmp_path, position):
    (data,) = (tmp_path / "run").glob("*.data-*")
    content = bytearray(data.read_bytes())
    content[position] ^= 1
    data.write_bytes(bytes(content))  # in place: the same inode, and the same version only where nobody looks


def test_the_views_are_of_the_file_and_outlive_it(tmp_path):
    ck.save(tmp_path / "m", ITEMS)
    found = ck.restore(tmp_path / "m", read_only=True)
    first = found["a/big"]
    while isinstance(first.base, np.ndarray):
        first = first.base
    assert isinstance(first.base, mmap.mmap)
    for file in tmp_path.iterdir():
        file.unlink()
    same(found)


@pytest.mark.parametrize("dtype", [None, np.float64])
def test_a_copy_of_a_lazy_array_is_the_callers_own(path, dtype):
    ck.save(path + "/m", ITEMS)
    lazy = ck.restore(path + "/m", verify="lazy")["a/big"]
    first = np.array(lazy, dtype)
    second = np.array(lazy, dtype, copy=True)
    first += 1
    assert not np.shares_memory(first, second)
    assert np.array_equal(second, ITEMS["a/big"])
    assert np.array_equal(lazy, ITEMS["a/big"])


def test_lazy_arrays_outlive_the_files_too(tmp_path):
    ck.save(tmp_path / "m", ITEMS)
    found = ck.restore(tmp_path / "m", verify="lazy")
    shutil.rmtree(tmp_path)
    assert isinstance(found["a/big"], LazyArray)
    assert isinstance(found["c/odd"], LazyArray)
    same(found)


def test_damage_is_found_at_once_or_at_the_first_touch(tmp_path):
    ck.save(tmp_path / "run" / "m", ITEMS)
    flip(tmp_path, 5000)
    with pytest.raises(DataLossError, match="a/big"):
        ck.restore(tmp_path / "run" / "m", read_only=True)
    found = ck.restore(tmp_path / "run" / "m", verify="lazy")
    np.testing.assert_array_equal(np.asarray(found["c/odd"]), ITEMS["c/odd"])
    for _ in range(2):
        with pytest.raises(DataLossError, match="a/big"):
            np.asarray(found["a/big"])
        with pytest.raises(DataLossError, match="a/big"):
            found["a/big"][99, 5:7]  # far from the damage; but a part is given out of what was checked as a whole


def test_a_tensor_out_of_line_is_checked_when_it_is_touched(tmp_path):
    ck.save(tmp_path / "run" / "m", ITEMS)
    flip(tmp_path, 400_000 + 1 + 9)
    found = ck.restore(tmp_path / "run" / "m", verify="lazy")
    same_big = np.asarray(found["a/big"])
    np.testing.assert_array_equal(same_big, ITEMS["a/big"])
    with pytest.raises(DataLossError, match="c/odd"):
        np.asarray(found["c/odd"])


def test_one_array_is_handed_out_for_all_touches(tmp_path):
    ck.save(tmp_path / "m", ITEMS)
    found = ck.restore(tmp_path / "m", verify="lazy")
    assert np.shares_memory(np.asarray(found["a/big"]), found["a/big"][3])


def test_arrays_and_names_are_filled_from_lazy_ones(tmp_path):
    ck.save(tmp_path / "m", ITEMS)
    target = np.zeros((100, 1000), np.float32)
    found = ck.restore(tmp_path / "m", assignment_map={"a/big": target, "c/odd": "w"}, verify="lazy")
    np.testing.assert_array_equal(target, ITEMS["a/big"])
    assert found["a/big"] is target
    np.testing.assert_array_equal(np.asarray(found["w"]), ITEMS["c/odd"])


def test_many_small_tensors_are_views_of_the_file(tmp_path):
    items = {f"t{i:04d}": np.full((3, 2), i, np.float32) for i in range(500)}
    ck.save(tmp_path / "m", items)
    found = ck.restore(tmp_path / "m", read_only=True)
    for name, array in items.items():
        np.testing.assert_array_equal(found[name], array)
        assert not found[name].flags.writeable


def test_v1_checkpoints_and_pieces_are_copies_that_are_read_only(tmp_path):
    ck.save(tmp_path / "m", {"p": ck.Partitioned.split(np.arange(10.0), 3)})
    found = ck.restore(tmp_path / "m", read_only=True)
    np.testing.assert_array_equal(found["p"], np.arange(10.0))
    assert not found["p"].flags.writeable
    lazy = ck.restore(tmp_path / "m", verify="lazy")
    np.testing.assert_array_equal(lazy["p"], np.arange(10.0))
    assert not lazy["p"].flags.writeable


@pytest.mark.parametrize("value", ["Lazy", 1, None, "yes"])
def test_nonsense_is_refused(tmp_path, value):
    ck.save(tmp_path / "m", ITEMS)
    if value is None:
        value = 0
    with pytest.raises(InvalidArgumentError, match="verify"):
        ck.restore(tmp_path / "m", verify=value)
