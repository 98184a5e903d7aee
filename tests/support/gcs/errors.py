"""Every way in which the server says no, with the words that each of the two APIs has for it.

JSON: https://cloud.google.com/storage/docs/json_api/v1/status-codes
XML: https://cloud.google.com/storage/docs/xml-api/reference-status
"""

from __future__ import annotations

import json
from xml.sax.saxutils import escape

from tests.support.gcs.http import Reply


class GcsError(Exception):
    """A refusal.

    Args:
        status: The HTTP status.
        reason: The JSON API's `errors[].reason`.
        code: The XML API's `<Code>`.
        message: For people.
        headers: Further headers of the reply.
    """

    def __init__(
        self, status: int, reason: str, code: str, message: str, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.code = code
        self.message = message
        self.headers = headers

    def as_json(self) -> Reply:
        """The reply in the JSON API's form."""
        detail = {"message": self.message, "domain": "global", "reason": self.reason}
        error = {"error": {"code": self.status, "message": self.message, "errors": [detail]}}
        return Reply(self.status, json.dumps(error).encode(), "application/json; charset=UTF-8", headers=self.headers)

    def as_xml(self) -> Reply:
        """The reply in the XML API's form."""
        body = f"<Error><Code>{self.code}</Code><Message>{escape(self.message)}</Message></Error>"
        text = f'<?xml version="1.0" encoding="UTF-8"?>{body}'
        return Reply(self.status, text.encode(), "application/xml; charset=UTF-8", headers=self.headers)


def invalid(message: str, code: str = "InvalidArgument") -> GcsError:
    """400: the request makes no sense, or its checksum does not fit its bytes."""
    return GcsError(400, "invalid", code, message)


def no_bucket() -> GcsError:
    """404: there is no such bucket."""
    return GcsError(404, "notFound", "NoSuchBucket", "The specified bucket does not exist.")


def no_object(bucket: str, name: str) -> GcsError:
    """404: there is no such object, or not in the generation that was asked for."""
    return GcsError(404, "notFound", "NoSuchKey", f"No such object: {bucket}/{name}")


def no_upload() -> GcsError:
    """404: the upload never was, is finished, or was aborted."""
    return GcsError(404, "notFound", "NoSuchUpload", "The requested upload was not found.")


def condition_not_met(status: int = 412) -> GcsError:
    """412, or 304 for a read whose "not match" condition found a match."""
    message = "At least one of the pre-conditions you specified did not hold."
    return GcsError(status, "conditionNotMet", "PreconditionFailed", message)


def not_implemented(what: str) -> GcsError:
    """501: real GCS may know this; the emulator does not, and says so rather than guess."""
    return GcsError(501, "notImplemented", "NotImplemented", f"The emulator does not know {what}.")
