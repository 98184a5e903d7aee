"""tf.train.Saver's behaviour: files, names, the state file, the list of what it keeps, and what it restores."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptstore as ck
from ckptstore.testing import ManualClock
from tests.graph import builders
from tests.support.golden import GOLDEN, expectation
from tests.support.variables import FakeVariable


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A default graph and a current directory of its own for each test."""
    monkeypatch.chdir(tmp_path)
    with ck.Graph().as_default():
        yield


def files(directory: str | Path = ".") -> list[str]:
    """What TensorFlow would see, directories below it included."""
    root = Path(directory)
    found = (str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())
    return sorted(name for name in found if not name.startswith(".ckptstore"))


def state(directory: str | Path = ".", name: str = "checkpoint") -> str:
    """TensorFlow's part of a state file."""
    lines = (Path(directory) / name).read_text("utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("#"))


def listed(*paths: str) -> str:
    lines = [f'all_model_checkpoint_paths: "{path}"\n' for path in paths]
    return "".join([f'model_checkpoint_path: "{paths[-1]}"\n', *lines])


def two() -> tuple[ck.Variable, ck.Variable]:
    return ck.Variable(np.float32([1.0]), name="v1"), ck.Variable(np.float32([2.0]), name="v2")


# -- saving


def test_four_files_and_three() -> None:
    v1, v2 = two()
    total = v1 + v2
    assert ck.Saver().save("four/model.ckpt") == "four/model.ckpt"
    assert files("four") == [
        "checkpoint", "model.ckpt.data-00000-of-00001", "model.ckpt.index", "model.ckpt.meta",
    ]  # fmt: skip
    assert state("four") == listed("model.ckpt")
    assert ck.Saver(write_version=ck.SaverDef.V1).save("three/model.ckpt") == "three/model.ckpt"
    assert files("three") == ["checkpoint", "model.ckpt", "model.ckpt.meta"]
    assert state("three") == listed("model.ckpt")
    for path in ("four/model.ckpt", "three/model.ckpt"):
        v1.assign([7.0])
        report = ck.Saver().restore(path)
        assert report.used == (("v1", "v1"), ("v2", "v2"))
        assert total.eval() == [3.0]


def test_the_sixth_save_removes_the_first() -> None:
    """golden/07: the files, the list and the text of the state file after every save."""
    value = ck.Variable(np.float32(0), name="v")
    saver = ck.Saver()
    for said in expectation("07_keep_5_of_7")["history"]:
        value.assign(np.float32(said["after_step"] / 100))
        saver.save("model.ckpt", global_step=said["after_step"])
        assert files() == said["files"]
        assert state() == said["checkpoint"]
        assert saver.last_checkpoints == said["last_checkpoints"]
    for path in Path().glob("*-of-00001"):
        assert path.read_bytes() == (GOLDEN / "07_keep_5_of_7" / path.name).read_bytes()


@pytest.mark.parametrize(("keep", "case"), [(None, "none"), (0, "zero"), (1, "one")])
def test_all_or_one(keep: int | None, case: str) -> None:
    """golden/07b."""
    ck.Variable(np.float32(0), name="v")
    saver = ck.Saver(max_to_keep=keep)
    for number, (said, text, last) in enumerate(expectation("07b_max_to_keep_none_1")[case], 1):
        saver.save(f"{case}/m", global_step=number, write_meta_graph=False)
        assert files(case) == said
        assert state(case) == text
        assert saver.last_checkpoints == last


def test_every_n_hours() -> None:
    """golden/08: periods count from when the Saver was made."""
    ck.Variable(np.float32(0), name="v")
    clock = ManualClock(1_700_000_000.0)
    saver = ck.Saver(max_to_keep=2, keep_checkpoint_every_n_hours=1.0, clock=clock)
    for number, said in enumerate(expectation("08_keep_every_n_hours")["saver_history"]):
        clock.sleep(900)
        saver.save("saver/m", global_step=number, write_meta_graph=False)
        assert [name for name in files("saver") if name.endswith(".index")] == said["index_files"]
        assert saver.last_checkpoints == said["last_checkpoints"]
    assert state("saver") == expectation("08_keep_every_n_hours")["state_saver"]["raw_text"]


def test_steps_names_and_suffixes() -> None:
    """golden/01c, but that what the first Saver listed stays listed when the second saves (docs/tensorflow.md)."""
    said = expectation("01c_global_step_suffix")["save_returned"]
    a = ck.Variable(np.array([1, 2, 3], "i4"), name="a")
    b = ck.Variable(np.array(4.5, "f8"), name="scope/b")
    step = ck.get_or_create_global_step()
    step.assign(42)
    assert ck.Saver([a]).save("m", global_step=7, write_meta_graph=False) == said["int"]
    assert ck.Saver([b, a]).save("m", global_step=step, write_meta_graph=False) == said["tensor"]
    padded = ck.Saver({"x/alias": a, "b2": b}, pad_step_number=True)
    path = padded.save("padded", global_step=1234, meta_graph_suffix="mg", latest_filename="latest_padded")
    assert path == said["padded"]
    assert ck.Saver([a]).save("z", global_step=0, write_state=False) == said["zero"]
    expected = {p.name for p in (GOLDEN / "01c_global_step_suffix").iterdir()} - {"expected.json", "expected.npz"}
    assert set(files()) == expected
    assert state() == listed("m-7", "m-42")
    assert state(name="latest_padded") == listed("padded-00001234")
    for name in expected:
        if name.endswith((".index", "-of-00001")):
            assert Path(name).read_bytes() == (GOLDEN / "01c_global_step_suffix" / name).read_bytes()


@pytest.mark.parametrize(
    ("step", "name"),
    [
        (3, "m-3"),
        (np.int64(3), "m-3"),
        (np.array(3), "m-3"),
        (-1, "m--1"),
        (True, "m-1"),
        ("step", "m-9"),
        ("step:0", "m-9"),
        ("double:0", "m-18"),
    ],
)
def test_ways_to_say_the_step(step: Any, name: str) -> None:
    counter = ck.Variable(np.int64(9), name="step")
    ck.raw_ops.Mul(x=counter, y=np.int64(2), name="double")
    wanted = "step:0" if step == "step" else step
    assert ck.Saver().save("m", global_step=wanted) == name
    assert ck.Saver().save("n/m", global_step=counter) == "n/m-9"


@pytest.mark.parametrize(
    ("case", "build", "options"),
    [
        ("01a_basic_ref/model.ckpt", lambda: builders.basic(False), {}),
        ("01b_basic_resource/model.ckpt", lambda: builders.basic(True), {}),
        ("05a_partitioned_ref/part.ckpt", lambda: builders.partitioned(False), {}),
        ("05b_partitioned_resource/part.ckpt", lambda: builders.partitioned(True), {}),
        ("06a_sharded_one_device/part.ckpt", lambda: builders.partitioned(False), {"sharded": True}),
        ("06b_sharded_devices/sh.ckpt-3", builders.on_devices, {"sharded": True}),
        ("09a_v1_basic/model.ckpt", lambda: builders.basic(False), {"write_version": ck.SaverDef.V1}),
        ("09c_v1_partitioned/part.ckpt", lambda: builders.partitioned(False), {"write_version": ck.SaverDef.V1}),
        ("09d_v1_sharded/sh.ckpt-3", builders.on_devices, {"write_version": ck.SaverDef.V1, "sharded": True}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_file_is_tensorflows(case: str, build: Any, options: dict[str, Any]) -> None:
    """All files of golden cases, to the byte; of the MetaGraph all but which program wrote it."""
    folder, name = case.split("/")
    graph = build()
    base, dash, step = name.partition("-")
    saver = ck.Saver(graph=graph, **options)
    returned = saver.save(base, global_step=int(step) if dash else None)
    assert returned == expectation(folder)["save_returned"]
    golden = [p for p in (GOLDEN / folder).iterdir() if p.name.startswith(name) and not p.name.endswith("pbtxt")]
    assert files() == sorted([*(p.name for p in golden), "checkpoint"])
    assert state() == (GOLDEN / folder / "checkpoint").read_text()
    for path in golden:
        data = Path(path.name).read_bytes()
        if path.suffix == ".meta":
            ours, theirs = ck.load_meta_graph(path.name), ck.load_meta_graph(path)
            ours.meta_info_def.tensorflow_git_version = theirs.meta_info_def.tensorflow_git_version
            assert ours == theirs
        else:
            assert data == path.read_bytes(), path.name
    for variable in graph.get_collection("variables"):
        variable.assign(np.zeros_like(variable.numpy()))
    saver.restore(returned)
    for variable in graph.get_collection("variables"):
        assert np.any(variable.numpy())


def test_a_path_that_is_saved_again_and_again() -> None:
    """One checkpoint of that name is there after each save, whole, and the latest."""
    value = ck.Variable(np.zeros(3, np.float32), name="v")
    saver = ck.Saver()
    for number in range(4):
        value.assign(np.full(3, number, np.float32))
        assert saver.save("run/model") == "run/model"
        assert files("run") == ["checkpoint", "model.data-00000-of-00001", "model.index", "model.meta"]
        assert state("run") == listed("model")
        assert not [p for p in Path("run").iterdir() if p.is_dir() and p.name != ".ckptstore"]
        assert saver.last_checkpoints == ["run/model"]
        assert ck.load_variable("run/model", "v").tolist() == [number] * 3
    again = ck.Saver([value])  # another process would do the same
    assert again.save("run/model") == "run/model"
    assert state("run") == listed("model")


def test_a_name_that_cannot_be_had_at_once() -> None:
    """Somebody reads the old one: the new one stands elsewhere, and is restored by its name all the same."""
    value = ck.Variable(np.float32(1), name="v")
    saver = ck.Saver()
    saver.save("run/model")
    with ck.load_checkpoint("run") as reader:
        value.assign(np.float32(2))
        path = saver.save("run/model")
        assert path != "run/model"
        assert Path(path).name == "model"
        assert saver.last_checkpoints == [path]
        assert reader.get_tensor("v") == 1
        assert ck.latest_checkpoint("run") == path
    value.assign(np.float32(0))
    saver.restore(path)
    assert value.numpy() == 2
    value.assign(np.float32(3))
    assert saver.save("run/model") == "run/model"  # the reader has gone
    assert ck.load_variable("run/model", "v") == 3


def test_two_savers_in_one_directory_leave_each_others_checkpoints_alone() -> None:
    a, b = two()
    often, best = ck.Saver([a], max_to_keep=2), ck.Saver([b], max_to_keep=1)
    for step in range(1, 5):
        often.save("model", global_step=step, write_meta_graph=False)
        if step in (1, 3):
            best.save("best", global_step=step, write_meta_graph=False)
    assert [name for name in files() if name.endswith(".index")] == ["best-3.index", "model-3.index", "model-4.index"]
    assert state() == listed("model-3", "best-3", "model-4")


def test_after_a_restart() -> None:
    """The list begins anew, as in TensorFlow; what was listed stays, and recover_last_checkpoints takes it back."""
    v, _ = two()
    first = ck.Saver(max_to_keep=2)
    for step in (1, 2, 3):
        first.save("m", global_step=step, write_meta_graph=False)
    second = ck.Saver([v], max_to_keep=2)
    second.save("m", global_step=4, write_meta_graph=False)
    assert second.last_checkpoints == ["m-4"]
    assert state() == listed("m-2", "m-3", "m-4")
    third = ck.Saver([v], max_to_keep=2)
    found = ck.get_checkpoint_state(".")
    assert found is not None
    third.recover_last_checkpoints([*found.all_model_checkpoint_paths, "gone-1"])
    assert third.last_checkpoints == ["./m-2", "./m-3", "./m-4"]
    third.save("m", global_step=5, write_meta_graph=False)
    third.save("m", global_step=6, write_meta_graph=False)
    assert state() == listed("m-4", "m-5", "m-6")
    assert [name for name in files() if name.endswith(".index")] == ["m-4.index", "m-5.index", "m-6.index"]


def test_lists_that_are_set() -> None:
    two()
    saver = ck.Saver(max_to_keep=1)
    saver.save("m", global_step=1)
    saver.set_last_checkpoints(["m-1"])
    assert saver.last_checkpoints == ["m-1"]
    saver.save("m", global_step=2)
    assert "m-1.index" in files()  # its time is for ever away, so that it is preserved
    saver.set_last_checkpoints_with_time([("m-2", 0.0)])
    saver.save("m", global_step=3)
    assert "m-2.index" not in files()
    for wrong in ("m-1", {"m-1": 1.0}, 7):
        with pytest.raises(ck.InvalidArgumentError, match="list of checkpoints"):
            saver.set_last_checkpoints_with_time(wrong)  # type: ignore[arg-type]


def test_one_list_over_two_directories() -> None:
    two()
    saver = ck.Saver(max_to_keep=2)
    for step in (1, 2):
        saver.save("a/m", global_step=step)
    saver.save("b/m", global_step=3)
    assert saver.last_checkpoints == ["a/m-2", "b/m-3"]
    assert [name for name in files("a") if name.endswith(".index")] == ["m-2.index"]
    assert state("a") == listed("m-2")


def test_a_directory_of_the_list_that_is_gone() -> None:
    """The save elsewhere counts all the same; the vanished directory is an error until the Saver begins anew."""
    two()
    saver = ck.Saver(max_to_keep=1)
    saver.save("a/m", global_step=1)
    shutil.rmtree("a")
    with pytest.warns(ck.RetentionWarning, match="a/m-1"):
        assert saver.save("b/m", global_step=2) == "b/m-2"
    with pytest.raises(ck.StateMissingError):
        saver.save("a/m", global_step=3)
    saver.close()
    assert saver.save("a/m", global_step=3) == "a/m-3"


def test_pinned_checkpoints_stay() -> None:
    two()
    saver = ck.Saver(max_to_keep=1)
    saver.save("run/m", global_step=1)
    from ckptstore.cli import main

    assert main(["pin", "run/m-1"]) == 0
    saver.save("run/m", global_step=2)
    saver.save("run/m", global_step=3)
    assert [name for name in files("run") if name.endswith(".index")] == ["m-1.index", "m-3.index"]


def test_unlisted_saves_and_then_a_listed_one() -> None:
    two()
    saver = ck.Saver()
    for _ in range(2):
        assert saver.save("m", global_step=1, write_state=False) == "m-1"
    assert files() == ["m-1.data-00000-of-00001", "m-1.index", "m-1.meta"]
    assert saver.last_checkpoints == []
    assert saver.save("m", global_step=2) == "m-2"
    assert state() == listed("m-2")
    assert saver.save("m", global_step=1) == "m-1"  # over its own files that counted nowhere
    assert state() == listed("m-2", "m-1")
    with pytest.raises(ck.CheckpointExistsError, match="write_state=True"):
        saver.save("m", global_step=2, write_state=False)


@pytest.mark.parametrize("keep", [None, 3])
def test_a_preserved_name_that_is_saved_again(keep: int | None) -> None:
    v, _ = two()
    saver = ck.Saver(max_to_keep=keep)
    for step in (1, 2, 1, 3, 1):
        v.assign([float(step)])
        assert saver.save("m", global_step=step) == f"m-{step}"
    assert state() == listed(*(["m-2", "m-3", "m-1"] if keep else ["m-1"]))
    assert [name for name in files() if name.endswith(".index")] == ["m-1.index", "m-2.index", "m-3.index"]


def test_nothing_to_save() -> None:
    with pytest.raises(ck.InvalidArgumentError, match="No variables to save"):
        ck.Saver()
    saver = ck.Saver(allow_empty=True)
    assert saver.save("m") is None
    assert files() == ["m.meta"]
    assert saver.save("n", write_meta_graph=False) is None
    saver.restore("m")


def test_built_later() -> None:
    saver = ck.Saver(defer_build=True)
    two()
    with pytest.raises(ck.InvalidArgumentError, match="build"):
        saver.save("m")
    with pytest.raises(ck.InvalidArgumentError, match="build"):
        saver.restore("m")
    saver.build()
    saver.build()
    assert saver.save("m") == "m"
    with pytest.raises(ck.InvalidArgumentError, match="defer_build"):
        ck.Saver({}, defer_build=True)


# -- what can be saved


def test_arrays_by_name() -> None:
    """And TensorFlow gets a graph that restores them."""
    items = {"w": np.arange(6.0).reshape(2, 3), "a b/\u00e9": np.int32(4), "words": np.array([b"x", b"yz"], object)}
    saver = ck.Saver(items)
    items["w"][0, 0] = 9.0
    path = saver.save("m")
    assert saver.graph is not ck.get_default_graph()
    stored = ck.restore(path)
    assert stored["w"].tolist() == [[9, 1, 2], [3, 4, 5]]
    assert stored["words"].tolist() == [b"x", b"yz"]
    items["w"][:] = 0
    with pytest.raises(ck.InvalidArgumentError, match="a b"):
        saver.restore(path)  # a number cannot be filled
    assert not items["w"].any()
    assert saver.restore(path, names=["w*"]).used == (("w", "w"), ("words", "words"))
    assert items["w"][0, 0] == 9.0
    graph = ck.Graph()
    again = ck.import_meta_graph("m.meta", graph=graph)
    assert again is not None
    assert {name: variable.op.name for name, variable in again.items()} == {
        "w": "w", "a b/\u00e9": "a_b/_", "words": "words",
    }  # fmt: skip
    again.restore(path)
    assert graph.values["w"][0, 0] == 9.0


def test_tensorflows_variables() -> None:
    """Whatever has a name, a shape, a type, numpy() and assign()."""
    w, b = FakeVariable("layer/w:0", np.ones((2, 2), np.float32)), FakeVariable("b:0", np.float32(3))
    path = ck.Saver([w, b]).save("m")
    assert ck.list_variables(path) == [("b", []), ("layer/w", [2, 2])]
    w.value = np.zeros((2, 2), np.float32)
    assert ck.Saver({"layer/w": w}).restore(path).unused == ("b",)
    assert w.value.all()


def test_parts() -> None:
    whole = np.arange(20, dtype=np.float32).reshape(10, 2)
    parts = ck.PartitionedVariable.split(whole, 3, name="emb")
    assert [part.name for part in parts] == ["emb/part_0:0", "emb/part_1:0", "emb/part_2:0"]
    for number, var_list in enumerate((None, list(parts), [parts], {"emb": parts}, {"emb": list(parts)})):
        path = ck.Saver(var_list).save(f"m{number}")
        assert ck.load_variable(path, "emb").tolist() == whole.tolist()
        parts.assign(np.zeros_like(whole))
        ck.Saver(var_list).restore(path)
        assert parts.numpy().tolist() == whole.tolist()
    alias = ck.Saver({"other": parts}).save("alias")
    assert ck.load_variable(alias, "other").tolist() == whole.tolist()
    with ck.Graph().as_default():
        plain = ck.Variable(np.zeros_like(whole), name="emb")
        ck.Saver().restore("m0")  # another partitioning, or none
        assert plain.numpy().tolist() == whole.tolist()
        other = ck.PartitionedVariable.split(np.zeros_like(whole), 2, axis=1, name="again")
        ck.Saver({"emb": other}).restore("m0")
        assert other.numpy().tolist() == whole.tolist()


@pytest.mark.parametrize(
    ("var_list", "text"),
    [
        ("v", "passed in a dict or a list"),
        ((v for v in ()), "passed in a dict or a list"),
        (7, "passed in a dict or a list"),
        ([1.0], "is none"),
        ([np.ones(2)], "a mapping that names them"),
        ({3: np.ones(1)}, "Name is not a string: 3"),
        ({"": np.ones(1)}, "Name is not a string"),
        ({"a": "text"}, "Not a variable"),
        ({"a": None}, "Not a variable"),
        ({"a": object()}, "not bytes or str"),
        ([], "No variables to save"),
        ({}, "No variables to save"),
    ],
)
def test_what_cannot_be_saved(var_list: Any, text: str) -> None:
    with pytest.raises((ck.InvalidArgumentError, ck.IncompatibleTensorError), match=text):
        ck.Saver(var_list)


def test_names_that_clash() -> None:
    a = FakeVariable("a:0", np.float32(1))
    with pytest.raises(ck.InvalidArgumentError, match="same name: a"):
        ck.Saver([a, FakeVariable("a:0", np.float32(2))])
    with pytest.raises(ck.InvalidArgumentError, match="under two names, 'x' and 'y'"):
        ck.Saver({"x": a, "y": a})
    v, _ = two()
    with pytest.raises(ck.InvalidArgumentError, match="under two names"):
        ck.Saver({"x": v, "y": v})


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"max_to_keep": -1}, "from 0"),
        ({"max_to_keep": True}, "from 0"),
        ({"max_to_keep": 1.5}, "from 0"),
        ({"keep_checkpoint_every_n_hours": -1.0}, "hours"),
        ({"write_version": 0}, "SaverDef"),
        ({"write_version": 3}, "SaverDef"),
        ({"builder": object()}, "builder"),
    ],
)
def test_arguments_that_cannot_be_meant(arguments: dict[str, Any], text: str) -> None:
    two()
    with pytest.raises(ck.InvalidArgumentError, match=text):
        ck.Saver(**arguments)


@pytest.mark.parametrize(
    ("path", "arguments", "text"),
    [
        (object(), {}, "no session to pass"),
        ("checkpoint", {}, "collides with 'save_path'"),
        ("d/last", {"latest_filename": "last"}, "collides"),
        ("m", {"latest_filename": "a/b"}, "path components"),
        ("m", {"meta_graph_suffix": ""}, "ending"),
        ("m", {"meta_graph_suffix": "index"}, "ending"),
        ("m", {"meta_graph_suffix": "a/b"}, "ending"),
        ("m", {"global_step": 1.5}, "integer"),
        ("m", {"global_step": "nothing:0"}, "no node"),
        ("m", {"save_debug_info": True}, "debug"),
        ("d/", {}, "name"),
    ],
)
def test_saves_that_cannot_be_meant(path: Any, arguments: dict[str, Any], text: str) -> None:
    two()
    with pytest.raises((ck.InvalidArgumentError, ck.UnsafePathError), match=text):
        ck.Saver().save(path, **arguments)
    assert files() == []


def test_a_variable_without_a_value() -> None:
    ck.Variable(np.float32(1), name="v", initialize=False)
    with pytest.raises(ck.InvalidArgumentError, match="'v' has no value yet"):
        ck.Saver().save("m")
    assert files() == []


def test_a_finalized_graph() -> None:
    two()
    ck.get_default_graph().finalize()
    with pytest.raises(ck.InvalidArgumentError, match="finalized"):
        ck.Saver()


# -- restoring


def test_all_that_is_wrong_at_once() -> None:
    ck.Saver({"layer/kernel": np.ones((2, 3)), "layer/bias": np.ones(3), "step": np.int64(5)}).save("m")
    kernel = ck.Variable(np.zeros((3, 2)), name="kernel")
    bias = ck.Variable(np.zeros(3, np.float32), name="bias")
    step = ck.Variable(np.int64(0), name="global_step")
    saver = ck.Saver({"layer/kernel": kernel, "layer/bias": bias, "layer/bais": step})
    with pytest.raises(ck.TensorNotFoundError) as caught:
        saver.restore("m")
    error = caught.value
    assert error.missing == ("layer/bais",)
    assert set(error.mismatched) == {"layer/kernel", "layer/bias"}
    assert "step" in error.unexpected
    for text in ("'layer/bais'; near: 'layer/bias'", "float64 [2, 3]", "[3, 2]", "float32"):
        assert text in str(error)
    assert not kernel.numpy().any()
    assert step.numpy() == 0
    with pytest.raises(ck.IncompatibleTensorError) as other:
        ck.Saver({"layer/kernel": kernel, "layer/bias": bias}).restore("m")
    assert set(other.value.mismatched) == {"layer/kernel", "layer/bias"}


def test_of_a_resource_too() -> None:
    """TensorFlow changes the variable's shape without a word."""
    ck.Saver({"v": np.ones(3, np.float32)}).save("m")
    v = ck.Variable(np.zeros(2, np.float32), name="v", use_resource=True)
    with pytest.raises(ck.IncompatibleTensorError, match=r"\[3\]"):
        ck.Saver([v]).restore("m")
    assert v.numpy().tolist() == [0, 0]


def test_what_is_there() -> None:
    v1, v2 = two()
    ck.Saver([v1]).save("m")
    v1.assign([0.0])
    report = ck.Saver([v1, v2]).restore("m", strict=False)
    assert report.missing == ("v2",)
    assert (v1.numpy(), v2.numpy()) == ([1.0], [2.0])


def test_names_and_patterns() -> None:
    a, b, c = (ck.Variable(np.float32(n), name=name) for n, name in enumerate(("enc/a", "enc/b", "dec/c"), 1))
    saver = ck.Saver()
    saver.save("m")
    for variable in (a, b, c):
        variable.assign(np.float32(0))
    assert saver.restore("m", names=["enc/*"]).unused == ("dec/c",)
    assert [float(v.numpy()) for v in (a, b, c)] == [1, 2, 0]
    with pytest.raises(ck.InvalidArgumentError, match="nothing under 'x\\*'"):
        saver.restore("m", names=["x*"])


def test_reshaped() -> None:
    ck.Saver({"v": np.arange(6, dtype=np.float32)}).save("m")
    v = ck.Variable(np.zeros((2, 3), np.float32), name="v")
    with pytest.raises(ck.IncompatibleTensorError):
        ck.Saver([v]).restore("m")
    saver = ck.Saver([v], reshape=True)
    saver.restore("m")
    assert v.numpy().tolist() == [[0, 1, 2], [3, 4, 5]]
    wrong = ck.Variable(np.zeros(5, np.float32), name="v")
    with pytest.raises(ck.IncompatibleTensorError):
        ck.Saver({"v": wrong}, reshape=True).restore("m")
    nodes = {node.name.rpartition("/")[2] for node in saver.meta_graph.graph_def.node}
    assert "Reshape" in nodes


@pytest.mark.parametrize("path", ["nothing", "d/nothing", "m.index", "checkpoint"])
def test_no_such_checkpoint(path: str) -> None:
    two()
    ck.Saver().save("m")
    with pytest.raises(ck.CheckpointNotFoundError, match=Path(path).name):
        ck.Saver().restore(path)
    with pytest.raises(ck.InvalidArgumentError, match="None"):
        ck.Saver().restore(None)  # type: ignore[arg-type]


def test_the_latest_of_a_directory() -> None:
    v, _ = two()
    saver = ck.Saver()
    saver.save("run/m", global_step=1)
    v.assign([5.0])
    saver.save("run/m", global_step=2)
    v.assign([0.0])
    assert saver.restore("run").path.endswith("m-2")
    assert v.numpy() == [5.0]


def test_an_object_based_checkpoint_by_full_name() -> None:
    """golden/10b: found by the variables' names, not by the keys in the file."""
    w, b = ck.Variable(np.zeros(3, np.float32), name="w"), ck.Variable(np.float32(0), name="b")
    ck.Saver([w, b]).restore(GOLDEN / "10b_object_v1_optimizer_slots" / "adam" / "ckpt-1")
    assert w.numpy().all()
    assert b.numpy() != 0


# -- messages, and the MetaGraph


def test_messages_of_a_saver() -> None:
    two()
    with ck.get_default_graph().name_scope("top"):
        saver = ck.Saver(max_to_keep=3, keep_checkpoint_every_n_hours=2.5, name="mine")
    definition = saver.as_saver_def()
    assert definition.filename_tensor_name == "top/mine/Const:0"
    assert definition.restore_op_name == "top/mine/restore_all"
    assert (definition.max_to_keep, definition.keep_checkpoint_every_n_hours) == (3, 2.5)
    definition.max_to_keep = 7
    assert saver.as_saver_def().max_to_keep == 3
    assert saver.to_proto("other") is None
    assert saver.to_proto("top").filename_tensor_name == "mine/Const:0"
    again = ck.Saver.from_proto(saver.to_proto("top"), import_scope="top")
    assert again.items() == saver.items()
    assert again.save("m") == "m"
    assert ck.Saver(max_to_keep=None).as_saver_def().max_to_keep == 0
    assert ck.Saver().as_saver_def().filename_tensor_name == "save_1/Const:0"
    assert ck.Saver(filename="elsewhere").graph.tensor("save_2/filename/input:0").constant_value() == b"elsewhere"


@pytest.mark.parametrize("form", ["binary", "text", "json"])
def test_export_and_import(form: str) -> None:
    v1, v2 = two()
    total = v1 + v2
    ck.get_default_graph().add_to_collection("train_op", total.op)
    saver = ck.Saver()
    path = saver.save("m")
    meta = saver.export_meta_graph("sub/graph", as_text=form == "text", as_json=form == "json")
    assert ck.load_meta_graph("sub/graph") == meta == saver.meta_graph
    assert meta.saver_def == saver.as_saver_def()
    graph = ck.Graph()
    other = ck.import_meta_graph("sub/graph", graph=graph)
    assert other is not None
    assert other.last_checkpoints == []
    with pytest.raises(ck.InvalidArgumentError, match="no value yet"):
        graph.run("add:0")
    other.restore(path)
    assert graph.run("add:0") == [3.0]
    assert graph.get_collection("train_op") == [graph.operation("add")]
    variables = {v.name: v for v in graph.get_collection("variables")}
    assert variables["v1:0"] is graph.get_collection("trainable_variables")[0]
    variables["v1:0"].assign([40.0])
    assert other.save("n") == "n"
    assert ck.load_variable("n", "v1") == [40.0]
    assert other.meta_graph.graph_def == meta.graph_def


def test_import_under_a_scope_keeps_the_names_in_the_checkpoint() -> None:
    two()
    saver = ck.Saver()
    saver.save("m")
    again = ck.import_meta_graph("m.meta", import_scope="copy")
    assert again is not None
    assert [(name, v.name) for name, v in again.items()] == [("v1", "copy/v1:0"), ("v2", "copy/v2:0")]
    again.restore("m")
    again.save("n")
    assert [name for name, _ in ck.list_variables("n")] == ["v1", "v2"]
    with pytest.raises(ck.InvalidArgumentError, match="nodes already"):
        ck.import_meta_graph("m.meta")


def test_import_without_a_saver() -> None:
    two()
    ck.export_meta_graph("plain.meta")
    with ck.Graph().as_default():
        saver = ck.import_meta_graph("plain.meta")
        assert saver is not None
        assert [name for name, _ in saver.items()] == ["v1", "v2"]
    with ck.Graph().as_default():
        ck.placeholder(np.float32, name="x")
        ck.export_meta_graph("bare.meta")
    with ck.Graph().as_default():
        assert ck.import_meta_graph("bare.meta") is None


@pytest.mark.parametrize("cut", [0.0, 0.3, 0.9])
def test_files_that_are_no_metagraph(cut: float) -> None:
    data = (GOLDEN / "01a_basic_ref" / "model.ckpt.meta").read_bytes()
    Path("m.meta").write_bytes(data[: math.floor(len(data) * cut)])
    with pytest.raises(ck.DataLossError, match=r"m\.meta"):
        ck.import_meta_graph("m.meta")
    for text in (b"{", b"{}x", b"node { name: 3", b"no such field: 7", b"\xff\xfe\x00"):
        Path("m.meta").write_bytes(text)
        with pytest.raises(ck.DataLossError, match=r"m\.meta"):
            ck.import_meta_graph("m.meta")
    with pytest.raises(ck.CheckpointNotFoundError, match=r"nothing\.meta"):
        ck.import_meta_graph("nothing.meta")


def test_on_another_store() -> None:
    v, _ = two()
    with ck.Saver() as saver:
        path = saver.save("memory://bucket/model.ckpt", global_step=1)
        v.assign([0.0])
        saver.restore(path)
        assert saver.last_checkpoints == [path] == ["memory://bucket/model.ckpt-1"]
    assert v.numpy() == [1.0]
    other = ck.import_meta_graph(f"{path}.meta", graph=ck.Graph())
    assert other is not None
    other.restore(path)
    frozen = ck.freeze_graph(f"{path}.meta", path, ["v1"])
    assert [node.op for node in frozen.node] == ["Const"]


def test_a_moved_directory() -> None:
    two()
    saver = ck.Saver(save_relative_paths=False)
    saver.save(str(Path("here").resolve() / "m"), global_step=1)
    shutil.move("here", "there")
    assert ck.latest_checkpoint("there") == "there/m-1"
    assert 'model_checkpoint_path: "m-1"' in state("there")


def test_a_metagraph_that_is_written_once() -> None:
    """Later saves of the same path leave it there, as TensorFlow does."""
    v, _ = two()
    saver = ck.Saver()
    saver.save("m")
    first = Path("m.meta").read_bytes()
    for value in (2.0, 3.0):
        v.assign([value])
        assert saver.save("m", write_meta_graph=False) == "m"
        assert Path("m.meta").read_bytes() == first
    saver.export_meta_graph("other/n.meta")
    for _ in range(3):
        assert saver.save("other/n", write_meta_graph=False) == "other/n"
    assert Path("other/n.meta").read_bytes() == first
    for _ in range(2):
        saver.save("loose", write_meta_graph=False, write_state=False)
    assert "loose.meta" not in files()
    saver.save("loose", write_state=False)
    saver.save("loose", write_meta_graph=False, write_state=False)
    assert Path("loose.meta").read_bytes() == first


def test_strangers_files_are_not_overwritten() -> None:
    """A name that holds files which no state file lists: the new checkpoint goes beside them."""
    v, _ = two()
    ck.save("m-1", {"other": np.ones(2)})
    saver = ck.Saver()
    path = saver.save("m", global_step=1)
    assert path != "m-1"
    assert ck.latest_checkpoint(".") == f"./{path}"
    assert list(ck.restore("m-1")) == ["other"]
    v.assign([0.0])
    saver.restore(path)
    assert v.numpy() == [1.0]
