"""Handle the signals that end a command: SIGINT (Ctrl-C), SIGTERM, and SIGHUP (its terminal was closed).

Before a command runs there is nothing to clean up, and the process ends at once. While it runs, the signal raises an
exception, so that every `finally` runs and no temporary file is left.
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

__all__ = ["SHELL_STATUS", "exit_on_signals", "exit_process_with_status", "raise_on_signals"]

# A shell's exit status for a command that was ended by a signal is this plus the signal's number.
SHELL_STATUS = 128
# Windows has no SIGHUP.
_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
# A second SIGTERM within this many seconds is ignored, so that every `finally` can run. After that, an `except:` must
# have swallowed the first one.
_PATIENCE = 5.0
# A signal that Python lost is sent again after this many seconds.
_SOON = 0.02


def exit_on_signals() -> None:
    """Let SIGINT, SIGTERM and SIGHUP end the process immediately and silently, with the status that a shell would
    report."""
    _install_handler_for_unhandled_signals(_exit_by_signal)


def exit_process_with_status(status: int) -> NoReturn:
    """End the process with an exit status.

    If the status is that of a signal, end the process immediately: an interrupted thread of a library could prevent
    Python from ending, or make it abort.

    Raises:
        SystemExit: the status is not that of a signal.
    """
    if status in {SHELL_STATUS + number for number in _ENDING}:
        # An interrupted `finally` can leave temporary siblings. A command that wrote nothing has not imported
        # this module.
        if writing := sys.modules.get("pocketrnn.bundle.atomic_writing"):
            writing.delete_own_temporary_siblings()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(status)
    raise SystemExit(status)


@contextlib.contextmanager
def raise_on_signals() -> Iterator[None]:
    """While the block runs, let SIGINT raise KeyboardInterrupt in it, and SIGTERM and SIGHUP raise `Terminated`.

    After a signal, the block ends with KeyboardInterrupt, or with SystemExit and the status that a shell would report,
    even if code in the block caught or replaced the exception. A second SIGTERM does not interrupt a `finally`.

    Outside the main thread, this does nothing. Signals that are ignored or have another handler are left alone.

    Raises:
        KeyboardInterrupt: SIGINT came.
        SystemExit: SIGTERM or SIGHUP came.
    """
    block = _SignalledBlock()
    before = _install_handler_for_unhandled_signals(block.handle_signal)
    hook = sys.unraisablehook
    if before:
        sys.unraisablehook = lambda raised: block.resend_lost_signal(raised, hook)
    try:
        block.is_running = True
        yield
    except BaseException as error:
        if block.came is None:
            raise
        raise _choose_signal_exception(block.came) from error
    else:
        if block.came is not None:
            raise _choose_signal_exception(block.came)
    finally:
        block.is_running = False
        block.again.cancel()
        if before:
            sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


class _SignalledBlock:
    """The state of a block of code in which signals raise exceptions.

    Attributes:
        is_running: whether the block is running, so that there may be something to clean up.
        came: the number of the first signal that came; None before.
        again: the timer that sends a signal once more, if Python lost the exception.
    """

    def __init__(self) -> None:
        self.is_running = False
        self.came: int | None = None
        self.again = threading.Timer(0, self._resend_signal)
        self._raised_at = -_PATIENCE

    def handle_signal(self, number: int, _frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt for SIGINT, and `Terminated` for another signal, unless `Terminated` was raised less
        than five seconds ago. If the block is not running, end the process."""
        if not self.is_running:
            _exit_by_signal(number, None)
        self.came = self.came or number
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        if time.monotonic() - self._raised_at < _PATIENCE:
            return
        self._raised_at = time.monotonic()
        raise Terminated(number)

    def resend_lost_signal(
        self, raised: sys.UnraisableHookArgs, previous_hook: Callable[[sys.UnraisableHookArgs], object]
    ) -> None:
        """Send the signal again soon, if Python lost the exception that the signal raised. Call `previous_hook` for any
        other lost exception.

        Python loses an exception that is raised in a `__del__` or in a callback from C, and calls `sys.unraisablehook`,
        which is this function.
        """
        if self.came is None or not isinstance(raised.exc_value, KeyboardInterrupt | Terminated):
            previous_hook(raised)
            return
        self._raised_at = -_PATIENCE
        self.again.cancel()
        self.again = threading.Timer(_SOON, self._resend_signal)
        self.again.daemon = True
        self.again.start()

    def _resend_signal(self) -> None:
        """Send the signal that came to the main thread once more, if the block is still running."""
        if not self.is_running or self.came is None:
            return
        # To the main thread, which may be waiting. Windows has no such function.
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(threading.main_thread().ident or 0, self.came)
        else:
            signal.raise_signal(self.came)


def _install_handler_for_unhandled_signals(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Install a handler for each of SIGINT, SIGTERM and SIGHUP that has no handler of its own and is not ignored.
    Return the previous handlers by signal; an empty dict outside the main thread."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    free = (signal.SIG_DFL, signal.default_int_handler, _exit_by_signal)
    return {n: signal.signal(n, handler) for n in _ENDING if signal.getsignal(n) in free}


def _exit_by_signal(number: int, _frame: FrameType | None) -> None:
    """End the process immediately, with the status that a shell reports for this signal."""
    os._exit(SHELL_STATUS + number)


def _choose_signal_exception(number: int) -> BaseException:
    """Return the exception that ends a block after a signal: KeyboardInterrupt for SIGINT, else SystemExit with the
    status of the signal."""
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(SHELL_STATUS + number)
