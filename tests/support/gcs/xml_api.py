"""The XML API's multipart uploads, which are those of S3: https://cloud.google.com/storage/docs/multipart-uploads.

Of the XML API this is all: plain reads and writes of objects go through the JSON API here.

Preconditions are a trap. Google documents, under "Request preconditions", that they cannot be used in XML API
multipart uploads, and that trying is a 400 NotImplemented error, which is what this answers;
`GcsServer(multipart_preconditions=True)` honours x-goog-if-generation-match when an upload begins and is completed.
"""

from __future__ import annotations

import hashlib
import threading
import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from tests.support.gcs import errors
from tests.support.gcs.hashes import Hashes, header_claims
from tests.support.gcs.http import Reply, Request
from tests.support.gcs.objects import DEFAULT_CONTENT_TYPE, Attributes, ObjectStore
from tests.support.gcs.preconditions import Preconditions
from tests.support.gcs.resources import timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_META = "x-goog-meta-"
_MAX_PART_NUMBER = 10_000
_MAX_PAGE = 1000


@dataclass(frozen=True)
class _Part:
    data: bytes
    etag: str
    modified: float


@dataclass
class _Upload:
    """One upload under way. Its attributes and conditions are those that it began with."""

    upload_id: str
    bucket: str
    name: str
    attributes: Attributes
    conditions: Preconditions
    initiated: float
    parts: dict[int, _Part] = field(default_factory=dict)


class XmlApi:
    """Answers requests to the XML API.

    Args:
        store: Where finished uploads go.
        now: The time of day in seconds since 1970.
        min_part_size: The least bytes of every part but the last.
        preconditions: Honour preconditions, in place of refusing them.
    """

    def __init__(
        self, store: ObjectStore, now: Callable[[], float], *, min_part_size: int, preconditions: bool
    ) -> None:
        self._store = store
        self._now = now
        self._min_part_size = min_part_size
        self._preconditions = preconditions
        self._uploads: dict[str, _Upload] = {}
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Forgets all uploads."""
        with self._lock:
            self._uploads.clear()

    def answer(self, request: Request) -> Reply:
        """Does what is asked; a refusal is an answer too."""
        try:
            return self._route(request)
        except errors.GcsError as e:
            return e.as_xml()

    def _route(self, request: Request) -> Reply:
        bucket, *rest = request.segments
        name, query = "/".join(rest), request.query
        self._store.objects(bucket)
        match request.method:
            case "POST" if name and "uploads" in query:
                return self._initiate(request, bucket, name)
            case "PUT" if name and "uploadId" in query and "partNumber" in query:
                return self._put_part(request, bucket, name)
            case "POST" if name and "uploadId" in query:
                return self._complete(request, bucket, name)
            case "DELETE" if name and "uploadId" in query:
                with self._lock:
                    del self._uploads[self._find(request, bucket, name).upload_id]
                return Reply(204)
            case "GET" if name and "uploadId" in query:
                return self._list_parts(request, bucket, name)
            case "GET" if not name and "uploads" in query:
                return self._list_uploads(request, bucket)
        raise errors.not_implemented(f"{request.method} {request.raw_path}?{'&'.join(query)} in the XML API")

    def _find(self, request: Request, bucket: str, name: str) -> _Upload:
        """The upload of that id, which must be one for this very object. The lock is held."""
        upload = self._uploads.get(request.query["uploadId"])
        if upload is None or (upload.bucket, upload.name) != (bucket, name):
            raise errors.no_upload()
        return upload

    def _conditions(self, request: Request) -> Preconditions:
        conditions = Preconditions.from_headers(request.headers)
        if conditions and not self._preconditions:
            message = "Preconditions cannot be used in XML API multipart uploads."
            raise errors.GcsError(400, "notImplemented", "NotImplemented", message)
        return conditions

    def _initiate(self, request: Request, bucket: str, name: str) -> Reply:
        """https://cloud.google.com/storage/docs/xml-api/post-object-multipart: the metadata of the object comes now."""
        conditions = self._conditions(request)
        self._store.check(bucket, name, conditions)
        attributes = Attributes(
            request.headers.get("content-type") or DEFAULT_CONTENT_TYPE,
            {key[len(_META) :]: value for key, value in request.headers.items() if key.startswith(_META)},
        )
        upload = _Upload(uuid.uuid4().hex, bucket, name, attributes, conditions, self._now())
        with self._lock:
            self._uploads[upload.upload_id] = upload
        elements = [("Bucket", bucket), ("Key", name), ("UploadId", upload.upload_id)]
        return _reply("InitiateMultipartUploadResult", elements)

    def _put_part(self, request: Request, bucket: str, name: str) -> Reply:
        """https://cloud.google.com/storage/docs/xml-api/put-object-multipart: a repeated number replaces the part."""
        number = _integer(request.query, "partNumber", default=0)
        if not 1 <= number <= _MAX_PART_NUMBER:
            raise errors.invalid(f"Part number must be an integer between 1 and {_MAX_PART_NUMBER}, inclusive.")
        hashes = Hashes.of(request.body)
        hashes.check(header_claims(request.headers))
        etag = hashlib.md5(request.body, usedforsecurity=False).hexdigest()
        with self._lock:
            self._find(request, bucket, name).parts[number] = _Part(request.body, etag, self._now())
        return Reply(200, headers=(("ETag", f'"{etag}"'), ("X-Goog-Hash", hashes.header)))

    def _complete(self, request: Request, bucket: str, name: str) -> Reply:
        """https://cloud.google.com/storage/docs/xml-api/post-object-complete.

        The object has the parts that the body names, in ascending order, and no others. Conditions of this request
        take the place of those that the upload began with; either are tested in the moment the object appears. A
        refused completion leaves the upload as it was. A second completion is 404 NoSuchUpload: a client whose reply
        was lost has to look.
        """
        named = _named_parts(request.body)
        conditions = self._conditions(request)
        with self._lock:  # through to the end: of two completions of one upload, one finds nothing
            upload = self._find(request, bucket, name)
            data = b"".join(self._checked_parts(upload, named))
            made = self._store.put(
                bucket,
                name,
                data,
                upload.attributes,
                hashes=replace(Hashes.of(data), md5=None),
                conditions=conditions or upload.conditions,
            )
            del self._uploads[upload.upload_id]
        elements = [
            ("Location", f"http://{request.headers.get('host')}{request.raw_path}"),
            ("Bucket", bucket),
            ("Key", name),
            ("ETag", f'"{made.etag}"'),
        ]
        headers = (("X-Goog-Generation", str(made.generation)), ("X-Goog-Hash", made.hashes.header))
        return _reply("CompleteMultipartUploadResult", elements, headers)

    def _checked_parts(self, upload: _Upload, named: list[tuple[int, str]]) -> list[bytes]:
        numbers = [number for number, _ in named]
        if numbers != sorted(set(numbers)):
            raise errors.invalid("The list of parts was not in ascending order.", "InvalidPartOrder")
        parts = []
        for number, etag in named:
            part = upload.parts.get(number)
            if part is None or part.etag != etag:
                raise errors.invalid(f"Part {number} could not be found, or its ETag differs.", "InvalidPart")
            parts.append(part.data)
        if any(len(data) < self._min_part_size for data in parts[:-1]):
            raise errors.invalid(f"A part is smaller than {self._min_part_size} bytes.", "EntityTooSmall")
        return parts

    def _list_parts(self, request: Request, bucket: str, name: str) -> Reply:
        """https://cloud.google.com/storage/docs/xml-api/get-object-multipart."""
        limit = min(_integer(request.query, "max-parts", default=_MAX_PAGE), _MAX_PAGE)
        marker = _integer(request.query, "part-number-marker", default=0)
        with self._lock:
            upload = self._find(request, bucket, name)
            numbers = sorted(number for number in upload.parts if number > marker)
            page = [(number, upload.parts[number]) for number in numbers[:limit]]
        truncated = len(numbers) > limit
        elements = [
            ("Bucket", bucket),
            ("Key", name),
            ("UploadId", upload.upload_id),
            ("StorageClass", "STANDARD"),
            ("PartNumberMarker", str(marker)),
            *([("NextPartNumberMarker", str(page[-1][0]))] if page else []),
            ("MaxParts", str(limit)),
            ("IsTruncated", str(truncated).lower()),
        ]
        parts = [
            _element(
                "Part",
                [
                    ("PartNumber", str(number)),
                    ("LastModified", timestamp(part.modified)),
                    ("ETag", f'"{part.etag}"'),
                    ("Size", str(len(part.data))),
                ],
            )
            for number, part in page
        ]
        return _reply("ListPartsResult", elements, nested=parts)

    def _list_uploads(self, request: Request, bucket: str) -> Reply:
        """https://cloud.google.com/storage/docs/xml-api/get-bucket-uploads: by name, then by time of initiation."""
        query = request.query
        prefix, limit = query.get("prefix", ""), min(_integer(query, "max-uploads", default=_MAX_PAGE), _MAX_PAGE)
        if query.get("delimiter"):
            raise errors.not_implemented("a delimiter in a list of uploads")
        with self._lock:
            uploads = [u for u in self._uploads.values() if u.bucket == bucket and u.name.startswith(prefix)]
        uploads.sort(key=_upload_order)
        after = query.get("key-marker", ""), query.get("upload-id-marker", "")
        uploads = _after_marker(uploads, *after)
        page, truncated = uploads[:limit], len(uploads) > limit
        elements = [
            ("Bucket", bucket),
            ("Prefix", prefix),
            ("KeyMarker", after[0]),
            ("UploadIdMarker", after[1]),
            *([("NextKeyMarker", page[-1].name), ("NextUploadIdMarker", page[-1].upload_id)] if truncated else []),
            ("MaxUploads", str(limit)),
            ("IsTruncated", str(truncated).lower()),
        ]
        nested = [
            _element(
                "Upload",
                [
                    ("Key", upload.name),
                    ("UploadId", upload.upload_id),
                    ("StorageClass", "STANDARD"),
                    ("Initiated", timestamp(upload.initiated)),
                ],
            )
            for upload in page
        ]
        return _reply("ListMultipartUploadsResult", elements, nested=nested)


def _upload_order(upload: _Upload) -> tuple[str, float, str]:
    return upload.name, upload.initiated, upload.upload_id


def _after_marker(uploads: list[_Upload], key: str, upload_id: str) -> list[_Upload]:
    """The uploads after the markers, which are where the page before ended; a key alone leaves out all its uploads."""
    if not key:
        return uploads
    same = [u.upload_id for u in uploads if u.name == key]
    rest_of_key = set(same[same.index(upload_id) + 1 :]) if upload_id in same else set()
    return [u for u in uploads if u.name > key or u.upload_id in rest_of_key]


def _named_parts(body: bytes) -> list[tuple[int, str]]:
    """The parts that a completion names: number and ETag without its quotes. Any XML namespace will do."""
    try:
        root = ET.fromstring(body)
        named = []
        for part in root.iterfind("{*}Part"):
            number, etag = part.findtext("{*}PartNumber"), part.findtext("{*}ETag")
            if number is None or etag is None:
                raise ValueError("A part lacks its number or its ETag.")
            named.append((int(number), etag.strip().strip('"')))
        if not named:
            raise ValueError("It names no parts.")
    except (ET.ParseError, ValueError) as e:
        raise errors.invalid(f"The XML you provided was not well-formed: {e}", "MalformedXML") from e
    return named


def _integer(query: Mapping[str, str], name: str, *, default: int) -> int:
    try:
        return int(query.get(name) or default)
    except ValueError:
        raise errors.invalid(f"Invalid value for {name}: {query[name]!r} is no integer.") from None


def _element(name: str, children: Iterable[tuple[str, str]]) -> str:
    inner = "".join(f"<{child}>{escape(text)}</{child}>" for child, text in children)
    return f"<{name}>{inner}</{name}>"


def _reply(
    root: str,
    children: Iterable[tuple[str, str]],
    headers: tuple[tuple[str, str], ...] = (),
    *,
    nested: Iterable[str] = (),
) -> Reply:
    inner = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in children) + "".join(nested)
    text = f"<?xml version='1.0' encoding='UTF-8'?><{root} xmlns='{_NAMESPACE}'>{inner}</{root}>"
    return Reply(200, text.encode("utf-8"), "application/xml; charset=UTF-8", headers)
