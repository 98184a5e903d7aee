"""Runs the command line in this process, on copies of the golden files."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ckptstore.cli import main
from tests.support.golden import GOLDEN

WHEN = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The document on stdout, by the letter of RFC 8259."""
        return json.loads(self.out, parse_constant=lambda text: pytest.fail(f"{text} is not JSON"))


Run = Callable[..., Result]
Golden = Callable[[str], str]


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*argv: str) -> Result:
        code = main(list(argv))
        out, err = capsys.readouterr()
        return Result(code, out, err)

    return call


@pytest.fixture
def golden(tmp_path: Path) -> Golden:
    """Copies a case, so that its files have a known time, and hands back the directory's path."""

    def copy(case: str) -> str:
        target = tmp_path / "case"
        shutil.copytree(GOLDEN / case, target)
        for path in target.rglob("*"):
            os.utime(path, (WHEN, WHEN))
        return str(target)

    return copy
