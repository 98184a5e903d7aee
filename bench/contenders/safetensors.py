"""safetensors.numpy: no checksums."""

from __future__ import annotations

import os

import safetensors
import safetensors.numpy

VERSIONS = {"safetensors": safetensors.__version__}


def hold(arrays):
    return arrays


def expect(spec):
    pass


def save(directory, state):
    safetensors.numpy.save_file(state, os.path.join(directory, "model.safetensors"))


def restore(directory):
    return safetensors.numpy.load_file(os.path.join(directory, "model.safetensors"))
