"""`ckptstore freeze`: the forward part of a graph, with a checkpoint's values in it."""

from __future__ import annotations

import argparse

from ckptstore.cli._arguments import storage_options
from ckptstore.cli._meta_file import meta_file
from ckptstore.cli._output import Output
from ckptstore.cli._text import count_text, size_text
from ckptstore.errors import AlreadyExistsError

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

    from ckptstore.storage import Payload, from_url, split_path
    from ckptstore.train.importing import freeze_graph
    from ckptstore.train.meta_graph_files import load_meta_graph

    options = storage_options(args)
    meta = load_meta_graph(args.meta or meta_file(args.checkpoint, options), storage_options=options)
    frozen = freeze_graph(meta, args.checkpoint, args.outputs, storage_options=options)
    data = text_format.MessageToString(frozen).encode() if args.text else frozen.SerializeToString(deterministic=True)
    parent, key = split_path(args.out)
    with from_url(parent, options) as store:
        try:
            (store.put if args.overwrite else store.create)(key, Payload.of(data))
        except AlreadyExistsError as error:
            raise AlreadyExistsError(
                f"{args.out} is there already; choose another name, or replace it with --overwrite.", path=args.out
            ) from error
    constants = sum(node.op == "Const" for node in frozen.node)
    if args.json:
        output.json(
            {
                "path": args.out,
                "nodes": len(frozen.node),
                "nodes_before": len(meta.graph_def.node),
                "constants": constants,
                "size": len(data),
            }
        )
    else:
        counts = f"{count_text(len(frozen.node), 'node')} of {len(meta.graph_def.node)}, {constants} of them constants"
        output.line(f"{args.out}: {counts}, {size_text(len(data))}")
    return 0
