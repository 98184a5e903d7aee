"""The emulator keeps what Google documents: over plain HTTP, and through gcsfs as ckptstore drives it."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from crc32c import crc32c

from tests.support.gcs import Call, GcsServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # read when gcsfs is imported

KIB, MIB = 1 << 10, 1 << 20
CHUNK = 256 * KIB
OBJECTS = "/storage/v1/b/bucket/o"
UPLOAD = "/upload/storage/v1/b/bucket/o"
TIMEOUT = 30


def crc_of(data: bytes) -> str:
    return base64.b64encode(crc32c(data).to_bytes(4, "big")).decode()


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        return self.json["error"]["errors"][0]["reason"]

    @property
    def code(self) -> str:
        return self.element("Code")

    def element(self, name: str) -> str:
        found = re.search(rf"<{name}>(.*?)</{name}>", self.body.decode())
        assert found, self.body
        return found[1]

    def elements(self, name: str) -> list[str]:
        return re.findall(rf"<{name}>(.*?)</{name}>", self.body.decode())


class Client:
    """One kept-alive connection, and a verb for each call that the tests make often."""

    def __init__(self, server: GcsServer) -> None:
        self.connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=TIMEOUT)

    def close(self) -> None:
        self.connection.close()

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method, path, body, names, encode_chunked=not isinstance(body, bytes | str | None))
        reply = self.connection.getresponse()
        return Answer(reply.status, reply.headers, reply.read())

    def put(self, name: str, data: bytes = b"data", query: str = "", **headers: str) -> Answer:
        return self.call("POST", f"{UPLOAD}?uploadType=media&name={quote(name, safe='')}{query}", data, **headers)

    def read(self, name: str, query: str = "", **headers: str) -> Answer:
        return self.call("GET", f"{OBJECTS}/{quote(name, safe='')}?alt=media{query}", **headers)

    def stat(self, name: str, query: str = "") -> Answer:
        return self.call("GET", f"{OBJECTS}/{quote(name, safe='')}{query}")

    def remove(self, name: str, query: str = "") -> Answer:
        return self.call("DELETE", f"{OBJECTS}/{quote(name, safe='')}{query}")


@pytest.fixture
def server() -> Iterator[GcsServer]:
    with GcsServer() as running:
        yield running


@pytest.fixture
def connect(server: GcsServer) -> Iterator[Callable[[], Client]]:
    """Makes further connections, after the bucket is there."""
    clients: list[Client] = []

    def make() -> Client:
        clients.append(Client(server))
        return clients[-1]

    assert make().call("POST", "/storage/v1/b?project=p", '{"name": "bucket"}').status == 200
    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(connect: Callable[[], Client], server: GcsServer) -> Client:
    made = connect()
    server.requests.clear()
    return made


@pytest.fixture
def kind_client() -> Iterator[Client]:
    """A client of a server that honours preconditions where Google's does not."""
    with GcsServer(multipart_preconditions=True) as running:
        made = Client(running)
        made.call("POST", "/storage/v1/b", '{"name": "bucket"}')
        yield made
        made.close()


class TestServer:
    def test_url_is_known_only_while_it_runs(self):
        server = GcsServer()
        with pytest.raises(RuntimeError):
            _ = server.url
        with server:
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+", server.url)
        with pytest.raises(RuntimeError):
            _ = server.url

    def test_leaves_no_thread_behind_though_clients_stay_connected(self):
        before = set(threading.enumerate())
        with GcsServer() as server:
            clients = [Client(server) for _ in range(5)]
            for client in clients:
                assert client.call("GET", "/storage/v1/b").status == 200
        assert set(threading.enumerate()) == before
        for client in clients:
            client.close()

    def test_remembers_requests_with_decoded_path_and_query(self, server, client):
        client.put("a/b c", query="&ifGenerationMatch=0")
        client.read("a/b c")
        assert server.requests == [
            Call("POST", UPLOAD, {"uploadType": "media", "name": "a/b c", "ifGenerationMatch": "0"}),
            Call("GET", f"{OBJECTS}/a/b c", {"alt": "media"}),
        ]

    def test_reset_forgets_all_but_generations_grow_on(self, server, client):
        old = int(client.put("x").json["generation"])
        server.fail_next(lambda _: True)
        server.reset()
        assert server.requests == []
        assert client.stat("x").status == 404
        client.call("POST", "/storage/v1/b", '{"name": "bucket"}')
        assert int(client.put("x").json["generation"]) > old

    def test_a_clock_that_stands_still_does_not_repeat_a_generation(self):
        with GcsServer(now=lambda: 1e9) as server:
            client = Client(server)
            client.call("POST", "/storage/v1/b", '{"name": "bucket"}')
            answers = [client.put("x").json for _ in range(3)]
            client.close()
        assert [int(a["generation"]) for a in answers] == [10**15, 10**15 + 1, 10**15 + 2]
        assert answers[0]["updated"] == "2001-09-09T01:46:40.000Z"

    def test_fail_next_answers_in_place_of_acting(self, server, client):
        server.fail_next(lambda r: r.method == "POST" and r.query["name"] == "x", status=429, times=2)
        assert [client.put(name).status for name in "xyxx"] == [429, 200, 429, 200]
        assert len(server.requests) == 4

    def test_fail_next_after_acts_and_hangs_up(self, server, client):
        server.fail_next(lambda r: r.method == "POST", after=True)
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            client.put("x", b"lost reply")
        assert client.read("x").body == b"lost reply"

    def test_fail_next_after_acts_and_answers_with_an_error(self, server, client):
        server.fail_next(lambda r: r.method == "POST", status=500, after=True, hang_up=False)
        assert client.put("x", b"lost reply").status == 500
        assert client.read("x").body == b"lost reply"

    def test_deaf_to_preconditions_until_it_is_reset(self, server, client):
        client.put("x")
        server.deaf = True
        assert client.put("x", query="&ifGenerationMatch=0").status == 200
        assert client.put("y", query="&ifGenerationMatch=1").status == 200
        server.reset()
        client.call("POST", "/storage/v1/b", '{"name": "bucket"}')
        assert client.put("y", query="&ifGenerationMatch=1").status == 412

    def test_fail_next_speaks_xml_to_the_xml_api(self, server, client):
        server.fail_next(lambda r: "uploads" in r.query, status=500)
        answer = client.call("POST", "/bucket/x?uploads")
        assert (answer.status, answer.code) == (500, "InjectedFault")


class TestHttp:
    def test_chunked_bodies(self, client):
        pieces = [b"a" * 100_000, b"b", b"c" * 10]
        assert client.put("x", iter(pieces), Transfer_Encoding="chunked").status == 200
        assert client.read("x").body == b"".join(pieces)

    def test_keeps_the_connection_after_a_refusal_with_a_body(self, server, client):
        assert client.call("POST", "/upload/storage/v1/b/none/o?uploadType=media&name=x", b"z" * MIB).status == 404
        sock = client.connection.sock
        assert client.put("x").status == 200
        assert client.connection.sock is sock

    def test_closes_when_asked(self, client):
        assert client.call("GET", "/storage/v1/b", Connection="close").status == 200
        assert client.connection.sock.recv(1) == b""

    def test_head_has_the_length_and_no_body(self, client):
        client.put("x", b"12345")
        sock = client.connection.sock
        sock.sendall(f"HEAD {OBJECTS}/x?alt=media HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
        received = b"".join(iter(lambda: sock.recv(1000), b""))
        assert b"\r\nContent-Length: 5\r\n" in received
        assert received.endswith(b"\r\n\r\n")

    def test_nonsense_is_400(self, client):
        client.connection.connect()
        client.connection.sock.sendall(b"nonsense\r\n\r\n")
        received = b"".join(iter(lambda: client.connection.sock.recv(1000), b""))
        assert received.startswith(b"HTTP/1.1 400 ")
        assert received.endswith(b"'nonsense' is no request line.")

    def test_unknown_calls_are_501(self, client):
        assert client.call("POST", f"{OBJECTS}/x/frobnicate").status == 501
        assert client.call("GET", "/bucket/x").status == 501

    @pytest.mark.parametrize(
        ("header", "expected", "content_range"),
        [
            ("bytes=0-3", b"0123", "bytes 0-3/10"),
            ("bytes=4-", b"456789", "bytes 4-9/10"),
            ("bytes=8-100", b"89", "bytes 8-9/10"),
            ("bytes=-3", b"789", "bytes 7-9/10"),
            ("bytes=-30", b"0123456789", "bytes 0-9/10"),
        ],
    )
    def test_ranges(self, client, header, expected, content_range):
        client.put("x", b"0123456789")
        answer = client.read("x", Range=header)
        assert (answer.status, answer.body, answer.headers["Content-Range"]) == (206, expected, content_range)
        assert answer.headers["X-Goog-Hash"].startswith(f"crc32c={crc_of(b'0123456789')}")

    @pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-20", "bytes=-0"])
    def test_ranges_past_the_end_are_416(self, client, header):
        client.put("x", b"0123456789")
        answer = client.read("x", Range=header)
        assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */10")
        client.put("empty", b"")
        assert client.read("empty", Range="bytes=0-0").status == 416
        assert client.read("empty").body == b""

    @pytest.mark.parametrize("header", ["bytes=5-2", "lines=1-2", "bytes=-", "bytes=0-1,4-5"])
    def test_ranges_that_make_no_sense_are_ignored(self, client, header):
        client.put("x", b"0123456789")
        assert (client.read("x", Range=header).status, client.read("x", Range=header).body) == (200, b"0123456789")


class TestBuckets:
    def test_insert_get_list_delete(self, client):
        assert client.call("POST", "/storage/v1/b?project=p", '{"name": "other"}').json["name"] == "other"
        assert client.call("GET", "/storage/v1/b/other").json["kind"] == "storage#bucket"
        names = [item["name"] for item in client.call("GET", "/storage/v1/b?project=p").json["items"]]
        assert names == ["bucket", "other"]
        assert client.call("POST", "/storage/v1/b", '{"name": "other"}').reason == "conflict"
        assert client.call("DELETE", "/storage/v1/b/other").status == 204
        assert client.call("GET", "/storage/v1/b/other").status == 404

    def test_one_with_objects_is_not_deleted(self, client):
        client.put("x")
        assert client.call("DELETE", "/storage/v1/b/bucket").status == 409

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/storage/v1/b/none/o"),
            ("GET", "/storage/v1/b/none/o/x"),
            ("DELETE", "/storage/v1/b/none/o/x"),
            ("POST", "/upload/storage/v1/b/none/o?uploadType=media&name=x"),
            ("POST", "/upload/storage/v1/b/none/o?uploadType=resumable&name=x"),
            ("POST", "/none/x?uploads"),
        ],
    )
    def test_a_missing_one_is_404(self, client, method, path):
        assert client.call(method, path).status == 404


class TestObjects:
    def test_put_get_delete(self, client):
        made = client.put("d/x", b"data", Content_Type="text/plain").json
        assert made == client.stat("d/x").json
        assert (made["name"], made["bucket"], made["size"], made["contentType"]) == ("d/x", "bucket", "4", "text/plain")
        assert (made["crc32c"], made["md5Hash"]) == (crc_of(b"data"), "jXd/OF09/siBXSD3SWAm3A==")
        media = client.read("d/x")
        assert (media.body, media.headers["X-Goog-Generation"]) == (b"data", made["generation"])
        assert media.headers["X-Goog-Stored-Content-Length"] == "4"
        assert media.headers["X-Goog-Hash"] == f"crc32c={made['crc32c']},md5={made['md5Hash']}"
        assert client.call("GET", "/download/storage/v1/b/bucket/o/d%2Fx?alt=media").body == b"data"
        assert client.remove("d/x").status == 204
        missing = client.stat("d/x")
        assert (missing.status, missing.reason) == (404, "notFound")
        assert client.remove("d/x").status == 404

    def test_metadata_is_kept_merged_replaced_and_counted(self, client):
        client.put("x")
        path = f"{OBJECTS}/x"
        first = client.call("PATCH", path, '{"metadata": {"a": "1", "b": "2"}, "contentType": "text/x"}').json
        assert (first["metageneration"], first["contentType"]) == ("2", "text/x")
        second = client.call("PATCH", path, '{"metadata": {"a": null, "c": "3"}}').json
        assert (second["metadata"], second["contentType"]) == ({"b": "2", "c": "3"}, "text/x")
        assert second["generation"] == first["generation"]
        assert client.read("x").headers["X-Goog-Meta-c"] == "3"
        assert client.call("PATCH", f"{path}?ifMetagenerationMatch=2", "{}").status == 412
        assert client.call("PUT", path, '{"metadata": {"z": "0"}}').json["metadata"] == {"z": "0"}

    @pytest.mark.parametrize("name", ["", "a\nb", "..", "x" * 1025])
    def test_bad_names_are_400(self, client, name):
        assert client.put(name).status == 400

    def test_a_pinned_generation_is_never_other_bytes(self, client):
        old = client.put("x", b"old").json["generation"]
        assert client.read("x", f"&generation={old}").body == b"old"
        new = client.put("x", b"new").json["generation"]
        assert client.read("x", f"&generation={old}").status == 404
        assert client.stat("x", f"?generation={old}").status == 404
        assert client.remove("x", f"?generation={old}").status == 404
        assert client.read("x", f"&generation={new}", Range="bytes=1-").body == b"ew"
        assert client.read("x", "&generation=one").status == 400

    def test_rewrite_and_move(self, client):
        source = client.put("x", b"data").json["generation"]
        answer = client.call("POST", f"{OBJECTS}/x/rewriteTo/b/bucket/o/d%2Fy?sourceGeneration={source}").json
        assert (answer["done"], answer["resource"]["name"], answer["objectSize"]) == (True, "d/y", "4")
        again = client.call("POST", f"{OBJECTS}/x/rewriteTo/b/bucket/o/d%2Fy?ifGenerationMatch=0")
        assert (again.status, again.reason) == (412, "conditionNotMet")
        assert client.call("POST", f"{OBJECTS}/x/rewriteTo/b/bucket/o/z?ifSourceGenerationMatch=1").status == 412
        moved = client.call("POST", f"{OBJECTS}/x/moveTo/o/z").json
        assert int(moved["generation"]) > int(source)
        assert (client.stat("x").status, client.read("z").body) == (404, b"data")

    def test_compose(self, client):
        generations = [client.put(name, name.encode() * 3).json["generation"] for name in "abc"]
        sources = [{"name": n, "generation": g} for n, g in zip("abc", generations, strict=True)]
        body = json.dumps({"sourceObjects": sources, "destination": {"contentType": "text/plain"}})
        made = client.call("POST", f"{OBJECTS}/all/compose?ifGenerationMatch=0", body).json
        assert (made["componentCount"], made["contentType"], made["size"]) == (3, "text/plain", "9")
        assert made["crc32c"] == crc_of(b"aaabbbccc")
        assert "md5Hash" not in made
        assert client.read("all").headers["X-Goog-Hash"] == f"crc32c={made['crc32c']}"
        assert client.call("POST", f"{OBJECTS}/all/compose?ifGenerationMatch=0", body).status == 412
        client.put("a")
        assert client.call("POST", f"{OBJECTS}/all/compose", body).status == 404
        stale = {"sourceObjects": [{"name": "a", "objectPreconditions": {"ifGenerationMatch": generations[0]}}]}
        assert client.call("POST", f"{OBJECTS}/all/compose", json.dumps(stale)).status == 412
        many = json.dumps({"sourceObjects": [{"name": "a"}] * 33})
        assert client.call("POST", f"{OBJECTS}/all/compose", many).reason == "invalid"
        assert client.read("all").body == b"aaabbbccc"

    def test_batch_delete(self, server, client):
        for name in ("a", "d/b", "c"):
            client.put(name)
        kept = client.stat("c").json["generation"]
        paths = [f"{OBJECTS}/a", f"{server.url}{OBJECTS}/d%2Fb", f"{OBJECTS}/none", f"{OBJECTS}/c?ifGenerationMatch=1"]
        body = "".join(
            f"--=b=\r\nContent-ID: <{i}>\r\n\r\nDELETE {p} HTTP/1.1\r\n\r\n\r\n" for i, p in enumerate(paths)
        )
        server.requests.clear()
        answer = client.call(
            "POST", "/batch/storage/v1", f"{body}--=b=--", Content_Type='multipart/mixed; boundary="=b="'
        )
        assert re.findall(r"HTTP/1.1 (\d+)", answer.body.decode()) == ["204", "204", "404", "412"]
        assert re.findall(r"Content-ID: <response-(\d)>", answer.body.decode()) == ["0", "1", "2", "3"]
        assert len(server.requests) == 1
        assert [client.stat(name).status for name in ("a", "d/b")] == [404, 404]
        assert client.stat("c").json["generation"] == kept


class TestList:
    NAMES = ("a", "d/", "d/1", "d/2", "d/s/3", "e", "é", "😀")

    @pytest.fixture
    def pages(self, client) -> Callable[..., list[tuple[list[str], list[str]]]]:
        for name in reversed(self.NAMES):
            client.put(name)

        def pages(query: str = "") -> list[tuple[list[str], list[str]]]:
            found, token = [], ""
            while True:
                page = client.call("GET", f"{OBJECTS}?{query}&pageToken={token}").json
                found.append(([item["name"] for item in page.get("items", [])], page.get("prefixes", [])))
                token = page.get("nextPageToken")
                if not token:
                    return found

        return pages

    @pytest.mark.parametrize(
        ("query", "names", "prefixes"),
        [
            ("", list(NAMES), []),
            ("prefix=d/", ["d/", "d/1", "d/2", "d/s/3"], []),
            ("delimiter=/", ["a", "e", "é", "😀"], ["d/"]),
            ("delimiter=/&includeTrailingDelimiter=true", ["a", "d/", "e", "é", "😀"], ["d/"]),
            ("prefix=d/&delimiter=/", ["d/", "d/1", "d/2"], ["d/s/"]),
            ("startOffset=d/2&endOffset=e", ["d/2", "d/s/3"], []),
            ("prefix=none", [], []),
        ],
    )
    def test_in_one_page_and_in_many(self, pages, query, names, prefixes):
        assert pages(query) == [(names, prefixes)]
        small = pages(f"{query}&maxResults=1")
        assert [name for page in small for name in page[0]] == names
        assert [prefix for page in small for prefix in page[1]] == prefixes
        assert all(len({*page[0], *page[1]}) <= 1 for page in small)

    def test_shows_what_was_just_written_and_not_what_was_removed(self, client, pages):
        for i in range(20):
            client.put(f"new/{i:02d}")
            assert pages("prefix=new/")[0][0][-1] == f"new/{i:02d}"
        client.remove("new/19")
        assert pages("prefix=new/")[0][0][-1] == "new/18"

    def test_nonsense_is_400(self, client):
        assert client.call("GET", f"{OBJECTS}?maxResults=x").status == 400
        assert client.call("GET", f"{OBJECTS}?pageToken=x").status == 400


class TestPreconditions:
    """https://cloud.google.com/storage/docs/request-preconditions, on every call that takes them."""

    def test_insert(self, client):
        first = client.put("x", query="&ifGenerationMatch=0").json["generation"]
        refused = client.put("x", b"other", query="&ifGenerationMatch=0")
        assert (refused.status, refused.reason) == (412, "conditionNotMet")
        second = client.put("x", b"second", query=f"&ifGenerationMatch={first}").json["generation"]
        assert int(second) > int(first)
        assert client.put("x", b"third", query=f"&ifGenerationMatch={first}").status == 412
        assert client.put("x", b"third", query=f"&ifGenerationNotMatch={second}").status == 412
        assert client.put("none", query=f"&ifGenerationMatch={first}").status == 412
        assert client.put("x", query="&ifGenerationMatch=latest").status == 400
        assert client.read("x").body == b"second"

    @pytest.mark.parametrize("verb", ["read", "stat"])
    def test_get(self, client, verb):
        generation = client.put("x").json["generation"]
        get, mark = getattr(client, verb), "&" if verb == "read" else "?"
        assert get("x", f"{mark}ifGenerationMatch={generation}").status == 200
        assert get("x", f"{mark}ifGenerationMatch=1").status == 412
        assert get("x", f"{mark}ifGenerationNotMatch=1").status == 200
        not_modified = get("x", f"{mark}ifGenerationNotMatch={generation}")
        assert (not_modified.status, not_modified.body) == (304, b"")
        assert get("x", f"{mark}ifMetagenerationMatch=2").status == 412
        assert get("none", f"{mark}ifGenerationMatch=1").status == 404

    def test_delete(self, client):
        generation = client.put("x").json["generation"]
        assert client.remove("x", "?ifGenerationMatch=1").status == 412
        assert client.remove("x", f"?ifGenerationNotMatch={generation}").status == 412
        assert client.remove("x", f"?ifGenerationMatch={generation}").status == 204

    def test_no_update_is_lost_among_four_writers(self, connect):
        connect().put("counter", b"0")

        def count(client: Client) -> int:
            conflicts, done = 0, 0
            while done < 25:
                seen = client.read("counter")
                value, generation = int(seen.body), seen.headers["X-Goog-Generation"]
                status = client.put("counter", b"%d" % (value + 1), f"&ifGenerationMatch={generation}").status
                assert status in (200, 412)
                done, conflicts = (done + 1, conflicts) if status == 200 else (done, conflicts + 1)
            return conflicts

        clients = [connect() for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(count, clients))
        assert connect().read("counter").body == b"100"

    def test_one_of_many_creators_wins(self, connect):
        clients = [connect() for _ in range(8)]
        barrier = threading.Barrier(8, timeout=TIMEOUT)

        def create(i: int) -> int:
            barrier.wait()
            return clients[i].put("x", b"%d" % i, "&ifGenerationMatch=0").status

        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(create, range(8)))
        assert sorted(statuses) == [200] + [412] * 7
        assert clients[0].read("x").body == b"%d" % statuses.index(200)


class TestChecksums:
    def test_of_a_media_upload(self, client):
        good, bad = f"crc32c={crc_of(b'data')}", f"crc32c={crc_of(b'other')}"
        refused = client.put("x", b"data", X_Goog_Hash=bad)
        assert (refused.status, refused.reason) == (400, "invalid")
        assert client.put("x", b"data", X_Goog_Hash=f"{good},md5=AAAA").status == 400
        assert client.put("x", b"data", Content_MD5="AAAA").status == 400
        assert client.stat("x").status == 404
        assert client.put("x", b"data", X_Goog_Hash=f"{good}, md5=jXd/OF09/siBXSD3SWAm3A==").status == 200

    @pytest.mark.parametrize("claim", ["crc32c", "md5Hash"])
    def test_in_the_metadata_of_a_multipart_upload(self, client, claim):
        refused = multipart(client, {"name": "x", claim: "AAAAAA=="}, b"data")
        assert (refused.status, refused.reason) == (400, "invalid")
        assert client.stat("x").status == 404

    def test_in_the_metadata_of_a_resumable_upload(self, client):
        session = resumable(client, "x", resource={"crc32c": "AAAAAA=="})
        assert client.call("PUT", session, b"data").status == 400
        session = resumable(client, "x", resource={"crc32c": crc_of(b"data")})
        assert client.call("PUT", session, b"data", X_Goog_Hash="crc32c=AAAAAA==").status == 400
        assert client.stat("x").status == 404


def multipart(client: Client, resource: dict[str, Any], data: bytes, query: str = "", eol: bytes = b"\r\n") -> Answer:
    head = [
        b"--=b=",
        b"Content-Type: application/json",
        b"",
        json.dumps(resource).encode(),
        b"--=b=",
        b"Content-Type: a/b",
    ]
    body = eol.join([*head, b"", data, b"--=b=--"])
    return client.call(
        "POST", f"{UPLOAD}?uploadType=multipart{query}", body, Content_Type='multipart/related; boundary="=b="'
    )


class TestMultipartInsert:
    @pytest.mark.parametrize("eol", [b"\r\n", b"\n"])
    @pytest.mark.parametrize("data", [b"", b"data", b"\r\n\r\n--=b\n\n", bytes(range(256)) * 3, b"\n", b"end\r"])
    def test_bytes_survive(self, client, eol, data):
        made = multipart(client, {"name": "x", "metadata": {"k": "v"}}, data, eol=eol).json
        assert (made["metadata"], made["contentType"], made["crc32c"]) == ({"k": "v"}, "a/b", crc_of(data))
        assert client.read("x").body == data

    def test_conditions_and_nonsense(self, client):
        assert multipart(client, {"name": "x"}, b"1", "&ifGenerationMatch=0").status == 200
        assert multipart(client, {"name": "x"}, b"2", "&ifGenerationMatch=0").status == 412
        assert multipart(client, {}, b"2").status == 400
        assert multipart(client, {"name": "x", "metadata": {"k": 1}}, b"2").status == 400
        path, kind = f"{UPLOAD}?uploadType=multipart", "multipart/related; boundary=b"
        for body in (
            b"",
            b"--b\r\n\r\n{}\r\n--b--",
            b"--b\r\n\r\n{}\r\n--b\r\n\r\nno end",
            b"--b\r\n\r\n{\r\n--b\r\n\r\n\r\n--b--",
        ):
            assert client.call("POST", path, body, Content_Type=kind).status == 400
        assert client.call("POST", path, b"x", Content_Type="text/plain").status == 400
        assert client.read("x").body == b"1"


def resumable(client: Client, name: str, query: str = "", resource: dict[str, Any] | None = None) -> str:
    """The path of a new session."""
    answer = client.call("POST", f"{UPLOAD}?uploadType=resumable&name={name}{query}", json.dumps(resource or {}))
    assert answer.status == 200
    return answer.headers["Location"].partition("/upload")[1] + answer.headers["Location"].partition("/upload")[2]


class TestResumable:
    DATA = os.urandom(2 * CHUNK + 1000)

    def test_in_chunks_of_known_and_unknown_total(self, client):
        total = len(self.DATA)
        for end in ("*", str(total)):
            session = resumable(client, "x", resource={"metadata": {"k": "v"}})
            for start in range(0, 2 * CHUNK, CHUNK):
                piece = self.DATA[start : start + CHUNK]
                last = start + CHUNK - 1
                answer = client.call("PUT", session, piece, Content_Range=f"bytes {start}-{last}/{end}")
                assert (answer.status, answer.headers["Range"]) == (308, f"bytes=0-{last}")
            if end == "*":
                assert client.stat("x").status == 404  # nothing shows before the end
            tail = f"bytes {2 * CHUNK}-{total - 1}/{total}"
            made = client.call("POST", session, self.DATA[2 * CHUNK :], Content_Range=tail)
            assert (made.status, made.json["crc32c"], made.json["metadata"]) == (200, crc_of(self.DATA), {"k": "v"})
            assert "md5Hash" in made.json
            assert client.read("x").body == self.DATA

    def test_in_one_piece_and_empty(self, client):
        assert client.call("PUT", resumable(client, "x"), b"data").json["size"] == "4"
        assert client.call("PUT", resumable(client, "y"), b"", Content_Range="bytes */0").json["size"] == "0"

    def test_asking_how_far_it_got_and_repeating_a_chunk(self, client):
        session = resumable(client, "x")
        asked = client.call("PUT", session, b"", Content_Range="bytes */*")
        assert (asked.status, asked.headers["Range"]) == (308, None)
        for _ in range(2):
            sent = client.call("PUT", session, self.DATA[:CHUNK], Content_Range=f"bytes 0-{CHUNK - 1}/*")
            assert sent.headers["Range"] == f"bytes=0-{CHUNK - 1}"
        overlap = client.call("PUT", session, self.DATA, Content_Range=f"bytes 0-{len(self.DATA) - 1}/{len(self.DATA)}")
        assert overlap.status == 200
        for content_range in ("bytes */*", f"bytes 0-{len(self.DATA) - 1}/{len(self.DATA)}"):
            body = b"" if "*" in content_range else self.DATA
            again = client.call("PUT", session, body, Content_Range=content_range)
            assert (again.status, again.json) == (200, overlap.json)  # not another generation
        assert client.read("x").body == self.DATA

    @pytest.mark.parametrize(
        ("content_range", "size", "status"),
        [
            ("bytes 0-99/*", 100, 400),  # not the last, and no multiple of 256 KiB
            ("bytes 0-99/100", 99, 400),
            ("bytes 0-99/50", 100, 400),
            ("bytes */100", 1, 400),
            ("nonsense", 1, 400),
            (f"bytes {CHUNK}-{2 * CHUNK - 1}/*", CHUNK, 503),  # a gap
        ],
    )
    def test_chunks_that_do_not_fit(self, client, content_range, size, status):
        session = resumable(client, "x")
        assert client.call("PUT", session, bytes(size), Content_Range=content_range).status == status
        assert client.call("PUT", session, b"", Content_Range="bytes */*").headers["Range"] is None

    def test_conditions_hold_when_the_object_appears(self, client):
        session = resumable(client, "x", "&ifGenerationMatch=0")
        client.put("x", b"faster")
        assert client.call("PUT", session, b"slower").status == 412
        assert client.read("x").body == b"faster"

    def test_cancel(self, client):
        session = resumable(client, "x")
        assert client.call("DELETE", session).status == 499
        assert client.call("PUT", session, b"data").status == 404
        assert client.call("DELETE", session).status == 404


def initiate(client: Client, name: str = "x", **headers: str) -> str:
    return client.call("POST", f"/bucket/{name}?uploads", **headers).element("UploadId")


def put_part(client: Client, upload: str, number: int, data: bytes, name: str = "x", **headers: str) -> Answer:
    return client.call("PUT", f"/bucket/{name}?partNumber={number}&uploadId={upload}", data, **headers)


def complete(client: Client, upload: str, parts: list[tuple[int, str]], name: str = "x", **headers: str) -> Answer:
    listed = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>" for n, etag in parts)
    body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>"
    return client.call("POST", f"/bucket/{name}?uploadId={upload}", body, **headers)


class TestXmlMultipart:
    """https://cloud.google.com/storage/docs/multipart-uploads."""

    BIG, SMALL = os.urandom(5 * MIB), b"the rest"

    def test_upload(self, client):
        name = "d/ä b"
        path = quote(name)
        upload = initiate(client, path, Content_Type="text/plain", X_Goog_Meta_Attempt="42")
        last = put_part(client, upload, 7, self.SMALL, path)
        first = put_part(client, upload, 1, b"replaced", path)
        first = put_part(client, upload, 1, self.BIG, path, X_Goog_Hash=f"crc32c={crc_of(self.BIG)}")
        assert first.headers["X-Goog-Hash"].startswith(f"crc32c={crc_of(self.BIG)},md5=")
        put_part(client, upload, 3, b"not named at the end", path)
        assert client.stat(name).status == 404
        done = complete(client, upload, [(1, first.headers["ETag"]), (7, last.headers["ETag"].strip('"'))], path)
        assert (done.status, done.element("Key"), done.element("Bucket")) == (200, name, "bucket")
        made = client.stat(name).json
        assert done.headers["X-Goog-Generation"] == made["generation"]
        assert (made["metadata"], made["contentType"]) == ({"attempt": "42"}, "text/plain")
        assert made["crc32c"] == crc_of(self.BIG + self.SMALL)
        assert "md5Hash" not in made
        assert "componentCount" not in made
        assert client.read(name).body == self.BIG + self.SMALL
        again = complete(client, upload, [(1, first.headers["ETag"])], path)
        assert (again.status, again.code) == (404, "NoSuchUpload")

    def test_wrong_checksum_of_a_part(self, client):
        refused = put_part(client, initiate(client), 1, b"data", X_Goog_Hash="crc32c=AAAAAA==")
        assert (refused.status, refused.code) == (400, "BadDigest")

    def test_completions_that_are_refused_leave_the_upload(self, client):
        upload = initiate(client)
        one, two = (put_part(client, upload, n, b"small").headers["ETag"] for n in (1, 2))
        refusals = {
            "MalformedXML": [],
            "InvalidPart": [(1, one), (3, one)],
            "InvalidPartOrder": [(2, two), (1, one)],
            "EntityTooSmall": [(1, one), (2, two)],
        }
        for code, parts in refusals.items():
            refused = complete(client, upload, parts)
            assert (refused.status, refused.code) == (400, code)
        assert complete(client, upload, [(1, '"0123"')]).code == "InvalidPart"
        assert client.call("POST", f"/bucket/x?uploadId={upload}", "<oops").code == "MalformedXML"
        assert complete(client, upload, [(2, two)]).status == 200

    @pytest.mark.parametrize("number", ["0", "10001", "one"])
    def test_bad_part_numbers(self, client, number):
        upload = initiate(client)
        assert client.call("PUT", f"/bucket/x?partNumber={number}&uploadId={upload}", b"x").status == 400

    def test_abort(self, client):
        upload = initiate(client)
        assert client.call("DELETE", f"/bucket/other?uploadId={upload}").status == 404
        assert client.call("DELETE", f"/bucket/x?uploadId={upload}").status == 204
        assert client.call("DELETE", f"/bucket/x?uploadId={upload}").code == "NoSuchUpload"
        assert put_part(client, upload, 1, b"x").code == "NoSuchUpload"
        assert client.call("GET", "/bucket?uploads").elements("UploadId") == []

    def test_list_uploads_in_pages(self, client):
        uploads = {name: [initiate(client, name) for _ in range(2)] for name in ("a", "d/b", "d/c")}
        everything = client.call("GET", "/bucket?uploads")
        assert everything.elements("Key") == ["a", "a", "d/b", "d/b", "d/c", "d/c"]
        assert everything.element("IsTruncated") == "false"
        found, markers = [], ""
        while True:
            page = client.call("GET", f"/bucket?uploads&prefix=d/&max-uploads=1{markers}")
            found += page.elements("UploadId")
            if page.element("IsTruncated") == "false":
                break
            markers = (
                f"&key-marker={page.element('NextKeyMarker')}&upload-id-marker={page.element('NextUploadIdMarker')}"
            )
        assert sorted(found) == sorted(uploads["d/b"] + uploads["d/c"])
        assert client.call("GET", "/bucket?uploads&key-marker=d/b").elements("Key") == ["d/c", "d/c"]

    def test_list_parts_in_pages(self, client):
        upload = initiate(client)
        etags = [put_part(client, upload, n, b"x" * n).headers["ETag"] for n in (1, 2, 5)]
        listed = client.call("GET", f"/bucket/x?uploadId={upload}")
        assert listed.elements("PartNumber") == ["1", "2", "5"]
        assert listed.elements("ETag") == etags
        assert listed.elements("Size") == ["1", "2", "5"]
        page = client.call("GET", f"/bucket/x?uploadId={upload}&max-parts=1&part-number-marker=1")
        assert (page.elements("PartNumber"), page.element("IsTruncated")) == (["2"], "true")

    def test_conditions_at_initiation(self, kind_client):
        kind_client.put("x", b"there")
        refused = kind_client.call("POST", "/bucket/x?uploads", X_Goog_If_Generation_Match="0")
        assert (refused.status, refused.code) == (412, "PreconditionFailed")
        upload = initiate(kind_client, "y", X_Goog_If_Generation_Match="0")
        etag = put_part(kind_client, upload, 1, b"slower", "y").headers["ETag"]
        kind_client.put("y", b"faster")
        assert complete(kind_client, upload, [(1, etag)], "y").status == 412
        assert kind_client.read("y").body == b"faster"

    def test_conditions_at_completion(self, kind_client):
        upload = initiate(kind_client)
        etag = put_part(kind_client, upload, 1, b"new").headers["ETag"]
        generation = kind_client.put("x", b"old").json["generation"]
        assert complete(kind_client, upload, [(1, etag)], X_Goog_If_Generation_Match="0").code == "PreconditionFailed"
        assert complete(kind_client, upload, [(1, etag)], X_Goog_If_Generation_Match=generation).status == 200
        assert kind_client.read("x").body == b"new"

    def test_conditions_are_refused_as_google_documents_it(self):
        with GcsServer(min_part_size=1) as server:
            client = Client(server)
            client.call("POST", "/storage/v1/b", '{"name": "bucket"}')
            refused = client.call("POST", "/bucket/x?uploads", X_Goog_If_Generation_Match="0")
            assert (refused.status, refused.code) == (400, "NotImplemented")
            upload = initiate(client)
            parts = [(n, put_part(client, upload, n, b"x").headers["ETag"]) for n in (1, 2)]
            refused = complete(client, upload, parts, X_Goog_If_Generation_Match="0")
            assert (refused.status, refused.code) == (400, "NotImplemented")
            assert complete(client, upload, parts).status == 200
            client.close()


class TestGcsfs:
    """Through the client that ckptstore uses."""

    @pytest.fixture
    def fs(self, server: GcsServer) -> Iterator[Any]:
        core = pytest.importorskip("gcsfs.core")
        asyn = pytest.importorskip("fsspec.asyn")
        made = core.GCSFileSystem(
            endpoint_url=server.url,
            token="anon",
            project="p",
            skip_instance_cache=True,
            use_listings_cache=False,
            requests_timeout=TIMEOUT,
        )
        made.call("POST", "b", project="p", json={"name": "bucket"})
        server.requests.clear()
        yield made
        asyn.sync(made.loop, made.session.close)

    def test_small_objects(self, server, fs):
        fs.pipe_file("bucket/d/x", b"data")
        assert [call.query["uploadType"] for call in server.requests] == ["multipart"]
        assert fs.cat_file("bucket/d/x") == b"data"
        assert fs.cat_file("bucket/d/x", start=1, end=3) == b"at"
        info = fs.info("bucket/d/x")
        assert (info["size"], info["crc32c"]) == (4, crc_of(b"data"))
        fs.pipe_file("bucket/empty", b"")
        assert fs.cat_file("bucket/empty") == b""
        assert fs.find("bucket") == ["bucket/d/x", "bucket/empty"]
        assert fs.ls("bucket", detail=False) == ["bucket/d", "bucket/empty"]
        fs.rm_file("bucket/d/x")
        assert not fs.exists("bucket/d/x")
        with pytest.raises(FileNotFoundError):
            fs.cat_file("bucket/d/x")
        with pytest.raises(FileNotFoundError):
            fs.find("none/x", detail=True) or fs.info("none/x")

    @pytest.mark.parametrize("size", [0, 100, 3 * CHUNK + 17])
    def test_written_in_chunks(self, server, fs, size):
        data = os.urandom(size)
        with fs.open("bucket/x", "wb", block_size=CHUNK) as f:
            for start in range(0, size, 100_000):
                f.write(data[start : start + 100_000])
        assert fs.cat_file("bucket/x") == data
        with fs.open("bucket/x", "rb", block_size=CHUNK) as f:
            assert f.read() == data

    def test_discarded(self, server, fs):
        f = fs.open("bucket/x", "wb", block_size=CHUNK, autocommit=False)
        f.write(bytes(2 * CHUNK))
        f.flush()
        f.discard()
        assert [call.method for call in server.requests][-1] == "DELETE"
        assert not fs.exists("bucket/x")

    def test_piped_in_chunks_with_checks(self, fs):
        data = os.urandom(2 * MIB + 5)
        fs.pipe_file("bucket/x", data, chunksize=MIB, consistency="md5")
        assert fs.cat_file("bucket/x") == data

    def test_create_only(self, fs):
        fs.pipe_file("bucket/x", b"first", mode="create")
        with pytest.raises(FileExistsError):
            fs.pipe_file("bucket/x", b"second", mode="create")
        assert fs.cat_file("bucket/x") == b"first"

    def test_pinned_generation(self, fs):
        fs.pipe_file("bucket/x", b"old")
        url = fs.url("bucket/x", generation=fs.info("bucket/x")["generation"])
        headers, body = fs.call("GET", url)
        assert (body, headers["X-Goog-Generation"]) == (b"old", fs.info("bucket/x")["generation"])
        fs.pipe_file("bucket/x", b"new")
        with pytest.raises(FileNotFoundError):
            fs.call("GET", url)

    def test_copy_move_and_merge(self, fs):
        fs.pipe_file("bucket/x", b"data")
        fs.cp_file("bucket/x", "bucket/y")
        fs.mv_file("bucket/x", "bucket/d/z")
        fs.merge("bucket/all", ["bucket/y", "bucket/d/z"])
        assert fs.find("bucket") == ["bucket/all", "bucket/d/z", "bucket/y"]
        assert fs.cat_file("bucket/all") == b"datadata"
        assert "md5Hash" not in fs.info("bucket/all")

    def test_attributes(self, fs):
        fs.pipe_file("bucket/x", b"data", metadata={"attempt": "1"})
        fs.setxattrs("bucket/x", other="2")
        assert fs.getxattr("bucket/x", "attempt") == "1"
        assert fs.info("bucket/x")["metadata"] == {"attempt": "1", "other": "2"}

    def test_batch_delete(self, server, fs):
        asyn = pytest.importorskip("fsspec.asyn")
        names = [f"bucket/d/{i} ü" for i in range(30)]
        for name in names:
            fs.pipe_file(name, b"x")
        server.requests.clear()
        out = asyn.sync(fs.loop, fs._rm_files, [*names, "bucket/none"])
        assert out[:-1] == names
        assert isinstance(out[-1], OSError)
        assert "No such object: bucket/none" in str(out[-1])
        assert [call.path for call in server.requests] == ["/batch/storage/v1"]
        assert fs.find("bucket") == []

    def test_a_failure_is_seen_and_retried(self, server, fs):
        server.fail_next(lambda r: r.query.get("alt") == "media", status=400)
        fs.pipe_file("bucket/x", b"data")
        from gcsfs.retry import HttpError

        with pytest.raises(HttpError):
            fs.cat_file("bucket/x")
        server.requests.clear()
        server.fail_next(lambda r: r.query.get("alt") == "media", after=True)
        assert fs.cat_file("bucket/x") == b"data"  # aiohttp repeats a GET by itself, at once
        assert len(server.requests) == 2
