"""Move each number of a module's inputs by one float32 step, to see how far rounding may move the answers."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn

from pocketrnn_export.intake.compiled_call_line import Call

# One step of a float32 number below 1 is 2**-24 of the power of two above it. Multiples of 1/16 are not rounded.
_BITS: Final = 24
_EXACT: Final = 16


def perturb_number_inputs(function: Call) -> Call:
    """Return a call that changes each number of the module's float inputs by one step of float32, up or down. Multiples
    of 1/16 stay as they are, since they are exact.

    This shows rounding that changed weights do not show: if a row is divided by its own deviation, the answer depends
    on the last digits of the row's numbers.
    """
    generator = torch.Generator().manual_seed(0)

    def perturb_value(value: Any) -> Any:
        if isinstance(value, Tensor) and value.is_floating_point():
            step = torch.ldexp(torch.ones_like(value), torch.frexp(value).exponent - _BITS)
            sign = torch.randint(0, 2, value.shape, generator=generator) * 2 - 1
            is_rounded = value.isfinite() & (value * _EXACT != (value * _EXACT).round())
            return torch.where(is_rounded, value + sign * step, value)
        if type(value) in (list, tuple):
            return type(value)(map(perturb_value, value))
        return {name: perturb_value(one) for name, one in value.items()} if type(value) is dict else value

    def call_with_perturbed_inputs(module: nn.Module, tokens: Tensor, lengths: Tensor) -> Any:
        hook = module.register_forward_pre_hook(
            lambda _layer, args, kwargs: (perturb_value(args), perturb_value(kwargs)), with_kwargs=True
        )
        try:
            return function(module, tokens, lengths)
        finally:
            hook.remove()

    return call_with_perturbed_inputs
