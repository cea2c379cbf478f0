"""What SIGTERM does to a command: it ends as after Ctrl-C, and its temporary files are removed."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Final

from pocketrnn.errors import Terminated

__all__ = ["TERMINATED", "ended_by_sigterm"]

# What a shell reports of a command that SIGTERM (15) ended: 128 + the signal.
TERMINATED: Final = 143


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """While the block runs, SIGTERM raises `Terminated` in it, so that every `finally` is run; then SystemExit(143).

    A second SIGTERM does not stop the `finally`s. Signals belong to the process, so this is for the command line only;
    it changes nothing in another thread than the main one, or where SIGTERM is ignored or handled already.

    Example:
        >>> with ended_by_sigterm():
        ...     signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        False
    """
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _end)
    try:
        yield
    except Terminated:
        raise SystemExit(TERMINATED) from None
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(_signal: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated
