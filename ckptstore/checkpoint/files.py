"""Which files are a checkpoint's, and their deletion: the index first, and nothing but what was seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ckptstore.errors import NotFoundError, PreconditionFailedError
from ckptstore.format.coding import decode_fixed64
from ckptstore.format.naming import META_SUFFIX, expand_v1_pattern, index_name, meta_name, parse_name, stem
from ckptstore.format.table import FOOTER_SIZE, MAGIC
from ckptstore.storage import ObjectMeta, Store


class FileIndex:
    """A listing in which the files of checkpoints are found by their names.

    Args:
        listing: The files.
    """

    def __init__(self, listing: Iterable[ObjectMeta]) -> None:
        self._all: dict[str, ObjectMeta] = {}
        self._bundles: dict[str, list[ObjectMeta]] = {}
        self._odd: dict[str, list[ObjectMeta]] = {}
        for meta in listing:
            self._all[meta.key] = meta
            if (file := parse_name(meta.key)) is not None:
                self._bundles.setdefault(file.prefix, []).append(meta)
                continue
            for position in range(meta.key.rfind("/") + 1, len(meta.key)):
                if meta.key[position] == ".":
                    self._odd.setdefault(meta.key[:position], []).append(meta)

    def has(self, key: str) -> bool:
        """Whether a file is there."""
        return key in self._all

    def bundle(self, prefix: str) -> list[ObjectMeta]:
        """Those of a V2 checkpoint: index, data, `.meta`."""
        return self._bundles.get(prefix, [])

    def v1(self, prefix: str) -> list[ObjectMeta]:
        """Those of a V1 checkpoint: its tables, and its `.meta`. Any file can have the name of a table."""
        names = dict.fromkeys([*(expand_v1_pattern(prefix) or [prefix]), meta_name(prefix)])
        return [self._all[name] for name in names if name in self._all]

    def odd(self, prefix: str) -> list[ObjectMeta]:
        """Those of its name and an ending that means nothing: a `.meta` file of another suffix, or anybody's."""
        return self._odd.get(stem(prefix), [])


def files_of(prefix: str, listing: Iterable[ObjectMeta], meta_suffix: str = META_SUFFIX) -> list[ObjectMeta]:
    """The files in a listing that are those of a V2 checkpoint, by their exact names."""
    return [
        meta for meta in listing if (file := parse_name(meta.key, meta_suffix)) is not None and file.prefix == prefix
    ]


def v1_files_of(prefix: str, listing: Iterable[ObjectMeta]) -> list[ObjectMeta]:
    """The files in a listing that are those of a V1 checkpoint, by their exact names."""
    names = {*(expand_v1_pattern(prefix) or [prefix]), meta_name(prefix)}
    return [meta for meta in listing if meta.key in names]


def is_v1_file(store: Store, meta: ObjectMeta) -> bool:
    """Whether a file may be a V1 checkpoint, or a shard of one: by what is in it, as any file can have the name."""
    if meta.size < FOOTER_SIZE or parse_name(meta.key) is not None:
        return False
    magic = bytearray(8)
    try:
        store.read_into(meta.key, [(meta.size - 8, memoryview(magic))], version=meta.version)
    except (NotFoundError, PreconditionFailedError):
        return False
    return decode_fixed64(bytes(magic), 0) == MAGIC


def delete_files(store: Store, files: Sequence[ObjectMeta], *, conditional: bool) -> list[str]:
    """Deletes files, every index before anything else (R8): what has no index is no checkpoint.

    Args:
        store: Where they are.
        files: As a listing, or their writing, told of them.
        conditional: Each only while it is the version told of.

    Returns:
        The keys of those that are another version by now, and were left alone.

    Raises:
        StorageError: One or more could not be deleted.
    """
    spared: list[str] = []
    indexes = [meta for meta in files if _is_index(meta.key)]
    for group in (indexes, [meta for meta in files if not _is_index(meta.key)]):
        if not group:
            continue
        if conditional:
            spared += store.delete_versions(group)
        else:
            store.delete([meta.key for meta in group])
    return spared


def _is_index(key: str) -> bool:
    file = parse_name(key)
    return file is not None and file.kind == "index" and index_name(file.prefix) == key
