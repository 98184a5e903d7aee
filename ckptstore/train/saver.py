"""tf.train.Saver: saves variables under names, restores them, and keeps the newest checkpoints."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np

from ckptstore._arguments import as_hours
from ckptstore._clock import Clock, SystemClock
from ckptstore._proto.saver_pb2 import SaverDef
from ckptstore.checkpoint.restored import RestoreReport
from ckptstore.checkpoint.writer import RetentionWarning
from ckptstore.errors import CheckpointError, InvalidArgumentError
from ckptstore.format.naming import META_SUFFIX, STATE_FILE
from ckptstore.graph.exporting import export_graph
from ckptstore.graph.graph import Graph, get_default_graph
from ckptstore.graph.importing import scoped_saver
from ckptstore.graph.meta_graph import MetaGraph
from ckptstore.graph.restore_nodes import read_specs
from ckptstore.graph.save_nodes import SaveNodes, SaveSpec
from ckptstore.graph.skeleton import declare
from ckptstore.graph.tensor import Tensor
from ckptstore.graph.variable import Variable
from ckptstore.storage import from_url, join_path, split_path
from ckptstore.train.checkpoint_management import Options, Path, get_checkpoint_mtimes
from ckptstore.train.checkpoint_utils import load_checkpoint
from ckptstore.train.meta_graph_files import export_meta_graph, write_meta_graph_file
from ckptstore.train.saveables import Saveable, declarations, of_specs, reshaped, saveables
from ckptstore.train.saver_directory import SaverDirectory, find_checkpoint
from ckptstore.train.saver_rule import SaverRule

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self


class Saver:
    """Saves and restores variables; arguments, defaults and effects are those of tf.compat.v1.train.Saver.

    There is no session to pass: variables have their values themselves. Files are TensorFlow's, four per checkpoint:
    `checkpoint`, `.index`, `.data-00000-of-00001` and `.meta`, or with write_version=SaverDef.V1 three. A save counts
    from the moment the state file names it, as with `CheckpointManager`. What differs from TensorFlow is listed in
    docs/tensorflow.md.

    Args:
        var_list: What to save: None for all global variables of the default graph; a list of variables; or a mapping
            of names to variables (of ours, tf.Variables), lists of their parts, or arrays, which a restore fills.
        reshape: Restore a tensor into a variable of another shape with as many elements.
        sharded: One data file per device that variables are placed on.
        max_to_keep: How many of its checkpoints to keep. None or 0: all, and the state file lists the newest alone.
        keep_checkpoint_every_n_hours: Keep one for ever every so many hours, counted from now.
        name: The scope of the nodes it adds to the graph; by default "save".
        restore_sequentially: Has no effect, as in TensorFlow.
        saver_def: What `as_saver_def` of another one gave: its nodes are in the graph already.
        builder: Not supported; there is one way to build.
        defer_build: Build with `build()`, later.
        allow_empty: Nothing to save is no error.
        write_version: SaverDef.V2, or V1 for files that TensorFlow before 1.0 reads.
        pad_step_number: Pad step numbers with zeros to eight digits.
        save_relative_paths: State files hold relative paths in any case.
        filename: The path that the graph's own save nodes have as a default.
        graph: The graph whose variables are saved; by default the default graph.
        storage_options: For fsspec.
        clock: Where the time comes from.

    Raises:
        InvalidArgumentError: There is nothing to save, or an argument cannot be meant.
    """

    def __init__(
        self,
        var_list: Any = None,
        reshape: bool = False,
        sharded: bool = False,
        max_to_keep: int | None = 5,
        keep_checkpoint_every_n_hours: float = 10000.0,
        name: str | None = None,
        restore_sequentially: bool = False,
        saver_def: SaverDef | None = None,
        builder: None = None,
        defer_build: bool = False,
        allow_empty: bool = False,
        write_version: int = SaverDef.V2,
        pad_step_number: bool = False,
        save_relative_paths: bool = False,
        filename: str | None = None,
        *,
        graph: Graph | None = None,
        storage_options: Options = None,
        clock: Clock | None = None,
    ) -> None:
        del restore_sequentially, save_relative_paths
        if builder is not None:
            raise InvalidArgumentError("A Saver of ckptstore has one way to build its nodes; leave `builder` out.")
        if defer_build and var_list is not None:
            raise InvalidArgumentError(
                "If `defer_build` is True then build() looks for the variables, and var_list cannot be given."
            )
        if write_version not in (SaverDef.V1, SaverDef.V2):
            raise InvalidArgumentError(f"write_version must be SaverDef.V1 or SaverDef.V2, not {write_version!r}.")
        if max_to_keep is not None and (
            isinstance(max_to_keep, bool) or int(max_to_keep) != max_to_keep or max_to_keep < 0
        ):
            raise InvalidArgumentError(
                f"max_to_keep must be a number from 0, or None, not {max_to_keep!r}: with -1, TensorFlow deletes every "
                "checkpoint that it has just written."
            )
        hours = as_hours(keep_checkpoint_every_n_hours, "keep_checkpoint_every_n_hours")
        self._var_list = var_list
        self._reshape, self._sharded, self._name, self._filename = reshape, sharded, name, filename
        self._allow_empty, self._pad = allow_empty, pad_step_number
        self._storage_options = storage_options
        self._clock = clock or SystemClock()
        self._graph = graph or get_default_graph()
        self._saveables: list[Saveable] | None = None
        self._saver_def = SaverDef(
            max_to_keep=int(max_to_keep or 0),
            keep_checkpoint_every_n_hours=hours,
            sharded=sharded,
            version=write_version,  # type: ignore[arg-type]
        )
        if saver_def is not None:
            self._saver_def.CopyFrom(saver_def)
            self._take_over()
        elif not defer_build:
            self.build()
        self._rule = SaverRule(
            self._saver_def.max_to_keep, self._saver_def.keep_checkpoint_every_n_hours, clock=self._clock
        )
        self._directories: dict[tuple[str, str], SaverDirectory] = {}

    # -- what it is

    def build(self) -> None:
        """Looks for what to save, and adds the nodes to the graph. Called by the constructor, unless deferred.

        Raises:
            InvalidArgumentError: There is nothing to save, or the graph is finalized.
        """
        if self._saveables is not None:
            return
        found = saveables(self._var_list, self._graph)
        if not found and not self._allow_empty:
            raise InvalidArgumentError(
                "No variables to save: the default graph has none. Make a Variable first, or pass var_list or "
                "allow_empty=True."
            )
        if found:
            specs = self._specs(found)
            nodes = SaveNodes(
                self._graph,
                specs,
                sharded=self._saver_def.sharded,
                version=self._saver_def.version,
                reshape=self._reshape,
            )
            self._saver_def.MergeFrom(nodes.add(name=self._name, filename=self._filename))
        self._saveables = found

    def _specs(self, found: Sequence[Saveable]) -> list[SaveSpec]:
        """What the nodes are made for: the variables of one graph, or else a graph made for the purpose."""
        holders = [piece.holder for saveable in found for piece in saveable.pieces]
        graphs = {id(holder.graph): holder.graph for holder in holders if isinstance(holder, Variable)}
        if len(graphs) == 1 and all(isinstance(holder, Variable) for holder in holders):
            (self._graph,) = graphs.values()
            return [spec for saveable in found for spec in saveable.specs]
        self._graph = Graph()
        return declare(self._graph, declarations(found))

    def _take_over(self) -> None:
        specs = read_specs(self._graph, self._saver_def) if self._saver_def.restore_op_name else []
        self._saveables = of_specs(specs)

    @property
    def graph(self) -> Graph:
        """The graph that its nodes are in: run tensors of it with `saver.graph.run("add:0")`."""
        return self._graph

    @property
    def variables(self) -> list[Any]:
        """What it saves and restores: variables, or the arrays it was given, in the order of the names."""
        return [holder for _, holder in self.items()]

    def items(self) -> list[tuple[str, Any]]:
        """Each of its variables with its name in the checkpoint; the parts of a partitioned one have the same."""
        return [(saveable.key, piece.holder) for saveable in self._built() for piece in saveable.pieces]

    @property
    def meta_graph(self) -> MetaGraph:
        """The MetaGraph as it would be saved now."""
        return MetaGraph(export_graph(self._graph, self.as_saver_def()))

    def as_saver_def(self) -> SaverDef:
        """A copy of the message that says how TensorFlow saves and restores with its nodes."""
        out = SaverDef()
        out.CopyFrom(self._saver_def)
        return out

    def to_proto(self, export_scope: str | None = None) -> SaverDef | None:
        """The message, with names below a scope without it; None if it is not below that scope."""
        if export_scope is None:
            return self.as_saver_def()
        under = f"{export_scope.rstrip('/')}/"
        if not self._saver_def.filename_tensor_name.startswith(under):
            return None
        out = self.as_saver_def()
        for field in ("filename_tensor_name", "save_tensor_name", "restore_op_name"):
            setattr(out, field, getattr(out, field).removeprefix(under))
        return out

    @staticmethod
    def from_proto(saver_def: SaverDef, import_scope: str | None = None) -> Saver:
        """The Saver whose nodes are in the default graph, below a scope if one is given."""
        return Saver(saver_def=scoped_saver(saver_def, (import_scope or "").rstrip("/")), name=import_scope)

    # -- saving

    def save(
        self,
        save_path: Path,
        global_step: Any = None,
        latest_filename: str | None = None,
        meta_graph_suffix: str = META_SUFFIX,
        write_meta_graph: bool = True,
        write_state: bool = True,
        strip_default_attrs: bool = False,
        save_debug_info: bool = False,
    ) -> str | None:
        """Saves, makes the checkpoint the latest, and deletes the one that is then too old to be kept.

        Order on the store: data, `.meta`, `.index`, state file, deletion. Once this returns the checkpoint is durable.

        Saving a path again replaces the checkpoint of that path, without a moment in which there is none: the new one
        is written under another name first, and under its own once the old one has gone. If that cannot be had, the
        path that is returned says where it is.

        Args:
            save_path: The path without a step, or a URL.
            global_step: Appended to it: "model.ckpt-100". A number, or a variable or tensor, or its name.
            latest_filename: The name of the state file; by default "checkpoint".
            meta_graph_suffix: The ending of the MetaGraph's file.
            write_meta_graph: Write that file.
            write_state: Make it count. Without, the files alone are written, and nothing is deleted.
            strip_default_attrs: Leave out of the MetaGraph what older TensorFlows may not know.
            save_debug_info: Not supported.

        Returns:
            The path to be given to `restore`; None if there is nothing to save and that is allowed.

        Raises:
            InvalidArgumentError: An argument cannot be meant, or a variable has no value; nothing was written.
            FencedError, CommitConflictError, CommitUnknownError, StateError, StorageError: As in
                `CheckpointManager.save`.
        """
        if not isinstance(save_path, str | os.PathLike):
            raise InvalidArgumentError(
                f"save_path must be a path, not a {type(save_path).__name__}: there is no session to pass."
            )
        if save_debug_info:
            raise InvalidArgumentError("save_debug_info is not supported: nodes made here have no stack traces.")
        if self._saveables is None:
            raise InvalidArgumentError("`build()` should be called before save if defer_build==True")
        state = latest_filename or STATE_FILE
        if "/" in state:
            raise InvalidArgumentError(f"'latest_filename' must not contain path components: {state!r}")
        if not meta_graph_suffix or "/" in meta_graph_suffix or meta_graph_suffix.startswith(("index", "data-")):
            raise InvalidArgumentError(
                f"meta_graph_suffix={meta_graph_suffix!r} cannot be the ending of the MetaGraph."
            )
        path = os.fspath(save_path)
        if global_step is None:
            if path.rpartition("/")[2] == state and not self._saver_def.sharded:
                raise InvalidArgumentError(f"'latest_filename' collides with 'save_path': {state!r} and {path!r}")
        else:
            step = self._step(global_step)
            path = f"{path}-{step:08d}" if self._pad else f"{path}-{step}"
        if not self._saveables and not write_meta_graph:
            return None
        meta = self._meta(strip_default_attrs=strip_default_attrs) if write_meta_graph else None
        if not self._saveables:
            self._write_meta(path, meta_graph_suffix, meta)
            return None
        directory = self._opened(split_path(path)[0], state)
        version, sharded = self._saver_def.version, self._saver_def.sharded
        if not write_state:
            return directory.write_unlisted(
                path, self._saveables, meta=meta, meta_suffix=meta_graph_suffix, sharded=sharded, version=version
            )
        saved, elsewhere = directory.save(
            path,
            self._saveables,
            meta=meta,
            meta_suffix=meta_graph_suffix,
            sharded=sharded,
            version=version,
            rule=self._rule,
        )
        if elsewhere is not None:
            try:
                self._opened(split_path(elsewhere)[0], state).remove(elsewhere)
            except CheckpointError as error:  # the save counts
                warnings.warn(
                    f"The checkpoint is saved; removing {elsewhere} failed ({error.message}).",
                    RetentionWarning,
                    stacklevel=2,
                )
        return saved

    def _meta(self, *, strip_default_attrs: bool) -> bytes:
        saver_def = self._saver_def if self._saver_def.restore_op_name else None
        return MetaGraph(export_graph(self._graph, saver_def, strip_default_attrs=strip_default_attrs)).to_bytes()

    def _write_meta(self, path: str, suffix: str, meta: bytes | None) -> None:
        if meta is not None:
            write_meta_graph_file(f"{path}.{suffix}", meta, self._storage_options)

    def _opened(self, parent: str, state: str) -> SaverDirectory:
        if (parent, state) not in self._directories:
            found = SaverDirectory(parent, state, self._storage_options, clock=self._clock)
            self._directories[parent, state] = found
        return self._directories[parent, state]

    def _step(self, global_step: Any) -> int:
        value = global_step
        if isinstance(value, str):
            value = self._graph.tensor(value)
        if isinstance(value, Variable):
            value = value.numpy()
        elif isinstance(value, Tensor):
            variables = {v.snapshot.name: v for v in self._graph.get_collection("variables")}
            variables |= {v.name: v for v in variables.values()}
            value = variables[value.name].numpy() if value.name in variables else self._graph.run(value.name)
        elif callable(getattr(value, "numpy", None)):
            value = value.numpy()
        array = np.asarray(value)
        if array.dtype.kind not in "iub" or array.size != 1:
            raise InvalidArgumentError(f"global_step must be an integer, or a variable that holds one, not {value!r}.")
        return int(array.reshape(()))

    # -- restoring

    def restore(self, save_path: Path, *, names: Iterable[str] | None = None, strict: bool = True) -> RestoreReport:
        """Restores its variables, all or none, each tensor held against its checksum.

        Args:
            save_path: What `save` returned, a V1 file or pattern, or a directory (then its latest checkpoint); or
                a URL.
            names: Only what it saves under these names, or patterns such as "encoder/*". None: everything.
            strict: Every name must be in the checkpoint. False: variables whose name is not keep their values, and the
                report lists them.

        Returns:
            What was restored, and what of the checkpoint was not used.

        Raises:
            CheckpointNotFoundError: There is no such checkpoint.
            TensorNotFoundError: Names are not in it; the error lists all of them with the nearest that are, all that it
                holds besides, and whatever does not fit.
            IncompatibleTensorError: Shapes or types differ; all of those are listed. (TensorFlow changes the shape of
                a resource variable without a word.)
            DataLossError: It is damaged.
        """
        if save_path is None:
            raise InvalidArgumentError("Can't load save_path when it is None.")
        targets = {saveable.key: saveable.target for saveable in self._chosen(names)}
        if not targets:
            return RestoreReport(os.fspath(save_path))
        with load_checkpoint(self._located(save_path), storage_options=self._storage_options) as reader:
            if self._reshape:
                shapes = {key: reader.info(key).shape for key in targets if key in reader}
                targets = {k: reshaped(target, shapes[k]) if k in shapes else target for k, target in targets.items()}
            return reader.restore(assignment_map=targets, strict=strict).report

    def _located(self, save_path: Path) -> str:
        """Where a checkpoint is: a name that was saved again may stand in a directory of its own."""
        parent, key = split_path(save_path)
        with from_url(parent, self._storage_options) as store:
            found = find_checkpoint(store, key)
        return os.fspath(save_path) if found is None else join_path(parent, found)

    # -- the list of what it keeps

    @property
    def last_checkpoints(self) -> list[str]:
        """The paths of the checkpoints that it keeps, oldest first."""
        return [path for path, _ in self._rule.last]

    def set_last_checkpoints(self, last_checkpoints: Sequence[str]) -> None:
        """Sets the list of what it keeps; those are never deleted, as in TensorFlow. Deprecated."""
        self.set_last_checkpoints_with_time([(path, math.inf) for path in _a_list(last_checkpoints)])

    def set_last_checkpoints_with_time(self, last_checkpoints_with_time: Sequence[tuple[str, float]]) -> None:
        """Sets the list of what it keeps: path and time (seconds since 1970) of each, oldest first."""
        self._rule.last = [(str(path), float(time)) for path, time in _a_list(last_checkpoints_with_time)]

    def recover_last_checkpoints(self, checkpoint_paths: Sequence[str]) -> None:
        """Sets the list after a restart to those of these paths that exist, with the times of their files."""
        kept = []
        for path in _a_list(checkpoint_paths):
            times = get_checkpoint_mtimes([path], storage_options=self._storage_options)
            kept += [(os.fspath(path), times[0])] if times else []
        self.set_last_checkpoints_with_time(kept)

    # -- the MetaGraph

    def export_meta_graph(
        self,
        filename: Path | None = None,
        collection_list: Iterable[str] | None = None,
        as_text: bool = False,
        export_scope: str | None = None,
        clear_devices: bool = False,
        clear_extraneous_savers: bool = False,
        strip_default_attrs: bool = False,
        save_debug_info: bool = False,
        *,
        as_json: bool = False,
    ) -> MetaGraph:
        """The MetaGraph, written to a file if one is named.

        Args:
            filename: The file, or its URL.
            collection_list: The keys of the collections to write. None: all.
            as_text: Write TensorFlow's text form, not the binary one.
            export_scope: Only what is below this scope.
            clear_devices: Leave out where nodes are placed.
            clear_extraneous_savers: Leave out the nodes of other Savers.
            strip_default_attrs: Leave out attributes that have the op's default.
            save_debug_info: Not supported.
            as_json: Write JSON.

        Raises:
            StorageError: The file cannot be written.
        """
        if save_debug_info:
            raise InvalidArgumentError("save_debug_info is not supported: nodes made here have no stack traces.")
        return export_meta_graph(
            filename,
            self._graph,
            self._saver_def if self._saver_def.restore_op_name else None,
            collection_list,
            as_text,
            export_scope,
            clear_devices,
            clear_extraneous_savers,
            strip_default_attrs,
            as_json=as_json,
            storage_options=self._storage_options,
        )

    # -- inside

    def _chosen(self, names: Iterable[str] | None) -> list[Saveable]:
        found = self._built()
        if names is None:
            return found
        patterns = _a_list(names)
        chosen = [s for s in found if any(s.key == name or fnmatchcase(s.key, name) for name in patterns)]
        idle = [name for name in patterns if not any(s.key == name or fnmatchcase(s.key, name) for s in chosen)]
        if idle:
            raise InvalidArgumentError(f"The Saver has nothing under {', '.join(map(repr, idle))}.", name=idle[0])
        return chosen

    def _built(self) -> list[Saveable]:
        if self._saveables is None:
            raise InvalidArgumentError("`build()` should be called before save or restore if defer_build==True")
        return self._saveables

    def close(self) -> None:
        """Lets go of connections; saving again opens them again."""
        self._directories.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        count = "not built" if self._saveables is None else f"{len(self._saveables)} names"
        return f"<Saver of {count}>"


def _a_list(value: Any) -> list[Any]:
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        raise InvalidArgumentError(f"A list of checkpoints is needed, not {value!r:.80}.")
    return list(value)
