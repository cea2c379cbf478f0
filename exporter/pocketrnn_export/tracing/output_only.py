"""Whether the text that a line of a module's code makes of a size is printed, logged or raised, and nothing else.

`print(f"{x.shape}")` changes no answer, whatever the size is. `if str(n) == "77"` does.
"""

from __future__ import annotations

import ast
import builtins
import functools
import io
import linecache
import logging
import sys
import warnings
from collections.abc import Iterator
from types import FrameType, MethodType
from typing import Any, Final

from pocketrnn_export.intake.user_frames import is_installed_file, is_ours, is_users_file

__all__ = ["outlets", "output_of"]

_SAYS: Final = frozenset({"debug", "info", "warning", "warn", "error", "critical", "exception", "log"})


def outlets() -> tuple[Any, ...]:
    """Where what is printed, and what is warned of, goes at present."""
    # Inside of warnings.catch_warnings the list is another one.
    return (sys.stdout, sys.stderr, warnings.showwarning, warnings.filters)


def output_of(frame: FrameType, before: tuple[Any, ...] | None = None) -> str:
    """What becomes of what a frame makes now: it is only `printed` or logged, only said by an error that is `raised`,
    or something else, which is empty, as where the source is not at hand.

    What is printed or warned of may be read back where forward has changed where that goes.

    Args:
        frame: the one that makes it.
        before: `outlets()` before forward.

    Example:
        >>> output_of(frame)  # of a frame that is at `print(n)`
        'printed'
    """
    if before is not None and any(a is not b for a, b in zip(before, outlets(), strict=True)):
        return ""
    at = _position(frame)
    tree = _tree(frame.f_code.co_filename)
    if at is None or tree is None:
        return ""
    function, statement = _enclosing(tree, at)
    if statement is None:
        return ""
    if output := _output(statement, at, frame):
        return output
    # `message = f"{n} tokens"`, and below `raise ValueError(message)`.
    if not isinstance(statement, ast.Assign) or not all(isinstance(target, ast.Name) for target in statement.targets):
        return ""
    names = {target.id for target in statement.targets if isinstance(target, ast.Name)}
    uses = [node for node in ast.walk(function) if isinstance(node, ast.Name) and node.id in names]
    reads = [node for node in uses if isinstance(node.ctx, ast.Load)]
    outputs = {_output_of_name(function, node, frame) for node in reads}
    return "" if "" in outputs else "raised" if "raised" in outputs else "printed"


def _output_of_name(function: ast.AST, node: ast.Name, frame: FrameType) -> str:
    at = (node.lineno, node.col_offset)
    _, statement = _enclosing(function, at)
    return "" if statement is None else _output(statement, at, frame)


def _output(statement: ast.stmt, at: tuple[int, int], frame: FrameType) -> str:
    if isinstance(statement, ast.Raise):
        return "raised"
    if isinstance(statement, ast.Assert):
        return "raised" if statement.msg is not None and _holds(statement.msg, at) else ""
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call):
        return ""
    call = statement.value
    return "printed" if _says(_named(call.func, frame)) and _to_nobody(call, frame) else ""


def _says(function: Any) -> bool:
    """Whether a function is one that prints, logs or warns, and that nobody reads again."""
    if function is builtins.print or function is warnings.warn or _stands_for_print(function):
        return True
    if isinstance(function, MethodType) and isinstance(function.__self__, logging.Logger | logging.LoggerAdapter):
        return function.__name__ in _SAYS and not _is_read(function.__self__)
    return any(function is getattr(logging, name) for name in _SAYS) and not _is_read(logging.getLogger())


def _stands_for_print(function: Any) -> bool:
    """Whether a function is what a trace has in the place of `print`, and none of the user's that wraps it."""
    code = getattr(function, "__code__", None)
    return getattr(function, "__wrapped__", None) is builtins.print and code is not None and is_ours(code.co_filename)


def _to_nobody(call: ast.Call, frame: FrameType) -> bool:
    """Whether a call of `print` names no file but those of the process."""
    process = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    files = [keyword for keyword in call.keywords if keyword.arg in ("file", None)]
    return all(any(_named(keyword.value, frame) is stream for stream in process) for keyword in files)


def _is_read(logger: Any) -> bool:
    """Whether code of the user's gets what a logger is told: a filter or a handler of his, or one that keeps a text."""
    while logger is not None:
        logger = getattr(logger, "logger", logger)
        handlers = list(getattr(logger, "handlers", ()))
        parts = [*getattr(logger, "filters", ()), *handlers, *(part for one in handlers for part in one.filters)]
        if any(_is_of_the_user(part) for part in parts):
            return True
        # pytest's handlers keep texts too; they are a library's.
        if any(type(one) is logging.StreamHandler and isinstance(one.stream, io.StringIO) for one in handlers):
            return True
        logger = logger.parent if getattr(logger, "propagate", False) else None
    return False


def _is_of_the_user(part: Any) -> bool:
    code = getattr(getattr(part, "emit", getattr(part, "filter", part)), "__code__", None)
    file = "" if code is None else code.co_filename
    return bool(file) and is_users_file(file) and not is_installed_file(file)


def _named(node: ast.expr, frame: FrameType) -> Any:
    """What `print` or `self.logger.info` is in a frame; None for what is no name."""
    if isinstance(node, ast.Attribute):
        return getattr(_named(node.value, frame), node.attr, None)
    if not isinstance(node, ast.Name):
        return None
    for names in (frame.f_locals, frame.f_globals, vars(builtins)):
        if node.id in names:
            return names[node.id]
    return None


def _position(frame: FrameType) -> tuple[int, int] | None:
    """The line and column of what a frame runs now."""
    for i, (line, _, column, _) in enumerate(frame.f_code.co_positions()):
        if 2 * i == frame.f_lasti:
            return None if line is None or column is None else (line, column)
    return None


@functools.lru_cache(maxsize=64)
def _tree_of(source: str) -> ast.Module | None:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _tree(file: str) -> ast.Module | None:
    source = "".join(linecache.getlines(file))
    return _tree_of(source) if source else None


def _enclosing(tree: ast.AST, at: tuple[int, int]) -> tuple[ast.AST, ast.stmt | None]:
    """The innermost function and the innermost statement that hold a position."""
    function, statement = tree, None
    for node in _path_to(tree, at):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            function = node
        if isinstance(node, ast.stmt):
            statement = node
    return function, statement


def _path_to(node: ast.AST, at: tuple[int, int]) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not hasattr(child, "lineno"):
            # Arguments, a case of a match: they have no position of their own.
            yield from _path_to(child, at)
        elif _holds(child, at):
            yield child
            yield from _path_to(child, at)


def _holds(node: Any, at: tuple[int, int]) -> bool:
    return (node.lineno, node.col_offset) <= at < (node.end_lineno, node.end_col_offset)
