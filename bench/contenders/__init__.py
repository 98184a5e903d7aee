"""The contenders, and for each a module of the same name.

A module imports its library at the top, so only its own worker process loads it, and has
    VERSIONS      what was measured
    hold(arrays)  untimed, before `save`: the state in the form in which a user of that library has it in memory
    expect(spec)  untimed, before `restore`: what a program knows of its state before it is restored
    save(directory, state)
    restore(directory) -> arrays by name
One that reads what another wrote has neither `hold` nor `save`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Contender:
    """What the measurement has to know without loading the library.

    Attributes:
        name: Of the module.
        durable: `save` returns only once files and directory are synced.
        flat: It gets the state as one array of bytes.
        files_of: Whose files `restore` reads, if it writes none itself.
    """

    name: str
    durable: bool = False
    flat: bool = False
    files_of: str | None = None


CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("raw", flat=True),
        Contender("raw_new", flat=True, files_of="raw"),
        Contender("ckptstore", durable=True),
        Contender("ckptstore_manager", durable=True),
        Contender("ckptstore_lazy", files_of="ckptstore"),
        Contender("tensorflow"),
        Contender("tensorflow_reader", files_of="tensorflow"),
        Contender("safetensors"),
        Contender("torch_dcp"),
        Contender("torch_dcp_unsynced"),
        Contender("orbax"),
    )
}
"""By name, in the order in which they take turns."""
