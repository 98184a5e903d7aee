"""ck.restore(verify="lazy"), up to the first tensor."""

from __future__ import annotations

import os

import numpy as np

import ckptstore as ck

VERSIONS = {"ckptstore": ck.__version__}


def expect(spec):
    pass


def restore(directory):
    arrays = ck.restore(os.path.join(directory, "ckpt"), verify="lazy")
    np.asarray(next(iter(arrays.values())))
    return arrays
