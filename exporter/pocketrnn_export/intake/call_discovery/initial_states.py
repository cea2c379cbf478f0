"""Find the initial states that a recurrent module takes, and the statements that prepare the module for a call."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor, nn

from pocketrnn_export.intake.batch_sizes_in_globals_and_settings import (
    BATCH_SIZE,
    find_batch_sizes_in_globals_and_settings,
)
from pocketrnn_export.intake.compiled_call_line import write_layer_code

_MAKES_STATE: Final = re.compile(r"(init|zero|reset|get|make|create).*(hid|state|h0)", re.IGNORECASE)


def list_initial_states(module: nn.Module, index_in_state_tuple: int | None = None) -> list[str]:
    """Return code for initial states. The code calls a method of the module that makes them, if there is one.
    Otherwise, the states are None or zeros. `index_in_state_tuple` is the index of one tensor of the state, if forward
    takes the tensors one by one, such as `h0` and `c0`; None for the whole state."""
    made = [f"module.{name}({arguments})" for name, arguments in find_state_methods_with_arguments(module)]
    if index_in_state_tuple is not None:
        made = [*(f"{state}[{index_in_state_tuple}]" for state in made), *made]
    zeros = []
    for layer in module.modules():
        if isinstance(layer, nn.RNNBase):
            state = f"torch.zeros({layer.num_layers * (1 + layer.bidirectional)}, tokens.size(0), {layer.hidden_size})"
            zeros.append(
                f"({state}, {state})" if isinstance(layer, nn.LSTM) and index_in_state_tuple is None else state
            )
            break
    size = next((v for n in ("hidden_size", "hidden_dim") if isinstance(v := getattr(module, n, None), int)), None)
    if size is not None and not zeros:
        zeros.append(f"torch.zeros(tokens.size(0), {size})")
    # The method of a module may make another state than zeros.
    return made or ["None", *zeros]


def find_state_methods_with_arguments(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield each method whose name says that it makes an initial state, with code for its arguments."""
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
    """Return statements that may have to run before a call: they set a batch size or make a new state."""
    sizes, states = [], []
    for path, layer in module.named_modules():
        target = write_layer_code(path)
        for name, value in vars(layer).items():
            if type(value) is int and BATCH_SIZE.search(name):
                sizes.append(f"{target}.{name} = tokens.size(0)")
        sizes += [
            f"{target}{outside.code} = tokens.size(0)" for outside in find_batch_sizes_in_globals_and_settings(layer)
        ]
        if isinstance(layer, nn.RNNBase):
            continue
        makers = list(find_state_methods_with_arguments(layer))
        kept = _list_state_attributes(layer)
        for name, arguments in makers:
            call = f"{target}.{name}({arguments})"
            states.append(call)
            states += [f"{target}.{attribute} = {call}" for attribute in kept]
        states += [f"{target}.{name} = {made}" for name, made in _yield_zero_state_attributes_with_code(layer)]
    setup = "; ".join(sizes)
    found = [f"{setup}; "] if setup else []
    for state in states:
        found += [f"{setup}; {state}; "] if setup else [f"{state}; "]
    zeros = [state for state in states if "torch.zeros" in state]
    if len(zeros) > 1:
        found.append("; ".join([*([setup] if setup else []), *zeros]) + "; ")
    return found[:12]


def _list_state_attributes(layer: nn.Module) -> list[str]:
    """Return the names of attributes, such as `hidden`, in which a module seems to keep its state between calls."""
    code = getattr(getattr(type(layer), "forward", None), "__code__", None)
    named = set(code.co_names if code is not None else ()) | vars(layer).keys()
    return [name for name in sorted(named) if re.search(r"^_?(hidden(_?state)?s?|state|h|hc|h_?0)$", name)][:3]


def _yield_zero_state_attributes_with_code(layer: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield the name of each attribute that holds zeros [layers, batch, hidden], or a tuple of such tensors. Each name
    comes with code that makes these zeros for any batch."""
    for name, value in vars(layer).items():
        states = value if isinstance(value, tuple) else (value,)
        if all(isinstance(v, Tensor) and v.dim() == 3 and not bool(v.any()) for v in states):
            zeros = [f"torch.zeros({v.shape[0]}, tokens.size(0), {v.shape[2]})" for v in states]
            yield name, zeros[0] if len(zeros) == 1 and not isinstance(value, tuple) else f"({', '.join(zeros)})"
