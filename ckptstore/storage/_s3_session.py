"""The botocore client that an s3fs file system describes, and what it is told to do otherwise than by default.

s3fs makes one of aiobotocore's of the same attributes (`S3FileSystem.set_session`). This one blocks its thread, and so
takes half the CPU time for a download.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping
from typing import Any

import botocore
import botocore.loaders
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import IncompleteReadError
from botocore.handlers import add_expect_header
from botocore.session import Session

from ckptstore.storage._bodies import load_certificates_once

_AIO_ONLY = frozenset({"connector_args", "http_session_cls", "warm_up_loader_caches"})
_CREDENTIALS = frozenset({"aws_access_key_id", "aws_secret_access_key", "aws_session_token"})

# Most of what a client costs, 0.1 to 0.2 s, is to read the descriptions of S3 and of its endpoints.
_loaders: dict[str | None, Any] = {}


def make_client(fs: Any) -> Any:
    """Makes a client as `S3FileSystem.set_session` would. No request is sent, unless it is for credentials.

    Args:
        fs: An `s3fs.S3FileSystem`, which need not have a client of its own.
    """
    given = dict(fs.client_kwargs)
    own = {
        "aws_access_key_id": fs.key,
        "aws_secret_access_key": fs.secret,
        "aws_session_token": fs.token,
        "endpoint_url": fs.endpoint_url,
    }
    own = {name: value for name, value in own.items() if value is not None and value != given.get(name)}
    own.setdefault("use_ssl", fs.use_ssl)
    if "use_ssl" in given:
        del own["use_ssl"]
    config = {name: value for name, value in fs.config_kwargs.items() if name not in _AIO_ONLY}
    config.setdefault("connect_timeout", fs.connect_timeout)
    config.setdefault("read_timeout", fs.read_timeout)
    if fs.anon:
        own = {name: value for name, value in own.items() if name not in _CREDENTIALS}
        given = {name: value for name, value in given.items() if name not in _CREDENTIALS}
        config["signature_version"] = botocore.UNSIGNED
    client = _session(fs).create_client("s3", config=Config(**config), **own, **given)
    # It would have the server asked before each body whether it may come: one round trip more, and a second of waiting
    # where nobody answers. What that could save is little: large bodies are parts of uploads that were let begin.
    client.meta.events.unregister("before-call.s3", add_expect_header)
    client.meta.events.register("response-received.s3", _see_length)
    with contextlib.suppress(AttributeError):  # nothing but time is lost where botocore has it elsewhere
        load_certificates_once(client._endpoint.http_session._manager.connection_pool_kw["ssl_context"])  # noqa: SLF001
    return client


def _session(fs: Any) -> Session:
    given = fs.session
    if given is None:
        session = Session(**fs.kwargs)
        data_path = session.get_config_variable("data_path")
        loader = _loaders.get(data_path) or _loaders.setdefault(data_path, botocore.loaders.create_loader(data_path))
        session.register_component("data_loader", loader)
        return session
    return _BorrowedSession(given) if inspect.iscoroutinefunction(given.get_credentials) else given


class _BorrowedSession(Session):  # type: ignore[misc]  # botocore has no types
    """A session with the settings and the credentials of one of aiobotocore's.

    Args:
        theirs: An `aiobotocore.session.AioSession`.
    """

    def __init__(self, theirs: Any) -> None:
        super().__init__()
        self._theirs = theirs
        self._credentials: Any = None
        for name, value in theirs.instance_variables().items():  # the profile among them
            self.set_config_variable(name, value)
        self.set_default_client_config(theirs.get_default_client_config())
        self.register_component("data_loader", theirs.get_component("data_loader"))

    def get_credentials(self) -> Any:
        """Theirs, from wherever they have them. None: there are none."""
        if self._credentials is None:
            theirs = _wait_for(self._theirs.get_credentials)
            self._credentials = None if theirs is None else _BorrowedCredentials(theirs)
        return self._credentials


class _BorrowedCredentials(Credentials):  # type: ignore[misc]  # botocore has no types
    """Credentials that aiobotocore fetches, and fetches again before they run out.

    Args:
        theirs: Its `AioCredentials`, or a subclass of these.
    """

    def __init__(self, theirs: Any) -> None:
        super().__init__("", "", method=getattr(theirs, "method", None))
        self._theirs = theirs

    def get_frozen_credentials(self) -> Any:
        """Those to sign one request with: the one thing that a signer asks for."""
        from aiobotocore.credentials import AioCredentials  # noqa: PLC0415 - who has a session of its has it

        if type(self._theirs) is AioCredentials:  # fixed ones need no loop
            return Credentials(self._theirs.access_key, self._theirs.secret_key, self._theirs.token)
        return _wait_for(self._theirs.get_frozen_credentials)


def _wait_for(function: Any) -> Any:
    from fsspec.asyn import get_loop, sync  # noqa: PLC0415 - its thread is started for nothing else

    return sync(get_loop(), function)


def _see_length(response_dict: Mapping[str, Any] | None = None, **_: Any) -> None:
    """Refuses a reply that was cut short: botocore does not look, and takes no listing at all for an empty one."""
    if response_dict is None or response_dict.get("context", {}).get("operation_name", "").startswith("Head"):
        return
    body, length = response_dict["body"], response_dict["headers"].get("content-length", "")
    if isinstance(body, bytes) and length.isdecimal() and int(length) != len(body):
        raise IncompleteReadError(actual_bytes=len(body), expected_bytes=int(length))
