"""`ckptstore meta`: what a MetaGraph holds."""

from __future__ import annotations

import argparse
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from ckptstore.cli._arguments import storage_options
from ckptstore.cli._meta_file import meta_file
from ckptstore.cli._output import Column, Output, Table
from ckptstore.cli._text import count_text

if TYPE_CHECKING:
    from ckptstore.graph.attributes import Shape
    from ckptstore.graph.meta_graph import MetaGraph

HELP = "show the MetaGraph of a checkpoint"
DESCRIPTION = """\
Show what a .meta file holds: the graph, its variables, collections and Saver, and the record of the run that
CheckpointManager puts there.

PATH is a checkpoint's prefix, a directory (then its latest checkpoint), or a file: binary, text or JSON. --text and
--json print all of it, as protobuf's text format (TensorFlow's as_text) and JSON mapping have it; with --out they are
written to a file, and without them the binary form is.
"""

_SHOWN = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("path", metavar="PATH", help="a checkpoint, a directory, or a file; or the URL of one")
    parser.add_argument("--text", action="store_true", help="print all of it in protobuf's text format")
    parser.add_argument(
        "--nodes", metavar="GLOB", nargs="?", const="*", help="list the nodes, or those whose name matches"
    )
    parser.add_argument(
        "--collections", metavar="KEY", nargs="?", const="*", help="list the items of collections, or of one"
    )
    parser.add_argument("--out", metavar="FILE", help="write it to a file, or a URL")


def run(args: argparse.Namespace, output: Output) -> int:
    """Runs the command; returns the exit code."""
    from ckptstore.train.meta_graph_files import Form, load_meta_graph, write_meta_graph_file

    options = storage_options(args)
    path = meta_file(args.path, options)
    meta = load_meta_graph(path, storage_options=options)
    if args.out is not None:
        form = Form.of(as_text=args.text, as_json=args.json)
        write_meta_graph_file(args.out, form.encode(meta), options)
    elif args.text:
        output.document(meta.to_text())
    elif args.json:
        output.document(meta.to_json())
    elif args.nodes is not None:
        _print_nodes(meta, args.nodes, output)
    elif args.collections is not None:
        _print_collections(meta, args.collections, output)
    else:
        _print_summary(path, meta, output)
    return 0


def _print_summary(path: str, meta: MetaGraph, output: Output) -> None:
    from ckptstore.graph.run_info import RunInfo

    graph, info = meta.graph_def, meta.meta_info_def
    output.line(path)
    by = " ".join(filter(None, (info.tensorflow_version, info.tensorflow_git_version)))
    counts = [count_text(len(graph.node), "node"), count_text(len(graph.library.function), "function")]
    versions = f"version {graph.versions.producer}" if graph.versions.producer else ""
    output.line(f"  graph: {', '.join(filter(None, [*counts, versions, f'written by {by}' if by else '']))}")
    ops = [f"{op} {count}" for op, count in sorted(meta.ops.items(), key=lambda item: (-item[1], item[0]))]
    if ops:
        output.line(f"  ops: {_some(ops)}")
    devices = [f"{device or '(any)'} {count}" for device, count in meta.devices.items()]
    if set(meta.devices) - {""}:
        output.line(f"  devices: {_some(devices)}")
    if (saver := meta.saver_def) is not None:
        kinds = {0: "legacy", 1: "V1", 2: "V2"}
        keep = saver.max_to_keep or "all"
        output.line(
            f"  saver: {kinds.get(saver.version, saver.version)}{', sharded' if saver.sharded else ''}, keeps {keep}; "
            f"{saver.filename_tensor_name} -> {saver.save_tensor_name}, {saver.restore_op_name}"
        )
    for key, signature in meta.signatures.items():
        output.line(f"  signature {key}: {_names(signature['inputs'])} -> {_names(signature['outputs'])}")
    run = RunInfo.of_graph(meta.proto)
    if run.step is not None:
        output.line(f"  run: step {run.step}, metrics {dict(run.metrics)}, metadata {dict(run.metadata)}")
    collections = [f"{key} ({_kind(meta, key)} {len(items)})" for key, items in meta.collections.items()]
    if collections:
        output.line(f"  collections: {', '.join(collections)}")
    table = Table([Column("VARIABLE", fold=True), Column("DTYPE"), Column("SHAPE"), Column("KIND"), Column("DEVICE")])
    for variable in meta.variables:
        kind = [
            "resource" if variable.is_resource else "reference",
            "" if variable.trainable else "not trainable",
            "" if variable.part_of is None else f"part of {variable.part_of}",
        ]
        table.add(
            variable.name, str(variable.dtype), _shape(variable.shape), ", ".join(filter(None, kind)), variable.device
        )
    if table.rows:
        output.line()
        output.table(table)


def _print_nodes(meta: MetaGraph, pattern: str, output: Output) -> None:
    from ckptstore.graph.attributes import decode_shape

    table = Table(
        [Column("NODE", fold=True), Column("OP"), Column("INPUTS", fold=True), Column("SHAPES"), Column("DEVICE")]
    )
    for node in meta.graph_def.node:
        if fnmatchcase(node.name, pattern):
            shapes = node.attr["_output_shapes"].list.shape if "_output_shapes" in node.attr else ()
            text = " ".join(_shape(decode_shape(shape)) for shape in shapes)
            table.add(node.name, node.op, " ".join(node.input), text, node.device)
    output.table(table)


def _print_collections(meta: MetaGraph, wanted: str, output: Output) -> None:
    from ckptstore.errors import InvalidArgumentError

    collections = {key: items for key, items in meta.collections.items() if wanted in ("*", key)}
    if not collections and wanted != "*":
        raise InvalidArgumentError(
            f"There is no collection {wanted!r}; there are {', '.join(meta.collections) or 'none'}."
        )
    for key, items in collections.items():
        output.line(f"{key} ({_kind(meta, key)})")
        for item in items:
            output.line(f"  {_item(item)}")


def _item(item: Any) -> str:
    name = getattr(item, "variable_name", None)
    if name is not None:
        return str(name)
    return item.decode("utf-8", "backslashreplace") if isinstance(item, bytes) else str(item)


def _kind(meta: MetaGraph, key: str) -> str:
    return str(meta.collection_def[key].WhichOneof("kind") or "empty").removesuffix("_list")


def _names(tensors: dict[str, str]) -> str:
    return ", ".join(f"{key}={name}" for key, name in tensors.items()) or "nothing"


def _some(items: list[str]) -> str:
    more = len(items) - _SHOWN
    return ", ".join(items[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _shape(shape: Shape) -> str:
    return "?" if shape is None else f"[{','.join('?' if n is None else str(n) for n in shape)}]"
