"""The nodes that tf.train.Saver adds to a graph, by which TensorFlow saves and restores it.

Tensors come in ascending order of their names in the checkpoint. With `sharded` there is one group of nodes per device.
Source: BaseSaverBuilder in tensorflow/python/training/saver.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ckptstore._proto.saver_pb2 import SaverDef
from ckptstore.graph.devices import canonical, on_first_cpu
from ckptstore.graph.graph import Graph
from ckptstore.graph.tensor import Operation, Tensor
from ckptstore.graph.variable import Variable


@dataclass(frozen=True, slots=True)
class SaveSpec:
    """One tensor of a checkpoint, or one piece.

    Attributes:
        key: Its name in the checkpoint.
        variable: The variable that it is the value of.
        sliced: Whether it is a part of a partitioned variable, saved under the name of the whole.
    """

    key: str
    variable: Variable
    sliced: bool = False

    @property
    def shape_and_slice(self) -> str:
        """What a save node says of it: "" if it is whole, else "10 4 0,4:0,4"."""
        info = self.variable.save_slice_info
        return info.spec if self.sliced and info is not None else ""


def by_device(specs: Sequence[SaveSpec]) -> list[tuple[str, list[SaveSpec]]]:
    """Groups of what lies on one device, in the order of the devices' names."""
    groups: dict[str, list[SaveSpec]] = {}
    for spec in specs:
        groups.setdefault(canonical(spec.variable.device), []).append(spec)
    return sorted(groups.items())


class SaveNodes:
    """Adds the nodes of one Saver.

    Args:
        graph: Where to.
        specs: What is saved, in order.
        sharded: One file per device.
        version: SaverDef.V1 or V2.
        reshape: Restore tensors of another shape with as many elements.
    """

    def __init__(self, graph: Graph, specs: Sequence[SaveSpec], *, sharded: bool, version: int, reshape: bool) -> None:
        self._graph = graph
        self._specs = list(specs)
        self._sharded = sharded
        self._v1 = version == SaverDef.V1
        self._version = version
        self._reshape = reshape

    def add(self, *, name: str | None = None, filename: str | None = None) -> SaverDef:
        """Adds them.

        Args:
            name: The scope; by default "save", made unique.
            filename: The path that is saved to if none is fed.

        Returns:
            How to reach them; what the Saver keeps is left to the caller.
        """
        graph = self._graph
        with graph.name_scope(name or "save"):
            default = graph.create_op("PlaceholderWithDefault", [filename or "model"], {"shape": ()}, name="filename")
            prefix = graph.create_op("PlaceholderWithDefault", [default.outputs[0]], {"shape": ()}, name="Const")
            path = prefix.outputs[0]
            if self._sharded:
                groups = by_device(self._specs)
                saved = self._save_sharded_v1(path, groups) if self._v1 else self._save_sharded(path, groups)
                restored = self._restore_sharded(path, groups)
            else:
                saved = self._save(path, self._specs)
                restored = self._restore(path, self._specs, "restore_all")
        return SaverDef(
            filename_tensor_name=path.name,
            save_tensor_name=saved.name,
            restore_op_name=restored.name,
            sharded=self._sharded,
            version=self._version,  # type: ignore[arg-type]
        )

    # -- saving

    def _save(self, path: Tensor, specs: Sequence[SaveSpec]) -> Tensor:
        graph = self._graph
        values = [self._value(spec) for spec in specs]
        names, slices = [spec.key for spec in specs], [spec.shape_and_slice for spec in specs]
        if self._v1:
            done = graph.create_op("SaveSlices", [path, _strings(names), _strings(slices), values], name="save")
        else:
            done = graph.create_op("SaveV2", [path, _strings(names), _strings(slices), values])
        with graph.control_dependencies([done]):
            return graph.create_op("Identity", [path], name="control_dependency", colocate_with=path.op).outputs[0]

    def _value(self, spec: SaveSpec) -> Tensor:
        variable, graph = spec.variable, self._graph
        if not variable.is_resource:
            return variable.snapshot if spec.sliced else variable.handle
        if not spec.sliced:
            return variable.snapshot
        with graph.device(variable.device):
            with graph.name_scope("Read"):
                graph.create_op("DisableCopyOnRead", [variable.handle])
                value = graph.create_op("ReadVariableOp", [variable.handle], {"dtype": variable.dtype}).outputs[0]
            copied = graph.create_op("Identity", [value])
            with graph.device("/device:CPU:0"):
                return graph.create_op("Identity", [copied.outputs[0]]).outputs[0]

    def _save_sharded(self, path: Tensor, groups: Sequence[tuple[str, list[SaveSpec]]]) -> Tensor:
        graph = self._graph
        with graph.device("/device:CPU:*"):
            on_s3 = graph.create_op("StaticRegexFullMatch", [path], {"pattern": "^s3://.*"}).outputs[0]
            choice = [on_s3, graph.constant(".part"), graph.constant("_temp/part")]
            chosen = graph.create_op("Select", choice).outputs[0]
            parts = graph.create_op("StringJoin", [[path, chosen]]).outputs[0]
        count = graph.constant(len(groups), name="num_shards")
        files, saves = [], []
        device = ""
        for shard, (on, specs) in enumerate(groups):
            device = on_first_cpu(on)
            with graph.device(device):
                files.append(graph.create_op("ShardedFilename", [parts, shard, count]).outputs[0])
                saves.append(self._save(files[-1], specs))
        with graph.control_dependencies(saves), graph.device(device), graph.name_scope("MergeV2Checkpoints") as scope:
            packed = graph.create_op("Pack", [files], name="checkpoint_prefixes").outputs[0]
            merged = graph.create_op("MergeV2Checkpoints", [packed, path], name=scope)
        with graph.control_dependencies(saves), graph.device(device), graph.control_dependencies([merged]):
            return graph.create_op("Identity", [path]).outputs[0]

    def _save_sharded_v1(self, path: Tensor, groups: Sequence[tuple[str, list[SaveSpec]]]) -> Tensor:
        graph = self._graph
        count = graph.constant(len(groups), name="num_shards")
        saves = []
        for shard, (device, specs) in enumerate(groups):
            with graph.device(device):
                file = graph.create_op("ShardedFilename", [path, shard, count]).outputs[0]
                saves.append(self._save(file, specs))
        with graph.control_dependencies(saves):
            return graph.create_op("ShardedFilespec", [path, count]).outputs[0]

    # -- restoring

    def _restore(self, path: Tensor, specs: Sequence[SaveSpec], name: str) -> Operation:
        graph = self._graph
        with graph.device("/device:CPU:0"):
            names, slices = [spec.key for spec in specs], [spec.shape_and_slice for spec in specs]
            dtypes = {"dtypes": [spec.variable.dtype for spec in specs]}
            values = graph.create_op("RestoreV2", [path, _strings(names), _strings(slices)], dtypes).outputs
        return graph.group(
            *(self._assign(spec.variable, value) for spec, value in zip(specs, values, strict=True)), name=name
        )

    def _assign(self, variable: Variable, value: Tensor) -> Operation:
        graph = self._graph
        shape = variable.shape
        known = shape is not None and None not in shape
        if self._reshape:
            wanted = (
                np.asarray(shape, np.int32)
                if known
                else graph.create_op("Shape", [variable.snapshot if variable.is_resource else variable.handle]).outputs[
                    0
                ]
            )
            value = graph.create_op("Reshape", [value, wanted]).outputs[0]
        if not variable.is_resource:
            attrs = {"validate_shape": known and not self._reshape}
            return graph.create_op("Assign", [variable.handle, value], attrs, colocate_with=variable.op)
        with graph.device(variable.device):
            copied = graph.create_op("Identity", [value]).outputs[0]
            return graph.create_op("AssignVariableOp", [variable.handle, copied])

    def _restore_sharded(self, path: Tensor, groups: Sequence[tuple[str, list[SaveSpec]]]) -> Operation:
        graph = self._graph
        restored = []
        for device, specs in groups:
            with graph.device(device):
                restored.append(self._restore(path, specs, "restore_shard"))
        return graph.group(*restored, name="restore_all")


def _strings(values: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    out = np.empty(len(values), dtype=object)
    out[:] = [value.encode("utf-8", "surrogateescape") for value in values]
    return out
