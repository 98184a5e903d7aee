"""Which files are a checkpoint's, and their deletion: the index first, and nothing but what was seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ckptstore.format.naming import META_SUFFIX, expand_v1_pattern, index_name, meta_name, parse_name
from ckptstore.storage import ObjectMeta, Store


def files_of(prefix: str, listing: Iterable[ObjectMeta], meta_suffix: str = META_SUFFIX) -> list[ObjectMeta]:
    """The files in a listing that are those of a V2 checkpoint, by their exact names."""
    return [
        meta for meta in listing if (file := parse_name(meta.key, meta_suffix)) is not None and file.prefix == prefix
    ]


def v1_files_of(prefix: str, listing: Iterable[ObjectMeta]) -> list[ObjectMeta]:
    """The files in a listing that are those of a V1 checkpoint, by their exact names."""
    names = {*(expand_v1_pattern(prefix) or [prefix]), meta_name(prefix)}
    return [meta for meta in listing if meta.key in names]


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
