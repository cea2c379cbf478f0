"""Run a function in a new process, so that the present process stays unchanged."""

from __future__ import annotations

import multiprocessing
import sys
import warnings
from collections.abc import Callable
from typing import Any


def run_in_process(function: Callable[..., Any], *args: Any, seconds: float | None = None) -> Any:
    """Run a function in a new process, and return its result.

    Args:
        function: the function.
        args: its arguments.
        seconds: how long it may take; None for no limit.

    Raises:
        EOFError: the function ended the process.
        TimeoutError: it took longer.
    """
    # fork is only safe on Linux; starting a new interpreter takes two seconds.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_result, args=(sender, function, args))  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        # Python warns that a fork loses this process's threads. The new one does not need them.
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    sender.close()
    try:
        if not receiver.poll(seconds):
            raise TimeoutError
        return receiver.recv()
    finally:
        process.kill()
        process.join()
        receiver.close()


def _send_result(sender: Any, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    sender.send(function(*args))
