"""Steps of optimisers: what gradients do to variables and their slots.

Source: tensorflow/core/kernels/training_ops.cc.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ckptstore.graph.kernels.registry import Array, Attributes
from ckptstore.graph.kernels.state import State, Variable, stateful
from ckptstore.graph.kernels.variables import returned


@stateful("ApplyGradientDescent", "ResourceApplyGradientDescent")
def _gradient_descent(state: State, node: str, attrs: Attributes, variable: Variable, lr: Array, delta: Array) -> Any:
    del node, attrs
    state.update(variable, np.asarray(state.read(variable) - lr * delta))
    return returned(variable)


@stateful("ApplyMomentum", "ResourceApplyMomentum")
def _momentum(
    state: State,
    node: str,
    attrs: Attributes,
    variable: Variable,
    accumulator: Variable,
    lr: Array,
    grad: Array,
    momentum: Array,
) -> Any:
    del node
    total = np.asarray(state.read(accumulator) * momentum + grad)
    step = grad * lr + total * momentum * lr if attrs.get("use_nesterov") else total * lr
    state.update(variable, np.asarray(state.read(variable) - step))
    state.update(accumulator, total)
    return returned(variable)


@stateful("ApplyAdagrad", "ResourceApplyAdagrad")
def _adagrad(
    state: State, node: str, attrs: Attributes, variable: Variable, accumulator: Variable, lr: Array, grad: Array
) -> Any:
    del node
    total = state.read(accumulator)
    if attrs.get("update_slots", True):
        total = np.asarray(total + grad * grad)
        state.update(accumulator, total)
    state.update(variable, np.asarray(state.read(variable) - lr * grad / np.sqrt(total)))
    return returned(variable)


@stateful("ApplyRMSProp", "ResourceApplyRMSProp")
def _rms_prop(
    state: State,
    node: str,
    attrs: Attributes,
    variable: Variable,
    ms: Variable,
    mom: Variable,
    lr: Array,
    rho: Array,
    momentum: Array,
    epsilon: Array,
    grad: Array,
) -> Any:
    del node, attrs
    one = grad.dtype.type(1)
    squares = state.read(ms) + (grad * grad - state.read(ms)) * (one - rho)
    step = state.read(mom) * momentum + grad * lr / np.sqrt(squares + epsilon)
    state.update(ms, np.asarray(squares))
    state.update(mom, np.asarray(step))
    state.update(variable, np.asarray(state.read(variable) - step))
    return returned(variable)


@stateful("ApplyAdam", "ResourceApplyAdam")
def _adam(
    state: State,
    node: str,
    attrs: Attributes,
    variable: Variable,
    m: Variable,
    v: Variable,
    beta1_power: Array,
    beta2_power: Array,
    lr: Array,
    beta1: Array,
    beta2: Array,
    epsilon: Array,
    grad: Array,
) -> Any:
    del node
    one = grad.dtype.type(1)
    rate = lr * np.sqrt(one - beta2_power) / (one - beta1_power)
    mean = state.read(m) + (grad - state.read(m)) * (one - beta1)
    square = state.read(v) + (grad * grad - state.read(v)) * (one - beta2)
    ahead = mean * beta1 + grad * (one - beta1) if attrs.get("use_nesterov") else mean
    state.update(m, np.asarray(mean))
    state.update(v, np.asarray(square))
    state.update(variable, np.asarray(state.read(variable) - rate * ahead / (np.sqrt(square) + epsilon)))
    return returned(variable)
