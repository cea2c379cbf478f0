"""Record the errors that forward catches in a trace: `try: Decimal(n) except TypeError: ...`.

A size of a trace is not a plain number to code written in C, which then raises an error that does not occur in a run.
If forward catches it, the trace does something else than a run. So the lines where errors pass through the user's code
are recorded in a trace, and compared with those of a run. The proof needs this check: the code after the error may
test for words that hardly any text has (`json.dumps(x[0].tolist())`), or for a size beyond those that are compared.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from torch import nn

from pocketrnn_export.intake.user_code_lines_for_messages import (
    describe_line,
    is_installed_file,
    parse_file,
    trace_frames,
)
from pocketrnn_export.tracing.python_semantics.user_files_and_globals import find_users_files
from pocketrnn_export.tracing.trace_session import TraceSession


@contextlib.contextmanager
def record_error_lines(session: TraceSession) -> Iterator[None]:
    """While the block runs, record in the session's log the lines of user code at which an error is raised or passed
    on.

    Only files with functions that may catch errors are watched, because Python's trace function slows every call down.
    """
    files = find_files_that_may_catch_errors(session.module)
    if not files:
        yield
        return
    before: Any = sys.gettrace()

    def trace_call(frame: FrameType, event: str, argument: Any) -> Any:
        inner = None if before is None else before(frame, event, argument)
        if frame.f_code.co_filename not in files:
            return inner
        if inner is None:
            frame.f_trace_lines = False

        def trace_exception(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal inner
            if event == "exception" and not issubclass(argument[0], StopIteration | GeneratorExit):
                session.log.raised.append(describe_line(frame))
            if inner is not None:
                inner = inner(frame, event, argument)
            return trace_exception

        return trace_exception

    with trace_frames(trace_call):
        yield


def find_files_that_may_catch_errors(module: nn.Module) -> set[str]:
    """Return the user's files with a module's code in which a function may catch errors."""
    return {
        file
        for file in find_users_files(module)
        if not is_installed_file(file) and _has_function_that_may_catch_errors(file)
    }


@functools.lru_cache(maxsize=256)
def _has_function_that_may_catch_errors(file: str) -> bool:
    """Return whether a function in a file may catch errors: it contains a `try` or a `with`."""
    tree = parse_file(file)
    functions = [] if tree is None else [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return any(isinstance(node, ast.Try | ast.With) for function in functions for node in ast.walk(function))
