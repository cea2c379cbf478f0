"""Run a module in float32 although its weights were float64. The float64 tensors that forward makes become float32,
too.

`module.float()` alone is not enough. A forward with `torch.zeros(n, 51, dtype=torch.double)` or `x.double()` still
makes doubles, which a float32 layer refuses. `comparing/float64_module.py` does the opposite and runs around this: so
only the dtypes that forward names are changed here, and never a result.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn_export.torch_internals import FunctionMode

_TYPES: Final[dict[Any, Any]] = {
    torch.float64: torch.float32,
    "torch.DoubleTensor": "torch.FloatTensor",
    torch.DoubleTensor: torch.FloatTensor,
}


def replace_doubles(module: nn.Module) -> nn.Module:
    """Change the class of the module, so that float64 means float32 in its forward. Return the module.

    Args:
        module: a copy with float32 weights. TorchScript is left unchanged, as its code holds its dtypes.
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
        return func(*map(_convert_type, args), **{name: _convert_type(value) for name, value in (kwargs or {}).items()})


def _convert_type(value: Any) -> Any:
    return _TYPES.get(value, value) if isinstance(value, (str, torch.dtype, type(torch.DoubleTensor))) else value
