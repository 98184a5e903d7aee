"""Every known op by its name, with its inputs and attributes as keyword arguments, as tf.raw_ops has them.

```python
y = ck.raw_ops.Relu(features=x, name="y")
top = ck.raw_ops.TopKV2(input=y, k=3)     # two tensors
```
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ckptstore.errors import InvalidArgumentError
from ckptstore.graph.graph import get_default_graph
from ckptstore.graph.op_defs import op_def, op_defs
from ckptstore.graph.operators import Operators

_AXES = {"reduction_indices", "dim", "split_dim"}


def make(op: str, /, *, name: str | None = None, **arguments: Any) -> Any:
    """Adds a node to the default graph.

    Args:
        op: What it computes.
        name: Its name, by default the op's.
        **arguments: One for each input, and for attributes that have no default or another value.

    Returns:
        Its output; a tuple if there are several; the operation if there are none.

    Raises:
        InvalidArgumentError: The op is not known, or an input is missing.
        IncompatibleTensorError: The types of inputs do not fit.
    """
    definition = op_def(op)
    if definition is None:
        raise InvalidArgumentError(f"The op {op!r} is not known; dir(ckptstore.raw_ops) lists those that are.")
    names = {argument.name for argument in definition.input_arg}
    if "axis" in arguments and not any(attr.name == "axis" for attr in definition.attr):
        # tf.raw_ops calls them all "axis"
        for alias in _AXES & names:
            arguments[alias] = arguments.pop("axis")
    missing = [argument.name for argument in definition.input_arg if argument.name not in arguments]
    if missing:
        raise InvalidArgumentError(f"{op} needs the inputs {', '.join(missing)}, by name.")
    inputs = [arguments.pop(argument.name) for argument in definition.input_arg]
    tensors = [item for value in inputs for item in (value if isinstance(value, list | tuple) else [value])]
    graph = next((item.graph for item in tensors if isinstance(item, Operators)), get_default_graph())
    outputs = (operation := graph.create_op(op, inputs, arguments, name=name)).outputs
    return outputs[0] if len(outputs) == 1 else outputs or operation


def __getattr__(op: str) -> Callable[..., Any]:
    if op_def(op) is None:
        raise AttributeError(f"TensorFlow's op {op!r} is not known to ckptstore")
    return functools.partial(make, op)


def __dir__() -> list[str]:
    return sorted(op_defs())
