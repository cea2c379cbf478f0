"""Whether the text that a line of a module's code makes of a size is printed, logged or raised, and nothing else.

`print(f"{x.shape}")` changes no answer, whatever the size is. `if str(n) == "77"` does.
"""

from __future__ import annotations

import ast
import builtins
import functools
import linecache
import logging
import warnings
from collections.abc import Iterator
from types import FrameType, MethodType
from typing import Any, Final

__all__ = ["output_of"]

_SAYS: Final = frozenset({"debug", "info", "warning", "warn", "error", "critical", "exception", "log"})


def output_of(frame: FrameType) -> str:
    """What becomes of what a frame makes now: it is only `printed` or logged, only said by an error that is `raised`,
    or something else, which is empty, as where the source is not at hand.

    Example:
        >>> output_of(frame)  # of a frame that is at `print(n)`
        'printed'
    """
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
    says = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
    return "printed" if says and _says(_named(statement.value.func, frame)) else ""  # type: ignore[attr-defined]


def _says(function: Any) -> bool:
    """Whether a function is one that prints, logs or warns."""
    if function is builtins.print or function is warnings.warn or getattr(function, "__name__", "") == "_nothing":
        return True
    if isinstance(function, MethodType) and isinstance(function.__self__, logging.Logger | logging.LoggerAdapter):
        return function.__name__ in _SAYS
    return any(function is getattr(logging, name) for name in _SAYS)


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
