"""Bundles that no TensorFlow wrote: what it tolerates is tolerated, what is damaged is one typed error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ckptstore.bundle import BundleReader
from ckptstore.checkpoint import verify_checkpoint
from ckptstore.errors import CheckpointError, CheckpointNotFoundError, DataLossError
from ckptstore.storage import LocalStore
from tests.support.golden import GOLDEN, HAND_MADE

CASES: dict[str, Any] = json.loads((GOLDEN / HAND_MADE / "expected.json").read_text())["tf"]

# Where we part from TensorFlow, and what we say instead: it loses a tensor without a word, or aborts the process.
STRICTER = {
    "index_no_header_entry": "no header entry",
    "shape_with_negative_dim": "negative dimension",
    "unknown_dtype_77": "unknown dtype number 77",
}


def outcome(case: str) -> dict[str, Any]:
    """The value or the error of each tensor; an error at opening is under ''."""
    try:
        reader = BundleReader(LocalStore(GOLDEN / HAND_MADE / case), "c")
    except CheckpointError as error:
        return {"": error}
    try:
        names = reader.names()
    except CheckpointError as error:
        return {"": error}
    out: dict[str, Any] = {}
    for name in names:
        try:
            out[name] = reader.read([name])[name].tolist()
        except CheckpointError as error:
            out[name] = error
    return out


@pytest.mark.parametrize("case", sorted(set(CASES) - set(STRICTER)))
def test_as_tensorflow_decides(case: str) -> None:
    said, got = CASES[case], outcome(case)
    if said["open"] != "ok":
        assert set(got) == {""}
        assert isinstance(got[""], CheckpointNotFoundError if case == "index_missing" else DataLossError)
        assert "c.index" in str(got[""])
        return
    assert set(got) == set(said["tensors"])
    for name, tensor in said["tensors"].items():
        if "value" in tensor:
            assert got[name] == tensor["value"]
        else:
            assert isinstance(got[name], DataLossError | CheckpointNotFoundError), got[name]
            assert HAND_MADE in str(got[name])
            if isinstance(got[name], DataLossError):
                assert got[name].name == name
                assert repr(name) in str(got[name])


@pytest.mark.parametrize("case", sorted(STRICTER))
def test_where_tensorflow_aborts_or_loses_a_tensor(case: str) -> None:
    got = outcome(case)
    errors = [v for v in got.values() if isinstance(v, CheckpointError)]
    assert len(errors) == 1
    assert isinstance(errors[0], DataLossError)
    assert STRICTER[case] in str(errors[0])
    if case != "index_no_header_entry":
        assert got["b"] == [5, -7]  # the other tensor is not affected


@pytest.mark.parametrize("case", sorted(CASES))
def test_verify_agrees_with_reading(case: str) -> None:
    got = outcome(case)
    store = LocalStore(GOLDEN / HAND_MADE / case)
    if case == "index_missing":
        with pytest.raises(CheckpointNotFoundError):
            verify_checkpoint(store, "c")
        return
    report = verify_checkpoint(store, "c")
    assert report.ok == (not any(isinstance(v, CheckpointError) for v in got.values())), report


def test_verify_says_file_tensor_and_offset() -> None:
    (damage,) = verify_checkpoint(LocalStore(GOLDEN / HAND_MADE / "data_bit_flip"), "c").damages
    assert damage.file.endswith("data_bit_flip/c.data-00000-of-00001")
    assert (damage.tensor, damage.offset, damage.size) == ("a", 0, 24)
    (damage,) = verify_checkpoint(LocalStore(GOLDEN / HAND_MADE / "data_truncated"), "c").damages
    assert (damage.tensor, damage.offset) == ("b", 24)
    assert "truncated" in damage.problem
    (damage,) = verify_checkpoint(LocalStore(GOLDEN / HAND_MADE / "index_block_bit_flip"), "c").damages
    assert damage.file.endswith("c.index")
    assert damage.offset == 0


def test_every_bit_of_a_small_bundle_is_guarded(tmp_path: Any) -> None:
    """Flip each bit of index and data in turn: every single one is found, by reading and by verifying."""
    source = GOLDEN / HAND_MADE / "ok_plain"
    files = {p.name: p.read_bytes() for p in source.iterdir()}
    store = LocalStore(tmp_path)
    for name, data in files.items():
        for other, content in files.items():
            (tmp_path / other).write_bytes(content)
        for bit in range(8 * len(data)):
            damaged = bytearray(data)
            damaged[bit // 8] ^= 1 << bit % 8
            (tmp_path / name).write_bytes(damaged)
            with pytest.raises(CheckpointError):
                BundleReader(store, "c").read(["a", "b"])
            if bit % 8 == 0:
                assert not verify_checkpoint(store, "c").ok


@pytest.mark.parametrize("name", ["c.index", "c.data-00000-of-00001"])
def test_every_truncation_is_found(tmp_path: Any, name: str) -> None:
    source = GOLDEN / HAND_MADE / "ok_plain"
    for p in source.iterdir():
        (tmp_path / p.name).write_bytes(p.read_bytes())
    data = (source / name).read_bytes()
    for size in range(len(data)):
        (tmp_path / name).write_bytes(data[:size])
        assert not verify_checkpoint(LocalStore(tmp_path), "c").ok
