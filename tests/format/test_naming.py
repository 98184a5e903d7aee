"""File names of checkpoints, spelled and parsed."""

from __future__ import annotations

import pytest

from ckptstore.format import naming
from ckptstore.format.naming import CheckpointFile


def test_the_files_of_a_prefix_are_named_as_tensorflow_names_them():
    assert naming.index_name("dir/ckpt-7") == "dir/ckpt-7.index"
    assert naming.data_name("ckpt-7", 0, 1) == "ckpt-7.data-00000-of-00001"
    assert naming.data_name("ckpt-7", 123456, 1234567) == "ckpt-7.data-123456-of-1234567"
    assert naming.meta_name("ckpt-7") == "ckpt-7.meta"
    assert naming.meta_name("ckpt-7", "mg") == "ckpt-7.mg"
    assert naming.v1_shard_name("m", 1, 4) == "m-00001-of-00004"
    assert naming.v1_shard_pattern("m-3", 4) == "m-3-?????-of-00004"
    assert naming.step_name("ckpt", 0) == "ckpt-0"


@pytest.mark.parametrize("path", ["m-3-?????-of-00004", "m-3-00001-of-00004"])
def test_the_meta_file_of_a_sharded_v1_path_has_no_shard_in_its_name(path):
    assert naming.meta_name(path) == "m-3.meta"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("ckpt-1.index", CheckpointFile("ckpt-1", "index")),
        ("a/b/ckpt-1.meta", CheckpointFile("a/b/ckpt-1", "meta")),
        ("ckpt-1.data-00001-of-00002", CheckpointFile("ckpt-1", "data", 1, 2)),
        ("m.data-123456-of-1234567", CheckpointFile("m", "data", 123456, 1234567)),
        ("ckpt-1.index.index", CheckpointFile("ckpt-1.index", "index")),
        ("new\nline.index", CheckpointFile("new\nline", "index")),
        ("x.data-00000-of-00001.data-00000-of-00001", CheckpointFile("x.data-00000-of-00001", "data", 0, 1)),
    ],
)
def test_a_file_name_tells_prefix_kind_and_shard(name, file):
    assert naming.parse_name(name) == file


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".index",
        ".meta",
        "checkpoint",
        "ckpt-1",
        "ckpt-1.indexx",
        "ckpt-1.INDEX",
        "ckpt-1.data-00000-of-00000",
        "ckpt-1.data-00001-of-00001",
        "ckpt-1.data-0000-of-00001",
        "ckpt-1.data-000000-of-00001",
        "ckpt-1.data-00000-of-000001",
        "ckpt-1.data-00000-of-00001.tempstate123",
        "ckpt-1.data-00000-of-00001 ",
        "ckpt-1.data-٠٠٠٠٠-of-٠٠٠٠١",
        ".data-00000-of-00001",
        "ckpt-1.data-99999999999-of-99999999999",
    ],
)
def test_a_name_that_no_writer_spells_so_belongs_to_no_checkpoint(name):
    assert naming.parse_name(name) is None


def test_a_meta_file_may_have_another_suffix():
    assert naming.parse_name("m.mg", "mg") == CheckpointFile("m", "meta")
    assert naming.parse_name("m.meta", "mg") is None


@pytest.mark.parametrize(
    ("prefix", "step"),
    [("ckpt-0", 0), ("ckpt-1200", 1200), ("r-7f31/ckpt-12", 12), ("a-1/b-2-3", 3), ("--1", 1), ("m--1", 1)],
)
def test_the_step_stands_behind_the_last_dash(prefix, step):
    assert naming.parse_step(prefix) == step


@pytest.mark.parametrize(
    "prefix",
    ["ckpt", "ckpt-", "-1", "ckpt-01", "ckpt-1a", "ckpt-1/x", "ckpt-+1", "ckpt-1_0", "ckpt-٣", "", "x-1.5", "ckpt-1\n"],
)
def test_a_name_without_a_plain_step_has_none(prefix):
    assert naming.parse_step(prefix) is None


def test_only_the_base_that_is_asked_for_counts():
    assert naming.parse_step("ckpt-1", "ckpt") == 1
    assert naming.parse_step("r-1/ckpt-1", "ckpt") == 1
    assert naming.parse_step("best-ckpt-1", "ckpt") is None
    assert naming.parse_step("ckpt-1-2", "ckpt") is None


def test_a_name_of_very_many_digits_is_no_error():
    assert naming.parse_step("ckpt-" + "9" * 1000) == int("9" * 1000)
    assert naming.parse_name("x.data-" + "9" * 5000 + "-of-1") is None
    assert naming.expand_v1_pattern("x-?????-of-" + "9" * 5000) is None


def test_a_v1_pattern_stands_for_its_shards_and_any_other_name_for_itself():
    assert naming.expand_v1_pattern("m-3-?????-of-00002") == ["m-3-00000-of-00002", "m-3-00001-of-00002"]
    for literal in (
        "m",
        "m-00000-of-00002",
        "m-????-of-00002",
        "m-*-of-00002",
        "m-?????-of-2",
        "m-?????-of-1234567890",
    ):
        assert naming.expand_v1_pattern(literal) is None
