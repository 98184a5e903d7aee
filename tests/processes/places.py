"""Where the processes meet: a directory of the local disk, or a prefix in a bucket of a server on loopback."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

from ckptstore.storage import Store, from_url
from ckptstore.storage._local import LOCK_KEY

KINDS = ("local", "s3", "gcs")

_HIDDEN = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "STORAGE_EMULATOR_HOST")
_NOWHERE = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "NO_GCE_CHECK": "true",
}


@dataclass(frozen=True)
class Place:
    """A directory of checkpoints, as every process is told of it.

    Attributes:
        url: Where it is.
        endpoint: The server's URL; empty for the local disk.
    """

    url: str
    endpoint: str = ""

    @property
    def options(self) -> dict[str, Any]:
        """The storage options that lead to it."""
        if self.url.startswith("s3:"):
            return {"endpoint_url": self.endpoint, "session": _aio_session()}
        if self.url.startswith("gs:"):
            return {"endpoint_url": self.endpoint, "token": "anon", "project": "p"}
        return {}

    def store(self) -> Store:
        """A store of it, with everything that a user's has."""
        return from_url(self.url, self.options)

    def is_locked(self, seconds: float) -> bool:
        """Whether somebody holds the lock of a local directory for so long."""
        lock = pathlib.Path(self.url, LOCK_KEY)
        if self.endpoint or not lock.exists():
            return False
        deadline = time.monotonic() + seconds
        with lock.open() as file:
            while time.monotonic() < deadline:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return False
                time.sleep(0.001)
        return True

    def parts(self) -> list[str]:
        """The uploads under way that hold any data. Without an object, and in no listing, they cost money."""
        if not self.url.startswith("s3:"):
            return []
        found = _xml(f"{self.endpoint}/bucket?uploads")
        uploads = [(item.findtext("Key", ""), item.findtext("UploadId", "")) for item in found.iter("Upload")]
        parts = ((key, _xml(f"{self.endpoint}/bucket/{quote(key)}?uploadId={number}")) for key, number in uploads)
        return [key for key, listing in parts if listing.find("Part") is not None]


def _xml(url: str) -> ET.Element:
    with urllib.request.urlopen(url) as reply:
        return ET.fromstring(reply.read())


_sessions: list[Any] = []


def _aio_session() -> Any:
    """One for all clients of a process, and of those forked from it: to read botocore's descriptions takes 0.2 s."""
    if not _sessions:
        from aiobotocore.session import AioSession

        session = AioSession()
        session.get_component("data_loader").load_service_model("s3", "service-2")
        session.get_component("data_loader").load_data("endpoints")
        _sessions.append(session)
    return _sessions[0]


@contextlib.contextmanager
def place(kind: str) -> Iterator[Place]:
    """An empty place of a kind, for as long as the context lasts. Nothing outlives it."""
    with contextlib.ExitStack() as stack:
        _isolate(stack)
        if kind == "local":
            root = stack.enter_context(tempfile.TemporaryDirectory(prefix="ckptstore-"))
            yield Place(f"{root}/run")
        elif kind == "s3":
            yield Place("s3://bucket/run", stack.enter_context(_s3_process()))
        elif kind == "gcs":
            yield Place("gs://bucket/run", stack.enter_context(_gcs_threads()))
        else:
            raise ValueError(f"{kind!r} is none of {KINDS}")


@contextlib.contextmanager
def _s3_process() -> Iterator[str]:
    command = [sys.executable, "-m", "tests.support.fasts3", "--bucket", "bucket"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.communicate(timeout=30)  # the end of its input is its end


@contextlib.contextmanager
def _gcs_threads() -> Iterator[str]:
    from tests.support.gcs import GcsServer

    with GcsServer() as server:
        bucket = urllib.request.Request(
            f"{server.url}/storage/v1/b?project=p",
            data=json.dumps({"name": "bucket"}).encode(),
            headers={"Content-Type": "application/json"},
        )
        urllib.request.urlopen(bucket).close()
        yield server.url


def _isolate(stack: contextlib.ExitStack) -> None:
    """Sees to it that no client finds a real server, nor a proxy on the way to ours."""
    before = dict(os.environ)

    def restore() -> None:
        os.environ.clear()
        os.environ.update(before)

    stack.callback(restore)
    for name in (*_HIDDEN, *(name for name in before if name.lower() in ("http_proxy", "https_proxy", "all_proxy"))):
        os.environ.pop(name, None)
    os.environ.update(_NOWHERE)
