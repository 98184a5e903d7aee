"""One checkpoint's tensors on a store: written as a bundle, read from a bundle or a V1 file."""

from ckptstore.bundle.builder import BundleBuilder
from ckptstore.bundle.digests import Digests
from ckptstore.bundle.lazy import LazyArray
from ckptstore.bundle.merge import MergedIndex, merge_indexes
from ckptstore.bundle.partitioned import Partitioned
from ckptstore.bundle.progress import Progress
from ckptstore.bundle.reader import BundleReader
from ckptstore.bundle.reusing import ReusingWriter
from ckptstore.bundle.sink import TensorSink
from ckptstore.bundle.source import TensorInfo, TensorSource
from ckptstore.bundle.v1_source import V1Source
from ckptstore.bundle.v1_writer import V1BundleWriter
from ckptstore.bundle.writer import BundleWriter

__all__ = [
    "BundleBuilder",
    "BundleReader",
    "BundleWriter",
    "Digests",
    "LazyArray",
    "MergedIndex",
    "Partitioned",
    "Progress",
    "ReusingWriter",
    "TensorInfo",
    "TensorSink",
    "TensorSource",
    "V1BundleWriter",
    "V1Source",
    "merge_indexes",
]
