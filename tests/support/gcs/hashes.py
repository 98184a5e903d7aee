"""Checksums as GCS spells them: base64 of the big-endian digest.

https://cloud.google.com/storage/docs/data-validation
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crc32c import crc32c

from tests.support.gcs.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Hashes:
    """The checksums of some bytes.

    Attributes:
        crc32c: Every object has one.
        md5: None for an object that was made of several: by compose, or by an XML multipart upload.
    """

    crc32c: str
    md5: str | None

    @classmethod
    def of(cls, data: bytes) -> Hashes:
        """Both checksums of the bytes."""
        md5 = hashlib.md5(data, usedforsecurity=False).digest()
        return cls(_base64(crc32c(data).to_bytes(4, "big")), _base64(md5))

    @property
    def header(self) -> str:
        """The value of the x-goog-hash header of a reply."""
        return f"crc32c={self.crc32c}" + (f",md5={self.md5}" if self.md5 else "")

    def check(self, claims: Mapping[str, str], *, code: str = "BadDigest") -> None:
        """Compares with what the client says that it sent.

        Args:
            claims: By "crc32c" and "md5"; other names are ignored.
            code: The XML API's word for a difference.

        Raises:
            GcsError: 400: GCS refuses an upload whose checksum does not fit, and keeps nothing of it.
        """
        for name, ours in (("crc32c", self.crc32c), ("md5", self.md5)):
            theirs = claims.get(name)
            if theirs is not None and theirs != ours:
                raise invalid(f'Provided {name} "{theirs}" doesn\'t match calculated {name} "{ours}".', code)


def header_claims(headers: Mapping[str, str]) -> dict[str, str]:
    """What the x-goog-hash and Content-MD5 headers of a request say of its body."""
    claims = {}
    for item in headers.get("x-goog-hash", "").split(","):
        name, equals, value = item.strip().partition("=")
        if equals:
            claims[name.lower()] = value
    if "content-md5" in headers:
        claims["md5"] = headers["content-md5"]
    return claims


def resource_claims(resource: Mapping[str, Any]) -> dict[str, str]:
    """What the metadata of an insert says of its data: the JSON API's crc32c and md5Hash."""
    pairs = (("crc32c", resource.get("crc32c")), ("md5", resource.get("md5Hash")))
    return {name: str(value) for name, value in pairs if value is not None}


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode("ascii")
