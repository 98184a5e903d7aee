"""A directory that a Saver saves into."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from dataclasses import replace

from ckptstore._clock import Clock
from ckptstore._proto.saver_pb2 import SaverDef
from ckptstore.bundle import BundleWriter, TensorSink, V1BundleWriter
from ckptstore.checkpoint import CheckpointDirectory
from ckptstore.checkpoint.files import delete_files, files_of, v1_files_of
from ckptstore.checkpoint.retention import Sweep
from ckptstore.checkpoint.writer import CheckpointWriter
from ckptstore.errors import CheckpointError, CheckpointExistsError, NotFoundError
from ckptstore.format.ledger import Entry, Ledger
from ckptstore.format.naming import meta_name, plain, stem
from ckptstore.storage import Payload, Store, from_url, join_path, split_path
from ckptstore.train.checkpoint_management import Options
from ckptstore.train.saveables import Saveable
from ckptstore.train.saver_rule import SaverRule, Turn


class _Tenure:
    """A session of a directory, which lasts for as long as somebody holds on to it."""

    def __init__(self, store: Store, state: str) -> None:
        self.store = store
        self.directory = CheckpointDirectory(store, state, unlisted_allowed=True)
        self.writer = CheckpointWriter(self.directory)
        self.loose: set[str] = set()  # what was written here and is listed nowhere
        self.lock = threading.Lock()
        weakref.finalize(self, store.close)


_tenures: weakref.WeakValueDictionary[tuple[str, str, str], _Tenure] = weakref.WeakValueDictionary()
_registry = threading.Lock()


def _tenure(parent: str, state: str, options: Options) -> _Tenure:
    """That of this process in a directory."""
    store = from_url(parent, options)
    key = (store.url, state, repr(sorted((options or {}).items(), key=str)))
    with _registry:
        found = _tenures.get(key)
        if found is None:
            found = _tenures[key] = _Tenure(store, state)
        else:
            store.close()
        return found


class SaverDirectory:
    """Writes checkpoints into one directory, and makes them count.

    All Savers of a process that save into a directory share one session of it, so that they do not fence each other.

    What a Saver has in its own list is its to unlist and delete. What others have listed, or it itself before a
    restart, stays listed. (TensorFlow drops those from the state file, and never deletes them.)

    Args:
        parent: The directory, as the user gave it.
        state: The name of the state file.
        options: For fsspec.
        clock: Where the time comes from.
    """

    def __init__(self, parent: str, state: str, options: Options, *, clock: Clock) -> None:
        self._parent = parent
        self._clock = clock
        self._tenure = _tenure(parent, state, options)
        self._store = self._tenure.store
        self._saved: set[str] = set()

    def save(
        self,
        path: str,
        saveables: Sequence[Saveable],
        *,
        meta: bytes | None,
        meta_suffix: str,
        sharded: bool,
        version: int,
        rule: SaverRule,
    ) -> tuple[str, str | None]:
        """Saves a checkpoint, lists it, and deletes what the rule no longer keeps of this directory.

        Args:
            path: Its path, as the user gave it, with the step.
            saveables: What is in it.
            meta: The bytes of its MetaGraph. None: none, but where it replaces one that has a MetaGraph, that stays.
            meta_suffix: The ending of the MetaGraph's file.
            sharded: One file per device.
            version: SaverDef.V1 or V2.
            rule: What is kept.

        Returns:
            Its path, and that of one in another directory that the rule no longer keeps, or None.
        """
        key = split_path(path)[1]
        sink = collected(self._store, saveables, sharded=sharded, version=version)
        wanted = sink.name(key)
        now = self._clock.time()
        turn: Turn | None = None

        def plan(ledger: Ledger, new: Entry) -> Sweep:
            nonlocal turn
            names = {entry.prefix for entry in ledger.listed if entry.pinned}
            pinned = {path for path, _ in rule.last if self.key(path) in names}
            turn = rule.turn(self._full(path, key, wanted), now, pinned)
            return self._swept(ledger, new, wanted, turn, rule)

        with self._tenure.lock:
            if meta is None:
                meta = self._old_meta(wanted, meta_suffix)
            if wanted in self._tenure.loose:  # its own files, that count nowhere
                self._delete_files(wanted, meta_suffix)
            name, _ = self._tenure.writer.save(key, sink, meta, now, plan, meta_suffix=meta_suffix, settle=True)
        if turn is None:
            raise AssertionError("committed without a plan")
        saved = self._full(path, key, name)
        rule.take(turn, saved)
        self._saved.add(name)
        self._tenure.loose.discard(wanted)
        removed = turn.removed
        return saved, None if removed is None or self.key(removed) is not None else removed

    def _swept(self, ledger: Ledger, new: Entry, wanted: str, turn: Turn, rule: SaverRule) -> Sweep:
        listed = [entry for entry in ledger.listed if entry.prefix != new.prefix]
        # A save of the same name replaces the one before it.
        gone = [entry for entry in ledger.live if plain(entry.prefix) == wanted and entry.prefix != new.prefix]
        gone += [entry for entry in listed if entry.prefix == self.key(turn.removed) and entry not in gone]
        leaving = {self.key(turn.preserved)}
        if not rule.max_to_keep:  # TensorFlow then lists the newest alone, and deletes nothing
            leaving |= self._saved
        preserved = [entry for entry in listed if entry.prefix in leaving and entry not in gone]
        stay = [entry for entry in listed if entry not in gone and entry not in preserved]
        # TensorFlow's Saver notes no times.
        return Sweep((*stay, replace(new, time=None)), tuple(preserved), tuple(gone), 0.0)

    def remove(self, path: str) -> None:
        """Unlists and deletes a checkpoint that is not the latest one of the directory."""
        key = self.key(path)

        def plan(ledger: Ledger) -> Sweep:
            gone = tuple(e for e in ledger.listed if e.prefix == key and not e.pinned and e.prefix != ledger.latest)
            stay = tuple(entry for entry in ledger.listed if entry not in gone)
            return Sweep(stay, (), gone, ledger.last_preserved)

        with self._tenure.lock:
            self._tenure.writer.session.begin()
            self._tenure.writer.prune(plan)

    def write_unlisted(
        self,
        path: str,
        saveables: Sequence[Saveable],
        *,
        meta: bytes | None,
        meta_suffix: str,
        sharded: bool,
        version: int,
    ) -> str:
        """Writes the files of a checkpoint and lists it nowhere; what is there of that name is replaced.

        Returns:
            Its path.

        Raises:
            CheckpointExistsError: The state file lists one of that name.
        """
        key = split_path(path)[1]
        sink = collected(self._store, saveables, sharded=sharded, version=version)
        name = sink.name(key)
        ledger = self._tenure.directory.ledger()
        if ledger is not None and any(plain(entry.prefix) == name for entry in ledger.live):
            raise CheckpointExistsError(
                f"{self._store.path(name)} counts as a checkpoint; to replace it, save it with write_state=True, and "
                "otherwise under another name.",
                path=self._store.path(name),
            )
        if meta is None:
            meta = self._old_meta(name, meta_suffix)
        self._delete_files(name, meta_suffix)
        self._tenure.loose.add(name)
        sink.move(self._store, key)
        sink.write_data()
        if meta is not None:
            self._store.put(meta_name(key, meta_suffix), Payload.of(meta))
        sink.write_index()
        return self._full(path, key, name)

    def _old_meta(self, name: str, meta_suffix: str) -> bytes | None:
        """The MetaGraph of what a save of that name replaces."""
        ledger = self._tenure.writer.session.ledger
        live = () if ledger is None else ledger.live
        found = [entry.prefix for entry in live if plain(entry.prefix) == name]
        if not found and name not in self._tenure.loose:
            return None
        key = meta_name((found or [name])[-1], meta_suffix)
        try:
            # One without a tag is no save's: somebody has exported it there, and it stays by itself.
            own = name in self._tenure.loose or self._store.head(key).tag is not None
            return self._store.get(key)[0] if own else None
        except NotFoundError:
            return None

    def _delete_files(self, name: str, meta_suffix: str) -> None:
        listing = list(self._store.list(stem(name)))
        loose = v1_files_of(name, listing) if name in self._tenure.loose else []
        named = [meta for meta in listing if meta.key == meta_name(name, meta_suffix)]
        files = {meta.key: meta for meta in (*files_of(name, listing), *loose, *named)}
        delete_files(self._store, list(files.values()), conditional=False)

    def key(self, path: str | None) -> str | None:
        """The name in this directory of a path in a Saver's list; None if it is in another one."""
        if path is None:
            return None
        try:
            parent, key = split_path(path)
        except CheckpointError:
            return None
        if parent == self._parent:
            return key
        upper, isolated = split_path(parent) if "/" in parent else (".", parent)
        return f"{isolated}/{key}" if upper == self._parent and plain(f"{isolated}/{key}") == key else None

    def _full(self, path: str, key: str, name: str) -> str:
        """The path of a name in this directory, as like to what the user wrote as can be."""
        return path + name[len(key) :] if name.startswith(key) else join_path(self._parent, name)


def collected(store: Store, saveables: Sequence[Saveable], *, sharded: bool, version: int) -> TensorSink:
    """The tensors of a checkpoint, ready to be written.

    Raises:
        InvalidArgumentError: A variable has no value.
        IncompatibleTensorError: A value cannot be stored.
    """
    sink = V1BundleWriter(store, "", sharded=sharded) if version == SaverDef.V1 else BundleWriter(store, "")
    pieces = [(saveable.key, piece) for saveable in saveables for piece in saveable.pieces]
    devices = sorted({piece.device for _, piece in pieces}) if sharded else [None]
    for number, device in enumerate(devices):
        if number:
            sink.begin_shard()
        for key, piece in pieces:
            if device is not None and piece.device != device:
                continue
            if piece.slice is None:
                sink.add(key, piece.read(), dtype=piece.dtype)
            else:
                shape, part = piece.slice
                sink.add_slice(key, shape, part, piece.read(), dtype=piece.dtype)
    return sink


def find_checkpoint(store: Store, key: str) -> str | None:
    """Where a checkpoint is that was saved under a name, should that not be where it is; else None.

    A name that was used again, and could not be had at once, stands in a directory of its own; the state file tells.
    """
    directory = CheckpointDirectory(store)
    if directory.exists(key):
        return None
    snapshot = directory.file.read()
    if snapshot is None:
        return None
    found = [entry.prefix for entry in snapshot.ledger.live if plain(entry.prefix) == key]
    return found[-1] if found else None
