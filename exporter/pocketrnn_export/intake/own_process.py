"""The result of a function in a process of its own, which leaves this one as it was."""

from __future__ import annotations

import multiprocessing
import sys
import warnings
from collections.abc import Callable
from typing import Any

__all__ = ["given_apart"]


def given_apart(make: Callable[..., Any], *args: Any, seconds: float | None = None) -> Any:
    """The result of a function in a process of its own.

    Args:
        make: the function.
        args: what it is called with.
        seconds: how long it may take; without an end if None.

    Raises:
        EOFError: it ended the process.
        TimeoutError: it took longer.

    Example:
        >>> given_apart(len, "abc")
        3
    """
    # Elsewhere a fork is not safe, and a new interpreter takes two seconds.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, make, args))  # type: ignore[attr-defined]
    with warnings.catch_warnings():
        # Threads of this process, which the new one lacks. It makes a module, and uses none of theirs.
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


def _send(sender: Any, make: Callable[..., Any], args: tuple[Any, ...]) -> None:
    sender.send(make(*args))
