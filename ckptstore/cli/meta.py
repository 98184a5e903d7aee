"""`ckptstore meta`: what a MetaGraph holds."""

from __future__ import annotations

import argparse
import json
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from ckptstore.cli._arguments import storage_options
from ckptstore.cli._meta_file import meta_file
from ckptstore.cli._output import Column, Output, Table
from ckptstore.cli._text import count_text, number_text, time_text

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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("path", metavar="PATH", help="a checkpoint, a directory, or a file; or the URL of one")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--text", action="store_true", help="print all of it in protobuf's text format")
    shown.add_argument(
        "--nodes", metavar="GLOB", nargs="?", const="*", help="list the nodes, or those whose name matches"
    )
    shown.add_argument(
        "--collections", metavar="KEY", nargs="?", const="*", help="list the items of collections, or of one"
    )
    parser.add_argument("--out", metavar="FILE", help="write it to a file, or a URL, in place of what is there")
    parser.set_defaults(wrong_usage=parser.error)


def run(args: argparse.Namespace, output: Output) -> int:
    """Runs the command; returns the exit code."""
    from ckptstore.errors import located
    from ckptstore.train.meta_graph_files import Form, load_meta_graph, write_meta_graph_file

    _check_usage(args)
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
    else:
        with located(path):
            if args.collections is not None:
                _print_collections(meta, args.collections, output)
            else:
                _print_summary(path, meta, output)
    return 0


def _check_usage(args: argparse.Namespace) -> None:
    """Refuses what the parser cannot: --json is every command's, and stands in no group of this one's."""
    table = "--nodes" if args.nodes is not None else "--collections" if args.collections is not None else None
    if args.json and (table or args.text):
        args.wrong_usage(f"argument --json: not allowed with argument {table or '--text'}")
    if args.out is not None and table:
        args.wrong_usage(f"argument --out: not allowed with argument {table}")


# -- the summary


def _print_summary(path: str, meta: MetaGraph, output: Output) -> None:
    lines = [("MetaGraph", path), *_graph_lines(meta), *_run_lines(meta)]  # all, or nothing if some of it is damaged
    collections = ", ".join(f"{key} ({_kind(meta, key)} {len(items)})" for key, items in meta.collections.items())
    table = _variables(meta)
    for title, text in [*lines, ("collections", collections)]:
        if text:
            output.line(f"{title:<11}  {text}")
    if table.rows:
        output.line()
        output.table(table)


def _graph_lines(meta: MetaGraph) -> list[tuple[str, str]]:
    graph = meta.graph_def
    ops = sorted(meta.ops.items(), key=lambda item: (-item[1], item[0]))
    devices = meta.devices if any(meta.devices) else {}
    return [
        ("graph", f"{count_text(len(graph.node), 'node')}, {count_text(len(graph.library.function), 'function')}"),
        ("written by", _writer(meta)),
        ("tags", ", ".join(meta.meta_info_def.tags)),
        ("ops", ", ".join(f"{op} {count}" for op, count in ops)),
        ("devices", ", ".join(f"{device or '(any)'} {count}" for device, count in devices.items())),
        ("saver", _saver(meta)),
        *(
            ("signature", f"{key}: {_names(signature['inputs'])} -> {_names(signature['outputs'])}")
            for key, signature in meta.signatures.items()
        ),
    ]


def _writer(meta: MetaGraph) -> str:
    info, versions = meta.meta_info_def, meta.graph_def.versions
    git = f" ({info.tensorflow_git_version})" if info.tensorflow_git_version else ""
    parts = [
        f"TensorFlow {info.tensorflow_version}{git}" if info.tensorflow_version else "",
        f"graph version {versions.producer}" if versions.producer else "",
        f"readable from version {versions.min_consumer}" if versions.min_consumer else "",
    ]
    return ", ".join(filter(None, parts))


def _saver(meta: MetaGraph) -> str:
    saver = meta.saver_def
    if saver is None:
        return ""
    version = {0: "legacy", 1: "V1", 2: "V2"}.get(saver.version, str(saver.version))
    return (
        f"{version}{', sharded' if saver.sharded else ''}, keeps {saver.max_to_keep or 'all'}; "
        f"{saver.filename_tensor_name} -> {saver.save_tensor_name}, {saver.restore_op_name}"
    )


def _run_lines(meta: MetaGraph) -> list[tuple[str, str]]:
    from ckptstore.graph.run_info import RunInfo

    run = RunInfo.of_graph(meta.proto)
    return [
        ("step", "" if run.step is None else str(run.step)),
        ("saved", "" if run.time is None else time_text(run.time)),
        ("metrics", " ".join(f"{name}={number_text(value)}" for name, value in run.metrics.items())),
        ("metadata", json.dumps(run.metadata, ensure_ascii=False) if run.metadata else ""),
    ]


def _variables(meta: MetaGraph) -> Table:
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
    return table


# -- nodes and collections


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
    if not table.rows:
        output.note(f"no node's name matches {pattern!r}")


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


def _shape(shape: Shape) -> str:
    return "?" if shape is None else f"[{', '.join('?' if n is None else str(n) for n in shape)}]"
