"""torch.distributed.checkpoint over fsspec, in one process."""

from __future__ import annotations

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint._fsspec_filesystem import FsspecReader, FsspecWriter

from bench.remote import _options

VERSIONS = {"torch": torch.__version__}
_endpoint = ""
_shapes: dict[str, torch.Size] = {}


def connect(endpoint, kind):
    del kind
    global _endpoint  # noqa: PLW0603
    _endpoint = endpoint


def hold(arrays):
    state = {name: torch.from_numpy(array) for name, array in arrays.items()}
    _shapes.update({name: tensor.shape for name, tensor in state.items()})
    return state


def upload(state):
    writer = FsspecWriter("s3://bench/dcp", overwrite=True, **_options.s3(_endpoint))
    dcp.save(state, storage_writer=writer, no_dist=True)


def download():
    state = {name: torch.empty(shape) for name, shape in _shapes.items()}
    dcp.load(state, storage_reader=FsspecReader("s3://bench/dcp", **_options.s3(_endpoint)), no_dist=True)
    return {name: tensor.numpy() for name, tensor in state.items()}
