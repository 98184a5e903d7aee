"""The public face: names, documentation, and what importing it costs."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import ckptstore
import ckptstore.errors

ROOT = Path(__file__).parent.parent
HEAVY = (
    *("s3fs", "gcsfs", "fsspec", "botocore", "aiohttp", "requests", "urllib3", "tenacity"),
    *("torch", "jax", "tensorflow", "rich"),
)


def test_every_public_name_is_there_and_documented() -> None:
    assert sorted(ckptstore.__all__) == ckptstore.__all__
    reference = (ROOT / "docs" / "reference.md").read_text()
    for name in ckptstore.__all__:
        value = getattr(ckptstore, name)
        assert f"`{name}`" in reference, name
        if name != "__version__":
            assert inspect.getdoc(value), name


def test_nothing_public_is_left_out() -> None:
    errors = {n for n in vars(ckptstore.errors) if n.endswith("Error")}
    assert set(ckptstore._LAZY) | errors | {"__version__"} == set(ckptstore.__all__) == set(dir(ckptstore))


def test_every_error_is_exported_and_drawn_in_the_tree() -> None:
    errors = {n for n, v in vars(ckptstore.errors).items() if inspect.isclass(v) and issubclass(v, Exception)}
    assert errors <= set(ckptstore.__all__)
    tree = ckptstore.errors.__doc__ or ""
    for name in errors:
        assert f"{name} " in tree, name


def test_importing_it_loads_no_client_and_no_framework() -> None:
    code = f"import sys, ckptstore; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_local_save_and_restore_loads_none_either(tmp_path: Path) -> None:
    code = (
        f"import sys, numpy, ckptstore as ck; m = ck.CheckpointManager({str(tmp_path)!r})"
        "; m.save(1, {'v': numpy.ones(3)})"
        f"; m.restore(); print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
