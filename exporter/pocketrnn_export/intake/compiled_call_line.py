"""Compile a line of Python that calls a module, such as `module(tokens.t(), lengths)[0]`, and read its names."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from pocketrnn.errors import InputError, first_line, short_repr
from pocketrnn.text.features_beside_text import Features
from pocketrnn_export.intake.character_pair_and_feature_calls import (
    CHARACTERS,
    PAIR_NAMES,
    CharacterCall,
    FeatureCall,
    PairCall,
    list_feature_variables,
)
from pocketrnn_export.module_runs.operator_recording import label_input_beside_text
from pocketrnn_export.torch_internals import call_forward_directly
from pocketrnn_export.vocabularies.spelled_word_ids import Spellings

# A call of a module: (module, tokens int64 [batch, sequence], lengths int64 [batch]) -> its answer.
Call = Callable[[nn.Module, Tensor, Tensor], Any]


class _CapturedNumbers(BaseException):
    """Ends a call of a module early. It carries the tensor that the call was about to pass to a method."""

    def __init__(self, numbers: Tensor) -> None:
        super().__init__()
        self.numbers = numbers


def given_to(method: Callable[..., Any], call: Callable[[], object]) -> Tensor:
    """Run a call of the module until it calls `method`. Return the first float tensor that the call passes to the
    method, such as the emissions for a CRF.

    Raises:
        ValueError: the call never calls the method, or passes no float tensor to it.
    """
    owner, function = method.__self__, method.__func__  # type: ignore[attr-defined]
    names = [name for kind in type(owner).__mro__ for name, value in vars(kind).items() if value is function]

    def capture_numbers(*args: Any, **kwargs: Any) -> Any:
        given = [v for v in (*args, *kwargs.values()) if isinstance(v, Tensor) and v.is_floating_point()]
        if not given:
            raise ValueError(f"given_to: the call of {names[0]} passes no float tensor to it")
        raise _CapturedNumbers(given[0])

    vars(owner)[names[0]] = capture_numbers
    try:
        with call_forward_directly():
            call()
    except _CapturedNumbers as found:
        return found.numbers
    finally:
        del vars(owner)[names[0]]
    raise ValueError(f"given_to: forward never calls the method {names[0]}")


# The names that a line of a call may use besides module, tokens and lengths.
_NAMES: Final[dict[str, Any]] = {
    "torch": torch,
    "nn": nn,
    "F": nn.functional,
    "np": np,
    "SimpleNamespace": SimpleNamespace,
    "pack_padded_sequence": pack_padded_sequence,
    "given_to": given_to,
    # Only for lines that are tried in the search.
    "beside": label_input_beside_text,
}


@functools.cache
def compile_call(line: str, features: Features = (), spellings: Spellings | None = None) -> Call:
    """Compile a line of Python to a function that calls a module.

    Args:
        line: an expression, after any number of statements that end with `;`. It may use module, tokens, lengths,
            torch, nn, F, np, SimpleNamespace, pack_padded_sequence and given_to. For a module of two texts, it uses
            first, second, first_lengths and second_lengths in place of tokens and lengths.
        features: the features of a text. The line may use them by their names.
        spellings: the words and characters of the ids, if the line may use `characters`; else None.

    Raises:
        InputError: the line is not valid Python, or does not end in an expression.
    """
    advice = 'Write an expression, such as "module(tokens.t(), lengths)[0]".'
    try:
        body = ast.parse(line.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(f"The call {short_repr(line)} is not valid Python.", advice) from None
    if not body or not isinstance(last := body[-1], ast.Expr):
        raise InputError(
            f"The call {short_repr(line)} must end in an expression, whose value is the answer, but does not.", advice
        )
    of_two = _names_two_texts(body)
    names = PAIR_NAMES if of_two else ("tokens", "lengths")
    variables = (CHARACTERS,) if spellings is not None else list_feature_variables(features)
    beside = "".join(f", {name}=None" for name in variables)
    function = ast.parse(f"def call(module, {', '.join(names)}{beside}): pass").body[0]
    function.body = [*body[:-1], ast.Return(last.value)]  # type: ignore[attr-defined]
    tree = ast.fix_missing_locations(ast.Module([function], []))
    namespace = dict(_NAMES)
    if any(isinstance(part, ast.Yield | ast.YieldFrom | ast.Await) for part in ast.walk(tree)):
        raise InputError(
            f"The call {short_repr(line)} gives a generator or a coroutine, but must give a tensor.", advice
        )
    try:
        code = compile(tree, "<call>", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"The call {short_repr(line)} is not valid Python: {first_line(error)}.", advice) from None
    exec(code, namespace)  # noqa: S102 - the user's own line, as his module's code is
    call: Any = namespace["call"]
    if spellings is not None:
        return CharacterCall(call, spellings)
    if features:
        return FeatureCall(lambda module, tokens, lengths, named: call(module, tokens, lengths, **named), features)
    return PairCall(call) if of_two else call


def _names_two_texts(body: list[ast.stmt]) -> bool:
    """Return whether statements use a name for one of two texts, such as `first`, that they do not define
    themselves."""
    parts = [part for statement in body for part in ast.walk(statement)]
    names = [part for part in parts if isinstance(part, ast.Name)]
    own = {name.id for name in names if isinstance(name.ctx, ast.Store)}
    own |= {part.arg for part in parts if isinstance(part, ast.arg)}
    return any(name.id in PAIR_NAMES and name.id not in own for name in names)


def uses_lengths(line: str) -> bool:
    """Return whether a line uses the lengths of the texts."""
    named = {node.id for node in ast.walk(ast.parse(line.strip())) if isinstance(node, ast.Name)}
    return bool(named & {"lengths", *PAIR_NAMES[2:]})


def list_names_in_line(line: str) -> set[str]:
    """List the names that a line reads."""
    nodes = ast.walk(ast.parse(line.strip()))
    return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


def wrap_last_expression(line: str, wrapper: str) -> str:
    """Put the code `wrapper` around the last expression of a line, and return the line. {} in `wrapper` stands for the
    expression: with `-{}`, the line `x = 3; module(x)` becomes `x = 3; -module(x)`."""
    *setup, last = line.split("; ")
    return "; ".join([*setup, wrapper.replace("{}", last)])


def write_layer_code(layer_path: str) -> str:
    """Return the code of a layer by its path in the module: `module.convs[0]` for `convs.0`."""
    return "module" + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in layer_path.split(".") if part)
