"""Servers on loopback, and an environment in which no client can find a real one."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.storage.s3_server import S3Server
    from tests.support.gcs import GcsServer

BUCKET = "bucket"

_HIDDEN = [
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_PROFILE",
    "AWS_SESSION_TOKEN",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "STORAGE_EMULATOR_HOST",
]


@pytest.fixture(autouse=True, scope="session")
def _no_real_endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    nowhere = Path(tmp_path_factory.mktemp("no-credentials"))
    with pytest.MonkeyPatch.context() as patch:
        for name in _HIDDEN:
            patch.delenv(name, raising=False)
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            patch.delenv(name, raising=False)
            patch.delenv(name.upper(), raising=False)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing-secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", str(nowhere / "config"))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(nowhere / "credentials"))
        patch.setenv("NO_GCE_CHECK", "true")
        patch.setenv("CLOUDSDK_CONFIG", str(nowhere))
        # Without it, importing gcsfs loads gRPC, and its default class asks a server that is not there.
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        yield


@pytest.fixture(scope="session")
def _s3_process() -> Iterator[S3Server]:
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    from tests.storage.s3_server import S3Server

    with S3Server() as server:
        yield server


@pytest.fixture(scope="session")
def _boto(_s3_process: S3Server) -> Any:
    import boto3

    return boto3.client("s3", endpoint_url=_s3_process.url)


@pytest.fixture
def s3_server(_s3_process: S3Server, _boto: Any) -> Iterator[S3Server]:
    """An S3 server with one empty bucket, `BUCKET`."""
    _s3_process.forget()
    urllib.request.urlopen(urllib.request.Request(f"{_s3_process.url}/moto-api/reset", method="POST")).close()
    _boto.create_bucket(Bucket=BUCKET)
    _s3_process.forget()
    yield _s3_process
    _s3_process.forget()


@pytest.fixture(scope="session")
def _aio_session() -> Any:
    """One session for all tests: each of its own would read botocore's descriptions anew, 0.2 s a time."""
    from aiobotocore.session import AioSession

    return AioSession()


@pytest.fixture
def s3_options(s3_server: S3Server, _aio_session: Any) -> dict[str, Any]:
    """Storage options that lead to the server."""
    return {"endpoint_url": s3_server.url, "session": _aio_session}


@pytest.fixture
def boto(s3_server: S3Server, _boto: Any) -> Any:
    """A client that reaches the server's objects without our code."""
    return _boto


@pytest.fixture(scope="session")
def _gcs_process() -> Iterator[GcsServer]:
    pytest.importorskip("gcsfs")
    from tests.support.gcs import GcsServer

    with GcsServer() as server:
        yield server


@pytest.fixture
def gcs_server(_gcs_process: GcsServer) -> Iterator[GcsServer]:
    """A GCS server with one empty bucket, `BUCKET`."""
    _gcs_process.reset()
    request = urllib.request.Request(
        f"{_gcs_process.url}/storage/v1/b?project=p",
        data=json.dumps({"name": BUCKET}).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    urllib.request.urlopen(request).close()
    _gcs_process.requests.clear()
    yield _gcs_process
    _gcs_process.reset()
