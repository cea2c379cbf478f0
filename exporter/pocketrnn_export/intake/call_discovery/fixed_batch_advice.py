"""Advise on a module that fails because it holds a batch size, or a state for a fixed number of texts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from pocketrnn_export.intake.call_discovery.module_properties_and_trial_batches import ModuleFacts
from pocketrnn_export.intake.call_discovery.trial_answers import can_run_line
from pocketrnn_export.intake.compiled_call_line import write_layer_code
from pocketrnn_export.torch_internals import read_own_buffers, read_own_parameters

# The names of attributes that hold states, and of attributes that hold tables.
_STATE: Final = re.compile(
    r"^(?:(?:init(?:ial)?_?)?(?:h|c|hx|cx|hc|hidden|cell|states?|memory)(?:_?(?:\d|[a-z]+))?)$", re.I
)
_TABLE: Final = re.compile(r"pos|pe$|mask|weight|table|embed", re.IGNORECASE)


def advise_on_fixed_batch(facts: ModuleFacts, error: BaseException, line: str) -> str | None:
    """Return advice for a module that fails because it holds a fixed batch size, or a state of that size. Return
    None for other failures.

    All states of that batch size are named at once, and a line is proposed only if the module runs with it.

    Args:
        facts: the module.
        error: the error that it raised.
        line: how it was called.
    """
    if isinstance(facts.module, torch.jit.ScriptModule):
        return None
    held, numbers = list(_find_held_states(facts.module)), list(_find_held_numbers(facts.module))
    for texts in dict.fromkeys(map(int, re.findall(r"(?<![\w.])\d{1,7}(?![\w.])", str(error)))):
        states = [state for state in held if state.texts == texts > 1 and f"{state.target} = " not in line]
        if weights := [state for state in states if state.is_weight]:
            names, one = _join_state_names(weights), len(weights) == 1
            kept = f"keep {'one' if one else 'each'} for a single text, such as {list(weights[0].of_one)}"
            return (
                f"Its {names} {'is a state' if one else 'are states'} for {texts} texts: {kept}, and expand "
                f"{'it' if one else 'them'} in forward to the number of texts."
            )
        counts = [target for target, value in numbers if value == texts > 1 and f"{target} = " not in line]
        zeros = [f"{state.target} = {state.zeros}" for state in states]
        sizes = [f"{target} = tokens.size(0)" for target in counts]
        ways: list[list[str]] = [zeros, sizes, [*sizes, *zeros], *([size] for size in sizes)]
        for made in ways:
            given = "; ".join([*made, line])
            if not made or not can_run_line(facts, given):
                continue
            if made is zeros:
                is_one = f"is a state for {texts} texts" if len(states) == 1 else f"are states for {texts} texts"
                told = f"Its {_join_state_names(states)} {is_one}. If each text begins with zeros, say so:"
            else:
                fixed = [setting.partition(" = ")[0] for setting in made]
                said = f"is {texts}, a fixed number" if len(fixed) == 1 else f"are {texts}, fixed numbers"
                told = f"Its {' and '.join(fixed)} {said} of texts: set it to the number in the batch,"
            return f'{told} --call "{given}", or call=.'
    return None


@dataclass(frozen=True)
class _HeldState:
    """A state that a module holds for a fixed number of texts, such as `module.h0`.

    Attributes:
        target: its name in Python code.
        texts: the number of texts that it is for.
        of_one: its shape for one text.
        zeros: the code that makes zeros in its place, for any number of texts.
        is_weight: whether it is a parameter.
    """

    target: str
    texts: int
    of_one: tuple[int, ...]
    zeros: str
    is_weight: bool


def _join_state_names(states: Sequence[_HeldState]) -> str:
    *others, last = [state.target for state in states]
    return f"{', '.join(others)} and {last}" if others else last


def _list_named_layers(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield each layer with its name in Python code. nn.RNN, nn.LSTM, nn.GRU and TorchScript are left out."""
    for path, layer in module.named_modules():
        if not isinstance(layer, nn.RNNBase | torch.jit.ScriptModule):
            yield write_layer_code(path), layer


def _find_held_numbers(module: nn.Module) -> Iterator[tuple[str, int]]:
    """Yield the integers that layers hold as attributes, with their names in Python code."""
    for target, layer in _list_named_layers(module):
        if type(layer).__module__.startswith("torch."):
            continue
        # Class attributes, too: `batch_size = 64` above the methods.
        kinds = [kind for kind in type(layer).__mro__ if not kind.__module__.startswith(("torch.", "builtins"))]
        held = {**{name: value for kind in reversed(kinds) for name, value in vars(kind).items()}, **vars(layer)}
        yield from ((f"{target}.{name}", value) for name, value in held.items() if type(value) is int)


def _find_held_states(module: nn.Module) -> Iterator[_HeldState]:
    """Yield the tensors of a module that may be states, judged by their width or their name. Lists, tuples and dicts
    are searched, too."""
    sizes = {size for layer in module.modules() if isinstance(layer, nn.RNNBase | nn.RNNCellBase)
             for size in (layer.hidden_size, getattr(layer, "proj_size", 0))}  # fmt: skip
    for target, layer in _list_named_layers(module):
        for name, value in {**vars(layer), **read_own_buffers(layer), **read_own_parameters(layer)}.items():
            tensors = list(
                value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else [value]
            )
            if name.startswith("_") or not tensors or not all(isinstance(t, Tensor) for t in tensors):
                continue
            is_like = _STATE.fullmatch(name) or all(t.shape[-1:] and t.shape[-1] in sizes for t in tensors)
            places = {_find_batch_axis_of_state(t) for t in tensors}
            if not is_like or _TABLE.search(name) or len({t.shape[p] for t in tensors for p in places if p >= 0}) != 1:
                continue
            at = places.pop()
            shape = tensors[0].shape
            of_one = tuple(1 if i == at else n for i, n in enumerate(shape))
            zeros = _write_zeros_in_like_container(
                value, [_write_zeros(t.shape, _find_batch_axis_of_state(t)) for t in tensors]
            )
            yield _HeldState(f"{target}.{name}", shape[at], of_one, zeros, isinstance(value, nn.Parameter))


def _find_batch_axis_of_state(state: Tensor) -> int:
    """Return the axis of the texts in a state [layers, texts, hidden] or [texts, hidden]. Return -1 for another
    tensor."""
    return state.dim() - 2 if state.dim() in (2, 3) else -1


def _write_zeros(shape: Sequence[int], batch_axis: int) -> str:
    return f"torch.zeros({', '.join('tokens.size(0)' if i == batch_axis else str(n) for i, n in enumerate(shape))})"


def _write_zeros_in_like_container(container: object, zeros: Sequence[str]) -> str:
    """Return the code of a dict, list or tuple of zeros, like the container in which a module holds its states. For a
    state without a container, return the code of the zeros alone."""
    if isinstance(container, dict):
        return f"{{{', '.join(f'{key!r}: {made}' for key, made in zip(container, zeros, strict=True))}}}"
    if isinstance(container, list):
        return f"[{', '.join(zeros)}]"
    return f"({', '.join(zeros)},)" if isinstance(container, tuple) else zeros[0]
