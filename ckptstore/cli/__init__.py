"""The command line: the only part that reads the environment and prints.

A module per command (`ls`, `inspect`, `verify`), each with `HELP`, `add_arguments` and `run`; what they share is in the
modules with an underscore. `--help` waits for none of the heavy imports, which are made when a command runs.
"""

from ckptstore.cli._main import main

__all__ = ["main"]
