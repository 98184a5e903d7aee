"""Names with "/" in them as a tree. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

_MAX_DEPTH = 32  # what is deeper stays in one piece: a name may consist of thousands of slashes

_GUIDES = {True: ("├─ ", "└─ ", "│  "), False: ("|- ", "`- ", "|  ")}


@dataclass
class Node(Generic[T]):
    """A scope, a leaf, or both at once ("w" beside "w/Adam").

    Attributes:
        label: Its part of the name, of several levels where nothing branches off between them.
        guide: The lines that lead to it, such as "│  └─ ".
        leaf: What has this name, or None.
        leaves: Everything at and below it.
        children: What is right below it, by label.
    """

    label: str
    guide: str = ""
    leaf: T | None = None
    leaves: list[T] = field(default_factory=list)
    children: dict[str, Node[T]] = field(default_factory=dict)


def tree(items: Sequence[tuple[str, T]], *, unicode: bool = True) -> Iterator[Node[T]]:
    """The nodes in the order in which they are shown, children in the order in which their names first come."""
    root: Node[T] = Node("")
    for name, item in items:
        node = root
        for part in name.split("/", _MAX_DEPTH):
            node = node.children.setdefault(part, Node(part))
            node.leaves.append(item)
        node.leaf = item
    branch, last, through = _GUIDES[unicode]
    stack = [(child, "", "") for child in reversed(root.children.values())]
    while stack:
        node, guide, below = stack.pop()
        while node.leaf is None and len(node.children) == 1:
            (child,) = node.children.values()
            child.label = f"{node.label}/{child.label}"
            node = child
        if node.children and node.leaf is None:
            node.label += "/"
        node.guide = guide
        yield node
        below_it = list(node.children.values())
        for child in reversed(below_it):
            is_last = child is below_it[-1]
            stack.append((child, below + (last if is_last else branch), below + ("   " if is_last else through)))
