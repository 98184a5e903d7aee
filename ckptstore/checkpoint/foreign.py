"""What becomes of a ledger when TensorFlow, or a person, rewrites the state file. Pure.

TensorFlow writes its own fields and nothing else, so the lists that only ckptstore knows are gone with it. They are
taken from the newest copy in the history; what TensorFlow's part says of the checkpoints that count stands.
"""

from __future__ import annotations

from dataclasses import replace

from ckptstore.format.ledger import Entry, Ledger


def adopted(foreign: Ledger, last: Ledger) -> Ledger:
    """The ledger of a state file that was rewritten.

    Args:
        foreign: What the state file says now.
        last: What the newest copy in the history says.
    """
    known = {entry.prefix: entry for entry in (*last.live, *last.trash)}

    def recognised(entry: Entry) -> Entry:
        old = known.get(entry.prefix)
        return entry if old is None else replace(entry, attempt=old.attempt, pinned=old.pinned)

    listed = tuple(recognised(entry) for entry in foreign.listed)
    back = {entry.prefix for entry in listed}

    def rest(entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        return tuple(entry for entry in entries if entry.prefix not in back)

    return replace(
        last,
        listed=listed,
        latest=foreign.latest,
        last_preserved=foreign.last_preserved,
        kept=rest(last.kept),
        dead=rest(last.dead),
        open=rest(last.open),
        trash=rest(last.trash),
    )
