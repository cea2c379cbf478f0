"""The signals that end a command: SIGINT (Ctrl-C), SIGTERM, and SIGHUP, of a terminal that was closed.

Before a command runs there is nothing to clean up, and the process ends at once. While it runs, the signal is an
exception, so that every `finally` is run and no temporary file stays.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

from pocketrnn.errors import Terminated

__all__ = ["SHELL_STATUS", "end_at_once", "ended_by_signals", "leave"]

# A shell's status for a command that a signal has ended is this plus the signal's number.
SHELL_STATUS = 128
# Windows has no SIGHUP.
_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
# A further SIGTERM within so many seconds does not stop the `finally`s. After that, the first was lost in somebody's
# `except:`.
_PATIENCE = 5.0
_SOON = 0.02


def end_at_once() -> None:
    """From now on, each of these signals ends the process at once and silently, with the status that a shell would
    report. For the start and the end of the command line: nothing is cleaned up.

    Example:
        >>> end_at_once()  # doctest: +SKIP
    """
    _handle(_exit)


def leave(status: int) -> NoReturn:
    """End the process with an exit status: after a signal at once, since a thread of a library that was interrupted can
    keep Python from ending, or abort it.

    Raises:
        SystemExit: no signal has ended the command.

    Example:
        >>> leave(0)  # doctest: +SKIP
    """
    if status in {SHELL_STATUS + number for number in _ENDING}:
        # An interrupted `finally` leaves temporary siblings. A command that wrote nothing has not imported the module.
        if folder := sys.modules.get("pocketrnn.bundle.folder"):
            folder.remove_siblings()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(status)
    raise SystemExit(status)


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """While the block runs, SIGINT raises KeyboardInterrupt in it, and SIGTERM and SIGHUP raise `Terminated`. The block
    is then left by KeyboardInterrupt, or by SystemExit with the status that a shell would report, whatever the code in
    between made of the exception.

    A second SIGTERM does not stop the `finally`s. Signals belong to the process, so this is for the command line only;
    it changes nothing in another thread than the main one, or of a signal that is ignored or handled already.

    Raises:
        KeyboardInterrupt: SIGINT came.
        SystemExit: SIGTERM or SIGHUP came.

    Example:
        >>> with ended_by_signals():
        ...     signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        False
    """
    block = _Block()
    before = _handle(block.end)
    hook = sys.unraisablehook
    if before:
        sys.unraisablehook = lambda raised: block.not_lost(raised, hook)
    try:
        block.is_running = True
        yield
    except BaseException as error:
        if block.came is None:
            raise
        raise _as_ended(block.came) from error
    else:
        if block.came is not None:
            raise _as_ended(block.came)
    finally:
        block.is_running = False
        block.again.cancel()
        if before:
            sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


class _Block:
    """A block that signals end.

    Attributes:
        is_running: whether there is anything to clean up.
        came: the first signal that came.
        again: gives the signal once more.
    """

    def __init__(self) -> None:
        self.is_running = False
        self.came: int | None = None
        self.again = threading.Timer(0, self._give_again)
        self._raised_at = -_PATIENCE

    def end(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal."""
        if not self.is_running:
            _exit(number, None)
        self.came = self.came or number
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        if time.monotonic() - self._raised_at < _PATIENCE:
            return
        self._raised_at = time.monotonic()
        raise Terminated(number)

    def not_lost(self, raised: sys.UnraisableHookArgs, otherwise: Callable[[sys.UnraisableHookArgs], object]) -> None:
        """Python drops what is raised in a `__del__` or a callback from C: the signal is given again, soon after."""
        if self.came is None or not isinstance(raised.exc_value, KeyboardInterrupt | Terminated):
            otherwise(raised)
            return
        self._raised_at = -_PATIENCE
        self.again.cancel()
        self.again = threading.Timer(_SOON, self._give_again)
        self.again.daemon = True
        self.again.start()

    def _give_again(self) -> None:
        if not self.is_running or self.came is None:
            return
        # To the main thread, which may be waiting. Windows has no such function.
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(threading.main_thread().ident or 0, self.came)
        else:
            signal.raise_signal(self.came)


def _handle(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Handle the signals that nobody handles or ignores; what each had before."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    free = (signal.SIG_DFL, signal.default_int_handler, _exit)
    return {n: signal.signal(n, handler) for n in _ENDING if signal.getsignal(n) in free}


def _exit(number: int, _frame: FrameType | None) -> None:
    os._exit(SHELL_STATUS + number)


def _as_ended(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(SHELL_STATUS + number)
