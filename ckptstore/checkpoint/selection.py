"""Which tensors of a checkpoint a copy takes over, and under which names. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase

from ckptstore.checkpoint.assignment import describe_missing, plan_assignment
from ckptstore.checkpoint.objects import OBJECT_GRAPH_KEY
from ckptstore.errors import InvalidArgumentError, TensorNotFoundError, UnsupportedError


def select_names(
    available: Iterable[str],
    *,
    rename: Mapping[str, str] | None = None,
    include: str | Iterable[str] = (),
    exclude: str | Iterable[str] = (),
    path: str = "",
) -> dict[str, str]:
    """New name by old name, decided before anything is read. What is not renamed keeps its name.

    Args:
        available: The names in the checkpoint.
        rename: New name by old name, or new scope by old scope ("old/" -> "new/"; "/" is the root), as in an
            assignment map; see `plan_assignment`. Of several that fit a tensor the longest counts, and an exact name
            before all.
        include: Only tensors that match one of these patterns (`fnmatch.fnmatchcase`). Empty: all.
        exclude: None that match one of these.
        path: The checkpoint, for messages.

    Raises:
        TensorNotFoundError: Old names are not there: all of them, each with the nearest that are.
        InvalidArgumentError: The map is malformed, renames what is left out, or gives two tensors one name; or nothing
            is left.
        UnsupportedError: The object graph of the checkpoint would no longer fit it.
    """
    everything = list(available)
    include, exclude = ((given,) if isinstance(given, str) else tuple(given) for given in (include, exclude))
    names = {
        name: name for name in everything if (not include or _matches(name, include)) and not _matches(name, exclude)
    }
    if not names:
        raise InvalidArgumentError(
            f"No tensor of {path} is left to copy; `ckptstore inspect` lists them, and patterns match whole names.",
            path=path,
        )
    kept = list(names)
    missing: list[str] = []
    known = set(everything)
    # The later one counts: scopes, then patterns, then exact names, and of a kind the longest.
    for old in sorted(rename or {}, key=lambda old: (not old.endswith("/"), old in known, len(old))):
        new = (rename or {})[old]
        if not isinstance(new, str):
            raise InvalidArgumentError(f"{old!r} can be renamed to a name only, not to a {type(new).__name__}.")
        try:
            plan = plan_assignment(kept, assignment_map={old: new}, path=path)
        except TensorNotFoundError:
            if old in known:
                raise InvalidArgumentError(
                    f"{old!r} is renamed, and left out by include= or exclude=; drop one of the two.", name=old
                ) from None
            missing.append(old)
            continue
        names.update((item.source, item.target) for item in plan)
    if missing:
        # Its last line is about restoring.
        text = describe_missing(missing, sorted(everything), path).rpartition("\n")[0]
        raise TensorNotFoundError(
            f"{text}\n`ckptstore inspect` lists its tensors.", path=path, name=missing[0], missing=tuple(missing)
        )
    _refuse_clashes(names)
    changed = len(names) < len(everything) or any(old != new for old, new in names.items())
    if changed and OBJECT_GRAPH_KEY in names:
        raise UnsupportedError(
            f"{path} is object-based: its object graph knows its tensors by their names, and would not fit the copy. "
            f"Leave the graph out, too, with --exclude {OBJECT_GRAPH_KEY}; the copy is then name-based.",
            path=path,
            name=OBJECT_GRAPH_KEY,
        )
    return names


def _matches(name: str, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _refuse_clashes(names: Mapping[str, str]) -> None:
    seen: dict[str, str] = {}
    for old, new in names.items():
        if not new:
            raise InvalidArgumentError(f"{old!r} would be left without a name; rename it by itself.", name=old)
        other = seen.setdefault(new, old)
        if other != old:
            raise InvalidArgumentError(
                f"Both {other!r} and {old!r} would be named {new!r}; rename one of them otherwise, or exclude it.",
                name=new,
            )
