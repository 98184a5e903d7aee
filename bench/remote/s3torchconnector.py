"""s3torchconnector's client (AWS' common runtime): put_object and get_object, which its checkpointing is made of."""

from __future__ import annotations

import numpy as np
import s3torchconnector
from s3torchconnector._s3client import S3Client, S3ClientConfig

from bench.remote import _options  # noqa: F401 - sets the credentials

VERSIONS = {"s3torchconnector": s3torchconnector.__version__}
_client = None


def connect(endpoint, kind):
    del kind
    global _client  # noqa: PLW0603
    _client = S3Client("us-east-1", endpoint=endpoint, s3client_config=S3ClientConfig(force_path_style=True))


def hold(arrays):
    return memoryview(arrays["all"])


def upload(state):
    with _client.put_object("bench", "s3torchconnector") as writer:
        for start in range(0, len(state), 16 << 20):
            writer.write(state[start : start + (16 << 20)])


def download():
    out = np.empty(_client.head_object("bench", "s3torchconnector").size, np.uint8)
    left = memoryview(out)
    reader = _client.get_object("bench", "s3torchconnector")
    while left:
        left = left[reader.readinto(left) :]
    return {"all": out}
