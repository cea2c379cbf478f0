"""The states that a recurrent module begins in, as its callers make them; what is done to it before it is called."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Final

import torch
from torch import Tensor, nn

from pocketrnn_export.intake.convention import (
    BATCH_SIZE,
    batch_size_of_file,
)
from pocketrnn_export.torch_internals import buffers_of, parameters_of

__all__ = ["fixed_batch_advice", "setups_of", "state_makers", "states_of"]

_MAKES_STATE: Final = re.compile(r"(init|zero|reset|get|make|create).*(hid|state|h0)", re.IGNORECASE)


def states_of(module: nn.Module) -> list[str]:
    """Initial states: those that a method of the module makes; else None, or zeros."""
    made = [f"module.{name}({arguments})" for name, arguments in state_makers(module)]
    zeros = []
    for layer in module.modules():
        if isinstance(layer, nn.RNNBase):
            state = f"torch.zeros({layer.num_layers * (1 + layer.bidirectional)}, tokens.size(0), {layer.hidden_size})"
            zeros.append(f"({state}, {state})" if isinstance(layer, nn.LSTM) else state)
            break
    size = next((v for n in ("hidden_size", "hidden_dim") if isinstance(v := getattr(module, n, None), int)), None)
    if size is not None and not zeros:
        zeros.append(f"torch.zeros(tokens.size(0), {size})")
    # A module that has a method for it may begin in another state than zeros.
    return made or ["None", *zeros]


def state_makers(module: nn.Module) -> Iterator[tuple[str, str]]:
    """The methods of a module that make its initial state, each with its arguments."""
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


def setups_of(module: nn.Module) -> list[str]:
    """What is done to a module before it is called: its batch size set, its state made anew."""
    sizes, states = [], []
    names = dict(module.named_modules())
    for path, layer in names.items():
        target = "module" + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in path.split(".") if part)
        for name, value in vars(layer).items():
            if type(value) is int and BATCH_SIZE.search(name):
                sizes.append(f"{target}.{name} = tokens.size(0)")
        sizes += [f'{target}.forward.__globals__["{name}"] = tokens.size(0)' for name, _ in batch_size_of_file(layer)]
        if isinstance(layer, nn.RNNBase):
            continue
        makers = list(state_makers(layer))
        kept = _kept_states(layer)
        for name, arguments in makers:
            call = f"{target}.{name}({arguments})"
            states.append(call)
            states += [f"{target}.{attribute} = {call}" for attribute in kept]
        states += [f"{target}.{name} = {made}" for name, made in _kept_zeros(layer)]
    setup = "; ".join(sizes)
    found = [f"{setup}; "] if setup else []
    for state in states:
        found += [f"{setup}; {state}; "] if setup else [f"{state}; "]
    zeros = [state for state in states if "torch.zeros" in state]
    if len(zeros) > 1:
        found.append("; ".join([*([setup] if setup else []), *zeros]) + "; ")
    return found[:12]


def fixed_batch_advice(module: nn.Module, error: BaseException) -> str | None:
    """What to write where a module fails since it holds a number of texts, or a state of so many; None for all else."""
    said = str(error)
    if found := re.search(r"got \[(\d+), (\d+), (\d+)\]", said):
        shape = tuple(map(int, found.groups()))
    elif found := re.search(r"shape '\[(\d+)", said):
        shape = (0, int(found[1]), 0)
    else:
        return None
    if isinstance(module, torch.jit.ScriptModule):
        return None
    for path, layer in module.named_modules():
        target = "module" + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in path.split(".") if part)
        if isinstance(layer, nn.RNNBase | torch.jit.ScriptModule):
            continue
        held = {**vars(layer), **buffers_of(layer), **parameters_of(layer)}
        for name, value in held.items():
            if isinstance(value, nn.Parameter) and tuple(value.shape) == shape:
                return (
                    f"Its {target}.{name} is a state for {shape[1]} texts: keep one of [{shape[0]}, 1, {shape[2]}], "
                    "and expand it in forward to the number of texts."
                )
            if isinstance(value, Tensor) and tuple(value.shape) == shape:
                zeros = f"torch.zeros({shape[0]}, tokens.size(0), {shape[2]})"
                return (
                    f"Its {target}.{name} is a state for {shape[1]} texts. If each text begins with zeros, say so: "
                    f'--call "{target}.{name} = {zeros}; module(tokens)", or call=.'
                )
        for name, value in held.items():
            if type(value) is int and value == shape[1]:
                return (
                    f"Its {target}.{name} is {value}, a fixed number of texts: say that it is that of the batch, "
                    f'--call "{target}.{name} = tokens.size(0); module(tokens)", or call=.'
                )
    return None


def _kept_states(layer: nn.Module) -> list[str]:
    """The attributes in which a module keeps its state between two calls."""
    code = getattr(getattr(type(layer), "forward", None), "__code__", None)
    named = set(code.co_names if code is not None else ()) | vars(layer).keys()
    return [name for name in sorted(named) if re.search(r"^_?(hidden(_?state)?s?|state|h|hc|h_?0)$", name)][:3]


def _kept_zeros(layer: nn.Module) -> Iterator[tuple[str, str]]:
    """Zeros [layers, batch, hidden] that a module made when it was made, for one size of batch."""
    for name, value in vars(layer).items():
        states = value if isinstance(value, tuple) else (value,)
        if all(isinstance(v, Tensor) and v.dim() == 3 and not bool(v.any()) for v in states):
            zeros = [f"torch.zeros({v.shape[0]}, tokens.size(0), {v.shape[2]})" for v in states]
            yield name, zeros[0] if len(zeros) == 1 and not isinstance(value, tuple) else f"({', '.join(zeros)})"
