"""What the JSON API says of buckets and objects, and the headers that come with an object's bytes."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from tests.support.gcs.http import Reply

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.gcs.objects import StoredObject


def reply(value: Mapping[str, Any]) -> Reply:
    """200 with a JSON body."""
    return Reply(200, json.dumps(value).encode(), "application/json; charset=UTF-8")


def of_bucket(name: str) -> dict[str, Any]:
    """https://cloud.google.com/storage/docs/json_api/v1/buckets#resource."""
    return {
        "kind": "storage#bucket",
        "id": name,
        "name": name,
        "location": "US",
        "locationType": "multi-region",
        "storageClass": "STANDARD",
        "metageneration": "1",
    }


def of_object(stored: StoredObject) -> dict[str, Any]:
    """https://cloud.google.com/storage/docs/json_api/v1/objects#resource: 64-bit integers are strings there."""
    resource: dict[str, Any] = {
        "kind": "storage#object",
        "id": f"{stored.bucket}/{stored.name}/{stored.generation}",
        "name": stored.name,
        "bucket": stored.bucket,
        "generation": str(stored.generation),
        "metageneration": str(stored.metageneration),
        "contentType": stored.attributes.content_type,
        "storageClass": "STANDARD",
        "size": str(stored.size),
        "crc32c": stored.hashes.crc32c,
        "etag": stored.etag,
        "timeCreated": timestamp(stored.created),
        "updated": timestamp(stored.updated),
    }
    if stored.hashes.md5 is not None:
        resource["md5Hash"] = stored.hashes.md5
    if stored.components is not None:
        resource["componentCount"] = stored.components
    if stored.attributes.metadata:
        resource["metadata"] = dict(stored.attributes.metadata)
    return resource


def media_headers(stored: StoredObject) -> tuple[tuple[str, str], ...]:
    """The headers of a read of the bytes; the hashes are those of the whole object, also with a part of it."""
    return (
        ("Accept-Ranges", "bytes"),
        ("ETag", stored.etag),
        ("Last-Modified", formatdate(stored.updated, usegmt=True)),
        ("X-Goog-Generation", str(stored.generation)),
        ("X-Goog-Metageneration", str(stored.metageneration)),
        ("X-Goog-Stored-Content-Encoding", "identity"),
        ("X-Goog-Stored-Content-Length", str(stored.size)),
        ("X-Goog-Hash", stored.hashes.header),
        *((f"X-Goog-Meta-{name}", value) for name, value in stored.attributes.metadata.items()),
    )


def timestamp(seconds: float) -> str:
    """RFC 3339 with milliseconds, as both APIs have it."""
    moment = datetime.fromtimestamp(seconds, tz=timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
