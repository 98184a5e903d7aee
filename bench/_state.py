"""What is saved: the same bytes for every contender, made anew in each process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Spec:
    """`count` float32 tensors of `size` bytes each."""

    case: str
    count: int
    size: int

    dtype = "float32"

    @property
    def nbytes(self) -> int:
        return self.count * self.size

    @property
    def names(self) -> list[str]:
        return [f"layer_{i:05d}/kernel" for i in range(self.count)]

    def __str__(self) -> str:
        unit, size = next(
            (u, self.size / n) for u, n in (("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)) if self.size >= n
        )
        return f"{self.count:,} x {size:.4g} {unit} float32 = {self.nbytes / 2**20:.4g} MiB"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def make(spec: Spec, *, flat: bool) -> dict[str, np.ndarray]:
    """The tensors, every page of them touched; or, flat, all their bytes in one array."""
    if not flat:
        return dict(zip(spec.names, _contents(spec), strict=True))
    out = np.empty(spec.nbytes, np.uint8)
    for i, array in enumerate(_contents(spec)):
        out[i * spec.size : (i + 1) * spec.size] = array.view(np.uint8)
    return {"all": out}


def check(spec: Spec, arrays: Mapping[str, Any], *, flat: bool) -> None:
    """Raises ValueError unless these are the tensors that `make` makes."""
    if not flat and sorted(arrays) != spec.names:
        raise ValueError(f"{len(arrays)} tensors came back, or under other names")
    for i, (name, wanted) in enumerate(zip(spec.names, _contents(spec), strict=True)):
        found = arrays["all"][i * spec.size : (i + 1) * spec.size] if flat else np.asarray(arrays[name])
        if not np.array_equal(found.view(np.uint8), wanted.view(np.uint8)):
            raise ValueError(f"{name} came back changed")


def _contents(spec: Spec) -> Iterator[np.ndarray]:
    random = np.random.default_rng(20)
    for _ in range(spec.count):
        yield random.random(spec.size // 4, np.float32)
