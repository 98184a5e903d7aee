"""The machine under the machine."""

from __future__ import annotations

from ckptstore._memory import allocate


def touch_memory(size: int) -> None:
    """Takes memory, writes to it, and gives it back: what is measured next finds so many bytes at hand.

    A virtual machine may hand free memory back to its host within seconds (virtio's free page reporting), and the host
    takes 2 s for a GiB that is written to again: more than most of what is measured here, in one repetition and not in
    the next.
    """
    allocate(size)[::4096] = 1
