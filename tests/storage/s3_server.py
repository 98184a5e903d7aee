"""moto's S3 in this process, with failures ordered by a test and a log of requests."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import unquote
from xml.sax.saxutils import escape

from moto.core import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.s3.models import s3_backends
from werkzeug.serving import WSGIRequestHandler, make_server

_CONDITIONS = ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH")

Environ = dict[str, Any]
Answer = Callable[["S3Server", Environ, Any], Iterable[bytes]]


class Call(NamedTuple):
    """One request: the method, the path (decoded) and the query (as it was sent)."""

    method: str
    path: str
    query: str
    headers: dict[str, str]


class S3Server:
    """moto behind a layer that can answer in its place.

    Attributes:
        requests: Every request, in order of arrival, those that a fault hit too.
        dialect: What answers where no fault was ordered: `S3Server.moto`, or one of those below that are less of an S3.
    """

    def __init__(self) -> None:
        self.requests: list[Call] = []
        self.dialect: Answer = S3Server.moto
        self._faults: list[tuple[Callable[[Call], bool], Answer]] = []
        self._lock = threading.Lock()
        self._one_at_a_time = threading.Lock()  # moto closes an object's file under the threads that read it
        self._moto = DomainDispatcherApplication(create_backend_app)

    def __enter__(self) -> S3Server:
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_QuietHandler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="s3", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def fail_next(self, predicate: Callable[[Call], bool], answer: Answer, times: int = 1) -> None:
        """Makes the next requests of some kind be answered by `answer`."""
        with self._lock:
            self._faults += [(predicate, answer)] * times

    def forget(self) -> None:
        """Drops the orders and the log, and speaks S3 again."""
        with self._lock:
            self.dialect = S3Server.moto
            self._faults.clear()
            self.requests.clear()

    def count(self, method: str, query: str = "") -> int:
        """How many requests there were of a method whose query begins so."""
        return sum(call.method == method and call.query.startswith(query) for call in self.requests)

    def moto(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """The answer of moto itself; but it crashes where S3 has a 404, for an upload that is gone."""
        with self._one_at_a_time:
            try:
                return [*self._moto(environ, start_response)]
            except KeyError:
                if "uploadId=" not in environ["QUERY_STRING"]:
                    raise
        environ["CONTENT_LENGTH"] = "0"  # the body has been read
        return refusal(404, "NoSuchUpload")(self, environ, start_response)

    def _answer(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        headers = {name[5:].lower().replace("_", "-"): value for name, value in environ.items() if name[:5] == "HTTP_"}
        call = Call(environ["REQUEST_METHOD"], unquote(environ["REQUEST_URI"]), environ["QUERY_STRING"], headers)
        with self._lock:
            self.requests.append(call)
            order = next((order for order in self._faults if order[0](call)), None)
            if order is not None:
                self._faults.remove(order)
        return (self.dialect if order is None else order[1])(self, environ, start_response)

    def etag(self, environ: Environ) -> str | None:
        """The bare ETag of the object that a request is about, or None if there is none."""
        bucket, _, key = unquote(environ["PATH_INFO"]).lstrip("/").partition("/")
        found = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].get_object(bucket, key)
        return found.etag.strip('"') if found is not None else None


class _QuietHandler(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - werkzeug's name
        pass


def canned(status: int, body: bytes, headers: dict[str, str] | None = None, *, cut: bool = False) -> Answer:
    """A reply of one's own. With `cut`, the connection ends after the body, whatever Content-Length says."""

    def answer(server: S3Server, environ: Environ, start_response: Any) -> Iterable[bytes]:
        _drain(environ)
        length = {} if headers and "Content-Length" in headers else {"Content-Length": str(len(body))}
        start_response(f"{status} Canned", [*{**length, **(headers or {})}.items()])
        yield b"" if environ["REQUEST_METHOD"] == "HEAD" else body
        if cut:
            _hang_up(environ)

    return answer


def refusal(status: int, code: str, message: str = "A test asked for this.") -> Answer:
    """An error as S3 words it."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return canned(status, body.encode(), {"Content-Type": "application/xml"})


def lost_reply(server: S3Server, environ: Environ, start_response: Any) -> Iterable[bytes]:
    """Does what was asked, and hangs up instead of replying."""
    server.moto(environ, lambda *args: None)
    _hang_up(environ)
    start_response("200 Lost", [("Content-Length", "0")])
    return []


def lost_to(status: int, code: str) -> Answer:
    """Does what was asked, and replies with an error."""

    def answer(server: S3Server, environ: Environ, start_response: Any) -> Iterable[bytes]:
        server.moto(environ, lambda *args: None)
        environ["CONTENT_LENGTH"] = "0"  # the body has been read
        return refusal(status, code)(server, environ, start_response)

    return answer


def ignores_conditions(server: S3Server, environ: Environ, start_response: Any) -> Iterable[bytes]:
    """A server that does what is asked, whatever the condition; s3rver is one."""
    for name in _CONDITIONS:
        environ.pop(name, None)
    return server.moto(environ, start_response)


def refuses_conditions(server: S3Server, environ: Environ, start_response: Any) -> Iterable[bytes]:
    """A server that has no conditional writes and says so; Swift is one."""
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD") and any(name in environ for name in _CONDITIONS):
        return refusal(501, "NotImplemented")(server, environ, start_response)
    return server.moto(environ, start_response)


def ceph_16(server: S3Server, environ: Environ, start_response: Any) -> Iterable[bytes]:
    """Compares the ETag in the If-Match of a PUT without taking its quotes off; has no other conditional requests.

    So measured: a quoted ETag is 412 even if it is right, and so is any for an object that is not there; DELETE and
    Complete do not look at their conditions.
    """
    method = environ["REQUEST_METHOD"]
    if method in ("POST", "DELETE"):
        return ignores_conditions(server, environ, start_response)
    wanted = environ.pop("HTTP_IF_MATCH", None) if method == "PUT" else None
    if wanted is not None and wanted != server.etag(environ):
        return refusal(412, "PreconditionFailed")(server, environ, start_response)
    return server.moto(environ, start_response)


def hang_up(server: S3Server, environ: Environ, start_response: Any) -> Iterable[bytes]:
    """Does nothing, and hangs up."""
    _hang_up(environ)
    start_response("200 Lost", [("Content-Length", "0")])
    return []


def _drain(environ: Environ) -> None:
    left = int(environ.get("CONTENT_LENGTH") or 0)
    while left and (data := environ["wsgi.input"].read(min(left, 1 << 20))):
        left -= len(data)


def _hang_up(environ: Environ) -> None:
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
