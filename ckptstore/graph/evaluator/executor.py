"""Runs the steps of a program as TensorFlow's executor does: each as soon as what it takes is there.

What the branch of a Switch that is not taken would give is dead, and so is what takes it, up to a Merge. A loop runs in
a frame of its own, where every step may run once a round: Enter leads into the frame, NextIteration to the next round,
Exit out of it. An Exit is dead in every round but the last; if it stays dead is known when its frame has come to rest.

Source: ExecutorState in tensorflow/core/common_runtime/executor.cc.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from ckptstore.errors import CheckpointError, InvalidArgumentError
from ckptstore.graph.evaluator.program import CONTROL, FEED, Edge, Program, Step
from ckptstore.graph.kernels import KERNELS, STATEFUL, State, Variable

Value = Any
"""An array, a variable, a list or an array of tensors, or DEAD."""

Call = Callable[[Step, Sequence[Value]], Sequence[Value]]
"""Runs the functions that a step calls."""


class _Dead:
    """What was not computed, since it is on a branch that was not taken."""

    def __repr__(self) -> str:
        return "dead"


DEAD: Final = _Dead()

CONTROL_FLOW = frozenset(
    [
        "Switch", "RefSwitch", "_SwitchN", "Merge", "RefMerge", "Enter", "RefEnter", "Exit", "RefExit",
        "NextIteration", "RefNextIteration", "LoopCond",
    ]
)  # fmt: skip
"""The ops that this module computes itself."""

# What these give shares its memory with what they take, in TensorFlow too.
_SHARING = frozenset(["ExpandDims", "Identity", "IdentityN", "Reshape", "Squeeze", "StopGradient"])
_ENTER = frozenset(["Enter", "RefEnter"])
_EXIT = frozenset(["Exit", "RefExit"])
_NEXT = frozenset(["NextIteration", "RefNextIteration"])
_MERGE = frozenset(["Merge", "RefMerge"])


@dataclass(eq=False, slots=True)
class _Waiting:
    """A step that has not got everything yet."""

    missing: int
    inputs: list[Value]
    is_dead: bool = False


@dataclass(eq=False, slots=True)
class _Frame:
    """A loop that runs, or the program itself.

    Attributes:
        parent: The frame around it.
        round: The round of that one in which it runs.
        enters: How many Enter steps are still to come.
        depth: How many frames are around it.
        last: The latest round.
        waiting: Steps by number and round.
        frames: Loops inside it, by round and name.
        constants: The Enter steps whose values are there in every round.
        dead_exits: Exits that were dead in the latest round.
    """

    parent: _Frame | None = None
    round: int = 0
    enters: int = 0
    depth: int = 0
    last: int = 0
    waiting: dict[tuple[int, int], _Waiting] = field(default_factory=dict)
    frames: dict[tuple[int, str], _Frame] = field(default_factory=dict)
    constants: list[tuple[Step, list[Value]]] = field(default_factory=list)
    dead_exits: list[int] = field(default_factory=list)


class Executor:
    """One run of a program.

    Args:
        program: What to run.
        state: The variables.
        call: Runs functions.
    """

    def __init__(self, program: Program, state: State, call: Call) -> None:
        self._program = program
        self._steps = program.steps
        self._state = state
        self._call = call
        self._wanted: dict[int, int] = {}  # by step, the greatest output
        for at, output in program.results:
            self._wanted[at] = max(output, self._wanted.get(at, 0))
        self._found: dict[int, list[Value]] = {}
        self._root = _Frame()
        self._ready: deque[tuple[int, _Frame, int, list[Value], bool]] = deque()
        self._resting: dict[int, _Frame] = {}

    def run(self, fed: Sequence[Value]) -> list[Value]:
        """The results.

        Args:
            fed: The values of the program's feeds.

        Raises:
            InvalidArgumentError: A step failed, or a result was not computed.
        """
        for at, value in zip(self._program.feeds, fed, strict=True):
            self._ready.append((at, self._root, 0, [value], False))
        for at, step in enumerate(self._steps):
            if not step.inputs and not step.controls and step.op != FEED:
                self._ready.append((at, self._root, 0, [], False))
        with np.errstate(all="ignore"):
            while self._ready or self._finish_frame():
                self._run_step(*self._ready.popleft())
        return [self._result(*result) for result in self._program.results]

    def _result(self, at: int, output: int) -> Value:
        step = self._steps[at]
        name = step.name if step.op == FEED else f"{step.name}:{output}"
        if at not in self._found:
            raise InvalidArgumentError(
                f"{name!r} was not computed: it is inside of a loop, or waits for something that never comes. "
                "Fetch what comes out of the loop, and feed nothing inside of one.",
                name=step.name,
            )
        outputs = self._found[at]
        if output >= len(outputs):
            raise InvalidArgumentError(f"The node {step.name!r} has no output {output}.", name=step.name)
        if outputs[output] is DEAD:
            raise InvalidArgumentError(f"{name!r} has no value: it is on a branch that was not taken.", name=step.name)
        return outputs[output]

    # -- steps

    def _run_step(self, at: int, frame: _Frame, turn: int, inputs: list[Value], is_dead: bool) -> None:
        step = self._steps[at]
        if is_dead and step.op != "ControlTrigger":
            outputs: list[Value] = []
        else:
            is_dead = False
            inputs = [
                self._state.read(value)
                if isinstance(value, Variable) and value.is_reference and i not in step.raw
                else value
                for i, value in enumerate(inputs)
            ]
            outputs = self._compute(step, inputs)
        if at in self._wanted:
            home = frame.parent if step.op in _EXIT and not is_dead else frame
            if home is self._root:
                self._keep(at, outputs, is_dead)
        self._hand_on(at, frame, turn, outputs, is_dead)

    def _keep(self, at: int, outputs: list[Value], is_dead: bool) -> None:
        if is_dead:
            self._found[at] = [DEAD] * (1 + self._wanted[at])
        else:
            # A reference that is asked for is read here, before anything that comes later is assigned.
            refers = (isinstance(value, Variable) and value.is_reference for value in outputs)
            self._found[at] = [self._state.read(v) if r else v for v, r in zip(outputs, refers, strict=True)]

    def _compute(self, step: Step, inputs: list[Value]) -> list[Value]:
        if step.op == FEED:
            return inputs
        try:
            if step.op in CONTROL_FLOW:
                return _steer(step, inputs)
            if step.op in STATEFUL:
                found = STATEFUL[step.op](self._state, step.name, step.attrs, *inputs)
            elif step.op in KERNELS:
                found = KERNELS[step.op](step.attrs, *inputs)
            else:
                found = self._call(step, inputs)
        except CheckpointError:
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            reason = f"the attribute {error} is missing" if isinstance(error, KeyError) else error
            raise InvalidArgumentError(
                f"The {step.op} {step.name!r} failed: {reason}. Its inputs: {_shapes(inputs) or 'none'}.",
                name=step.name,
            ) from error
        outputs = list(found) if isinstance(found, list | tuple) else [found]
        return [self._settled(step, value) for value in outputs]

    def _settled(self, step: Step, value: Value) -> Value:
        """The value as an array: numpy gives a scalar, of strings the bytes themselves, where the rank is 0."""
        if isinstance(value, bytes):
            return np.asarray(value, object)
        if isinstance(value, np.generic):
            return np.asarray(value)
        if isinstance(value, np.ndarray) and step.op not in _SHARING and self._state.shares(value):
            return value.copy()
        return value

    # -- what comes out

    def _hand_on(self, at: int, frame: _Frame, turn: int, outputs: list[Value], is_dead: bool) -> None:
        step = self._steps[at]
        if step.op in _ENTER:
            inner = self._inner(step, frame, turn)
            inner.enters -= 1
            values = [DEAD] if is_dead else outputs
            if step.attrs.get("is_constant"):
                inner.constants.append((step, values))
                for earlier in range(inner.last + 1):
                    self._deliver(step.edges, inner, earlier, values, is_dead)
            else:
                self._deliver(step.edges, inner, 0, values, is_dead)
        elif step.op in _EXIT and frame.parent is not None:
            if not is_dead:
                self._deliver(step.edges, frame.parent, frame.round, outputs, is_dead)
            elif turn == frame.last:
                frame.dead_exits.append(at)
                self._resting[id(frame)] = frame
        elif step.op in _NEXT:
            if not is_dead:
                self._begin_round(frame, turn + 1)
                self._deliver(step.edges, frame, turn + 1, outputs, is_dead)
        else:
            self._deliver(step.edges, frame, turn, outputs, is_dead)

    def _inner(self, step: Step, frame: _Frame, turn: int) -> _Frame:
        name = step.attrs["frame_name"]
        if (turn, name) not in frame.frames:
            frame.frames[turn, name] = _Frame(frame, turn, self._program.enters[name], frame.depth + 1)
        return frame.frames[turn, name]

    def _begin_round(self, frame: _Frame, turn: int) -> None:
        if turn <= frame.last:
            return
        frame.last = turn
        frame.dead_exits.clear()
        self._resting.pop(id(frame), None)
        for step, values in frame.constants:
            self._deliver(step.edges, frame, turn, values, values[0] is DEAD)

    def _finish_frame(self) -> bool:
        """Lets the dead exits of the innermost loop that has come to rest be dead for those outside of it."""
        while not self._ready:
            done = [frame for frame in self._resting.values() if not frame.enters]
            if not done:
                return False
            frame = max(done, key=lambda f: f.depth)
            del self._resting[id(frame)]
            exits, frame.dead_exits = frame.dead_exits, []
            for at in exits:
                if frame.parent is self._root and at in self._wanted:
                    self._keep(at, [], is_dead=True)
                if frame.parent is not None:
                    self._deliver(self._steps[at].edges, frame.parent, frame.round, [], is_dead=True)
        return True

    def _deliver(self, edges: list[Edge], frame: _Frame, turn: int, outputs: list[Value], is_dead: bool) -> None:
        for edge in edges:
            step = self._steps[edge.step]
            is_merge = step.op in _MERGE
            waiting = frame.waiting.get((edge.step, turn))
            if waiting is None:
                expected = step.inputs
                if is_merge and step.late:
                    expected = step.late if turn else step.inputs - step.late
                waiting = _Waiting(expected + step.controls, [DEAD] * step.inputs)
                frame.waiting[edge.step, turn] = waiting
            waiting.missing -= 1
            if edge.position == CONTROL:
                waiting.is_dead |= is_dead and not is_merge
            else:
                value = DEAD if is_dead else self._output(outputs, edge)
                waiting.inputs[edge.position] = value
                waiting.is_dead |= value is DEAD and not is_merge
            if not waiting.missing:
                del frame.waiting[edge.step, turn]
                is_dead_step = waiting.is_dead or (is_merge and all(v is DEAD for v in waiting.inputs))
                self._ready.append((edge.step, frame, turn, waiting.inputs, is_dead_step))

    def _output(self, outputs: list[Value], edge: Edge) -> Value:
        if edge.output < len(outputs):
            return outputs[edge.output]
        taker = self._steps[edge.step].name
        raise InvalidArgumentError(f"The node {taker!r} takes output {edge.output} of one that has none.", name=taker)


def _steer(step: Step, inputs: list[Value]) -> list[Value]:
    if step.op in ("Switch", "RefSwitch"):
        value, taken = inputs
        return [DEAD, value] if bool(taken) else [value, DEAD]
    if step.op == "_SwitchN":
        value, number = inputs
        count = step.attrs["num_outs"]
        taken = int(number) if 0 <= int(number) < count else count - 1
        return [value if i == taken else DEAD for i in range(count)]
    if step.op in _MERGE:
        at = next(i for i, value in enumerate(inputs) if value is not DEAD)
        return [inputs[at], np.asarray(at, np.int32)]
    return inputs


def _shapes(inputs: Sequence[Value]) -> str:
    return ", ".join(
        f"{'string' if value.dtype == object else value.dtype} {list(value.shape)}"
        if isinstance(value, np.ndarray)
        else f"the variable {value.name!r}"
        if isinstance(value, Variable)
        else type(value).__name__
        for value in inputs
    )
