"""Tables and progress on a terminal: the only module that imports rich, which may not be installed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table as RichTable
from rich.text import Text

from ckptstore.cli._output import Table, Update
from ckptstore.cli._text import printable, width

_GAP = 2
_NARROWEST = 14  # what a column is left that may be folded


def print_table(stream: TextIO, table: Table, *, ascii_only: bool) -> None:
    """Writes a table, its columns fitted to the window. Names are text, never markup."""

    def text(cell: str, style: str = "") -> Text:
        shown = printable(cell)
        return Text(shown.encode("ascii", "backslashreplace").decode() if ascii_only else shown, style)

    out = RichTable(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
    least = -_GAP
    for number, column in enumerate(table.columns):
        widest = max(width(printable(cell)) for cell in (column.title, *(row[number].text for row in table.rows)))
        narrowest = min(widest, _NARROWEST) if column.fold else widest
        least += narrowest + _GAP
        out.add_column(
            text(column.title),
            justify="right" if column.right else "left",
            overflow="fold",
            no_wrap=not column.fold,
            min_width=narrowest,
        )
    for row in table.rows:
        out.add_row(*(text(cell.text, cell.style) for cell in row))
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    # In a window too narrow for that, whole lines that the terminal wraps are better than rows cut off.
    console.width = max(console.width, least)
    console.print(out)


@contextlib.contextmanager
def progress(stream: TextIO, label: str) -> Iterator[Update]:
    """A bar of bytes, with speed and time to go; it disappears at the end."""
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(file=stream, highlight=False, markup=False, emoji=False),
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    task = bar.add_task(label, total=None)
    with bar:
        yield lambda done, total: bar.update(task, completed=done, total=total)
