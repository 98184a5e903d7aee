"""Variables by name, as the right-hand sides of an assignment map name them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ckptstore.checkpoint.assignment import nearest
from ckptstore.checkpoint.targets import Variable, is_variable, variable_name
from ckptstore.errors import InvalidArgumentError

_SHOWN = 20


class VariableStore:
    """Variables by name, without TensorFlow's ":0".

    The parts of a partitioned variable, which tf.compat.v1.get_variable names "v/part_0", "v/part_1" and so on, are
    also found together, as "v".

    Args:
        variables: In any order; one may come twice.

    Raises:
        InvalidArgumentError: Something among them is no variable.
    """

    def __init__(self, variables: Iterable[Any]) -> None:
        given = list(variables) if isinstance(variables, Iterable) else [variables]
        wrong = next((variable for variable in given if not is_variable(variable)), None)
        if wrong is not None:
            raise InvalidArgumentError(
                f"variables must be a list of what has name, shape, dtype and assign, and holds {wrong!r:.100}."
            )
        self._by_name: dict[str, Variable] = {}
        self._ambiguous: set[str] = set()
        for variable in given:
            name = variable_name(variable)
            if self._by_name.setdefault(name, variable) is not variable:
                self._ambiguous.add(name)

    def get(self, name: str) -> Variable | list[Variable] | None:
        """The variable of a name, or the parts of the partitioned one, or None.

        Raises:
            InvalidArgumentError: There are two.
        """
        name = name.removesuffix(":0")
        found = self._by_name.get(name)
        parts = self._parts(name) if found is None else []
        for known in (name, *map(variable_name, parts)):
            if known in self._ambiguous:
                raise InvalidArgumentError(
                    f"Two variables are named {known!r}; map the tensor to the variable itself, not to its name.",
                    name=known,
                )
        return found if found is not None else parts or None

    def under(self, scope: str) -> dict[str, Variable | list[Variable]]:
        """The variables of a scope ("a/"; "/" is the root) by name, a partitioned one as the list of its parts.

        Raises:
            InvalidArgumentError: Two have the same name.
        """
        prefix = "" if scope == "/" else scope
        parts: dict[str, str] = {}  # the whole, by the name of a part
        names: dict[str, None] = {}
        for name in self._by_name:
            if name.startswith(prefix):
                whole = name.rpartition("/part_")[0]
                if whole and name not in parts:
                    parts.update((variable_name(part), whole) for part in self._parts(whole))
                names[parts.get(name, name)] = None
        return {name: found for name in sorted(names) if (found := self.get(name)) is not None}

    def bind(
        self, pairs: Iterable[tuple[str, Any]], *, strict: bool = True
    ) -> tuple[list[tuple[str, Any]], list[tuple[str, str]]]:
        """Puts variables in the place of their names in an assignment map.

        Args:
            pairs: The map.
            strict: Every name must be a variable's, and every scope have some.

        Returns:
            Name in the checkpoint and target, "scope/" -> "scope/" being spelled out variable by variable; and name
            (or scope) and reason of what no variable was found for.

        Raises:
            InvalidArgumentError: There are no such variables: all that are named in vain. Or a scope is to go into a
                variable, or a variable into a scope; or two have the same name.
        """
        bound: list[tuple[str, Any]] = []
        unknown: list[tuple[str, str]] = []
        for source, target in pairs:
            if target is None:
                raise InvalidArgumentError(f"{source!r} must map to a variable, its name, a scope or an array.")
            if not isinstance(target, str):
                bound.append((source, target))
            elif (found := self.get(target)) is not None:
                bound.append((source, found))
            elif source.endswith("/") != target.endswith("/"):
                old, new = (name if name.endswith("/") else name + "/" for name in (source, target))
                wrong = target if source.endswith("/") else source
                raise InvalidArgumentError(f"The scope {wrong!r} must end in '/', too: {old!r} -> {new!r}.")
            else:
                old, new = ("" if scope == "/" else scope for scope in (source, target))
                under = self.under(target) if target.endswith("/") else {}
                bound += [(old + name[len(new) :], variable) for name, variable in under.items()]
                unknown += [] if under else [(source, target)]
        if unknown and strict:
            raise InvalidArgumentError(self._describe(unknown))
        return bound, [(source, f"there is no {_described(target)}") for source, target in unknown]

    def _describe(self, unknown: Sequence[tuple[str, str]]) -> str:
        if not self._by_name:
            return f"There is no {_described(unknown[0][1])}; pass variables= for names to be found among."
        names = sorted(self._by_name)
        lines = [f"The assignment map names what is none of the {len(names)} variables:"]
        for source, target in unknown[:_SHOWN]:
            near = "" if target.endswith("/") else nearest(target, names)
            lines.append(f"  no {_described(target)}, to be initialised from {source!r}{near}")
        if len(unknown) > _SHOWN:
            lines.append(f"  and {len(unknown) - _SHOWN} more")
        return "\n".join([*lines, "Drop them from the map, or pass strict=False."])

    def _parts(self, name: str) -> list[Variable]:
        parts: list[Variable] = []
        while (part := self._by_name.get(f"{name}/part_{len(parts)}")) is not None:
            parts.append(part)
        return parts


def _described(target: str) -> str:
    return f"variable under {target!r}" if target.endswith("/") else f"variable {target!r}"
