"""Whole checkpoints from and to a bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptstore as ck
from ckptstore.cli import main
from ckptstore.train.copies import convert_checkpoint, copy_checkpoint
from ckptstore.train.differences import diff_checkpoints
from tests.storage.conftest import BUCKET
from tests.storage.s3_server import S3Server
from tests.support.golden import GOLDEN

URL = f"s3://{BUCKET}/run"


def keys(boto: Any) -> list[str]:
    return [item["Key"] for item in boto.list_objects_v2(Bucket=BUCKET).get("Contents", [])]


def test_there_and_back(boto: Any, s3_options: dict[str, Any], tmp_path: Path) -> None:
    case = GOLDEN / "05a_partitioned_ref"
    copied = copy_checkpoint(case, f"{URL}/", storage_options=s3_options)
    assert copied.path == f"{URL}/part.ckpt"
    names = ["part.ckpt.data-00000-of-00001", "part.ckpt.index", "part.ckpt.meta"]
    assert keys(boto) == [f"run/{name}" for name in names]
    with pytest.raises(ck.CheckpointExistsError):
        copy_checkpoint(case, f"{URL}/part.ckpt", storage_options=s3_options)
    copy_checkpoint(f"{URL}/part.ckpt", f"{tmp_path}/", storage_options=s3_options)
    for name in names:
        assert (tmp_path / name).read_bytes() == (case / name).read_bytes()
    convert_checkpoint(f"{URL}/part.ckpt", f"{URL}/old", "v1", storage_options=s3_options)
    copy_checkpoint(f"{URL}/old", f"{URL}/new", rename={"emb": "e"}, storage_options=s3_options)
    assert {item.name for item in diff_checkpoints(case, f"{URL}/new", storage_options=s3_options)} == {"emb", "e"}


def test_a_large_file_goes_in_parts_and_a_damaged_one_leaves_nothing(
    s3_server: S3Server, boto: Any, s3_options: dict[str, Any], tmp_path: Path
) -> None:
    prefix = str(tmp_path / "m")
    ck.save(prefix, {"big": np.arange(5 << 20, dtype=np.float64), "a": np.ones(3)})
    copy_checkpoint(prefix, f"{URL}/m", storage_options=s3_options)
    assert [call for call in s3_server.requests if "partNumber" in call.query]
    assert not diff_checkpoints(prefix, f"{URL}/m", storage_options=s3_options)
    copy_checkpoint(f"{URL}/m", f"{URL}/n", rename={"big": "0"}, overwrite=True, storage_options=s3_options)
    assert ck.list_variables(f"{URL}/n", storage_options=s3_options) == [("0", [5 << 20]), ("a", [3])]
    before = keys(boto)
    data = tmp_path / "m.data-00000-of-00001"
    damaged = bytearray(data.read_bytes())
    damaged[-1] ^= 1
    data.write_bytes(damaged)
    with pytest.raises(ck.DataLossError):
        copy_checkpoint(prefix, f"{URL}/bad", storage_options=s3_options)
    with pytest.raises(ck.DataLossError, match="nothing was replaced"):
        copy_checkpoint(prefix, f"{URL}/m", overwrite=True, storage_options=s3_options)
    assert keys(boto) == before
    assert not boto.list_multipart_uploads(Bucket=BUCKET).get("Uploads")


def test_the_command_line(s3_server: S3Server, tmp_path: Path) -> None:
    endpoint = ["--endpoint-url", s3_server.url]
    case = str(GOLDEN / "01a_basic_ref")
    assert main(["cp", case, f"{URL}/m", *endpoint]) == 0
    assert main(["cp", case, f"{URL}/m", *endpoint]) == 1
    assert main(["diff", case, f"{URL}/m", *endpoint]) == 0
    assert main(["convert", f"{URL}/m", str(tmp_path / "v1"), "--to", "v1", *endpoint]) == 0
    assert (tmp_path / "v1").read_bytes() == (GOLDEN / "09a_v1_basic" / "model.ckpt").read_bytes()
