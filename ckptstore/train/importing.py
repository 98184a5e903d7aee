"""Importing MetaGraphs, and freezing them with a checkpoint's values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ckptstore._proto.graph_pb2 import GraphDef
from ckptstore._proto.meta_graph_pb2 import MetaGraphDef
from ckptstore.graph.freeze import freeze, needed_variables
from ckptstore.graph.graph import Graph, get_default_graph
from ckptstore.graph.importing import import_graph, scoped_saver
from ckptstore.graph.meta_graph import MetaGraph
from ckptstore.graph.tensor import Tensor
from ckptstore.train.checkpoint_management import Options, Path
from ckptstore.train.meta_graph_files import as_meta_graph, write_meta_graph_file
from ckptstore.train.saver import Saver


def import_meta_graph(
    meta_graph_or_file: MetaGraph | MetaGraphDef | Path,
    clear_devices: bool = False,
    import_scope: str | None = None,
    *,
    input_map: Mapping[str, Tensor] | None = None,
    graph: Graph | None = None,
    storage_options: Options = None,
) -> Saver | None:
    """Adds the graph of a MetaGraph to the default graph, as tf.compat.v1.train.import_meta_graph does.

    Its variables have no values until they are restored:

    ```python
    saver = ck.import_meta_graph("s3://bucket/model/model.ckpt-100.meta")
    saver.restore("s3://bucket/model/model.ckpt-100")
    saver.graph.run("add:0")
    ```

    Args:
        meta_graph_or_file: A MetaGraph, or a file that holds one: binary, text or JSON; or a URL.
        clear_devices: Forget where nodes are placed.
        import_scope: The scope to put it under; made unique. Checkpoints keep the names without it.
        input_map: For inputs from outside of an exported scope, what to take.
        graph: Where to; by default the default graph.
        storage_options: For fsspec; the Saver has them, too.

    Returns:
        The Saver that it has, or one of all its variables; None if it has neither.

    Raises:
        CheckpointNotFoundError: There is no such file.
        DataLossError: It is no MetaGraph, is cut short or empty, or contradicts itself.
        InvalidArgumentError: The graph has nodes of the same names already.
    """
    meta = as_meta_graph(meta_graph_or_file, storage_options)
    graph = graph or get_default_graph()
    before = set(graph.get_collection("variables"))
    scope = import_graph(graph, meta.proto, clear_devices=clear_devices, import_scope=import_scope, input_map=input_map)
    with graph.as_default():
        if meta.saver_def is not None:
            return Saver(saver_def=scoped_saver(meta.saver_def, scope), storage_options=storage_options)
        variables = [variable for variable in graph.get_collection("variables") if variable not in before]
        return Saver(variables, storage_options=storage_options) if variables else None


def freeze_graph(
    meta_graph: MetaGraph | MetaGraphDef | Path,
    checkpoint: Path,
    outputs: Iterable[Any],
    filename: Path | None = None,
    *,
    storage_options: Options = None,
) -> GraphDef:
    """The forward part of a graph, with the values of a checkpoint as constants.

    Args:
        meta_graph: A MetaGraph, or a file that holds one.
        checkpoint: Where the values are: its prefix, or a directory (then its latest checkpoint).
        outputs: The names of what is to be computed: "softmax" or "softmax:0".
        filename: Where to write it, in binary form.
        storage_options: For fsspec.

    Returns:
        A GraphDef that TensorFlow and OpenCV's dnn load.

    Raises:
        InvalidArgumentError: There is no such output.
        TensorNotFoundError: The checkpoint has no values for variables that are needed; all of them are listed.
        CheckpointNotFoundError, DataLossError: One of the files is not there, or damaged.
    """
    meta = as_meta_graph(meta_graph, storage_options)
    names = [outputs] if isinstance(outputs, str) else [getattr(output, "name", output) for output in outputs]
    graph = Graph()
    saver = import_meta_graph(meta, clear_devices=True, graph=graph, storage_options=storage_options)
    needed = set(needed_variables(meta.graph_def, names))
    if needed and saver is not None:
        saver.restore(checkpoint, names=[key for key, variable in saver.items() if variable.op.name in needed])
    frozen = freeze(meta.graph_def, graph.values, names)
    if filename is not None:
        write_meta_graph_file(filename, frozen.SerializeToString(deterministic=True), storage_options)
    return frozen
