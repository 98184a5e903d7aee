"""What the tests next to a real TensorFlow share. Importing it skips the importing module where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from ckptstore.format.dtypes import DTYPES, DType, as_dtype
from ckptstore.format.slices import TensorSlice

tf = pytest.importorskip("tensorflow")
v1 = tf.compat.v1
tf.get_logger().setLevel("ERROR")

ROOT = Path(__file__).parents[2]

# Every array here is compared by its bytes, so TensorFlow's and Keras' own warnings (deprecations of numpy, of
# protobuf and of themselves) are nothing that a test of ckptstore could mend; those of ckptstore stay errors.
QUIET = [
    pytest.mark.compat,
    pytest.mark.filterwarnings("ignore::Warning:tensorflow.*"),
    pytest.mark.filterwarnings("ignore::Warning:keras.*"),
]

NUMERIC = [dtype for dtype in DTYPES if dtype.numpy is not None and dtype.name != "string"]
QUANTISED = {"qint8", "quint8", "qint32", "qint16", "quint16"}

# TensorFlow cuts and joins only these when it restores; any other type must be asked for as it is stored.
RETILED = {
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "bool",
    "complex64",
    "complex128",
    "bfloat16",
    "qint8",
    "quint8",
    "qint32",
    "int4",
    "uint4",
}
V1_TYPES = {
    "float32",
    "float64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "uint16",
    "qint8",
    "quint8",
    "qint32",
    "string",
    "complex64",
    "int64",
    "bool",
    "complex128",
    "float16",
}
VARIABLE_KINDS = [pytest.param(False, id="ref"), pytest.param(True, id="resource")]


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(list(seed))


def sample(dtype: DType | str, shape: Sequence[int], generator: np.random.Generator) -> np.ndarray[Any, Any]:
    """An array of random bits: infinities and NaNs with payloads too."""
    dtype = as_dtype(dtype)
    if dtype.name == "string":
        lengths = generator.integers(0, 40, int(np.prod(shape, dtype=int)))
        out = np.empty(len(lengths), object)
        out[:] = [generator.bytes(int(n)) for n in lengths]
        return out.reshape(shape)
    count = int(np.prod(shape, dtype=int))
    if dtype.name == "bool":
        return generator.integers(0, 2, count).astype(bool).reshape(shape)
    if dtype.low_bits:
        codes = generator.integers(0, 1 << dtype.low_bits, count).astype(np.uint8)
        if dtype.name.startswith("int"):  # in memory ml_dtypes keeps them sign-extended or masked, by release
            sign = 1 << (dtype.low_bits - 1)
            return ((codes.astype(np.int8) ^ sign) - sign).astype(dtype.numpy).reshape(shape)
        return codes.view(dtype.numpy).reshape(shape)
    return np.frombuffer(generator.bytes(count * dtype.itemsize), dtype.numpy).copy().reshape(shape)


def bits(value: Any) -> Any:
    """What makes two arrays the same: type, shape and bytes (low bits, of types under a byte)."""
    array = np.asarray(value, object if isinstance(value, bytes | str) else None)  # numpy drops NULs at the end of "S"
    if array.dtype.kind in "OSU":
        return "string", array.shape, [s.encode() if isinstance(s, str) else s for s in array.ravel().tolist()]
    if array.dtype.fields:  # TensorFlow's qint8 and so on: one field
        array = array.view(array.dtype[0])
    raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    if (low := as_dtype(array.dtype).low_bits) != 0:
        raw = raw & ((1 << low) - 1)
    return array.dtype.name, array.shape, raw.tobytes()


def assert_same(got: Any, want: Any, name: str = "") -> None:
    assert bits(got) == bits(want), name


def assert_all_same(got: dict[str, Any], want: dict[str, Any]) -> None:
    assert set(got) == set(want)
    for name, value in want.items():
        assert_same(got[name], value, name)


def tensor(value: Any, dtype: DType | str | None = None) -> Any:
    """TensorFlow's tensor of an array; of a quantised type by its bits."""
    array = np.asarray(value)
    if dtype is None:
        dtype = as_dtype(array.dtype)
    dtype = as_dtype(dtype)
    if dtype.name == "string":
        return tf.reshape(tf.constant(array.ravel().tolist(), tf.string), array.shape)
    if dtype.name in QUANTISED:
        return tf.bitcast(tf.constant(array), tf.as_dtype(dtype.name))
    return tf.constant(array, tf.as_dtype(dtype.name))


def save_v2(prefix: Any, items: Iterable[tuple[str, Any, str]]) -> None:
    """The bare op, in the given order: name, tensor, shape_and_slice."""
    names, tensors, specs = zip(*items, strict=True)
    tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=list(names), shape_and_slices=list(specs), tensors=list(tensors))


def restore_v2(prefix: Any, name: str, dtype: DType | str, spec: str = "") -> Any:
    """The bare op, for one tensor; quantised types come as plain integers."""
    (out,) = tf.raw_ops.RestoreV2(
        prefix=str(prefix), tensor_names=[name], shape_and_slices=[spec], dtypes=[tf.as_dtype(as_dtype(dtype).name)]
    )
    return out.numpy()


def spec(shape: Sequence[int], piece: TensorSlice) -> str:
    return " ".join([*map(str, shape), str(piece)])


def cut(array: np.ndarray[Any, Any], piece: TensorSlice) -> np.ndarray[Any, Any]:
    return array[tuple(slice(a, b) for a, b in piece.box(array.shape))]


def tiling(shape: Sequence[int], generator: np.random.Generator, cuts: int = 4) -> list[TensorSlice]:
    """Boxes that make up a shape, in random order: cut in two, again and again, at random."""
    boxes = [[(0, size) for size in shape]]
    for _ in range(cuts):
        number = int(generator.integers(len(boxes)))
        axis = int(generator.integers(len(shape)))
        start, length = boxes[number][axis]
        if length < 2:
            continue
        at = int(generator.integers(1, length))
        other = list(boxes[number])
        boxes[number] = [*other[:axis], (start, at), *other[axis + 1 :]]
        other[axis] = (start + at, length - at)
        boxes.append(other)
    order = generator.permutation(len(boxes))
    return [TensorSlice(tuple(boxes[i])) for i in order]


def random_box(shape: Sequence[int], generator: np.random.Generator) -> TensorSlice:
    extents = []
    for size in shape:
        start = int(generator.integers(size))
        extents.append((start, int(generator.integers(1, size - start + 1))))
    return TensorSlice(tuple(extents))


def contents(directory: Any) -> dict[str, bytes]:
    """Every file below a directory, by relative name."""
    root = Path(directory)
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def run_python(code: str, *args: Any) -> str:
    """Another process: for what must happen in a fresh one, or could take it down."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stderr[-4000:]}"
    return done.stdout


@contextmanager
def tensorflow_clock(clock: Any) -> Iterator[None]:
    """TensorFlow's managers and savers go by this clock."""
    from tensorflow.python.checkpoint import checkpoint_management
    from tensorflow.python.training import saver

    with mock.patch.object(checkpoint_management, "time", clock), mock.patch.object(saver, "time", clock):
        yield


@contextmanager
def session(**config: Any) -> Iterator[Any]:
    """A fresh graph and a session on it, with few threads."""
    proto = v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1, **config)
    with tf.Graph().as_default(), v1.Session(config=proto) as open_session:
        yield open_session


def partition_initializer(full: np.ndarray[Any, Any]) -> Any:
    """Cuts the right piece out of `full` for each part of a partitioned variable."""

    def initialize(shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        del dtype
        if partition_info is None:
            return tf.constant(full)
        return tf.constant(full[tuple(slice(o, o + n) for o, n in zip(partition_info.var_offset, shape, strict=True))])

    return initialize
