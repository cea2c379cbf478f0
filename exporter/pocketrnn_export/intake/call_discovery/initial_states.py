"""Find the initial states that a recurrent module takes, and the statements that prepare the module for a call."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from pocketrnn_export.intake.calling_convention import (
    BATCH_SIZE,
    find_global_batch_sizes,
)
from pocketrnn_export.torch_internals import read_own_buffers, read_own_parameters

# The names of attributes that hold states, and of attributes that hold tables.
_STATE: Final = re.compile(
    r"^(?:(?:init(?:ial)?_?)?(?:h|c|hx|cx|hc|hidden|cell|states?|memory)(?:_?(?:\d|[a-z]+))?)$", re.I
)
_TABLE: Final = re.compile(r"pos|pe$|mask|weight|table|embed", re.IGNORECASE)
_MAKES_STATE: Final = re.compile(r"(init|zero|reset|get|make|create).*(hid|state|h0)", re.IGNORECASE)


def list_initial_states(module: nn.Module, part: int | None = None) -> list[str]:
    """Return the code of initial states. A method of the module makes them; else they are None or zeros.

    Args:
        module: the module.
        part: for a forward that takes the tensors of a state one by one, such as `h0` and `c0`, which of them.
    """
    made = [f"module.{name}({arguments})" for name, arguments in find_state_methods(module)]
    if part is not None:
        made = [*(f"{state}[{part}]" for state in made), *made]
    zeros = []
    for layer in module.modules():
        if isinstance(layer, nn.RNNBase):
            state = f"torch.zeros({layer.num_layers * (1 + layer.bidirectional)}, tokens.size(0), {layer.hidden_size})"
            zeros.append(f"({state}, {state})" if isinstance(layer, nn.LSTM) and part is None else state)
            break
    size = next((v for n in ("hidden_size", "hidden_dim") if isinstance(v := getattr(module, n, None), int)), None)
    if size is not None and not zeros:
        zeros.append(f"torch.zeros(tokens.size(0), {size})")
    # The method of a module may make another state than zeros.
    return made or ["None", *zeros]


def find_state_methods(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield each method of a module that makes an initial state, with the code of its arguments."""
    if isinstance(module, torch.jit.ScriptModule):
        return
    for name in dir(type(module)):
        if name.startswith("__") or not _MAKES_STATE.search(name):
            continue
        method = getattr(module, name, None)
        if not inspect.ismethod(method) or re.search(r"weight|dict|extra", name):
            continue
        arguments = []
        for parameter in inspect.signature(method).parameters.values():
            lower = parameter.name.lower()
            if re.search(r"batch|bsz|^bs$|^b$|^n$|size", lower):
                arguments.append("tokens.size(0)")
            elif "device" in lower or "gpu" in lower or "cuda" in lower:
                if parameter.default is parameter.empty:
                    arguments.append("tokens.device" if "device" in lower else "False")
            elif re.search(r"^x$|input|text|token", lower):
                arguments.append("tokens")
            elif parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                break
        else:
            yield name, ", ".join(arguments)


def list_setup_statements(module: nn.Module) -> list[str]:
    """Return statements that may be needed before a call: they set a batch size or make a new state."""
    sizes, states = [], []
    names = dict(module.named_modules())
    for path, layer in names.items():
        target = "module" + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in path.split(".") if part)
        for name, value in vars(layer).items():
            if type(value) is int and BATCH_SIZE.search(name):
                sizes.append(f"{target}.{name} = tokens.size(0)")
        sizes += [
            f"{target}.forward.__globals__[{name!r}] = tokens.size(0)" for name, _ in find_global_batch_sizes(layer)
        ]
        if isinstance(layer, nn.RNNBase):
            continue
        makers = list(find_state_methods(layer))
        kept = _find_kept_states(layer)
        for name, arguments in makers:
            call = f"{target}.{name}({arguments})"
            states.append(call)
            states += [f"{target}.{attribute} = {call}" for attribute in kept]
        states += [f"{target}.{name} = {made}" for name, made in _find_kept_zeros(layer)]
    setup = "; ".join(sizes)
    found = [f"{setup}; "] if setup else []
    for state in states:
        found += [f"{setup}; {state}; "] if setup else [f"{state}; "]
    zeros = [state for state in states if "torch.zeros" in state]
    if len(zeros) > 1:
        found.append("; ".join([*([setup] if setup else []), *zeros]) + "; ")
    return found[:12]


def advise_on_fixed_batch(
    module: nn.Module, error: BaseException, line: str, runs: Callable[[str], bool]
) -> str | None:
    """Return advice for a module that fails because it holds a fixed batch size, or a state of that size. Return
    None for other failures.

    All states of that batch size are named at once, and a line is proposed only if the module runs with it.

    Args:
        module: the module.
        error: the error that it raised.
        line: how it was called.
        runs: whether the module runs with a line.
    """
    if isinstance(module, torch.jit.ScriptModule):
        return None
    held, numbers = list(_find_held_states(module)), list(_find_held_numbers(module))
    for texts in dict.fromkeys(map(int, re.findall(r"(?<![\w.])\d{1,7}(?![\w.])", str(error)))):
        states = [state for state in held if state.texts == texts > 1 and f"{state.target} = " not in line]
        if weights := [state for state in states if state.is_weight]:
            names, one = _join_names(weights), len(weights) == 1
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
            if not made or not runs(given):
                continue
            if made is zeros:
                is_one = f"is a state for {texts} texts" if len(states) == 1 else f"are states for {texts} texts"
                told = f"Its {_join_names(states)} {is_one}. If each text begins with zeros, say so:"
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
        zeros: the code that makes such zeros for a batch.
        is_weight: whether it is a parameter.
    """

    target: str
    texts: int
    of_one: tuple[int, ...]
    zeros: str
    is_weight: bool


def _join_names(states: Sequence[_HeldState]) -> str:
    *others, last = [state.target for state in states]
    return f"{', '.join(others)} and {last}" if others else last


def _list_named_layers(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield each layer with its name in Python code. nn.RNN, nn.LSTM, nn.GRU and TorchScript are left out."""
    for path, layer in module.named_modules():
        if not isinstance(layer, nn.RNNBase | torch.jit.ScriptModule):
            yield "module" + "".join(f"[{p}]" if p.isdigit() else f".{p}" for p in path.split(".") if p), layer


def _find_held_numbers(module: nn.Module) -> Iterator[tuple[str, int]]:
    for target, layer in _list_named_layers(module):
        if type(layer).__module__.startswith("torch."):
            continue
        # Class attributes, too: `batch_size = 64` above the methods.
        kinds = [kind for kind in type(layer).__mro__ if not kind.__module__.startswith(("torch.", "builtins"))]
        held = {**{name: value for kind in reversed(kinds) for name, value in vars(kind).items()}, **vars(layer)}
        yield from ((f"{target}.{name}", value) for name, value in held.items() if type(value) is int)


def _find_held_states(module: nn.Module) -> Iterator[_HeldState]:
    """Yield the tensors of a module that may be states, judged by width or name. Lists and dicts are searched, too."""
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
            zeros = _write_container(value, [_write_zeros(t.shape, _find_batch_axis_of_state(t)) for t in tensors])
            yield _HeldState(f"{target}.{name}", shape[at], of_one, zeros, isinstance(value, nn.Parameter))


def _find_batch_axis_of_state(state: Tensor) -> int:
    """Return the axis of the texts in a state [layers, texts, hidden] or [texts, hidden]. Return -1 for another
    tensor."""
    return state.dim() - 2 if state.dim() in (2, 3) else -1


def _write_zeros(shape: Sequence[int], at: int) -> str:
    return f"torch.zeros({', '.join('tokens.size(0)' if i == at else str(n) for i, n in enumerate(shape))})"


def _write_container(value: object, zeros: Sequence[str]) -> str:
    """Return the code of zeros in the same container as the tensors: a dict, a list, a tuple or none."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {made}' for key, made in zip(value, zeros, strict=True))}}}"
    if isinstance(value, list):
        return f"[{', '.join(zeros)}]"
    return f"({', '.join(zeros)},)" if isinstance(value, tuple) else zeros[0]


def _find_kept_states(layer: nn.Module) -> list[str]:
    """Return the attributes in which a module keeps its state between calls."""
    code = getattr(getattr(type(layer), "forward", None), "__code__", None)
    named = set(code.co_names if code is not None else ()) | vars(layer).keys()
    return [name for name in sorted(named) if re.search(r"^_?(hidden(_?state)?s?|state|h|hc|h_?0)$", name)][:3]


def _find_kept_zeros(layer: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield each attribute that holds zeros [layers, batch, hidden], with code that makes such zeros for any batch."""
    for name, value in vars(layer).items():
        states = value if isinstance(value, tuple) else (value,)
        if all(isinstance(v, Tensor) and v.dim() == 3 and not bool(v.any()) for v in states):
            zeros = [f"torch.zeros({v.shape[0]}, tokens.size(0), {v.shape[2]})" for v in states]
            yield name, zeros[0] if len(zeros) == 1 and not isinstance(value, tuple) else f"({', '.join(zeros)})"
