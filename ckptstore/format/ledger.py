r"""What ckptstore adds to the `checkpoint` state file, in comment lines that TensorFlow skips.

    # ckptstore 1 seq=42 epoch=3 session=<32 hex> id=<16 hex> crc32c=<8 hex>
    # listed <attempt> [pinned] "ckpt-100"          in step with all_model_checkpoint_paths
    # kept <attempt> [pinned] <time> "ckpt-50"      preserved for ever: not listed any more, never deleted
    # open <attempt> "ckpt-300"                     a save under way
    # dead <attempt> "ckpt-290"                     a save that was given up; its files may go
    # trash <attempt> <seq> "ckpt-10"               listed no more since that seq; its files are to go
    model_checkpoint_path: "ckpt-200"               and so on, see `ckptstore.format.state`

Names are JSON strings; the rest of a line has no spaces in it but those shown. An attempt is 32 hexadecimal digits, or
"-" where nobody knows: TensorFlow wrote the files, or copied ones were listed by hand. The CRC-32C is that of
everything but itself: the first line up to " crc32c=", and all bytes after that line. A file without the first line is
one that TensorFlow wrote.

See docs/design/commit-protocol.md for what the lists are for.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace

from ckptstore.errors import StateCorruptError, UnsupportedError
from ckptstore.format.checksum import crc32c
from ckptstore.format.state import MAX_STATE_BYTES, CheckpointState

MAX_ENTRIES = 20_000
"""The most checkpoints, of all lists together, that a state file may name."""

_TOO_LARGE = 10**18

_MAGIC = b"# ckptstore "
_HEAD = re.compile(
    r"# ckptstore 1 seq=(?P<seq>[0-9]{1,18}) epoch=(?P<epoch>[0-9]{1,18}) session=(?P<session>[0-9a-f]{32}) "
    r"id=(?P<id>[0-9a-f]{16}) crc32c=(?P<crc>[0-9a-f]{8})"
)
_LINE = re.compile(
    r"# (?P<kind>listed|kept|open|dead|trash) (?P<attempt>[0-9a-f]{32}|-)"
    r"(?P<pinned> pinned)?(?: (?P<number>[0-9.e+-]{1,32}))? (?P<name>\".*\")"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A checkpoint in one of a ledger's lists.

    Attributes:
        prefix: Its name in the directory.
        attempt: The save that made it, 32 hexadecimal digits; None where nobody knows.
        time: When it was saved, in seconds since 1970, or None where that is not known. (Listed and kept ones.)
        pinned: Whether a user said that it must stay. (Listed and kept ones.)
        seq: The `Ledger.seq` from which on it was listed no more. (Those in the trash.)
    """

    prefix: str
    attempt: str | None = None
    time: float | None = None
    pinned: bool = False
    seq: int = 0

    @property
    def identity(self) -> tuple[str, str | None]:
        """What is the same in whatever list it stands."""
        return self.prefix, self.attempt

    def same(self, other: Entry) -> bool:
        """Whether the other one is the same save of the same name, in whatever list."""
        return self.identity == other.identity


@dataclass(frozen=True, slots=True)
class Ledger:
    """A whole state file.

    Attributes:
        listed: The checkpoints that count, oldest first.
        latest: The prefix of the latest one: the last of `listed`, but where TensorFlow wrote it otherwise.
        last_preserved: TensorFlow's last_preserved_timestamp; 0.0 for none.
        kept: What is preserved for ever, oldest first.
        open: The saves under way.
        dead: The saves that were given up.
        trash: What is listed no more, oldest first.
        seq: How often the file was replaced. 0 if it is TensorFlow's.
        epoch: The number of the session that may write.
        session: Its name, 32 hexadecimal digits. Empty if the file is TensorFlow's.
        id: The directory's name, 16 hexadecimal digits. Empty if the file is TensorFlow's.
    """

    listed: tuple[Entry, ...]
    latest: str
    last_preserved: float = 0.0
    kept: tuple[Entry, ...] = ()
    open: tuple[Entry, ...] = ()
    dead: tuple[Entry, ...] = ()
    trash: tuple[Entry, ...] = ()
    seq: int = 0
    epoch: int = 0
    session: str = ""
    id: str = ""

    @property
    def managed(self) -> bool:
        """Whether ckptstore wrote it."""
        return bool(self.session)

    @property
    def named(self) -> tuple[Entry, ...]:
        """Everything in any of the lists."""
        return (*self.listed, *self.kept, *self.open, *self.dead, *self.trash)

    @property
    def live(self) -> tuple[Entry, ...]:
        """What may be restored: listed, or kept."""
        return (*self.listed, *self.kept)

    @property
    def state(self) -> CheckpointState:
        """The part that is TensorFlow's."""
        times = [entry.time for entry in self.listed]
        stamps = tuple(time for time in times if time is not None)
        return CheckpointState(
            self.latest,
            tuple(entry.prefix for entry in self.listed),
            stamps if len(stamps) == len(times) else (),  # TensorFlow wants all or none
            self.last_preserved,
        )

    @classmethod
    def of(cls, state: CheckpointState) -> Ledger:
        """That of a state file which TensorFlow wrote."""
        stamps = state.all_model_checkpoint_timestamps or (None,) * len(state.all_model_checkpoint_paths)
        listed = tuple(
            Entry(path, None, time) for path, time in zip(state.all_model_checkpoint_paths, stamps, strict=True)
        )
        if all(entry.prefix != state.model_checkpoint_path for entry in listed):
            listed += (Entry(state.model_checkpoint_path),)
        return cls(listed, state.model_checkpoint_path, state.last_preserved_timestamp)

    def to_bytes(self) -> bytes:
        """The file.

        Raises:
            UnsafePathError: A name is not UTF-8.
            StateCorruptError: It would be too large to be read again.
        """
        body = self.state.to_bytes()
        if self.managed:
            text = "".join(
                [
                    *(_line("listed", entry, _pinned(entry)) for entry in self.listed),
                    *(_line("kept", entry, f"{_pinned(entry)} {_time(entry)}") for entry in self.kept),
                    *(_line("open", entry) for entry in self.open),
                    *(_line("dead", entry) for entry in self.dead),
                    *(_line("trash", entry, f" {entry.seq}") for entry in self.trash),
                ]
            )
            body = text.encode("utf-8") + body
            head = f"# ckptstore 1 seq={self.seq} epoch={self.epoch} session={self.session} id={self.id}".encode()
            body = head + f" crc32c={crc32c(body, crc32c(head)):08x}\n".encode() + body
        if max(self.seq, self.epoch, *(entry.seq for entry in self.trash), 0) >= _TOO_LARGE:
            raise StateCorruptError(f"its numbers have run out (seq={self.seq}, epoch={self.epoch})")
        if len(body) > MAX_STATE_BYTES or len(self.named) > MAX_ENTRIES:
            raise StateCorruptError(
                f"it would name {len(self.named)} checkpoints in {len(body)} bytes, over the limits of {MAX_ENTRIES} "
                f"and {MAX_STATE_BYTES}; keep fewer of them"
            )
        return body

    @classmethod
    def from_bytes(cls, data: bytes) -> Ledger:
        """Reads a state file, ours or TensorFlow's.

        Raises:
            StateCorruptError: It is neither, or was changed by hand and not by its owner.
            UnsupportedError: A newer ckptstore wrote it.
        """
        if not data.startswith(_MAGIC) or len(data) > MAX_STATE_BYTES:
            return cls.of(CheckpointState.from_bytes(data))
        first, _, rest = data.partition(b"\n")
        head = _HEAD.fullmatch(first.decode("utf-8", "replace"))
        if head is None:
            if (version := re.match(rb"# ckptstore (\d+) ", first)) is not None and version[1] != b"1":
                raise UnsupportedError(
                    f"The state file is of version {int(version[1][:9])}, written by a newer ckptstore; upgrade this "
                    "one."
                )
            raise StateCorruptError("its first line is damaged")
        if crc32c(rest, crc32c(first.partition(b" crc32c=")[0])) != int(head["crc"], 16):
            raise StateCorruptError(
                "its checksum does not match: it is damaged, or was edited by hand. (Whoever means to edit it removes "
                "its first line, too)"
            )
        state = CheckpointState.from_bytes(rest)
        lists = _lists(rest.decode("utf-8"))
        ledger = cls(
            lists["listed"],
            state.model_checkpoint_path,
            state.last_preserved_timestamp,
            lists["kept"],
            lists["open"],
            lists["dead"],
            lists["trash"],
            int(head["seq"]),
            int(head["epoch"]),
            head["session"],
            head["id"],
        )
        if tuple(entry.prefix for entry in ledger.listed) != state.all_model_checkpoint_paths:
            raise StateCorruptError("its two lists of checkpoints differ")
        if len(ledger.named) > MAX_ENTRIES:
            raise StateCorruptError(f"it names {len(ledger.named)} checkpoints, over the limit of {MAX_ENTRIES}")
        stamps = state.all_model_checkpoint_timestamps or (None,) * len(ledger.listed)
        timed = (replace(entry, time=time) for entry, time in zip(ledger.listed, stamps, strict=True))
        return replace(ledger, listed=tuple(timed))


def _line(kind: str, entry: Entry, extra: str = "") -> str:
    # A name that is not UTF-8 is for CheckpointState to refuse, which has the words for it.
    name = json.dumps(entry.prefix, ensure_ascii=False).encode("utf-8", "backslashreplace").decode("utf-8")
    return f"# {kind} {entry.attempt or '-'}{extra} {name}\n"


def _pinned(entry: Entry) -> str:
    return " pinned" if entry.pinned else ""


def _time(entry: Entry) -> str:
    return repr(0.0 if entry.time is None else entry.time)


def _lists(text: str) -> dict[str, tuple[Entry, ...]]:
    found: dict[str, list[Entry]] = {kind: [] for kind in ("listed", "kept", "open", "dead", "trash")}
    for line in text.split("\n"):
        if not line.startswith("#"):
            break  # TensorFlow's part
        match = _LINE.fullmatch(line)
        if match is None:
            raise StateCorruptError(f"it has the line {line[:60]!r}, which is none of ckptstore's")
        try:
            kind, number = match["kind"], match["number"]
            name = json.loads(match["name"])
            time = float(number) if kind == "kept" and number is not None else None
            seq = int(number) if kind == "trash" and number is not None else 0
        except ValueError as error:
            raise StateCorruptError(f"it has the line {line[:60]!r}, which cannot be read") from error
        if (number is not None) != (kind in ("kept", "trash")):
            raise StateCorruptError(f"it has the line {line[:60]!r}, which cannot be read")
        if not name or (kind in ("open", "dead") and match["attempt"] == "-"):
            raise StateCorruptError(f"it has the line {line[:60]!r}, which names nothing")
        if time is not None and not (math.isfinite(time) and time > 0):
            time = None
        attempt = None if match["attempt"] == "-" else match["attempt"]
        found[kind].append(Entry(name, attempt, time, match["pinned"] is not None, seq))
    return {kind: tuple(entries) for kind, entries in found.items()}
