"""Where answers go: stdout, in color and fitted to the window on a terminal, plain and whole everywhere else.

Every text passes `printable` on its way out, here and in `_rich`, so no command has to think of it.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TextIO

from ckptstore.cli._json import to_json
from ckptstore.cli._text import printable, width

_WIDEST = 100

Update = Callable[[int, int], None]
"""Takes what is done and what there is to do, in bytes."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: What stands above it.
        right: Whether it is aligned to the right, as numbers are.
        fold: Whether it may be broken over several lines where the window is narrow.
    """

    title: str
    right: bool = False
    fold: bool = False


@dataclass(frozen=True)
class Cell:
    """A text and how it looks on a terminal, in rich's words ("bold red")."""

    text: str
    style: str = ""


@dataclass
class Table:
    """Rows of cells, as many in each as there are columns."""

    columns: Sequence[Column]
    rows: list[Sequence[Cell]] = field(default_factory=list)

    def add(self, *cells: str | Cell) -> None:
        """Adds a row."""
        self.rows.append([cell if isinstance(cell, Cell) else Cell(cell) for cell in cells])


class Output:
    """Writes to a pair of streams.

    Args:
        stdout: For answers.
        stderr: For all else.
    """

    def __init__(self, stdout: TextIO, stderr: TextIO) -> None:
        self._out = stdout
        self._err = stderr

    @property
    def unicode(self) -> bool:
        """Whether the answers' encoding knows more than ASCII."""
        return "utf" in (getattr(self._out, "encoding", None) or "utf-8").lower()

    def line(self, text: str = "") -> None:
        """Writes one line, whatever is in the text."""
        _write(self._out, printable(text))

    def table(self, table: Table) -> None:
        """Writes a table."""
        if not table.rows:
            return
        if (rich := _rich_for(self._out)) is not None:
            rich.print_table(self._out, table, ascii_only=not self.unicode)
        else:
            for line in _plain(table):
                _write(self._out, line)

    def json(self, value: Any) -> None:
        """Writes one JSON document."""
        _write(self._out, to_json(value))

    def document(self, text: str) -> None:
        """Writes a text of several lines: as it is, but to a terminal, which it could steer."""
        if self._out.isatty():
            for line in text.splitlines():
                self.line(line)
        else:
            _write(self._out, text.removesuffix("\n"))

    def error(self, text: str) -> None:
        """Says on stderr, in one line, what failed."""
        self.note("error: " + " ".join(part.strip() for part in text.splitlines()))

    def note(self, text: str) -> None:
        """Says something on stderr, in one line, after what was written to stdout."""
        self.flush()
        _write(self._err, printable(f"ckptstore: {text}"))
        self._err.flush()

    def progress(self, label: str, *, quiet: bool = False) -> AbstractContextManager[Update]:
        """A bar on stderr, gone at the end; nothing where stderr is no terminal, `quiet` is set or rich is missing."""
        self.flush()
        rich = None if quiet else _rich_for(self._err)
        return _no_progress() if rich is None else rich.progress(self._err, printable(label))

    def flush(self) -> None:
        """Sends on what is buffered."""
        self._out.flush()


def _rich_for(stream: TextIO) -> Any:
    """The module that knows rich, if the stream is a terminal that can do more than text, and rich is installed."""
    if not stream.isatty() or os.environ.get("TERM") in ("dumb", "unknown"):
        return None
    try:
        return importlib.import_module("ckptstore.cli._rich")
    except ImportError:
        return None


@contextlib.contextmanager
def _no_progress() -> Iterator[Update]:
    yield lambda done, total: None


def _write(stream: TextIO, line: str) -> None:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def _plain(table: Table) -> Iterator[str]:
    rows = [[column.title for column in table.columns], *([printable(c.text) for c in row] for row in table.rows)]
    widths = [max(map(width, column)) for column in zip(*rows, strict=True)]
    # One very long name must not push the columns of all other rows away.
    widths = [min(n, _WIDEST) if column.fold else n for n, column in zip(widths, table.columns, strict=True)]
    for row in rows:
        cells = (
            " " * (total - width(text)) + text if column.right else text + " " * (total - width(text))
            for text, total, column in zip(row, widths, table.columns, strict=True)
        )
        yield "  ".join(cells).rstrip()
