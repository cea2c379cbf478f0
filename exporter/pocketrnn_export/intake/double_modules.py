"""A module whose weights are in double precision, in float32: what its forward makes in doubles is of float32 too.

`module.float()` alone is not enough. A forward that says `torch.zeros(n, 51, dtype=torch.double)` or `x.double()` makes
doubles still, which a layer in float32 refuses. `proof/float64_module.py` is the same the other way round, and computes
around this: so only what forward says is changed here, and never a result.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn_export.torch_internals import FunctionMode

__all__ = ["said_in_float32"]

_TYPES: Final[dict[Any, Any]] = {
    torch.float64: torch.float32,
    "torch.DoubleTensor": "torch.FloatTensor",
    torch.DoubleTensor: torch.FloatTensor,
}


def said_in_float32(module: nn.Module) -> nn.Module:
    """The module itself, with a class of its own, in whose forward double precision means float32.

    Args:
        module: a copy, its weights in float32. TorchScript, whose code holds its types, is left as it is.

    Example:
        >>> said_in_float32(copied.float())(samples).dtype
        torch.float32
    """
    kind = type(module)
    if isinstance(module, torch.jit.ScriptModule) or "forward" in vars(module):
        return module
    own = kind.forward

    @functools.wraps(own)
    def forward(self: nn.Module, *inputs: Any, **named: Any) -> Any:
        with _SaidInFloat32():
            return own(self, *inputs, **named)

    names = {"forward": forward, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
    module.__class__ = type(kind.__name__, (kind,), names)
    return module


class _SaidInFloat32(FunctionMode):
    """While it is entered, types of double precision that a function of torch is given are float32."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        del types
        if func is Tensor.double:
            return args[0].float()
        return func(*map(_converted, args), **{name: _converted(value) for name, value in (kwargs or {}).items()})


def _converted(value: Any) -> Any:
    return _TYPES.get(value, value) if isinstance(value, (str, torch.dtype, type(torch.DoubleTensor))) else value
