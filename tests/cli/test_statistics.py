"""Against plain Python on exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from ckptstore.bundle import BundleReader, BundleWriter, LazyArray
from ckptstore.cli import _preview, _statistics
from ckptstore.cli._preview import preview
from ckptstore.cli._statistics import NumberStatistics, StringStatistics, statistics
from ckptstore.format.dtypes import DTYPES
from ckptstore.storage import MemoryStore

NUMERIC = [d for d in DTYPES if d.numpy is not None and d.name != "string"]


def lazy(values: Any) -> LazyArray:
    store = MemoryStore()
    writer = BundleWriter(store, "c")
    writer.add("t", values)
    writer.write_data()
    writer.write_index()
    reader = BundleReader(store, "c")
    info = reader.info("t")
    assert info is not None
    return LazyArray(reader, info)


def exact(values: list[Any]) -> tuple[float, float]:
    numbers = [Fraction(v) for v in values]
    mean = sum(numbers) / len(numbers)
    variance = sum((v - mean) ** 2 for v in numbers) / len(numbers)
    return float(mean), math.sqrt(float(variance)) if variance < Fraction(10) ** 300 else math.isqrt(int(variance))


@pytest.mark.parametrize("dtype", [d for d in NUMERIC if d.numpy.kind != "c"], ids=str)
@pytest.mark.parametrize("parts", [1, 3])
def test_every_dtype(dtype: Any, parts: int) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2, 50).astype(dtype.numpy)
    if dtype.numpy.kind == "f" or "float" in dtype.name:
        values = (rng.standard_normal(50) * 1.3).astype(np.float32).astype(dtype.numpy)
    found = NumberStatistics()
    for piece in np.array_split(values, parts):
        found.add(piece)
    plain = [float(v) if "float" in dtype.name else int(v) for v in values.tolist()]
    mean, std = exact(plain)
    assert found.count == 50
    assert found.zeros == plain.count(0)
    assert (found.min, found.max) == (min(plain), max(plain))
    assert found.mean == pytest.approx(mean, rel=1e-12, abs=1e-15)
    assert found.std == pytest.approx(std, rel=1e-12)
    assert (found.nan, found.inf) == (0, 0)


@pytest.mark.parametrize(
    "dtype", [d for d in NUMERIC if d.numpy.kind == "f" or d.name in ("bfloat16", "float8_e5m2")], ids=str
)
def test_nan_and_inf_are_counted_and_left_out(dtype: Any) -> None:
    values = np.array([1, math.nan, math.inf, -math.inf, -0.0, 0, 3], np.float32).astype(dtype.numpy)
    found = statistics(lazy(values))
    assert found.as_json() == {
        "count": 7, "nan": 1, "inf": 2, "zeros": 2, "min": 0.0, "max": 3.0, "mean": 1.0,
        "std": pytest.approx(math.sqrt(1.5)),
    }  # fmt: skip


@pytest.mark.parametrize(
    "values",
    [
        np.array([2**63 - 1, -(2**63), 5, 0], np.int64),
        np.array([2**64 - 1, 2**64 - 2, 0], np.uint64),
        np.array([1_700_000_000_000_000_000 + i for i in range(7)], np.int64),
        np.array([2**63 + i for i in range(7)], np.uint64),
        np.array([1e308, -1e308, 1e308, 1.7e308]),
        np.array([1e-308, 3e-308, 2e-308]),
        np.array([1e-300, 1e300, 1.0]),
        np.array([1e9 + i / 8 for i in range(9)]),
    ],
)
@pytest.mark.parametrize("parts", [1, 2])
def test_extreme_values(values: np.ndarray[Any, Any], parts: int) -> None:
    found = NumberStatistics()
    for piece in np.array_split(values, parts):
        found.add(piece)
    mean, std = exact(values.tolist())
    assert found.mean == pytest.approx(mean, rel=1e-14)
    assert found.std == pytest.approx(std, rel=1e-9)
    assert (found.min, found.max) == (min(values.tolist()), max(values.tolist()))


def test_complex_numbers() -> None:
    values = np.array([1 + 1j, 3 - 1j, complex(math.nan, 1), complex(1, math.inf), 0], np.complex64)
    found = statistics(lazy(values)).as_json()
    assert found["mean"] == {"real": pytest.approx(4 / 3), "imag": 0.0}
    assert (found["count"], found["nan"], found["inf"], found["zeros"], found["min"]) == (5, 1, 1, 1, None)
    assert found["std"] == pytest.approx(float(np.std(np.array([1 + 1j, 3 - 1j, 0]))))


def test_strings_and_empty_tensors() -> None:
    assert statistics(lazy(np.array([b"", b"abc", b"\xff"], object))) == StringStatistics(3, 1, 4, 0, 3)
    assert statistics(lazy(np.empty((0,), object))).as_json()["mean_length"] is None
    nothing = statistics(lazy(np.empty((0, 4), np.float32))).as_json()
    assert nothing == {"count": 0, "nan": 0, "inf": 0, "zeros": 0, "min": None, "max": None, "mean": None, "std": None}


@pytest.mark.parametrize("shape", [(100,), (3, 40), (2, 3, 20), (50, 2), (1, 1, 90), ()])
def test_a_large_tensor_is_read_in_pieces(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(1).integers(-9, 9, shape)
    array = lazy(values)
    whole = statistics(array).as_json()
    with monkeypatch.context() as patch:
        patch.setattr(_statistics, "PIECE", 64)
        patch.setattr(_preview, "PIECE", 64)
        assert max(piece.nbytes for piece in _statistics.pieces(array)) <= 64
        found = statistics(array).as_json()
        assert found.pop("std") == pytest.approx(whole.pop("std"))
        assert found == whole
        if values.nbytes > 64:
            expected = np.array2string(values, threshold=0, edgeitems=3, max_line_width=80, separator=" ")
            assert preview(array) == expected.split("\n")
        assert (
            _preview.first_values(array)
            == values.reshape(-1)[: min(10, shape[-1] if values.nbytes > 64 else 10)].tolist()
        )


@pytest.mark.parametrize("dtype", NUMERIC, ids=str)
def test_every_dtype_has_a_preview(dtype: Any) -> None:
    array = lazy(np.ones((2, 300), dtype.numpy))
    assert "1" in preview(array)[0] or "True" in preview(array)[0]
    assert len(_preview.first_values(array)) == 10
