"""Set before anything imports torch, and handed on to the processes that tests start."""

from __future__ import annotations

import os
import signal

# Small batches, and several test processes on few cores: with two threads each, tests took up to five times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure() -> None:
    # A shell starts what it puts into the background with Ctrl-C ignored, and so would every command that the tests
    # start and mean to interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
