"""Saving and loading one checkpoint by its path."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

import ckptstore as ck
from ckptstore.checkpoint import OBJECT_GRAPH_KEY
from tests.support.golden import GOLDEN


def test_a_directory_stands_for_its_latest(tmp_path: Path) -> None:
    case = GOLDEN / "07_keep_5_of_7"
    assert ck.list_variables(case) == [("v", [])]
    assert ck.load_variable(case, "v:0") == np.float32(7)
    assert ck.load_variable(case / "model.ckpt-300", "v") == np.float32(3)
    with ck.load_checkpoint(case) as reader:
        assert reader.path.endswith("model.ckpt-700")
        assert reader.debug_string() == b"v (DT_FLOAT) []\n"


@pytest.mark.parametrize("name", ["model.ckpt-700.index", "model.ckpt-700.meta", "model.ckpt-700.data-00000-of-00001"])
def test_a_file_is_not_a_prefix(name: str) -> None:
    """TensorFlow reads "m.index" as an empty checkpoint."""
    with pytest.raises(ck.CheckpointNotFoundError, match=r"is one file of a checkpoint; pass its prefix, without '\."):
        ck.list_variables(GOLDEN / "07_keep_5_of_7" / name)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ck.CheckpointNotFoundError, match="no directory of that name with a state file"):
        ck.restore(tmp_path / "m")
    with pytest.raises(FileNotFoundError):
        ck.load_checkpoint(tmp_path)
    with pytest.raises(ck.CheckpointNotFoundError):
        ck.verify(tmp_path)


def test_save_does_not_replace_unless_told_to(tmp_path: Path) -> None:
    ck.save(tmp_path / "m", {f"t{i}": np.zeros(100) for i in range(4)}, max_shard_bytes=800)
    assert len(list(tmp_path.glob("m.data-*"))) == 4
    with pytest.raises(ck.CheckpointExistsError, match="overwrite=True"):
        ck.save(tmp_path / "m", {"v": 1})
    ck.save(tmp_path / "m", {"v": 1}, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.data-00000-of-00001", "m.index"]
    assert ck.restore(tmp_path / "m") == {"v": 1}


def test_save_writes_the_bytes_of_tensorflows_saver(tmp_path: Path) -> None:
    values = ck.restore(GOLDEN / "01a_basic_ref" / "model.ckpt")
    ck.save(tmp_path / "model.ckpt", dict(reversed(values.items())))
    for name in ("model.ckpt.index", "model.ckpt.data-00000-of-00001"):
        assert (tmp_path / name).read_bytes() == (GOLDEN / "01a_basic_ref" / name).read_bytes()
    part = ck.restore(GOLDEN / "05a_partitioned_ref" / "part.ckpt")
    items = {
        "emb": ck.Partitioned.split(part["emb"], 3),
        "conv/k": ck.Partitioned.split(part["conv/k"], 2, axis=1),
        "single": ck.Partitioned.split(part["single"], 1),
        "plain": part["plain"],
    }
    ck.save(tmp_path / "part.ckpt", items)
    for name in ("part.ckpt.index", "part.ckpt.data-00000-of-00001"):
        assert (tmp_path / name).read_bytes() == (GOLDEN / "05a_partitioned_ref" / name).read_bytes()


@pytest.mark.parametrize(
    ("path", "name", "key"),
    [
        ("10a_object_simple/obj/ckpt-1", "mod/w", "mod/w/.ATTRIBUTES/VARIABLE_VALUE"),
        ("10a_object_simple/obj/ckpt-1", "mod/again", "a/.ATTRIBUTES/VARIABLE_VALUE"),  # one object, two ways to it
        ("10a_object_simple/obj/ckpt-1", "bee", "b/.ATTRIBUTES/VARIABLE_VALUE"),
        ("10a_object_simple/obj/ckpt-1", "dct/k.Sslash", "dct/k.Sslash/.ATTRIBUTES/VARIABLE_VALUE"),
        ("10b_object_v1_optimizer_slots/adam/ckpt-1", "w/Adam", None),
        ("10d_object_keras2_weights/weights", "layer_with_weights-0/kernel", None),
        ("10e_object_root_and_attached/r/ck-1", "root/sub/b", None),
    ],
)
def test_object_based_checkpoints_by_path_and_full_name(path: str, name: str, key: str | None) -> None:
    with ck.load_checkpoint(GOLDEN / path) as reader:
        got = reader.get_tensor(name)
        assert reader.has_tensor(name)
        if key is not None:
            assert np.array_equal(got, reader.get_tensor(key))
        assert np.array_equal(got, np.asarray(reader[name]))
        assert not reader.has_tensor("no such path")
        assert not reader.has_tensor("")


def test_object_based_bytes_are_tensorflows(tmp_path: Path) -> None:
    """golden/10e and 08b, from names and values alone."""
    ck.save(tmp_path / "ckpt-50", {"x": np.float32([1, 2])}, object_based=True, save_counter=7)
    case = GOLDEN / "08b_checkpoint_manager" / "d"
    written, ours = ck.load_checkpoint(case / "ckpt-50"), ck.load_checkpoint(tmp_path / "ckpt-50")
    assert list(written) == list(ours)
    for name in ("x/.ATTRIBUTES/VARIABLE_VALUE",):
        assert np.array_equal(written.get_tensor(name), ours.get_tensor(name))


def test_lazy_arrays_read_what_numpy_would(tmp_path: Path) -> None:
    whole = np.arange(4 * 5 * 6, dtype=np.int32).reshape(4, 5, 6)
    ck.save(tmp_path / "m", {"a": whole, "p": ck.Partitioned.split(whole, 3, axis=1), "s": np.array([b"x", b"yz"])})
    with ck.load_checkpoint(tmp_path / "m") as reader:
        for name in ("a", "p"):
            lazy = reader[name]
            assert (lazy.shape, lazy.dtype, lazy.nbytes, lazy.ndim, lazy.size, len(lazy)) == (
                (4, 5, 6), np.dtype("int32"), 480, 3, 120, 4,
            )  # fmt: skip
            for index in (
                0, -1, slice(1, 3), (slice(None), 2), (..., slice(1, 4)), (1, 2, 3),
                (slice(3, 0, -2), slice(None, None, 3)),
                (slice(2, 2),), (Ellipsis,), (slice(None, None, -1), ..., -2), (np.int64(2), slice(-3, None)), [0, 2],
                (whole > 50),
            ):  # fmt: skip
                assert np.array_equal(lazy[index], whole[index]), index
            with pytest.raises(IndexError):
                lazy[4]
            with pytest.raises(IndexError):
                lazy[0, 0, 0, 0]
        assert reader["s"][1] == b"yz"
        assert repr(reader["a"]) == "LazyArray(name='a', shape=(4, 5, 6), dtype=int32)"
        assert np.asarray(reader["a"], dtype=np.float64).dtype == np.float64


def test_into_arrays_all_or_nothing(tmp_path: Path) -> None:
    ck.save(tmp_path / "m", {"a": np.ones(3, np.float32), "b": np.ones(2, np.int64)})
    a = np.zeros(3, np.float32)
    for wrong in (np.zeros(3), np.zeros((3, 1), np.int64), np.zeros(2, np.int32)):
        with pytest.raises(ck.IncompatibleTensorError, match=r"tensor 'b' is int64 \[2\] and cannot fill"):
            ck.restore(tmp_path / "m", assignment_map={"a": a, "b": wrong})
        assert not a.any()
    frozen = np.zeros(2, np.int64)
    frozen.flags.writeable = False
    with pytest.raises(ck.IncompatibleTensorError, match="read-only"):
        ck.restore(tmp_path / "m", assignment_map={"b": frozen})
    data = tmp_path / "m.data-00000-of-00001"
    damaged = bytearray(data.read_bytes())
    damaged[-1] ^= 1
    data.write_bytes(damaged)
    with pytest.raises(ck.DataLossError):
        ck.restore(tmp_path / "m", assignment_map={"a": a, "b": np.zeros(2, np.int64)})
    assert not a.any()


def test_unchecked_only_when_asked(tmp_path: Path) -> None:
    ck.save(tmp_path / "m", {"a": np.zeros(3, np.uint8)})
    (tmp_path / "m.data-00000-of-00001").write_bytes(b"\0\1\0")
    with pytest.raises(ck.DataLossError, match=r"m\.data-00000-of-00001, tensor 'a'.*checksum"):
        ck.load_variable(tmp_path / "m", "a")
    with ck.load_checkpoint(tmp_path / "m", verify=False) as reader:
        assert reader.get_tensor("a").tolist() == [0, 1, 0]


def test_a_memory_url_works_like_a_directory() -> None:
    base = "memory://ckptstore-utils/run"
    with ck.CheckpointManager(base, max_to_keep=2) as manager:
        for step in range(4):
            manager.save(step, {"v": np.int64(step)})
    assert ck.latest_checkpoint(base) == f"{base}/ckpt-3"
    assert ck.restore(base) == {"v": 3}
    assert ck.load_variable(f"{base}/ckpt-2", "v") == 2
    assert ck.verify(base).ok


def test_restore_takes_every_name_that_a_reader_takes() -> None:
    """Keys, object paths and full names of an object-based checkpoint."""
    prefix = GOLDEN / "10a_object_simple" / "obj" / "ckpt-1"
    keys = [name for name, _ in ck.list_variables(prefix)]
    assert sorted(ck.restore(prefix, names=keys)) == sorted(keys)
    got = ck.restore(prefix, names=["bee", "b", "b/.ATTRIBUTES/VARIABLE_VALUE"])
    assert [int(v) for v in got.values()] == [3, 3, 3]
    assert ck.restore(prefix, assignment_map={"bee": "renamed"})["renamed"] == 3


def test_overwriting_takes_the_old_meta_file_along(tmp_path: Path) -> None:
    with ck.CheckpointManager(tmp_path) as manager:
        path = manager.save(1, {"v": 1}, metrics={"loss": 0.5})
        ck.save(path, {"v": 2}, overwrite=True)
        assert manager.restore() == {"v": 2}
        assert manager.metrics() == {}


def test_names_that_names_leaves_out(tmp_path: Path) -> None:
    ck.save(tmp_path / "m", {"a": 1, "b": 2})
    with pytest.raises(ck.InvalidArgumentError, match="asks for 'b', which names= leaves out"):
        ck.restore(tmp_path / "m", names=["a"], assignment_map={"b": "c"})


def test_options_that_cannot_be_meant(tmp_path: Path) -> None:
    ck.save(tmp_path / "m", {"a": 1})
    for call in (
        lambda: ck.save(tmp_path / "n", {"a": 1}, max_shard_bytes="1"),  # type: ignore[arg-type]
        lambda: ck.save(tmp_path / "n", {"a": 1}, max_shard_bytes=float("nan")),  # type: ignore[arg-type]
        lambda: ck.save(tmp_path / "n", {"a": 1}, object_based=True, save_counter=-1),
        lambda: ck.restore(tmp_path / "m", storage_options="x"),  # type: ignore[arg-type]
        lambda: ck.Partitioned.split(np.float32(1), 2),
        lambda: ck.Partitioned.split(np.ones(3), "2"),  # type: ignore[arg-type]
        lambda: ck.load_variable(tmp_path / "m", 3),  # type: ignore[arg-type]
    ):
        with pytest.raises(ck.CheckpointError):
            call()
    assert not (tmp_path / "n.index").exists()


def test_the_report_of_everything_is_of_what_was_restored_then(tmp_path: Path) -> None:
    path = ck.save(tmp_path / "m", {"b": np.zeros(2), "a": np.ones(3)})
    got = ck.restore(path)
    del got["a"]
    got["c"] = np.zeros(1)
    assert got.report.used == (("a", "a"), ("b", "b"))
    assert got.report is got.report
    again = pickle.loads(pickle.dumps(ck.restore(path)))
    assert (set(again), again.report) == ({"a", "b"}, got.report)


@pytest.mark.parametrize("name", ["", 5, OBJECT_GRAPH_KEY])
def test_names_are_looked_at_also_where_all_values_are_arrays(tmp_path: Path, name: object) -> None:
    with pytest.raises(ck.InvalidArgumentError):
        ck.save(tmp_path / "m", {"a": np.zeros(2), name: np.zeros(2)})  # type: ignore[dict-item]
    assert not [*tmp_path.iterdir()]


def test_patterns_select_and_the_report_tells_the_rest(tmp_path: Path) -> None:
    with ck.CheckpointManager(tmp_path) as manager:
        path = manager.save(1, {"layer": {"w": 1, "b": 2}, "opt": {"w": 3}, "step": 4})
        got = manager.restore(names=["layer/*", "none*"], strict=False)
        assert got == {"layer/b": 2, "layer/w": 1}
        assert got.report.missing == ("none*",)
        assert got.report.unused == ("opt/w", "step")
        assert str(got.report).startswith(f"{path}: 2 tensors restored\n")
        with pytest.raises(ck.TensorNotFoundError, match=r"'none\*'; no name matches the pattern"):
            manager.restore(names=["layer/*", "none*"])
    assert ck.restore(path, assignment_map={"*/w": "old/"}) == {"old/layer/w": 1, "old/opt/w": 3}


def test_patterns_look_at_the_names_that_a_restore_gives() -> None:
    """Not at the further names by which tensors of an object-based checkpoint are found."""
    prefix = GOLDEN / "10a_object_simple" / "obj" / "ckpt-1"
    everything = ck.restore(prefix)
    assert list(ck.restore(prefix, names=["*"])) == list(everything)
    got = ck.restore(prefix, names=["bee", "*"])
    assert list(got) == ["bee", *everything]
    assert not np.shares_memory(got["bee"], got["b"])
    assert "b" not in ck.restore(prefix, names=["bee"]).report.unused
