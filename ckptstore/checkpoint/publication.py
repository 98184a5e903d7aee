"""A checkpoint on its way to a place where none is: all of its files or, after a failure, none."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

from ckptstore.checkpoint.files import delete_files, files_of, v1_files_of
from ckptstore.errors import (
    AlreadyExistsError,
    CheckpointError,
    CheckpointExistsError,
    InvalidArgumentError,
    NotFoundError,
    UnsupportedError,
)
from ckptstore.format.naming import META_SUFFIX, STATE_FILE, index_name, meta_name, parse_name
from ckptstore.storage import ObjectMeta, Payload, Store

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self


class Publication:
    """Puts the files of one checkpoint; used in a `with` block, which takes back what was put if it fails.

    The caller puts the file last by which readers know the checkpoint: its index. Should the
    process die before, what is there is no checkpoint.

    Args:
        store: Where to.
        key: The checkpoint's name there: a prefix, or a V1 file or pattern.
        replace: Called at the beginning of the block, before what is there is deleted: it raises if that must not be.
            None: nothing is replaced.
    """

    def __init__(self, store: Store, key: str, *, replace: Callable[[], None] | None = None) -> None:
        file = parse_name(key)
        if key == STATE_FILE or file is not None:
            hint = "of a state file" if file is None else f"of one file; leave {key[len(file.prefix) :]!r} out"
            raise InvalidArgumentError(f"{store.path(key)} cannot be a checkpoint: the name is that {hint}.", path=key)
        self.store = store
        self.key = key
        self.written: list[ObjectMeta] = []
        self._replace = replace
        self._pending: tuple[str, str] | None = None

    def present(self) -> list[ObjectMeta]:
        """Every file that is there and would be one of the checkpoint's, in either format."""
        base = meta_name(self.key).removesuffix(f".{META_SUFFIX}")
        listing = list(self.store.list(base))
        found = {meta.key: meta for meta in (*files_of(self.key, listing), *v1_files_of(self.key, listing))}
        return list(found.values())

    def claim(self) -> None:
        """Sees to it that nothing is there yet.

        Raises:
            CheckpointExistsError: There is.
        """
        there = [meta.key for meta in self.present()]
        if there:
            path = self.store.path(self.key)
            what = "There is a checkpoint" if index_name(self.key) in there else f"There are files ({there[0]}) of"
            raise CheckpointExistsError(
                f"{what} {path} already; choose another name, or replace it with overwrite=True (--overwrite).",
                path=path,
            )

    def put(self, key: str, payload: Payload) -> None:
        """Puts a file that is not there yet.

        Raises:
            CheckpointExistsError: It is: somebody else has begun to write it.
            StorageError: The store refused.
        """
        tag = secrets.token_hex(16)
        self._pending = (key, tag)
        try:
            try:
                self.written.append(self.store.create(key, payload, tag=tag))
            except UnsupportedError:  # no hard links, as on a memory stick; nothing was there when we began
                self.written.append(self.store.put(key, payload))
        except AlreadyExistsError as error:
            self._pending = None
            raise CheckpointExistsError(
                f"{self.store.path(key)} was written by somebody else meanwhile; choose another name.",
                path=self.store.path(key),
            ) from error
        self._pending = None

    def __enter__(self) -> Self:
        if self._replace is not None and (there := self.present()):
            self._replace()
            delete_files(self.store, there, conditional=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            # What cannot be deleted stays, and without an index it is no checkpoint. The first error tells more.
            with contextlib.suppress(CheckpointError):
                self._take_back()

    def _take_back(self) -> None:
        if self._pending is not None:
            key, tag = self._pending
            with contextlib.suppress(NotFoundError):
                there = self.store.head(key)  # its reply alone may have been lost
                # A store without tags is one for a single writer, and nothing was there when we began.
                if there.tag == tag or not self.store.capabilities.tags:
                    self.written.append(there)
        delete_files(self.store, self.written, conditional=self.store.capabilities.conditional_delete)
