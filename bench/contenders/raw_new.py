"""The floor for who hands out new arrays: as `raw`, into fresh memory, whose page faults are part of the time."""

from __future__ import annotations

import numpy as np

from bench.contenders import raw

VERSIONS: dict[str, str] = {}

_size = 0


def expect(spec):
    global _size  # noqa: PLW0603
    _size = spec.nbytes


def restore(directory):
    return raw.read_into(directory, np.empty(_size, np.uint8))
