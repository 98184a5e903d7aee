"""The golden files: what TensorFlow wrote, and the values that it wrote."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ckptstore.format.dtypes import by_number

GOLDEN = Path(__file__).parent.parent / "golden"
HAND_MADE = "20_hand_made"
CASES = sorted(p.name for p in GOLDEN.iterdir() if p.is_dir() and p.name != HAND_MADE)

# Lists of tensors in expected.json, and the checkpoint of the case that they are in.
_PREFIXES = {
    "01a_basic_ref": {"tensors": "model.ckpt"},
    "01b_basic_resource": {"tensors": "model.ckpt"},
    "02_dtypes": {"tensors": "dtypes"},
    "02b_variant": {"tensors": "variant"},
    "03_strings": {"tensors": "strings", "saver_tensors": "vocab.ckpt"},
    "04_scalars_empty": {"tensors": "sc"},
    "05a_partitioned_ref": {"tensors": "part.ckpt"},
    "05b_partitioned_resource": {"tensors": "part.ckpt"},
    "05c_slices_raw": {"tensors": "raw"},
    "06a_sharded_one_device": {"tensors": "part.ckpt"},
    "06b_sharded_devices": {"tensors": "sh.ckpt-3"},
    "06c_parts_unmerged": {"tensors": "m"},
    "06d_max_shard_size": {"tensors": "mx/ck-1"},
    "07_keep_5_of_7": {"tensors": "model.ckpt-700"},
    "09a_v1_basic": {"tensors": "model.ckpt"},
    "09b_v1_dtypes": {"tensors": "all.v1"},
    "09c_v1_partitioned": {"tensors": "part.ckpt"},
    "09d_v1_sharded": {"tensors": "sh.ckpt-3-?????-of-00004"},
    "10a_object_simple": {"tensors": "obj/ckpt-1"},
    "10b_object_v1_optimizer_slots": {"tensors": "adam/ckpt-1"},
    "10c_object_keras3": {"tensors": "k/ckpt-1"},
    "10d_object_keras2_weights": {"tensors": "weights"},
    "10e_object_root_and_attached": {"tensors": "r/ck-1", "single_tensors": "single"},
    "11_ema": {"tensors": "ema.ckpt-4"},
    "12a_while_v1": {"tensors": "wh.ckpt"},
    "12b_while_v2": {"tensors": "wh2.ckpt"},
    "14_names": {"tensors": "names", "saver_tensors": "saver_names"},
    "16_frozen": {"tensors_ref": "ref.ckpt", "tensors_res": "res.ckpt"},
}


@dataclass(frozen=True)
class Expected:
    """A tensor that TensorFlow wrote."""

    case: str
    prefix: str
    name: str
    dtype: str
    value: np.ndarray[Any, Any]


def expectation(case: str) -> dict[str, Any]:
    return json.loads((GOLDEN / case / "expected.json").read_text(encoding="utf-8"))


def expected_tensors() -> Iterator[Expected]:
    """Every tensor whose value is recorded."""
    for case, groups in _PREFIXES.items():
        expected = expectation(case)
        npz = GOLDEN / case / "expected.npz"
        arrays = np.load(npz, allow_pickle=False) if npz.exists() else {}
        for group, prefix in groups.items():
            for item in expected[group]:
                name = (
                    item["name"]
                    if "name" in item
                    else bytes.fromhex(item["name_hex"]).decode("utf-8", "surrogateescape")
                )
                dtype = by_number(item["dtype_enum"])
                if "strings_base64" in item:
                    value = np.empty(len(item["strings_base64"]), object)
                    value[:] = [base64.b64decode(s) for s in item["strings_base64"]]
                else:
                    value = arrays[item["npz"]]
                    assert hashlib.sha256(value.tobytes()).hexdigest() == item["sha256_le_bytes"]
                    value = value.reshape(-1).view(dtype.as_numpy_dtype)
                yield Expected(case, prefix, name, item["tf_name"], value.reshape(item["shape"]))


def index_files() -> list[Path]:
    """Every index that TensorFlow wrote, with what the hand-made ones have that is meant to be whole."""
    return sorted(p for p in GOLDEN.rglob("*.index") if HAND_MADE not in p.parts)


def v1_files() -> list[Path]:
    """Every V1 file."""
    names = ("model.ckpt", "part.ckpt", "all.v1", "sh.ckpt-3-0")
    return sorted(
        p
        for case in CASES
        if case.startswith("09")
        for p in (GOLDEN / case).iterdir()
        if p.name in names or p.name.startswith("sh.ckpt-3-0")
    )


def same_bits(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    """Equal in shape, type and every bit; NaN equals the same NaN, and 0.0 does not equal -0.0."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return a.tolist() == b.tolist() if a.dtype == object else a.tobytes() == b.tobytes()
