"""The client that S3Store makes of s3fs' options: what they ask for is what goes out."""

from __future__ import annotations

import base64
import datetime
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import pytest

from ckptstore.errors import StorageUnavailableError
from ckptstore.storage import Payload

pytest.importorskip("s3fs")
pytest.importorskip("moto")

import botocore.loaders
import botocore.session
from aiobotocore.credentials import AioCredentials, AioRefreshableCredentials
from aiobotocore.session import AioSession

from ckptstore.storage import _s3_session
from ckptstore.storage._s3 import S3Store
from tests.storage.conftest import BUCKET
from tests.storage.s3_server import S3Server, canned

URL = f"s3://{BUCKET}/run"
MIB = 1 << 20


def of(data: bytes) -> Payload:
    return Payload.of(data)


def keys_of(server: S3Server) -> list[str]:
    """The access key that signed each request."""
    return [call.headers["authorization"].partition("Credential=")[2].partition("/")[0] for call in server.requests]


class TestOptions:
    def test_who_pays(self, s3_options: dict[str, Any], s3_server: S3Server) -> None:
        with S3Store(URL, {**s3_options, "requester_pays": True}) as store:
            store.put("a", of(b"x"))
            store.get("a")
            list(store.list())
        assert [call.headers.get("x-amz-request-payer") for call in s3_server.requests] == ["requester"] * 3

    def test_additional_arguments_go_to_the_operations_that_know_them(
        self, s3_options: dict[str, Any], s3_server: S3Server
    ) -> None:
        with S3Store(URL, {**s3_options, "s3_additional_kwargs": {"ServerSideEncryption": "AES256"}}) as store:
            store.put("a", of(b"x"))
            upload = store.create_upload("b")
            store.put_part(upload, 1, of(b"x"))
            store.head("a")
        found = [call.headers.get("x-amz-server-side-encryption") for call in s3_server.requests]
        assert found == ["AES256", "AES256", None, None]

    def test_none_for_who_pays_is_nobody(self, s3_options: dict[str, Any], s3_server: S3Server) -> None:
        options = {**s3_options, "requester_pays": False, "s3_additional_kwargs": {"RequestPayer": None}}
        with S3Store(URL, options) as store:
            store.put("a", of(b"x"))
        assert "x-amz-request-payer" not in s3_server.requests[0].headers

    def test_proxies(self, s3_options: dict[str, Any], s3_server: S3Server) -> None:
        s3_server.fail_next(lambda call: True, canned(200, b"", {"Content-Length": "7", "ETag": '"e"'}))
        config = {"proxies": {"http": s3_server.url}, "s3": {"addressing_style": "path"}}
        options = {**s3_options, "endpoint_url": "http://s3.invalid", "config_kwargs": config}
        with S3Store(URL, options) as store:
            assert store.head("a").size == 7
        assert [call.path for call in s3_server.requests] == [f"http://s3.invalid/{BUCKET}/run/a"]

    def test_what_only_aiobotocore_knows_is_left_out(self, s3_options: dict[str, Any]) -> None:
        config = {"connector_args": {"keepalive_timeout": 5}, "warm_up_loader_caches": False}
        with S3Store(URL, {**s3_options, "config_kwargs": config}) as store:
            store.put("a", of(b"x"))

    def test_nobody_is_asked_whether_a_body_may_come(self, s3_options: dict[str, Any], s3_server: S3Server) -> None:
        with S3Store(URL, s3_options) as store:
            store.put("a", of(bytes(MIB)))
        assert "expect" not in s3_server.requests[0].headers

    def test_checksums_of_the_users_wish_are_looked_at(self, s3_options: dict[str, Any], s3_server: S3Server) -> None:
        data = bytes(range(256)) * 2000
        checksum = base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
        config = {"response_checksum_validation": "when_supported"}
        with S3Store(URL, {**s3_options, "config_kwargs": config}) as store:
            for body in (data, data[::-1]):
                headers = {"ETag": '"e"', "x-amz-checksum-crc32": checksum}
                s3_server.fail_next(lambda call: call.method == "GET", canned(200, body, headers))
            assert store.get("a")[0] == data
            with pytest.raises(StorageUnavailableError):
                store.get("a")


class TestCredentials:
    def test_none(self, s3_options: dict[str, Any], s3_server: S3Server) -> None:
        with S3Store(URL, {**s3_options, "anon": True}) as store:
            store.put("a", of(b"x"))
        assert "authorization" not in s3_server.requests[0].headers

    @pytest.mark.parametrize("session", [None, AioSession, botocore.session.Session])
    def test_a_profile(
        self, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, session: Any
    ) -> None:
        credentials = tmp_path / "credentials"
        credentials.write_text("[other]\naws_access_key_id = OTHER\naws_secret_access_key = secret\n")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(credentials))
        chosen = {"profile": "other"} if session is None else {"session": session(profile="other")}
        with S3Store(URL, {"endpoint_url": s3_server.url, **chosen}) as store:
            store.put("a", of(b"x"))
        assert keys_of(s3_server) == ["OTHER"]

    def test_those_given_win_over_a_sessions(self, s3_options: dict[str, Any], s3_server: S3Server) -> None:
        with S3Store(URL, {**s3_options, "key": "MINE", "secret": "secret"}) as store:
            store.put("a", of(b"x"))
        assert keys_of(s3_server) == ["MINE"]

    @pytest.mark.parametrize("session", [AioSession, botocore.session.Session])
    def test_set_on_a_session(self, s3_server: S3Server, session: Any) -> None:
        given = session()
        given.set_credentials("SET", "secret", "token")
        with S3Store(URL, {"endpoint_url": s3_server.url, "session": given}) as store:
            store.put("a", of(b"x"))
        assert keys_of(s3_server) == ["SET"]
        assert s3_server.requests[0].headers["x-amz-security-token"] == "token"

    def test_a_provider_of_the_users_own(self, s3_server: S3Server) -> None:
        """Asked as aiobotocore would ask it, again and again while what it has runs out soon."""
        fetched: list[str] = []

        async def fetch() -> dict[str, str]:
            fetched.append(f"K{len(fetched)}")
            soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=60)
            return {
                "access_key": fetched[-1],
                "secret_key": "secret",
                "token": "token",
                "expiry_time": soon.isoformat(),
            }

        class Provider:
            METHOD = CANONICAL_NAME = "own"

            async def load(self) -> AioCredentials:
                return AioRefreshableCredentials.create_from_metadata(await fetch(), fetch, "own")

        session = AioSession()
        session.get_component("credential_provider").insert_before("env", Provider())
        with S3Store(URL, {"endpoint_url": s3_server.url, "session": session}) as store:
            store.put("a", of(b"x"))
            store.put("a", of(b"x"))
        assert keys_of(s3_server) == fetched[1:] == ["K1", "K2"]


class TestClients:
    def test_one_for_all_threads(self, s3_options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[Any] = []
        original = _s3_session.make_client

        def slow(fs: Any) -> Any:
            time.sleep(0.1)
            made.append(original(fs))
            return made[-1]

        monkeypatch.setattr(_s3_session, "make_client", slow)
        with S3Store(URL, s3_options) as store:
            threads = [threading.Thread(target=store.put, args=(str(n), of(b"x"))) for n in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert [meta.key for meta in store.list()] == [str(n) for n in range(8)]
        assert len(made) == 1

    def test_descriptions_are_read_once_in_a_process(
        self, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with S3Store(URL, {"endpoint_url": s3_server.url}) as store:
            store.put("a", of(b"x"))

        def read(*args: Any) -> Any:
            raise AssertionError(args)

        monkeypatch.setattr(botocore.loaders.JSONFileLoader, "load_file", read)
        with S3Store(URL, {"endpoint_url": s3_server.url}) as store:
            assert store.get("a")[0] == b"x"

    def test_a_store_that_was_closed_opens_again(self, s3_options: dict[str, Any]) -> None:
        store = S3Store(URL, s3_options)
        store.put("a", of(b"x"))
        store.close()
        store.close()
        assert store.get("a")[0] == b"x"
        store.close()

    def test_options_of_a_given_file_system(self, s3_server: S3Server) -> None:
        import s3fs

        given = s3fs.S3FileSystem(endpoint_url=s3_server.url, key="GIVEN", secret="secret", skip_instance_cache=True)
        with S3Store(URL, filesystem=given) as store:
            store.put("a", of(b"x"))
        assert keys_of(s3_server) == ["GIVEN"]
