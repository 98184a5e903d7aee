"""Deleting many objects one by one, so that one failure does not keep the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ckptstore.errors import InvalidArgumentError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_NAMED = 20  # the most keys that one message spells out


def key_list(keys: Iterable[str]) -> list[str]:
    """The keys as a list.

    Raises:
        InvalidArgumentError: `keys` is one str. Its characters are keys too, and some could exist.
    """
    if isinstance(keys, str):
        raise InvalidArgumentError(f"delete takes several keys, not the one str {keys!r}; pass [{keys!r}].")
    return list(keys)


def delete_each(keys: Iterable[str], delete_one: Callable[[str], None]) -> None:
    """Calls `delete_one` for every key, also after a failure.

    Raises:
        StorageError: At least one call raised it; the message names the keys and the first reason. It has the class
            of the failures when they are all of one class, so that a passing failure can be seen to be one.
    """
    failures: dict[str, StorageError] = {}
    for key in keys:
        try:
            delete_one(key)
        except StorageError as error:
            failures[key] = error
    if failures:
        raise deletion_error(failures) from next(iter(failures.values()))


def deletion_error(failures: dict[str, StorageError]) -> StorageError:
    """One error for several keys that could not be deleted, with the class they all have or else StorageError."""
    first_key, first = next(iter(failures.items()))
    if len(failures) == 1:
        names = first_key
    else:
        names = ", ".join(list(failures)[:_NAMED]) + (" ..." if len(failures) > _NAMED else "")
    kinds = {type(error) for error in failures.values()}
    kind = kinds.pop() if len(kinds) == 1 else StorageError
    message = f"{len(failures)} of the objects could not be deleted: {names}. {first.message}"
    return kind(message, path=first.path, errno=first.errno)
