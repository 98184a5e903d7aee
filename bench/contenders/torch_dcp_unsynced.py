"""As torch_dcp with sync_files=False: what is synced is synced by the measurement, as for the others."""

from __future__ import annotations

import os

from bench.contenders import torch_dcp

VERSIONS = torch_dcp.VERSIONS

hold, expect, restore = torch_dcp.hold, torch_dcp.expect, torch_dcp.restore


def save(directory, state):
    path = os.path.join(directory, "dcp")
    writer = torch_dcp.dcp.FileSystemWriter(path, thread_count=2, sync_files=False)
    torch_dcp.dcp.save(state, storage_writer=writer, no_dist=True)
