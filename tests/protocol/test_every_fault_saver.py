"""Every request of a Saver's saves, times everything that can happen to it, on every kind of store."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.protocol.nth_fault import KINDS, Plan
from tests.protocol.operations import FLAVOURS
from tests.protocol.saver_world import WAYS, aftermath, make, operate


def requests(flavour: str, way: str) -> int:
    with tempfile.TemporaryDirectory() as directory:
        return len(operate(make(flavour, Path(directory), way)).requests)


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("way", WAYS)
def test_without_faults(tmp_path: Path, flavour: str, way: str) -> None:
    world = make(flavour, tmp_path, way)
    store = operate(world)
    assert world.acknowledged[world.way.state] == f"q{len(world.way.names) - 1}"
    aftermath(world, store, settles=flavour != "isolated")


def every_fault(directory: Path, flavour: str, way: str, kind: str) -> None:
    for number in range(1, requests(flavour, way) + 1):
        world = make(flavour, directory / str(number), way)
        store = operate(world, [Plan(number, kind)])
        assert len(store.requests) >= number
        aftermath(world, store, settles=False)


BY_DAY = [
    *(("gcs", way) for way in WAYS),
    ("s3", "a name again"),
    ("local", "a name again, V1"),
    ("isolated", "another state file"),
]


@pytest.mark.parametrize(("flavour", "way"), BY_DAY)
@pytest.mark.parametrize("kind", KINDS)
def test_one_fault(tmp_path: Path, flavour: str, way: str, kind: str) -> None:
    every_fault(tmp_path, flavour, way, kind)


@pytest.mark.nightly
@pytest.mark.parametrize(("flavour", "way"), [(f, way) for f in FLAVOURS for way in WAYS if (f, way) not in BY_DAY])
@pytest.mark.parametrize("kind", KINDS)
def test_one_fault_all_night(tmp_path: Path, flavour: str, way: str, kind: str) -> None:
    every_fault(tmp_path, flavour, way, kind)
