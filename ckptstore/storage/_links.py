"""Hard links of files that are never written in place."""

from __future__ import annotations

import os

from ckptstore.errors import UnsupportedError
from ckptstore.storage._temporary_file import NO_LINKS


def link_file(file: bytes, fd: int, parent: int, name: bytes, path: str) -> os.stat_result | None:
    """Gives a file another name, which replaces nothing.

    Args:
        file: A name that it has.
        fd: It, open.
        parent: The open directory of the new name.
        name: The new name.
        path: The whole of it, for messages.

    Returns:
        What the system tells of it; None if another file has the old name by now. Then nothing is left.

    Raises:
        FileExistsError: There is something of that name.
        UnsupportedError: The file cannot have another name, or not this one.
    """
    if os.path.islink(file):  # another name for the link would be none for the file
        raise UnsupportedError(f"{path} would be of a symbolic link; write the bytes instead.", path=path)
    try:
        os.link(file, name, dst_dir_fd=parent, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        raise UnsupportedError(
            f"{path} could not be linked ({error.strerror}); write the bytes instead.", path=path
        ) from error
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if os.path.samestat(status, os.fstat(fd)):
        return status
    os.unlink(name, dir_fd=parent)
    return None
