"""What a command that deletes says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ckptstore.cli._text import count_text, size_text

if TYPE_CHECKING:
    from ckptstore.checkpoint.collector import Collected
    from ckptstore.cli._output import Output


def print_collected(collected: Collected, output: Output, *, waiting: str) -> None:
    """Says what was deleted, and what was not yet."""
    if collected.deleted:
        output.line(f"{count_text(len(collected.deleted), 'file')} deleted, {size_text(collected.nbytes)}")
    if collected.waiting:
        output.line(f"{count_text(len(collected.waiting), 'checkpoint')} in the trash, {waiting}")
    for entry in collected.pinned:
        output.line(f"{entry.prefix} is being read; its files are deleted when that is over")


def collected_json(collected: Collected) -> dict[str, Any]:
    """The same for machines."""
    return {
        "deleted_files": [meta.key for meta in collected.deleted],
        "deleted_bytes": collected.nbytes,
        "waiting": [entry.prefix for entry in collected.waiting],
        "being_read": [entry.prefix for entry in collected.pinned],
        "blocked": {entry.prefix: why for entry, why in collected.blocked.items()},
    }
