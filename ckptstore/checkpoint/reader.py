"""Reads one checkpoint, of any of TensorFlow's formats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ckptstore.bundle import BundleReader, LazyArray, TensorInfo, TensorSource, V1Source
from ckptstore.checkpoint.assignment import AssignmentMap, as_pairs, describe_missing, plan_assignment
from ckptstore.checkpoint.objects import OBJECT_GRAPH_KEY, SAVE_COUNTER, ObjectGraph
from ckptstore.checkpoint.restored import Restored, RestoreReport
from ckptstore.checkpoint.targets import Target, fill
from ckptstore.errors import (
    CheckpointNotFoundError,
    DataLossError,
    InvalidArgumentError,
    TensorNotFoundError,
    located,
)
from ckptstore.format.dtypes import DType
from ckptstore.storage import Store

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self


Verify = bool | Literal["lazy"]
"""Whether, or when, tensors are held against their checksums."""


def as_verify(value: Verify) -> Verify:
    """Checks the argument.

    Raises:
        InvalidArgumentError: It is none of the three.
    """
    if value is True or value is False or (isinstance(value, str) and value == "lazy"):
        return value
    raise InvalidArgumentError(f'verify must be True, False or "lazy", not {value!r}.')


def open_source(store: Store, key: str) -> TensorSource:
    """Opens a checkpoint: a bundle if `key` has an index, else a V1 file (TensorFlow's rule).

    Raises:
        CheckpointNotFoundError: It is neither.
        DataLossError: Its index, or the V1 file, is damaged.
    """
    try:
        return BundleReader(store, key)
    except CheckpointNotFoundError as error:
        missing = error
    try:
        return V1Source(store, key)
    except CheckpointNotFoundError:
        raise missing from missing.__cause__


class CheckpointReader(Mapping[str, LazyArray]):
    """The tensors of a checkpoint by name, read when they are asked for; the names are tf.train.CheckpointReader's.

    A tensor of an object-based checkpoint is also found under its object path ("layer/w") and under its variable's
    full name; iteration gives the names as they are stored.

    Args:
        source: The opened checkpoint.
        verify: Whether tensors that are read whole are held against their checksums.
        on_close: Called by `close`.
    """

    def __init__(
        self, source: TensorSource, *, verify: bool = True, on_close: Callable[[], None] | None = None
    ) -> None:
        self._source = source
        self._verify = verify
        self._on_close = on_close
        self._objects: ObjectGraph | None = None
        self._has_objects = source.info(OBJECT_GRAPH_KEY) is not None

    @property
    def path(self) -> str:
        """The checkpoint's prefix, in full."""
        return self._source.path

    @property
    def objects(self) -> ObjectGraph | None:
        """The object graph of an object-based checkpoint, or None."""
        if self._has_objects and self._objects is None:
            graph: Any = self._source.read([OBJECT_GRAPH_KEY])[OBJECT_GRAPH_KEY].reshape(-1)[:1].tolist()
            with located(self.path, OBJECT_GRAPH_KEY):
                if not graph or not isinstance(graph[0], bytes):
                    raise DataLossError("the object graph is no string")
                self._objects = ObjectGraph.parse(graph[0])
        return self._objects

    def __getitem__(self, name: str) -> LazyArray:
        return LazyArray(self._source, self.info(name), verify=self._verify)

    def __iter__(self) -> Iterator[str]:
        return iter(self._source.names())

    def __len__(self) -> int:
        return len(self._source.names())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.has_tensor(name)

    def info(self, name: str) -> TensorInfo:
        """Type, shape and size of a tensor.

        Raises:
            TensorNotFoundError: There is none of that name; the nearest names are in the message.
        """
        found = self._find(name)
        if found is None:
            raise TensorNotFoundError(
                describe_missing([name], self._source.names(), self.path), path=self.path, name=str(name)
            )
        return found

    def has_tensor(self, name: str) -> bool:
        """Whether there is a tensor of that name."""
        return self._find(name) is not None

    def get_tensor(self, name: str) -> Any:
        """Reads a tensor: an array; for a string scalar its bytes, as in TensorFlow.

        Raises:
            TensorNotFoundError: There is none of that name.
            DataLossError: It is damaged.
            UnsupportedError: It is a variant.
        """
        stored = self.info(name).name
        value = self._source.read([stored], verify=self._verify)[stored]
        return value[()] if value.shape == () and value.dtype == object else value

    def get_variable_to_shape_map(self) -> dict[str, list[int]]:
        """The shape of every tensor."""
        return {name: list(self.info(name).shape) for name in self}

    def get_variable_to_dtype_map(self) -> dict[str, DType]:
        """The element type of every tensor."""
        return {name: self.info(name).dtype for name in self}

    def debug_string(self) -> bytes:
        """A line per tensor: name, type, shape."""
        lines = []
        for name in self:
            info = self.info(name)
            lines.append(f"{name} ({info.dtype.proto_name}) [{','.join(map(str, info.shape))}]\n")
        return "".join(lines).encode("utf-8", "surrogateescape")

    def restore(
        self,
        names: Iterable[str] | None = None,
        assignment_map: AssignmentMap | None = None,
        *,
        strict: bool = True,
        read_only: bool = False,
        verify: Verify | None = None,
    ) -> Restored:
        """Reads many tensors at once, all or nothing.

        An object-based checkpoint gives its variables by object path, without TensorFlow's save counter.

        Args:
            names: Only these, names or patterns. None: all.
            assignment_map: Which tensors, and under which names or into which arrays and variables; see
                `ckptstore.checkpoint.assignment`.
            strict: Every name asked for must be there, and every tensor readable. False: what is there and can be
                read; the result's `report` tells the rest.
            read_only: Hand out arrays that cannot be written to. On a disk they are views of the files, mapped into
                memory: they cost no memory of their own, and outlive the reader and the files' deletion.
            verify: As the class's, for this call; or "lazy": see `ckptstore.restore`.

        Raises:
            InvalidArgumentError: `verify` is something else.
            TensorNotFoundError: Names are not there; all of them are listed, and all that do not fit.
            IncompatibleTensorError: Arrays or variables to be filled have another shape or type; all of them are
                listed, and nothing is filled then.
            DataLossError: Bytes are damaged.
            UnsupportedError: A variant is among them.
        """
        check = self._verify if verify is None else as_verify(verify)
        if names is None and assignment_map is None and strict and not self._has_objects:
            all_names = self._source.names()
            report = partial(RestoreReport.of_all, self.path, all_names, all_names)
            return Restored(self._read(all_names, read_only, check), report)
        if isinstance(names, Iterable) and not isinstance(names, str):
            names = list(names)
        pairs = None if assignment_map is None else as_pairs(assignment_map)
        stored = self._restorable()
        if names is None and pairs is None and strict and len(set(stored.values())) == len(stored):
            values = self._read([*stored.values()], read_only, check)
            report = partial(RestoreReport.of_all, self.path, [*stored], [*stored])
            return Restored({name: values[key] for name, key in stored.items()}, report)
        # Whatever name finds a tensor one by one finds it here, too: its key, object path or full name.
        others: dict[str, str] = {}
        for name in [*(names if isinstance(names, list) else ()), *(source for source, _ in pairs or ())]:
            if isinstance(name, str) and name not in stored and (info := self._find(name)) is not None:
                others[name] = info.name
        keys = stored | others
        restorable = {key: name for name, key in stored.items()} if others else {}
        plan = plan_assignment(
            stored,
            names=names,
            assignment_map=pairs,
            strict=strict,
            path=self.path,
            aliases={name: restorable.get(key, key) for name, key in others.items()},
            info=lambda name: self.info(keys[name]),
        )
        values = self._read([keys[item.source] for item in plan], read_only, check)
        out: dict[str, Any] = {}
        into: list[tuple[Target, np.ndarray[Any, Any]]] = []
        given: set[str] = set()
        for item in plan:
            key = keys[item.source]
            value = values[key]
            if item.into is None or item.into.array is None:
                # Nobody who asks for a tensor twice expects to find one array under two names.
                value = value.copy() if key in given and not (read_only or check == "lazy") else value
                given.add(key)
            if item.into is not None:
                value = np.asarray(value)
                into.append((item.into, value))
            out[item.target] = value if item.into is None or item.into.array is None else item.into.array
        fill(into)
        return Restored(out, plan.report)

    def _read(self, keys: list[str], read_only: bool, verify: Verify) -> dict[str, Any]:
        if verify != "lazy":
            return self._source.read(keys, verify=verify, read_only=read_only)
        mapped = self._source.mapped(keys)
        lazy = {name: LazyArray(mapped, info) for name in keys if (info := mapped.info(name)) is not None}
        rest = [name for name in keys if name not in lazy]
        return lazy | self._source.read(rest, read_only=True)

    def _restorable(self) -> dict[str, str]:
        """Stored name by the name that a restore gives it."""
        objects = self.objects
        if objects is None:
            return {name: name for name in self._source.names()}
        out = {path: key for path, key in objects.paths.items() if self._source.info(key) is not None}
        # Lookup tables, iterators and the like keep their values under keys that their attribute only begins.
        named = {*out.values(), OBJECT_GRAPH_KEY}
        out |= {key: key for key in self._source.names() if key not in named}
        out.pop(SAVE_COUNTER, None)
        return out

    def _find(self, name: str) -> TensorInfo | None:
        found = self._source.info(name)
        if found is None and self._has_objects and isinstance(name, str):
            objects = self.objects
            key = objects and (objects.resolve(name) or objects.full_names.get(name))
            found = self._source.info(key) if key else None
        return found

    def close(self) -> None:
        """Lets go of connections; closing twice is harmless."""
        if self._on_close is not None:
            self._on_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"CheckpointReader({self.path})"
