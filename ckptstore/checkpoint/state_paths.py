"""Which paths a state file gets for which save: TensorFlow's rules. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence

from ckptstore.errors import InvalidArgumentError
from ckptstore.format.state import CheckpointState

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")


def generate_checkpoint_state(
    save_dir: str,
    model_checkpoint_path: str,
    all_model_checkpoint_paths: Sequence[str] | None = None,
    all_model_checkpoint_timestamps: Sequence[float] | None = None,
    last_preserved_timestamp: float | None = None,
    *,
    save_relative_paths: bool = True,
) -> CheckpointState:
    """The state for a directory, its paths as TensorFlow would store them.

    Args:
        save_dir: The directory, as the user gave it.
        model_checkpoint_path: The latest checkpoint.
        all_model_checkpoint_paths: All, oldest first; the latest is appended if it is not the last.
        all_model_checkpoint_timestamps: When each was saved, in seconds since 1970.
        last_preserved_timestamp: When the newest one kept for ever was saved.
        save_relative_paths: Store absolute paths relative to the directory, so that it can be moved. (TensorFlow's
            default is not to; and where it does, with a relative save_dir, it does so twice.)

    Raises:
        InvalidArgumentError: There are not as many timestamps as paths.
    """
    paths = [model_checkpoint_path] if all_model_checkpoint_paths is None else list(all_model_checkpoint_paths)
    relative_dir = not _absolute(save_dir)

    def stored(path: str) -> str:
        if _absolute(path):
            return _relative(path, save_dir) if save_relative_paths else path
        # A relative path counts from the current directory, as the directory itself does.
        return posixpath.relpath(path, save_dir or ".") if relative_dir else path

    latest = stored(model_checkpoint_path)
    out = [stored(path) for path in paths]
    if not out or out[-1] != latest:
        out.append(latest)
    stamps = tuple(float(t) for t in all_model_checkpoint_timestamps or ())
    if stamps and len(stamps) != len(out):
        raise InvalidArgumentError(
            f"Checkpoint timestamps, if provided, must match checkpoint paths (got paths {out} and timestamps "
            f"{list(stamps)})"
        )
    return CheckpointState(latest, tuple(out), stamps, float(last_preserved_timestamp or 0.0))


def _absolute(path: str) -> bool:
    return path.startswith("/") or _URL.match(path) is not None


def _relative(path: str, save_dir: str) -> str:
    if _URL.match(path):
        below = save_dir.rstrip("/") + "/"
        return path[len(below) :] if path.startswith(below) else path
    return posixpath.relpath(path, save_dir or ".")
