"""How everybody reaches the server."""

from __future__ import annotations

import os

os.environ.setdefault("AWS_ACCESS_KEY_ID", "bench")
os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "bench")
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")


def s3(endpoint: str) -> dict[str, object]:
    return {"endpoint_url": endpoint, "key": "bench", "secret": "bench"}


def gcs(endpoint: str) -> dict[str, object]:
    return {"endpoint_url": endpoint, "token": "anon", "project": "bench"}


SCHEMES = {"s3": "s3", "gcs": "gs"}


def of(kind: str, endpoint: str) -> dict[str, object]:
    return s3(endpoint) if kind == "s3" else gcs(endpoint)
