"""Children by fork, as data loaders make them."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable


def exit_code_of_a_child(call: Callable[[], object], *, seconds: float = 10) -> int | None:
    """What a child that does nothing but a call ends with: 0, 1 if the call raises; None if it hangs."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # from Python 3.12 on, if there are threads: that is the point
        child = os.fork()
    if child == 0:
        code = 1
        try:
            call()
            code = 0
        finally:
            os._exit(code)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return None
