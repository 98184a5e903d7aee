"""The `checkpoint` state file: which checkpoints of a directory count, and which is the latest.

    model_checkpoint_path: "ckpt-700"                       the latest
    all_model_checkpoint_paths: "ckpt-300"                  every one that counts, oldest first
    all_model_checkpoint_paths: "ckpt-700"
    all_model_checkpoint_timestamps: 1700009900.0           when each was saved, in seconds since 1970
    last_preserved_timestamp: 1700007200.0                  when the newest one that is kept for ever was saved

Text protobuf of tensorflow/python/training/checkpoint_state.proto. Lines that start with # are comments, to TensorFlow
as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from google.protobuf import text_format

from ckptstore._proto.checkpoint_state_pb2 import CheckpointState as _Proto
from ckptstore.errors import StateCorruptError

MAX_STATE_BYTES = 4 << 20
"""The largest state file that is read: some 40,000 checkpoints."""

_ESCAPES = {
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
        """The text as it is stored."""
        return self.to_text().encode("utf-8", "surrogateescape")

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
            proto = text_format.Parse(_last_of_each(text), _Proto())
        except UnicodeDecodeError as error:
            raise StateCorruptError(f"it is not UTF-8 text (byte {error.start})") from error
        except (text_format.ParseError, RecursionError, ValueError) as error:
            raise StateCorruptError(f"it is not a CheckpointState in text form ({error})") from error
        stamps = tuple(proto.all_model_checkpoint_timestamps)
        paths = tuple(proto.all_model_checkpoint_paths)
        if not proto.model_checkpoint_path:
            raise StateCorruptError("it names no checkpoint (model_checkpoint_path is empty)")
        if stamps and len(stamps) != len(paths):
            raise StateCorruptError(f"it has {len(paths)} paths and {len(stamps)} timestamps")
        preserved = proto.last_preserved_timestamp
        return cls(proto.model_checkpoint_path, paths, stamps, preserved if math.isfinite(preserved) else 0.0)


def _quote(text: str) -> str:
    return '"' + text.translate(_ESCAPES) + '"'


def _last_of_each(text: str) -> str:
    # TensorFlow's parser takes a singular field twice, and the last wins; Python's refuses it.
    lines = text.split("\n")
    for name in ("model_checkpoint_path", "last_preserved_timestamp"):
        hits = [i for i, line in enumerate(lines) if line.startswith(name)]
        for i in hits[:-1]:
            lines[i] = ""
    return "\n".join(lines)
