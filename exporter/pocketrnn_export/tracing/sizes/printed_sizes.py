"""Whether the text that a line of a module's code makes of a size is printed, logged or raised, and nothing else.

`print(f"{x.shape}")` changes no answer, whatever the size is. `if str(n) == "77"` does, and so may what comes after
`print(text := f"{n}")` or `print(self.remember(f"{n}"))`: a text that anything but the output gets is a question.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import io
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from types import FrameType, MethodType
from typing import Any, Final

from pocketrnn_export.intake.user_frames import is_installed_file, is_ours, is_users_file, source_of

__all__ = ["is_redirected", "outlets", "output_of"]

# The expressions that make one text of others.
_TEXT: Final = (
    ast.JoinedStr, ast.FormattedValue, ast.BinOp, ast.Tuple, ast.List, ast.Name, ast.Starred, ast.keyword, ast.IfExp,
    ast.GeneratorExp, ast.ListComp,
)  # fmt: skip
_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
# The functions and modules that read the names of a function without naming them.
_SEES_NAMES: Final = frozenset({"locals", "vars", "dir", "eval", "exec", "sys", "inspect"})
_SAYS: Final = frozenset({"debug", "info", "warning", "warn", "error", "critical", "exception", "log"})


def outlets() -> tuple[Any, ...]:
    """Where what is printed, and what is warned of, goes at present."""
    # Inside of warnings.catch_warnings the list is another one.
    return (sys.stdout, sys.stderr, warnings.showwarning, warnings.filters)


def is_redirected(before: tuple[Any, ...] | None) -> bool:
    """Whether what is printed goes to where code of the user's may read it: elsewhere than before forward, or to an
    object of a class of his."""
    if before is not None and any(a is not b for a, b in zip(before, outlets(), strict=True)):
        return True
    streams = (getattr(stream, "shipped", stream) for stream in (sys.stdout, sys.stderr))
    return any(_has_code_of_the_user(type(stream)) for stream in streams)


def output_of(frame: FrameType, before: tuple[Any, ...] | None = None) -> str:
    """The use of the value that a frame makes now: `printed` if it is only printed or logged, `raised` if it is only in
    the message of a raised error, and empty for other uses, or where there is no source.

    Printed texts and warnings may be read back where forward has redirected them.

    Args:
        frame: the one that makes it.
        before: `outlets()` before forward.

    Example:
        >>> output_of(frame)  # of a frame that is at `print(n)`
        'printed'
    """
    if is_redirected(before):
        return ""
    # `logger.info("%d tokens", n)`: the text is made by Python's own file.
    asked, frame = frame, _users_frame(frame)
    where, tree = _position(frame), source_of(frame.f_code.co_filename)
    if where is None or tree is None:
        return ""
    statement, path = _statement_and_path(tree, where)
    if statement is None:
        return ""
    if output := _output(statement, path, frame, by_library=asked is not frame):
        return output
    # `message = f"{n} tokens"`, and below `raise ValueError(message)`.
    if not isinstance(statement, ast.Assign) or not all(isinstance(target, ast.Name) for target in statement.targets):
        return ""
    function = next((node for node in reversed(list(_path_to(tree, where))) if isinstance(node, _FUNCTIONS)), None)
    names = {target.id for target in statement.targets if isinstance(target, ast.Name)}
    if function is None or not _only_text(path, frame) or not _are_local(names, function, frame):
        return ""
    uses = [node for node in ast.walk(function) if isinstance(node, ast.Name) and node.id in names]
    outputs = {_output_of_name(function, node, frame) for node in uses if isinstance(node.ctx, ast.Load)}
    return "" if "" in outputs or not outputs else "raised" if "raised" in outputs else "printed"


def _users_frame(frame: FrameType) -> FrameType:
    """The frame that called Python's own code or a library's, such as logging and its handlers, of one in that."""
    caller = frame
    while caller.f_back is not None and is_installed_file(caller.f_code.co_filename):
        caller = caller.f_back
    return caller


def _are_local(names: set[str], function: ast.AST, frame: FrameType) -> bool:
    """Whether names are seen only where the code of their function says them."""
    local = frame.f_code.co_flags & inspect.CO_NEWLOCALS and names <= set(frame.f_code.co_varnames)
    said = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
    return bool(local) and not said & _SEES_NAMES


def _output_of_name(function: ast.AST, node: ast.Name, frame: FrameType) -> str:
    statement, path = _statement_and_path(function, _place(node))
    return "" if statement is None else _output(statement, path, frame)


def _statement_and_path(tree: ast.AST, where: tuple[int, int, int, int]) -> tuple[ast.stmt | None, list[ast.AST]]:
    """The statement that a piece of the source is in, and what holds the piece from there down."""
    path = list(_path_to(tree, where))
    for i, node in reversed([*enumerate(path)]):
        if isinstance(node, ast.stmt):
            return node, path[i + 1 :]
    return None, []


def _output(statement: ast.stmt, path: Sequence[ast.AST], frame: FrameType, *, by_library: bool = False) -> str:
    """The use of the last of a path of expressions, from the statement down."""
    if isinstance(statement, ast.Raise):
        return "raised"
    if isinstance(statement, ast.Assert):
        return "raised" if statement.msg in path else ""
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call) or not path:
        return ""
    call, *inside = path
    direct = call is statement.value and (not inside if by_library else bool(inside) and _only_text(inside, frame))
    to_output = direct and _says(_named(statement.value.func, frame)) and _to_nobody(statement.value, frame)
    return "printed" if to_output else ""


def _only_text(path: Sequence[ast.AST], frame: FrameType) -> bool:
    """Whether each expression of a path makes a text of the next, and nothing else gets it."""
    return all(isinstance(node, _TEXT) or (isinstance(node, ast.Call) and _makes_text(node, frame)) for node in path)


def _makes_text(call: ast.Call, frame: FrameType) -> bool:
    """Whether a call is `str(n)`, or `"...".format(n)`."""
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr in {"format", "join"} and isinstance(function.value, ast.Constant)
    return any(_named(function, frame) is one for one in (str, repr, format, ascii))


def _says(function: Any) -> bool:
    """Whether a function is one that prints, logs or warns, and that nobody reads again."""
    if function is builtins.print or function is warnings.warn or _stands_for_print(function):
        return True
    if logging.getLogRecordFactory() is not logging.LogRecord:
        return False
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
    """Whether code of the user's gets what a logger is told: a filter or a handler of his, a logger of a class of his,
    or one that keeps a text."""
    while logger is not None:
        if _has_code_of_the_user(type(logger)):
            return True
        if isinstance(logger, logging.LoggerAdapter):
            logger = logger.logger
            continue
        handlers = list(getattr(logger, "handlers", ()))
        parts = [*getattr(logger, "filters", ()), *handlers, *(part for one in handlers for part in one.filters)]
        if any(_is_of_the_user(getattr(part, "emit", getattr(part, "filter", part))) for part in parts):
            return True
        # pytest's handlers keep texts too; they are a library's.
        if any(type(one) is logging.StreamHandler and isinstance(one.stream, io.StringIO) for one in handlers):
            return True
        logger = logger.parent if getattr(logger, "propagate", False) else None
    return False


def _has_code_of_the_user(kind: type) -> bool:
    return any(_is_of_the_user(value) for one in kind.__mro__ for value in vars(one).values())


def _is_of_the_user(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    return code is not None and is_users_file(code.co_filename) and not is_installed_file(code.co_filename)


def _named(node: ast.expr, frame: FrameType) -> Any:
    """The value of `print`, `self.logger.info` or `logging.getLogger(__name__).info` in a frame; None for other
    code."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Call):
        to_logger = _named(node.func, frame) is logging.getLogger and not node.keywords
        return logging.getLogger(*(_named(part, frame) for part in node.args)) if to_logger else None
    if isinstance(node, ast.Attribute):
        return getattr(_named(node.value, frame), node.attr, None)
    if not isinstance(node, ast.Name):
        return None
    for names in (frame.f_locals, frame.f_globals, vars(builtins)):
        if node.id in names:
            return names[node.id]
    return None


def _position(frame: FrameType) -> tuple[int, int, int, int] | None:
    """The line and column at which what a frame runs now begins, and those at which it ends."""
    for i, (line, end_line, column, end_column) in enumerate(frame.f_code.co_positions()):
        if 2 * i == frame.f_lasti:
            if line is None or column is None or end_line is None or end_column is None:
                return None
            return line, column, end_line, end_column
    return None


def _path_to(node: ast.AST, where: tuple[int, int, int, int]) -> Iterator[ast.AST]:
    """The nodes that hold a piece of the source, from the outermost down to the piece itself."""
    for child in ast.iter_child_nodes(node):
        if not hasattr(child, "lineno"):
            # Arguments, a case of a match: they have no position of their own.
            yield from _path_to(child, where)
        elif _holds(child, where):
            yield child
            # In Python 3.11, all parts of an f-string have the position of the f-string.
            if _place(child) != where or not isinstance(child, ast.JoinedStr):
                yield from _path_to(child, where)


def _place(node: Any) -> tuple[int, int, int, int]:
    return node.lineno, node.col_offset, node.end_lineno, node.end_col_offset


def _holds(node: Any, where: tuple[int, int, int, int]) -> bool:
    line, column, end_line, end_column = _place(node)
    return (line, column) <= where[:2] and where[2:] <= (end_line, end_column)
