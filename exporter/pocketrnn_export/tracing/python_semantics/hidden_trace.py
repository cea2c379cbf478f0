"""The functions that say whether a trace is going on: they say no to the user's code, as where it runs.

A forward that asks, and then does something else, would be exported as what it does while nobody looks. So the
functions that tell answer the module's own code as they do outside of a trace, and PyTorch's code as they are.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable
from typing import Any, Final

from pocketrnn_export.intake.user_frames import is_users
from pocketrnn_export.torch_internals import functions_that_tell, methods_replaced

__all__ = ["HIDDEN", "trace_hidden"]


def _answering(shipped: Callable[..., Any], untraced: Any) -> Callable[..., Any]:
    @functools.wraps(shipped)
    def answering(*args: Any, **kwargs: Any) -> Any:
        if is_users(sys._getframe(1)):
            return untraced
        return shipped(*args, **kwargs)

    return answering


# The stand-ins for functions that a file imported by name: (the function, its stand-in).
HIDDEN: Final = tuple((shipped, _answering(shipped, untraced)) for _, _, shipped, untraced in functions_that_tell())


def trace_hidden(_: object) -> contextlib.AbstractContextManager[None]:
    """While the block runs, the user's code sees no trace.

    Example:
        >>> with trace_hidden(None):
        ...     torch.compiler.is_compiling()
        False
    """
    return methods_replaced(
        {(module, name): _answering(shipped, untraced) for module, name, shipped, untraced in functions_that_tell()}
    )
