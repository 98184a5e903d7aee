"""How things are written for people. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import datetime

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def printable(text: str) -> str:
    r"""Text that a terminal only shows: whatever could steer it, reorder or hide what is around it is escaped.

    Names in files are somebody else's. Escaped is what Unicode calls not printable: control characters (and with them
    ANSI escapes), bidi controls and other invisible format characters, separators, surrogates, private and
    unassigned characters. A byte that is not UTF-8 (a surrogate escape) shows as "\xff", ESC as "\x1b", U+202E as
    "\u202e".
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(char: str) -> str:
    code = ord(char)
    if char in _SHORT:
        return _SHORT[char]
    if 0xDC80 <= code <= 0xDCFF:  # a byte
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def width(text: str) -> int:
    """How many columns of a terminal a printable text takes."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def size_text(nbytes: int) -> str:
    """Bytes in at most four digits: "934 B", "1.2 MiB"."""
    if nbytes < 1024:
        return f"{nbytes} B"
    value = float(nbytes)
    for unit in _UNITS:
        value /= 1024
        if value < 999.95:
            return f"{value:.1f} {unit}"
    return f"{value:.0f} {_UNITS[-1]}"


def count_text(number: int, noun: str, plural: str | None = None) -> str:
    """A number and what it counts: "1 tensor", "1,200 tensors"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def time_text(seconds: float | None) -> str:
    """A moment, in the time zone of the machine: "2026-03-01 12:00:00"; "-" for None."""
    if seconds is None:
        return "-"
    try:
        return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g}"  # a state file may say anything


def shape_text(shape: Sequence[int]) -> str:
    """A shape: "[3, 4]", and "[]" for a scalar."""
    return f"[{', '.join(map(str, shape))}]"


def number_text(value: int | float | complex | None) -> str:
    """A number in six digits; "-" for None."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"
