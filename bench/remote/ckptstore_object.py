"""The store alone: one object, put from memory and read into memory."""

from __future__ import annotations

import numpy as np

import ckptstore as ck
from bench.remote import _options
from ckptstore.storage import Payload, from_url

VERSIONS = {"ckptstore": ck.__version__}
_store = None


def connect(endpoint, kind):
    global _store  # noqa: PLW0603
    _store = from_url(f"{_options.SCHEMES[kind]}://bench/run", _options.of(kind, endpoint))


def hold(arrays):
    return arrays["all"]


def upload(state):
    _store.put("object", Payload.of(state))


def download():
    out = np.empty(_store.head("object").size, np.uint8)
    _store.read_into("object", [(0, memoryview(out))])
    return {"all": out}
