"""What a command that writes a checkpoint says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ckptstore.cli._text import count_text, size_text

if TYPE_CHECKING:
    from ckptstore.checkpoint.copying import CopiedCheckpoint
    from ckptstore.cli._output import Output


def print_copied(copied: CopiedCheckpoint, output: Output) -> None:
    """Says what was written, and from what."""
    counts = (count_text(copied.tensors, "tensor"), count_text(len(copied.files), "file"), size_text(copied.nbytes))
    output.line(f"{copied.source} -> {copied.path} ({', '.join(counts)})")


def copied_json(copied: CopiedCheckpoint) -> dict[str, Any]:
    """The same for machines."""
    return {
        "source": copied.source,
        "path": copied.path,
        "files": list(copied.files),
        "tensors": copied.tensors,
        "size": copied.nbytes,
    }
