r"""The `checkpoint` state file: which checkpoints of a directory count, and which is the latest.

    model_checkpoint_path: "ckpt-700"                       the latest
    all_model_checkpoint_paths: "ckpt-300"                  every one that counts, oldest first
    all_model_checkpoint_paths: "ckpt-700"
    all_model_checkpoint_timestamps: 1700009900.0           when each was saved, in seconds since 1970
    last_preserved_timestamp: 1700007200.0                  when the newest one that is kept for ever was saved

Text protobuf of tensorflow/python/training/checkpoint_state.proto:

    file     = { name ":" ( value | "[" [ value { "," value } ] "]" ) [ "," | ";" ] }
    value    = number | string { string }        "..." or '...', with C's escapes, \uXXXX and \UXXXXXXXX
    comment  = "#" up to the end of the line, to TensorFlow as well

It is read here, and not by protobuf's own parser, because that one refuses a singular field that stands there twice
(TensorFlow's takes the last), differs between its versions, and takes seconds for a long list.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ckptstore.errors import StateCorruptError, UnsafePathError

MAX_STATE_BYTES = 4 << 20
"""The largest state file that is read: some 40,000 checkpoints."""

_STRINGS = ("model_checkpoint_path", "all_model_checkpoint_paths")
_NUMBERS = ("all_model_checkpoint_timestamps", "last_preserved_timestamp")
_REPEATED = ("all_model_checkpoint_paths", "all_model_checkpoint_timestamps")

_TOKEN = re.compile(
    r"""[ \t\r\n\v\f]+ | \#[^\n]*
    | (?P<string> "(?:[^"\\\n]|\\[^\n])*" | '(?:[^'\\\n]|\\[^\n])*')
    | (?P<name> [A-Za-z_][A-Za-z0-9_]*)
    | (?P<number> [0-9.][0-9A-Za-z.]*(?:(?<=[eE])[+-][0-9]+[fF]?)?)
    | (?P<mark> [-:,;\[\]])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(
    rb"""\\(?: (?P<octal>[0-7]{1,3}) | [xX](?P<hex>[0-9A-Fa-f]{1,2})
    | u(?P<short>[0-9A-Fa-f]{4}) | U(?P<long>[0-9A-Fa-f]{8}) | (?P<one>.) | (?P<none>$) )""",
    re.VERBOSE | re.DOTALL,
)
_ONE = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"} | {
    c: c for c in (b'"', b"'", b"\\", b"?")
}
_PRINTED = {
    ord("\n"): "\\n",
    ord("\r"): "\\r",
    ord("\t"): "\\t",
    ord('"'): '\\"',
    ord("'"): "\\'",
    ord("\\"): "\\\\",
} | {c: f"\\{c:03o}" for c in (*range(0x20), 0x7F) if c not in b"\n\r\t"}


@dataclass(frozen=True, slots=True)
class CheckpointState:
    """What a state file says; the field names are TensorFlow's.

    Attributes:
        model_checkpoint_path: The latest checkpoint's prefix.
        all_model_checkpoint_paths: All prefixes, oldest first.
        all_model_checkpoint_timestamps: When each of them was saved, in seconds since 1970; empty if not known.
        last_preserved_timestamp: When the newest checkpoint that is kept for ever was saved; 0.0 if there is none.
    """

    model_checkpoint_path: str
    all_model_checkpoint_paths: tuple[str, ...] = ()
    all_model_checkpoint_timestamps: tuple[float, ...] = ()
    last_preserved_timestamp: float = 0.0

    def to_text(self) -> str:
        """The text, to the byte as TensorFlow writes it."""
        lines = []
        if self.model_checkpoint_path:
            lines.append(f"model_checkpoint_path: {_quote(self.model_checkpoint_path)}")
        lines += [f"all_model_checkpoint_paths: {_quote(path)}" for path in self.all_model_checkpoint_paths]
        lines += [f"all_model_checkpoint_timestamps: {stamp!r}" for stamp in self.all_model_checkpoint_timestamps]
        if self.last_preserved_timestamp:
            lines.append(f"last_preserved_timestamp: {self.last_preserved_timestamp!r}")
        return "".join(line + "\n" for line in lines)

    def to_bytes(self) -> bytes:
        """The text as it is stored.

        Raises:
            UnsafePathError: A path is not UTF-8. Neither TensorFlow nor this module could read it back.
        """
        try:
            return self.to_text().encode("utf-8")
        except UnicodeEncodeError as error:
            raise UnsafePathError(
                f"The path {error.object[max(0, error.start - 40) : error.end + 40]!a} is not UTF-8, so no state file "
                "can name it; choose another name."
            ) from error

    @classmethod
    def from_bytes(cls, data: bytes) -> CheckpointState:
        """Reads a state file, in every spelling that text protobuf allows.

        Raises:
            StateCorruptError: It is not UTF-8, not text protobuf of this message, or names no checkpoint. (TensorFlow
                takes the second for "no checkpoint", and trains from scratch.)
        """
        if len(data) > MAX_STATE_BYTES:
            raise StateCorruptError(f"it has {len(data)} bytes, over the limit of {MAX_STATE_BYTES}")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise StateCorruptError(f"it is not UTF-8 text (byte {error.start})") from error
        fields: dict[str, list[str | float]] = {name: [] for name in (*_STRINGS, *_NUMBERS)}
        tokens = _Tokens(text)
        while (name := tokens.take("name")) is not None:
            if name not in fields:
                raise StateCorruptError(f"it has the unknown field {name!r} in line {tokens.line}")
            fields[name] += tokens.values(name)
        tokens.expect_end()
        paths = tuple(str(path) for path in fields["all_model_checkpoint_paths"])
        stamps = tuple(float(stamp) for stamp in fields["all_model_checkpoint_timestamps"])
        latest = str((fields["model_checkpoint_path"] or [""])[-1])
        preserved = float((fields["last_preserved_timestamp"] or [0.0])[-1])
        if not latest:
            raise StateCorruptError("it names no checkpoint (model_checkpoint_path is empty)")
        if stamps and len(stamps) != len(paths):
            raise StateCorruptError(f"it has {len(paths)} paths and {len(stamps)} timestamps")
        return cls(latest, paths, stamps, preserved if math.isfinite(preserved) else 0.0)


class _Tokens:
    """The tokens of a text, taken one by one."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._next = self._scan()
        self._ahead = next(self._next, ("end", ""))

    @property
    def line(self) -> int:
        """The line of the token taken last."""
        return self._text.count("\n", 0, self._position) + 1

    def take(self, kind: str, text: str | None = None) -> str | None:
        """Takes the next token if it is of that kind (and that text)."""
        if self._ahead[0] != kind or (text is not None and self._ahead[1] != text):
            return None
        found = self._ahead[1]
        self._ahead = next(self._next, ("end", ""))
        return found

    def values(self, name: str) -> list[str | float]:
        """Takes what stands behind a field's name."""
        if self.take("mark", ":") is None:
            raise self._error("':' expected")
        out: list[str | float] = []
        if self.take("mark", "[") is not None:
            if name not in _REPEATED:
                raise self._error(f"{name} is no list")
            while self.take("mark", "]") is None:
                if out and self.take("mark", ",") is None:
                    raise self._error("',' or ']' expected")
                out.append(self._value(name))
        else:
            out.append(self._value(name))
        if self.take("mark", ",") is None:
            self.take("mark", ";")
        return out

    def expect_end(self) -> None:
        """Raises StateCorruptError unless everything was taken."""
        if self._ahead[0] != "end":
            raise self._error("a field's name expected")

    def _value(self, name: str) -> str | float:
        if name in _STRINGS:
            pieces = []
            while (piece := self.take("string")) is not None:
                pieces.append(piece[1:-1])
            if not pieces:
                raise self._error("a string expected")
            return self._unescape(pieces)
        sign = -1.0 if self.take("mark", "-") is not None else 1.0
        text = self.take("number") or self.take("name") or ""
        return sign * self._number(text)

    def _number(self, text: str) -> float:
        lowered = text.lower()
        if lowered in ("inf", "infinity", "nan"):
            return float(lowered)
        try:
            if lowered.startswith("0x") or re.fullmatch("0[0-7]+", lowered):
                return float(int(lowered.removeprefix("0x"), 16 if "x" in lowered else 8))
            if re.fullmatch(r"[0-9.]+(e[+-]?[0-9]+)?f?", lowered):
                return float(lowered.removesuffix("f"))
        except (ValueError, OverflowError):
            pass
        raise self._error("a number expected")

    def _unescape(self, pieces: list[str]) -> str:
        def one(match: re.Match[bytes]) -> bytes:
            if match["octal"] or match["hex"]:
                number = int(match["octal"], 8) if match["octal"] else int(match["hex"], 16)
                return bytes((number & 0xFF,))
            if match["short"] or match["long"]:
                return chr(int(match["short"] or match["long"], 16)).encode("utf-8")
            if match["one"] not in _ONE:
                raise ValueError(match[0])
            return _ONE[match["one"]]

        try:
            return b"".join(_ESCAPE.sub(one, piece.encode("utf-8")) for piece in pieces).decode("utf-8")
        except (ValueError, OverflowError) as error:  # also UnicodeError
            raise self._error("a bad escape, or a string that is not UTF-8") from error

    def _scan(self) -> Iterator[tuple[str, str]]:
        while self._position < len(self._text):
            match = _TOKEN.match(self._text, self._position)
            if match is None:
                raise self._error("something that is no text protobuf")
            self._position = match.end()
            if match.lastgroup is not None:
                yield match.lastgroup, match[0]

    def _error(self, problem: str) -> StateCorruptError:
        return StateCorruptError(f"it is not a CheckpointState in text form: {problem} in line {self.line}")


def _quote(text: str) -> str:
    return '"' + text.translate(_PRINTED) + '"'
