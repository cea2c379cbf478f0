"""`n is 77` of a size: a question about the object, to which a trace has another answer than a run.

Python keeps one object for each small number, so that the comparison holds in a run; a size of a trace is an object of
its own. No method is asked, so the byte code is looked at: only functions that compare so are, and most modules have
none.
"""

from __future__ import annotations

import contextlib
import dis
import functools
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any, Final

import torch
from torch import nn

from pocketrnn_export.intake.user_frames import is_users_file

__all__ = ["compared_by_identity"]

_OWN: Final = f"{Path(__file__).parents[1]}{os.sep}"
_SIZES: Final = (torch.SymInt, torch.SymFloat)
# What loads an operand, in order.
_Loaded = tuple[dis.Instruction, ...]
# What an instruction pushes that is not a name or a constant.
_UNKNOWN: Final = object()


@contextlib.contextmanager
def compared_by_identity(module: nn.Module, found: Callable[[FrameType], None]) -> Iterator[None]:
    """While the block runs, `found` is called with the frame where a size, or a number and what may be one, are
    compared by `is` in the user's code.

    Example:
        >>> with compared_by_identity(module, lambda frame: print(frame.f_lineno)):
        ...     module(tokens)
    """
    codes = {code for code in _codes_of(module) if _comparisons(code)}
    if not codes:
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
        if frame.f_code not in codes:
            return None
        frame.f_trace_opcodes = True
        return look

    sys.settrace(enter)
    try:
        yield
    finally:
        sys.settrace(before)


def _codes_of(module: nn.Module) -> Iterator[CodeType]:
    """The code of the user's classes of layers, and of the functions in their files."""
    classes = {kind for layer in module.modules() for kind in type(layer).__mro__}
    functions = [value for kind in classes for value in vars(kind).values() if isinstance(value, FunctionType)]
    files = {id(function.__globals__): function.__globals__ for function in functions}
    functions += [value for names in files.values() for value in names.values() if isinstance(value, FunctionType)]
    for function in functions:
        file = function.__code__.co_filename
        # What runs the operators of TorchScript counts as the user's, but is written here.
        if is_users_file(file) and not file.startswith(_OWN):
            yield from _with_inner(function.__code__)


def _with_inner(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _with_inner(constant)


@functools.lru_cache(maxsize=512)
def _comparisons(code: CodeType) -> dict[int, tuple[_Loaded, _Loaded]]:
    """Where code compares by `is`, but for None, True, False and `...`: what loads the two operands, by the offset."""
    found = {}
    instructions = [one for one in dis.get_instructions(code) if one.opname not in {"CACHE", "EXTENDED_ARG"}]
    for i, one in enumerate(instructions):
        if one.opname == "IS_OP":
            second = _loaded(instructions, i - 1)
            first = _loaded(instructions, i - 1 - len(second))
            if not _is_single(first) and not _is_single(second):
                found[one.offset] = (first, second)
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
    """What some instructions load; `_UNKNOWN` where that is no name, no attribute and no constant."""
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
