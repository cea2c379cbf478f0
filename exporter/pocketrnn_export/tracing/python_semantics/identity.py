"""`n is 77` and `n.__class__` of a size: questions about the object, to which a trace has another answer than a run.

Python keeps one object for each small number, so that the comparison holds in a run; a size of a trace is an object of
its own. No method is asked, so the byte code is looked at: only functions that compare so are, and most modules have
none.
"""

from __future__ import annotations

import ast
import contextlib
import dis
import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import torch
from torch import nn

from pocketrnn_export.intake.user_frames import is_users_file, source_of
from pocketrnn_export.tracing.python_semantics.users_globals import globals_of

__all__ = ["compared_by_identity", "files_of"]

_OWN: Final = f"{Path(__file__).parents[2]}{os.sep}"
_SIZES: Final = (torch.SymInt, torch.SymFloat)
# The instructions that load an operand, in order.
_Loaded = tuple[dis.Instruction, ...]
# Stands for a value that is neither a name nor a constant.
_UNKNOWN: Final = object()


@contextlib.contextmanager
def compared_by_identity(module: nn.Module, found: Callable[[FrameType], None]) -> Iterator[None]:
    """While the block runs, `found` is called with the frame where a size, or a number and what may be one, are
    compared by `is` in the user's code.

    Example:
        >>> with compared_by_identity(module, lambda frame: print(frame.f_lineno)):
        ...     module(tokens)
    """
    files = {file for file in files_of(module) if _compares(file)}
    if not files:
        yield
        return
    before = sys.gettrace()

    def look(frame: FrameType, event: str, _: Any) -> Any:
        if event == "opcode" and (operands := _comparisons(frame.f_code).get(frame.f_lasti)):
            values = [_value(operand, frame) for operand in operands]
            number = any(type(value) is int for value in values) and _UNKNOWN in values
            if number or any(isinstance(value, _SIZES) for value in values):
                found(frame)
        return look

    def enter(frame: FrameType, _event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in files or not _comparisons(frame.f_code):
            return None
        frame.f_trace_opcodes = True
        return look

    sys.settrace(enter)
    try:
        yield
    finally:
        sys.settrace(before)


def files_of(module: nn.Module) -> set[str]:
    """The files of the user's that a module's code is in: of its classes, and of what these files take from others."""
    files = {str(names.get("__file__") or "") for names in globals_of(module)}
    for layer in module.modules():
        for kind in type(layer).__mro__:
            files |= {code.co_filename for value in vars(kind).values() if (code := getattr(value, "__code__", None))}
    # The code that runs the operators of TorchScript counts as the user's, but is written here.
    return {file for file in files if file and is_users_file(file) and not file.startswith(_OWN)}


@functools.lru_cache(maxsize=256)
def _compares(file: str) -> bool:
    """Whether a file compares by `is` with something else than None, True, False and `...`, or names `__class__`; True
    where it has no source that can be read."""
    tree = source_of(file)
    if tree is None:
        return True
    nodes = list(ast.walk(tree))
    compared = [node for node in nodes if isinstance(node, ast.Compare)]
    return any(isinstance(node, ast.Attribute) and node.attr == "__class__" for node in nodes) or any(
        isinstance(operator, ast.Is | ast.IsNot) and not _is_constant(left) and not _is_constant(right)
        for node in compared
        for operator, left, right in zip(node.ops, [node.left, *node.comparators], node.comparators, strict=False)
    )


def _is_constant(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and any(node.value is one for one in (None, True, False, ...))


@functools.lru_cache(maxsize=512)
def _comparisons(code: CodeType) -> dict[int, tuple[_Loaded, _Loaded]]:
    """Where code compares by `is`, but for None, True, False and `...`, and where it asks for a `__class__`: what loads
    the operands, by the offset."""
    found = {}
    instructions = [one for one in dis.get_instructions(code) if one.opname not in {"CACHE", "EXTENDED_ARG"}]
    for i, one in enumerate(instructions):
        if one.opname == "IS_OP":
            second = _loaded(instructions, i - 1)
            first = _loaded(instructions, i - 1 - len(second))
            if not _is_single(first) and not _is_single(second):
                found[one.offset] = (first, second)
        if one.opname == "LOAD_ATTR" and one.argval == "__class__":
            found[one.offset] = (_loaded(instructions, i - 1), ())
    return found


def _loaded(instructions: list[dis.Instruction], last: int) -> _Loaded:
    """The instructions that load a constant, a name or an attribute of one; the last one alone where it is more."""
    first = last
    while first > 0 and instructions[first].opname == "LOAD_ATTR":
        first -= 1
    return tuple(instructions[first : last + 1])


def _is_single(loaded: _Loaded) -> bool:
    constant = loaded[0].argval if loaded and loaded[0].opname == "LOAD_CONST" else 0
    return any(constant is one for one in (None, True, False, ...))


def _value(loaded: _Loaded, frame: FrameType) -> Any:
    """The value that some instructions load; `_UNKNOWN` where it is not a name, an attribute or a constant."""
    if not loaded:
        return _UNKNOWN
    first, *attributes = loaded
    if first.opname == "LOAD_CONST":
        return first.argval
    name, scopes = first.argval, _scopes(first.opname, frame)
    value = next((names[name] for names in scopes if isinstance(name, str) and name in names), _UNKNOWN)
    for attribute in attributes:
        value = getattr(value, attribute.argval, _UNKNOWN)
    return value


def _scopes(opname: str, frame: FrameType) -> Iterable[dict[str, Any]]:
    if opname.startswith(("LOAD_FAST", "LOAD_DEREF", "LOAD_NAME", "LOAD_CLOSURE")):
        return (frame.f_locals, frame.f_globals)
    return (frame.f_globals, frame.f_builtins) if opname == "LOAD_GLOBAL" else ()
