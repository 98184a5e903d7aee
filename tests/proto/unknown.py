"""Finds the fields of a parsed message that its schema does not have."""

from collections.abc import Iterator

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet


def unknown_fields(message: Message) -> list[str]:
    """Returns the paths, such as `graph_def.node[2].17`, of all unknown fields in a message and below it."""
    return list(_walk(message, ""))


def _walk(message: Message, path: str) -> Iterator[str]:
    for unknown in UnknownFieldSet(message):
        yield f"{path}{unknown.field_number}"
    for field, value in message.ListFields():
        here = f"{path}{field.name}"
        if field.message_type is None:
            continue
        if isinstance(value, Message):
            yield from _walk(value, f"{here}.")
        elif field.message_type.GetOptions().map_entry:
            if field.message_type.fields_by_name["value"].message_type is not None:
                for key in value:
                    yield from _walk(value[key], f"{here}[{key!r}].")
        else:
            for index, item in enumerate(value):
                yield from _walk(item, f"{here}[{index}].")
