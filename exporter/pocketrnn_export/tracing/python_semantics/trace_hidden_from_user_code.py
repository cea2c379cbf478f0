"""Hide the trace from user code. In user code, functions that tell whether a trace is active return False.

A forward that checks for a trace may do something else in one, and then the wrong code would be exported. So these
functions answer the module's own code as they do outside of a trace, and PyTorch's code truthfully.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable
from typing import Any, Final

from pocketrnn_export.intake.user_code_lines_for_messages import is_user_frame
from pocketrnn_export.torch_internals import list_functions_that_tell_of_tracing, replace_methods


def _make_function_that_hides_trace(shipped: Callable[..., Any], answer_without_trace: Any) -> Callable[..., Any]:
    """Return a function in place of one of torch that tells whether a trace is active.

    Args:
        shipped: torch's function. Code other than the user's gets its result.
        answer_without_trace: what the user's code gets, as outside of a trace.
    """

    @functools.wraps(shipped)
    def answer_as_untraced(*args: Any, **kwargs: Any) -> Any:
        if is_user_frame(sys._getframe(1)):
            return answer_without_trace
        return shipped(*args, **kwargs)

    return answer_as_untraced


# The functions that a file may import by name, each with its stand-in.
HIDDEN: Final = tuple(
    (shipped, _make_function_that_hides_trace(shipped, untraced))
    for _, _, shipped, untraced in list_functions_that_tell_of_tracing()
)


def hide_trace(_: object) -> contextlib.AbstractContextManager[None]:
    """While the block runs, torch's functions that tell whether a trace is active answer the user's code as if none
    were."""
    return replace_methods(
        {
            (module, name): _make_function_that_hides_trace(shipped, untraced)
            for module, name, shipped, untraced in list_functions_that_tell_of_tracing()
        }
    )
