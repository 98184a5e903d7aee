"""Where a part of a partitioned variable belongs."""

from __future__ import annotations

from dataclasses import dataclass

from ckptstore.format.slices import TensorSlice


@dataclass(frozen=True, slots=True)
class SaveSliceInfo:
    """Which part of a partitioned variable a variable is.

    Attributes:
        full_name: The name of the whole.
        full_shape: Its shape.
        var_offset: Where the part begins, per dimension.
        var_shape: The part's shape.
    """

    full_name: str
    full_shape: tuple[int, ...]
    var_offset: tuple[int, ...]
    var_shape: tuple[int, ...]

    @property
    def slice(self) -> TensorSlice:
        """The part as a slice."""
        return TensorSlice(tuple(zip(self.var_offset, self.var_shape, strict=True)))

    @property
    def spec(self) -> str:
        """What save and restore nodes say of it: "10 4 0,4:0,4"."""
        extents = ":".join(f"{o},{s}" for o, s in zip(self.var_offset, self.var_shape, strict=True))
        return " ".join([*map(str, self.full_shape), extents])
