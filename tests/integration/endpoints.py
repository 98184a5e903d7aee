"""Which servers the environment names: for each kind a URL whose contents may be deleted, and its options as JSON."""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass
from typing import Any

import fsspec
import pytest

KINDS = ("S3", "GCS", "OTHER")


@dataclass
class Endpoint:
    """A place on a server, and how its objects are reached without ckptstore."""

    url: str
    options: dict[str, Any]

    @classmethod
    def named(cls, kind: str) -> Endpoint:
        """The endpoint of CKPTSTORE_TEST_<kind>_URL and CKPTSTORE_TEST_<kind>_OPTIONS; skips if it is not named."""
        url = os.environ.get(f"CKPTSTORE_TEST_{kind}_URL")
        if not url:
            pytest.skip(f"CKPTSTORE_TEST_{kind}_URL names no server")
        return cls(url.rstrip("/"), json.loads(os.environ.get(f"CKPTSTORE_TEST_{kind}_OPTIONS", "{}")))

    @functools.cached_property
    def _files(self) -> tuple[Any, str]:
        fs, root = fsspec.core.url_to_fs(self.url, use_listings_cache=False, skip_instance_cache=True, **self.options)
        return fs, root.rstrip("/") + "/"

    def get(self, key: str) -> bytes:
        fs, root = self._files
        return bytes(fs.cat_file(root + key))

    def put(self, key: str, data: bytes) -> None:
        fs, root = self._files
        fs.pipe_file(root + key, data)

    def names(self) -> set[str]:
        fs, root = self._files
        return {path.removeprefix(root) for path in fs.find(root)}

    def clear(self) -> None:
        fs, root = self._files
        for path in fs.find(root):
            fs.rm_file(path)
