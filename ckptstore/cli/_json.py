"""Valid JSON of whatever a checkpoint holds. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

_MAX_DEPTH = 64  # metadata come from a file; deeper ones are shown as text


def to_json(value: Any) -> str:
    r"""One JSON document, all ASCII, so that no name in it can steer a terminal.

    Numbers that JSON lacks are the texts "NaN", "Infinity" and "-Infinity". Bytes of names that are not UTF-8 are
    lone surrogates, \udc80 to \udcff, as in Python's file names.
    """
    return json.dumps(_clean(value, 0), indent=2, allow_nan=False)


def _clean(value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        return "..."
    if isinstance(value, Mapping):
        return {str(key): _clean(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item, depth + 1) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
