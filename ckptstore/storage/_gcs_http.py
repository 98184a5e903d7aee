"""HTTP as GCS wants it, on the calling thread.

gcsfs brings the credentials, the endpoint and who pays; what is sent, and how long one waits, is decided here. Requests
go out through an adapter of requests' alone, not through its sessions: those would put the passwords of a .netrc in
place of our token, follow redirects with it, and keep cookies.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.util.ssl_ import create_urllib3_context

from ckptstore.storage._bodies import Body, PayloadReader, load_certificates_once

_CONNECT_SECONDS = 10
_READ_SECONDS = 60
_ERROR_BYTES = 10_000  # of an error's reply: as much as a message can need


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply that was read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Download:
    """A reply whose body is yet to be read."""

    status: int
    headers: Mapping[str, str]
    body: Body

    @property
    def length(self) -> int | None:
        """Its Content-Length, if it has one."""
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isdecimal() else None


class GcsHttp:
    """Connections to GCS, as a gcsfs file system describes them.

    Proxies and certificates are taken from the environment, as requests does; the proxy in gcsfs' `session_kwargs` is
    used before those, and the client certificate that google-auth is configured to present is presented.

    Args:
        fs: A `gcsfs.core.GCSFileSystem`; no request is sent by it, unless for a token.
        pool_connections: The most connections that are kept open.
    """

    def __init__(self, fs: Any, pool_connections: int) -> None:
        self._fs = fs
        self._adapter = _Adapter(_tls_context(fs), pool_connections)
        proxy = fs.session_kwargs.get("proxy")
        proxies = {} if proxy is None else {"http": str(proxy), "https": str(proxy)}
        # Once: to look the environment through takes a third of a small request's CPU time.
        self._settings = requests.Session().merge_environment_settings(fs._location, proxies, True, None, None)  # noqa: SLF001

    def request(
        self,
        method: str,
        where: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: PayloadReader | None = None,
    ) -> Reply:
        """Sends a request, and reads the whole reply."""
        response = self._send(method, where, query, headers, body)
        try:
            return Reply(response.status_code, response.headers, response.raw.read())
        finally:
            response.raw.close() if not response.raw.closed else response.raw.release_conn()

    def download(self, where: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Download | Reply:
        """Asks for an object's bytes. A `Reply` is an error's, or the beginning of it."""
        response = self._send("GET", where, query, headers, None)
        if response.status_code in (200, 206):
            return Download(response.status_code, response.headers, Body(response.raw))
        try:
            return Reply(response.status_code, response.headers, response.raw.read(_ERROR_BYTES))
        finally:
            response.raw.close()

    def close(self) -> None:
        """Closes the connections that are kept."""
        self._adapter.close()

    def _send(
        self,
        method: str,
        where: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: PayloadReader | None,
    ) -> requests.Response:
        fs = self._fs
        parameters = fs._get_params(dict(query))  # noqa: SLF001 - who pays, where that is not the owner
        request = requests.PreparedRequest()
        request.method = method
        # As it is: to prepare it would unquote what was quoted on purpose.
        request.url = f"{fs._location}{where}" + (f"?{urlencode(parameters)}" if parameters else "")  # noqa: SLF001
        # A reply must be the bytes that are stored: no compression on the way, and no decompression at its end.
        full = fs._get_headers({**headers, "Accept-Encoding": "identity"})  # noqa: SLF001
        request.headers = CaseInsensitiveDict(full)
        request.hooks = requests.hooks.default_hooks()
        if body is not None or method in ("POST", "PUT"):
            request.headers["Content-Length"] = str(len(body) if body is not None else 0)
        request.body = body  # type: ignore[assignment]  # urllib3 takes whatever has `read`
        return self._adapter.send(request, timeout=timeouts(fs.requests_timeout), **self._settings)


class _Adapter(HTTPAdapter):
    """One whose connections share a context, and that sends nothing twice."""

    def __init__(self, context: ssl.SSLContext, pool_connections: int) -> None:
        load_certificates_once(context)
        self._context = context
        super().__init__(pool_maxsize=pool_connections, max_retries=0)

    def init_poolmanager(self, *args: Any, **settings: Any) -> None:
        """As requests has it that an adapter gets a context of its own."""
        super().init_poolmanager(*args, **settings, ssl_context=self._context)


def _tls_context(fs: Any) -> ssl.SSLContext:
    if getattr(fs, "_use_client_cert", False):
        import gcsfs.core  # noqa: PLC0415 - loaded already, as it has made the file system

        context: ssl.SSLContext = gcsfs.core._client_cert_ssl_context()  # noqa: SLF001
        return context
    return create_urllib3_context()


def timeouts(configured: Any) -> tuple[float | None, float | None]:
    """Seconds to wait for a connection, and for the next bytes: the user's, or ours, as gcsfs has none.

    Args:
        configured: None, a number, or an `aiohttp.ClientTimeout`, of which an attribute that is None sets no limit.
    """
    if configured is None:
        return _CONNECT_SECONDS, _READ_SECONDS
    if isinstance(configured, int | float):
        return configured, configured
    whole = configured.total
    return configured.sock_connect or configured.connect or whole, configured.sock_read or whole
