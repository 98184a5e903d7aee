"""The floor: one file, written and read in sequence, without format or checksum; read into memory that was touched."""

from __future__ import annotations

import os

import numpy as np

VERSIONS: dict[str, str] = {}

_PIECE = 16 << 20
_destination = np.empty(0, np.uint8)


def hold(arrays):
    return arrays


def expect(spec):
    global _destination  # noqa: PLW0603
    _destination = np.ones(spec.nbytes, np.uint8)


def save(directory, state):
    (array,) = state.values()
    fd = os.open(os.path.join(directory, "raw"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        view = memoryview(array)
        while view:
            view = view[os.write(fd, view[:_PIECE]) :]
    finally:
        os.close(fd)


def restore(directory):
    return read_into(directory, _destination)


def read_into(directory, array):
    with open(os.path.join(directory, "raw"), "rb", buffering=0) as file:
        view = memoryview(array)
        while view:
            count = file.readinto(view[:_PIECE])
            if not count:
                raise EOFError(f"{len(view)} bytes are missing")
            view = view[count:]
    return {"all": array}
