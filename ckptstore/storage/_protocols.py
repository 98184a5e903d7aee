"""What is known of the protocols that fsspec speaks: who writes whole objects, who renames, who tells versions."""

from __future__ import annotations

import contextlib
import errno
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Protocol:
    """What is known of a protocol beyond fsspec's interface.

    Attributes:
        whole_puts: `pipe_file` publishes all the bytes or nothing, in place of an older object.
        replacing_rename: Where the class has a rename of its own: it replaces an older file, atomically.
        durable: What has been written survives a power cut.
        version: The entries of `info` that together change with every overwrite.
    """

    whole_puts: bool = False
    replacing_rename: bool = False
    durable: bool = False
    version: tuple[str, ...] = ()


_OBJECT_STORE = Protocol(whole_puts=True, durable=True, version=("ETag",))
_AZURE = Protocol(whole_puts=True, durable=True, version=("etag",))
_POSIX = Protocol(replacing_rename=True, version=("ino", "mtime", "size"))
_SSH = Protocol(replacing_rename=True)  # posix-rename@openssh.com; time stamps of whole seconds make no version

# Not in here, so neither whole nor replacing: hdfs, webhdfs, smb and ftp (their rename refuses an existing target, or
# says nothing of it), dbfs, jupyter, box, dropbox, gdrive, and everything that nobody has looked at yet.
_PROTOCOLS: Mapping[str, Protocol] = {
    "memory": Protocol(whole_puts=True, version=("created", "size")),
    "file": _POSIX,
    "local": _POSIX,
    "sftp": _SSH,
    "ssh": _SSH,
    "abfs": _AZURE,
    "abfss": _AZURE,
    "adl": _AZURE,
    "az": _AZURE,
    "oci": Protocol(whole_puts=True, durable=True, version=("etag",)),
    "ocilake": Protocol(whole_puts=True, durable=True, version=("etag",)),
    "oss": _OBJECT_STORE,
    "s3": _OBJECT_STORE,
    "s3a": _OBJECT_STORE,
    "tos": _OBJECT_STORE,
    "tosfs": _OBJECT_STORE,
    "gs": Protocol(whole_puts=True, durable=True, version=("generation",)),
    "gcs": Protocol(whole_puts=True, durable=True, version=("generation",)),
}
_UNKNOWN = Protocol()


def traits_of(fs: Any) -> Protocol:
    """What is known of a file system object's protocol."""
    names = (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
    return next((_PROTOCOLS[name] for name in names if name in _PROTOCOLS), _UNKNOWN)


def has_own_rename(fs: Any) -> bool:
    """Whether the class brings a rename of its own; what fsspec's base classes have is a copy and a deletion."""
    from fsspec.asyn import AsyncFileSystem  # noqa: PLC0415 - a local job never loads it
    from fsspec.spec import AbstractFileSystem  # noqa: PLC0415 - as above

    kind = type(fs)
    if kind.mv is not AbstractFileSystem.mv:
        return True
    return issubclass(kind, AsyncFileSystem) and kind._mv_file is not AsyncFileSystem._mv_file  # noqa: SLF001


def replace(fs: Any, source: str, target: str) -> None:
    """Moves a temporary file over another file, by the best means that the file system has.

    Where no single operation does it, the older file is moved aside first, and back when the new one does not arrive:
    at no moment is neither of them there, though the target may be missing, which is why `atomic_put` is False then.
    """
    own = has_own_rename(fs)
    if own and traits_of(fs).replacing_rename:
        _move(fs, source, target, own=own)
        return
    aside = f"{source[:-32]}{secrets.token_hex(16)}"  # of the form of a temporary name too
    older = _is_there(fs, target)
    if older:
        _move(fs, target, aside, own=own)
    try:
        _move(fs, source, target, own=own)
        if _is_there(fs, source):  # webhdfs refuses with a reply that fsspec does not look at
            raise OSError(errno.EIO, f"the file system did not rename {source} to {target}")
    except BaseException:
        if older:
            with contextlib.suppress(Exception):
                _move(fs, aside, target, own=own)
        raise
    if older:
        with contextlib.suppress(Exception):  # the put has succeeded; what stays behind is a temporary file
            fs.rm_file(aside)


def _move(fs: Any, source: str, target: str, *, own: bool) -> None:
    if not own:
        fs.cp_file(source, target)  # the base class's mv does the same, after expanding patterns
        fs.rm_file(source)
    elif fs.async_impl:
        fs.mv_file(source, target)
    else:
        fs.mv(source, target)


def _is_there(fs: Any, name: str) -> bool:
    fs.invalidate_cache(fs._parent(name))  # noqa: SLF001 - fsspec has no public one
    try:
        fs.info(name)
    except FileNotFoundError:
        return False
    return True
