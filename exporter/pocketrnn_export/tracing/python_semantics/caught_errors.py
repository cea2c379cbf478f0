"""The errors that a forward meets and goes on after: `try: Decimal(n) except TypeError: ...`.

A size of a trace is not a plain number to code that is written in C, which then raises an error that no run meets.
Where forward catches it, the trace does something else than a run. So the lines at which errors pass through the user's
code are noted in a trace, and compared with those of a run. The proof does not do without: what follows the error may
ask for words that hardly a text has (`json.dumps(x[0].tolist())`), or for a size beyond those that are compared.
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

from pocketrnn_export.intake.user_frames import frames_followed, is_installed_file, place_of, source_of
from pocketrnn_export.tracing.python_semantics.users_globals import files_of
from pocketrnn_export.tracing.session import TraceSession

__all__ = ["errors_noted", "files_that_catch"]


@contextlib.contextmanager
def errors_noted(session: TraceSession) -> Iterator[None]:
    """While the block runs, the lines of the user's code that an error passes through are noted in the session's log.

    Only files of his that catch errors in functions are looked at: most have none, and Python calls what looks for each
    function that is called.
    """
    files = files_that_catch(session.module)
    if not files:
        yield
        return
    before: Any = sys.gettrace()

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        inner = None if before is None else before(frame, event, argument)
        if frame.f_code.co_filename not in files:
            return inner
        if inner is None:
            frame.f_trace_lines = False

        def look(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal inner
            if event == "exception" and not issubclass(argument[0], StopIteration | GeneratorExit):
                session.log.raised.append(place_of(frame))
            if inner is not None:
                inner = inner(frame, event, argument)
            return look

        return look

    with frames_followed(enter):
        yield


def files_that_catch(module: nn.Module) -> set[str]:
    """The files of the user's whose functions may catch errors, of those that a module's code is in.

    Example:
        >>> files_that_catch(module)
        {'/home/me/model.py'}
    """
    return {file for file in files_of(module) if not is_installed_file(file) and _catches(file)}


@functools.lru_cache(maxsize=256)
def _catches(file: str) -> bool:
    """Whether functions of a file may catch errors: a `with` does by what its `__exit__` returns, and a `finally` by a
    `return` or a `break` in it."""
    tree = source_of(file)
    functions = [] if tree is None else [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return any(isinstance(node, ast.Try | ast.With) for function in functions for node in ast.walk(function))
