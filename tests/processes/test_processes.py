"""The modules of this folder, run small: as one runs them, in process groups of their own of which nothing is left."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest

from ckptstore.storage import MemoryStore, Payload
from tests.processes.bundles import ViolationError, author_of, items
from tests.processes.child import Event
from tests.processes.judge import litter
from tests.processes.kill_loop import KillLoop
from tests.processes.places import Place
from tests.processes.soak import Soak


def run(module: str, *arguments: str, longest: float = 120) -> dict[str, float]:
    """Runs a module, and returns its figures.

    Raises:
        AssertionError: It failed, or left processes behind.
        subprocess.TimeoutExpired: It took longer than it may, in seconds.
    """
    command = [sys.executable, "-m", f"tests.processes.{module}", *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        out, err = process.communicate(timeout=longest)
        assert process.returncode == 0, err
        wait_until_none_is_left(process.pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    lines = (re.fullmatch(r"(.+?) +([\d,.]+)", line) for line in out.splitlines())
    return {line[1]: float(line[2].replace(",", "")) for line in lines if line}


def wait_until_none_is_left(group: int) -> None:
    """The forkserver and the resource tracker notice a moment later that nobody needs them any more."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("processes are left behind")


@pytest.mark.parametrize(("place", "times"), [("local", 100), ("s3", 10), ("gcs", 10)])
def test_no_count_is_lost(place: str, times: int) -> None:
    figures = run("cas_race", "--place", place, "--times", str(times))
    assert figures["counts"] == 8 * times
    assert figures["lost"] == 0
    assert figures["conflicts"] > 0


@pytest.mark.parametrize(
    ("place", "kills", "more"), [("local", 15, []), ("s3", 15, ["--large-every", "4", "--spread", "0.3"])]
)
def test_kills_lose_nothing_that_was_acknowledged(place: str, kills: int, more: list[str]) -> None:
    figures = run("kill_loop", "--place", place, "--kills", str(kills), *more)
    assert figures["kills"] == kills
    assert figures["saves acknowledged"] > 0
    assert figures["times pruned and collected"] >= 1


def test_a_soak() -> None:
    figures = run("soak", "--seconds", "10", "--pace", "0.3", "--seed", "7")
    assert figures["read"] > 100
    assert figures["fenced"] > 0
    assert figures["pruned"] > 0
    assert figures["collected"] > 0


@pytest.mark.nightly
@pytest.mark.parametrize(("place", "times"), [("local", 10_000), ("s3", 200), ("gcs", 200)])
def test_no_count_of_very_many_is_lost(place: str, times: int) -> None:
    figures = run("cas_race", "--place", place, "--times", str(times), longest=3600)
    assert figures["counts"] == 8 * times
    assert figures["lost"] == 0


@pytest.mark.nightly
@pytest.mark.parametrize(("place", "spread"), [("local", 0.1), ("s3", 0.6), ("gcs", 0.6)])
def test_hundreds_of_kills(place: str, spread: float) -> None:
    more = ["--spread", str(spread), "--large-every", "7"]
    figures = run("kill_loop", "--place", place, "--kills", "300", *more, longest=3600)
    assert figures["kills"] == 300
    assert figures["saves acknowledged"] > 100


@pytest.mark.nightly
@pytest.mark.parametrize(("place", "seconds"), [("local", 600), ("s3", 300), ("gcs", 300)])
def test_a_long_soak(place: str, seconds: int) -> None:
    figures = run("soak", "--place", place, "--seconds", str(seconds), longest=3600)
    assert figures["fenced"] > 0


class TestTheJudge:
    """What finds fault must find it: each of these breaks a promise on purpose."""

    def test_a_mixture_of_two_saves_is_found(self) -> None:
        one, other = items((1, 1)), items((1, 2))
        assert author_of(one) == (1, 1)
        with pytest.raises(ViolationError, match="something else"):
            author_of({**one, "w": other["w"]})
        with pytest.raises(ViolationError, match="without"):
            author_of({"w": one["w"]})

    def test_a_lost_save_is_found(self) -> None:
        loop = kill_loop()
        loop.counting = [(1, 1)]
        with pytest.raises(ViolationError, match="lists"):
            loop._judge([event("saved", (2, 1))])

    def test_a_wrong_start_is_found(self) -> None:
        loop = kill_loop()
        loop.counting = [(1, 1)]
        with pytest.raises(ViolationError, match="resumed"):
            loop._judge([event("resumed", None)])

    def test_an_old_read_is_found(self) -> None:
        soak = small_soak()
        soak._begun = {(1, 1), (2, 1)}
        soak._saved = [(10.0, 1), (20.0, 2)]
        soak._read = [(15.0, (1, 1)), (19.0, (2, 1))]
        soak._judge_reads()
        soak._read.append((21.0, (1, 1)))
        with pytest.raises(ViolationError, match="after step 2"):
            soak._judge_reads()

    def test_a_read_of_what_nobody_saved_is_found(self) -> None:
        soak = small_soak()
        soak._read = [(15.0, (1, 1))]
        with pytest.raises(ViolationError, match="nobody saved"):
            soak._judge_reads()

    def test_litter_is_found(self) -> None:
        store = MemoryStore()
        assert not litter(store)
        store.put("ckpt-1.index", Payload.of(b""))
        store.put(".ckptstore/open/x", Payload.of(b""))
        assert litter(store) == ["ckpt-1.index", ".ckptstore/open/x"]


def event(what: str, about: object) -> Event:
    return Event(what, 0.0, about)


def kill_loop() -> KillLoop:
    options = argparse.Namespace(keep=3, spread=0.1, large_every=0, seed=1)
    return KillLoop(Place("nowhere"), MemoryStore(), options)


def small_soak() -> Soak:
    return Soak(Place("nowhere"), random.Random(1), 0.1)
