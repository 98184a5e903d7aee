"""What GCS, gcsfs, google-auth and requests raise or reply, in our errors."""

from __future__ import annotations

import functools
import json
import re
from contextlib import AbstractContextManager

from ckptstore.errors import (
    CheckpointError,
    NotFoundError,
    PermissionDeniedError,
    StorageFullError,
    StorageUnavailableError,
)
from ckptstore.storage._foreign import from_exception, from_status, from_tls, redact, translated

_THROTTLED = re.compile("rateLimitExceeded|SlowDown", re.I)
_FULL = re.compile("quotaExceeded|storageQuota", re.I)


def gcs_errors(path: str, bucket: str, secrets: tuple[str, ...] = ()) -> AbstractContextManager[None]:
    """Turns what the client raises inside the block into our errors.

    Args:
        path: The object it is about, for messages.
        bucket: The bucket, for messages.
        secrets: Texts that no message may show.
    """
    return translated(functools.partial(_translated, path=path, bucket=bucket, secrets=secrets))


def from_reply(status: int, body: bytes, path: str, bucket: str, secrets: tuple[str, ...] = ()) -> CheckpointError:
    """The error for a reply of the JSON or the XML interface.

    Args:
        status: The HTTP status.
        body: What came with it.
        path: The object it is about, for messages.
        bucket: The bucket, for messages.
        secrets: Texts that no message may show.
    """
    reason, message = _told(body)
    said = redact(f"{reason}: {message}" if reason and message != reason else message, secrets)
    if status == 404 and is_missing_bucket(body):
        return NotFoundError(f"The bucket {bucket!r} does not exist: create it, or correct the URL.", path=path)
    if status == 404 and reason == "NoSuchUpload":
        return NotFoundError(f"The upload of {path} is gone: somebody, or a rule of the bucket, aborted it.", path=path)
    if status == 403 and _THROTTLED.search(reason):
        return StorageUnavailableError(f"GCS throttles requests for {path}: {said}.", path=path)
    if status in (403, 429) and _FULL.search(reason):
        return StorageFullError(f"There is no room for {path}: {said}.", path=path)
    remedy = (
        f"Check the credentials and what they may do in the bucket {bucket!r}; without any, gcsfs goes on "
        "anonymously, so try: gcloud auth application-default login."
    )
    return from_status(status, path, said=said, remedy=remedy)


def is_missing_bucket(body: bytes) -> bool:
    """Whether a 404 is about the bucket, and not about something in it."""
    reason, message = _told(body)
    return reason == "NoSuchBucket" or "bucket does not exist" in message


def _told(body: bytes) -> tuple[str, str]:
    """The reason and the message in the body of an error reply."""
    text = body[:10_000].decode("utf-8", "replace")
    try:
        error = json.loads(text)["error"]
        if isinstance(error, str):
            return "", error
        reasons = [str(item.get("reason", "")) for item in error.get("errors", ())]
        return (reasons or [""])[0], str(error.get("message", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    return xml_text(text, "Code"), xml_text(text, "Message") or text[:200]


def xml_text(text: str, tag: str) -> str:
    """The text of the first element of a name in GCS' small, flat XML replies; empty if there is none."""
    match = re.search(rf"<{tag}>([^<]*)</{tag}>", text)
    if match is None:
        return ""
    plain = match[1].strip()
    for entity, character in (("&quot;", '"'), ("&#34;", '"'), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        plain = plain.replace(entity, character)
    return plain


def _translated(error: Exception, path: str, bucket: str, secrets: tuple[str, ...]) -> CheckpointError:
    names = {kind.__name__ for kind in type(error).__mro__}
    said = redact(str(error), secrets)
    if "TransportError" in names:  # google-auth did not get through to where tokens come from
        return StorageUnavailableError(f"No token could be fetched for {path}: {said}", path=path)
    module = type(error).__module__
    if module.startswith("google.auth") or (module.startswith("gcsfs") and getattr(error, "code", 401) == 401):
        return PermissionDeniedError(
            f"No usable credentials for {path} in the bucket {bucket!r}: {said} Try: gcloud auth "
            "application-default login, or pass storage_options={'token': 'anon'} for a public bucket.",
            path=path,
        )
    secure = from_tls(error, path, said)
    if secure is not None:
        return secure
    return from_exception(error, path, secrets=secrets)
