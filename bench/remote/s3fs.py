"""Plain s3fs, as it comes: pipe_file and cat_file."""

from __future__ import annotations

import numpy as np
import s3fs

from bench.remote import _options

VERSIONS = {"s3fs": s3fs.__version__}
_fs = None


def connect(endpoint, kind):
    del kind
    global _fs  # noqa: PLW0603
    _fs = s3fs.S3FileSystem(**_options.s3(endpoint))


def hold(arrays):
    return arrays["all"].tobytes()  # it takes nothing else


def upload(state):
    _fs.pipe_file("bench/s3fs", state)


def download():
    return {"all": np.frombuffer(_fs.cat_file("bench/s3fs"), np.uint8)}
