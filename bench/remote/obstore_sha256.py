"""obstore, with a checksum for each part, as ckptstore sends it: SHA-256, the only one that it has."""

from __future__ import annotations

from functools import partial

from bench.remote import obstore
from bench.remote.obstore import VERSIONS, download, hold, upload

__all__ = ["VERSIONS", "connect", "download", "hold", "upload"]

connect = partial(obstore.connect, checksum_algorithm="SHA256")
