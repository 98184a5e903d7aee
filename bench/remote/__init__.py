"""Who takes part in the benchmark of object stores; each has a module here.

A module has VERSIONS, `connect(endpoint, kind)`, `hold(arrays)`, `upload(state)` and `download()`, which returns the
arrays, or the bytes of all of them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Contender:
    """`kind` is the interface; `whole`: one object of all bytes, instead of 32 tensors; `module`, if not the name."""

    kind: str
    whole: bool
    module: str | None = None


CONTENDERS = {
    "ckptstore_s3": Contender("s3", whole=False, module="ckptstore_tensors"),
    "ckptstore_s3_object": Contender("s3", whole=True, module="ckptstore_object"),
    "s3fs": Contender("s3", whole=True),
    "obstore": Contender("s3", whole=True),
    "obstore_sha256": Contender("s3", whole=True),
    "s3torchconnector": Contender("s3", whole=True),
    "torch_dcp_fsspec": Contender("s3", whole=False),
    "ckptstore_gcs": Contender("gcs", whole=False, module="ckptstore_tensors"),
    "ckptstore_gcs_object": Contender("gcs", whole=True, module="ckptstore_object"),
    "gcsfs": Contender("gcs", whole=True),
}
