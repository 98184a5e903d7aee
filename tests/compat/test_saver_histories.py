"""Random sequences of a Saver's calls, with TensorFlow and here, on the same clock: directories come out the same."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckptstore as ck
from ckptstore.testing import ManualClock
from tests.compat.support import QUIET, rng, session, tensorflow_clock, v1

pytest.importorskip("tensorflow")
pytestmark = QUIET

START = {"a": np.float32([1, 2, 3]), "scope/b": np.float64(4), "emb": np.arange(10, dtype=np.float32).reshape(5, 2)}


def directory(root: str) -> dict[str, bytes]:
    """What is there, by name; MetaGraphs by name alone. Of the state files, TensorFlow's part."""
    out = {}
    for path in sorted(Path(root).rglob("*")):
        name = str(path.relative_to(root))
        if not path.is_file() or name.startswith(".ckptstore") or "/.ckptstore/" in name:
            continue
        data = path.read_bytes()
        if path.name in ("checkpoint", "other_state"):
            data = b"".join(line for line in data.splitlines(keepends=True) if not line.startswith(b"#"))
        out[name] = b"" if re.search(r"\.(meta|mg)$", name) else data
    return out


class Ours:
    """A Saver of ours over a graph of ours."""

    def __init__(self, options: dict[str, Any], var_list: str, clock: ManualClock) -> None:
        self.graph = ck.Graph()
        self.options, self.var_list, self.clock = options, var_list, clock
        with self.graph.as_default():
            ck.Variable(START["a"], name="a")
            with self.graph.device("/cpu:1"):
                ck.Variable(START["scope/b"], name="scope/b")
            self.parts = ck.PartitionedVariable.split(START["emb"], 2, name="emb")
        self.restart()

    def restart(self) -> None:
        with self.graph.as_default():
            a, b = (v for v in ck.global_variables() if v.save_slice_info is None)
            lists: dict[str, Any] = {"all": None, "list": [b, a], "dict": {"x/alias": a, "p q": b, "emb": self.parts}}
            self.saver = ck.Saver(lists[self.var_list], clock=self.clock, **self.options)

    def assign(self, number: int) -> None:
        for variable in self.graph.get_collection("variables"):
            variable.assign(variable.numpy() * 0 + number)

    def save(self, path: str, **arguments: Any) -> str | None:
        return self.saver.save(path, **arguments)


class Theirs:
    """TensorFlow's Saver over the same graph, in a session."""

    def __init__(self, running: Any, options: dict[str, Any], var_list: str) -> None:
        self.running, self.options, self.var_list = running, options, var_list
        self.a = v1.get_variable("a", initializer=START["a"], use_resource=False)
        with v1.device("/cpu:1"):
            self.b = v1.get_variable("scope/b", initializer=START["scope/b"], use_resource=False)

        def cut(shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
            del dtype
            box = zip(partition_info.var_offset, shape, strict=True)
            return v1.constant(START["emb"][tuple(slice(o, o + int(n)) for o, n in box)])

        self.parts = v1.get_variable(
            "emb", shape=[5, 2], initializer=cut, partitioner=v1.fixed_size_partitioner(2), use_resource=False
        )
        running.run(v1.global_variables_initializer())
        self.restart()

    def restart(self) -> None:
        lists: dict[str, Any] = {
            "all": None, "list": [self.b, self.a], "dict": {"x/alias": self.a, "p q": self.b, "emb": self.parts},
        }  # fmt: skip
        self.saver = v1.train.Saver(lists[self.var_list], **self.options)

    def assign(self, number: int) -> None:
        for variable in v1.global_variables():
            variable.load(np.zeros(variable.shape.as_list()) + number, self.running)

    def save(self, path: str, **arguments: Any) -> str | None:
        return self.saver.save(self.running, path, **arguments)


def moves(seed: int) -> tuple[dict[str, Any], str, list[tuple[str, Any]]]:
    """Options, what is saved, and a sequence of calls."""
    generator = rng(seed)

    def pick(*choices: Any) -> Any:
        return choices[int(generator.integers(len(choices)))]

    options: dict[str, Any] = {
        "max_to_keep": pick(1, 2, 3, 5, None, 0),
        "keep_checkpoint_every_n_hours": pick(10000.0, 1.0, 0.5),
        "sharded": bool(pick(False, False, True)),
        "write_version": pick(ck.SaverDef.V2, ck.SaverDef.V2, ck.SaverDef.V1),
        "pad_step_number": bool(pick(False, True)),
    }
    state, suffix = pick(None, None, "other_state"), pick("meta", "meta", "mg")
    calls: list[tuple[str, Any]] = []
    for _ in range(int(generator.integers(8, 14))):
        kind = pick(*["save"] * 8, "wait", "recover", "times")
        if kind == "save":
            arguments = {
                "global_step": pick(None, *range(1, 9)),
                "latest_filename": state,
                "meta_graph_suffix": suffix,
                "write_meta_graph": bool(pick(True, True, False)),
                "write_state": bool(pick(True, True, True, True, False)),
            }
            calls.append(("save", (pick("m", "m", "n"), arguments)))
            calls.append(("wait", float(pick(1, 60, 900, 1800, 4000))))
        else:
            calls.append((kind, float(pick(1, 900, 4000))))
    return options, pick("all", "list", "dict"), calls


@pytest.mark.parametrize("seed", range(40))
def test_histories(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options, var_list, calls = moves(seed)
    clock = ManualClock(1_700_000_000.0)
    for name in ("ours", "theirs"):
        os.mkdir(name)
    with tensorflow_clock(clock), session(device_count={"CPU": 2}) as running:
        both = {"ours": Ours(options, var_list, clock), "theirs": Theirs(running, options, var_list)}
        counted: set[str] = set()
        loose: set[str] = set()
        strange: set[str] = set()
        for number, (kind, what) in enumerate(calls, 1):
            seen: dict[str, Any] = {}
            if kind == "wait":
                clock.advance(what)
                continue
            if kind == "save":
                path, arguments = what
                step, listed = arguments["global_step"], arguments["write_state"]
                key = path if step is None else f"{path}-{step}"
                # Files that no list knew when the Saver was made are somebody's, and what counts is not overwritten
                # behind the list's back: both are tested in tests/train/test_saver.py.
                if key in strange or (key in counted and not listed):
                    continue
                counted, loose = (counted | {key}, loose - {key}) if listed else (counted, loose | {key})
            elif kind == "recover" and options["max_to_keep"]:
                strange |= loose
            for name, player in both.items():
                if kind == "save":
                    player.assign(number)
                    returned = player.save(f"{name}/{what[0]}", **what[1])
                    assert returned is not None
                    seen[name] = (returned.removeprefix(name), directory(name), last(player, name))
                elif kind == "recover" and options["max_to_keep"]:  # without a list there is nothing to recover
                    paths = list(player.saver.last_checkpoints)
                    player.restart()
                    player.saver.set_last_checkpoints_with_time([(p, clock.time()) for p in paths])
                    seen[name] = (last(player, name),)
                elif kind == "times":
                    paths = list(player.saver.last_checkpoints)
                    player.saver.set_last_checkpoints_with_time([(p, clock.time() - what) for p in paths])
                    seen[name] = (last(player, name),)
            assert seen.get("ours") == seen.get("theirs"), f"after call {number}: {kind} {what} of {options} {var_list}"


def last(player: Ours | Theirs, root: str) -> list[str]:
    return [path.removeprefix(root) for path in player.saver.last_checkpoints]
