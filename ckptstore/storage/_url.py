"""What a user writes as a path: a file name, or the URL of any fsspec store.

    path  = file name | URL
    URL   = scheme "://" rest  |  wrapper "::" ... scheme "://" rest      "simplecache::sftp://host/run"

Only what begins like the second line is a URL, so a directory may be called "a::b" or "x:y". No character of a
path is a pattern or an escape. Nothing is imported here before it is needed: a local job never loads fsspec.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ckptstore.errors import InvalidArgumentError, MissingDependencyError, UnsafePathError, UnsupportedError

if TYPE_CHECKING:
    from ckptstore.storage._base import Store
    from ckptstore.storage._bucket_client import BucketClient

_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]*"
_URL = re.compile(rf"({_SCHEME})((?:::{_SCHEME})*)://")
_EATEN_SLASH = re.compile(r"(s3a?|gc?s|abfss?|az|memory|hdfs|sftp|https?):/[^/]")

_S3 = frozenset({"s3", "s3a"})
_GCS = frozenset({"gs", "gcs"})
_LOCAL = frozenset({"file", "local"})
_LITERAL = _S3 | _GCS | _LOCAL  # the whole rest of the URL is one name: "::" in it is no chain
_WITHOUT_HOST = _LOCAL | {"memory"}  # "memory://m" is the object m; "s3://m" is a bucket

# Wrappers that keep copies. A checkpoint directory is changed by other processes, so a copy may be stale; the store
# they wrap is used directly.
_CACHES = frozenset({"simplecache", "filecache", "blockcache", "cached"})

_SIGNED = re.compile(
    r"[?&](x-(amz|goog)-(signature|credential|security-token)|signature|sig|token|access_token|awsaccesskeyid)=", re.I
)


def from_url(
    url: str | os.PathLike[str],
    storage_options: Mapping[str, Any] | None = None,
    *,
    instead_of: Store | None = None,
) -> Store:
    """Makes the store for a directory, a bucket or a prefix in one; no request is sent yet.

    Args:
        url: A path, `file://` or `local://` (a local directory), `s3://bucket/prefix`, `gs://bucket/prefix`, or the URL
            of any other file system that fsspec knows.
        storage_options: What fsspec's file system of that scheme takes: `endpoint_url`, `profile`, `token` and so on.
            For S3 and GCS also `max_concurrency`, the requests of a transfer under way at once (24), and
            `default_block_size`, the bytes of a part or a ranged read (16 MiB; parts of large uploads up to 48, reads
            for a restore never more than 16).
        instead_of: A store of this function's that is needed no longer. It is closed, unless this raises, but its
            connections are kept where they serve the new one, too.

    Raises:
        UnsupportedError: fsspec does not know the scheme.
        UnsafePathError: The URL carries credentials.
        MissingDependencyError: The package for the scheme is not installed.
    """
    text = path_text(url)
    if not isinstance(storage_options, Mapping | None):
        raise InvalidArgumentError("storage_options must be a mapping of names to values.")
    options = dict(storage_options or {})
    scheme = url_scheme(text)
    while scheme in _CACHES and (inner := text.partition("::")[2]) and is_url(inner):
        text, scheme = inner, url_scheme(inner)
        options = dict(options.get(scheme or "", {}))  # a chain's options are grouped by scheme
    if scheme is None or scheme in _LOCAL:
        store = _local(text if scheme is None else text.partition("://")[2], options)
    else:
        refuse_credentials(text)
        store = _remote(scheme, text, options, instead_of)
    if instead_of is not None:
        instead_of.close()
    return store


def _local(path: str, options: dict[str, Any]) -> Store:
    from ckptstore.storage._local import LocalStore  # noqa: PLC0415 - see above

    unknown = sorted(set(options) - {"auto_mkdir"})  # fsspec's; a LocalStore makes directories in any case
    if unknown:
        raise InvalidArgumentError(
            f"The local directory {path!r} takes no storage_options, but was given {', '.join(unknown)}; drop them."
        )
    return LocalStore(path or ".")


def _remote(scheme: str, url: str, options: dict[str, Any], instead_of: Store | None) -> Store:
    from ckptstore.storage._retrying import RetryingStore  # noqa: PLC0415 - see above

    if scheme in _LITERAL:
        from ckptstore.storage._transfer import TransferStore  # noqa: PLC0415 - see above
        from ckptstore.storage._upload_notes import UPLOAD_NOTES  # noqa: PLC0415 - see above
        from ckptstore.storage._wrapper import innermost  # noqa: PLC0415 - see above

        transfer = _transfer_options(options)
        pool = max(64, 2 * transfer.get("concurrency", 0))
        bucket: BucketClient
        if scheme in _S3:
            require_package("s3fs", "s3")
            from ckptstore.storage._s3 import S3Store  # noqa: PLC0415 - see above

            bucket = S3Store(url, options, pool_connections=pool)
        else:
            require_package("gcsfs", "gcs")
            from ckptstore.storage._gcs import GcsStore  # noqa: PLC0415 - see above

            bucket = GcsStore(url, options, pool_connections=pool)
        if instead_of is not None:
            bucket.take_over(innermost(instead_of))
        return TransferStore(RetryingStore(bucket), journal=UPLOAD_NOTES, **transfer)

    from fsspec.registry import available_protocols, registry  # noqa: PLC0415 - see above

    from ckptstore.storage._fsspec import FsspecStore  # noqa: PLC0415 - see above
    from ckptstore.storage._single_writer import SingleWriterStore  # noqa: PLC0415 - see above

    known = {*available_protocols(), *registry}
    if scheme not in known:
        raise UnsupportedError(
            f"There is no file system for {scheme}://. fsspec knows: {', '.join(sorted(known))}.", path=url
        )
    return RetryingStore(SingleWriterStore(FsspecStore(url, options)))


_TRANSFER = {"max_concurrency": "concurrency", "default_block_size": "part_size"}


def _transfer_options(options: dict[str, Any]) -> dict[str, Any]:
    """Takes those options that are ours, under s3fs's names, out of the user's: arguments for `TransferStore`.

    Raises:
        InvalidArgumentError: One is no number that anything could be transferred with.
    """
    out: dict[str, Any] = {}
    for name, argument in _TRANSFER.items():
        value = options.pop(name, None)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidArgumentError(f"storage_options[{name!r}] must be an int of at least 1, not {value!r}.")
        out[argument] = value
    return out


def require_package(package: str, extra: str) -> None:
    """Sees to it that an optional package can be imported.

    Raises:
        MissingDependencyError: It cannot; the message has the pip command.
    """
    if importlib.util.find_spec(package) is None:
        raise MissingDependencyError(f"{package} is not installed. Install it with: pip install 'ckptstore[{extra}]'")


def path_text(path: str | os.PathLike[str]) -> str:
    """A path as the str it stands for.

    Raises:
        InvalidArgumentError: It is empty, or no path at all, or a URL that went through pathlib.
    """
    if not isinstance(path, str | os.PathLike):
        raise InvalidArgumentError(f"{path!r} is no path: pass a str or an os.PathLike.")
    text = os.fspath(path)
    if not isinstance(text, str) or not text:
        raise InvalidArgumentError(f"{path!r} is no path: use '.' for the current directory.")
    if not isinstance(path, str) and _EATEN_SLASH.match(text):
        raise InvalidArgumentError(f"pathlib has eaten a slash of the URL {text!r}; pass URLs as str.")
    return text


def is_url(path: str) -> bool:
    """Whether a path is a URL and no file name."""
    return _URL.match(path) is not None


def url_scheme(path: str) -> str | None:
    """The first scheme of a URL, in lower case: who gets to read the rest. None for a file name."""
    match = _URL.match(path)
    return match[1].lower() if match else None


def refuse_credentials(url: str) -> None:
    """Raises an UnsafePathError if a URL carries a key, a password or a signature.

    A URL ends up in messages, logs and state files. A user name alone (`sftp://me@host`) is fine, and so is Azure's
    `abfs://container@account`; a bucket name has neither "@" nor ":".
    """
    for link in url.split("::"):
        scheme, separator, rest = link.partition("://")
        if not separator:
            continue
        host = rest.partition("/")[0]
        user, at, _ = host.rpartition("@")
        if scheme.lower() in _S3 | _GCS:
            unsafe = "@" in host or (":" in host and not host.startswith("arn:"))
        else:  # a password may hold a slash, so what looks like a port must be one
            unsafe = ":" in user or (not at and "@" in rest and re.search(r":(?!\d*$)", host) is not None)
        if unsafe:
            public = rest.rpartition("@")[2] if "@" in rest else ""
            raise UnsafePathError(
                f"The URL {scheme}://***@{public} carries credentials, which would end up in logs; pass them as "
                "storage_options, or let the client library find them in its usual places."
            )
    if _SIGNED.search(url):
        raise UnsafePathError(
            f"The URL {url.partition('?')[0]}?*** carries a signature or token; pass credentials as storage_options."
        )


def split_path(path: str | os.PathLike[str]) -> tuple[str, str]:
    """Splits a checkpoint's path into its directory and its name.

    "m" -> (".", "m"); "/m" -> ("/", "m"); "s3://b/run/ckpt-1" -> ("s3://b/run", "ckpt-1"). `join_path` undoes it.

    Raises:
        InvalidArgumentError: There is no name at the end: a trailing slash, or a bucket alone.
        UnsafePathError: The name is "." or "..", or a URL has an empty segment.
    """
    text = path_text(path)
    head, body, tail = _anatomy(text)
    parent, slash, name = body.rpartition("/")
    if not name or (head and not slash and not _hostless(head)):
        raise InvalidArgumentError(f"{text!r} ends without a name; add one, as in {_example(text)!r}.", path=text)
    if name in (".", ".."):
        raise UnsafePathError(f"{text!r} ends in {name!r}, which is no name of its own.", path=text)
    if head:
        if "//" in parent.lstrip("/") + slash + name or parent.endswith("/"):
            raise UnsafePathError(f"{text!r} has an empty segment; write single slashes.", path=text)
        if slash and not parent:  # "file:///m" and "memory:///m": the slash is the root
            parent = slash
        return head + parent + tail, name
    return (parent.rstrip("/") or slash or "."), name


def join_path(parent: str | os.PathLike[str], name: str) -> str:
    """The path of a name in a directory: what `split_path` takes apart."""
    text = path_text(parent)
    if text == ".":
        return name
    head, body, tail = _anatomy(text)
    body = body if not body or body.endswith("/") else body + "/"
    return head + body + name + tail


def _anatomy(text: str) -> tuple[str, str, str]:
    """A path in three: what stands before its name part, the name part, and what a chain has after it."""
    match = _URL.match(text)
    if match is None:
        return "", text, ""
    head, body = text[: match.end()], text[match.end() :]
    if match[1].lower() in _LITERAL:
        return head, body, ""
    body, separator, rest = body.partition("::")
    return head, body, separator + rest


def _hostless(head: str) -> bool:
    return re.split("::", head.removesuffix("://"))[-1].lower() in _WITHOUT_HOST


def _example(text: str) -> str:
    return text.rstrip("/") + "/ckpt-1" if text.strip("/") else "/ckpt-1"
