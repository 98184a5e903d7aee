"""A graph that is being built, node by node, as TensorFlow's Python builds it.

Nodes get the names, inputs, attributes and devices that tf.Graph would give them. Unlike there, variables have values
from the start: `values` is what a session would hold.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ckptstore._proto.function_pb2 import FunctionDefLibrary
from ckptstore._proto.graph_pb2 import GraphDef
from ckptstore._proto.node_def_pb2 import NodeDef
from ckptstore._proto.op_def_pb2 import OpDef
from ckptstore.errors import IncompatibleTensorError, InvalidArgumentError
from ckptstore.format.dtypes import DType, as_dtype
from ckptstore.graph.attributes import Shape, decode_shape
from ckptstore.graph.collections import Collections
from ckptstore.graph.devices import DeviceSpec
from ckptstore.graph.evaluator import Evaluator
from ckptstore.graph.names import check_node, check_scope, split_tensor
from ckptstore.graph.nodes import NodeBuilder, outputs_of
from ckptstore.graph.op_defs import op_def
from ckptstore.graph.operators import Operators
from ckptstore.graph.tensor import Operation, Tensor
from ckptstore.graph.tensors import make_tensor_proto, to_array

PRODUCER = 2474
"""The version of GraphDefs that this module writes: TensorFlow 2.21's."""

_KNOWS_FUNCTIONS = 12  # the least version that reads functions


class Graph(Collections):
    """Nodes, collections and the values of variables.

    Attributes:
        values: The values of variables by the names of their nodes.
        library: The functions that nodes call.
        op_defs: Definitions of ops that are not among the known ones; an imported MetaGraph brings them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, np.ndarray[Any, Any]] = {}
        self.library = FunctionDefLibrary()
        self.op_defs: dict[str, OpDef] = {}
        self.finalized = False
        self._operations: dict[str, Operation] = {}
        self._names: dict[str, int] = {}
        self._scope = ""
        self._device = DeviceSpec()
        self._controls: tuple[tuple[tuple[Operation, ...], set[str]], ...] = ()

    # -- what is there

    @property
    def operations(self) -> tuple[Operation, ...]:
        """All nodes in the order in which they were made."""
        return tuple(self._operations.values())

    def operation(self, name: str) -> Operation:
        """The node of a name.

        Raises:
            InvalidArgumentError: There is none.
        """
        if name not in self._operations:
            raise InvalidArgumentError(f"The graph has no node {name!r}.", name=str(name))
        return self._operations[name]

    def tensor(self, name: str) -> Tensor:
        """The tensor of a name, such as "add:0".

        Raises:
            InvalidArgumentError: There is none.
        """
        node, number = split_tensor(name)
        outputs = self.operation(node).outputs
        if number >= len(outputs):
            raise InvalidArgumentError(f"The node {node!r} has {len(outputs)} outputs, and no {name!r}.", name=name)
        return outputs[number]

    def __contains__(self, name: object) -> bool:
        return name in self._operations

    def as_graph_def(self, *, add_shapes: bool = False) -> GraphDef:
        """The graph as a message.

        Args:
            add_shapes: Say the static shapes of outputs, in `_output_shapes`.
        """
        out = GraphDef()
        for operation in self._operations.values():
            node = out.node.add()
            node.CopyFrom(operation.node_def)
            if not add_shapes:
                node.attr.pop("_output_shapes", None)
        out.versions.producer = PRODUCER
        if self.library.ByteSize():
            out.library.CopyFrom(self.library)
            out.versions.min_consumer = _KNOWS_FUNCTIONS
        return out

    def op_def(self, op: str) -> OpDef | None:
        """The definition of an op, or None if it is not known."""
        return op_def(op) or self.op_defs.get(op)

    # -- names and places

    def unique_name(self, name: str, *, mark_as_used: bool = True) -> str:
        """A name in the current scope that no node has yet: "add", then "add_1"."""
        full = f"{self._scope}/{name}" if self._scope else name
        key = full.lower()
        number = self._names.get(key, 0)
        if mark_as_used:
            self._names[key] = number + 1
        if number == 0:
            return full
        base = key
        while key in self._names:
            key = f"{base}_{number}"
            number += 1
        if mark_as_used:
            self._names[key] = 1
        return f"{full}_{number - 1}"

    @contextlib.contextmanager
    def name_scope(self, name: str) -> Iterator[str]:
        """Names of nodes made inside begin with this; a scope that ends in "/" is entered again.

        Yields:
            The scope, with a "/" at its end. Given to `create_op` as a name, it is that of the node itself.
        """
        before = self._scope
        if name.endswith("/"):
            self._scope = name[:-1]
        elif name:
            self._scope = self.unique_name(check_scope(name) if before else check_node(name))
        else:
            self._scope = ""
        try:
            yield f"{self._scope}/" if self._scope else ""
        finally:
            self._scope = before

    @contextlib.contextmanager
    def device(self, name: str | None) -> Iterator[None]:
        """Nodes made inside are placed on this device. None: on any."""
        before = self._device
        self._device = DeviceSpec() if name is None else DeviceSpec.parse(name).within(before)
        try:
            yield
        finally:
            self._device = before

    @contextlib.contextmanager
    def control_dependencies(self, inputs: Sequence[Operation | Tensor | Operators] | None) -> Iterator[None]:
        """Nodes made inside run after these. None: after none, whatever is around."""
        before = self._controls
        if inputs is None:
            self._controls = ()
        else:
            first = tuple(item if isinstance(item, Operation) else item.value().op for item in inputs)
            self._controls = (*before, (first, set()))
        try:
            yield
        finally:
            self._controls = before

    @contextlib.contextmanager
    def as_default(self) -> Iterator[Graph]:
        """Makes it the graph that new variables and nodes belong to, in this thread."""
        _stack().append(self)
        try:
            yield self
        finally:
            _stack().remove(self)

    def finalize(self) -> None:
        """Makes it read-only."""
        self.finalized = True

    # -- building

    def create_op(
        self,
        op: str,
        inputs: Sequence[Any] = (),
        attrs: Mapping[str, Any] | None = None,
        *,
        name: str | None = None,
        colocate_with: Operation | None = None,
    ) -> Operation:
        """Adds a node.

        Args:
            op: What it computes; one of the known ops.
            inputs: One per input argument of the op: a tensor, a variable, or a value, which becomes a constant; a
                sequence of those where the argument stands for several.
            attrs: Attributes; types follow from the inputs, and others have the op's defaults.
            name: Its name, by default the op's; made unique, but for one that ends in "/", a scope that was entered.
            colocate_with: The node that it is kept together with.

        Raises:
            InvalidArgumentError: The op is not known, or an attribute is missing or not one of it.
            IncompatibleTensorError: The types of inputs do not fit.
        """
        definition = self.op_def(op)
        if definition is None:
            raise InvalidArgumentError(f"The op {op!r} is not known.", name=name)
        with self.name_scope(name or op) as scope:
            builder = NodeBuilder(self, definition, scope[:-1], attrs or {})
            builder.add_inputs(inputs)
            node, found = builder.finish(colocate_with)
        if colocate_with is None:
            node.device = str(self._device)
        self._add_controls(node)
        return self.add_node(node, found)

    def add_node(self, node: NodeDef, outputs: list[tuple[DType | None, bool, Shape]]) -> Operation:
        """Adds a node as it is.

        Raises:
            InvalidArgumentError: There is one of that name, or the graph is finalized.
        """
        if self.finalized:
            raise InvalidArgumentError("The graph is finalized and cannot be added to.", name=node.name)
        if node.name in self._operations:
            raise InvalidArgumentError(f"The graph has a node {node.name!r} already.", name=node.name)
        self._names.setdefault(node.name.lower(), 1)
        operation = Operation(self, node, outputs)
        self._operations[node.name] = operation
        for _, inside in self._controls:
            inside.add(node.name)
        return operation

    def import_node(self, node: NodeDef) -> Operation:
        """Adds a node that another graph has; what is not known of its outputs is taken from what it says itself."""
        definition = self.op_def(node.op)
        shapes: list[Shape] = (
            [decode_shape(s) for s in node.attr["_output_shapes"].list.shape] if ("_output_shapes" in node.attr) else []
        )
        if definition is None:
            return self.add_node(node, [(None, False, shape) for shape in shapes])
        types = outputs_of(definition, node)
        shapes += [None] * (len(types) - len(shapes))
        return self.add_node(node, [(dtype, ref, shape) for (dtype, ref), shape in zip(types, shapes, strict=False)])

    def as_tensor(self, value: Any, name: str = "Const", dtype: DType | None = None) -> Tensor:
        """The tensor that something stands for: itself, a variable's value, or a new constant.

        Raises:
            InvalidArgumentError: It belongs to another graph.
            IncompatibleTensorError: It cannot be a constant.
        """
        if isinstance(value, Operators):
            if value.graph is not self:
                raise InvalidArgumentError(f"{value!r} belongs to another graph.")
            return value.value()
        return self.constant(value, dtype, name=name)

    def constant(
        self, value: Any, dtype: Any = None, shape: Sequence[int] | None = None, name: str = "Const"
    ) -> Tensor:
        """A constant. A single value with a shape is repeated.

        Raises:
            IncompatibleTensorError: It cannot be stored as that type or shape.
        """
        wanted = None if dtype is None else as_dtype(dtype)
        try:
            array = to_array(value, wanted)
            if shape is not None and array.size != 1:
                array = array.reshape(shape)
            proto = make_tensor_proto(array, wanted)
        except (TypeError, ValueError, OverflowError) as error:
            raise IncompatibleTensorError(f"{value!r:.80} cannot be a constant: {error}.", name=name) from error
        if shape is not None and array.size == 1:
            del proto.tensor_shape.dim[:]
            for size in shape:
                proto.tensor_shape.dim.add(size=size)
        return self.create_op("Const", (), {"value": proto, "dtype": proto.dtype}, name=name).outputs[0]

    def placeholder(self, dtype: Any, shape: Sequence[int | None] | None = None, name: str = "Placeholder") -> Tensor:
        """A tensor to be fed when the graph runs. A shape of None, or None in it: any."""
        static = None if shape is None else tuple(shape)
        return self.create_op("Placeholder", (), {"dtype": as_dtype(dtype), "shape": static}, name=name).outputs[0]

    def cast(self, x: Any, dtype: Any, name: str = "Cast") -> Tensor:
        """A tensor as another type; itself if it has that one."""
        tensor, wanted = self.as_tensor(x, "x"), as_dtype(dtype)
        if tensor.dtype == wanted:
            return tensor
        return self.create_op("Cast", [tensor], {"DstT": wanted}, name=name).outputs[0]

    def matmul(self, a: Any, b: Any, name: str = "MatMul") -> Tensor:
        """The matrix product, of each pair of matrices where there are more than two dimensions."""
        x, y = self.as_tensor(a, "a"), self.as_tensor(b, "b")
        ranks = {None if t.shape is None else len(t.shape) for t in (x, y)}
        op = "MatMul" if ranks <= {2, None} else "BatchMatMulV2"
        return self.create_op(op, [x, y], name=name).outputs[0]

    def group(self, *inputs: Operation | Tensor | Operators, name: str = "group_deps") -> Operation:
        """A node that does nothing, after all these."""
        operations = [item if isinstance(item, Operation) else item.value().op for item in inputs]
        by_device: dict[str, list[Operation]] = {}
        for operation in operations:
            by_device.setdefault(operation.device, []).append(operation)
        with self.name_scope(name) as scope:
            if len(by_device) == 1:
                return self._after(*by_device.popitem(), scope)
            parts = [self._after(device, by_device[device], "NoOp") for device in sorted(by_device)]
            with self.control_dependencies(parts):
                return self.create_op("NoOp", name=scope)

    def _after(self, device: str, operations: Sequence[Operation], name: str) -> Operation:
        with self.control_dependencies(operations), self.device(device) if device else contextlib.nullcontext():
            return self.create_op("NoOp", name=name)

    def _add_controls(self, node: NodeDef) -> None:
        data = {split_tensor(i)[0] for i in node.input}
        first: set[str] = set()
        for operations, inside in self._controls:
            if data & inside:
                continue  # an input of it waits for them already
            for operation in operations:
                first.add(operation.name)
                operation.node_def.attr["_has_manual_control_dependencies"].b = True
        node.input.extend(f"^{name}" for name in sorted(first))

    # -- running

    def run(self, fetches: Any, feeds: Mapping[Any, Any] | None = None) -> Any:
        """Computes tensors on numpy; see `Evaluator.run`. What it assigns to variables stays."""
        return Evaluator(self.as_graph_def(), self.values).run(fetches, feeds)

    def __repr__(self) -> str:
        return f"<Graph of {len(self._operations)} nodes>"


_local = threading.local()


def _stack() -> list[Graph]:
    if not hasattr(_local, "stack"):
        _local.stack = []
    return _local.stack  # type: ignore[no-any-return]


def get_default_graph() -> Graph:
    """The graph that new variables and nodes belong to, in this thread."""
    if stack := _stack():
        return stack[-1]
    if not hasattr(_local, "graph"):
        _local.graph = Graph()
    return _local.graph  # type: ignore[no-any-return]


def reset_default_graph() -> None:
    """Begins a new default graph.

    Raises:
        InvalidArgumentError: Inside of `Graph.as_default`.
    """
    if _stack():
        raise InvalidArgumentError("reset_default_graph() cannot be called inside of `with graph.as_default():`.")
    _local.graph = Graph()
