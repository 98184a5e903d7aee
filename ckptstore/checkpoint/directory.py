"""A directory of checkpoints: the state file, and the files of each checkpoint.

The state file alone says which checkpoints count. A checkpoint is written data first, then `.meta`, then `.index`,
then the state; it is removed from the state first, then `.index`, then the rest. So whatever the state names is whole.
"""

from __future__ import annotations

import contextlib
import posixpath
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from errno import EFBIG, EISDIR

from ckptstore.bundle import BundleWriter
from ckptstore.errors import NotFoundError, StateCorruptError, StateMissingError, StorageError, UnsafePathError
from ckptstore.format.naming import (
    META_SUFFIX,
    STATE_FILE,
    CheckpointFile,
    expand_v1_pattern,
    index_name,
    meta_name,
    parse_name,
    parse_step,
)
from ckptstore.format.state import MAX_STATE_BYTES, CheckpointState
from ckptstore.storage import ObjectMeta, Payload, Store, check_key

PRIVATE_DIR = ".ckptstore"
"""Where ckptstore keeps what is its own; TensorFlow ignores it."""

_FIRST_SAVES = f"{PRIVATE_DIR}/first-save/"
_KEPT = f"{PRIVATE_DIR}/keep/"
_OWN = re.compile(r"(?s)(r-[0-9a-f]{16}/)?[^/]+")
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")


def isolated(prefix: str) -> str:
    """A name for a checkpoint whose own name is taken: the same one in a directory of its own."""
    return f"r-{secrets.token_hex(8)}/{prefix}"


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """The files of one prefix, as a listing shows them.

    Attributes:
        prefix: Its name in the directory.
        files: What is there, by name.
        complete: Whether its index and every shard that the names speak of are there.
    """

    prefix: str
    files: tuple[ObjectMeta, ...]
    complete: bool

    @property
    def indexed(self) -> bool:
        """Whether its index is there."""
        return any(file.key == index_name(self.prefix) for file in self.files)

    @property
    def nbytes(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)

    @property
    def modified(self) -> float | None:
        """When its index was written, by the store's clock, or None."""
        return next((f.modified for f in self.files if f.key == index_name(self.prefix)), None)


class CheckpointDirectory:
    """State file and checkpoints of one directory.

    Args:
        store: The directory.
        state_file: The name of the state file.
    """

    def __init__(self, store: Store, state_file: str = STATE_FILE) -> None:
        self.store = store
        self._state_key = check_key(state_file)

    @property
    def url(self) -> str:
        """Where it is, for messages."""
        return self.store.url

    @property
    def state_path(self) -> str:
        """The state file, in full."""
        return self.store.path(self._state_key)

    def read_state(self) -> CheckpointState | None:
        """What the state file says, its paths as they stand there; None if there is none.

        Raises:
            StateCorruptError: It is there and cannot be read as one.
        """
        try:
            try:
                data, _ = self.store.get(self._state_key, limit=MAX_STATE_BYTES)
            except NotFoundError:
                return None
            except StorageError as error:
                if error.errno != EFBIG:
                    raise
                raise StateCorruptError(f"it has more than {MAX_STATE_BYTES} bytes") from error
            return CheckpointState.from_bytes(data)
        except StateCorruptError as error:
            raise StateCorruptError(
                f"The state file {self.state_path} cannot be read: {error.message}. Which "
                "checkpoints count is therefore not known, and nothing was changed. If you know, write it anew with "
                "ckptstore.update_checkpoint_state(directory, latest, [all, oldest first]).",
                path=self.state_path,
            ) from error

    def load_state(self) -> CheckpointState | None:
        """As `read_state`, but a directory that has checkpoints and no state file is an error: a job that took it for
        empty would start from scratch.

        Raises:
            StateMissingError: There are checkpoints with steps, and no state file.
            StateCorruptError: The state file cannot be read.
        """
        state = self.read_state()
        if state is not None:
            return state
        # The index is written last, so one without its data is damage, and no save that died.
        found = [c.prefix for c in self.stored() if c.indexed and parse_step(c.prefix) is not None]
        if found and not set(found) <= {meta.key[len(_FIRST_SAVES) :] for meta in self.store.list(_FIRST_SAVES)}:
            raise StateMissingError(
                f"{self.url} holds the checkpoints {', '.join(found[-5:])} and no state file {self._state_key!r}, so "
                "which of them count is not known, and nothing was changed. If you know, write it with "
                "ckptstore.update_checkpoint_state(directory, latest, [all, oldest first]).",
                path=self.state_path,
            )
        return None

    def write_state(self, state: CheckpointState) -> None:
        """Replaces the state file, atomically.

        Raises:
            UnsafePathError: A path in it leaves the directory, or is the state file itself.
        """
        self.store.put(self._state_key, Payload.of(self._checked(state)))

    def _checked(self, state: CheckpointState) -> bytes:
        """The bytes of a state that names nothing but checkpoints of this directory."""
        for path in (state.model_checkpoint_path, *state.all_model_checkpoint_paths):
            self.resolve(path)
        return state.to_bytes()

    def resolve(self, path: str) -> str:
        """The key in this directory of a path in its state file.

        TensorFlow may write absolute paths; the directory may have been moved or copied since. So an absolute path
        (or URL) that does not lead below this directory is taken for its last part, here. Nothing outside of the
        directory is ever opened.

        Raises:
            UnsafePathError: It leads out of the directory by "..", or is no plain name.
        """
        if _URL.match(path) or path.startswith("/"):
            below = self.url.rstrip("/") + "/"
            path = path[len(below) :] if path.startswith(below) else posixpath.basename(path)
        while path.startswith("./"):
            path = path[2:]
        try:
            key = check_key(path)
            if key == self._state_key or key.startswith(f"{PRIVATE_DIR}/"):
                raise UnsafePathError(f"{key!r} is no checkpoint's name", path=key)
            return key
        except UnsafePathError as error:
            raise UnsafePathError(
                f"The state file {self.state_path} names {path!r}, which is no checkpoint in its directory; "
                "nothing was opened or changed.",
                path=self.state_path,
            ) from error

    def listed(self, state: CheckpointState) -> list[str]:
        """The checkpoints that a state file lists, as keys, oldest first, the latest last."""
        keys = list(dict.fromkeys(self.resolve(path) for path in state.all_model_checkpoint_paths))
        latest = self.resolve(state.model_checkpoint_path)
        return keys if latest in keys else [*keys, latest]

    def latest(self) -> str | None:
        """The key of the latest checkpoint, or None in a directory without any.

        Raises:
            StateMissingError, StateCorruptError, UnsafePathError: See `load_state` and `resolve`.
        """
        state = self.load_state()
        return None if state is None else self.resolve(state.model_checkpoint_path)

    def stored(self, prefix: str = "") -> list[StoredCheckpoint]:
        """Every V2 checkpoint whose files are there, listed in the state or not, by name.

        Directories below this one are other runs', but for those of `isolated`.

        Args:
            prefix: Only names that begin with this.
        """
        groups: dict[str, list[tuple[ObjectMeta, CheckpointFile]]] = {}
        for meta in self.store.list(prefix):
            file = parse_name(meta.key)
            if file is not None and _OWN.fullmatch(file.prefix):
                groups.setdefault(file.prefix, []).append((meta, file))
        return [
            _assess(name, files) for name, files in sorted(groups.items()) if any(f.kind != "meta" for _, f in files)
        ]

    def has_bundle(self, key: str) -> bool:
        """Whether there is a V2 checkpoint of that name, which is to say its index."""
        try:
            self.store.head(index_name(key))
        except NotFoundError:
            return False
        return True

    def exists(self, key: str) -> bool:
        """Whether there is a checkpoint of that name: its index, or its V1 files. The name is literal."""
        return self.has_bundle(key) or self.has_v1(key)

    def has_v1(self, key: str) -> bool:
        """Whether there are V1 files of that name, whatever is in them."""
        try:
            for name in expand_v1_pattern(key) or [key]:
                self.store.head(name)
        except NotFoundError:
            return False
        except StorageError as error:
            if error.errno != EISDIR:
                raise
            return False
        return True

    def preserved(self) -> list[str]:
        """The checkpoints that a manager keeps for ever without listing them, by name."""
        return [meta.key[len(_KEPT) :] for meta in self.store.list(_KEPT)]

    def write(
        self,
        prefix: str,
        writer: BundleWriter,
        meta: bytes | None,
        state: CheckpointState,
        *,
        first: bool,
        preserve: Iterable[str] = (),
    ) -> None:
        """Writes a checkpoint and makes it count.

        Args:
            prefix: Its name; no files of that name are listed in the current state.
            writer: Its tensors, for this store and prefix.
            meta: The bytes of its `.meta` file, or None for none.
            state: The state from now on.
            first: Whether there was no state file before.
            preserve: Checkpoints that the state no longer lists, and that are kept for ever.

        Raises:
            UnsafePathError: The state names what is no checkpoint of this directory; nothing was written.
        """
        self._checked(state)
        # The first checkpoint of a directory is complete before there is a state file. Should the process die just
        # then, this note tells that directory from one whose state file was lost.
        if first:
            self.store.put(_FIRST_SAVES + prefix, Payload.of(b""))
        try:
            writer.write_data()
            if meta is not None:
                self.store.put(meta_name(prefix), Payload.of(meta))
        except Exception:
            # Without an index these files count for nothing. On a full disk they would be the next save's trouble.
            with contextlib.suppress(StorageError):
                self.remove([prefix])
            raise
        writer.write_index()
        for kept in preserve:  # a mark, before they leave the list: TensorFlow simply forgets them
            self.store.put(_KEPT + kept, Payload.of(b""))
        self.write_state(state)

    def clear_first_saves(self) -> None:
        """Deletes the notes of first saves, once a state file is there."""
        self.store.delete([note.key for note in self.store.list(_FIRST_SAVES)])

    def unmark(self, prefixes: Iterable[str]) -> None:
        """Takes back that checkpoints are kept for ever."""
        self.store.delete([_KEPT + prefix for prefix in prefixes])

    def remove(self, prefixes: Iterable[str], meta_suffix: str = META_SUFFIX) -> None:
        """Deletes the files of checkpoints, the index first; nothing but files of exactly these names."""
        for prefix in prefixes:
            names = [
                meta.key
                for meta in self.store.list(prefix + ".")
                if (file := parse_name(meta.key, meta_suffix)) is not None and file.prefix == prefix
            ]
            index = index_name(prefix)
            if index in names:
                self.store.delete([index])
            self.store.delete(name for name in names if name != index)


def _assess(prefix: str, files: list[tuple[ObjectMeta, CheckpointFile]]) -> StoredCheckpoint:
    kinds = {file.kind for _, file in files}
    sets: dict[int, set[int]] = {}
    for _, file in files:
        if file.kind == "data":
            sets.setdefault(file.shards, set()).add(file.shard)
    whole = any(len(shards) == count for count, shards in sets.items())
    return StoredCheckpoint(prefix, tuple(meta for meta, _ in files), "index" in kinds and whole)
