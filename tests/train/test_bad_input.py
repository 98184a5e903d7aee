"""Arguments that cannot be meant, disks that are full, processes that die: an error that helps, and nothing lost."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptstore as ck
from ckptstore import errors
from ckptstore.checkpoint import CheckpointDirectory, plan_assignment
from ckptstore.storage import LocalStore, MemoryStore, Payload, Store, WrapperStore
from ckptstore.testing import CrashError, Fault, FaultyStore, ManualClock
from ckptstore.train import checkpoint_manager as module

ITEMS = {"layer/w": np.arange(300, dtype=np.float32), "layer/b": np.zeros(3), "words": ["a", "bb"]}


def items(step: int) -> dict[str, Any]:
    return {**ITEMS, "layer/w": ITEMS["layer/w"] * np.float32(step)}


def is_step(found: dict[str, Any], step: int) -> bool:
    return sorted(found) == sorted(ITEMS) and found["layer/w"].tobytes() == items(step)["layer/w"].tobytes()


def contents(directory: Path) -> dict[str, bytes]:
    """What TensorFlow would see: the files but for the private ones, and of the state file its own part."""
    found = {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}
    if "checkpoint" in found:
        lines = found["checkpoint"].splitlines(keepends=True)
        found["checkpoint"] = b"".join(line for line in lines if not line.startswith(b"#"))
    return {name: data for name, data in found.items() if not name.startswith(".ckptstore/")}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("template") / "run"
    with ck.CheckpointManager(directory) as manager:
        for step in (1, 2, 3):
            manager.save(step, items(step), metrics={"loss": 1 / step})
    return directory


@pytest.fixture
def run(template: Path, tmp_path: Path) -> Path:
    """A directory with steps 1, 2 and 3."""
    return shutil.copytree(template, tmp_path / "run")


def refused(
    directory: Path, kind: type[errors.CheckpointError], builtin: type[Exception], call: Callable[[Any], Any]
) -> errors.CheckpointError:
    """Runs a call on a manager; it must be refused with this error, and leave every byte as it was."""
    before = contents(directory)
    with ck.CheckpointManager(directory) as manager:
        with pytest.raises(kind) as caught:
            call(manager)
        assert isinstance(caught.value, builtin)
        assert len(str(caught.value)) > 20
        assert contents(directory) == before
        assert manager.latest_step() == 3
        assert is_step(manager.restore(), 3)
    return caught.value


# -- steps

STEPS = [
    None,
    "5",
    "",
    1.0,
    1.5,
    float("nan"),
    float("inf"),
    True,
    False,
    np.True_,
    np.float32(4),
    -1,
    -(10**30),
    b"1",
    [1],
    1j,
    np.array([1]),
    object(),
]


@pytest.mark.parametrize("step", STEPS, ids=lambda s: f"{type(s).__name__}-{str(s)[:9]}")
def test_what_is_no_step_is_refused(run, step):
    error = refused(run, errors.InvalidArgumentError, ValueError, lambda m: m.save(step, ITEMS))
    assert "step" in str(error)
    for call in (lambda m: m.should_save(step), lambda m: m.restore("x" if step is None else step)):
        refused(run, errors.InvalidArgumentError, ValueError, call)


@pytest.mark.parametrize("digits", [19, 20, 100, 250, 400, 2000, 5000])
@pytest.mark.parametrize("object_based", [False, True])
def test_a_huge_step_is_saved_or_refused(tmp_path, digits, object_based):
    step = 10**digits
    with ck.CheckpointManager(tmp_path, object_based=object_based) as manager:
        manager.save(1, ITEMS)
        before = contents(tmp_path)
        try:
            manager.save(step, ITEMS)
        except errors.CheckpointError:
            assert contents(tmp_path) == before
            assert manager.latest_step() == 1
        else:
            assert manager.latest_step() == step
            assert is_step(manager.restore(step), 1)


@pytest.mark.parametrize("step", [0, np.int64(7), np.uint8(200), np.array(5), 2**62])
def test_every_integer_is_a_step(tmp_path, step):
    with ck.CheckpointManager(tmp_path) as manager:
        manager.save(step, ITEMS)
        assert manager.latest_step() == int(step)
        assert is_step(manager.restore(step), 1)


def test_a_step_that_is_saved_already_is_refused_unless_it_is_to_be_replaced(run):
    for step in (1, 3):
        error = refused(run, errors.CheckpointExistsError, FileExistsError, lambda m, s=step: m.save(s, ITEMS))
        assert f"ckpt-{step}" in str(error)
        assert "overwrite=True" in str(error)
    with ck.CheckpointManager(run) as manager:
        manager.save(3, items(9), overwrite=True)
        assert is_step(manager.restore(3), 9)
        assert manager.all_steps() == [1, 2, 3]


def test_an_unknown_step_is_named_with_those_there_are(run):
    for call in (lambda m: m.restore(7), lambda m: m.metrics(7), lambda m: m.metadata(7), lambda m: m.reader(7)):
        error = refused(run, errors.CheckpointNotFoundError, FileNotFoundError, call)
        assert "step 7" in str(error)
        assert "1, 2, 3" in str(error)
        assert str(run) in str(error)


# -- what is saved

NOT_ITEMS = [None, [], [("a", 1)], "a", 5, np.ones(3), {}, {"a": {}}, {"a": {"b": {}}}]
BAD_NAMES: list[dict[Any, Any]] = [
    {"": 1},
    {"a": {"": 1}},
    {1: 1},
    {None: 1},
    {b"a": 1},
    {"a": {2: 1}},
    {("a", "b"): 1},
    {"a/b": 1, "a": {"b": 2}},
    {"a": {"b/c": 1}, "a/b": {"c": 2}},
    {"\ud800": 1},
    {"a": {"\udfff\ud800": 1}},
    {"é": 1, "\udcc3\udca9": 2},
]
RECURSIVE: dict[str, Any] = {}
RECURSIVE["x"] = RECURSIVE


class Broken:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("the device is lost")


NOT_ARRAYS = [
    None,
    object(),
    {1, 2},
    [None],
    [1, None],
    [b"a", 1],
    [[1, 2], [3]],
    [[1], 2],
    np.array([{}], object),
    np.array([1.5], object),
    10**30,
    np.array(["2020-01-01"], "M8[D]"),
    np.timedelta64(1, "s"),
    np.zeros(2, np.longdouble),
    np.zeros(2, np.clongdouble),
    np.zeros(2, "f4,f4"),
    Broken(),
    "\ud800",
    lambda: 1,
    [lambda: 1],
    (x for x in [1]),
]


@pytest.mark.parametrize("value", NOT_ITEMS, ids=repr)
def test_what_is_no_mapping_of_arrays_is_refused(run, value):
    refused(run, errors.InvalidArgumentError, ValueError, lambda m: m.save(9, value))
    with pytest.raises(errors.InvalidArgumentError):
        ck.save(run / "other", value)


@pytest.mark.parametrize("value", BAD_NAMES, ids=ascii)
@pytest.mark.parametrize("object_based", [False, True])
def test_names_that_cannot_be_stored_or_come_out_the_same_are_refused(run, value, object_based):
    before = contents(run)
    with (
        ck.CheckpointManager(run, object_based=object_based) as manager,
        pytest.raises(errors.InvalidArgumentError) as caught,
    ):
        manager.save(9, value)
    assert isinstance(caught.value, ValueError)
    assert contents(run) == before


def test_a_mapping_that_holds_itself_is_refused(run):
    refused(run, errors.InvalidArgumentError, ValueError, lambda m: m.save(9, RECURSIVE))


@pytest.mark.parametrize("value", NOT_ARRAYS, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("place", ["first", "last"])
def test_what_is_no_array_is_refused_and_named(run, value, place):
    name = "a/bad" if place == "first" else "z/bad"
    error = refused(run, errors.IncompatibleTensorError, ValueError, lambda m: m.save(9, {**ITEMS, name: value}))
    assert error.name == name
    assert repr(name) in str(error)


@pytest.mark.parametrize("name", ["layer", "layer/w/x", "/a", "a/", "a//b", "save_counter"])
def test_names_that_are_no_object_paths_are_refused_in_object_based_saves(tmp_path, name):
    with ck.CheckpointManager(tmp_path, object_based=True) as manager:
        with pytest.raises(errors.InvalidArgumentError) as caught:
            manager.save(1, {"layer/w": 1.0, name: 2.0})
        assert isinstance(caught.value, ValueError)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    "metrics",
    [
        [1],
        [("a", 1)],
        "loss",
        5,
        {"a": None},
        {"a": "x"},
        {"a": "0.5"},
        {"a": [1, 2]},
        {"a": {}},
        {"a": 1j},
        {"a": 10**400},
        {"": 1},
        {1: 1.0},
        {None: 1.0},
        {"a": np.ones(2)},
    ],
    ids=lambda m: str(m)[:20],
)
def test_metrics_that_are_no_numbers_are_refused(run, metrics):
    error = refused(run, errors.InvalidArgumentError, ValueError, lambda m: m.save(9, ITEMS, metrics=metrics))
    assert "metric" in str(error)
    if isinstance(metrics, dict) and list(metrics) in ([""], [1], [None]):
        assert "name" in str(error)


@pytest.mark.parametrize(
    "metadata",
    [
        [1],
        "text",
        5,
        {"a": np.ones(2)},
        {"a": b"bytes"},
        {"a": {1, 2}},
        {"a": object()},
        {("a",): 1},
        RECURSIVE,
        {1: "a", "1": "b"},
        {2: "came back as text"},
    ],
    ids=lambda m: str(m)[:20],
)
def test_metadata_that_json_cannot_hold_are_refused(run, metadata):
    error = refused(run, errors.InvalidArgumentError, ValueError, lambda m: m.save(9, ITEMS, metadata=metadata))
    assert "metadata" in str(error)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_metrics_and_metadata_that_are_not_finite_come_back(tmp_path, value):
    with ck.CheckpointManager(tmp_path) as manager:
        manager.save(1, ITEMS, metrics={"a": value}, metadata={"a": value})
        assert repr(manager.metrics()["a"]) == repr(manager.metadata()["a"]) == repr(value)
        assert manager.best_step("a") == (None if np.isnan(value) else 1)


# -- what a manager is made with


@pytest.mark.parametrize(
    "options",
    [
        *({"max_to_keep": v} for v in (0, -1, True, False, 1.5, "5", float("nan"), [1])),
        *({"keep_checkpoint_every_n_hours": v} for v in (0, -1, float("nan"), "1", [1], True)),
        *({"save_interval_steps": v} for v in (0, -1, 1.5, "1", None, True)),
        *({"max_shard_bytes": v} for v in (0, -1, 1.5, "1", True)),
        *(
            {"checkpoint_name": v}
            for v in ("", ".", "..", "a/b", "/a", "a\n", "a\x00", "x" * 2000, None, 5, b"ckpt", "\ud800")
        ),
    ],
    ids=str,
)
def test_arguments_that_cannot_be_meant_are_refused(run, options):
    before = contents(run)
    with pytest.raises((errors.InvalidArgumentError, errors.UnsafePathError)) as caught:
        ck.CheckpointManager(run, **options)
    assert isinstance(caught.value, ValueError)
    assert contents(run) == before


@pytest.mark.parametrize("directory", ["", None, 5, b"bytes", "a\x00b", "nosuch://x/y", "s3://key:secret@bucket/x"])
def test_what_is_no_directory_is_refused(directory):
    for call in (ck.CheckpointManager, ck.latest_checkpoint, ck.restore, lambda d: ck.save(d, ITEMS)):
        with pytest.raises(errors.CheckpointError) as caught:
            call(directory)
        assert "secret" not in str(caught.value)


def test_a_name_that_is_not_utf_8_comes_back_or_is_refused(tmp_path):
    # What was acknowledged must be there: a state file that cannot be read would take every checkpoint with it.
    try:
        with ck.CheckpointManager(tmp_path, checkpoint_name="ck\udcff") as manager:
            manager.save(1, ITEMS)
    except errors.CheckpointError:
        assert contents(tmp_path) == {}
        return
    with ck.CheckpointManager(tmp_path, checkpoint_name="ck\udcff") as manager:
        assert is_step(manager.restore(), 1)


# -- what is restored


@pytest.mark.parametrize("names", [[1], [None], [b"layer/w"], [["layer/w"]], 5, "layer/w", [""]], ids=repr)
def test_names_to_restore_that_are_no_names_are_refused(run, names):
    refused(run, errors.CheckpointError, Exception, lambda m: m.restore(names=names))
    with pytest.raises(errors.CheckpointError):
        ck.restore(run, names=names)


@pytest.mark.parametrize("name", [1, None, b"layer/w", "", "Layer/W"])
def test_a_name_that_is_not_there_is_a_key_error(run, name):
    with ck.load_checkpoint(run) as reader:
        for call in (lambda: reader[name], lambda: reader.get_tensor(name), lambda: reader.info(name)):
            with pytest.raises(errors.TensorNotFoundError) as caught:
                call()
            assert isinstance(caught.value, KeyError)
        assert name not in reader


def test_every_missing_name_is_told_with_those_that_are_near(run):
    error = refused(
        run, errors.TensorNotFoundError, KeyError, lambda m: m.restore(names=["layer/v", "layer/b", "nothing"])
    )
    assert error.missing == ("layer/v", "nothing")
    assert "'layer/w'" in str(error)
    assert str(run / "ckpt-3") in str(error)


@pytest.mark.parametrize(
    "assignment_map",
    [
        ["layer/w"],
        "layer/w",
        5,
        {1: "a"},
        {None: "a"},
        {1: "a", "layer/w": "b"},
        {"layer/w": None},
        {"layer/w": 5},
        {"layer/w": [0.0] * 300},
        {"layer/w": ""},
        {"layer/w": "a/"},
        {"layer/": "a"},
        {"layer/": np.zeros(3)},
        {"layer/w": "x", "layer/b": "x"},
        {"/": "x/", "layer/w": 3},
        {"": "x"},
    ],
    ids=lambda m: str(m)[:30],
)
def test_a_malformed_assignment_map_is_refused(run, assignment_map):
    error = refused(run, errors.CheckpointError, Exception, lambda m: m.restore(assignment_map=assignment_map))
    assert isinstance(error, errors.InvalidArgumentError | errors.TensorNotFoundError)


READ_ONLY = np.full(300, 7, np.float32)
READ_ONLY.flags.writeable = False


@pytest.mark.parametrize(
    "wrong",
    [
        np.full(299, 7, np.float32),
        np.full((300, 1), 7, np.float32),
        np.full((), 7, np.float32),
        np.full(300, 7, np.float64),
        np.full(300, 7, np.int32),
        np.full(300, 7, ">f4"),
        np.full(300, 7, object),
        READ_ONLY,
    ],
    ids=lambda a: f"{a.dtype}{a.shape}",
)
def test_an_array_that_does_not_fit_is_named_and_no_other_is_filled(run, wrong):
    good, words = np.full(3, 7.0), np.full(2, b"before", object)
    wanted = {"layer/b": good, "layer/w": wrong, "words": words}
    error = refused(run, errors.IncompatibleTensorError, ValueError, lambda m: m.restore(assignment_map=wanted))
    assert error.name == "layer/w"
    assert str(run / "ckpt-3") in str(error)
    assert good.tolist() == [7.0] * 3
    assert words.tolist() == [b"before"] * 2
    assert set(np.ravel(wrong).tolist()) == {7}


def test_one_array_for_two_tensors_is_refused(run):
    with ck.CheckpointManager(run) as manager:
        manager.save(4, {"a": np.ones(2), "b": np.zeros(2)})
        into = np.full(2, 7.0)
        with pytest.raises(errors.InvalidArgumentError):
            manager.restore(assignment_map={"a": into, "b": into})
        assert into.tolist() == [7.0, 7.0]


def test_many_names_that_are_all_there_are_matched_in_little_time(tmp_path):
    names = [f"layer/{i:05}/kernel" for i in range(20_000)]
    started = time.process_time()
    assert len(plan_assignment(names, assignment_map={n: "x/" + n for n in names})) == 20_000
    assert time.process_time() - started < 2


def test_missing_names_of_a_large_model_are_told_in_little_time():
    names = [f"model/layer_{i:05}/attention/kernel/Adam" for i in range(4000)]
    started = time.process_time()
    with pytest.raises(errors.TensorNotFoundError):
        plan_assignment(names, names=[n.replace("model/", "net/") for n in names])
    assert time.process_time() - started < 1


# -- disks and permissions


def full_after(monkeypatch: pytest.MonkeyPatch, number: int, *, half: bool, error: int) -> Callable[[], int]:
    """Lets the n-th write fail, all later ones too; of the failing one half is written, as on a disk that fills up."""
    real, calls = os.writev, 0

    def writev(fd: int, buffers: Any) -> int:
        nonlocal calls
        calls += 1
        if calls < number:
            return real(fd, buffers)
        if half and calls == number:
            data = b"".join(buffers)
            return real(fd, [data[: max(1, len(data) // 2)]])
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "writev", writev)
    return lambda: calls


def sync_fails(monkeypatch: pytest.MonkeyPatch, number: int, error: int) -> Callable[[], int]:
    real, calls = os.fsync, 0

    def fsync(fd: int) -> None:
        nonlocal calls
        calls += 1
        if calls == number:
            raise OSError(error, os.strerror(error))
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    return lambda: calls


def nothing_lost(directory: Path, before: dict[str, bytes], *, old: int | None, new: int) -> None:
    """What was there is as it was, the latest is the old one or the new one, whole; the step can be saved again."""
    now = contents(directory)
    with ck.CheckpointManager(directory) as manager:
        latest = manager.latest_step()
        assert latest in (old, new)
        if latest == new:
            assert is_step(manager.restore(), new)
        else:
            assert now.get("checkpoint") == before.get("checkpoint")
            assert {name: now.get(name) for name in before} == before
            if old is not None:
                assert is_step(manager.restore(), old)
            else:
                assert manager.restore_or_initialize(dict) == (0, {})
        assert not [name for name in now if ".ckptstore-tmp-" in name]
        manager.save(new, items(new), overwrite=latest == new)
        assert manager.latest_step() == new
        assert is_step(manager.restore(), new)
    assert ck.verify(directory).ok


@pytest.mark.filterwarnings("ignore::ckptstore.RetentionWarning")  # the save counts, and its tidying up failed
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_fills_up_at_any_write_loses_nothing(template, tmp_path, first, half, error):
    kind = errors.StorageError if error == errno.EIO else errors.StorageFullError
    failures = 0
    for number in range(1, 40):
        directory = tmp_path / str(number)
        if not first:
            shutil.copytree(template, directory)
        before = contents(directory)
        with ck.CheckpointManager(directory) as manager, pytest.MonkeyPatch.context() as patch:
            count = full_after(patch, number, half=half, error=error)
            failure = None
            try:
                manager.save(4, items(4))
            except kind as found:
                failure = found
            if count() < number:
                break
        if failure is not None:
            assert isinstance(failure, OSError)
            assert failure.errno == error
            assert failure.path is not None
            assert str(directory) in str(failure)
            failures += 1
        nothing_lost(directory, before, old=None if first else 3, new=4)
    assert failures >= 5


@pytest.mark.filterwarnings("ignore::ckptstore.RetentionWarning")  # the save counts, and its tidying up failed
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("first", [True, False])
def test_a_sync_that_fails_anywhere_loses_nothing(template, tmp_path, first, error):
    failures: list[errors.StorageError] = []
    for number in range(1, 60):
        directory = tmp_path / str(number)
        if not first:
            shutil.copytree(template, directory)
        before = contents(directory)
        with ck.CheckpointManager(directory) as manager, pytest.MonkeyPatch.context() as patch:
            count = sync_fails(patch, number, error)
            try:
                manager.save(4, items(4))
            except errors.StorageError as found:
                failures.append(found)
            if count() < number:
                break
        nothing_lost(directory, before, old=None if first else 3, new=4)
    assert len(failures) >= 6
    assert all(str(tmp_path) in str(failure) for failure in failures)


def test_a_read_only_file_system_is_a_permission_error_and_loses_nothing(run, monkeypatch):
    real = os.open

    def read_only(path, flags, *args, **kwargs):
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return real(path, flags, *args, **kwargs)

    before = contents(run)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", read_only)
        with ck.CheckpointManager(run) as manager:
            for overwrite in (False, True):
                with pytest.raises(errors.PermissionDeniedError) as caught:
                    manager.save(4 - overwrite, items(4), overwrite=overwrite)
                assert isinstance(caught.value, PermissionError)
                assert "read-only" in str(caught.value)
                assert str(run) in str(caught.value)
            assert is_step(manager.restore(), 3)
        with pytest.raises(errors.PermissionDeniedError):
            ck.save(run / "other", ITEMS)
        with pytest.raises(errors.PermissionDeniedError):
            ck.update_checkpoint_state(run, "ckpt-2")
    assert contents(run) == before


def test_checkpoints_that_cannot_be_deleted_do_not_fail_the_save(run, monkeypatch):
    real = os.unlink

    def unlink(path, *args, **kwargs):
        if b"ckpt-1" in os.fsencode(path):
            raise PermissionError(errno.EPERM, "Operation not permitted")
        real(path, *args, **kwargs)

    with ck.CheckpointManager(run, max_to_keep=2) as manager:
        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", unlink)
            with pytest.warns(ck.RetentionWarning, match="ckpt-1"):
                manager.save(4, items(4))
        assert manager.all_steps() == [3, 4]
        manager.save(5, items(5))
        assert not list(run.glob("ckpt-1.*"))


# -- processes that die


class DyingStore(WrapperStore):
    """Dies before, in the middle of or after the n-th call that changes something; a dead process does nothing more."""

    def __init__(self, inner: Store, number: int, when: str) -> None:
        super().__init__(inner)
        self.number, self.when, self.calls, self.dead = number, when, 0, False

    def _step(self, call: Callable[[], Any], torn: Callable[[], Any] = lambda: None) -> Any:
        if self.dead:
            raise CrashError("dead")
        self.calls += 1
        if self.calls != self.number:
            return call()
        self.dead = True
        {"before": lambda: None, "middle": torn, "after": call}[self.when]()
        raise CrashError(f"at call {self.number}")

    def put(self, key: str, payload: Payload) -> Any:
        return self._step(lambda: self._inner.put(key, payload))

    def create(self, key: str, payload: Payload, *, tag: str | None = None) -> Any:
        return self._step(lambda: self._inner.create(key, payload, tag=tag))

    def replace(self, key: str, payload: Payload, *, version: str, tag: str | None = None) -> Any:
        return self._step(lambda: self._inner.replace(key, payload, version=version, tag=tag))

    def delete_versions(self, objects: Any) -> Any:
        metas = list(objects)
        return self._step(
            lambda: self._inner.delete_versions(metas), lambda: self._inner.delete_versions(metas[: len(metas) // 2])
        )

    def delete(self, keys: Any) -> None:
        names = list(keys)
        self._step(lambda: self._inner.delete(names), lambda: self._inner.delete(names[: len(names) // 2]))

    def get(self, key: str, *, limit: int | None = None) -> Any:
        return self._alive(lambda: self._inner.get(key, limit=limit))

    def list(self, prefix: str = "") -> Any:
        return self._alive(lambda: self._inner.list(prefix))

    def head(self, key: str) -> Any:
        return self._alive(lambda: self._inner.head(key))

    def _alive(self, call: Callable[[], Any]) -> Any:
        if self.dead:
            raise CrashError("dead")
        return call()

    def close(self) -> None:
        pass


@pytest.fixture
def managed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ck.CheckpointManager]:
    """Managers over a given store, which closing them leaves alone."""

    def make(store: Store, **options: Any) -> ck.CheckpointManager:
        monkeypatch.setattr(module, "from_url", lambda url, storage_options=None: store)
        return ck.CheckpointManager("memory", **options)

    return make


SCENARIOS: dict[str, Callable[[ck.CheckpointManager], Any]] = {
    "first": lambda m: m.save(1, items(1)),
    "later": lambda m: m.save(4, items(4)),
    "later with deletion": lambda m: m.save(4, items(4)),
    "overwrite the latest": lambda m: m.save(3, items(9), overwrite=True),
    "overwrite an older one": lambda m: m.save(1, items(9), overwrite=True),
    "overwrite with deletion": lambda m: m.save(3, items(9), overwrite=True),
}


def prepared(
    name: str, managed: Callable[..., ck.CheckpointManager]
) -> tuple[MemoryStore, dict[str, Any], int | None, int, int]:
    """The store before the save, the manager's options, the old latest, and step and value of the new one."""
    store = MemoryStore()
    if name != "first":
        for step in (1, 2, 3):
            managed(store, max_shard_bytes=200).save(step, items(step))
    options = {"max_to_keep": 2 if "deletion" in name else 5, "max_shard_bytes": 200}
    step, value = {"first": (1, 1), "overwrite an older one": (1, 9)}.get(
        name, (3, 9) if "overwrite" in name else (4, 4)
    )
    return store, options, None if name == "first" else 3, step, value


@pytest.mark.parametrize("when", ["before", "middle", "after"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_process_that_dies_anywhere_in_a_save_loses_nothing(managed, scenario, when):
    for number in range(1, 100):
        store, options, old, step, value = prepared(scenario, managed)
        dying = DyingStore(store, number, when)
        with contextlib.suppress(CrashError):
            SCENARIOS[scenario](managed(dying, **options))
        if not dying.dead:
            break
        manager = managed(store, **options)
        found, arrays = manager.restore_or_initialize(dict)
        if found == step and is_step(arrays, value):
            pass  # the new one counts
        elif old is None:
            assert (found, arrays) == (0, {})
        else:
            assert found == old
            assert is_step(arrays, old)
            if scenario == "overwrite an older one":
                assert is_step(manager.restore(1), 1) or is_step(manager.restore(1), 9)
        for listed in manager.all_steps():  # whatever is listed can be restored
            assert sorted(manager.restore(listed)) == sorted(ITEMS)
        manager.save(step, items(value), overwrite=step in manager.all_steps())
        assert manager.latest_step() == step
        assert is_step(manager.restore(), value)
        assert is_step(manager.restore(step), value)
    assert number > 4


@pytest.mark.parametrize("again", range(1, 8))
def test_a_process_that_dies_again_and_again_in_its_first_save_still_begins(managed, again):
    # A job that is preempted while it saves its first checkpoint, and again while it tries anew.
    for number in range(1, 8):
        store = MemoryStore()
        for at in (number, again, number):
            dying = DyingStore(store, at, "after")
            with contextlib.suppress(CrashError):
                manager = managed(dying)
                manager.save(1, items(1), overwrite=1 in manager.all_steps())
        manager = managed(store)
        found, arrays = manager.restore_or_initialize(dict)
        assert found == 0 or is_step(arrays, 1)
        manager.save(1, items(1), overwrite=found == 1)
        assert is_step(manager.restore(), 1)


def test_a_checkpoint_that_never_counted_is_not_what_its_step_restores(managed):
    # Step 4 was written whole and died before it counted. The run went on from 3, saved another step 4, and that one
    # was deleted in its turn: now there is no step 4, and least of all the one that was given up.
    store, options, *_ = prepared("later", managed)
    commit = 5  # two of the probe, the taking over, the note of what is being saved, the commit
    dying = FaultyStore(store, [Fault("replace", first=commit, when="crash")])
    with pytest.raises(CrashError):
        managed(dying, **options).save(4, items(4))
    assert dying.calls[-1].key == "checkpoint"
    assert CheckpointDirectory(store).has_bundle("ckpt-4")
    manager = managed(store, max_to_keep=1)
    manager.save(4, items(44))
    assert is_step(manager.restore(4), 44)
    manager.save(5, items(5))
    with pytest.raises(errors.CheckpointNotFoundError):
        manager.restore(4)


def test_a_preserved_step_is_found_whatever_directory_it_was_written_in(managed):
    store, clock = MemoryStore(), ManualClock()
    manager = managed(store, max_to_keep=1, keep_checkpoint_every_n_hours=1, clock=clock)
    manager.save(1, items(1))
    manager.save(1, items(11), overwrite=True)
    clock.advance(7200)
    manager.save(2, items(2))
    clock.advance(7200)
    manager.save(2, items(22), overwrite=True)
    clock.advance(7200)
    manager.save(3, items(3))
    assert manager.all_steps() == [3]
    kept = [meta.key for meta in store.list() if meta.key.endswith(".index")]
    assert len(kept) == 2
    assert is_step(manager.restore(2), 22)


@pytest.mark.parametrize("verb", ["put", "create", "replace", "get", "list", "delete_versions"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_store_that_fails_at_any_call_of_a_save_loses_nothing(managed, verb, when):
    for number in range(1, 30):
        store, options, old, step, value = prepared("later with deletion", managed)
        faulty = FaultyStore(
            store, [Fault(verb, first=number, when=when, error=errors.StorageError("the network is down", path="x"))]
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ck.RetentionWarning)
                managed(faulty, **options).save(step, items(value))
        except errors.StorageError:
            pass
        if faulty.count(verb) < number:
            break
        manager = managed(store, **options)
        latest = manager.latest_step()
        assert latest in (old, step)
        assert is_step(manager.restore(), latest)
        manager.save(step, items(value), overwrite=latest == step)
        assert is_step(manager.restore(), value)
    assert number > 1


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError(), SystemExit(1)], ids=lambda e: type(e).__name__)
def test_an_interrupt_at_any_write_gets_through_and_leaves_no_temporary_file(template, tmp_path, error):
    for number in range(1, 30):
        directory = shutil.copytree(template, tmp_path / str(number))
        before = contents(directory)
        real, calls = os.writev, 0  # the probe's are among them

        def writev(fd, buffers, number=number, real=real):
            nonlocal calls
            calls += 1
            if calls == number:
                raise error
            return real(fd, buffers)

        with ck.CheckpointManager(directory) as manager, pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "writev", writev)
            try:
                manager.save(4, items(4))
            except type(error):
                pass
            else:
                break
        nothing_lost(directory, before, old=3, new=4)
    assert number > 3


def test_a_local_store_is_what_a_path_gives(tmp_path):
    with ck.CheckpointManager(tmp_path) as manager:
        assert isinstance(manager._store, LocalStore)
