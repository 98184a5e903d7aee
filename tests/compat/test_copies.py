"""Copies under other names, and in the other format, are what TensorFlow itself would have written, and reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckptstore.train.copies import convert_checkpoint, copy_checkpoint
from tests.compat.support import QUIET, VARIABLE_KINDS, assert_same, partition_initializer, rng, session, v1

tf = pytest.importorskip("tensorflow")
pytestmark = QUIET

FULL = rng(1).normal(size=(10, 3)).astype(np.float32)
RENAME = {"scope/": "other/", "scope/b": "bias"}
VERSIONS = [pytest.param(1, id="v1"), pytest.param(2, id="v2")]


def make(scope: str, bias: str, use_resource: bool) -> list[Any]:
    with v1.variable_scope(scope, use_resource=use_resource):
        parts = v1.get_variable(
            "emb", FULL.shape, initializer=partition_initializer(FULL), partitioner=v1.fixed_size_partitioner(3)
        )
    plain = [
        v1.get_variable(bias, initializer=np.float32([1, 2]), use_resource=use_resource),
        v1.get_variable("step", initializer=np.int64(7), use_resource=use_resource),
    ]
    return [*parts, *plain]


def saved(prefix: Path, scope: str, bias: str, *, version: int, use_resource: bool) -> None:
    with session() as sess:
        variables = make(scope, bias, use_resource)
        sess.run(v1.global_variables_initializer())
        v1.train.Saver(variables, write_version=version).save(sess, str(prefix), write_state=False)


def same_files(got: Path, want: Path) -> None:
    for end in ("", ".index", ".data-00000-of-00001"):
        assert Path(f"{got}{end}").exists() == Path(f"{want}{end}").exists(), end
        if Path(f"{want}{end}").exists():
            assert Path(f"{got}{end}").read_bytes() == Path(f"{want}{end}").read_bytes(), end


@pytest.mark.parametrize("use_resource", VARIABLE_KINDS)
@pytest.mark.parametrize("version", VERSIONS)
def test_renamed_as_a_saver_would_save_them(version: int, use_resource: bool, tmp_path: Path) -> None:
    saved(tmp_path / "old", "scope", "scope/b", version=version, use_resource=use_resource)
    saved(tmp_path / "new", "other", "bias", version=version, use_resource=use_resource)
    copy_checkpoint(tmp_path / "old", tmp_path / "got", rename=RENAME)
    same_files(tmp_path / "got", tmp_path / "new")


@pytest.mark.parametrize("use_resource", VARIABLE_KINDS)
@pytest.mark.parametrize("version", VERSIONS)
def test_converted_as_a_saver_would_save_them(version: int, use_resource: bool, tmp_path: Path) -> None:
    for number in (1, 2):
        saved(tmp_path / f"v{number}", "scope", "b", version=number, use_resource=use_resource)
    convert_checkpoint(tmp_path / f"v{3 - version}", tmp_path / "got", "v1" if version == 1 else "v2")
    same_files(tmp_path / "got", tmp_path / f"v{version}")
    with session() as sess:
        variables = make("scope", "b", use_resource)
        v1.train.Saver(variables).restore(sess, str(tmp_path / "got"))
        assert_same(np.concatenate(sess.run(variables[:-2])), FULL)
    reader = tf.train.load_checkpoint(str(tmp_path / "got"))
    if version == 2:  # its reader puts no slices of a V1 file together
        assert_same(reader.get_tensor("scope/emb"), FULL)
    assert_same(reader.get_tensor("step"), np.int64(7))
