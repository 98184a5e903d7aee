"""The conditions of a request, by https://cloud.google.com/storage/docs/request-preconditions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.gcs.errors import condition_not_met, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Preconditions:
    """What must hold of the object, None where nothing is asked.

    A generation of 0 stands for "there is no such object": `ifGenerationMatch=0` is create-only.
    """

    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    @classmethod
    def from_query(cls, query: Mapping[str, str], prefix: str = "if") -> Preconditions:
        """The JSON API's query parameters; the prefix "ifSource" is that of a copy's source."""
        return cls(
            _integer(query, f"{prefix}GenerationMatch"),
            _integer(query, f"{prefix}GenerationNotMatch"),
            _integer(query, f"{prefix}MetagenerationMatch"),
            _integer(query, f"{prefix}MetagenerationNotMatch"),
        )

    @classmethod
    def from_headers(cls, headers: Mapping[str, str]) -> Preconditions:
        """The XML API's headers, which have no "not match" forms."""
        return cls(
            generation_match=_integer(headers, "x-goog-if-generation-match"),
            metageneration_match=_integer(headers, "x-goog-if-metageneration-match"),
        )

    def __bool__(self) -> bool:
        return self != Preconditions()

    def check(self, generation: int, metageneration: int, *, reading: bool = False) -> None:
        """Compares with the live object, under the lock of the change that depends on it.

        Args:
            generation: Of the live object, 0 if there is none.
            metageneration: Likewise.
            reading: The request only reads, so a "not match" that matches is 304 Not Modified.

        Raises:
            GcsError: 412 or 304.
        """
        if self.generation_match not in (None, generation) or self.metageneration_match not in (None, metageneration):
            raise condition_not_met()
        if self.generation_not_match == generation or self.metageneration_not_match == metageneration:
            raise condition_not_met(304 if reading else 412)


def _integer(source: Mapping[str, str], name: str) -> int | None:
    text = source.get(name)
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise invalid(f"Invalid value for {name}: {text!r} is no integer.") from None
