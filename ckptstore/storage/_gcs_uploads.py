"""GCS' multipart uploads, which are those of its XML interface.

    put      upload to the key
    create   upload to a temporary name beside the key -> compose that one object into the key, if there is no object
             of that name -> delete the temporary name

The XML interface refuses preconditions on multipart uploads. The JSON one has no such uploads, but takes a
precondition when it composes objects, for which GCS copies no bytes.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import uuid
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from ckptstore.errors import (
    AlreadyExistsError,
    InvalidArgumentError,
    NotFoundError,
    PreconditionFailedError,
    StorageError,
    StorageUnavailableError,
)
from ckptstore.storage._base import ObjectMeta, ObjectRange, Payload, Upload, UploadPart, check_tag, whole_object
from ckptstore.storage._bodies import crc32c_base64
from ckptstore.storage._bucket import ATTEMPT
from ckptstore.storage._conditions import not_new, not_that_version
from ckptstore.storage._gcs_client import CACHE_CONTROL, CONTENT_TYPE, DESCRIBED, GcsClient, json_of, object_meta
from ckptstore.storage._gcs_errors import xml_text
from ckptstore.storage._temporary_file import is_temporary


class GcsUploads(GcsClient):
    """The upload verbs of `GcsStore`.

    The id of a create-only upload is the temporary name, a slash and GCS' own id, so that an `UploadNote` leads to all
    there is to abort.
    """

    def create_upload(self, key: str, *, tag: str | None = None, create_only: bool = False) -> Upload:
        """See `Store.create_upload`."""
        path = self._writable(key)
        tag = uuid.uuid4().hex if tag is None else check_tag(tag)
        name = f".ckptstore-tmp-{secrets.token_hex(16)}" if create_only else None
        headers = {"Content-Type": CONTENT_TYPE, "Cache-Control": CACHE_CONTROL, f"x-goog-meta-{ATTEMPT}": tag}
        reply = self._request("POST", self._xml(_target(key, name)), {"uploads": ""}, headers, key=key)
        upload_id = xml_text(reply.body.decode("utf-8", "replace"), "UploadId")
        if not upload_id:
            raise StorageError(f"The server began no upload of {path}; it may not have GCS' XML interface.", path=path)
        return Upload(key, upload_id if name is None else f"{name}/{upload_id}", tag, create_only)

    def put_part(self, upload: Upload, number: int, payload: Payload) -> UploadPart:
        """See `Store.put_part`. GCS checks the CRC-32C before it takes the part."""
        target, upload_id = _parse(upload)
        reply = self._request(
            "PUT",
            self._xml(target),
            {"partNumber": str(number), "uploadId": upload_id},
            {"Content-Type": CONTENT_TYPE, "x-goog-hash": f"crc32c={crc32c_base64(payload)}"},
            payload,
            key=upload.key,
        )
        tag = reply.headers.get("ETag")
        if not tag:
            path = self.path(upload.key)
            raise StorageError(f"The server did not name part {number} of {path}.", path=path)
        return UploadPart(number, tag, payload.nbytes)

    def complete_upload(self, upload: Upload, parts: Sequence[UploadPart]) -> ObjectMeta:
        """See `Store.complete_upload`. When a reply is lost, the objects themselves tell how far it came."""
        target, upload_id = _parse(upload)
        size = sum(part.size for part in parts)
        try:
            self._complete(upload, target, upload_id, parts)
        except (NotFoundError, StorageUnavailableError):
            published = self._published(upload, upload.key, size)
            if published is not None:
                self._forget(upload, target)  # an earlier try may have ended before it came to that
                return published
            if not upload.create_only or self._published(upload, target, size) is None:
                raise
        if not upload.create_only:
            # The reply need not tell the generation. Whatever is there now is there after our own completion.
            return self._published(upload, upload.key, size) or self.head(upload.key)
        meta = self._compose(upload, target, size)
        self._forget(upload, target)
        return meta

    def abort_upload(self, upload: Upload) -> None:
        """See `Store.abort_upload`.

        Raises:
            InvalidArgumentError: The upload is not one of this store's.
        """
        target, upload_id = _parse(upload)
        self._request("DELETE", self._xml(target), {"uploadId": upload_id}, key=upload.key, may_be_missing=True)
        if upload.create_only:
            self._remove(target)

    def _complete(self, upload: Upload, target: str, upload_id: str, parts: Sequence[UploadPart]) -> None:
        listed = "".join(
            f"<Part><PartNumber>{part.number}</PartNumber><ETag>{_escaped(part.tag)}</ETag></Part>"
            for part in sorted(parts, key=lambda part: part.number)
        )
        reply = self._request(
            "POST",
            self._xml(target),
            {"uploadId": upload_id},
            {"Content-Type": "application/xml"},
            Payload.of(f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()),
            key=upload.key,
        )
        if b"<Error>" in reply.body:  # as S3 does when it learns too late that it cannot
            path = self.path(upload.key)
            raise StorageUnavailableError(f"The server could not complete the upload of {path}.", path=path)

    def copy(self, key: str, ranges: Sequence[ObjectRange], *, tag: str | None = None) -> ObjectMeta:
        """See `Store.copy`. GCS composes the new object of the one there is, for which it copies no bytes."""
        path = self._writable(key)
        meta = whole_object(ranges, path)
        if meta.version is None:
            raise not_that_version(self.path(meta.key))
        upload = Upload(key, "", uuid.uuid4().hex if tag is None else check_tag(tag), create_only=True)
        try:
            return self._compose(upload, meta.key, meta.size, meta.version)
        except AlreadyExistsError as error:
            try:  # GCS has one status for both conditions: that nothing is there, and which version the source is
                self.head(key)
            except NotFoundError:
                raise not_that_version(self.path(meta.key)) from error
            raise
        except NotFoundError:
            self.head(meta.key)  # which tells what is missing: the source or the bucket
            raise

    def _compose(self, upload: Upload, source: str, size: int, generation: str | None = None) -> ObjectMeta:
        """Makes the key of another object, if there is nothing at the key."""
        destination = {
            "contentType": CONTENT_TYPE,
            "cacheControl": CACHE_CONTROL,
            "metadata": {ATTEMPT: upload.tag},
        }
        described: dict[str, object] = {"name": self._prefix + source}
        if generation is not None:
            described["objectPreconditions"] = {"ifGenerationMatch": generation}
        body = {"sourceObjects": [described], "destination": destination}
        try:
            reply = self._request(
                "POST",
                f"{self._objects(upload.key)}/compose",
                {"ifGenerationMatch": "0", "fields": DESCRIBED},
                {"Content-Type": "application/json"},
                Payload.of(json.dumps(body).encode()),
                key=upload.key,
            )
            return object_meta(upload.key, json_of(reply, self.path(upload.key)))
        except (NotFoundError, PreconditionFailedError, StorageUnavailableError) as error:
            published = self._published(upload, upload.key, size)
            if published is not None:
                return published
            if isinstance(error, PreconditionFailedError):
                raise not_new(self.path(upload.key)) from error
            raise

    def _published(self, upload: Upload, key: str, size: int) -> ObjectMeta | None:
        """The object of that name, if it is what the upload became.

        Raises:
            StorageUnavailableError: It cannot be told now.
        """
        try:
            there = self.head(key)
        except StorageUnavailableError:
            raise
        except StorageError:
            return None  # the error of the completion is the one to raise
        return there if there.tag == upload.tag and there.size == size else None

    def _forget(self, upload: Upload, target: str) -> None:
        """Removes the temporary object of a completed upload, if it has one and if that can be done."""
        if upload.create_only:
            with contextlib.suppress(StorageError):  # the object is there, and `unfinished` tells of the rest
                self._remove(target)

    def _remove(self, key: str, condition: Mapping[str, str] | None = None) -> None:
        """Deletes a key, if it is there and a condition holds."""
        self._request("DELETE", self._objects(key), condition or {}, key=key, may_be_missing=True)

    def _xml(self, key: str) -> str:
        return f"/{quote(self._bucket, safe='')}/{quote(self._prefix + key, safe='/')}"


def _target(key: str, name: str | None) -> str:
    """The name that the parts of an upload come together under."""
    parent, slash, _ = key.rpartition("/")
    return key if name is None else parent + slash + name


def _parse(upload: Upload) -> tuple[str, str]:
    """The target of an upload, and GCS' own id of it.

    Raises:
        InvalidArgumentError: Its id is not one of ours; what is at such a name is not ours to delete.
    """
    if not upload.create_only:
        return upload.key, upload.upload_id
    name, _, upload_id = upload.upload_id.partition("/")
    if not is_temporary(name) or not upload_id:
        raise InvalidArgumentError(f"{upload.upload_id!r} is no id of a create-only upload of {upload.key}.")
    return _target(upload.key, name), upload_id


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
