"""What a run says of a checkpoint: step, time, metrics and its own metadata, kept in the `.meta` file.

The file is a MetaGraphDef without a graph. Its collection "ckptstore" holds one byte string of JSON:

    {"version": 1, "step": 1200, "time": 1700000000.5, "metrics": {"loss": 0.25}, "metadata": {...}}

TensorFlow carries collections along that it does not know, and never looks into this one. The collection
"ckptstore_digests", where there is one, holds two byte strings: the name of the algorithm, and the digests of all
tensors, in the order of the index.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError

from ckptstore._proto.meta_graph_pb2 import MetaGraphDef
from ckptstore.errors import DataLossError, InvalidArgumentError

COLLECTION = "ckptstore"
_DIGESTS = "ckptstore_digests"
_VERSION = 1


@dataclass(frozen=True)
class RunInfo:
    """What is kept with a checkpoint.

    Attributes:
        step: The step it was saved as, or None where that is not recorded.
        time: When it was saved, in seconds since 1970, or None.
        metrics: Numbers by name, for picking the best one.
        metadata: Whatever the run wants to remember, as JSON can hold it.
    """

    step: int | None = None
    time: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, step: int, time: float, metrics: Mapping[str, Any] | None, metadata: Mapping[str, Any] | None
    ) -> RunInfo:
        """Checks what a caller hands over.

        Raises:
            InvalidArgumentError: A metric is no number, or the metadata are not what JSON can hold.
        """
        if not isinstance(metrics, Mapping | None):
            raise InvalidArgumentError(f"metrics must be a mapping of names to numbers, not {metrics!r}.")
        numbers: dict[str, float] = {}
        for name, value in (metrics or {}).items():
            if not isinstance(name, str) or not name:
                raise InvalidArgumentError(f"The name of a metric must be a str that is not empty, not {name!r}.")
            try:
                numbers[name] = _number(value)
            except (TypeError, ValueError, OverflowError) as error:
                raise InvalidArgumentError(f"The metric {name!r} must be a number, not {value!r:.100}.") from error
        if not isinstance(metadata, Mapping | None):
            raise InvalidArgumentError(f"metadata must be a mapping, not {metadata!r:.100}.")
        try:
            text = json.dumps(dict(metadata or {}))
            if _text_keys(metadata or {}):
                return cls(step, time, numbers, json.loads(text))
            problem: object = "a key is no str"
        except (TypeError, ValueError, RecursionError) as error:
            problem = error
        raise InvalidArgumentError(
            f"metadata must be a mapping that JSON can hold ({problem}); save arrays as tensors instead."
        )

    def encode(self, graph: MetaGraphDef | None = None, digests: tuple[str, bytes] | None = None) -> bytes:
        """The bytes of the `.meta` file.

        Args:
            graph: What else it is to hold; by default nothing.
            digests: Digests of the tensors, and how they were computed.
        """
        meta = MetaGraphDef()
        if graph is not None:
            meta.CopyFrom(graph)
        record = {
            "version": _VERSION,
            "step": self.step,
            "time": self.time,
            # JSON has no NaN; its names as text are what float() reads back
            "metrics": {k: v if math.isfinite(v) else repr(v) for k, v in self.metrics.items()},
            "metadata": self.metadata,
        }
        text = json.dumps(record, separators=(",", ":"), ensure_ascii=False)
        meta.collection_def[COLLECTION].bytes_list.value.append(text.encode("utf-8", "surrogatepass"))
        if digests is not None:
            meta.collection_def[_DIGESTS].bytes_list.value.extend((digests[0].encode("ascii"), digests[1]))
        return meta.SerializeToString(deterministic=True)

    @classmethod
    def decode(cls, data: bytes) -> RunInfo:
        """Reads any `.meta` file; one that TensorFlow wrote says nothing of a run.

        Raises:
            DataLossError: It is no MetaGraphDef, or our record in it is damaged.
        """
        try:
            return cls.of_graph(MetaGraphDef.FromString(data))
        except DecodeError as error:
            raise DataLossError("it is no MetaGraphDef") from error

    @classmethod
    def of_graph(cls, meta: MetaGraphDef) -> RunInfo:
        """The record in a MetaGraphDef; see `decode`.

        Raises:
            DataLossError: It is damaged.
        """
        if COLLECTION not in meta.collection_def:
            return cls()
        try:
            record = json.loads(meta.collection_def[COLLECTION].bytes_list.value[0])
            step, time = record["step"], record["time"]
            return cls(
                None if step is None else int(step),
                None if time is None else float(time),
                {str(k): float(v) for k, v in record["metrics"].items()},
                dict(record["metadata"]),
            )
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
            raise DataLossError(f"the record of the run in it is damaged ({error})") from error


def stored_digests(data: bytes) -> tuple[str, bytes] | None:
    """The digests in a `.meta` file, as they were handed to `RunInfo.encode`; None if it has none.

    Raises:
        DataLossError: It is no MetaGraphDef, or they are damaged.
    """
    try:
        meta = MetaGraphDef.FromString(data)
        if _DIGESTS not in meta.collection_def:
            return None
        algorithm, digests = meta.collection_def[_DIGESTS].bytes_list.value
        return algorithm.decode("ascii"), digests
    except (DecodeError, ValueError) as error:
        raise DataLossError("it is no MetaGraphDef, or the digests in it are damaged") from error


def _text_keys(value: Any) -> bool:
    """Whether all keys of nested mappings are text: others would come back as text, and might collide."""
    if isinstance(value, Mapping):
        return all(isinstance(k, str) and _text_keys(v) for k, v in value.items())
    return not isinstance(value, list | tuple) or all(map(_text_keys, value))


def _number(value: Any) -> float:
    if isinstance(value, str | bytes):  # float() would read them
        raise TypeError
    return float(value)
