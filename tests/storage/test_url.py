"""Paths and URLs: what is what, who is refused, and what is loaded for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from ckptstore.errors import InvalidArgumentError, MissingDependencyError, UnsafePathError, UnsupportedError
from ckptstore.storage import LocalStore, Payload, from_url
from ckptstore.storage._url import is_url, join_path, split_path

SPLITS = [
    ("m", ".", "m"),
    ("/m", "/", "m"),
    ("a/b", "a", "b"),
    ("/a/b/m", "/a/b", "m"),
    ("./m", ".", "m"),
    ("../m", "..", "m"),
    ("a::b/m", "a::b", "m"),
    ("x:y", ".", "x:y"),
    ("a::b", ".", "a::b"),
    ("s3://b/run/ckpt-1", "s3://b/run", "ckpt-1"),
    ("s3://b/ckpt-1", "s3://b", "ckpt-1"),
    ("s3://b/a::b", "s3://b", "a::b"),
    ("gs://b/a b/m?x#y", "gs://b/a b", "m?x#y"),
    ("file:///m", "file:///", "m"),
    ("file:///a/m", "file:///a", "m"),
    ("memory://m", "memory://", "m"),
    ("memory://run/m", "memory://run", "m"),
    ("sftp://me@host:22/run/m", "sftp://me@host:22/run", "m"),
    ("abfs://container@account.dfs.core.windows.net/run/m", "abfs://container@account.dfs.core.windows.net/run", "m"),
    ("simplecache::s3://b/run/m", "simplecache::s3://b/run", "m"),
    ("zip://run/m::s3://b/x.zip", "zip://run::s3://b/x.zip", "m"),
]


@pytest.mark.parametrize(("path", "parent", "name"), SPLITS)
def test_split_path(path: str, parent: str, name: str) -> None:
    assert split_path(path) == (parent, name)


@pytest.mark.parametrize(("path", "parent", "name"), [split for split in SPLITS if not split[0].startswith("./")])
def test_join_path(path: str, parent: str, name: str) -> None:
    assert join_path(parent, name) == path


@pytest.mark.parametrize(
    "path", ["", "a/", "/", "s3://b", "s3://b/", "s3://", "s3://b/run/", "memory://", "sftp://host", "file:///"]
)
def test_split_path_without_a_name(path: str) -> None:
    with pytest.raises(InvalidArgumentError):
        split_path(path)


@pytest.mark.parametrize("path", [".", "..", "a/..", "s3://b/.", "s3://b//m", "s3://b/run//m"])
def test_split_path_with_no_proper_name(path: str) -> None:
    with pytest.raises(UnsafePathError):
        split_path(path)


def test_split_path_takes_a_pathlike() -> None:
    assert split_path(PurePosixPath("/run/m")) == ("/run", "m")


@pytest.mark.parametrize("path", [PurePosixPath("s3://b/run/m"), PurePosixPath("gs://b/m")])
def test_urls_that_went_through_pathlib(path: PurePosixPath) -> None:
    with pytest.raises(InvalidArgumentError, match="eaten a slash"):
        split_path(path)
    with pytest.raises(InvalidArgumentError, match="eaten a slash"):
        from_url(path)


@pytest.mark.parametrize(
    "path", ["s3://b", "S3://b", "gs://b/x", "simplecache::s3://b", "zip://a::b.zip", "a+b.c-d://x"]
)
def test_urls(path: str) -> None:
    assert is_url(path)


@pytest.mark.parametrize("path", ["a", "x:y", "a::b", "C:/x", "a/b://c", "a::b/c://d", "://x", "::s3://b", "1s://x"])
def test_file_names(path: str) -> None:
    assert not is_url(path)


@pytest.mark.parametrize("name", ["a::b", "x:y", "[run]*", "s3:", "run#1?x", "%2e"])
def test_a_directory_of_any_name_is_local(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with from_url(name) as store:
        assert isinstance(store, LocalStore)
        store.put("a", Payload.of(b"x"))
    assert (tmp_path / name / "a").read_bytes() == b"x"


@pytest.mark.parametrize("scheme", ["file", "local"])
def test_local_urls(scheme: str, tmp_path: Path) -> None:
    with from_url(f"{scheme}://{tmp_path}/run", {"auto_mkdir": True}) as store:
        assert isinstance(store, LocalStore)
        store.put("a", Payload.of(b"x"))
    assert (tmp_path / "run" / "a").read_bytes() == b"x"


def test_a_pathlike_is_local(tmp_path: Path) -> None:
    assert from_url(tmp_path).url == str(tmp_path)


def test_local_directories_take_no_options() -> None:
    with pytest.raises(InvalidArgumentError, match="key"):
        from_url("/x", {"key": "hunter2222"})


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3://b/run", "TransferStore(RetryingStore(S3Store(s3://b/run)))"),
        ("s3a://b/run/", "TransferStore(RetryingStore(S3Store(s3a://b/run)))"),
        ("s3://b", "TransferStore(RetryingStore(S3Store(s3://b)))"),
        ("gs://b/run", "TransferStore(RetryingStore(GcsStore(gs://b/run)))"),
        ("gcs://b", "TransferStore(RetryingStore(GcsStore(gcs://b)))"),
        ("memory://run", "RetryingStore(SingleWriterStore(FsspecStore(memory://run)))"),
        ("sftp://me@host/run", "RetryingStore(SingleWriterStore(FsspecStore(sftp://me@host/run)))"),
        ("simplecache::memory://run", "RetryingStore(SingleWriterStore(FsspecStore(memory://run)))"),
        ("simplecache::s3://b/run", "TransferStore(RetryingStore(S3Store(s3://b/run)))"),
    ],
)
def test_stacks(url: str, expected: str) -> None:
    pytest.importorskip("s3fs")
    pytest.importorskip("gcsfs")
    assert repr(from_url(url)) == expected


def test_options_of_a_chain_are_those_of_its_scheme() -> None:
    store = from_url("simplecache::s3://b", {"s3": {"anon": True}, "simplecache": {"cache_storage": "/x"}})
    assert store.inner.inner._options == {"anon": True}  # type: ignore[attr-defined]


@pytest.mark.parametrize("url", ["s3://b/run", "gs://b/run", "simplecache::s3://b/run"])
def test_options_of_a_transfer(url: str) -> None:
    pytest.importorskip("s3fs")
    pytest.importorskip("gcsfs")
    given = {"max_concurrency": 48, "default_block_size": 6 << 20, "anon": True}
    options = {"s3": given} if "::" in url else given
    store = from_url(url, options)
    assert (store._concurrency, store._part_size) == (48, 6 << 20)  # type: ignore[attr-defined]
    inner = store.inner.inner  # type: ignore[attr-defined]
    assert inner._options == {"anon": True}
    if "s3" in url:
        assert inner._fs().config_kwargs["max_pool_connections"] == 96
    assert given["max_concurrency"] == 48  # the caller's mapping is left alone


def test_options_of_a_pool_win() -> None:
    pytest.importorskip("s3fs")
    store = from_url("s3://b", {"anon": True, "config_kwargs": {"max_pool_connections": 5}})
    assert store.inner.inner._fs().config_kwargs["max_pool_connections"] == 5  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["max_concurrency", "default_block_size"])
@pytest.mark.parametrize("value", [0, -1, 2.5, "8", True])
def test_options_of_a_transfer_that_cannot_be_meant(name: str, value: object) -> None:
    pytest.importorskip("s3fs")
    with pytest.raises(InvalidArgumentError, match=name):
        from_url("s3://b/run", {name: value})


def test_unknown_scheme() -> None:
    with pytest.raises(UnsupportedError, match=r"nosuch://.*fsspec knows: .*sftp"):
        from_url("nosuch://x/y")


@pytest.mark.parametrize(("url", "package", "extra"), [("s3://b", "s3fs", "s3"), ("gs://b", "gcsfs", "gcs")])
def test_missing_package(url: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # type: ignore[arg-type]
    with pytest.raises(MissingDependencyError) as caught:
        from_url(url)
    assert f"pip install 'ckptstore[{extra}]'" in str(caught.value)
    assert isinstance(caught.value, ImportError)


def test_missing_package_of_another_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paramiko", None)  # type: ignore[arg-type]
    monkeypatch.delitem(sys.modules, "fsspec.implementations.sftp", raising=False)
    with pytest.raises(MissingDependencyError, match="paramiko"):
        from_url("sftp://host/run").head("a")


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIAKEY:HUNTER2@b/run",
        "s3://AKIAKEY:HUN/TER2+HUNTER2@b/run",
        "s3://HUNTER2@b/run",
        "s3a://AKIAKEY:HUNTER2/b",
        "gs://me:HUNTER2@b",
        "sftp://me:HUNTER2@host/run",
        "sftp://me:HUNTER2/x@host/run",
        "simplecache::s3://AKIAKEY:HUNTER2@b/run",
        "simplecache::ftp://me:HUNTER2@host/run",
        "https://host/run?X-Amz-Signature=HUNTER2",
        "https://host/run?a=b&sig=HUNTER2",
        "abfs://c@account/run?sig=HUNTER2",
    ],
)
def test_credentials_are_refused(url: str) -> None:
    with pytest.raises(UnsafePathError) as caught:
        from_url(url)
    for secret in ("HUNTER2", "TER2", "AKIAKEY"):
        assert secret not in str(caught.value)
        assert secret not in (caught.value.path or "")


@pytest.mark.parametrize("url", ["s3://b/run@1/x", "s3://b/a:b@c", "sftp://me@host:22/run@2", "memory://a@b/c"])
def test_an_at_sign_is_not_always_a_credential(url: str) -> None:
    from_url(url)


@pytest.mark.parametrize("url", ["s3:///run", "gs://"])
def test_no_bucket(url: str) -> None:
    with pytest.raises(InvalidArgumentError, match="bucket"):
        from_url(url)


def test_access_points() -> None:
    from ckptstore.storage._bucket import split_bucket

    arn = "arn:aws:s3:eu-west-1:123456789012:accesspoint/mine"
    assert split_bucket(f"s3://{arn}/run/1") == (arn, "run/1/")
    assert split_bucket(f"s3://{arn}") == (arn, "")
    assert split_bucket("s3://b/run/") == ("b", "run/")


@pytest.mark.parametrize("url", ["s3://b/a/../c", "gs://b/a//c", "s3://b/x\ny"])
def test_prefixes_are_keys(url: str) -> None:
    with pytest.raises(UnsafePathError):
        from_url(url)


def test_nothing_is_loaded_early() -> None:
    code = (
        "import sys, ckptstore.storage._url as u; u.from_url('/tmp/x'); "
        "heavy = 'fsspec', 's3fs', 'gcsfs', 'aiohttp', 'botocore', 'requests', 'urllib3', 'tenacity'; "
        "print([m for m in heavy if m in sys.modules])"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.strip() == "[]"
