"""What `pin` and `unpin` have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ckptstore.cli._listed import listed_target
from ckptstore.cli._output import Output


def pin_all(
    paths: Sequence[str], options: Mapping[str, Any] | None, output: Output, *, pinned: bool, as_json: bool
) -> int:
    """Pins or unpins checkpoints, one after the other; returns the exit code."""
    from ckptstore.checkpoint.editing import set_pinned

    done = []
    for path in paths:
        with listed_target(path, options) as (directory, key):
            changed = set_pinned(directory, key, pinned=pinned)
            name = directory.store.path(key)
        done.append({"checkpoint": name, "pinned": pinned, "changed": changed})
        if not as_json:
            state = "pinned" if pinned else "not pinned"
            output.line(f"{name} is {state}" + ("" if changed else ", as it was"))
    if as_json:
        output.json({"checkpoints": done})
    return 0
