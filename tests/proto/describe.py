"""What decides how messages look on the wire and in text, as plain dictionaries that can be compared and kept as JSON.

Everything is read from descriptor protos: the descriptor classes differ between the releases of protobuf.
"""

from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto

_TYPE_NAMES = {number: name.removeprefix("TYPE_").lower() for name, number in FieldDescriptorProto.Type.items()}
_NOT_PACKABLE = {"string", "bytes", "message"}

JSON = dict[str, Any]


def describe_file(file: FileDescriptor, package: str) -> tuple[dict[str, JSON], dict[str, dict[str, int]]]:
    """Returns the messages and the enums of a file, by full name, with the outermost package called `package`."""
    messages: dict[str, JSON] = {}
    enums: dict[str, dict[str, int]] = {}
    for enum in file.enum_types_by_name.values():
        enums[_renamed(enum.full_name, package)] = _describe_enum(enum)
    pending = list(file.message_types_by_name.values())
    while pending:
        message = pending.pop()
        if message.GetOptions().map_entry:
            continue
        messages[_renamed(message.full_name, package)] = _describe_message(message, package)
        for enum in message.enum_types:
            enums[_renamed(enum.full_name, package)] = _describe_enum(enum)
        pending += message.nested_types
    return messages, enums


def _renamed(name: str, package: str) -> str:
    """Replaces the outermost package of a full name, unless it is protobuf's own."""
    own, _, _ = name.partition(".")
    return name if own == "google" else package + name.removeprefix(own)


def _describe_enum(enum: EnumDescriptor) -> dict[str, int]:
    return {value.name: value.number for value in enum.values}


def _describe_message(message: Descriptor, package: str) -> JSON:
    file_proto, proto = FileDescriptorProto(), DescriptorProto()
    message.file.CopyToProto(file_proto)
    message.CopyToProto(proto)
    syntax = file_proto.syntax or "proto2"
    fields = {
        field.name: _describe_field(field, message.fields_by_name[field.name], proto, syntax, package)
        for field in proto.field
    }
    return {"syntax": syntax, "fields": fields}


def _describe_field(
    field: FieldDescriptorProto, descriptor: FieldDescriptor, message: DescriptorProto, syntax: str, package: str
) -> JSON:
    result: JSON = {"number": field.number}
    value = field
    entry = descriptor.message_type
    if entry is not None and entry.GetOptions().map_entry:
        entry_proto = DescriptorProto()
        entry.CopyToProto(entry_proto)
        key, value = sorted(entry_proto.field, key=lambda part: part.number)
        result |= {"label": "map", "key": _TYPE_NAMES[key.type]}
    else:
        result["label"] = "repeated" if field.label == FieldDescriptorProto.LABEL_REPEATED else "singular"
        assert field.label != FieldDescriptorProto.LABEL_REQUIRED
    type_name = result["type"] = _TYPE_NAMES[value.type]
    if value.type_name:
        result["of"] = _renamed(value.type_name.removeprefix("."), package)
    if result["label"] == "repeated":
        asked = field.options.packed if field.options.HasField("packed") else syntax == "proto3"
        result["packed"] = asked and type_name not in _NOT_PACKABLE
    if result["label"] == "singular":
        in_oneof = field.HasField("oneof_index")
        result["presence"] = in_oneof or type_name == "message" or syntax == "proto2"
        assert result["presence"] == descriptor.has_presence
        if type_name != "message":
            default = descriptor.default_value
            result["default"] = default.decode() if isinstance(default, bytes) else default
        if in_oneof:
            result["oneof"] = message.oneof_decl[field.oneof_index].name
    if field.options.deprecated:
        result["deprecated"] = True
    return result
