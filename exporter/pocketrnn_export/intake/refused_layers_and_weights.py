"""Refuse modules with replaced layers, batch statistics or sparse tensors before they are called, and find weights that
are not finite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import nn

from pocketrnn.errors import ExportError
from pocketrnn_export.torch_internals import BatchNorm

# Layers that the exporter knows by their class.
_LAYERS: Final = ("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell", "Embedding", "EmbeddingBag", "Linear")

# The most rows of a weight that a message names.
_MOST_ROWS: Final = 5


def refuse_unsafe_layers(module: nn.Module) -> None:
    """Refuse a module if a class of torch.nn was replaced, if a layer computes with all texts of the batch, or if a
    tensor is sparse.

    Raises:
        ExportError: PyTorch's class is replaced, a batch normalisation has no running statistics, or a tensor is
            sparse.
    """
    _refuse_replaced_layers()
    _refuse_batch_statistics(module)
    _refuse_sparse_tensors(module)


def _refuse_replaced_layers() -> None:
    """Refuse a module if a file has replaced a class of PyTorch by another class: `nn.GRU = MyGRU`."""
    for name in _LAYERS:
        kind = getattr(nn, name)
        if kind.__module__.partition(".")[0] != "torch":
            raise ExportError(
                f"torch.nn.{name} is not PyTorch's class: {kind.__name__} was put in its place.",
                f"Call {kind.__name__} by its own name where the module is made, and do not replace torch.nn.{name}.",
            )


def _refuse_batch_statistics(module: nn.Module) -> None:
    """Refuse a batch normalisation without running statistics: it computes with all texts of the batch."""
    for path, layer in module.named_modules():
        if isinstance(layer, BatchNorm) and layer.running_mean is None:
            raise ExportError(
                f"The module's {path or 'forward'} is a {type(layer).__name__} without running statistics: it answers "
                "a text differently beside other texts.",
                "Train it with track_running_stats=True, or use nn.LayerNorm in its place.",
            )


def _refuse_sparse_tensors(module: nn.Module) -> None:
    """Refuse a module that holds a sparse tensor."""
    for path, layer in module.named_modules():
        own = {} if isinstance(layer, torch.jit.ScriptModule) else vars(layer)
        weights = [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]
        for name, value in [*own.items(), *weights]:
            if isinstance(value, torch.Tensor) and value.layout is not torch.strided:
                raise ExportError(
                    f"The module's {path}{'.' * bool(path)}{name} is a sparse tensor, which ONNX cannot express.",
                    f"Keep it dense, {name}.to_dense(), and compute with it as with any other tensor.",
                )


def list_nonfinite_weights(module: nn.Module) -> list[str]:
    """Return the name of each weight that has infinite numbers or NaN, with the rows in which they are."""
    found = []
    for name, weight in module.named_parameters():
        if weight.is_floating_point() and not bool(torch.isfinite(weight).all()):
            # A single number has one row.
            odd = ~torch.isfinite(weight.detach().reshape(weight.shape or (1,)))
            rows = odd.reshape(len(odd), -1).any(1).nonzero().flatten().tolist()
            shown = ", ".join(map(str, rows[:_MOST_ROWS])) + ", ..." * (len(rows) > _MOST_ROWS)
            found.append(f"{name} (in {len(rows):,} of its {len(odd):,} rows, from 0: {shown})")
    return found


def set_nonfinite_weights_to_zero(module: nn.Module) -> list[str]:
    """Set the numbers of weights that are infinite or NaN to 0. Return them as `list_nonfinite_weights` does."""
    found = list_nonfinite_weights(module)
    for weight in module.parameters() if found else ():
        if weight.is_floating_point():
            weight.data.copy_(torch.nan_to_num(weight.data, 0.0, 0.0, 0.0))
    return found


def make_nonfinite_weights_error(weights: Sequence[str]) -> ExportError:
    """Make the error for a module that reads weights which are infinite or NaN."""
    return ExportError(
        f"The module's weight {weights[0]} holds a number that is not finite.",
        "Train the module again, or correct the weight; if minus infinity marks what is not allowed, use -1e4.",
    )
