"""tf.train.ExponentialMovingAverage: averages of variables over the steps of a training.

    average of `layer/w`: the variable `layer/w/ExponentialMovingAverage`, not trainable, at first the variable's value
    update: average -= (1 - decay) * (average - value)
    with num_updates: decay = min(decay, (1 + num_updates) / (10 + num_updates))

Source: tensorflow/python/training/moving_averages.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ckptstore.checkpoint.restored import RestoreReport
from ckptstore.errors import IncompatibleTensorError, InvalidArgumentError
from ckptstore.graph.collections import GraphKeys
from ckptstore.graph.graph import Graph, get_default_graph
from ckptstore.graph.partitioned_variable import PartitionedVariable
from ckptstore.graph.slice_info import SaveSliceInfo
from ckptstore.graph.tensor import Operation, Tensor
from ckptstore.graph.variable import Variable
from ckptstore.train.checkpoint_management import Options, Path
from ckptstore.train.checkpoint_utils import load_checkpoint

_FLOATS = ("float16", "bfloat16", "float32", "float64")

Averaged = Variable | Tensor


class ExponentialMovingAverage:
    """Keeps moving averages of variables.

    Args:
        decay: How much of the old average stays in each update, from 0 to 1.
        num_updates: The number of updates so far, a number or a variable. While it is small the decay is less, so that
            averages move faster.
        zero_debias: Correct the averages of tensors for their start at zero.
        name: What the averages' names end in.

    Raises:
        InvalidArgumentError: The decay is not from 0 to 1.
    """

    def __init__(
        self,
        decay: float,
        num_updates: Any = None,
        zero_debias: bool = False,
        name: str = "ExponentialMovingAverage",
    ) -> None:
        if not 0.0 <= float(decay) <= 1.0:
            raise InvalidArgumentError(f"decay must be a number from 0 to 1, not {decay!r}.")
        self._decay = float(decay)
        self._num_updates = num_updates
        self._zero_debias = zero_debias
        self._name = name
        self._averages: dict[Averaged, Variable] = {}

    @property
    def name(self) -> str:
        """What the averages' names end in."""
        return self._name

    def apply(self, var_list: Iterable[Any] | None = None) -> Operation:
        """Updates the averages of variables, having made those that are not there yet.

        Called once per step of a training it keeps the averages up to date, as TensorFlow 2's does. For graphs it
        returns the operation that makes the same update when it is run, as TensorFlow 1's does; averages of tensors,
        which have values only while the graph runs, are updated by that alone.

        Args:
            var_list: Variables, partitioned ones, or tensors. None: all trainable variables of the default graph.

        Raises:
            IncompatibleTensorError: One of them is not of floats.
        """
        given = get_default_graph().get_collection(GraphKeys.TRAINABLE_VARIABLES) if var_list is None else var_list
        items = list(_parts(given))
        if not items:
            raise InvalidArgumentError("There are no variables to keep averages of.")
        for item in items:
            if item.dtype.name not in _FLOATS:
                raise IncompatibleTensorError(
                    f"The variables must be half, float, or double: {item.name} is {item.dtype}.", name=item.name
                )
        fresh = [item for item in items if item not in self._averages]
        for item in fresh:
            self._averages[item] = self._made(item)
        for item in items:
            if isinstance(item, Variable) and item.is_initialized():
                self._update(item)
        if not fresh and self._op is not None and self._op_items == items:
            return self._op
        self._op, self._op_items = self._record(items, {item for item in fresh if isinstance(item, Tensor)}), items
        return self._op

    _op: Operation | None = None
    _op_items: list[Averaged] | None = None

    def average(self, var: Any) -> Any:
        """The variable that holds the average of another (of a partitioned one: the parts); None if there is none."""
        if isinstance(var, PartitionedVariable):
            parts = [self._averages[part] for part in var if part in self._averages]
            return PartitionedVariable(self.average_name(var), parts) if len(parts) == len(var) else None
        return self._averages.get(var)

    def average_name(self, var: Any) -> str:
        """The name of the average of a variable in a checkpoint, whether it is there yet or not."""
        if isinstance(var, PartitionedVariable):
            return f"{var.name}/{self._name}"
        if var in self._averages:
            found = self._averages[var]
            return found.op.name if found.save_slice_info is None else found.save_slice_info.full_name
        info = getattr(var, "save_slice_info", None)
        return f"{var.op.name if info is None else info.full_name}/{self._name}"

    def variables_to_restore(self, moving_avg_variables: Iterable[Any] | None = None) -> dict[str, Any]:
        """What a Saver restores for an evaluation: the averages, each into the variable that it is the average of.

        Variables without averages come under their own names. The parts of a partitioned variable come as a list under
        the name of the whole. (TensorFlow gives each part a name that is in no checkpoint.)

        Args:
            moving_avg_variables: The variables that have averages. None: the trainable ones, and those that `apply`
                was given.
        """
        graph = get_default_graph()
        if moving_avg_variables is None:
            averaged = [
                *graph.get_collection(GraphKeys.TRAINABLE_VARIABLES),
                *graph.get_collection(GraphKeys.MOVING_AVERAGE_VARIABLES),
            ]
        else:
            averaged = list(_parts(moving_avg_variables))
        out: dict[str, Any] = {}
        seen = set(averaged)
        rest = [v for v in graph.get_collection(GraphKeys.GLOBAL_VARIABLES) if v not in seen]
        for variable in dict.fromkeys(averaged):
            _put(out, self.average_name(variable), variable)
        averages = set(out)  # the variables that hold them are not restored themselves
        for variable in rest:
            info = variable.save_slice_info
            name = variable.op.name if info is None else info.full_name
            if name not in averages:
                _put(out, name, variable)
        return out

    def restore_averages(
        self, save_path: Path, *, strict: bool = True, storage_options: Options = None
    ) -> RestoreReport:
        """Restores the averages of a checkpoint into the variables themselves: a model to evaluate.

        Args:
            save_path: A checkpoint's prefix, or a directory (then its latest checkpoint).
            strict: Every name of `variables_to_restore` must be there.
            storage_options: For fsspec.

        Raises:
            TensorNotFoundError, IncompatibleTensorError, DataLossError: As in `Saver.restore`; nothing is changed.
        """
        with load_checkpoint(save_path, storage_options=storage_options) as reader:
            return reader.restore(assignment_map=self.variables_to_restore(), strict=strict).report

    # -- inside

    def _made(self, item: Averaged) -> Variable:
        graph = item.graph
        name = f"{item.op.name}/{self._name}"
        if isinstance(item, Tensor):
            if item.shape is None or None in item.shape:
                raise InvalidArgumentError(
                    f"The shape of {item.name!r} must be known for an average of it.", name=item.name
                )
            zeros = np.zeros(tuple(n or 0 for n in item.shape), item.dtype.as_numpy_dtype)
            return Variable(zeros, name=name, trainable=False, graph=graph)
        info = item.save_slice_info
        if info is not None:
            info = SaveSliceInfo(f"{info.full_name}/{self._name}", info.full_shape, info.var_offset, info.var_shape)
        first = item.initial_value
        with graph.device(item.device), graph.name_scope(""):
            average = Variable(
                item.numpy() if first is None else first,
                name=name,
                trainable=False,
                use_resource=item.is_resource,
                save_slice_info=info,
                initialize=False,
                graph=graph,
            )
        average.op.node_def.attr["_class"].list.s[:] = [f"loc:@{item.op.name}".encode()]
        if item.is_initialized():
            average.assign(np.array(item.numpy()))
        graph.add_to_collection(GraphKeys.MOVING_AVERAGE_VARIABLES, item)
        return average

    def _rate(self) -> np.float32:
        """1 - decay, as single floats, as TensorFlow computes it."""
        decay = np.float32(self._decay)
        if self._num_updates is not None:
            count = np.float32(_number(self._num_updates))
            decay = np.float32(min(decay, (np.float32(1.0) + count) / (np.float32(10.0) + count)))
        rate: np.float32 = np.float32(1.0) - decay
        return rate

    def _update(self, variable: Variable) -> None:
        average = self._averages[variable]
        if not average.is_initialized():
            average.assign(np.array(variable.numpy()))
        old = average.numpy()
        rate = self._rate().astype(old.dtype)
        average.assign(old - (old - variable.numpy()) * rate)

    def _record(self, items: list[Averaged], from_zero: set[Averaged]) -> Operation:
        graph = items[0].graph
        with graph.name_scope(self._name) as scope:
            decay = graph.constant(self._decay, np.float32, name="decay")
            number = self._num_updates
            if number is not None and not callable(number):
                if isinstance(number, Variable | Tensor):
                    with graph.name_scope("num_updates") as inner:
                        count = graph.cast(number.value(), np.float32, name=inner)
                else:
                    count = graph.constant(number, np.float32, name="num_updates")
                ratio = (1.0 + count) / (10.0 + count)
                decay = graph.create_op("Minimum", [decay, ratio]).outputs[0]
            updates = [
                self._recorded(graph, item, decay, zero_debias=self._zero_debias and item in from_zero)
                for item in items
            ]
            return graph.group(*updates, name=scope)

    def _recorded(self, graph: Graph, item: Averaged, decay: Tensor, *, zero_debias: bool) -> Operation:
        average = self._averages[item]
        with graph.name_scope("AssignMovingAvg") as scope:
            rate = graph.cast(1.0 - decay, item.dtype)
            if zero_debias:
                return self._debiased(graph, item, average, rate)
            change = (average - item) * rate
            if average.is_resource:
                return graph.create_op("AssignSubVariableOp", [average.handle, change], name=scope)
            return graph.create_op(
                "AssignSub", [average.handle, change], {"use_locking": False}, name=scope, colocate_with=average.op
            )

    def _debiased(self, graph: Graph, item: Averaged, average: Variable, rate: Tensor) -> Operation:
        """The average of a tensor, divided by how much of it is not the zero that it began with."""
        with graph.name_scope(f"{average.op.name}/"):
            zeros = np.zeros(average.numpy().shape, average.dtype.as_numpy_dtype)
            biased = Variable(zeros, name="biased", trainable=False, graph=graph)
            steps = Variable(zeros.reshape(-1)[:0].sum(), name="local_step", trainable=False, graph=graph)
        change = (biased - item) * rate
        new = graph.create_op("AssignSub", [biased.handle, change], {"use_locking": False}, colocate_with=biased.op)
        counted = graph.create_op("AssignAdd", [steps.handle, 1.0], {"use_locking": False}, colocate_with=steps.op)
        factor = 1.0 - graph.create_op("Pow", [1.0 - rate, counted.outputs[0]]).outputs[0]
        value = graph.create_op("RealDiv", [new.outputs[0], factor]).outputs[0]
        return graph.create_op("Assign", [average.handle, value], colocate_with=average.op)


def _number(value: Any) -> Any:
    """The number that a variable, a function, or a number itself stands for."""
    if callable(getattr(value, "numpy", None)):
        return value.numpy()
    return value() if callable(value) else value


def _parts(items: Iterable[Any]) -> Iterator[Averaged]:
    for item in items:
        if isinstance(item, PartitionedVariable | list | tuple):
            yield from _parts(item)
        elif isinstance(item, Variable | Tensor):
            yield item
        else:
            raise InvalidArgumentError(f"Averages are kept of variables and tensors of a graph, not of {item!r:.80}.")


def _put(out: dict[str, Any], name: str, variable: Any) -> None:
    if getattr(variable, "save_slice_info", None) is None:
        out[name] = variable
    else:
        out.setdefault(name, []).append(variable)
