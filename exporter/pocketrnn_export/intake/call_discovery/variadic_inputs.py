"""Find the keys that forward reads from *args and **kwargs in its code. Forward does not fail without a key that it
looks up by `get` or `in`."""

from __future__ import annotations

import dis
import inspect
import keyword
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import CodeType, FunctionType, MethodType
from typing import Any, Final

from torch import nn

# The methods of dict that look up one key.
_LOOKS_UP: Final = frozenset({"get", "pop", "setdefault", "__getitem__", "__contains__"})
# The instructions that compute nothing.
_SILENT: Final = frozenset({"CACHE", "EXTENDED_ARG", "NOP", "PRECALL", "PUSH_NULL", "RESUME"})


@dataclass(frozen=True)
class ReadInputs:
    """The inputs that forward reads from its *args and **kwargs.

    Attributes:
        names: the constant names that it looks up in **kwargs.
        keywords: the name of its **kwargs, if it uses it otherwise, such as passing it on; else empty.
        places: how many of *args it reads by index.
        rest: the name of its *args, if it uses it otherwise, such as testing whether it is empty; else empty.
    """

    names: tuple[str, ...] = ()
    keywords: str = ""
    places: int = 0
    rest: str = ""


def find_inputs_read_from_args_and_kwargs(module: nn.Module) -> ReadInputs:
    """Return the inputs that a module's forward reads from its *args and **kwargs."""
    functions = _unwrap_functions(module.forward)
    if not functions:
        # Without Python code it is not known what it reads.
        kinds = {p.kind: p.name for p in inspect.signature(module.forward).parameters.values()}
        return ReadInputs(
            (), kinds.get(inspect.Parameter.VAR_KEYWORD, ""), 0, kinds.get(inspect.Parameter.VAR_POSITIONAL, "")
        )
    reads = [_find_inputs_read_by(function.__code__) for function in functions]
    # A wrapper passes everything on to forward: only the names that it looks up itself are added.
    return replace(reads[-1], names=tuple(dict.fromkeys(name for one in reads for name in one.names)))


def list_optional_keyword_names(module: nn.Module) -> list[str]:
    """Return the names of optional parameters that forward may pass on in its **kwargs: those of its class's methods,
    of its layers' forwards, and of functions that these mention."""
    found: list[Any] = [layer.forward for layer in module.modules() if not _is_torch_class(type(layer))]
    for kind in [kind for kind in type(module).__mro__ if not _is_torch_class(kind)]:
        found += [method for name, method in vars(kind).items() if not name.startswith("__")]
    functions = [function for one in found for function in _unwrap_functions(one)]
    for function in list(functions):
        for name in function.__code__.co_names:
            functions += _unwrap_functions(function.__globals__.get(name))
    names: list[str] = []
    for function in dict.fromkeys(functions):
        parameters = inspect.signature(function, follow_wrapped=False).parameters.values()
        names += [p.name for p in parameters if p.default is not p.empty]
        names += _find_inputs_read_by(function.__code__).names
    return list(dict.fromkeys(names))


def _is_torch_class(kind: type) -> bool:
    return kind.__module__.startswith("torch.")


def _unwrap_functions(called: Any) -> list[FunctionType]:
    """Return the Python function behind a function or method, and the functions that it wraps by `__wrapped__`."""
    found = []
    while isinstance(called, FunctionType | MethodType):
        function = called.__func__ if isinstance(called, MethodType) else called
        if isinstance(function, FunctionType):
            found.append(function)
        called = getattr(function, "__wrapped__", None)
    return found


def _find_inputs_read_by(code: CodeType) -> ReadInputs:
    """Return the inputs that a function reads from its own *args and **kwargs."""
    at = code.co_argcount + code.co_kwonlyargcount
    rest = code.co_varnames[at] if code.co_flags & inspect.CO_VARARGS else ""
    keywords = code.co_varnames[at + bool(rest)] if code.co_flags & inspect.CO_VARKEYWORDS else ""
    names = list(_find_looked_up_keys(code, keywords)) if keywords else []
    places = list(_find_looked_up_keys(code, rest)) if rest else []
    usual = [key for key in names if isinstance(key, str) and key.isidentifier() and not keyword.iskeyword(key)]
    known = [key for key in places if isinstance(key, int) and key >= 0]
    return ReadInputs(
        tuple(dict.fromkeys(usual)),
        keywords if len(usual) < len(names) else "",
        max(known, default=-1) + 1,
        rest if len(known) < len(places) else "",
    )


def _find_looked_up_keys(code: CodeType, variable: str) -> Iterator[str | int | None]:
    """Yield the constant key of each look-up in a local variable. Yield None for another use of the variable."""
    instructions = [one for one in dis.get_instructions(code) if one.opname not in _SILENT]
    for at, one in enumerate(instructions):
        # For a name that an inner function shares, LOAD_FAST passes on the cell and does not read it.
        if ("LOAD_DEREF" if variable in (*code.co_cellvars, *code.co_freevars) else "LOAD_FAST") not in one.opname:
            continue
        names = one.argval if isinstance(one.argval, tuple) else (one.argval,)
        if variable in names:
            # Where one instruction loads two names, the next instruction uses the second.
            yield from (
                _find_keys_at_load(instructions[max(0, at - 1) : at + 6], min(at, 1))
                if names[-1] == variable
                else [None]
            )
    for inner in code.co_consts:
        if isinstance(inner, CodeType) and variable in inner.co_freevars:
            yield from _find_looked_up_keys(inner, variable)


def _find_keys_at_load(instructions: Sequence[dis.Instruction], load_index: int) -> Iterator[str | int | None]:
    """Yield the constant keys that code looks up in a variable's value, after the instruction with the index
    `load_index` has loaded it. Yield None for any other use of the value."""
    before = instructions[0] if load_index else None
    after = [*instructions[load_index + 1 :], *[instructions[-1]] * 5]
    if after[0].opname in ("LOAD_ATTR", "LOAD_METHOD") and after[0].argval in _LOOKS_UP and _loads_constant(after[1]):
        yield after[1].argval
        # The constant is the key only if the call takes it alone or with a default; else it is a part of the key.
        if not any(one.opname.startswith("CALL") and one.arg == n for n, one in ((1, after[2]), (2, after[3]))):
            yield None
    elif _loads_constant(after[0]) and (after[1].opname == "BINARY_SUBSCR" or after[1].argrepr == "[]"):
        yield after[0].argval
    elif before is not None and _loads_constant(before) and after[0].opname == "CONTAINS_OP":
        yield before.argval
    elif after[0].opname == "UNPACK_SEQUENCE":
        yield from range(after[0].argval)
    else:
        yield None


def _loads_constant(instruction: dis.Instruction) -> bool:
    return instruction.opname.startswith(("LOAD_CONST", "LOAD_SMALL_INT")) and type(instruction.argval) in (str, int)
