"""obstore's own put, which sends parts at once, and its get_range from threads, since one get is one stream."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import obstore
from obstore.store import S3Store

from bench.remote import _options

VERSIONS = {"obstore": obstore.__version__}
_RANGE = 16 << 20
_AT_ONCE = 24  # as many as ckptstore has under way
_pool = ThreadPoolExecutor(_AT_ONCE)
_store = None


def connect(endpoint, kind, **more):
    del kind
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
        **more,
    )


def hold(arrays):
    return arrays["all"]


def upload(state):
    obstore.put(_store, "obstore", state, chunk_size=_RANGE, max_concurrency=_AT_ONCE)  # a view: nothing is copied


def download():
    size = obstore.head(_store, "obstore")["size"]
    out = np.empty(size, np.uint8)

    def fetch(start):
        stop = min(start + _RANGE, size)
        out[start:stop] = np.frombuffer(obstore.get_range(_store, "obstore", start=start, end=stop), np.uint8)

    list(_pool.map(fetch, range(0, size, _RANGE)))
    return {"all": out}
