"""The JSON API's three ways to upload: media, multipart and resumable.

https://cloud.google.com/storage/docs/uploads-downloads#uploads
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tests.support.gcs import errors, mime, resources
from tests.support.gcs.hashes import Hashes, header_claims, resource_claims
from tests.support.gcs.http import Reply, Request
from tests.support.gcs.objects import DEFAULT_CONTENT_TYPE, Attributes, ObjectStore, StoredObject
from tests.support.gcs.preconditions import Preconditions

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
_CHUNK_UNIT = 256 << 10  # cloud.google.com/storage/docs/performing-resumable-uploads#chunked-upload


@dataclass
class _Session:
    """A resumable upload under way; once `made` is set it is finished, and only repeats its answer."""

    bucket: str
    name: str
    attributes: Attributes
    claims: Mapping[str, str]
    conditions: Preconditions
    data: bytearray = field(default_factory=bytearray)
    made: StoredObject | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class Inserts:
    """Answers requests below /upload.

    Args:
        store: Where the objects go.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._sessions: dict[str, _Session] = {}

    def clear(self) -> None:
        """Forgets the resumable uploads."""
        self._sessions.clear()

    def answer(self, request: Request, bucket: str) -> Reply:
        """Does what is asked.

        Raises:
            GcsError: Or refuses.
        """
        match request.method, request.query.get("uploadType"):
            case _, _ if "upload_id" in request.query:
                return self._resume(request, request.query["upload_id"])
            case "POST", "media":
                return self._media(request, bucket)
            case "POST", "multipart":
                return self._multipart(request, bucket)
            case "POST", "resumable":
                return self._initiate(request, bucket)
        raise errors.invalid(f"{request.method} with uploadType={request.query.get('uploadType')} is no upload.")

    def _media(self, request: Request, bucket: str) -> Reply:
        """The body is the object, the query has its name."""
        attributes = Attributes(request.headers.get("content-type") or DEFAULT_CONTENT_TYPE)
        return self._insert(request, bucket, request.body, {}, attributes)

    def _multipart(self, request: Request, bucket: str) -> Reply:
        """The body is a JSON resource, then the object."""
        try:
            meta, media = mime.split(request.headers.get("content-type", ""), request.body)
            resource = json.loads(meta.body)
        except ValueError as e:
            raise errors.invalid(f"Multipart body is malformed: {e}") from e
        attributes = attributes_of(resource, media.headers.get("content-type", DEFAULT_CONTENT_TYPE))
        return self._insert(request, bucket, media.body, resource, attributes)

    def _insert(
        self, request: Request, bucket: str, data: bytes, resource: Mapping[str, Any], attributes: Attributes
    ) -> Reply:
        hashes = Hashes.of(data)
        hashes.check(resource_claims(resource))
        # Taken to speak of the object, in a multipart upload too, as it does in the XML API.
        hashes.check(header_claims(request.headers))
        made = self._store.put(
            bucket,
            _name(request, resource),
            data,
            attributes,
            hashes=hashes,
            conditions=Preconditions.from_query(request.query),
        )
        return resources.reply(resources.of_object(made))

    # Resumable uploads: https://cloud.google.com/storage/docs/performing-resumable-uploads

    def _initiate(self, request: Request, bucket: str) -> Reply:
        """Opens a session. Its preconditions are those of the object that it will make, so they are tested then.

        The session's address is in the Location header, and holds the query of this request, as the real one does.
        """
        self._store.objects(bucket)
        try:
            resource = request.json()
        except ValueError as e:
            raise errors.invalid(f"Parse Error: {e}") from e
        session = _Session(
            bucket,
            _name(request, resource),
            attributes_of(resource, request.headers.get("x-upload-content-type", DEFAULT_CONTENT_TYPE)),
            resource_claims(resource),
            Preconditions.from_query(request.query),
        )
        upload_id = uuid.uuid4().hex
        self._sessions[upload_id] = session
        query = "&".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in request.query.items())
        location = f"http://{request.headers.get('host')}{request.raw_path}?{query}&upload_id={upload_id}"
        return Reply(200, headers=(("Location", location), ("X-GUploader-UploadID", upload_id)))

    def _resume(self, request: Request, upload_id: str) -> Reply:
        """A chunk, a question how far it got, or a cancellation."""
        session = self._sessions.get(upload_id)
        if session is None:
            raise errors.no_upload()
        if request.method == "DELETE":
            self._sessions.pop(upload_id, None)
            return Reply(499)  # "Client Closed Request" is the documented success here
        if request.method not in ("PUT", "POST"):
            raise errors.not_implemented(f"{request.method} on an upload session")
        with session.lock:
            # A finished session answers again, so a client whose last reply was lost learns of its success.
            made = session.made or self._receive(session, request)
            if made is not None:
                session.made = made
                session.data = bytearray()
                return resources.reply(resources.of_object(made))
            have = len(session.data)
            return Reply(308, headers=(("Range", f"bytes=0-{have - 1}"),) if have else ())

    def _receive(self, session: _Session, request: Request) -> StoredObject | None:
        """Takes a chunk; the object if that was the last one."""
        total = _append(session.data, request.headers.get("content-range"), request.body)
        if total is None or len(session.data) < total:
            return None
        data = bytes(session.data)
        hashes = Hashes.of(data)
        hashes.check(session.claims)
        hashes.check(header_claims(request.headers))  # with the last chunk, the header speaks of the whole object
        return self._store.put(
            session.bucket, session.name, data, session.attributes, hashes=hashes, conditions=session.conditions
        )


def _append(data: bytearray, content_range: str | None, chunk: bytes) -> int | None:
    """Adds the bytes of a chunk that are not there yet.

    Args:
        data: What the session has; it grows.
        content_range: The header: "bytes 0-99/200", "bytes 0-99/*" (size not known yet), "bytes */200" (no bytes),
            "bytes */*" (only asks). None: the chunk is all the rest.
        chunk: The bytes.

    Returns:
        The size of the whole object, None while it is not known.

    Raises:
        GcsError: The chunk does not fit what the session has, or what the header says.
    """
    if content_range is None:
        data += chunk
        return len(data)
    match = _CONTENT_RANGE.fullmatch(content_range)
    if match is None:
        raise errors.invalid(f"Failed to parse Content-Range header: {content_range!r}")
    first, last, total_text = match.groups()
    total = None if total_text == "*" else int(total_text)
    if first is None:
        if chunk:
            raise errors.invalid("The Content-Range header says that there are no bytes, and there are.")
        return total
    start, stop = int(first), int(last) + 1
    if stop - start != len(chunk) or (total is not None and stop > total):
        raise errors.invalid(f"{len(chunk)} bytes do not fit the Content-Range header {content_range!r}.")
    if start > len(data):
        message = f"The upload offset is {start} byte(s), which exceeds already uploaded size of {len(data)} byte(s)."
        raise errors.GcsError(503, "backendError", "ServiceUnavailable", message)
    if stop != total and len(chunk) % _CHUNK_UNIT:
        raise errors.invalid(f"A chunk that is not the last must be a multiple of {_CHUNK_UNIT} bytes long.")
    data += chunk[len(data) - start :]
    return total


def attributes_of(resource: Mapping[str, Any], content_type: str) -> Attributes:
    """The attributes in an object resource; the content type is the one to use if it names none."""
    metadata = resource.get("metadata") or {}
    if not all(isinstance(value, str) for value in metadata.values()):
        raise errors.invalid("Invalid value for metadata: all values must be strings.")
    return Attributes(str(resource.get("contentType") or content_type), dict(metadata))


def _name(request: Request, resource: Mapping[str, Any]) -> str:
    """The object's name: in the query, or in the resource, where the resource wins."""
    name = resource.get("name") or request.query.get("name")
    if not name:
        raise errors.invalid("Required: the object's name")
    return str(name)
