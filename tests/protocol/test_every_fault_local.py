"""Every request of every operation, times everything that can happen to a request: on a local disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.protocol.nth_fault import KINDS, Plan
from tests.protocol.operations import OPERATIONS, cases, with_faults, without_faults

FLAVOUR = "local"


@pytest.mark.parametrize("name", OPERATIONS)
def test_without_faults(tmp_path: Path, name: str) -> None:
    without_faults(FLAVOUR, tmp_path, name)


@pytest.mark.parametrize(("name", "number"), cases(FLAVOUR))
def test_one_fault(tmp_path: Path, name: str, number: int) -> None:
    for kind in KINDS:
        with_faults(FLAVOUR, tmp_path / kind, name, Plan(number, kind))
