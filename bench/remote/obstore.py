"""obstore's own put and get; its client, too, sends parts at once, and gets in one stream."""

from __future__ import annotations

import io

import numpy as np
import obstore
from obstore.store import S3Store

from bench.remote import _options

VERSIONS = {"obstore": obstore.__version__}
_store = None


def connect(endpoint):
    global _store  # noqa: PLW0603
    options = _options.s3(endpoint)
    _store = S3Store(
        "bench",
        endpoint=endpoint,
        access_key_id=options["key"],
        secret_access_key=options["secret"],
        region="us-east-1",
        unsigned_payload=True,
        client_options={"allow_http": True, "timeout": "600s"},
    )


def hold(arrays):
    return arrays["all"]


def upload(state):
    obstore.put(_store, "obstore", io.BytesIO(memoryview(state)), chunk_size=16 << 20, max_concurrency=8)


def download():
    size = obstore.head(_store, "obstore")["size"]
    starts = [*range(0, size, 16 << 20)]
    ends = [min(start + (16 << 20), size) for start in starts]
    out = np.empty(size, np.uint8)
    for at, piece in zip(starts, obstore.get_ranges(_store, "obstore", starts=starts, ends=ends), strict=True):
        out[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
    return {"all": out}
