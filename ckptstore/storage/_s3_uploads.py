"""S3's multipart uploads."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Sequence
from typing import Any

from ckptstore.errors import (
    NotFoundError,
    PreconditionFailedError,
    StorageError,
    StorageUnavailableError,
    UnsupportedError,
    UploadConflictError,
)
from ckptstore.storage._base import ObjectMeta, ObjectRange, Payload, Upload, UploadPart, check_key, check_tag
from ckptstore.storage._bucket import ATTEMPT
from ckptstore.storage._conditions import not_new, not_that_version
from ckptstore.storage._s3_client import S3Client
from ckptstore.storage._s3_errors import is_missing_bucket, reply_of

_MIN_RANGED = 5 << 20  # "You can copy a range only if the source object is greater than 5 MB"


class S3Uploads(S3Client):
    """The upload verbs of `S3Store`."""

    def create_upload(self, key: str, *, tag: str | None = None, create_only: bool = False) -> Upload:
        """See `Store.create_upload`."""
        check_key(key)
        tag = uuid.uuid4().hex if tag is None else check_tag(tag)
        reply = self._call("create_multipart_upload", key, Metadata={ATTEMPT: tag}, ChecksumAlgorithm="CRC32C")
        return Upload(key, reply["UploadId"], tag, create_only)

    def put_part(self, upload: Upload, number: int, payload: Payload) -> UploadPart:
        """See `Store.put_part`. S3 checks the CRC-32C before it takes the part."""
        reply = self._call("upload_part", upload.key, body=payload, UploadId=upload.upload_id, PartNumber=number)
        # Sent back on completion only if the server keeps it: one that does not would not know what it is.
        return UploadPart(number, reply["ETag"], payload.nbytes, reply.get("ChecksumCRC32C"))

    def copy_part(self, upload: Upload, number: int, source: ObjectRange) -> UploadPart:
        """See `Store.copy_part`. Two requests, of which the second looks at the source again.

        That is for servers that take the condition and do not look at it.

        Raises:
            UnsupportedError: It is a range of a small object, of which S3 copies all or nothing; or the name has a "%";
                or the server cannot.
        """
        meta, path = source.meta, self.path(source.meta.key)
        if meta.version is None:
            raise not_that_version(path)
        if "%" in self._prefix + check_key(meta.key):  # Ceph 16 decodes such a name twice, and crashes
            raise UnsupportedError(f"{path}: not every server copies from a name with a %; write the bytes.", path=path)
        if not source.is_whole and meta.size <= _MIN_RANGED:
            raise UnsupportedError(f"{path} is too small for a copy of a range; write the bytes instead.", path=path)
        span: dict[str, Any] = {} if source.is_whole else {"CopySourceRange": f"bytes={source.start}-{source.stop - 1}"}
        try:
            reply = self._call(
                "upload_part_copy",
                upload.key,
                UploadId=upload.upload_id,
                PartNumber=number,
                CopySource={"Bucket": self._bucket, "Key": self._prefix + meta.key},
                CopySourceIfMatch=meta.version,
                **span,
            )
        except PreconditionFailedError as error:
            raise not_that_version(path) from error
        except NotFoundError as error:
            if not is_missing_bucket(error):
                self.head(meta.key)  # which tells whether it is the source that is missing, or the upload
            raise
        if self.head(meta.key).version != meta.version:
            raise not_that_version(path)
        part = reply.get("CopyPartResult") or {}
        if not part.get("ETag"):  # a server that does not know of copies takes it for a part without bytes
            raise UnsupportedError(f"The server did not copy {path}; write the bytes instead.", path=path)
        return UploadPart(number, part["ETag"], source.stop - source.start, part.get("ChecksumCRC32C"))

    def complete_upload(self, upload: Upload, parts: Sequence[UploadPart]) -> ObjectMeta:
        """See `Store.complete_upload`. When the reply is lost, the object itself tells whether it was published.

        Raises:
            UploadConflictError: The upload is create-only, and another write of the key was under way.
        """
        listed = [
            {"PartNumber": part.number, "ETag": part.tag}
            | ({"ChecksumCRC32C": part.checksum} if part.checksum is not None else {})
            for part in sorted(parts, key=lambda part: part.number)
        ]
        size = sum(part.size for part in parts)
        try:
            reply = self._call(
                "complete_multipart_upload",
                upload.key,
                conditions={"IfNoneMatch": "*"} if upload.create_only else None,
                UploadId=upload.upload_id,
                MultipartUpload={"Parts": listed},
            )
        except (NotFoundError, PreconditionFailedError, StorageUnavailableError) as error:
            published = self._published(upload, size)
            if published is not None:
                if isinstance(error, PreconditionFailedError):  # another upload of that tag has become the object
                    with contextlib.suppress(StorageError):
                        self.abort_upload(upload)
                return published
            self._raise_refusal(upload, error)
            raise
        etag = reply.get("ETag") or ""
        if not etag.startswith('"'):  # Ceph's reply has none, or, if it is asked again, one without its quotes
            return self.head(upload.key)
        return ObjectMeta(upload.key, size, etag, tag=upload.tag)

    def _raise_refusal(self, upload: Upload, error: StorageError) -> None:
        """Raises what S3's two ways to refuse a create-only completion mean, if it is one of them."""
        path = self.path(upload.key)
        if upload.create_only and isinstance(error, PreconditionFailedError):
            raise not_new(path) from error
        refusal = reply_of(error)
        if upload.create_only and refusal is not None and refusal[0] == 409:
            raise UploadConflictError(
                f"Another write of {path} was under way when its upload was to be completed; begin a new one.",
                path=path,
            ) from error

    def _published(self, upload: Upload, size: int) -> ObjectMeta | None:
        """The object that an upload became, if it did.

        Raises:
            StorageUnavailableError: It cannot be told now.
        """
        try:
            there = self.head(upload.key)
        except StorageUnavailableError:
            raise
        except StorageError:
            return None  # the error of the completion is the one to raise
        return there if there.tag == upload.tag and there.size == size else None

    def abort_upload(self, upload: Upload) -> None:
        """See `Store.abort_upload`."""
        try:
            self._call("abort_multipart_upload", upload.key, UploadId=upload.upload_id)
        except NotFoundError as error:
            if is_missing_bucket(error):
                raise
