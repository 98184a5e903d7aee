"""What a checkpoint holds, without its values."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ckptstore.bundle import BundleReader, TensorInfo
from ckptstore.checkpoint import CheckpointReader, open_source
from ckptstore.cli._text import count_text
from ckptstore.errors import DataLossError, NotFoundError, located
from ckptstore.format.naming import meta_name, parse_step
from ckptstore.graph import RunInfo
from ckptstore.storage import ObjectMeta, Store

if TYPE_CHECKING:
    from ckptstore.cli._statistics import NumberStatistics, StringStatistics


@dataclass
class Tensor:
    """One tensor.

    Attributes:
        info: What is known of it.
        path: Its object path, in an object-based checkpoint, or None.
        stats: What its values are like, once they were read.
    """

    info: TensorInfo
    path: str | None = None
    stats: NumberStatistics | StringStatistics | None = None

    @property
    def name(self) -> str:
        """Its name as it is stored."""
        return self.info.name

    @property
    def shown(self) -> str:
        """What it is called in the tree."""
        return self.name if self.path is None else self.path

    @property
    def elements(self) -> int:
        """How many values it has."""
        return math.prod(self.info.shape)

    @property
    def readable(self) -> bool:
        """Whether numpy can hold its values."""
        return self.info.dtype.numpy is not None


@dataclass
class Contents:
    """One checkpoint.

    Attributes:
        reader: For its values.
        format: "v2" or "v1".
        object_based: Whether tf.train.Checkpoint, or something like it, wrote it.
        shards: How many data files it has; None for V1.
        step: What the run says, else what the name says, or None.
        time: In seconds since 1970: what the run says, else the store, or None.
        run: What the run says.
        tensors: By name.
        problems: What could not be read.
    """

    reader: CheckpointReader
    format: str
    shards: int | None
    step: int | None
    time: float | None
    run: RunInfo
    object_based: bool = False
    tensors: list[Tensor] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def path(self) -> str:
        """Its prefix, in full."""
        return self.reader.path

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.info.nbytes for tensor in self.tensors)

    @property
    def format_text(self) -> str:
        """Format and kind in words."""
        kind = "object-based" if self.object_based else "name-based"
        if self.shards is None:
            return f"TensorFlow V1, {kind}"
        return f"TensorFlow V2, {kind}, {count_text(self.shards, 'shard')}"


def read_contents(store: Store, key: str) -> Contents:
    """Reads index and `.meta` file. What is damaged in part is shown in part, and is among the problems.

    Raises:
        CheckpointNotFoundError: There is no such checkpoint.
        DataLossError: Its index cannot be read at all.
        StorageError: The store could not be asked.
    """
    problems: list[str] = []
    source = open_source(store, key)
    reader = CheckpointReader(source)
    run = _run_info(store, key, problems)
    bundle = source if isinstance(source, BundleReader) else None
    modified = (bundle.index_meta if bundle is not None else _head(store, key)).modified
    contents = Contents(
        reader,
        "v1" if bundle is None else "v2",
        None if bundle is None else bundle.header.num_shards,
        run.step if run.step is not None else parse_step(key.partition("-?????-of-")[0]),
        run.time if run.time is not None else modified,
        run,
        problems=problems,
    )
    paths: dict[str, str] = {}
    try:
        if reader.objects is not None:
            contents.object_based = True
            for object_path, stored in reader.objects.paths.items():
                paths.setdefault(stored, object_path)
    except DataLossError as error:
        problems.append(error.message)
    stored_names = set(reader)
    for name in reader:
        path = paths.get(name)
        if path in stored_names:
            path = None  # that place in the tree is taken
        try:
            contents.tensors.append(Tensor(reader.info(name), path))
        except DataLossError as error:
            problems.append(error.message)
    contents.tensors.sort(key=lambda tensor: tensor.shown.encode("utf-8", "surrogateescape"))
    return contents


def _run_info(store: Store, key: str, problems: list[str]) -> RunInfo:
    try:
        data, meta = store.get(meta_name(key))
        with located(store.path(meta.key)):
            return RunInfo.decode(data)
    except NotFoundError:
        pass  # many checkpoints have none
    except DataLossError as error:
        problems.append(error.message)
    return RunInfo()


def _head(store: Store, key: str) -> ObjectMeta:
    try:
        return store.head(key)
    except NotFoundError:
        return ObjectMeta(key, 0)  # a pattern of several V1 files
