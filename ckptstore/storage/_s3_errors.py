"""What S3, botocore and the connections below it raise, in our errors."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager

from ckptstore.errors import (
    CheckpointError,
    NotFoundError,
    PermissionDeniedError,
    StorageError,
    StorageFullError,
    StorageUnavailableError,
)
from ckptstore.storage._foreign import from_exception, from_status, from_tls, redact, translated

# Codes whose HTTP status alone would be misread: a throttled request may come as a 400, an expired token too.
_PASSING_CODES = frozenset(
    {
        "BadDigest",  # damaged on the way to the server
        "BandwidthLimitExceeded",
        "ConditionalRequestConflict",
        "IncompleteBody",
        "InternalError",
        "OperationAborted",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
    }
)
_DENIED_CODES = frozenset(
    {
        "AccessDenied",
        "AllAccessDisabled",
        "AuthorizationHeaderMalformed",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_FULL_CODES = frozenset({"QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull"})
_NO_CREDENTIALS = frozenset(
    {
        "CredentialRetrievalError",
        "NoAuthTokenError",
        "NoCredentialsError",
        "PartialCredentialsError",
        "ProfileNotFound",
        "SSOError",
        "SSOTokenLoadError",
        "TokenRetrievalError",
        "UnauthorizedSSOTokenError",
    }
)
# botocore's families. A throttling proxy sends replies that are not XML; checksums are looked at if the user wants it.
_PASSING = frozenset(
    {
        "ClientError",
        "ConnectionError",
        "FlexibleChecksumError",
        "HTTPClientError",
        "IncompleteReadError",
        "ResponseParserError",
    }
)


def s3_errors(path: str, bucket: str, secrets: tuple[str, ...] = ()) -> AbstractContextManager[None]:
    """Turns what the client raises inside the block into our errors.

    Args:
        path: The object it is about, for messages.
        bucket: The bucket, for messages.
        secrets: Texts that no message may show.
    """
    return translated(functools.partial(_translated, path=path, bucket=bucket, secrets=secrets))


def reply_of(error: BaseException | None) -> tuple[int, str, str] | None:
    """The HTTP status, S3's code and its message, of the first S3 reply in a chain of exceptions."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict) and "Error" in response:
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0
            told = response["Error"]
            return int(status), str(told.get("Code", "")), str(told.get("Message", ""))
        error = error.__cause__
    return None


def is_missing_bucket(error: BaseException) -> bool:
    """Whether an error is about the bucket, and not about something in it."""
    reply = reply_of(error)
    return reply is not None and reply[1] == "NoSuchBucket"


def from_code(status: int, code: str, message: str, path: str, bucket: str) -> CheckpointError:
    """The error for an S3 reply."""
    said = f"{code}: {message}" if message and message != code else code
    remedy = (
        f"Check the credentials and what they may do in the bucket {bucket!r}. S3 also says this of an object that "
        "is not there to who may not list the bucket."
    )
    if code == "NoSuchBucket":
        return NotFoundError(f"The bucket {bucket!r} does not exist: create it, or correct the URL.", path=path)
    if code == "RequestTimeTooSkewed":
        return PermissionDeniedError(f"This machine's clock is wrong, so S3 refuses {path}; set the clock.", path=path)
    if code in _PASSING_CODES:
        return StorageUnavailableError(f"S3 did not take the request for {path}: {said}.", path=path)
    if code in _FULL_CODES:
        return StorageFullError(f"There is no room for {path}: {said}.", path=path)
    if code in _DENIED_CODES:
        return from_status(403, path, said=said, remedy=remedy)
    if code == "NoSuchUpload":
        return NotFoundError(f"The upload of {path} is gone: somebody, or a rule of the bucket, aborted it.", path=path)
    if not status and code.isdecimal():
        status = int(code)
    if code == "NotImplemented":  # which has the status 400 on some servers
        status = 501
    if status in (301, 307) or code in ("PermanentRedirect", "IllegalLocationConstraintException"):
        return StorageError(
            f"The bucket {bucket!r} is in another region; set client_kwargs={{'region_name': ...}} or "
            f"AWS_DEFAULT_REGION. S3 said: {said}.",
            path=path,
        )
    return from_status(status, path, said=said, remedy=remedy)


def _translated(error: Exception, path: str, bucket: str, secrets: tuple[str, ...]) -> CheckpointError:
    reply = reply_of(error)
    if reply is not None:
        status, code, message = reply
        return from_code(status, redact(code, secrets), redact(message, secrets), path, bucket)
    names = {kind.__name__ for kind in type(error).__mro__}
    said = redact(str(error), secrets)
    if names & _NO_CREDENTIALS:
        return PermissionDeniedError(
            f"No usable credentials for {path} in the bucket {bucket!r}: {said} Set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, a profile or a role, or pass storage_options={'anon': True} for a public bucket.",
            path=path,
        )
    secure = from_tls(error, path, said)
    if secure is not None:
        return secure
    if "InvalidProxiesConfigError" in names:
        return StorageError(f"No secure connection to the proxy before {path}: {said}", path=path)
    if names & _PASSING:
        return StorageUnavailableError(f"The connection for {path} failed: {type(error).__name__}: {said}", path=path)
    return from_exception(error, path, secrets=secrets)
