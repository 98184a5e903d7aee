"""Variables of a graph, with their values.

Nodes of a variable "v":

    reference (VariableV2)                          resource (VarHandleOp)
    v/initial_value          Const                  v/Initializer/initial_value          Const
    v                        VariableV2             v                                    VarHandleOp
    v/Assign                 Assign                 v/IsInitialized/VarIsInitializedOp   VarIsInitializedOp
    v/read                   Identity               v/Assign                             AssignVariableOp
                                                    v/Read/ReadVariableOp                ReadVariableOp

Source: RefVariable in tensorflow/python/ops/ref_variable.py, ResourceVariable in resource_variable_ops.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from ckptstore._proto.attr_value_pb2 import AttrValue
from ckptstore._proto.variable_pb2 import SaveSliceInfoDef, VariableDef
from ckptstore.errors import IncompatibleTensorError, InvalidArgumentError
from ckptstore.format.dtypes import DType, as_dtype, from_numpy
from ckptstore.format.tensor import as_array
from ckptstore.graph.attributes import Shape
from ckptstore.graph.collections import GraphKeys
from ckptstore.graph.graph import Graph, get_default_graph
from ckptstore.graph.operators import Operators
from ckptstore.graph.slice_info import SaveSliceInfo
from ckptstore.graph.tensor import Operation, Tensor
from ckptstore.graph.tensors import filled, to_array

MAX_CONSTANT = 1 << 28
"""The largest initial value, in bytes, that is put into a graph. A GraphDef cannot be larger than 2 GiB."""


class Variable(Operators):
    """A variable of a graph, and its value.

    Args:
        initial_value: An array or what numpy makes one of, a tensor of the graph, or a function that returns one. An
            array of over 256 MiB is not recorded in the graph, which then says zeros.
        trainable: Whether it is put into the collection of trainable variables.
        name: Its name; made unique. By default "Variable".
        dtype: Its element type; by default that of the value, Python's floats and ints being float32 and int32.
        collections: The keys that it is put under; by default that of the global variables.
        use_resource: Make it a resource (VarHandleOp), and not a reference (VariableV2), which every TensorFlow reads.
        save_slice_info: Which part of a partitioned variable it is.
        aggregation: What tf.VariableAggregation says, which is only written down.
        initialize: Give it its initial value now. Otherwise it has none until it is assigned or restored, as in
            TensorFlow before the initializer has run.
        graph: Where it belongs; by default the default graph.

    Raises:
        IncompatibleTensorError: The value cannot be stored, or not as that type.
        InvalidArgumentError: The name cannot be one.
    """

    __slots__ = (
        "_graph",
        "_initial_value",
        "_initializer",
        "_op",
        "_replicas",
        "_snapshot",
        "save_slice_info",
        "trainable",
    )

    def __init__(
        self,
        initial_value: Any,
        *,
        trainable: bool = True,
        name: str = "Variable",
        dtype: Any = None,
        collections: Iterable[str] | None = None,
        use_resource: bool = False,
        save_slice_info: SaveSliceInfo | None = None,
        aggregation: int = 0,
        initialize: bool = True,
        graph: Graph | None = None,
    ) -> None:
        graph = self._graph = graph or get_default_graph()
        self._initial_value: Tensor | None
        self.trainable = trainable
        self.save_slice_info = save_slice_info
        self._replicas = (0, aggregation)
        wanted = None if dtype is None else as_dtype(dtype)
        with graph.name_scope(name) as scope, graph.control_dependencies(None):
            make = self._make_resource if use_resource else self._make_reference
            made = initial_value
            if callable(initial_value) and not isinstance(initial_value, Operators):
                made = initial_value()
            if not isinstance(made, Operators):
                made = _array(made, wanted, name)
            make(made, wanted, scope, called=made is not initial_value and callable(initial_value))
        if initialize:
            graph.values[scope[:-1]] = np.array(graph.run(made) if isinstance(made, Operators) else made)
        keys = list(collections) if collections is not None else [GraphKeys.GLOBAL_VARIABLES]
        if trainable and GraphKeys.TRAINABLE_VARIABLES not in keys:
            keys.append(GraphKeys.TRAINABLE_VARIABLES)
        graph.add_to_collections(keys, self)

    def _make_reference(self, value: Any, dtype: DType | None, scope: str, *, called: bool) -> None:
        graph, node = self._graph, scope[:-1]
        attrs: dict[str, Any] = {}
        if called:
            with graph.name_scope("Initializer"), graph.device(None):
                first = _initial(graph, value, dtype, "Const", colocated=node)
            attrs["_class"] = _together(node)
        else:
            first = _initial(graph, value, dtype, "initial_value")
        attrs |= {"shape": first.shape, "dtype": first.dtype}
        self._initial_value = first
        self._op = graph.create_op("VariableV2", (), attrs, name=scope)
        handle = self._op.outputs[0]
        attrs = {"validate_shape": _is_known(first.shape)}
        self._initializer = graph.create_op("Assign", [handle, first], attrs, name="Assign", colocate_with=self._op)
        self._snapshot = graph.create_op("Identity", [handle], name="read", colocate_with=self._op).outputs[0]

    def _make_resource(self, value: Any, dtype: DType | None, scope: str, *, called: bool) -> None:
        graph, node = self._graph, scope[:-1]
        with graph.name_scope("Initializer"), graph.device(None):
            first = _initial(graph, value, dtype, "Const" if called else "initial_value", colocated=node)
        attrs = {
            "shape": first.shape,
            "dtype": first.dtype,
            "shared_name": node,
            "debug_name": f"{node}/",
            "_class": _together(node),
        }
        self._initial_value = first
        self._op = graph.create_op("VarHandleOp", (), attrs, name=scope)
        handle = self._op.outputs[0]
        with graph.name_scope("IsInitialized"):
            graph.create_op("VarIsInitializedOp", [handle])
        self._initializer = graph.create_op("AssignVariableOp", [handle, first], name="Assign")
        with graph.name_scope("Read"):
            self._snapshot = graph.create_op("ReadVariableOp", [handle], {"dtype": first.dtype}).outputs[0]

    @classmethod
    def of(cls, operation: Operation) -> Variable:
        """The variable of a node that no collection tells of."""
        self = cls.__new__(cls)
        self._graph, self._op = operation.graph, operation
        self._initializer, self._initial_value = operation, None
        self._snapshot = operation.outputs[0]
        self._replicas, self.trainable, self.save_slice_info = (0, 0), False, None
        return self

    @classmethod
    def from_proto(cls, definition: VariableDef, graph: Graph, import_scope: str | None = None) -> Variable:
        """The variable of nodes that are there. It has no value yet, unless the graph has one for it.

        Raises:
            InvalidArgumentError: A node that the message names is not there, or no variable.
        """
        self = cls.__new__(cls)
        scope = f"{import_scope}/" if import_scope else ""

        def tensor(name: str) -> Tensor:
            return graph.tensor(scope + name)

        self._graph = graph
        self._op = tensor(definition.variable_name).op
        if self._op.type not in ("VariableV2", "Variable", "VarHandleOp"):
            raise InvalidArgumentError(
                f"The collections name {self._op.name!r} a variable, and it is a {self._op.type}.", name=self._op.name
            )
        self._initializer = graph.operation(scope + definition.initializer_name)
        self._snapshot = tensor(definition.snapshot_name)
        named = definition.initial_value_name
        inputs = () if named else self._initializer.inputs  # old files do not name it
        self._initial_value = tensor(named) if named else inputs[1] if len(inputs) > 1 else None
        self.trainable = definition.trainable
        self._replicas = (definition.synchronization, definition.aggregation)
        self.save_slice_info = None
        if definition.HasField("save_slice_info_def"):
            info = definition.save_slice_info_def
            self.save_slice_info = SaveSliceInfo(
                scope + info.full_name, tuple(info.full_shape), tuple(info.var_offset), tuple(info.var_shape)
            )
        return self

    def to_proto(self, export_scope: str | None = None) -> VariableDef:
        """The message that collections hold; names below a scope without it."""
        scope = f"{export_scope}/" if export_scope else ""
        out = VariableDef(
            variable_name=self.name.removeprefix(scope),
            initializer_name=self._initializer.name.removeprefix(scope),
            snapshot_name=self._snapshot.name.removeprefix(scope),
            trainable=self.trainable,
            synchronization=self._replicas[0],  # type: ignore[arg-type]
            aggregation=self._replicas[1],  # type: ignore[arg-type]
        )
        if self._initial_value is not None:
            out.initial_value_name = self._initial_value.name.removeprefix(scope)
        if self.is_resource:
            out.is_resource = True
        if (info := self.save_slice_info) is not None:
            out.save_slice_info_def.CopyFrom(
                SaveSliceInfoDef(
                    full_name=info.full_name.removeprefix(scope),
                    full_shape=info.full_shape,
                    var_offset=info.var_offset,
                    var_shape=info.var_shape,
                )
            )
        return out

    # -- what it is

    @property
    def graph(self) -> Graph:
        """The graph it is part of."""
        return self._graph

    @property
    def op(self) -> Operation:
        """Its node."""
        return self._op

    @property
    def name(self) -> str:
        """Its name: "v:0"."""
        return f"{self._op.name}:0"

    @property
    def dtype(self) -> DType:
        """Its element type."""
        found: DType = self._op.get_attr("dtype")
        return found

    @property
    def shape(self) -> tuple[int | None, ...] | None:
        """Its static shape."""
        shape: tuple[int | None, ...] | None = self._op.get_attr("shape")
        # Old graphs say of a variable whose shape they do not check that it has none.
        return shape

    @property
    def device(self) -> str:
        """The device it is placed on; "" for any."""
        return self._op.device

    @property
    def is_resource(self) -> bool:
        """Whether it is a resource, and not a reference."""
        return self._op.type == "VarHandleOp"

    @property
    def handle(self) -> Tensor:
        """The tensor that stands for the variable itself: a reference, or a resource."""
        return self._op.outputs[0]

    @property
    def snapshot(self) -> Tensor:
        """The tensor that reads it, which every variable has."""
        return self._snapshot

    @property
    def initializer(self) -> Operation:
        """The operation that gives it its initial value."""
        return self._initializer

    @property
    def initial_value(self) -> Tensor | None:
        """Its initial value, where the graph says which."""
        return self._initial_value

    # -- its value

    def value(self) -> Tensor:
        """The tensor to calculate with."""
        if not self.is_resource:
            return self._snapshot
        return self._graph.create_op("ReadVariableOp", [self.handle], {"dtype": self.dtype}).outputs[0]

    def is_initialized(self) -> bool:
        """Whether it has a value: those of an imported graph have none until they are restored."""
        return self._op.name in self._graph.values

    def numpy(self) -> np.ndarray[Any, Any]:
        """Its value.

        Raises:
            InvalidArgumentError: It has none yet.
        """
        try:
            return self._graph.values[self._op.name]
        except KeyError:
            raise InvalidArgumentError(
                f"The variable {self._op.name!r} has no value yet: restore a checkpoint, or assign one.",
                name=self._op.name,
            ) from None

    def eval(self) -> np.ndarray[Any, Any]:
        """Its value, as `numpy`."""
        return self.numpy()

    def assign(self, value: Any) -> Variable:
        """Gives it a value, of its type and shape.

        Raises:
            IncompatibleTensorError: It is of another type or shape; nothing is changed.
        """
        array = self._fitting(value)
        self._graph.values[self._op.name] = np.array(array) if _may_share(array, value) else array
        return self

    def assign_add(self, delta: Any) -> Variable:
        """Adds to its value."""
        return self.assign(self.numpy() + self._fitting(delta))

    def assign_sub(self, delta: Any) -> Variable:
        """Subtracts from its value."""
        return self.assign(self.numpy() - self._fitting(delta))

    def load(self, value: Any) -> None:
        """Gives it a value, as `assign`."""
        self.assign(value)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.array(self.numpy(), dtype=dtype) if copy else np.asarray(self.numpy(), dtype=dtype)

    def _fitting(self, value: Any) -> np.ndarray[Any, Any]:
        shape = self.shape
        if isinstance(value, Tensor):
            value = self._graph.run(value)
        try:
            array, _ = as_array(to_array(value, None if hasattr(value, "dtype") else self.dtype), self.name, self.dtype)
        except (TypeError, ValueError, OverflowError) as error:
            if isinstance(error, IncompatibleTensorError):
                raise
            raise IncompatibleTensorError(f"{value!r:.80} cannot be {self.dtype}: {error}.", name=self.name) from error
        fits = shape is None or (
            len(shape) == array.ndim and all(n is None or n == m for n, m in zip(shape, array.shape, strict=True))
        )
        if not fits:
            raise IncompatibleTensorError(
                f"The variable {self._op.name!r} has the shape {list(shape or ())} and cannot hold an array of "
                f"{list(array.shape)}.",
                name=self._op.name,
            )
        return array

    def __hash__(self) -> int:
        return hash((id(self._graph), self._op.name))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Variable) and other._graph is self._graph and other._op is self._op

    def __repr__(self) -> str:
        shape = "?" if self.shape is None else list(self.shape)
        return f"<Variable {self.name!r} shape={shape} dtype={self.dtype}>"


def _array(value: Any, dtype: DType | None, name: str) -> np.ndarray[Any, Any]:
    try:
        return as_array(to_array(value, dtype), name, dtype)[0]
    except (TypeError, ValueError, OverflowError) as error:
        if isinstance(error, IncompatibleTensorError):
            raise
        raise IncompatibleTensorError(
            f"{value!r:.80} cannot be the value of a variable: {error}.", name=name
        ) from error


def _initial(graph: Graph, value: Any, dtype: DType | None, name: str, colocated: str | None = None) -> Tensor:
    """The tensor of an initial value; a constant is kept beside the variable."""
    if isinstance(value, Operators):
        found = graph.as_tensor(value)
        return found if dtype is None else graph.cast(found, dtype)
    if value.nbytes > MAX_CONSTANT:
        kind = from_numpy(value.dtype) if dtype is None else dtype
        attrs = {"value": filled(kind, value.shape), "dtype": kind}
        constant = graph.create_op("Const", (), attrs, name=name).outputs[0]
    else:
        constant = graph.constant(value, dtype, name=name)
    if colocated is not None:
        constant.op.node_def.attr["_class"].CopyFrom(_together(colocated))
    return constant


def _is_known(shape: Shape) -> bool:
    return shape is not None and None not in shape


def _together(node: str) -> AttrValue:
    out = AttrValue()
    out.list.s.append(f"loc:@{node}".encode())
    return out


def _may_share(array: np.ndarray[Any, Any], value: Any) -> bool:
    return isinstance(value, np.ndarray) and math.prod(array.shape) > 0 and np.shares_memory(array, value)
