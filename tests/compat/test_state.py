"""The state file: the same bytes as TensorFlow's for the same paths, and each reads the other's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ckptstore as ck
from tests.compat.support import QUIET, run_python, v1

tf = pytest.importorskip("tensorflow")
pytestmark = QUIET

NAMES = [
    "m-1", "model.ckpt-1200", "a b", "quote\"s", "apostrophe's",
    "back\\slash", "\u00e4\u00f6", "\u4e16\u754c", "\U0001f600", "e\u0301",
    "sub/m-1", "a/b/c/m-1", "*", "?[x]", "#no comment", "{brace}", "a:b", "~", "-",
    "m-?????-of-00002", "\u2028", "\u00a0x", "\\n", "\\001",
    "trailing ", "n" * 200,
]  # fmt: skip
STAMPS: list[dict[str, Any]] = [
    {},
    {"all_model_checkpoint_timestamps": True},
    {"all_model_checkpoint_timestamps": True, "last_preserved_timestamp": 1699999999.25},
    {"last_preserved_timestamp": 0.1},
    {"last_preserved_timestamp": 0.0},
    {"last_preserved_timestamp": 1e22},
    {"last_preserved_timestamp": 5},
    {"last_preserved_timestamp": -1.5},
]


def stamps_for(extra: dict[str, Any], count: int) -> dict[str, Any]:
    times = [1700000000.1234567, 0.0, 1e-7, 1e16, 123456789012345.67, 3.0, 1.0 / 3]
    out = dict(extra)
    if out.pop("all_model_checkpoint_timestamps", None):
        out["all_model_checkpoint_timestamps"] = [times[i % len(times)] for i in range(count)]
    return out


def check(directory: str, latest: str, paths: list[str] | None, extra: dict[str, Any]) -> None:
    """Both write; the bytes are the same; both read both, and make the same of it."""
    from tensorflow.python.checkpoint.checkpoint_management import update_checkpoint_state_internal

    for relative in (False, True):
        update_checkpoint_state_internal(
            directory,
            latest,
            None if paths is None and not relative else list(paths or []),
            "theirs",
            save_relative_paths=relative,
            **extra,
        )
        ck.update_checkpoint_state(directory, latest, paths, "ours", save_relative_paths=relative, **extra)
        ours, theirs = (Path(directory or ".", name).read_bytes() for name in ("ours", "theirs"))
        assert ours == theirs, f"save_relative_paths={relative}"
    v1.train.update_checkpoint_state(directory, latest, None if paths is None else list(paths), "theirs", **extra)
    for file in ("ours", "theirs"):
        mine, yours = (
            ck.get_checkpoint_state(directory or ".", file),
            tf.train.get_checkpoint_state(directory or ".", file),
        )
        assert mine is not None
        assert mine.model_checkpoint_path == yours.model_checkpoint_path
        assert list(mine.all_model_checkpoint_paths) == list(yours.all_model_checkpoint_paths)
        assert list(mine.all_model_checkpoint_timestamps) == list(yours.all_model_checkpoint_timestamps)
        assert mine.last_preserved_timestamp == yours.last_preserved_timestamp


@pytest.mark.parametrize("name", NAMES)
def test_special_characters_absolute(name: str, tmp_path: Path) -> None:
    paths = [str(tmp_path / "older"), str(tmp_path / name)]
    check(str(tmp_path), paths[-1], paths, {})
    check(str(tmp_path), paths[-1], None, {})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("directory", ["run", "run/deep", "./run", "run/", ""])
def test_special_characters_relative(
    name: str, directory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative path counts from the current directory; so does the directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run" / "deep").mkdir(parents=True)
    prefix = directory if directory.endswith("/") or not directory else directory + "/"
    check(directory or ".", prefix + name, [prefix + "older", prefix + name], {})


@pytest.mark.parametrize("extra", STAMPS, ids=str)
@pytest.mark.parametrize("count", [1, 2, 7])
def test_times(extra: dict[str, Any], count: int, tmp_path: Path) -> None:
    paths = [str(tmp_path / f"m-{i}") for i in range(count)]
    check(str(tmp_path), paths[-1], paths, stamps_for(extra, count))


def test_the_latest_is_appended(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"m-{i}") for i in range(3)]
    check(str(tmp_path), paths[0], paths, {})
    check(str(tmp_path), paths[0], [], {})
    check(str(tmp_path), paths[0], paths, stamps_for(STAMPS[1], 4))


def test_relative_paths_in_an_absolute_directory(tmp_path: Path) -> None:
    check(str(tmp_path), "m-2", ["m-1", "m-2"], {})


def test_as_many_times_as_paths(tmp_path: Path) -> None:
    arguments: Any = (str(tmp_path), str(tmp_path / "m"), [str(tmp_path / "m")], None, [1.0, 2.0])
    with pytest.raises(ValueError, match="must match checkpoint paths"):
        v1.train.update_checkpoint_state(*arguments)
    with pytest.raises(ValueError, match="must match checkpoint paths"):
        ck.update_checkpoint_state(*arguments)


TEXTS = [
    'model_checkpoint_path: "a"\n',
    "model_checkpoint_path: 'a'",
    'model_checkpoint_path: "a"  # comment\nall_model_checkpoint_paths: ["x", "y"]',
    'model_checkpoint_path: "a" "b"\n"c"',
    r'model_checkpoint_path: "\303\244 \xc3\xa4 \u00e4 \U0001F600 \n\t\"\'"',
    'model_checkpoint_path: "a" model_checkpoint_path: "b"',
    (
        'model_checkpoint_path:"a",all_model_checkpoint_paths:["x","a"],all_model_checkpoint_timestamps:[1,2.5e2];'
        "last_preserved_timestamp:-7"
    ),
    'model_checkpoint_path:"a" all_model_checkpoint_paths:["x","a"] all_model_checkpoint_timestamps:[inf, 1f]',
    'model_checkpoint_path: "a"\r\nall_model_checkpoint_paths: "a"\r\n',
]


@pytest.mark.parametrize("text", TEXTS)
def test_other_spellings(text: str, tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_text(text, "utf-8", newline="")
    theirs = tf.train.get_checkpoint_state(str(tmp_path))
    if not theirs.all_model_checkpoint_paths and "\\n" in text:
        with pytest.raises(ck.UnsafePathError):  # a control character, which we take for no name
            ck.get_checkpoint_state(tmp_path)
        return
    ours = ck.get_checkpoint_state(tmp_path)
    assert ours is not None
    assert ours.model_checkpoint_path == theirs.model_checkpoint_path
    assert list(ours.all_model_checkpoint_paths) == list(theirs.all_model_checkpoint_paths)
    assert repr(list(ours.all_model_checkpoint_timestamps)) == repr(list(theirs.all_model_checkpoint_timestamps))
    assert repr(ours.last_preserved_timestamp) == repr(theirs.last_preserved_timestamp)


def test_times_that_do_not_match_the_paths_are_an_error(tmp_path: Path) -> None:
    """TensorFlow reads on, and pairs what it can."""
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "a" all_model_checkpoint_timestamps: [1, 2, 3]')
    assert tf.train.get_checkpoint_state(str(tmp_path)).model_checkpoint_path == str(tmp_path / "a")
    with pytest.raises(ck.StateCorruptError):
        ck.get_checkpoint_state(tmp_path)


def test_what_tensorflow_takes_for_no_state_is_an_error(tmp_path: Path) -> None:
    for text in ("unknown_field: 1", "model_checkpoint_path: ", "{", 'model_checkpoint_path: "a'):
        (tmp_path / "checkpoint").write_text(text)
        assert tf.train.get_checkpoint_state(str(tmp_path)) is None
        with pytest.raises(ck.StateCorruptError):
            ck.get_checkpoint_state(tmp_path)
    (tmp_path / "checkpoint").write_text("")
    with pytest.raises(ValueError, match="Invalid checkpoint state"):
        tf.train.get_checkpoint_state(str(tmp_path))
    with pytest.raises(ck.StateCorruptError):
        ck.get_checkpoint_state(tmp_path)


# -- one process

USE_BOTH = """
import os, sys
{first}
{second}
import numpy as np
tf, ck, directory = tensorflow, ckptstore, sys.argv[1]
ck.save(directory + "/ours", {{"a/b": np.arange(6, dtype=np.float32).reshape(2, 3), "s": "text"}})
assert tf.train.load_checkpoint(directory + "/ours").get_tensor("a/b").tolist() == [[0, 1, 2], [3, 4, 5]]
checkpoint = tf.train.Checkpoint(v=tf.Variable(np.arange(3)))
assert ck.restore(checkpoint.save(directory + "/theirs"))["v"].tolist() == [0, 1, 2]
with ck.CheckpointManager(directory + "/run", object_based=True) as manager:
    path = manager.save(3, {{"v": np.arange(3) + 7}}, metrics={{"loss": 1.0}})
    with tf.Graph().as_default():
        tf.compat.v1.train.import_meta_graph(path + ".meta")
    theirs = tf.train.CheckpointManager(checkpoint, directory + "/run", 2)
    checkpoint.restore(theirs.latest_checkpoint).assert_consumed()
    assert checkpoint.v.numpy().tolist() == [7, 8, 9]
    theirs.save()
    assert manager.all_steps() == [3, 4], manager.all_steps()
print("done")
"""


@pytest.mark.parametrize(
    "imports",
    [
        pytest.param(["import ckptstore", "import tensorflow"], id="ours-first"),
        pytest.param(["import tensorflow", "import ckptstore"], id="tensorflow-first"),
    ],
)
def test_both_in_one_process(imports: list[str], tmp_path: Path) -> None:
    assert run_python(USE_BOTH.format(first=imports[0], second=imports[1]), tmp_path).endswith("done\n")


def test_ckptstore_does_not_import_tensorflow() -> None:
    run_python(
        "import ckptstore, sys; assert not any(m.partition('.')[0] in ('tensorflow', 'keras') for m in sys.modules)"
    )
