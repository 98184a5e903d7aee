"""Messages in collections that are carried along: queue runners and the contexts of control flow.

Every text in them is the name of a node or a scope.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.message import DecodeError, Message

from ckptstore._proto import control_flow_pb2, queue_runner_pb2
from ckptstore.errors import DataLossError
from ckptstore.graph.collections import GraphKeys

_MESSAGES: dict[str, type[Message]] = {
    GraphKeys.QUEUE_RUNNERS: queue_runner_pb2.QueueRunnerDef,
    GraphKeys.COND_CONTEXT: control_flow_pb2.CondContextDef,
    GraphKeys.WHILE_CONTEXT: control_flow_pb2.WhileContextDef,
}


def name_in(key: str, data: bytes) -> str | None:
    """The name of what a message of a collection is about, or None if it is none of those.

    Raises:
        DataLossError: It is damaged.
    """
    if key not in _MESSAGES:
        return None
    message: Any = _parse(key, data)
    name: str = message.queue_name if key == GraphKeys.QUEUE_RUNNERS else message.context_name
    return name


def renamed(key: str, data: bytes, rename: Callable[[str], str]) -> bytes:
    """A message of a collection with other names in it; itself if it is none of those.

    Raises:
        DataLossError: It is damaged.
    """
    if key not in _MESSAGES:
        return data
    message = _parse(key, data)
    _rename(message, rename)
    return message.SerializeToString(deterministic=True)


def _parse(key: str, data: bytes) -> Message:
    try:
        return _MESSAGES[key].FromString(data)
    except DecodeError as error:
        raise DataLossError(f"the collection {key!r} holds what is no {_MESSAGES[key].DESCRIPTOR.name}") from error


def _rename(message: Any, rename: Callable[[str], str]) -> None:
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            items = {rename(k): rename(v) if isinstance(v, str) else v for k, v in value.items()}
            value.clear()
            value.update(items)
        elif field.message_type is not None:
            for item in value if isinstance(value, Sequence) else [value]:
                _rename(item, rename)
        elif field.cpp_type == field.CPPTYPE_STRING and isinstance(value, str):
            setattr(message, field.name, rename(value))
        elif field.cpp_type == field.CPPTYPE_STRING:
            value[:] = [rename(item) for item in value]
