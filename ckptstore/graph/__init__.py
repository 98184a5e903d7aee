"""MetaGraphs: what a `.meta` file holds beside the tensors."""

from ckptstore.graph.run_info import RunInfo

__all__ = ["RunInfo"]
