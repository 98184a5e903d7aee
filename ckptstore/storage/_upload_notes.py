"""Notes of multipart uploads under way, so that those of dead processes can be found and aborted, and nobody else's.

    <journal><32 hex>        {"key": ..., "upload_id": ..., "tag": ..., "create_only": ...} as JSON

A store lists the uploads of a whole bucket, whoever began them, and does not show what tags they bear.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from ckptstore.errors import DataLossError
from ckptstore.storage._base import Payload, Upload, check_key

UPLOAD_NOTES = ".ckptstore/uploads/"
"""Where `from_url` keeps them."""


@dataclass(frozen=True, slots=True)
class UploadNote:
    """One upload.

    Attributes:
        key: See `Upload`.
        upload_id: See `Upload`.
        tag: See `Upload`.
        create_only: See `Upload`.
    """

    key: str
    upload_id: str
    tag: str
    create_only: bool = False

    @classmethod
    def of(cls, upload: Upload) -> UploadNote:
        """The note of an upload."""
        return cls(upload.key, upload.upload_id, upload.tag, upload.create_only)

    def upload(self) -> Upload:
        """The upload, to be aborted."""
        return Upload(self.key, self.upload_id, self.tag, self.create_only)

    def payload(self) -> Payload:
        """The bytes."""
        return Payload.of(json.dumps(asdict(self)).encode())

    @classmethod
    def from_bytes(cls, data: bytes) -> UploadNote:
        """Reads a note.

        Raises:
            DataLossError: It is none.
            UnsafePathError: Its key is none.
        """
        try:
            fields = json.loads(data)
            key, upload_id, tag = fields["key"], fields["upload_id"], fields["tag"]
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise DataLossError("it is no note of an upload") from error
        if not all(isinstance(text, str) and text for text in (key, upload_id, tag)):
            raise DataLossError("it is no note of an upload")
        return cls(check_key(key), upload_id, tag, fields.get("create_only") is True)
