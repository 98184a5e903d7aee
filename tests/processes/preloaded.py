"""Imported once, by the process that all others are forked from: what takes long and starts no threads."""

import gcsfs.core
import numpy
import s3fs
import tenacity
from fsspec.asyn import AsyncFileSystem

import ckptstore
from ckptstore.storage import _gcs, _s3
from tests.processes.places import _aio_session

__all__ = ["AsyncFileSystem", "_gcs", "_s3", "ckptstore", "gcsfs", "numpy", "s3fs", "tenacity"]

_aio_session()
