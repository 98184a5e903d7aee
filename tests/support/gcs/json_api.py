"""The JSON API: https://cloud.google.com/storage/docs/json_api/v1.

Query parameters without a bearing on what a test can see (projection, fields, userProject, predefinedAcl ...) are
ignored, as is `versions`: buckets keep one generation of an object.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tests.support.gcs import errors, listing, mime, ranges, resources
from tests.support.gcs.hashes import Hashes
from tests.support.gcs.http import Reply, Request
from tests.support.gcs.inserts import Inserts, attributes_of
from tests.support.gcs.objects import DEFAULT_CONTENT_TYPE, Attributes, ObjectStore, StoredObject
from tests.support.gcs.preconditions import Preconditions

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_PAGE = 1000
_MAX_SOURCES = 32  # of one compose request: cloud.google.com/storage/quotas#objects
_MAX_BATCH = 100  # cloud.google.com/storage/docs/batch
_BOUNDARY = "batch_of_replies"


class JsonApi:
    """Answers requests to the JSON API.

    Args:
        store: The objects.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._inserts = Inserts(store)

    @staticmethod
    def owns(request: Request) -> bool:
        """Whether the request is one for this API, judging by its path."""
        path = request.raw_path
        return path.startswith(("/storage/v1/", "/upload/storage/v1/", "/download/storage/v1/", "/batch/storage/v1"))

    def clear(self) -> None:
        """Forgets the resumable uploads."""
        self._inserts.clear()

    def answer(self, request: Request) -> Reply:
        """Does what is asked; a refusal is an answer too."""
        try:
            return self._route(request)
        except errors.GcsError as e:
            return e.as_json()

    def _route(self, request: Request) -> Reply:
        match request.method, request.segments:
            case "POST", ("batch", "storage", "v1", *_):
                return self._batch(request)
            case _, ("upload", "storage", "v1", "b", bucket, "o"):
                return self._inserts.answer(request, bucket)
            case "GET" | "HEAD", ("download", "storage", "v1", "b", bucket, "o", name):
                return self._media(request, bucket, name)
            case method, ("storage", "v1", "b", *rest) if len(rest) < 2:
                return self._buckets(method, request, rest)
            case method, ("storage", "v1", "b", bucket, "o", *rest):
                return self._objects(method, request, bucket, rest)
        raise errors.not_implemented(f"{request.method} {request.raw_path}")

    # Buckets

    def _buckets(self, method: str, request: Request, rest: list[str]) -> Reply:
        match method, rest:
            case "GET", []:
                items = [resources.of_bucket(name) for name in self._store.buckets()]
                return resources.reply({"kind": "storage#buckets", "items": items})
            case "POST", []:
                name = str(_json(request).get("name", ""))
                if not name:
                    raise errors.invalid("Required: the bucket's name")
                self._store.create_bucket(name)
                return resources.reply(resources.of_bucket(name))
            case "GET", [name]:
                self._store.objects(name)
                return resources.reply(resources.of_bucket(name))
            case "DELETE", [name]:
                self._store.delete_bucket(name)
                return Reply(204)
        raise errors.not_implemented(f"{method} {request.raw_path}")

    # Objects

    def _objects(self, method: str, request: Request, bucket: str, rest: list[str]) -> Reply:
        match method, rest:
            case "GET", []:
                return self._list(request, bucket)
            case "GET" | "HEAD", [name] if request.query.get("alt") == "media":
                return self._media(request, bucket, name)
            case "GET", [name]:
                return resources.reply(resources.of_object(self._get(request, bucket, name)))
            case "DELETE", [name]:
                conditions = Preconditions.from_query(request.query)
                self._store.delete(bucket, name, _generation(request.query), conditions)
                return Reply(204)
            case "PATCH" | "PUT", [name]:
                return self._update(request, bucket, name)
            case "POST", [name, "compose"]:
                return self._compose(request, bucket, name)
            case "POST", [name, "rewriteTo", "b", target_bucket, "o", target]:
                return self._rewrite(request, self._source(request, bucket, name), target_bucket, target)
            case "POST", [name, "moveTo", "o", target]:
                moved = self._store.move(
                    bucket,
                    name,
                    target,
                    _generation(request.query, "sourceGeneration"),
                    Preconditions.from_query(request.query, "ifSource"),
                    Preconditions.from_query(request.query),
                )
                return resources.reply(resources.of_object(moved))
        raise errors.not_implemented(f"{method} {request.raw_path}")

    def _get(self, request: Request, bucket: str, name: str) -> StoredObject:
        conditions = Preconditions.from_query(request.query)
        return self._store.get(bucket, name, _generation(request.query), conditions)

    def _media(self, request: Request, bucket: str, name: str) -> Reply:
        """The bytes, or a range of them. `generation=` pins the read: a replaced object is 404, never other bytes."""
        stored = self._get(request, bucket, name)
        kind, headers = stored.attributes.content_type, resources.media_headers(stored)
        span = ranges.resolve(request.headers.get("range"), stored.size)
        if span is None:
            return Reply(200, stored.data, kind, headers)
        start, stop = span
        headers = (*headers, ("Content-Range", f"bytes {start}-{stop - 1}/{stored.size}"))
        return Reply(206, memoryview(stored.data)[start:stop], kind, headers)

    def _list(self, request: Request, bucket: str) -> Reply:
        query = request.query
        objects = self._store.objects(bucket)
        limit = _integer(query.get("maxResults") or str(_MAX_PAGE), "maxResults")
        if limit < 1:
            raise errors.invalid("Invalid value for maxResults: it must be positive.")
        found = listing.page(
            objects,
            listing.Query(
                prefix=query.get("prefix", ""),
                delimiter=query.get("delimiter", ""),
                start=query.get("startOffset", ""),
                end=query.get("endOffset", ""),
                after=_name_of_token(query.get("pageToken", "")),
                limit=min(limit, _MAX_PAGE),
                trailing=query.get("includeTrailingDelimiter", "").lower() == "true",
            ),
        )
        answer: dict[str, Any] = {"kind": "storage#objects"}
        if found.last is not None:
            answer["nextPageToken"] = _token_of_name(found.last)
        if found.prefixes:
            answer["prefixes"] = list(found.prefixes)
        if found.names:  # the real API leaves empty lists out, too
            answer["items"] = [resources.of_object(objects[name]) for name in found.names]
        return resources.reply(answer)

    def _update(self, request: Request, bucket: str, name: str) -> Reply:
        """PATCH merges, and null removes; PUT replaces."""
        body = _json(request)

        def change(attributes: Attributes) -> Attributes:
            if request.method == "PUT":
                return attributes_of(body, DEFAULT_CONTENT_TYPE)
            given = body.get("metadata", {})
            merged = {} if given is None else {**attributes.metadata, **given}
            return Attributes(
                str(body.get("contentType") or attributes.content_type),
                {key: str(value) for key, value in merged.items() if value is not None},
            )

        conditions = Preconditions.from_query(request.query)
        updated = self._store.update(bucket, name, change, _generation(request.query), conditions)
        return resources.reply(resources.of_object(updated))

    def _compose(self, request: Request, bucket: str, name: str) -> Reply:
        """Concatenates objects of one bucket. The result has no md5Hash, ever, and the sources stay."""
        body = _json(request)
        sources = body.get("sourceObjects") or []
        if not 1 <= len(sources) <= _MAX_SOURCES:
            raise errors.invalid(f"The number of source components must be between 1 and {_MAX_SOURCES}.")
        parts = [self._component(bucket, source) for source in sources]
        data = b"".join(part.data for part in parts)
        composed = self._store.put(
            bucket,
            name,
            data,
            attributes_of(body.get("destination") or {}, parts[0].attributes.content_type),
            hashes=replace(Hashes.of(data), md5=None),
            components=sum(part.components or 1 for part in parts),
            conditions=Preconditions.from_query(request.query),
        )
        return resources.reply(resources.of_object(composed))

    def _component(self, bucket: str, source: Mapping[str, Any]) -> StoredObject:
        """One object of a compose request, in the generation that it names, if it does."""
        conditions = {name: str(value) for name, value in (source.get("objectPreconditions") or {}).items()}
        name, generation = str(source.get("name", "")), _generation(source)
        return self._store.get(bucket, name, generation, Preconditions.from_query(conditions))

    def _source(self, request: Request, bucket: str, name: str) -> StoredObject:
        conditions = Preconditions.from_query(request.query, "ifSource")
        return self._store.get(bucket, name, _generation(request.query, "sourceGeneration"), conditions)

    def _rewrite(self, request: Request, source: StoredObject, bucket: str, name: str) -> Reply:
        """Copies, in one call always. Metadata in the body takes the place of the source's."""
        body = _json(request)
        attributes = attributes_of(body, source.attributes.content_type) if body else source.attributes
        copied = self._store.put(
            bucket,
            name,
            source.data,
            attributes,
            hashes=source.hashes,
            components=source.components,
            conditions=Preconditions.from_query(request.query),
        )
        return resources.reply(
            {
                "kind": "storage#rewriteResponse",
                "totalBytesRewritten": str(source.size),
                "objectSize": str(source.size),
                "done": True,
                "resource": resources.of_object(copied),
            }
        )

    # Batches

    def _batch(self, request: Request) -> Reply:
        """Up to 100 calls in one request, by https://cloud.google.com/storage/docs/batch; no uploads or downloads."""
        try:
            parts = mime.split(request.headers.get("content-type", ""), request.body)
        except ValueError as e:
            raise errors.invalid(f"Failed to parse batch request: {e}") from e
        if len(parts) > _MAX_BATCH:
            raise errors.invalid(f"The batch has {len(parts)} calls; the limit is {_MAX_BATCH}.")
        lines = []
        for part in parts:
            inner = _inner_request(part.body)
            reply = self.answer(inner) if inner.segments[0] == "storage" else errors.invalid("Not in a batch").as_json()
            lines += [f"--{_BOUNDARY}", "Content-Type: application/http"]
            if "content-id" in part.headers:
                lines.append("Content-ID: <response-" + part.headers["content-id"].lstrip("<"))
            lines += ["", f"HTTP/1.1 {reply.status} {reply.reason}"]
            lines += [f"Content-Type: {reply.content_type}", f"Content-Length: {len(reply.body)}"]
            lines += ["", bytes(reply.body).decode()]
        body = "\r\n".join([*lines, f"--{_BOUNDARY}--", ""])
        return Reply(200, body.encode(), f"multipart/mixed; boundary={_BOUNDARY}")


def _inner_request(text: bytes) -> Request:
    """The request in a part of a batch. The empty line after its headers may be missing, as it is from gcsfs."""
    lines = text.decode("utf-8").lstrip("\r\n").replace("\r\n", "\n").partition("\n\n")
    first, *headers = lines[0].split("\n")
    try:
        method, target, _version = first.split(" ")
    except ValueError:
        raise errors.invalid(f"Failed to parse batch request: {first[:80]!r} is no request line.") from None
    pairs = (header.partition(":") for header in headers if header)
    return Request.parse(
        method, target, {name.strip().lower(): value.strip() for name, _, value in pairs}, lines[2].strip().encode()
    )


def _json(request: Request) -> dict[str, Any]:
    try:
        return request.json()
    except ValueError as e:
        raise errors.GcsError(400, "parseError", "InvalidArgument", f"Parse Error: {e}") from e


def _integer(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise errors.invalid(f"Invalid value for {name}: {text!r} is no integer.") from None


def _generation(source: Mapping[str, Any], name: str = "generation") -> int | None:
    value = source.get(name)
    return None if value in (None, "") else _integer(str(value), name)


def _token_of_name(name: str) -> str:
    """An opaque token, so that no client comes to rely on what is in it."""
    return base64.urlsafe_b64encode(name.encode("utf-8")).decode("ascii")


def _name_of_token(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token).decode("utf-8")
    except (binascii.Error, ValueError):
        raise errors.invalid("Invalid pageToken") from None
