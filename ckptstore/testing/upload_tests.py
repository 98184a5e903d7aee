"""What the upload verbs must do, on every store that has them."""

# ruff: noqa: D102 - the names of the tests are sentences

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

from ckptstore.errors import AlreadyExistsError, NotFoundError, StorageError, UnsupportedError
from ckptstore.storage import Payload, Store, Upload, UploadPart
from ckptstore.testing.store_suite import StoreSuite, keys_of

if TYPE_CHECKING:
    from collections.abc import Callable


class UploadTests(StoreSuite):
    """The part of `StoreTests` about multipart uploads."""

    def test_upload(self, store: Store) -> None:
        pieces = self._pieces(store)
        upload, parts = self._send(store, "d/up", pieces, order=[1, 2, 3])
        meta = store.complete_upload(upload, parts)
        assert self.raw_get("d/up") == b"".join(pieces)
        assert (meta.key, meta.size) == ("d/up", sum(map(len, pieces)))
        assert store.head("d/up").version == meta.version

    def test_upload_tells_its_parts(self, store: Store) -> None:
        pieces = self._pieces(store)
        upload, parts = self._send(store, "up", pieces, order=[1, 2, 3])
        assert [(part.number, part.size) for part in parts] == [(n + 1, len(p)) for n, p in enumerate(pieces)]
        assert upload.key == "up"
        assert len(upload.tag) == 32
        store.abort_upload(upload)

    def test_upload_parts_in_any_order(self, store: Store) -> None:
        pieces = self._pieces(store)
        upload, parts = self._send(store, "up", pieces, order=[3, 1, 2])
        store.complete_upload(upload, parts)
        assert self.raw_get("up") == b"".join(pieces)

    def test_upload_part_sent_again(self, store: Store) -> None:
        pieces = self._pieces(store)
        upload, parts = self._send(store, "up", pieces, order=[1, 2, 3])
        parts[1] = store.put_part(upload, 2, Payload.of(pieces[1]))
        store.complete_upload(upload, parts)
        assert self.raw_get("up") == b"".join(pieces)

    def test_upload_is_invisible_until_complete(self, store: Store) -> None:
        upload, parts = self._send(store, "up", self._pieces(store), order=[1, 2, 3])
        assert list(store.list()) == []
        with pytest.raises(NotFoundError):
            store.head("up")
        store.complete_upload(upload, parts)
        assert keys_of(store) == ["up"]

    def test_upload_replaces_when_complete(self, store: Store) -> None:
        self.raw_put("up", b"old")
        pieces = self._pieces(store)
        upload, parts = self._send(store, "up", pieces, order=[1, 2, 3])
        assert self.raw_get("up") == b"old"
        store.complete_upload(upload, parts)
        assert self.raw_get("up") == b"".join(pieces)

    def test_upload_completed_twice(self, store: Store) -> None:
        upload, parts = self._send(store, "up", self._pieces(store), order=[1, 2, 3])
        first = store.complete_upload(upload, parts)
        again = store.complete_upload(upload, parts)
        assert (again.key, again.size, again.version) == (first.key, first.size, first.version)

    def test_upload_completed_after_somebody_else_put(self, store: Store) -> None:
        upload, parts = self._send(store, "up", self._pieces(store), order=[1, 2, 3])
        store.complete_upload(upload, parts)
        store.put("up", Payload.of(b"somebody else's"))
        with pytest.raises(StorageError):
            store.complete_upload(upload, parts)
        assert self.raw_get("up") == b"somebody else's"

    def test_upload_aborted_leaves_nothing(self, store: Store) -> None:
        upload, parts = self._send(store, "up", self._pieces(store), order=[1, 2, 3])
        store.abort_upload(upload)
        store.abort_upload(upload)
        assert self.raw_keys() == set()
        with pytest.raises(StorageError):
            store.complete_upload(upload, parts)
        assert self.raw_keys() == set()

    def test_upload_aborted_after_completion_stays(self, store: Store) -> None:
        pieces = self._pieces(store)
        upload, parts = self._send(store, "up", pieces, order=[1, 2, 3])
        store.complete_upload(upload, parts)
        store.abort_upload(upload)
        assert self.raw_get("up") == b"".join(pieces)

    def test_uploads_of_one_key_are_apart(self, store: Store) -> None:
        ours, theirs = self._pieces(store), [piece.upper() for piece in self._pieces(store)]
        first, first_parts = self._send(store, "up", ours, order=[1, 2, 3])
        second, _ = self._send(store, "up", theirs, order=[1, 2, 3])
        store.abort_upload(second)
        store.complete_upload(first, first_parts)
        assert self.raw_get("up") == b"".join(ours)

    def test_uploads_are_refused_where_there_are_none(self, store: Store) -> None:
        self._need(not store.capabilities.multipart)
        upload = Upload("up", "id", "0" * 32)
        calls: list[Callable[[], object]] = [
            partial(store.create_upload, "up"),
            partial(store.put_part, upload, 1, Payload.of(b"x")),
            partial(store.complete_upload, upload, []),
            partial(store.abort_upload, upload),
        ]
        for call in calls:
            with pytest.raises(UnsupportedError):
                call()

    # ---- create-only ----

    def test_upload_creates_what_is_new(self, store: Store) -> None:
        pieces = self._create_only_pieces(store)
        upload, parts = self._send(store, "d/up", pieces, order=[1, 2, 3], tag="t1", create_only=True)
        assert (upload.tag, upload.create_only) == ("t1", True)
        meta = store.complete_upload(upload, parts)
        again = store.complete_upload(upload, parts)
        assert (again.key, again.size, again.version) == (meta.key, meta.size, meta.version)
        assert self.raw_get("d/up") == b"".join(pieces)
        assert self.raw_keys() == {"d/up"}

    def test_upload_does_not_create_what_is_there(self, store: Store) -> None:
        self.raw_put("up", b"old")
        self._cannot_complete(store, lambda: None, b"old")

    def test_upload_does_not_create_what_came_meanwhile(self, store: Store) -> None:
        self._cannot_complete(store, lambda: self.raw_put("up", b"theirs"), b"theirs")

    def test_uploads_of_one_key_create_it_once(self, store: Store) -> None:
        pieces = self._create_only_pieces(store)
        first, first_parts = self._send(store, "up", pieces, order=[1, 2, 3], tag="t1", create_only=True)
        second, second_parts = self._send(store, "up", pieces[1:], order=[1, 2], tag="t2", create_only=True)
        meta = store.complete_upload(first, first_parts)
        with pytest.raises(AlreadyExistsError):
            store.complete_upload(second, second_parts)
        store.abort_upload(second)
        assert store.head("up").version == meta.version
        assert self.raw_get("up") == b"".join(pieces)

    def test_an_uploads_tag_is_the_objects(self, store: Store) -> None:
        pieces = self._pieces(store)
        self._need(store.capabilities.tags)
        upload, parts = self._send(store, "up", pieces, order=[1, 2, 3], tag="t1")
        store.complete_upload(upload, parts)
        assert (store.head("up").tag, store.get("up")[1].tag) == ("t1", "t1")

    # ---- helpers ----

    def _cannot_complete(self, store: Store, meanwhile: Callable[[], None], expected: bytes) -> None:
        pieces = self._create_only_pieces(store)
        upload, parts = self._send(store, "up", pieces, order=[1, 2, 3], tag="t1", create_only=True)
        meanwhile()
        for _ in range(2):
            with pytest.raises(AlreadyExistsError) as caught:
                store.complete_upload(upload, parts)
            assert caught.value.path == store.path("up")
        store.abort_upload(upload)
        assert self.raw_get("up") == expected
        assert self.raw_keys() == {"up"}

    def _create_only_pieces(self, store: Store) -> list[bytes]:
        self._need(store.capabilities.create_only)
        return self._pieces(store)

    def _pieces(self, store: Store) -> list[bytes]:
        """The bytes of three parts: two of the least size, and a short last one."""
        self._need(store.capabilities.multipart)
        size = max(store.capabilities.min_part_size, 1000)
        return [b"a" * size, b"b" * size, b"the end"]

    def _send(
        self,
        store: Store,
        key: str,
        pieces: list[bytes],
        order: list[int],
        *,
        tag: str | None = None,
        create_only: bool = False,
    ) -> tuple[Upload, list[UploadPart]]:
        upload = store.create_upload(key, tag=tag, create_only=create_only)
        parts = {number: store.put_part(upload, number, Payload.of(pieces[number - 1])) for number in order}
        return upload, [parts[number] for number in sorted(parts)]
