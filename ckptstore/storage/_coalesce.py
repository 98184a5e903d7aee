"""Which requests to send for a list of reads: a plan, made without any I/O.

Two reads that lie close together cost less as one request, even when the bytes between them are thrown away; a very
large read is faster as several requests at once. Both follow from two numbers, `max_gap` and `max_request`.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING

from ckptstore.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ckptstore.storage._base import ReadTarget

_offset = itemgetter(0)  # sorting whole targets would compare buffers wherever two offsets are equal


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """One request to a store.

    Attributes:
        start: The first byte wanted, as an offset in the object.
        stop: The offset after the last byte wanted.
        targets: What to fill from it, by ascending offset. Offsets are still those in the object.
    """

    start: int
    stop: int
    targets: tuple[ReadTarget, ...]


def sort_targets(targets: Sequence[ReadTarget]) -> list[ReadTarget]:
    """The targets that want at least one byte, by ascending offset, each buffer as a flat view of bytes.

    Raises:
        InvalidArgumentError: An offset is negative, or a buffer is read-only or not contiguous.
    """
    out: list[ReadTarget] = []
    for offset, view in targets:
        if offset < 0:
            raise InvalidArgumentError(f"A read target begins at {offset}; offsets count from 0.")
        if view.readonly or not view.c_contiguous:
            raise InvalidArgumentError(
                f"The read target at offset {offset} is read-only or not contiguous; pass a writable buffer."
            )
        if view.nbytes:
            out.append((offset, view if view.format == "B" and view.ndim == 1 else view.cast("B")))
    out.sort(key=_offset)
    return out


def plan_reads(targets: Sequence[ReadTarget], *, max_gap: int, max_request: int) -> list[ReadRequest]:
    """Plans the requests that fill all targets.

    Every byte of every target is covered exactly once. Neighbours whose gap is at most `max_gap` share a request as
    long as it stays within `max_request`; a target larger than `max_request` is cut into pieces of that size.

    Args:
        targets: In any order; they may overlap. Empty ones are dropped.
        max_gap: The most bytes to fetch in vain between two targets, at least 0.
        max_request: The most bytes from a request's first to its last, at least 1.

    Returns:
        Requests by ascending start. Those of overlapping targets may overlap.
    """
    if max_gap < 0 or max_request < 1:
        raise InvalidArgumentError(f"max_gap={max_gap} and max_request={max_request} leave no room to read.")
    pieces = [piece for target in sort_targets(targets) for piece in _cut(target, max_request)]
    pieces.sort(key=_offset)  # again: the later pieces of a large target may lie behind the targets that follow it

    plan: list[ReadRequest] = []
    group: list[ReadTarget] = []
    start = stop = 0
    for offset, view in pieces:
        end = offset + view.nbytes
        if group and (offset - stop > max_gap or max(stop, end) - start > max_request):
            plan.append(ReadRequest(start, stop, tuple(group)))
            group = []
        if not group:
            start, stop = offset, end
        group.append((offset, view))
        stop = max(stop, end)
    if group:
        plan.append(ReadRequest(start, stop, tuple(group)))
    return plan


def _cut(target: ReadTarget, size: int) -> Iterator[ReadTarget]:
    offset, view = target
    for begin in range(0, view.nbytes, size):
        yield offset + begin, view[begin : begin + size]
