"""What a Saver saves: names in the checkpoint, and the variables or arrays that they stand for.

Source: op_list_to_dict and saveable_objects_for_op in tensorflow/python/training/saving/saveable_object_util.py.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ckptstore.bundle import Partitioned
from ckptstore.checkpoint.targets import is_variable, variable_name
from ckptstore.errors import InvalidArgumentError
from ckptstore.format.dtypes import DType, as_dtype
from ckptstore.format.slices import TensorSlice
from ckptstore.format.tensor import as_array
from ckptstore.graph.collections import GraphKeys
from ckptstore.graph.devices import canonical
from ckptstore.graph.graph import Graph
from ckptstore.graph.partitioned_variable import PartitionedVariable
from ckptstore.graph.save_nodes import SaveSpec
from ckptstore.graph.skeleton import Declaration
from ckptstore.graph.slice_info import SaveSliceInfo
from ckptstore.graph.variable import Variable


@dataclass(frozen=True, slots=True)
class Piece:
    """One tensor to save, or one slice of one.

    Attributes:
        holder: What has the value: a variable, or an array.
        info: Which part of the whole it is, or None if it is all of it.
    """

    holder: Any
    info: SaveSliceInfo | None = None

    def read(self) -> Any:
        """Its value now.

        Raises:
            InvalidArgumentError: It has none yet.
        """
        return self.holder.numpy() if is_variable(self.holder) else self.holder

    @property
    def dtype(self) -> DType:
        """Its element type."""
        if is_variable(self.holder):
            return as_dtype(getattr(self.holder.dtype, "base_dtype", self.holder.dtype))
        return as_array(self.holder, "")[1]

    @property
    def device(self) -> str:
        """Where it is placed, in the one spelling; "" for anywhere."""
        device = getattr(self.holder, "device", "") if isinstance(self.holder, Variable) else ""
        return canonical(device) if isinstance(device, str) else ""

    @property
    def slice(self) -> tuple[tuple[int, ...], TensorSlice] | None:
        """Full shape and slice, or None if it is whole."""
        return None if self.info is None else (self.info.full_shape, self.info.slice)


@dataclass(frozen=True, slots=True)
class Saveable:
    """One name in a checkpoint.

    Attributes:
        key: The name.
        pieces: The value, or the parts of it in order.
    """

    key: str
    pieces: tuple[Piece, ...]

    @property
    def specs(self) -> list[SaveSpec]:
        """For the nodes of a graph; only of variables of a graph."""
        return [SaveSpec(self.key, piece.holder, sliced=piece.info is not None) for piece in self.pieces]

    @property
    def target(self) -> Any:
        """What a restore fills: a variable, an array, or a list of parts."""
        if len(self.pieces) == 1 and self.pieces[0].info is None:
            return self.pieces[0].holder
        return [piece.holder for piece in self.pieces]


def saveables(var_list: Any, graph: Graph) -> list[Saveable]:
    """What a Saver's `var_list` asks for, in ascending order of the names.

    Args:
        var_list: None: all global variables of the graph. A list, tuple or set of variables: each under its own name,
            the parts of a partitioned one under the name of the whole. A mapping: variables, lists of parts, or
            arrays, under the names that it gives.
        graph: Where the variables are looked up if it is None.

    Raises:
        InvalidArgumentError: It is none of those; or two have one name, or one has two.
    """
    if var_list is None:
        found = [*graph.get_collection(GraphKeys.GLOBAL_VARIABLES), *graph.get_collection(GraphKeys.SAVEABLE_OBJECTS)]
        named = _by_own_names(found)
    elif isinstance(var_list, Mapping):
        named = {_key(key): _pieces(key, value) for key, value in var_list.items()}
    elif isinstance(var_list, Collection) and not isinstance(var_list, str | bytes | np.ndarray):
        named = _by_own_names(list(var_list))
    else:
        raise InvalidArgumentError(
            f"Variables to save should be passed in a dict or a list, not in a {type(var_list).__name__}."
        )
    seen: dict[int, str] = {}
    for key, pieces in named.items():
        for piece in pieces:
            mark = hash(piece.holder) if isinstance(piece.holder, Variable) else id(piece.holder)
            other = seen.setdefault(mark, key)
            if other != key:
                raise InvalidArgumentError(
                    f"The same variable would be restored under two names, {other!r} and {key!r}.", name=key
                )
    return [Saveable(key, named[key]) for key in sorted(named)]


def of_specs(specs: Iterable[SaveSpec]) -> list[Saveable]:
    """What the nodes of an imported Saver say."""
    pieces: dict[str, list[Piece]] = {}
    for spec in specs:
        info = spec.variable.save_slice_info if spec.sliced else None
        pieces.setdefault(spec.key, []).append(Piece(spec.variable, info))
    return [Saveable(key, tuple(pieces[key])) for key in sorted(pieces)]


def declarations(found: Iterable[Saveable]) -> list[Declaration]:
    """Names, types and shapes, for a graph that has nothing but variables."""
    return [
        Declaration(saveable.key, piece.dtype, tuple(int(n) for n in np.shape(piece.read())), piece.info)
        for saveable in found
        for piece in saveable.pieces
    ]


class Reshaped:
    """A variable or array, seen as one of another shape with as many elements.

    Args:
        holder: The variable or array.
        shape: The other shape.
    """

    def __init__(self, holder: Any, shape: tuple[int, ...]) -> None:
        self._holder = holder
        self.shape = shape
        self.dtype = holder.dtype
        self.name = getattr(holder, "name", "")

    def numpy(self) -> np.ndarray[Any, Any]:
        """Its value in the other shape."""
        value: np.ndarray[Any, Any] = np.asarray(Piece(self._holder).read()).reshape(self.shape)
        return value

    def assign(self, value: np.ndarray[Any, Any]) -> None:
        """Gives it a value of the other shape."""
        own = np.reshape(value, tuple(self._holder.shape))
        if is_variable(self._holder):
            self._holder.assign(own)
        else:
            self._holder[...] = own


def reshaped(target: Any, stored: tuple[int, ...]) -> Any:
    """What a tensor of a shape can be restored into: the target, reshaped if that has as many elements."""
    shape = getattr(target, "shape", None)
    if isinstance(target, list) or shape is None or None in shape or tuple(shape) == stored:
        return target
    return Reshaped(target, stored) if math.prod(shape) == math.prod(stored) else target


def _by_own_names(variables: Sequence[Any]) -> dict[str, tuple[Piece, ...]]:
    out: dict[str, list[Piece]] = {}
    for item in variables:
        for variable in item if isinstance(item, PartitionedVariable | list | tuple) else [item]:
            if not is_variable(variable):
                raise InvalidArgumentError(
                    f"What is saved from a list must be variables, and {variable!r:.80} is none; arrays are passed in "
                    "a mapping that names them."
                )
            info = _info(variable)
            key = variable_name(variable) if info is None else info.full_name
            piece = Piece(variable, info)
            if key in out and (info is None or out[key][0].info is None):
                raise InvalidArgumentError(f"At least two variables have the same name: {key}", name=key)
            out.setdefault(key, []).append(piece)
    return {key: tuple(pieces) for key, pieces in out.items()}


def _pieces(key: str, value: Any) -> tuple[Piece, ...]:
    if isinstance(value, Partitioned):
        shape = value.shape
        infos = [
            SaveSliceInfo(key, shape, tuple(a for a, _ in box), tuple(b - a for a, b in box))
            for box in (piece.box(shape) for piece, _ in value.pieces)
        ]
        return tuple(Piece(part, info) for (_, part), info in zip(value.pieces, infos, strict=True))
    if isinstance(value, PartitionedVariable | list | tuple) and value and all(map(is_variable, value)):
        parts = [Piece(variable, _info(variable)) for variable in value]
        names = {None if piece.info is None else piece.info.full_name for piece in parts}
        if None in names or len(names) > 1:
            raise InvalidArgumentError(
                f"{key!r} must stand for the parts of one partitioned variable, each of which says where it belongs; "
                f"these are of {sorted(map(str, names))}.",
                name=key,
            )
        return tuple(parts)
    if is_variable(value):
        # A part that is given alone, under a name of its own, is saved whole.
        return (Piece(value),)
    if isinstance(value, str | bytes) or callable(value) or value is None:
        raise InvalidArgumentError(
            f"names_to_saveables must be a dict mapping string names to variables or arrays. Not a variable: {value!r}",
            name=key,
        )
    as_array(value, key)
    return (Piece(value),)


def _key(key: Any) -> str:
    if not isinstance(key, str) or not key:
        raise InvalidArgumentError(f"A mapping of what is saved has the key {key!r}. Name is not a string: {key!r}")
    return key


def _info(variable: Any) -> SaveSliceInfo | None:
    """Which part of a partitioned variable it is: of ours, or of TensorFlow's."""
    info = getattr(variable, "save_slice_info", None)
    if info is None and callable(getattr(variable, "_get_save_slice_info", None)):
        info = variable._get_save_slice_info()  # noqa: SLF001 - that is what TensorFlow's own Saver asks
    if info is None or isinstance(info, SaveSliceInfo):
        return info
    return SaveSliceInfo(info.full_name, tuple(info.full_shape), tuple(info.var_offset), tuple(info.var_shape))
