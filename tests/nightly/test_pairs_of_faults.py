"""All ordered pairs of faults, on a store with GCS' versions."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from tests.protocol.nth_fault import KINDS, Plan
from tests.protocol.operations import cases, with_faults

# After these nothing more is asked of the store, so that there is no second fault.
LAST = ("crash before", "crash after", "refused on")


@pytest.mark.nightly
@pytest.mark.parametrize(("name", "number"), cases("gcs"))
def test_two_faults(tmp_path: Path, name: str, number: int) -> None:
    last = max(n for other, n in cases("gcs") if other == name)
    for first, second in itertools.product([kind for kind in KINDS if kind not in LAST], KINDS):
        for later in range(number + 1, last + 1):
            with_faults("gcs", tmp_path, name, Plan(number, first), Plan(later, second))
