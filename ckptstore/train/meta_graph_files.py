"""MetaGraphs in files: reading and writing of `.meta`, its text and JSON forms, and importing them into a graph."""

from __future__ import annotations

import os
from collections.abc import Iterable
from enum import Enum

from ckptstore._proto.meta_graph_pb2 import MetaGraphDef
from ckptstore._proto.saver_pb2 import SaverDef
from ckptstore.errors import CheckpointNotFoundError, InvalidArgumentError, NotFoundError, located
from ckptstore.graph.exporting import export_graph
from ckptstore.graph.graph import Graph, get_default_graph
from ckptstore.graph.meta_graph import MetaGraph
from ckptstore.storage import Payload, from_url, split_path
from ckptstore.train.checkpoint_management import Options, Path


class Form(Enum):
    """How a MetaGraph is written."""

    BINARY = "binary"
    TEXT = "text"
    JSON = "json"

    @classmethod
    def of(cls, *, as_text: bool, as_json: bool) -> Form:
        """The form that a pair of arguments asks for.

        Raises:
            InvalidArgumentError: Both are set.
        """
        if as_text and as_json:
            raise InvalidArgumentError("as_text and as_json exclude each other.")
        return cls.TEXT if as_text else cls.JSON if as_json else cls.BINARY

    def encode(self, meta: MetaGraph) -> bytes:
        """The bytes of the file.

        Raises:
            UnsupportedError: JSON cannot show it.
        """
        if self is Form.BINARY:
            return meta.to_bytes()
        return (meta.to_text() if self is Form.TEXT else meta.to_json()).encode()


def write_meta_graph_file(path: Path, data: bytes, storage_options: Options = None) -> None:
    """Puts a file, atomically, in place of what is there.

    Raises:
        StorageError: The store refused.
    """
    parent, key = split_path(path)
    with from_url(parent, storage_options) as store:
        store.put(key, Payload.of(data))


def load_meta_graph(path: Path, *, storage_options: Options = None) -> MetaGraph:
    """Reads a MetaGraph from a file, whichever form it has.

    Args:
        path: A `.meta` file, its text or JSON form; or a URL.
        storage_options: For fsspec.

    Raises:
        CheckpointNotFoundError: There is no such file.
        DataLossError: It is no MetaGraph, is cut short, or is empty.
    """
    parent, key = split_path(path)
    with from_url(parent, storage_options) as store:
        try:
            data, _ = store.get(key)
        except NotFoundError as error:
            raise CheckpointNotFoundError(
                f"File does not exist. Received: {os.fspath(path)}. The MetaGraph of a checkpoint stands beside it; "
                "its name ends in .meta.",
                path=store.path(key),
            ) from error
        with located(store.path(key)):
            return MetaGraph.from_bytes(data)


def as_meta_graph(meta_graph_or_file: MetaGraph | MetaGraphDef | Path, storage_options: Options = None) -> MetaGraph:
    """The MetaGraph that a caller means: itself, a message, or that of a file.

    Raises:
        CheckpointNotFoundError, DataLossError: As in `load_meta_graph`.
    """
    if isinstance(meta_graph_or_file, MetaGraph):
        return meta_graph_or_file
    if isinstance(meta_graph_or_file, MetaGraphDef):
        return MetaGraph(meta_graph_or_file)
    if hasattr(meta_graph_or_file, "SerializeToString"):  # TensorFlow's own message
        return MetaGraph(MetaGraphDef.FromString(meta_graph_or_file.SerializeToString()))
    return load_meta_graph(meta_graph_or_file, storage_options=storage_options)


def export_meta_graph(
    filename: Path | None = None,
    graph: Graph | None = None,
    saver_def: SaverDef | None = None,
    collection_list: Iterable[str] | None = None,
    as_text: bool = False,
    export_scope: str | None = None,
    clear_devices: bool = False,
    clear_extraneous_savers: bool = False,
    strip_default_attrs: bool = False,
    *,
    as_json: bool = False,
    storage_options: Options = None,
) -> MetaGraph:
    """The MetaGraph of a graph, written to a file if one is named; see `Saver.export_meta_graph`.

    Args:
        filename: The file, or its URL.
        graph: By default the default graph.
        saver_def: The Saver that is told of; by default none.
        collection_list: The keys of the collections to write. None: all.
        as_text: Write TensorFlow's text form, not the binary one.
        export_scope: Only what is below this scope.
        clear_devices: Leave out where nodes are placed.
        clear_extraneous_savers: Leave out the nodes of other Savers.
        strip_default_attrs: Leave out attributes that have the op's default.
        as_json: Write JSON.
        storage_options: For fsspec.

    Raises:
        StorageError: The file cannot be written.
    """
    form = Form.of(as_text=as_text, as_json=as_json)
    meta = MetaGraph(
        export_graph(
            graph or get_default_graph(),
            saver_def,
            collection_list=collection_list,
            export_scope=export_scope,
            clear_devices=clear_devices,
            clear_extraneous_savers=clear_extraneous_savers,
            strip_default_attrs=strip_default_attrs,
        )
    )
    if filename is not None:
        write_meta_graph_file(filename, form.encode(meta), storage_options)
    return meta
