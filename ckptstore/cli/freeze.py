"""`ckptstore freeze`: the forward part of a graph, with a checkpoint's values in it."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any

from ckptstore.cli._arguments import storage_options
from ckptstore.cli._output import Output
from ckptstore.cli._text import count_text, size_text
from ckptstore.errors import AlreadyExistsError, CheckpointNotFoundError, located

if TYPE_CHECKING:
    from ckptstore._proto.tensor_pb2 import TensorProto
    from ckptstore.graph.meta_graph import MetaGraph

HELP = "write a graph with a checkpoint's values as constants"
DESCRIPTION = """\
Write the GraphDef that some outputs of a model need, its variables replaced by the values of a checkpoint. TensorFlow
and OpenCV's dnn load it.

The graph is the MetaGraph beside the checkpoint, unless --meta names another.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("checkpoint", metavar="CKPT", help="a checkpoint's prefix, or a directory; or the URL of one")
    parser.add_argument("out", metavar="OUT", help="the file to write; or its URL")
    parser.add_argument(
        "--outputs", metavar="NAME", nargs="+", required=True, help='what is to be computed: "softmax", "softmax:0"'
    )
    parser.add_argument("--meta", metavar="FILE", help="the MetaGraph: binary, text or JSON")
    parser.add_argument("--text", action="store_true", help="write protobuf's text format")
    parser.add_argument("--overwrite", action="store_true", help="replace a file of that name")


def run(args: argparse.Namespace, output: Output) -> int:
    """Runs the command; returns the exit code."""
    from google.protobuf import text_format

    from ckptstore.cli._meta_file import beside, checkpoint_prefix
    from ckptstore.train.importing import freeze_graph

    options = storage_options(args)
    prefix = checkpoint_prefix(args.checkpoint, options)  # once: the latest may be another one a moment later
    path = args.meta or beside(prefix)
    meta = _load(path, args, options)
    with located(path):
        frozen = freeze_graph(meta, prefix, args.outputs, storage_options=options)
        constants = [node.attr["value"].tensor for node in frozen.node if node.op == "Const"]
        nbytes = sum(map(_nbytes, constants))
    data = text_format.MessageToString(frozen).encode() if args.text else frozen.SerializeToString(deterministic=True)
    _write(args, data, options)
    before, after = len(meta.graph_def.node), len(frozen.node)
    if args.json:
        output.json(
            {
                "path": args.out,
                "nodes": after,
                "nodes_before": before,
                "constants": len(constants),
                "constants_size": nbytes,
                "size": len(data),
            }
        )
    else:
        shown = f"{count_text(len(constants), 'constant')} of {size_text(nbytes)}"
        output.line(f"{args.out}: {count_text(after, 'node')} of {before:,}, {shown}; {size_text(len(data))} in all")
    return 0


def _load(path: str, args: argparse.Namespace, options: dict[str, Any] | None) -> MetaGraph:
    from ckptstore.train.meta_graph_files import load_meta_graph

    try:
        return load_meta_graph(path, storage_options=options)
    except CheckpointNotFoundError as error:
        if args.meta is not None:
            raise
        raise CheckpointNotFoundError(
            f"There is no MetaGraph {path} beside the checkpoint; name another one with --meta.", path=path
        ) from error


def _write(args: argparse.Namespace, data: bytes, options: dict[str, Any] | None) -> None:
    from ckptstore.storage import Payload, from_url, split_path

    parent, key = split_path(args.out)
    with from_url(parent, options) as store:
        try:
            (store.put if args.overwrite else store.create)(key, Payload.of(data))
        except AlreadyExistsError as error:
            raise AlreadyExistsError(
                f"{args.out} is there already; choose another name, or replace it with --overwrite.", path=args.out
            ) from error


def _nbytes(tensor: TensorProto) -> int:
    """What the values take, not counting how they are written."""
    from ckptstore.graph.attributes import base_dtype

    elements = math.prod(dim.size for dim in tensor.tensor_shape.dim)
    return elements * base_dtype(tensor.dtype).itemsize or sum(map(len, tensor.string_val))
