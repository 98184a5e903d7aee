"""What a saver needs of the files that it writes, whatever their format."""

from __future__ import annotations

from typing import Protocol

from ckptstore.storage import ObjectMeta, Store


class TensorSink(Protocol):
    """Tensors that are ready to be written as one checkpoint.

    The last file is what makes it look like one: without it nobody takes the others for a checkpoint.
    """

    def name(self, prefix: str) -> str:
        """The name by which a state file lists it, if it is written as `prefix`.

        Raises:
            InvalidArgumentError: It cannot be written under that name.
        """

    def move(self, store: Store, prefix: str) -> None:
        """Writes to another place from now on; the tensors stay, so that it can be written once more."""

    def write_data(self) -> list[ObjectMeta]:
        """Puts everything but the last file."""

    def write_index(self) -> ObjectMeta:
        """Puts the last file; `write_data` has been called before."""
