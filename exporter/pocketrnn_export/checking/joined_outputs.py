"""Join several outputs of a module into one table, which is compared as a classifier's logits are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pocketrnn_export.checking.exported_file import Array
from pocketrnn_export.checking.forward_call_recording import ModuleCall, record_forward
from pocketrnn_export.intake.compiled_call_line import Call
from pocketrnn_export.intake.run_that_undoes_assignments import undo_assignments


class JoinedOutputModule(nn.Module):
    """A module that joins some outputs of another module into one table, [batch, numbers].

    Args:
        called: how the module is called.
        outputs: the names of the outputs to join.
        scales: the numbers that the columns of an output are divided by; an output without them stays as it is.
    """

    def __init__(self, called: ModuleCall, outputs: tuple[str, ...], scales: Mapping[str, Array] | None = None) -> None:
        super().__init__()
        self.module = called.module
        self.function, self.outputs, self.scales = _SharedFunction(called.function), outputs, scales or {}

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Run the wrapped module on a batch, and return its outputs joined in one table [batch, numbers]."""
        with undo_assignments(self.module):
            outputs = record_forward(self.module, self.function, tokens, lengths, {})
        scaled = [
            outputs[name] / torch.from_numpy(choose_column_scales(self.scales[name], tuple(outputs[name].shape)))
            if name in self.scales
            else outputs[name]
            for name in self.outputs
        ]
        table: Tensor = join_outputs_into_table(scaled, len(tokens), torch)
        return table


def choose_column_scales(scale: Array, shape: tuple[int, ...]) -> Array:
    """Return the array by which an output of this shape is divided. It is `scale` if this has a number for each column
    of the output, else the largest number in `scale`, for all columns."""
    return scale if shape[-1:] == scale.shape else np.asarray(scale.max())


class _SharedFunction:
    """A user's function that deepcopy of the module does not copy: it may hold any object."""

    def __init__(self, function: Call) -> None:
        self.function = function

    def __call__(self, module: nn.Module, tokens: Tensor, lengths: Tensor) -> Any:
        return self.function(module, tokens, lengths)

    def __deepcopy__(self, _memory: dict[int, Any]) -> _SharedFunction:
        return self


def join_outputs_into_table(outputs: list[Any], rows: int, library: Any = np) -> Any:
    """Join several outputs of a batch of `rows` rows into one table [rows, numbers]. An output whose second axis is the
    batch is transposed first.

    Args:
        outputs: arrays of numpy or tensors of torch.
        rows: the batch size.
        library: `numpy` or `torch`, which joins them.
    """
    parts = []
    for output in outputs:
        if output.ndim > 1 and output.shape[0] != rows == output.shape[1]:
            output = library.swapaxes(output, 0, 1)
        flat = output.reshape(-1)
        flat = flat * 1 if flat.dtype in (np.dtype(bool), torch.bool) else flat
        short = -len(flat) % rows
        if short or not len(flat):
            flat = library.concatenate([flat, library.zeros(short or rows, dtype=flat.dtype)])
        parts.append(flat.reshape(rows, -1))
    return library.concatenate(parts, 1)
