"""The requests that GcsStore sends: what gcsfs' options and the environment ask for, and nothing else."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gcsfs")

import requests

from ckptstore.errors import StorageError
from ckptstore.storage import Payload
from ckptstore.storage._gcs import GcsStore
from tests.storage.conftest import BUCKET
from tests.support.gcs import GcsServer, Request

URL = f"gs://{BUCKET}/run"


@pytest.fixture
def seen(gcs_server: GcsServer) -> list[Request]:
    """All requests, with headers and body."""
    found: list[Request] = []

    def look(request: Request) -> bool:
        found.append(request)
        return False

    gcs_server.fail_next(look)
    return found


@pytest.fixture
def options(gcs_server: GcsServer) -> dict[str, Any]:
    return {"endpoint_url": gcs_server.url, "token": "anon"}


@pytest.fixture
def store(options: dict[str, Any]) -> Iterator[GcsStore]:
    with GcsStore(URL, options) as store:
        yield store


def test_who_pays(options: dict[str, Any], seen: list[Request]) -> None:
    with GcsStore(URL, {**options, "requester_pays": "payer"}) as store:
        store.put("a", Payload.of(b"x"))
        store.get("a")
        list(store.list())
    assert [request.query.get("userProject") for request in seen] == ["payer"] * 3


def test_a_netrc_does_not_take_the_tokens_place(
    store: GcsStore, seen: list[Request], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    store.put("a", Payload.of(b"x"))
    assert "authorization" not in seen[0].headers


@pytest.mark.parametrize("status", [301, 302, 307])
def test_nobody_is_led_elsewhere(store: GcsStore, gcs_server: GcsServer, status: int) -> None:
    gcs_server.fail_next(lambda request: True, status)
    with pytest.raises(StorageError, match="elsewhere"):
        store.get("a")
    assert len(gcs_server.requests) == 1


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """URLs and settings of all requests, none of which comes through."""
    found: list[Any] = []

    def send(self: Any, request: Any, **settings: Any) -> Any:
        found.append((request.url, settings))
        raise requests.ConnectionError

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    return found


def head(options: dict[str, Any], key: str = "a") -> None:
    with (
        GcsStore(URL, {"endpoint_url": "http://gcs.invalid", "token": "anon", **options}) as store,
        pytest.raises(StorageError),
    ):
        store.head(key)


def test_names_go_out_as_they_are_quoted(sent: list[Any]) -> None:
    head({}, "a b%?#é/c")
    ((url, settings),) = sent
    assert url.startswith("http://gcs.invalid/storage/v1/b/bucket/o/run%2Fa%20b%25%3F%23%C3%A9%2Fc?fields=")
    assert settings["timeout"] == (10, 60)


def test_proxies_and_certificates_of_the_environment(sent: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "bundle.pem")
    head({})
    head({"session_kwargs": {"proxy": "http://other.invalid:3128"}})
    assert [settings["proxies"]["http"] for _, settings in sent] == [
        "http://proxy.invalid:3128",
        "http://other.invalid:3128",
    ]
    assert [settings["verify"] for _, settings in sent] == ["bundle.pem"] * 2


def test_the_client_certificate_that_google_auth_has(store: GcsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    import gcsfs.core

    context = ssl.create_default_context()
    monkeypatch.setattr(gcsfs.core, "_client_cert_ssl_context", lambda: context, raising=False)
    monkeypatch.setattr(store._fs(), "_use_client_cert", True, raising=False)
    assert store._client.get()._adapter.poolmanager.connection_pool_kw["ssl_context"] is context


def test_a_store_that_was_closed_opens_again(store: GcsStore) -> None:
    store.put("a", Payload.of(b"x"))
    store.close()
    store.close()
    assert store.get("a")[0] == b"x"
