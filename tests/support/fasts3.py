"""An S3 server in memory: small, quick, and strict about what commits stand on.

moto answers some 200 requests a second and has but one lock, which is too little for processes that are killed by the
thousand. This one has the verbs that ckptstore and s3fs send, and no others. Of AWS it keeps: If-Match and
If-None-Match on PutObject, on CompleteMultipartUpload and on DeleteObject, 412 and 404 as AWS has them, CRC-32C that is
checked before anything shows, parts of 5 MiB at the least, ETags that change with every write of other bytes, and
UploadPartCopy with x-amz-copy-source-if-match, whose ranges are within their object, and of one above 5 MiB.

    with FastS3() as server: ...                        in this process; fork and kill clients as you like
    python -m tests.support.fasts3 [--deaf]             prints its URL, and serves until its standard input ends
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import re
import sys
import threading
import time
import uuid
import zlib
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import crc32c

from tests.support.gcs.http import Reply, Request
from tests.support.gcs.server import _Listener

if TYPE_CHECKING:
    from types import TracebackType

MIN_PART_SIZE = 5 << 20
_PAGE = 1000
_META = "x-amz-meta-"
_CHECKSUM = "x-amz-checksum-crc32c"


@dataclass(frozen=True)
class S3Object:
    """What is at a key."""

    data: bytes
    etag: str
    modified: float
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass
class Upload:
    """A multipart upload under way."""

    bucket: str
    key: str
    metadata: tuple[tuple[str, str], ...]
    parts: dict[int, S3Object] = field(default_factory=dict)


class Refusal(Exception):
    """An error as S3 words it."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code

    def reply(self) -> Reply:
        """It, as it is sent."""
        body = f"<?xml version='1.0'?><Error><Code>{self.code}</Code><Message>{self.code}.</Message></Error>"
        return Reply(self.status, body.encode(), "application/xml")


class FastS3:
    """The server, alive from `__enter__` to `__exit__`.

    Args:
        deaf: Take no notice of conditions, as servers do that do not know them.

    Attributes:
        buckets: The objects, by bucket and key.
        uploads: Those under way, by their id.
    """

    def __init__(self, *, deaf: bool = False) -> None:
        self.deaf = deaf
        self.buckets: dict[str, dict[str, S3Object]] = {}
        self.uploads: dict[str, Upload] = {}
        self._lock = threading.RLock()
        self._listener: _Listener | None = None

    def __enter__(self) -> FastS3:
        self._listener = _Listener(self._answer)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    @property
    def url(self) -> str:
        """Where it is, for `endpoint_url`."""
        assert self._listener is not None, "enter it first"
        return f"http://127.0.0.1:{self._listener.port}"

    def reset(self, *buckets: str) -> None:
        """Forgets everything, and has these empty buckets."""
        with self._lock:
            self.buckets = {name: {} for name in buckets}
            self.uploads = {}

    # -- requests

    def _answer(self, request: Request) -> Reply:
        bucket, _, key = unquote(request.raw_path).lstrip("/").partition("/")
        with self._lock:
            try:
                _check_digests(request)
                return self._on_object(request, bucket, key) if key else self._on_bucket(request, bucket)
            except Refusal as refusal:
                return refusal.reply()

    def _on_bucket(self, request: Request, bucket: str) -> Reply:
        method, query = request.method, request.query
        if method == "PUT":
            self.buckets.setdefault(bucket, {})
            return Reply(200)
        objects = self._objects(bucket)
        if method == "HEAD":
            return Reply(200)
        if method == "POST" and "delete" in query:
            for key in re.findall(r"<Key>(.*?)</Key>", request.body.decode(), re.DOTALL):
                objects.pop(_unescaped(key), None)
            return _xml("<DeleteResult></DeleteResult>")
        if method == "GET" and "uploads" in query:
            found = "".join(
                f"<Upload><Key>{escape(upload.key)}</Key><UploadId>{number}</UploadId>"
                f"<Initiated>{_iso(time.time())}</Initiated></Upload>"
                for number, upload in self.uploads.items()
                if upload.bucket == bucket
            )
            return _xml(f"<ListMultipartUploadsResult>{found}</ListMultipartUploadsResult>")
        if method == "GET" and "versioning" in query:
            return _xml("<VersioningConfiguration></VersioningConfiguration>")
        if method == "GET" and "location" in query:
            return _xml("<LocationConstraint></LocationConstraint>")
        if method == "GET":
            return _listing(objects, request)
        raise Refusal(501, "NotImplemented")

    def _on_object(self, request: Request, bucket: str, key: str) -> Reply:
        method, query = request.method, request.query
        objects = self._objects(bucket)
        if "uploadId" in query or (method == "POST" and "uploads" in query):
            return self._on_upload(request, bucket, key)
        if method == "PUT":
            self._check_conditions(request, objects.get(key))
            new = _received(request)
            objects[key] = new
            return Reply(200, headers=(("ETag", new.etag), *_checksum(request)))
        if method == "DELETE":
            there, wanted = objects.get(key), request.headers.get("if-match")
            if not self.deaf and wanted is not None:
                if there is None:
                    raise Refusal(404, "NoSuchKey")
                if _bare(wanted) != _bare(there.etag):
                    raise Refusal(412, "PreconditionFailed")
            objects.pop(key, None)
            return Reply(204)
        if method in ("GET", "HEAD"):
            if key not in objects:
                raise Refusal(404, "NoSuchKey")
            self._check_conditions(request, objects[key])
            return _sent(objects[key], request)
        raise Refusal(501, "NotImplemented")

    def _on_upload(self, request: Request, bucket: str, key: str) -> Reply:
        method, query = request.method, request.query
        if "uploads" in query:
            number = uuid.uuid4().hex
            self.uploads[number] = Upload(bucket, key, _metadata(request))
            return _xml(
                f"<InitiateMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{escape(key)}</Key>"
                f"<UploadId>{number}</UploadId></InitiateMultipartUploadResult>"
            )
        upload = self.uploads.get(query["uploadId"])
        if upload is None:
            raise Refusal(404, "NoSuchUpload")
        if method == "PUT" and "x-amz-copy-source" in request.headers:
            part = self._copied(request)
            upload.parts[int(query["partNumber"])] = part
            return _xml(
                f"<CopyPartResult><LastModified>{_iso(part.modified)}</LastModified><ETag>{escape(part.etag)}</ETag>"
                f"<ChecksumCRC32C>{_crc(part.data)}</ChecksumCRC32C></CopyPartResult>"
            )
        if method == "PUT":
            part = _received(request)
            upload.parts[int(query["partNumber"])] = part
            return Reply(200, headers=(("ETag", part.etag), *_checksum(request)))
        if method == "DELETE":
            del self.uploads[query["uploadId"]]
            return Reply(204)
        if method == "GET":
            found = "".join(
                f"<Part><PartNumber>{number}</PartNumber><Size>{len(part.data)}</Size></Part>"
                for number, part in sorted(upload.parts.items())
            )
            return _xml(f"<ListPartsResult>{found}</ListPartsResult>")
        if method != "POST":
            raise Refusal(501, "NotImplemented")
        objects = self._objects(bucket)
        self._check_conditions(request, objects.get(key))
        data = _joined(upload, request)
        new = S3Object(data, f'"{hashlib.md5(data).hexdigest()}-{len(upload.parts)}"', time.time(), upload.metadata)
        objects[key] = new
        del self.uploads[query["uploadId"]]
        return _xml(
            f"<CompleteMultipartUploadResult><Key>{escape(key)}</Key><ETag>{escape(new.etag)}</ETag>"
            "</CompleteMultipartUploadResult>"
        )

    def _copied(self, request: Request) -> S3Object:
        """A part made of another object."""
        bucket, _, key = unquote(request.headers["x-amz-copy-source"]).lstrip("/").partition("/")
        there = self._objects(bucket).get(key)
        if there is None:
            raise Refusal(404, "NoSuchKey")
        wanted = request.headers.get("x-amz-copy-source-if-match")
        if not self.deaf and wanted is not None and _bare(wanted) != _bare(there.etag):
            raise Refusal(412, "PreconditionFailed")
        data, told = there.data, request.headers.get("x-amz-copy-source-range")
        if told is not None:
            span = re.fullmatch(r"bytes=(\d+)-(\d+)", told)
            if span is None or not int(span[1]) <= int(span[2]) < len(data):
                raise Refusal(400, "InvalidArgument")
            if len(data) <= MIN_PART_SIZE:
                raise Refusal(400, "InvalidRequest")
            data = data[int(span[1]) : int(span[2]) + 1]
        return S3Object(data, f'"{hashlib.md5(data).hexdigest()}"', time.time())

    def _objects(self, bucket: str) -> dict[str, S3Object]:
        if bucket not in self.buckets:
            raise Refusal(404, "NoSuchBucket")
        return self.buckets[bucket]

    def _check_conditions(self, request: Request, there: S3Object | None) -> None:
        if self.deaf:
            return
        if request.headers.get("if-none-match") == "*" and there is not None:
            raise Refusal(412, "PreconditionFailed")
        wanted = request.headers.get("if-match")
        if wanted is not None and there is None:
            raise Refusal(404, "NoSuchKey")
        if wanted is not None and there is not None and _bare(wanted) != _bare(there.etag):
            raise Refusal(412, "PreconditionFailed")


def _received(request: Request) -> S3Object:
    """The object in a request's body."""
    return S3Object(request.body, f'"{hashlib.md5(request.body).hexdigest()}"', time.time(), _metadata(request))


def _check_digests(request: Request) -> None:
    """Refuses a body that does not have the checksums that its request tells."""
    body = request.body
    digests = {
        _CHECKSUM: crc32c.crc32c(body).to_bytes(4, "big"),
        "x-amz-checksum-crc32": zlib.crc32(body).to_bytes(4, "big"),
        "content-md5": hashlib.md5(body).digest(),
    }
    for name, digest in digests.items():
        if request.headers.get(name, "") not in ("", base64.b64encode(digest).decode()):
            raise Refusal(400, "BadDigest")


def _sent(there: S3Object, request: Request) -> Reply:
    headers = (
        ("ETag", there.etag),
        ("Last-Modified", formatdate(there.modified, usegmt=True)),
        ("Accept-Ranges", "bytes"),
        *there.metadata,
    )
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if request.method == "HEAD" or wanted is None:
        return Reply(200, there.data, "binary/octet-stream", headers)
    start, stop = int(wanted[1]), min(int(wanted[2] or len(there.data)) + 1, len(there.data))
    if start >= len(there.data):
        raise Refusal(416, "InvalidRange")
    span = ("Content-Range", f"bytes {start}-{stop - 1}/{len(there.data)}")
    return Reply(206, memoryview(there.data)[start:stop], "binary/octet-stream", (*headers, span))


def _joined(upload: Upload, request: Request) -> bytes:
    """The bytes of a completed upload."""
    parts = []
    for element in ET.fromstring(re.sub(rb' xmlns="[^"]*"', b"", request.body)).iter("Part"):
        part = upload.parts.get(int(element.findtext("PartNumber", "0")))
        if part is None or _bare(element.findtext("ETag", "")) != _bare(part.etag):
            raise Refusal(400, "InvalidPart")
        if element.findtext("ChecksumCRC32C") not in (None, _crc(part.data)):
            raise Refusal(400, "InvalidPart")
        parts.append(part.data)
    if not parts:
        raise Refusal(400, "MalformedXML")
    if any(len(part) < MIN_PART_SIZE for part in parts[:-1]):
        raise Refusal(400, "EntityTooSmall")
    return b"".join(parts)


def _listing(objects: dict[str, S3Object], request: Request) -> Reply:
    """A page of ListObjectsV2."""
    query = request.query
    prefix, delimiter, after = (query.get(name, "") for name in ("prefix", "delimiter", "continuation-token"))
    most = int(query.get("max-keys") or _PAGE)
    quoted = query.get("encoding-type") == "url"
    entries: dict[str, str] = {}
    for key in sorted(key for key in objects if key.startswith(prefix) and key > after):
        inner = key[len(prefix) :]
        if delimiter and delimiter in inner:
            name = prefix + inner.split(delimiter)[0] + delimiter
            entries[name] = f"<CommonPrefixes><Prefix>{_name(name, quoted)}</Prefix></CommonPrefixes>"
        else:
            there = objects[key]
            entries[key] = (
                f"<Contents><Key>{_name(key, quoted)}</Key><LastModified>{_iso(there.modified)}</LastModified>"
                f"<ETag>{escape(there.etag)}</ETag><Size>{len(there.data)}</Size></Contents>"
            )
    page = list(entries)[:most]
    more = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if len(entries) > most else ""
    return _xml(
        f"<ListBucketResult><Prefix>{_name(prefix, quoted)}</Prefix><KeyCount>{len(page)}</KeyCount>"
        f"<IsTruncated>{str(bool(more)).lower()}</IsTruncated>{more}"
        f"{'<EncodingType>url</EncodingType>' if quoted else ''}{''.join(entries[name] for name in page)}"
        "</ListBucketResult>"
    )


def _name(key: str, quoted: bool) -> str:
    return quote(key) if quoted else escape(key)


def _metadata(request: Request) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in request.headers.items() if name.startswith(_META))


def _checksum(request: Request) -> tuple[tuple[str, str], ...]:
    return ((_CHECKSUM, request.headers[_CHECKSUM]),) if _CHECKSUM in request.headers else ()


def _crc(data: bytes) -> str:
    return base64.b64encode(crc32c.crc32c(data).to_bytes(4, "big")).decode()


def _xml(text: str) -> Reply:
    return Reply(200, f"<?xml version='1.0'?>{text}".encode(), "application/xml")


def _bare(etag: str) -> str:
    return etag.strip('"')


def _unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"').replace("&amp;", "&")


def _iso(moment: float) -> str:
    """A moment as listings have it: in whole seconds, as in the header Last-Modified."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(moment))


def main() -> None:
    """Serves until the one who started it is gone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bucket", default="bucket", help="a bucket to have from the beginning")
    parser.add_argument("--deaf", action="store_true", help="take no notice of conditions")
    options = parser.parse_args()
    with FastS3(deaf=options.deaf) as server:
        server.reset(options.bucket)
        print(server.url, flush=True)  # noqa: T201
        sys.stdin.read()


if __name__ == "__main__":
    main()
