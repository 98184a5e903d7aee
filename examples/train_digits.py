"""Trains a small network on handwritten digits, in numpy, and survives being killed.

    python examples/train_digits.py DIR [--steps 1200] [--save-every 100]

DIR is a path or any fsspec URL (s3://bucket/run). Run it again after it was killed, and it goes on from the last
checkpoint: the loss curve comes out the same, to the last bit, as if nothing had happened. All that training depends on
is in the checkpoint: parameters, optimizer slots, the losses so far, and the step, from which each batch is drawn.
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np
from sklearn.datasets import load_digits

import ckptstore as ck

SIZES = (64, 128, 64, 10)
RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8


def initial_state() -> dict[str, np.ndarray]:
    """Weights and biases of each layer, Adam's two moments of each, and no losses yet."""
    rng = np.random.default_rng(0)
    state: dict[str, np.ndarray] = {}
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(SIZES)):
        state[f"dense_{i}/kernel"] = rng.normal(0, np.sqrt(2 / fan_in), (fan_in, fan_out)).astype(np.float32)
        state[f"dense_{i}/bias"] = np.zeros(fan_out, np.float32)
    for name in list(state):
        state[f"{name}/Adam"] = np.zeros_like(state[name])
        state[f"{name}/Adam_1"] = np.zeros_like(state[name])
    state["losses"] = np.zeros(0, np.float64)
    return state


def forward(state: dict[str, np.ndarray], x: np.ndarray) -> list[np.ndarray]:
    """The input and the output of every layer; the last one is log-probabilities."""
    layers = [x]
    for i in range(len(SIZES) - 1):
        z = layers[-1] @ state[f"dense_{i}/kernel"] + state[f"dense_{i}/bias"]
        if i < len(SIZES) - 2:
            layers.append(np.maximum(z, 0))
        else:
            z = z - z.max(axis=1, keepdims=True)
            layers.append(z - np.log(np.exp(z).sum(axis=1, keepdims=True)))
    return layers


def train_step(state: dict[str, np.ndarray], step: int, x: np.ndarray, y: np.ndarray) -> float:
    """One step of Adam on a batch; returns the loss before it."""
    layers = forward(state, x)
    rows = np.arange(len(y))
    loss = float(-layers[-1][rows, y].mean())
    delta = np.exp(layers[-1])
    delta[rows, y] -= 1
    delta /= np.float32(len(y))
    rate = np.float32(RATE * np.sqrt(1 - BETA2**step) / (1 - BETA1**step))
    for i in reversed(range(len(SIZES) - 1)):
        gradients = {f"dense_{i}/kernel": layers[i].T @ delta, f"dense_{i}/bias": delta.sum(axis=0)}
        if i:
            delta = (delta @ state[f"dense_{i}/kernel"].T) * (layers[i] > 0)
        for name, gradient in gradients.items():
            first, second = state[f"{name}/Adam"], state[f"{name}/Adam_1"]
            first += np.float32(1 - BETA1) * (gradient - first)
            second += np.float32(1 - BETA2) * (gradient * gradient - second)
            state[name] -= rate * first / (np.sqrt(second) + np.float32(EPSILON))
    return loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", help="a path or URL for the checkpoints")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--save-every", type=int, default=100)
    options = parser.parse_args()

    digits = load_digits()
    x, y = (digits.data / 16).astype(np.float32), digits.target
    train, held_out = slice(0, 1500), slice(1500, None)

    with ck.CheckpointManager(options.directory, max_to_keep=3, save_interval_steps=options.save_every) as manager:
        start, state = manager.restore_or_initialize(initial_state)
        print(f"starting from step {start}", flush=True)
        losses = state["losses"].tolist()
        for step in range(start + 1, options.steps + 1):
            batch = np.random.default_rng([1, step]).integers(0, 1500, 64)
            losses.append(train_step(state, step, x[train][batch], y[train][batch]))
            if manager.should_save(step) or step == options.steps:
                state["losses"] = np.array(losses)
                right = (forward(state, x[held_out])[-1].argmax(axis=1) == y[held_out]).mean()
                manager.save(step, state, metrics={"loss": losses[-1], "accuracy": float(right)})
                print(f"step {step}  loss {losses[-1]:.4f}  accuracy {right:.3f}  saved", flush=True)


if __name__ == "__main__":
    main()
