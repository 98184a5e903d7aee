"""Multipart bodies. Lines may end in CRLF, as they should, or in a bare LF, as gcsfs writes them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_BOUNDARY = re.compile(r'boundary=(?:"([^"]+)"|([^;\s]+))', re.IGNORECASE)


@dataclass(frozen=True)
class Part:
    """One part: its headers by lower-case name, and its bytes."""

    headers: Mapping[str, str]
    body: bytes


def split(content_type: str, body: bytes) -> list[Part]:
    """The parts of a multipart body. Their bytes may hold anything except the boundary on a line of its own.

    Args:
        content_type: The Content-Type header, which names the boundary.
        body: The whole body.

    Raises:
        ValueError: The body is not what the header says.
    """
    match = _BOUNDARY.search(content_type)
    if match is None:
        raise ValueError("The Content-Type names no boundary.")
    delimiter = b"--" + (match.group(1) or match.group(2)).encode("latin-1")
    start = body.find(delimiter)
    if start < 0:
        raise ValueError("The boundary is not in the body.")
    eol = b"\r\n" if body[start + len(delimiter) :].startswith(b"\r\n") else b"\n"
    # The line end before a boundary belongs to it; cutting there leaves the parts' own bytes alone.
    first = start + len(delimiter) + len(eol)
    *pieces, end = body[first:].split(eol + delimiter)
    if not end.startswith(b"--"):
        raise ValueError("The last boundary is missing.")
    return [_part(piece if i == 0 else piece.removeprefix(eol), eol) for i, piece in enumerate(pieces)]


def _part(piece: bytes, eol: bytes) -> Part:
    if piece.startswith(eol):  # no headers at all
        return Part({}, piece[len(eol) :])
    head, _, body = piece.partition(eol + eol)
    headers = {}
    for line in head.decode("utf-8").split(eol.decode()):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return Part(headers, body)
