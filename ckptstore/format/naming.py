"""The names of a checkpoint's files, spelled and parsed here alone.

    PREFIX.index   PREFIX.data-SSSSS-of-NNNNN   PREFIX.meta           V2: a prefix is no file itself
    PREFIX         PREFIX-SSSSS-of-NNNNN                              V1: one file, or one per shard

Numbers are zero-padded to at least five digits. A step follows the base name after a dash: "ckpt-1200".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ckptstore.errors import InvalidArgumentError

STATE_FILE = "checkpoint"
"""TensorFlow's name for the state file of a directory."""

META_SUFFIX = "meta"

_DATA = re.compile(r"(?s)(.+)\.data-(\d{5,10})-of-(\d{5,10})")
_STEP = re.compile(r"(?s)(.+)-(0|[1-9]\d*)")
_V1_SHARD = re.compile(r"(?s)(.+)-([?]{5}|\d{5,10})-of-(\d{5,10})")
_ISOLATED = re.compile(r"(?s)r-[0-9a-f]{16}/([^/]+)")


@dataclass(frozen=True, slots=True)
class CheckpointFile:
    """What a file name says: the prefix it belongs to, its kind and, for data, which shard of how many."""

    prefix: str
    kind: Literal["index", "data", "meta"]
    shard: int = 0
    shards: int = 0


def index_name(prefix: str) -> str:
    """The file that lists the tensors."""
    return f"{prefix}.index"


def data_name(prefix: str, shard: int, shards: int) -> str:
    """The file that holds the bytes of shard `shard` (from 0) of `shards`."""
    return f"{prefix}.data-{shard:05d}-of-{shards:05d}"


def meta_name(prefix: str, suffix: str = META_SUFFIX) -> str:
    """The file that holds the MetaGraphDef. The shard pattern of a V1 path is dropped first, as TensorFlow does."""
    return f"{stem(prefix)}.{suffix}"


def stem(prefix: str) -> str:
    """What the names of all files of a checkpoint begin with: the prefix, without the shard pattern of a V1 path."""
    return re.sub(r"-[0-9?]+-of-[0-9]+$", "", prefix)


def check_meta_suffix(suffix: str) -> str:
    """Hands back an ending for `.meta` files that no other file of a checkpoint can have.

    Raises:
        InvalidArgumentError: It is empty, or leads to another directory or to the name of another file.
    """
    taken = isinstance(suffix, str) and suffix != META_SUFFIX and parse_name(f"m.{suffix}", META_SUFFIX) is not None
    if not isinstance(suffix, str) or not suffix or "/" in suffix or taken:
        raise InvalidArgumentError(
            f"{suffix!r} cannot be the ending of a checkpoint's .meta file: it is empty, has a '/' in it, or is that "
            "of another file."
        )
    return suffix


def isolated(prefix: str, attempt: str) -> str:
    """A name for a checkpoint whose own name is taken: the same one in a directory of its own."""
    return f"r-{attempt[:16]}/{prefix}"


def plain(prefix: str) -> str:
    """The name that was wanted for a checkpoint: its own, or that without the directory which `isolated` gave it."""
    match = _ISOLATED.fullmatch(prefix)
    return prefix if match is None else match[1]


def v1_shard_name(prefix: str, shard: int, shards: int) -> str:
    """The file of one shard of a sharded V1 checkpoint."""
    return f"{prefix}-{shard:05d}-of-{shards:05d}"


def v1_shard_pattern(prefix: str, shards: int) -> str:
    """The path by which TensorFlow names all shards of a V1 checkpoint: question marks for the shard number."""
    return f"{prefix}-?????-of-{shards:05d}"


def expand_v1_pattern(path: str) -> list[str] | None:
    """The shard files that a V1 pattern stands for, or None if the path is no such pattern (and so literal)."""
    match = _V1_SHARD.fullmatch(path)
    if match is None or match[2] != "?????" or int(match[3]) > 99999:
        return None
    return [v1_shard_name(match[1], shard, int(match[3])) for shard in range(int(match[3]))]


def v1_pattern_of(name: str) -> str | None:
    """The V1 pattern of which a file is a shard, or None if its name is no shard's."""
    match = _V1_SHARD.fullmatch(name)
    if match is None or "?" in match[2]:
        return None
    shard, shards = int(match[2]), int(match[3])
    return v1_shard_pattern(match[1], shards) if v1_shard_name(match[1], shard, shards) == name else None


def parse_name(name: str, meta_suffix: str = META_SUFFIX) -> CheckpointFile | None:
    """What a file name says, or None if it is not one of a V2 checkpoint's."""
    for kind, suffix in (("index", ".index"), ("meta", f".{meta_suffix}")):
        if name.endswith(suffix) and len(name) > len(suffix):
            return CheckpointFile(name[: -len(suffix)], kind)  # type: ignore[arg-type]
    match = _DATA.fullmatch(name)
    if match is None:
        return None
    shard, shards = int(match[2]), int(match[3])
    # Only the one spelling that a writer uses names a shard: no "-000000-of-000001", no shard past the last.
    if shard >= shards or data_name(match[1], shard, shards) != name:
        return None
    return CheckpointFile(match[1], "data", shard, shards)


def step_name(base: str, step: int) -> str:
    """The prefix of a step: "ckpt-1200"."""
    return f"{base}-{step}"


def parse_step(prefix: str, base: str | None = None) -> int | None:
    """The step at the end of a prefix (directories before it are ignored), or None.

    Args:
        prefix: For example "ckpt-1200" or "r-7f31/ckpt-1200".
        base: If given, only prefixes of this base name count.
    """
    match = _STEP.fullmatch(prefix.rpartition("/")[2])
    if match is None or (base is not None and match[1] != base):
        return None
    return int(match[2])
