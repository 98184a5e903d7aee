"""Where the tests may write: for each kind of server a URL whose contents may be deleted, and its options."""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass, field
from typing import Any

import fsspec

from tests.processes.places import Place

BUCKET = "ckptstore-test"


def is_named(kind: str) -> bool:
    """Whether the environment names a server of this kind."""
    return bool(os.environ.get(f"CKPTSTORE_TEST_{kind}_URL"))


KINDS = ["S3", *(kind for kind in ("GCS", "OTHER") if is_named(kind))]
"""What can be tested: S3 always, since Ceph is started if no other server is named."""


@dataclass(frozen=True)
class Endpoint(Place):
    """A place on a server, and how its objects are reached without ckptstore.

    Attributes:
        given: The storage options that lead to it.
    """

    given: dict[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def named(cls, kind: str) -> Endpoint:
        """The endpoint of CKPTSTORE_TEST_<kind>_URL and CKPTSTORE_TEST_<kind>_OPTIONS."""
        url = os.environ[f"CKPTSTORE_TEST_{kind}_URL"]
        return cls(url.rstrip("/"), given=json.loads(os.environ.get(f"CKPTSTORE_TEST_{kind}_OPTIONS", "{}")))

    @property
    def options(self) -> dict[str, Any]:
        """The storage options that lead to it."""
        return {**self.given}

    @property
    def has_buckets(self) -> bool:
        """Whether it is S3 or GCS."""
        return self.url.startswith(("s3:", "gs:"))

    def arguments(self) -> list[str]:
        """The options for a command line."""
        return [
            word for name, value in self.given.items() for word in ("--storage-option", f"{name}={json.dumps(value)}")
        ]

    def parts(self) -> list[str]:
        """See `Place.parts`."""
        fs, _ = _files(self.url, json.dumps(self.given))
        return [upload["Key"] for upload in self._uploads() if fs.call_s3("list_parts", **upload).get("Parts")]

    def _uploads(self) -> list[dict[str, str]]:
        """S3's uploads under way."""
        if not self.url.startswith("s3:"):
            return []
        fs, root = _files(self.url, json.dumps(self.given))
        bucket, _, prefix = root.partition("/")
        found = fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=prefix).get("Uploads", ())
        return [{"Bucket": bucket, "Key": item["Key"], "UploadId": item["UploadId"]} for item in found]

    def heeds_conditions_of_completion(self) -> bool:
        """Whether an upload that is to create only spares what is there. Tried out; leaves nothing behind."""
        if not self.url.startswith("s3:"):
            return True
        fs, root = _files(self.url, json.dumps(self.given))
        bucket, _, prefix = root.partition("/")
        where = {"Bucket": bucket, "Key": f"{prefix}probe-of-completion"}
        fs.call_s3("put_object", **where, Body=b"there")
        upload = {**where, "UploadId": fs.call_s3("create_multipart_upload", **where)["UploadId"]}
        etag = fs.call_s3("upload_part", **upload, PartNumber=1, Body=b"new")["ETag"]
        parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
        try:
            fs.call_s3("complete_multipart_upload", **upload, MultipartUpload=parts, IfNoneMatch="*")
        except OSError:
            fs.call_s3("abort_multipart_upload", **upload)
            return True
        else:
            return False
        finally:
            fs.call_s3("delete_object", **where)

    def get(self, key: str) -> bytes:
        fs, root = _files(self.url, json.dumps(self.given))
        return bytes(fs.cat_file(root + key))

    def put(self, key: str, data: bytes) -> None:
        fs, root = _files(self.url, json.dumps(self.given))
        fs.pipe_file(root + key, data)

    def names(self) -> set[str]:
        fs, root = _files(self.url, json.dumps(self.given))
        return {path.removeprefix(root) for path in fs.find(root)}

    def clear(self) -> None:
        fs, root = _files(self.url, json.dumps(self.given))
        for path in fs.find(root):
            fs.rm_file(path)
        for upload in self._uploads():
            fs.call_s3("abort_multipart_upload", **upload)


def prefixes(endpoint: Endpoint) -> set[str]:
    """The checkpoints that there are files of, and the state file, without the folders that are each save's own."""
    return {key.rpartition("/")[2].split(".")[0] for key in endpoint.names() if not key.startswith(".")}


@functools.cache
def _files(url: str, options: str) -> tuple[Any, str]:
    """One client for each endpoint: not the endpoint's own, so that processes can be told of it."""
    fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True, **json.loads(options))
    return fs, root.rstrip("/") + "/"
