"""What a measurement depends on. No names of machines, users or directories."""

from __future__ import annotations

import datetime
import os
import platform
from typing import Any

import psutil


def facts(directory: str | None = None) -> dict[str, Any]:
    out = {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "processor": _processor(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
    if directory is not None:
        out["file_system"] = _file_system(directory)
    return out


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def _file_system(directory: str) -> str:
    path = os.path.realpath(directory)
    mounts = [p for p in psutil.disk_partitions(all=True) if os.path.commonpath([p.mountpoint, path]) == p.mountpoint]
    return max(mounts, key=lambda p: len(p.mountpoint)).fstype if mounts else "unknown"
