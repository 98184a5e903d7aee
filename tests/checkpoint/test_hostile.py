"""Directories that were damaged or forged: a typed error that says where and what to do, and nothing lost."""

from __future__ import annotations

import builtins
import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest

import ckptstore as ck
from ckptstore import errors
from ckptstore.checkpoint import CheckpointDirectory
from ckptstore.format.state import MAX_STATE_BYTES
from ckptstore.storage import LocalStore

ITEMS = {"layer/w": np.arange(300, dtype=np.float32), "layer/b": np.zeros(3), "words": ["a", "bb"]}
BUILTIN = {
    "CheckpointNotFoundError": "FileNotFoundError",
    "CheckpointExistsError": "FileExistsError",
    "TensorNotFoundError": "KeyError",
    "IncompatibleTensorError": "ValueError",
    "InvalidArgumentError": "ValueError",
    "UnsafePathError": "ValueError",
    "StorageError": "OSError",
    "NotFoundError": "FileNotFoundError",
    "PermissionDeniedError": "PermissionError",
}


def contents(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def restored(directory: Path, step: int | None = None) -> dict[str, np.ndarray]:
    with ck.CheckpointManager(directory) as manager:
        return manager.restore(step)


def same(found: dict[str, np.ndarray], factor: float = 1) -> bool:
    return (
        found["layer/w"].tobytes() == (ITEMS["layer/w"] * np.float32(factor)).tobytes()
        and found["words"].tolist() == [b"a", b"bb"]
        and found["layer/b"].shape == (3,)
    )


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("template") / "run"
    with ck.CheckpointManager(directory) as manager:
        for step in (1, 2, 3):
            manager.save(step, {**ITEMS, "layer/w": ITEMS["layer/w"] * np.float32(step)})
    return directory


@pytest.fixture
def run(template: Path, tmp_path: Path) -> Path:
    """A directory with steps 1, 2 and 3."""
    return shutil.copytree(template, tmp_path / "run")


def never():
    raise AssertionError("started from scratch")


def manage(directory: Path):
    """Everything that begins with looking into the state file, by name."""

    def with_manager(call):
        def run():
            with ck.CheckpointManager(directory) as manager:
                return call(manager)

        return run

    return {
        "construct": with_manager(lambda m: m),
        "save": with_manager(lambda m: m.save(9, ITEMS)),
        "overwrite": with_manager(lambda m: m.save(3, ITEMS, overwrite=True)),
        "restore": with_manager(lambda m: m.restore()),
        "restore 3": with_manager(lambda m: m.restore(3)),
        "restore_or_initialize": with_manager(lambda m: m.restore_or_initialize(never)),
        "latest_step": with_manager(lambda m: m.latest_step()),
        "all_steps": with_manager(lambda m: m.all_steps()),
        "latest_checkpoint": lambda: ck.latest_checkpoint(directory),
        "load_checkpoint": lambda: ck.load_checkpoint(directory),
        "ck.restore": lambda: ck.restore(directory),
        "verify": lambda: ck.verify(directory),
    }


VERBS = list(manage(Path()))


def check(error: errors.CheckpointError, *mentions: object) -> None:
    """The error is also the builtin of errors.py, and its message is one that helps."""
    for kind in type(error).__mro__:
        if kind.__name__ in BUILTIN:
            assert isinstance(error, getattr(builtins, BUILTIN[kind.__name__]))
    for text in mentions:
        assert str(text) in str(error)
    assert error.path is not None
    assert len(str(error)) > 40


# -- the state file

BAD_STATES = {
    "empty": b"",
    "blank": b" \n\n",
    "comment": b"# nothing here\n",
    "malformed": b'model_checkpoint_path "ckpt-3"',
    "unknown field": b'model_checkpoint_path: "ckpt-3"\nmodel: 1\n',
    "truncated": b'model_checkpoint_path: "ckp',
    "no latest": b'all_model_checkpoint_paths: "ckpt-3"\n',
    "not UTF-8": b'model_checkpoint_path: "ckpt-\xff"\n',
    "zeros": b"\x00" * 100,
    "too large": b'model_checkpoint_path: "ckpt-3"\n#' + b"x" * MAX_STATE_BYTES,
    "nested": b"x {" * 50_000,
    "BOM": b'\xef\xbb\xbfmodel_checkpoint_path: "ckpt-3"\n',
    "UTF-16": 'model_checkpoint_path: "ckpt-3"\n'.encode("utf-16"),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", BAD_STATES)
def test_a_state_file_that_cannot_be_read_is_an_error_and_never_a_fresh_start(run, kind, verb):
    (run / "checkpoint").write_bytes(BAD_STATES[kind])
    before = contents(run)
    with pytest.raises(errors.StateCorruptError) as caught:
        manage(run)[verb]()
    check(caught.value, run / "checkpoint", "update_checkpoint_state")
    assert caught.value.path == str(run / "checkpoint")
    assert contents(run) == before


@pytest.mark.parametrize("verb", VERBS)
def test_a_lost_state_file_beside_checkpoints_is_an_error_and_never_a_fresh_start(run, verb):
    (run / "checkpoint").unlink()
    before = contents(run)
    with pytest.raises(errors.StateMissingError) as caught:
        manage(run)[verb]()
    check(caught.value, run, "ckpt-3", "update_checkpoint_state")
    assert contents(run) == before


@pytest.mark.parametrize("lost", ["ckpt-3.data-00000-of-00001", "every data file"])
def test_a_lost_state_file_beside_damaged_checkpoints_is_no_fresh_start_either(run, lost):
    # An index is written after its data, so an index alone is damage, and no save that died.
    (run / "checkpoint").unlink()
    for file in run.glob("*.data-*"):
        if lost in (file.name, "every data file"):
            file.unlink()
    with pytest.raises(errors.CheckpointError):
        manage(run)["restore_or_initialize"]()


def test_the_remedy_in_the_message_works(run):
    (run / "checkpoint").unlink()
    ck.update_checkpoint_state(run, f"{run}/ckpt-3", [f"{run}/ckpt-2", f"{run}/ckpt-3"])
    assert same(restored(run), 3)


@pytest.mark.parametrize("verb", VERBS)
def test_a_directory_in_place_of_the_state_file_is_a_typed_error(run, verb):
    (run / "checkpoint").unlink()
    (run / "checkpoint").mkdir()
    before = contents(run)
    with pytest.raises(errors.CheckpointError) as caught:
        manage(run)[verb]()
    check(caught.value, run / "checkpoint")
    assert contents(run) == before


@pytest.mark.parametrize("verb", VERBS)
def test_a_pipe_in_place_of_the_state_file_does_not_hang(run, verb):
    (run / "checkpoint").unlink()
    os.mkfifo(run / "checkpoint")
    with pytest.raises(errors.StorageError) as caught:
        manage(run)[verb]()
    check(caught.value, run / "checkpoint")


@pytest.mark.parametrize("verb", VERBS)
def test_a_state_file_that_may_not_be_read_is_a_typed_error(run, verb, monkeypatch):
    real = os.open

    def refuse(path, flags, *args, **kwargs):
        if os.path.basename(os.fsencode(path)) == b"checkpoint":
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(errors.PermissionDeniedError) as caught:
        manage(run)[verb]()
    check(caught.value, run / "checkpoint")


def test_an_empty_directory_and_none_are_fresh_starts(tmp_path):
    for directory in (tmp_path, tmp_path / "not there"):
        with ck.CheckpointManager(directory) as manager:
            assert manager.restore_or_initialize(lambda: {"a": 1}) == (0, {"a": 1})
            assert manager.latest_step() is None
            assert manager.all_steps() == []
            with pytest.raises(errors.CheckpointNotFoundError) as caught:
                manager.restore()
            check(caught.value, directory)
        assert ck.latest_checkpoint(directory) is None
        for call in (ck.restore, ck.load_checkpoint, ck.list_variables, ck.verify):
            with pytest.raises(errors.CheckpointNotFoundError) as caught:
                call(directory)
            check(caught.value, directory)
    assert contents(tmp_path) == {}


def test_a_file_in_place_of_the_directory_is_no_fresh_start(tmp_path):
    (tmp_path / "run").write_text("not a directory")
    with pytest.raises(errors.CheckpointError), ck.CheckpointManager(tmp_path / "run") as manager:
        manager.restore_or_initialize(never)


# -- names in it that lead elsewhere

UNSAFE = {
    "parent": "../../x",
    "parent inside": "a/../ckpt-3",
    "parent at the end": "..",
    "dot": ".",
    "dot inside": "a/./b",
    "empty segment": "a//b",
    "slash at the end": "ckpt-3/",
    "root": "/",
    "bare URL": "http://",
    "URL": "http://169.254.169.254/",
    "control": "ckpt\n-3",
    "escape": "ckpt\x1b[2J-3",
    "NUL": "ckpt\x00-3",
    "long": "x" * 2000,
}
ELSEWHERE = {
    "absolute": "/etc/passwd",
    "absolute outside": "{outside}/ckpt-7",
    "file URL": "file:///etc/passwd",
    "other bucket": "s3://other/x",
    "web": "http://127.0.0.1:9/latest/meta-data",
    "percent": "%2e%2e/x",
    "backslash": "..\\..\\x",
    "pattern": "ckpt-*",
    "class": "ckpt-[0-9]",
    "question": "ckpt-?",
    "state file": "checkpoint",
    "chain": "simplecache::s3://other/x",
}


def state_of(*paths: str) -> bytes:
    latest, listed = paths[-1], paths
    return ck.CheckpointState(latest, tuple(listed)).to_bytes()


@pytest.fixture
def offline(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a path from a state file was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("verb", [v for v in VERBS if v != "construct"])
@pytest.mark.parametrize("kind", UNSAFE)
def test_a_state_that_names_a_path_outside_is_refused(run, kind, verb):
    (run / "checkpoint").write_bytes(state_of("ckpt-1", "ckpt-2", "ckpt-3", UNSAFE[kind]))
    before = contents(run)
    with pytest.raises(errors.UnsafePathError) as caught:
        manage(run)[verb]()
    check(caught.value, run / "checkpoint")
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert contents(run) == before


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(
    "verb", ["restore", "restore_or_initialize", "latest_checkpoint", "load_checkpoint", "ck.restore"]
)
@pytest.mark.parametrize("kind", ELSEWHERE)
def test_a_latest_checkpoint_elsewhere_is_not_opened_and_nothing_older_is_taken(run, kind, verb, tmp_path):
    outside = tmp_path / "outside"
    shutil.copytree(run, outside)
    for file in list(outside.iterdir()):
        file.rename(outside / file.name.replace("ckpt-3", "ckpt-7"))
    name = ELSEWHERE[kind].format(outside=outside)
    (run / "checkpoint").write_bytes(state_of("ckpt-1", "ckpt-2", "ckpt-3", name))
    before, others = contents(run), contents(outside)
    with pytest.raises(errors.CheckpointError) as caught:
        manage(run)[verb]()
    check(caught.value, run)
    assert contents(run) == before
    assert contents(outside) == others


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("kind", [*UNSAFE, *ELSEWHERE])
@pytest.mark.parametrize("max_to_keep", [3, None])
def test_a_save_beside_any_listed_path_deletes_nothing_else(run, kind, max_to_keep, tmp_path):
    outside = tmp_path / "outside"
    shutil.copytree(run, outside)
    name = {**UNSAFE, **ELSEWHERE}[kind].format(outside=outside)
    (run / "checkpoint").write_bytes(state_of(name, "ckpt-1", "ckpt-2", "ckpt-3"))
    before, others = contents(run), contents(outside)
    try:
        with ck.CheckpointManager(run, max_to_keep=max_to_keep) as manager:
            manager.save(9, ITEMS)
    except errors.CheckpointError as error:
        check(error, run)
        # Refused before anything was written: a job that tries again and again must not fill the disk.
        assert contents(run) == before
    else:
        assert same(restored(run, 9))
        for step in (2, 3):
            assert same(restored(run, step), step)
    assert contents(outside) == others


def test_an_empty_path_in_the_list_is_refused(run):
    (run / "checkpoint").write_bytes(b'model_checkpoint_path: "ckpt-3"\nall_model_checkpoint_paths: ""\n')
    before = contents(run)
    for verb in ("save", "all_steps"):
        with pytest.raises(errors.CheckpointError) as caught:
            manage(run)[verb]()
        check(caught.value, run / "checkpoint")
    assert contents(run) == before


def test_names_that_begin_alike_are_not_deleted_together(tmp_path):
    with ck.CheckpointManager(tmp_path, max_to_keep=2) as manager:
        for step in (1, 10, 11):
            manager.save(step, ITEMS)
    assert {p.name.split(".")[0] for p in tmp_path.glob("ckpt-*")} == {"ckpt-10", "ckpt-11"}


def test_files_that_only_look_like_parts_of_a_checkpoint_stay(run):
    strangers = [
        "ckpt-1.data-00000-of-00001.bak",
        "ckpt-1.txt",
        "ckpt-1",
        "ckpt-1.index.old",
        "ckpt-1.data-0-of-1",
        "ckpt-1*.index",
        "ckpt-1.indexes",
    ]
    for name in strangers:
        (run / name).write_text("mine")
    with ck.CheckpointManager(run, max_to_keep=1) as manager:
        manager.save(4, ITEMS)
    assert {n for n in strangers if (run / n).exists()} == set(strangers)
    assert not (run / "ckpt-1.index").exists()


def test_links_out_of_the_directory_are_removed_and_not_followed(run, tmp_path):
    outside = tmp_path / "precious"
    outside.write_bytes((run / "ckpt-1.index").read_bytes())
    (run / "ckpt-1.index").unlink()
    (run / "ckpt-1.index").symlink_to(outside)
    with ck.CheckpointManager(run, max_to_keep=1) as manager:
        manager.save(4, ITEMS)
    assert outside.exists()
    assert not (run / "ckpt-1.index").is_symlink()


# -- files that are gone or damaged

DATA = "ckpt-3.data-00000-of-00001"


@pytest.mark.parametrize(
    "verb", ["restore", "restore_or_initialize", "ck.restore", "load_checkpoint", "latest_checkpoint"]
)
def test_a_latest_checkpoint_whose_files_are_gone_is_an_error_and_nothing_older_is_taken(run, verb):
    for file in run.glob("ckpt-3.*"):
        file.unlink()
    before = contents(run)
    with pytest.raises(errors.CheckpointNotFoundError) as caught:
        manage(run)[verb]()
    check(caught.value, run / "ckpt-3")
    assert contents(run) == before
    assert same(restored(run, 2), 2)


@pytest.mark.parametrize(
    ("file", "kind"), [("ckpt-3.index", errors.CheckpointNotFoundError), (DATA, errors.CheckpointNotFoundError)]
)
def test_a_missing_file_is_named(run, file, kind):
    (run / file).unlink()
    before = contents(run)
    for verb in ("restore", "restore 3", "restore_or_initialize", "ck.restore"):
        with pytest.raises(kind) as caught:
            manage(run)[verb]()
        check(caught.value, run / "ckpt-3")
    assert not ck.verify(run).ok
    assert contents(run) == before


def test_one_missing_shard_of_many_is_named(tmp_path):
    with ck.CheckpointManager(tmp_path, max_shard_bytes=100) as manager:
        manager.save(1, ITEMS)
        shards = sorted(tmp_path.glob("ckpt-1.data-*"))
        assert len(shards) == 3
        for shard in shards:
            data = shard.read_bytes()
            shard.unlink()
            with pytest.raises(errors.CheckpointNotFoundError) as caught:
                manager.restore()
            check(caught.value, shard)
            shard.write_bytes(data)
        assert same(manager.restore())


@pytest.mark.parametrize("file", ["ckpt-3.index", DATA])
def test_a_file_cut_short_anywhere_is_data_loss(run, file):
    whole = (run / file).read_bytes()
    for size in sorted({*range(0, len(whole), 29), *range(len(whole) - 9, len(whole))}):
        (run / file).write_bytes(whole[:size])
        with pytest.raises(errors.DataLossError) as caught:
            restored(run)
        check(caught.value, run / file)
        report = ck.verify(run)
        assert [d.file for d in report.damages][:1] == [str(run / file)]
    assert same(restored(run, 2), 2)


@pytest.mark.parametrize("file", ["ckpt-3.index", DATA])
def test_any_flipped_bit_is_data_loss_that_names_file_and_tensor(run, file):
    whole = (run / file).read_bytes()
    for bit in range(0, 8 * len(whole), 31):
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << bit % 8
        (run / file).write_bytes(broken)
        with pytest.raises(errors.DataLossError) as caught:
            restored(run)
        check(caught.value, run / file)
        if file == DATA:
            assert caught.value.name in ITEMS
            assert repr(caught.value.name) in str(caught.value)


def test_damage_in_one_tensor_leaves_the_others_and_fills_no_array(run):
    whole = bytearray((run / DATA).read_bytes())
    whole[24] ^= 1  # "layer/b" has the first 24 bytes, "layer/w" the next 1200
    (run / DATA).write_bytes(whole)
    into = np.full(3, 7.0)
    with pytest.raises(errors.DataLossError) as caught:
        ck.restore(run, assignment_map={"layer/b": into, "layer/w": np.zeros(300, np.float32)})
    assert caught.value.name == "layer/w"
    assert into.tolist() == [7.0] * 3
    assert ck.load_variable(run, "layer/b").tolist() == [0.0] * 3


def test_shards_of_two_checkpoints_that_were_swapped_are_data_loss(run):
    two, three = run / "ckpt-2.data-00000-of-00001", run / DATA
    data = two.read_bytes(), three.read_bytes()
    two.write_bytes(data[1])
    three.write_bytes(data[0])
    for step in (2, 3):
        with pytest.raises(errors.DataLossError) as caught:
            restored(run, step)
        check(caught.value, f"ckpt-{step}.data", "layer/w")
        assert caught.value.name == "layer/w"
    assert same(restored(run, 1), 1)


def test_a_longer_data_file_and_an_old_index_are_noticed_by_verify(run):
    shutil.copy(run / "ckpt-2.index", run / "ckpt-3.index")
    with pytest.raises(errors.DataLossError):
        restored(run)
    assert not ck.verify(f"{run}/ckpt-3").ok


@pytest.mark.parametrize("file", ["ckpt-3.index", DATA])
def test_a_directory_or_pipe_in_place_of_a_file_does_not_hang(run, file):
    (run / file).unlink()
    (run / file).mkdir()
    with pytest.raises(errors.CheckpointError):
        restored(run)
    (run / file).rmdir()
    os.mkfifo(run / file)
    with pytest.raises(errors.CheckpointError):
        restored(run)


def test_a_damaged_meta_file_does_not_keep_the_tensors_from_being_restored(run):
    (run / "ckpt-3.meta").write_bytes(b"\xff" * 100)
    assert same(restored(run), 3)
    with ck.CheckpointManager(run) as manager, pytest.raises(errors.DataLossError) as caught:
        manager.metrics()
    check(caught.value, run / "ckpt-3.meta")
    assert not ck.verify(run).ok


# -- checkpoints that could not be restored again must not be saved


@pytest.mark.parametrize("value", [np.ones(3), b"no graph", ["a", "b"]], ids=["numbers", "text", "list"])
def test_a_name_that_means_something_else_to_the_reader_is_refused_or_comes_back(tmp_path, value):
    name = "_CHECKPOINTABLE_OBJECT_GRAPH"
    with ck.CheckpointManager(tmp_path) as manager:
        try:
            manager.save(1, {name: value, "w": np.ones(2)})
        except errors.InvalidArgumentError:
            assert not (tmp_path / "checkpoint").exists()
            return
        assert manager.restore()[name].tolist() == np.asarray(value, dtype=object).tolist()


@pytest.mark.parametrize(
    "pieces",
    [
        [("0,2", np.ones(2))],
        [("1,3", np.ones(3))],
        [("0,2", np.ones(2)), ("3,1", np.ones(1))],
        [("0,3", np.ones(3)), ("2,2", np.ones(2))],
    ],
    ids=["end missing", "start missing", "hole", "overlap"],
)
def test_pieces_that_do_not_make_up_their_tensor_are_refused_when_saved_and_not_when_restored(tmp_path, pieces):
    with ck.CheckpointManager(tmp_path) as manager:
        manager.save(1, ITEMS)
        before = contents(tmp_path)
        with pytest.raises(errors.IncompatibleTensorError) as caught:
            manager.save(2, {"emb": ck.Partitioned((4,), pieces)})
        assert caught.value.name in ("emb", None)
        assert contents(tmp_path) == before
    for call in (lambda: ck.save(tmp_path / "m", {"emb": ck.Partitioned((4,), pieces)}),):
        with pytest.raises(errors.IncompatibleTensorError):
            call()


@pytest.mark.parametrize("sizes", [(0, 2), (2, 0), (1, 0, 1), (0, 0), (0,)])
def test_pieces_of_no_elements_are_saved_so_that_tensorflow_can_read_them(tmp_path, sizes):
    # A host that holds no rows of a table is an everyday thing. TensorFlow's slices have a length of at least 1.
    parts = [np.full((n, 3), i, np.float32) for i, n in enumerate(sizes)]
    prefix = ck.save(tmp_path / "m", {"emb": ck.Partitioned.concat(parts)})
    assert ck.restore(prefix)["emb"].tolist() == np.concatenate(parts).tolist()
    store = LocalStore(tmp_path)
    entries = dict(ck.load_checkpoint(prefix)._source.index.entries())
    assert all(length != 0 for entry in entries.values() for piece in entry.slices for _, length in piece.extents)
    assert CheckpointDirectory(store).exists("m")
