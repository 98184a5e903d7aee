"""What is different between two checkpoints, by their paths."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ckptstore.bundle import Progress
from ckptstore.checkpoint import open_source
from ckptstore.checkpoint.comparison import TensorDifference, Tolerance, compare_sources
from ckptstore.train.checkpoint_management import Options, Path
from ckptstore.train.sources import options_for, reading


def diff_checkpoints(
    a: Path,
    b: Path,
    *,
    rtol: float = 0.0,
    atol: float = 0.0,
    names_only: bool = False,
    storage_options: Options = None,
) -> list[TensorDifference]:
    """The tensors in which two checkpoints differ, by name; none if they are equal.

    Formats, files and slices make no difference. A variable of an object-based checkpoint goes by its object path, so
    that it can be compared with a name-based one; beside such a one its graph and save counter are left out. Tensors
    are read whole and checked, one of each checkpoint at a time.

    Args:
        a: A prefix, a V1 file or pattern, or a directory (then its latest checkpoint); or a URL.
        b: Another.
        rtol: Numbers count as equal that are at most `atol + rtol * max(|a|, |b|)` apart. NaN equals NaN.
        atol: See `rtol`.
        names_only: Compare names, types and shapes, and read no values.
        storage_options: For fsspec; of both paths, where they are not local.

    Raises:
        CheckpointNotFoundError: One is not there.
        DataLossError: One is damaged.
    """
    with comparison(a, b, tolerance=Tolerance(rtol, atol), names_only=names_only, storage_options=storage_options) as (
        _,
        _,
        items,
    ):
        return [item for item in items if not item.equal]


@contextlib.contextmanager
def comparison(
    a: Path,
    b: Path,
    *,
    tolerance: Tolerance,
    names_only: bool = False,
    progress: Progress | None = None,
    storage_options: Options = None,
) -> Iterator[tuple[str, str, Iterator[TensorDifference]]]:
    """Both checkpoints in full, and every tensor in either, equal ones too, as it is compared.

    Raises:
        CheckpointNotFoundError, DataLossError: As in `diff_checkpoints`, also where the tensors are taken.
    """
    with (
        reading(a, options_for(a, storage_options)) as (store_a, key_a),
        reading(b, options_for(b, storage_options)) as (store_b, key_b),
    ):
        first, second = open_source(store_a, key_a), open_source(store_b, key_b)
        items = compare_sources(first, second, tolerance=tolerance, names_only=names_only, progress=progress)
        yield first.path, second.path, items
