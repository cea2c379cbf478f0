"""Convert a module to float32: the weights, the tensors in attributes, and the float64 tensors that forward makes.

`module.float()` alone is not enough. A forward with `torch.zeros(n, 51, dtype=torch.double)` or `x.double()` still
makes doubles, which a float32 layer refuses. `comparing/float64_module.py` does the opposite and runs around this: so
only the dtypes that forward names are changed here, and never a result.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import deque
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn_export.torch_internals import FunctionMode, get_submodule_dict

_TYPES: Final[dict[Any, Any]] = {
    torch.float64: torch.float32,
    "torch.DoubleTensor": "torch.FloatTensor",
    torch.DoubleTensor: torch.FloatTensor,
}


def _replace_float64_in_forward(module: nn.Module) -> nn.Module:
    """Change the class of the module so that its forward makes float32 tensors where its code asks for float64. Return
    the module.

    Args:
        module: a copy with float32 weights. TorchScript is left unchanged, since the dtypes are fixed in its code.
    """
    kind = type(module)
    if isinstance(module, torch.jit.ScriptModule) or "forward" in vars(module):
        return module
    own = kind.forward

    @functools.wraps(own)
    def forward(self: nn.Module, *inputs: Any, **named: Any) -> Any:
        with _DoubleReplacer():
            return own(self, *inputs, **named)

    names = {"forward": forward, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    module.__class__ = type(kind.__name__, (kind,), names)
    return module


class _DoubleReplacer(FunctionMode):
    """Replaces float64 by float32 in calls of torch functions inside the block."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.double:
            return args[0].float()
        return func(
            *map(_replace_float64_type, args),
            **{name: _replace_float64_type(value) for name, value in (kwargs or {}).items()},
        )


def _replace_float64_type(value: Any) -> Any:
    return _TYPES.get(value, value) if isinstance(value, (str, torch.dtype, type(torch.DoubleTensor))) else value


def find_layer_tensors(layer: nn.Module) -> Iterator[Tensor]:
    """Yield the tensors among a layer's attributes, also those in containers and in layers of plain lists. The tensors
    of registered sublayers are left out."""
    waiting, met = [value for value in vars(layer).values() if value is not get_submodule_dict(layer)], set[int]()
    while waiting:
        value = waiting.pop()
        if id(value) in met:
            continue
        met.add(id(value))
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, nn.Module) and not isinstance(value, torch.jit.ScriptModule):
            waiting += vars(value).values()
        elif isinstance(value, Mapping):
            waiting += value.values()
        elif isinstance(value, list | tuple | set | frozenset | deque):
            waiting += value
        elif dataclasses.is_dataclass(value) or type(value) is SimpleNamespace:
            waiting += vars(value).values() if hasattr(value, "__dict__") else ()


def read_dtypes_other_than_float32(module: nn.Module) -> str | None:
    """Return the dtypes of a module's weights, such as `float16`; None if all weights are float32."""
    tensors = [*module.parameters(), *module.buffers()]
    kinds = {str(t.dtype).removeprefix("torch.") for t in tensors if t.is_floating_point()}
    return None if kinds <= {"float32"} else ", ".join(sorted(kinds))


def convert_to_float32(module: nn.Module) -> nn.Module:
    """Convert a module to float32 on the CPU, in place. Tensors in plain attributes with the weights' dtype are
    converted, too. If weights were float64, the tensors that forward makes in float64 become float32."""
    tensors = [*module.parameters(), *module.buffers()]
    kinds = {t.dtype for t in tensors if t.is_floating_point()}
    made = module.cpu().float()
    for layer in made.modules():
        for tensor in () if isinstance(layer, torch.jit.ScriptModule) else find_layer_tensors(layer):
            if tensor.dtype in kinds and tensor.dtype != torch.float32:
                tensor.data = tensor.data.float()
    return _replace_float64_in_forward(made) if torch.float64 in kinds else made
