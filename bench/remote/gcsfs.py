"""Plain gcsfs, as it comes: pipe_file and cat_file, a single stream each."""

from __future__ import annotations

import gcsfs
import numpy as np

from bench.remote import _options

VERSIONS = {"gcsfs": gcsfs.__version__}
_fs = None


def connect(endpoint, kind):
    del kind
    global _fs  # noqa: PLW0603
    from gcsfs.core import (
        GCSFileSystem,  # gcsfs.GCSFileSystem may be the extended one, which asks for the bucket's kind
    )

    _fs = GCSFileSystem(**_options.gcs(endpoint))


def hold(arrays):
    return arrays["all"].tobytes()


def upload(state):
    _fs.pipe_file("bench/gcsfs", state)


def download():
    return {"all": np.frombuffer(_fs.cat_file("bench/gcsfs"), np.uint8)}
