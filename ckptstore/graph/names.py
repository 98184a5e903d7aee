"""The names of nodes and tensors in a graph.

tensor   = node [ ":" output ]            output 0 where it is left out
input    = tensor | "^" node              a control input: run it first
node     = scope { "/" scope }
"""

from __future__ import annotations

import re

from ckptstore.errors import InvalidArgumentError

_NODE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")
_SCOPE = re.compile(r"[A-Za-z0-9_.\\/>-]*")
_OUTPUT = re.compile(r"(.+):([0-9]{1,9})", re.DOTALL)


def split_tensor(name: str) -> tuple[str, int]:
    """The node and the output that a tensor's name, or a data input, stands for: "v:1" -> ("v", 1), "v" -> ("v", 0)."""
    match = _OUTPUT.fullmatch(name)
    return (name, 0) if match is None else (match[1], int(match[2]))


def node_of(name: str) -> str:
    """The node that an input, of any kind, comes from."""
    return split_tensor(name.removeprefix("^"))[0]


def check_node(name: str) -> str:
    """The name, if TensorFlow takes it for a node's.

    Raises:
        InvalidArgumentError: It does not.
    """
    if not isinstance(name, str) or not _NODE.fullmatch(name):
        raise InvalidArgumentError(
            f"{name!r} cannot be the name of a node: letters, digits and _.\\-/> are allowed, the first of them a "
            "letter, a digit or a dot.",
            name=str(name),
        )
    return name


def check_scope(name: str) -> str:
    """The name, if TensorFlow takes it for a scope's inside of another.

    Raises:
        InvalidArgumentError: It does not.
    """
    if not isinstance(name, str) or not _SCOPE.fullmatch(name):
        raise InvalidArgumentError(f"{name!r} cannot be the name of a scope.", name=str(name))
    return name


def as_node(name: str) -> str:
    """The nearest name that a node can have: what is not allowed becomes "_"."""
    plain = re.sub(r"[^A-Za-z0-9_.\\/>-]", "_", name)
    return plain if _NODE.fullmatch(plain) else f".{plain}"
