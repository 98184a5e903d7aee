"""For those who test a store, or code that uses one.

`StoreTests` needs pytest; it is imported when first used, so that the others do not.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from ckptstore.testing.clock import ManualClock
from ckptstore.testing.executor import InlineExecutor
from ckptstore.testing.faults import Call, CrashError, Fault, FaultyStore

if TYPE_CHECKING:
    from ckptstore.testing.store_tests import StoreTests

__all__ = ["Call", "CrashError", "Fault", "FaultyStore", "InlineExecutor", "ManualClock", "StoreTests"]

_SUITE = "ckptstore.testing.store_tests"
_PARTS = [
    f"ckptstore.testing.{name}"
    for name in ("store_suite", "conditional_tests", "copy_tests", "mapping_tests", "upload_tests")
]


def __getattr__(name: str) -> Any:
    if name != "StoreTests":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _SUITE not in sys.modules:
        import pytest  # noqa: PLC0415 - optional

        pytest.register_assert_rewrite(_SUITE, *_PARTS)  # so that a failed assert shows its values
    return importlib.import_module(_SUITE).StoreTests


def __dir__() -> list[str]:
    return __all__
