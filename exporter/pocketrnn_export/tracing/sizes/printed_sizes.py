"""Whether the text that a line of a module's code makes of a size is printed, logged or raised, and nothing else.

`print(f"{x.shape}")` changes no answer, whatever the size is. `if str(n) == "77"` does, and so may what comes after
`print(text := f"{n}")` or `print(self.remember(f"{n}"))`: a text that anything but the output gets is a question.
Whether forward reads its output again is not looked at: the module is compared with its program at every size.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any, Final

from pocketrnn_export.intake.user_frames import is_installed_file, is_users_file, source_of

__all__ = ["is_output_read", "output_of"]

# The expressions that make one text of others.
_TEXT: Final = (
    ast.JoinedStr, ast.FormattedValue, ast.BinOp, ast.Tuple, ast.List, ast.Name, ast.Starred, ast.keyword, ast.IfExp,
    ast.GeneratorExp, ast.ListComp,
)  # fmt: skip
_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_MAKES_TEXT: Final = frozenset({"str", "repr", "format", "ascii"})
# `print`, `warnings.warn`, and the methods of loggers.
_SAYS: Final = frozenset({"debug", "info", "warning", "warn", "error", "critical", "exception", "log"})


def output_of(frame: FrameType) -> str:
    """The use of the value that a frame makes now: `printed` if it is only printed or logged, `raised` if it is only in
    the message of a raised error, and empty for other uses, or where there is no source.

    Example:
        >>> output_of(frame)  # of a frame that is at `print(n)`
        'printed'
    """
    # `logger.info("%d tokens", n)`: the text is made by Python's own file.
    asked, frame = frame, _users_frame(frame)
    where, tree = _position(frame), source_of(frame.f_code.co_filename)
    if where is None or tree is None:
        return ""
    statement, path = _statement_and_path(tree, where)
    if statement is None:
        return ""
    if output := _output(statement, path, by_library=asked is not frame):
        return output
    # `message = f"{n} tokens"`, and below `raise ValueError(message)`.
    if not isinstance(statement, ast.Assign) or not all(isinstance(target, ast.Name) for target in statement.targets):
        return ""
    function = next((node for node in reversed(list(_path_to(tree, where))) if isinstance(node, _FUNCTIONS)), None)
    names = {target.id for target in statement.targets if isinstance(target, ast.Name)}
    is_local = frame.f_code.co_flags & inspect.CO_NEWLOCALS and names <= set(frame.f_code.co_varnames)
    if function is None or not is_local or not _only_text(path):
        return ""
    uses = [node for node in ast.walk(function) if isinstance(node, ast.Name) and node.id in names]
    outputs = {_output_of_name(function, node) for node in uses if isinstance(node.ctx, ast.Load)}
    return "" if "" in outputs or not outputs else "raised" if "raised" in outputs else "printed"


def _users_frame(frame: FrameType) -> FrameType:
    """The frame that called Python's own code or a library's, such as logging and its handlers, of one in that."""
    caller = frame
    while caller.f_back is not None and is_installed_file(caller.f_code.co_filename):
        caller = caller.f_back
    return caller


def _output_of_name(function: ast.AST, node: ast.Name) -> str:
    statement, path = _statement_and_path(function, _place(node))
    return "" if statement is None else _output(statement, path)


def _statement_and_path(tree: ast.AST, where: tuple[int, int, int, int]) -> tuple[ast.stmt | None, list[ast.AST]]:
    """The statement that a piece of the source is in, and what holds the piece from there down."""
    path = list(_path_to(tree, where))
    for i, node in reversed([*enumerate(path)]):
        if isinstance(node, ast.stmt):
            return node, path[i + 1 :]
    return None, []


def _output(statement: ast.stmt, path: Sequence[ast.AST], *, by_library: bool = False) -> str:
    """The use of the last of a path of expressions, from the statement down."""
    if isinstance(statement, ast.Raise):
        return "raised"
    if isinstance(statement, ast.Assert):
        return "raised" if statement.msg in path else ""
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call) or not path:
        return ""
    call, *inside = path
    direct = call is statement.value and (not inside if by_library else bool(inside) and _only_text(inside))
    return "printed" if direct and _says(statement.value) and not is_output_read() else ""


def is_output_read() -> bool:
    """Whether code of the user's gets what the process prints: where the proof runs a module, its output is dropped."""
    writes = (getattr(type(getattr(stream, "shipped", stream)), "write", None) for stream in (sys.stdout, sys.stderr))
    codes = [code for write in writes if (code := getattr(write, "__code__", None)) is not None]
    return any(is_users_file(code.co_filename) and not is_installed_file(code.co_filename) for code in codes)


def _only_text(path: Sequence[ast.AST]) -> bool:
    """Whether each expression of a path makes a text of the next, and nothing else gets it."""
    return all(isinstance(node, _TEXT) or (isinstance(node, ast.Call) and _makes_text(node.func)) for node in path)


def _makes_text(function: ast.expr) -> bool:
    """Whether a call is `str(n)`, or `"...".format(n)`."""
    if isinstance(function, ast.Attribute):
        return function.attr in {"format", "join"} and isinstance(function.value, ast.Constant)
    return isinstance(function, ast.Name) and function.id in _MAKES_TEXT


def _says(call: ast.Call) -> bool:
    """Whether a call is one that prints, logs or warns, and names no file but those of the process."""
    files = [keyword.value for keyword in call.keywords if keyword.arg in ("file", None)]
    if not all(isinstance(file, ast.Attribute) and file.attr in ("stdout", "stderr") for file in files):
        return False
    function = call.func
    if isinstance(function, ast.Name):
        return function.id in ("print", "warn")
    return isinstance(function, ast.Attribute) and function.attr in _SAYS


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
