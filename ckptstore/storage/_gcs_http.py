"""HTTP as GCS wants it, over the session that a gcsfs file system keeps.

gcsfs brings the session, the credentials and who pays; what is sent, and how long one waits, is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

if TYPE_CHECKING:
    from ckptstore.storage._aio import PayloadReader

_CONNECT_SECONDS = 10
_READ_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply that was read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def request_headers(fs: Any, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers with credentials. Not on the loop: a token that ran out is fetched with a blocking request."""
    # A reply must be the bytes that are stored: no compression on the way, and no decompression at its end.
    full: dict[str, str] = fs._get_headers({**headers, "Accept-Encoding": "identity"})  # noqa: SLF001
    return full


async def send(
    fs: Any,
    method: str,
    where: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    body: PayloadReader | None,
) -> Any:
    """Sends a request over gcsfs' session, and returns the response with its body yet to be read."""
    import yarl  # noqa: PLC0415 - aiohttp brings it

    session = await fs._set_session()  # noqa: SLF001
    parameters = fs._get_params(dict(query))  # noqa: SLF001 - who pays, where that is not the owner
    url = f"{fs._location}{where}" + (f"?{urlencode(parameters)}" if parameters else "")  # noqa: SLF001
    return await session.request(
        method,
        yarl.URL(url, encoded=True),  # as it is: yarl would unquote what was quoted on purpose
        headers=headers,
        data=body,
        timeout=_timeout(fs.requests_timeout),
        allow_redirects=False,  # nobody but the endpoint gets our token and our bytes
    )


def _timeout(configured: Any) -> Any:
    """The user's time-out, or ours: gcsfs has none."""
    import aiohttp  # noqa: PLC0415 - gcsfs brings it

    if isinstance(configured, aiohttp.ClientTimeout):
        return configured
    if isinstance(configured, int | float):
        return aiohttp.ClientTimeout(total=configured)
    return aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=_READ_SECONDS)
