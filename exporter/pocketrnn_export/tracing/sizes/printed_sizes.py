"""Find out whether a string that user code makes from a size is only printed, logged or raised.

`print(f"{x.shape}")` never changes an answer. `if str(n) == "77"` does, and so may code after `print(text := f"{n}")`
or `print(self.remember(f"{n}"))`: a text that is used for anything but output is a condition. So is any printed text if
a class of the user's stands in place of `sys.stdout` or `sys.stderr`. Other ways to read the output again are not
looked for: the module is compared with its program at every size.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any, Final, Literal

from pocketrnn_export.intake.user_code_lines_for_messages import is_installed_file, is_user_file, parse_file

# The expressions that make a text from others.
_TEXT: Final = (
    ast.JoinedStr, ast.FormattedValue, ast.BinOp, ast.Tuple, ast.List, ast.Name, ast.Starred, ast.keyword, ast.IfExp,
    ast.GeneratorExp, ast.ListComp,
)  # fmt: skip
# A piece of source: its first line and column, and its last line and column.
_SourceRange = tuple[int, int, int, int]
# How code uses a value: it only prints or logs it, it only puts it into the message of an error, or anything else.
OutputUse = Literal["printed", "raised", ""]
_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_MAKES_TEXT: Final = frozenset({"str", "repr", "format", "ascii"})
# `print`, `warnings.warn`, and the methods of loggers.
_SAYS: Final = frozenset({"debug", "info", "warning", "warn", "error", "critical", "exception", "log"})


def find_use_of_current_value(frame: FrameType) -> OutputUse:
    """Return how user code uses the value that a frame computes now: "printed" if the value is only printed or logged,
    "raised" if it only becomes part of an error's message, "" if it has another use or the source is not known."""
    # For `logger.info("%d tokens", n)`, code of the standard library makes the text.
    asked, frame = frame, _find_frame_of_user_code(frame)
    where, tree = _find_source_range_of_current_instruction(frame), parse_file(frame.f_code.co_filename)
    if where is None or tree is None:
        return ""
    statement, path = _find_statement_and_path(tree, where)
    if statement is None:
        return ""
    if output := _find_use_in_statement(statement, path, text_made_by_library=asked is not frame):
        return output
    # For example `message = f"{n} tokens"`, and then `raise ValueError(message)`.
    if not isinstance(statement, ast.Assign) or not all(isinstance(target, ast.Name) for target in statement.targets):
        return ""
    function = next(
        (node for node in reversed(list(_list_enclosing_nodes(tree, where))) if isinstance(node, _FUNCTIONS)), None
    )
    names = {target.id for target in statement.targets if isinstance(target, ast.Name)}
    is_local = frame.f_code.co_flags & inspect.CO_NEWLOCALS and names <= set(frame.f_code.co_varnames)
    if function is None or not is_local or not _only_makes_string(path):
        return ""
    uses = [node for node in ast.walk(function) if isinstance(node, ast.Name) and node.id in names]
    outputs = {_find_use_of_name(function, node) for node in uses if isinstance(node.ctx, ast.Load)}
    return "" if "" in outputs or not outputs else "raised" if "raised" in outputs else "printed"


def _find_frame_of_user_code(frame: FrameType) -> FrameType:
    """Return the frame itself or, for a frame in an installed library such as logging, the frame that called the
    library."""
    caller = frame
    while caller.f_back is not None and is_installed_file(caller.f_code.co_filename):
        caller = caller.f_back
    return caller


def _find_use_of_name(function: ast.AST, node: ast.Name) -> OutputUse:
    """Return how a function uses a variable at one place: "printed", "raised", or "" for another use."""
    statement, path = _find_statement_and_path(function, _read_node_position(node))
    return "" if statement is None else _find_use_in_statement(statement, path)


def _find_statement_and_path(tree: ast.AST, where: _SourceRange) -> tuple[ast.stmt | None, list[ast.AST]]:
    """Return the innermost statement that contains a piece of the source, and the nodes from the statement down to the
    piece. Return (None, []) if there is no such statement."""
    path = list(_list_enclosing_nodes(tree, where))
    for i, node in reversed([*enumerate(path)]):
        if isinstance(node, ast.stmt):
            return node, path[i + 1 :]
    return None, []


def _find_use_in_statement(
    statement: ast.stmt, path: Sequence[ast.AST], *, text_made_by_library: bool = False
) -> OutputUse:
    """Return how a statement uses an expression: "printed", "raised", or "" for another use.

    Args:
        path: the nodes from the statement down to the expression.
        text_made_by_library: whether a library makes the string from the expression, as logging does.
    """
    if isinstance(statement, ast.Raise):
        return "raised"
    if isinstance(statement, ast.Assert):
        return "raised" if statement.msg in path else ""
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call) or not path:
        return ""
    call, *inside = path
    direct = call is statement.value and (
        not inside if text_made_by_library else bool(inside) and _only_makes_string(inside)
    )
    return "printed" if direct and _is_output_call(statement.value) and not may_user_code_read_printed_output() else ""


def may_user_code_read_printed_output() -> bool:
    """Return whether user code may read what the process prints, because a class of the user's stands in place of
    `sys.stdout` or `sys.stderr`."""
    writes = (getattr(type(getattr(stream, "shipped", stream)), "write", None) for stream in (sys.stdout, sys.stderr))
    codes = [code for write in writes if (code := getattr(write, "__code__", None)) is not None]
    return any(is_user_file(code.co_filename) and not is_installed_file(code.co_filename) for code in codes)


def _only_makes_string(path: Sequence[ast.AST]) -> bool:
    """Return whether each of these nested expressions, listed from the outermost, only makes a string of the next
    one."""
    return all(
        isinstance(node, _TEXT) or (isinstance(node, ast.Call) and _is_function_that_makes_string(node.func))
        for node in path
    )


def _is_function_that_makes_string(function: ast.expr) -> bool:
    """Return whether a called function only makes a string, as in `str(n)` or `"...".format(n)`."""
    if isinstance(function, ast.Attribute):
        return function.attr in {"format", "join"} and isinstance(function.value, ast.Constant)
    return isinstance(function, ast.Name) and function.id in _MAKES_TEXT


def _is_output_call(call: ast.Call) -> bool:
    """Return whether a call prints, logs or warns. A `file` argument must be stdout or stderr."""
    files = [keyword.value for keyword in call.keywords if keyword.arg in ("file", None)]
    if not all(isinstance(file, ast.Attribute) and file.attr in ("stdout", "stderr") for file in files):
        return False
    function = call.func
    if isinstance(function, ast.Name):
        return function.id in ("print", "warn")
    return isinstance(function, ast.Attribute) and function.attr in _SAYS


def _find_source_range_of_current_instruction(frame: FrameType) -> _SourceRange | None:
    """Return the piece of source of the instruction that a frame runs now, or None if it is not known."""
    for i, (line, end_line, column, end_column) in enumerate(frame.f_code.co_positions()):
        if 2 * i == frame.f_lasti:
            if line is None or column is None or end_line is None or end_column is None:
                return None
            return line, column, end_line, end_column
    return None


def _list_enclosing_nodes(node: ast.AST, where: _SourceRange) -> Iterator[ast.AST]:
    """Yield the nodes of a syntax tree that contain a piece of source, from the outermost to the piece itself."""
    for child in ast.iter_child_nodes(node):
        if not hasattr(child, "lineno"):
            # Nodes such as arguments and match cases have no position of their own.
            yield from _list_enclosing_nodes(child, where)
        elif (found := _read_node_position(child))[:2] <= where[:2] and where[2:] <= found[2:]:
            yield child
            # In Python 3.11, all parts of an f-string have the position of the f-string.
            if found != where or not isinstance(child, ast.JoinedStr):
                yield from _list_enclosing_nodes(child, where)


def _read_node_position(node: Any) -> _SourceRange:
    """Return the piece of source of a node: its first line and column, and its last line and column."""
    return node.lineno, node.col_offset, node.end_lineno, node.end_col_offset
