"""The names of a checkpoint's files, spelled and parsed here alone.

    PREFIX.index   PREFIX.data-SSSSS-of-NNNNN   PREFIX.meta           V2: a prefix is no file itself
    PREFIX         PREFIX-SSSSS-of-NNNNN                              V1: one file, or one per shard

Numbers are zero-padded to at least five digits. A step follows the base name after a dash: "ckpt-1200".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

STATE_FILE = "checkpoint"
"""TensorFlow's name for the state file of a directory."""

META_SUFFIX = "meta"

_DATA = re.compile(r"(?s)(.+)\.data-(\d{5,10})-of-(\d{5,10})")
_STEP = re.compile(r"(?s)(.+)-(0|[1-9]\d*)")
_V1_SHARD = re.compile(r"(?s)(.+)-([?]{5}|\d{5,10})-of-(\d{5,10})")


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
    return f"{re.sub(r'-[0-9?]+-of-[0-9]+$', '', prefix)}.{suffix}"


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
