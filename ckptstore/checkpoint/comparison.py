"""What is different between two checkpoints, tensor by tensor."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ckptstore.bundle import BundleReader, Progress, TensorInfo, TensorSource
from ckptstore.checkpoint.objects import OBJECT_GRAPH_KEY, SAVE_COUNTER
from ckptstore.checkpoint.reader import CheckpointReader
from ckptstore.errors import InvalidArgumentError, UnsupportedError

_BATCH = 32 << 20  # bytes of small tensors that are read together
_CHUNK = 1 << 20  # elements that are compared at a time

Status = Literal["equal", "only in a", "only in b", "dtype", "shape", "values"]


@dataclass(frozen=True, slots=True)
class ValueDifference:
    """How far the values of two tensors of one type and shape are apart.

    Attributes:
        elements: How many there are.
        differing: How many are different by more than the tolerance; for variants 1, if any byte is.
        max_abs: The largest difference, exact for integers; None for what is no number.
        max_rel: The largest difference in relation to the larger one of the two values; None for what is no number.
    """

    elements: int
    differing: int
    max_abs: int | float | None
    max_rel: float | None


@dataclass(frozen=True, slots=True)
class TensorDifference:
    """One name in two checkpoints.

    Attributes:
        name: The name; of a variable in an object-based checkpoint its object path.
        a: What the first checkpoint has of that name, or None.
        b: What the second has.
        values: How the values differ; None if they were not compared.
    """

    name: str
    a: TensorInfo | None
    b: TensorInfo | None
    values: ValueDifference | None = None

    @property
    def status(self) -> Status:
        """The first of the ways in which they differ."""
        if self.a is None or self.b is None:
            return "only in b" if self.a is None else "only in a"
        if self.a.dtype != self.b.dtype:
            return "dtype"
        if self.a.shape != self.b.shape:
            return "shape"
        return "values" if self.values is not None and self.values.differing else "equal"

    @property
    def equal(self) -> bool:
        """Whether there is no difference, or none that was looked for."""
        return self.status == "equal"


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Values are taken for equal that are at most `atol + rtol * max(|a|, |b|)` apart.

    NaN equals NaN, and -0.0 equals 0.0. Strings, booleans and variants know no tolerance.

    Attributes:
        rtol: In relation to the larger value.
        atol: Absolute.
    """

    rtol: float = 0.0
    atol: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.rtol < math.inf and 0 <= self.atol < math.inf):
            raise InvalidArgumentError(f"rtol={self.rtol} and atol={self.atol} must be finite numbers from 0.")


def compare_sources(
    a: TensorSource,
    b: TensorSource,
    *,
    tolerance: Tolerance | None = None,
    names_only: bool = False,
    progress: Progress | None = None,
) -> Iterator[TensorDifference]:
    """Compares every name that is in either checkpoint, equal ones too, in ascending order.

    Tensors are read whole, and checked; one of each checkpoint is in memory at a time, or a few small ones.

    Args:
        a: The first checkpoint.
        b: The second.
        tolerance: What counts as equal. None: equal values.
        names_only: Compare names, types and shapes, and read no values.
        progress: Called with the bytes of `a` that were compared, and all there are to compare.

    Raises:
        DataLossError: A tensor is damaged.
        StorageError: A store could not be asked.
    """
    tolerance = tolerance or Tolerance()
    keys_a, keys_b = _names(a, b), _names(b, a)
    out: dict[str, TensorDifference] = {}
    for name in sorted(keys_a.keys() | keys_b.keys()):
        out[name] = TensorDifference(name, _info(a, keys_a.get(name)), _info(b, keys_b.get(name)))
    readable = [name for name, item in out.items() if item.equal and not names_only]
    total = sum(_size(out[name]) for name in readable)
    done = 0
    waiting = iter(out)
    for batch in _batches(out, readable):
        values_a = _read(a, {name: keys_a[name] for name in batch})
        values_b = _read(b, {name: keys_b[name] for name in batch})
        for name in batch:
            item = out[name]
            difference = _compare(values_a.pop(name), values_b.pop(name), item, tolerance)
            out[name] = TensorDifference(name, item.a, item.b, difference)
            done += _size(item)
            if progress is not None:
                progress(done, total)
        for name in waiting:
            yield out[name]
            if name == batch[-1]:
                break
    yield from (out[name] for name in waiting)


def _names(source: TensorSource, other: TensorSource) -> dict[str, str]:
    """The stored name of each tensor by the name it is compared by.

    Beside a name-based checkpoint an object-based one is what it restores: without graph and save counter.
    """
    reader = CheckpointReader(source)
    if reader.objects is None:
        return {name: name for name in source.names()}
    stored = set(source.names())
    paths: dict[str, str] = {}
    for path, key in reader.objects.paths.items():
        if path not in stored:  # that name is taken
            paths.setdefault(key, path)
    if other.info(OBJECT_GRAPH_KEY) is None:
        stored.discard(OBJECT_GRAPH_KEY)
        stored -= {key for key, path in paths.items() if path == SAVE_COUNTER and other.info(path) is None}
    return {paths.get(key, key): key for key in stored}


def _info(source: TensorSource, key: str | None) -> TensorInfo | None:
    return None if key is None else source.info(key)


def _size(item: TensorDifference) -> int:
    return item.a.nbytes if item.a is not None else 0


def _batches(items: Mapping[str, TensorDifference], names: list[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for name in names:
        if batch and size + _size(items[name]) > _BATCH:
            yield batch
            batch, size = [], 0
        batch.append(name)
        size += _size(items[name])
    if batch:
        yield batch


def _read(source: TensorSource, keys: Mapping[str, str]) -> dict[str, Any]:
    """The arrays by name; for what numpy cannot hold, the stored bytes."""
    infos = {name: source.info(key) for name, key in keys.items()}
    arrays = [name for name, info in infos.items() if info is not None and info.dtype.numpy is not None]
    values = source.read(keys[name] for name in arrays)
    out: dict[str, Any] = {name: values[keys[name]] for name in arrays}
    for name in keys.keys() - out.keys():
        if not isinstance(source, BundleReader):
            raise UnsupportedError(f"{source.path}: tensor {keys[name]!r} cannot be read.", path=source.path, name=name)
        out[name] = b"".join(source.raw(keys[name])[0].buffers)
    return out


def _compare(a: Any, b: Any, item: TensorDifference, tolerance: Tolerance) -> ValueDifference:
    if isinstance(a, bytes):
        return ValueDifference(math.prod(item.a.shape) if item.a else 0, int(a != b), None, None)
    flat_a, flat_b = a.reshape(-1), b.reshape(-1)
    if a.dtype == object:
        differing = sum(x != y for x, y in zip(flat_a.tolist(), flat_b.tolist(), strict=True))
        return ValueDifference(a.size, differing, None, None)
    differing, max_rel = 0, 0.0
    max_abs: int | float = 0
    for start in range(0, a.size, _CHUNK):
        part_a, part_b = flat_a[start : start + _CHUNK], flat_b[start : start + _CHUNK]
        if part_a.tobytes() == part_b.tobytes():
            continue
        apart, size = _distances(part_a, part_b)
        with np.errstate(all="ignore"):
            relative = np.where(apart == 0, 0.0, apart / size)
            allowed = tolerance.atol + tolerance.rtol * size.astype(np.float64)
        # What is infinitely far apart is so by any tolerance; NaN beside a number is, too.
        relative[np.isnan(relative)] = math.inf
        over = apart > allowed
        if apart.dtype.kind == "f":
            over |= np.isinf(apart)
        if a.dtype.kind == "b":
            over = apart != 0
        differing += int(np.count_nonzero(over))
        max_abs = max(max_abs, apart.max().item())
        max_rel = max(max_rel, float(relative.max()))
    return ValueDifference(a.size, differing, max_abs, max_rel)


def _distances(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """|a - b|, and the larger of |a| and |b|: exact for integers; infinite where one alone is NaN."""
    if a.dtype.kind == "b" or "int" in a.dtype.name:
        wide = np.uint64 if a.dtype.kind == "u" or "uint" in a.dtype.name or a.dtype.kind == "b" else np.int64
        a, b = a.astype(wide), b.astype(wide)
        low, high = np.minimum(a, b), np.maximum(a, b)
        # Modulo 2**64 the differences are right, and as unsigned numbers they fit.
        apart = high.view(np.uint64) - low.view(np.uint64)
        size = np.maximum(np.abs(low.astype(np.float64)), np.abs(high.astype(np.float64)))
        return apart, size
    wide_float = np.complex128 if a.dtype.kind == "c" else np.float64
    a, b = a.astype(wide_float), b.astype(wide_float)
    with np.errstate(all="ignore"):
        apart = np.abs(a - b)
        size = np.maximum(np.abs(a), np.abs(b))
    apart[np.isnan(apart)] = math.inf
    apart[(a == b) | (np.isnan(a) & np.isnan(b))] = 0  # of two infinities, too
    return apart, size
