"""The Range header of a read, by RFC 9110 and https://cloud.google.com/storage/docs/json_api/v1/parameters#range."""

from __future__ import annotations

import re

from tests.support.gcs.errors import GcsError

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def resolve(header: str | None, size: int) -> tuple[int, int] | None:
    """The bytes asked for, as (start, stop), or None for all of them.

    A header that cannot be understood, or that names several ranges, is ignored, as HTTP allows and GCS does.

    Args:
        header: The header's value, None if there is none.
        size: The object's size in bytes.

    Raises:
        GcsError: 416, the range has no byte of the object.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.group() == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= size:
        raise GcsError(
            416,
            "requestedRangeNotSatisfiable",
            "InvalidRange",
            "The requested range cannot be satisfied.",
            (("Content-Range", f"bytes */{size}"),),
        )
    return start, stop
