"""V1 files that TensorFlow wrote, written again to the byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from ckptstore.format.slices import TensorSlice
from ckptstore.format.table import TableReader
from ckptstore.format.v1 import V1Reader, V1Writer
from tests.support.golden import GOLDEN, v1_files


def test_all_v1_files_are_found() -> None:
    assert len(v1_files()) == 7


@pytest.mark.parametrize("path", v1_files(), ids=lambda p: str(p.relative_to(GOLDEN)))
def test_a_v1_file_is_rebuilt_to_the_byte(path: Path) -> None:
    data = path.read_bytes()
    reader = V1Reader([TableReader.from_bytes(data)])
    writer = V1Writer()
    for name, tensor in reader.tensors.items():
        for piece in tensor.slices:
            value = reader.read(name, piece)
            if piece == TensorSlice.whole(len(tensor.shape)):
                writer.add(name, value, dtype=tensor.dtype if value.dtype != object else None)
            else:
                writer.add_slice(name, tensor.shape, piece, value)
    assert writer.finish() == data
