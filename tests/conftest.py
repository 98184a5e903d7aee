"""What holds for all tests."""

from __future__ import annotations

import signal

# A job in the background may be begun with SIGINT ignored, and hands that on; the tests of Ctrl-C need it heard.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
