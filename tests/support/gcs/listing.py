"""A page of object names, by https://cloud.google.com/storage/docs/json_api/v1/objects/list. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Query:
    """What to list.

    Attributes:
        prefix: Names that start with this.
        delimiter: Names with this after the prefix are folded into one prefix; "" folds nothing.
        start: Names from here on ("" for all), inclusive.
        end: Names before this ("" for all).
        after: Entries after this one: the end of the page before.
        limit: The most entries, names and folded prefixes counted together.
        trailing: Also name, as objects, those that end where their folded prefix does.
    """

    prefix: str = ""
    delimiter: str = ""
    start: str = ""
    end: str = ""
    after: str = ""
    limit: int = 1000
    trailing: bool = False


@dataclass(frozen=True)
class Page:
    """What was found: names, folded prefixes, and the last entry if there is more to come."""

    names: tuple[str, ...]
    prefixes: tuple[str, ...]
    last: str | None


def page(names: Iterable[str], query: Query) -> Page:
    """One page of the listing.

    Args:
        names: All of the bucket's names, in any order.
        query: What to list.
    """
    found: list[str] = []
    prefixes: list[str] = []
    entry: str | None = None
    count = 0
    for name in sorted(names):  # by code point, which is also the order of the UTF-8 bytes, GCS's order
        if not name.startswith(query.prefix) or name < query.start or (query.end and name >= query.end):
            continue
        folded = _fold(name, query)
        here = folded or name
        if query.after and here <= query.after:
            continue
        if here != entry:
            if count == query.limit:
                return Page(tuple(found), tuple(prefixes), entry)
            entry = here
            count += 1
            if folded:
                prefixes.append(folded)
        if not folded or (query.trailing and folded == name):
            found.append(name)
    return Page(tuple(found), tuple(prefixes), None)


def _fold(name: str, query: Query) -> str:
    """The prefix that the name is folded into, "" if it stands for itself."""
    if not query.delimiter:
        return ""
    at = name.find(query.delimiter, len(query.prefix))
    return "" if at < 0 else name[: at + len(query.delimiter)]
