"""The weights of PyTorch's recurrent layers, with their gates in ONNX's order."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import torch
from torch import Tensor, nn

from pocketrnn_export.torch_internals import list_weight_names, read_own_parameters

# torch stacks the gates in a layer's weights in one order (see nn.LSTM and nn.GRU), ONNX in another (see its LSTM and
# GRU operators). The numbers are torch's positions, in ONNX's order.
_GATES: Final[dict[str, tuple[int, ...]]] = {
    "RNN_TANH": (0,),
    "RNN_RELU": (0,),
    "LSTM": (0, 3, 1, 2),  # torch i f g o, ONNX i o f c(=g)
    "GRU": (1, 0, 2),  # torch r z n, ONNX z r h(=n)
}


def add_onnx_weights(module: nn.Module) -> None:
    """Add a copy of the weights, in ONNX's order, to every recurrent layer of a module, as buffers named `onnx_...`.

    They become the graph's initializers. A reordering in the trace would add a Split and a Concat to the graph for each
    weight. If a layer computes its weights in every forward (weight drop, parametrizations), the trace reorders them.
    """
    for path, layer in module.named_modules():
        if not isinstance(layer, nn.RNNBase):
            continue
        layer._onnx_path = path
        if all(name in read_own_parameters(layer) for name in list_weight_names(layer)):
            with torch.no_grad():
                for i in range(layer.num_layers):
                    for name, weight in vars(_make_onnx_weights(layer, i)).items():
                        layer.register_buffer(f"onnx_{name}_{i}", weight)


@dataclass(frozen=True)
class LayerWeights:
    """The weights of one recurrent layer, and its projection if it has one, as `pocketrnn::recurrence` takes them.

    `projection` is float [directions, hidden, projected]. `unprojection` is its pseudo-inverse in float32, and
    `unprojection_rest` is the rounding error of the pseudo-inverse. Constant initial states are multiplied by both;
    without the rest, some states were more than 2 ulps off.
    """

    w: Tensor
    r: Tensor
    b: Tensor | None
    projection: Tensor | None = None
    unprojection: Tensor | None = None
    unprojection_rest: Tensor | None = None


def read_layer_weights(layer: nn.RNNBase, index: int) -> LayerWeights:
    """Return the weights of one layer of a recurrent module in ONNX's order: from the buffers that `add_onnx_weights`
    made, or computed in the trace."""
    if not hasattr(layer, f"onnx_w_{index}"):
        return _make_onnx_weights(layer, index)
    return LayerWeights(**{field.name: getattr(layer, f"onnx_{field.name}_{index}") for field in fields(LayerWeights)})


def _make_onnx_weights(layer: nn.RNNBase, index: int) -> LayerWeights:
    """Return the weights of one layer of a recurrent module in ONNX's order.

    With `proj_size`, torch's LSTM outputs W_hr m instead of m = o * tanh(c), and its gates see W_hh W_hr m. This equals
    an LSTM without projection whose recurrent weight is the product W_hh W_hr, and whose outputs are multiplied by W_hr
    afterwards: the same numbers, with operators that ONNX has.
    """
    gates = _GATES[layer.mode]
    suffixes = ("", "_reverse")[: count_directions(layer)]

    def list_direction_weights(kind: str) -> list[Tensor]:
        return [getattr(layer, f"{kind}_l{index}{suffix}") for suffix in suffixes]

    def reorder_gates(weights: list[Tensor]) -> Tensor:
        rows = torch.arange(len(gates) * layer.hidden_size).view(len(gates), -1)[list(gates)].flatten()
        return torch.stack([weight.index_select(0, rows) for weight in weights])

    w, recurrent, b = reorder_gates(list_direction_weights("weight_ih")), list_direction_weights("weight_hh"), None
    if layer.bias:
        b = torch.cat(
            [reorder_gates(list_direction_weights("bias_ih")), reorder_gates(list_direction_weights("bias_hh"))], dim=1
        )
    if not layer.proj_size:
        return LayerWeights(w, reorder_gates(recurrent), b)
    projections = list_direction_weights("weight_hr")
    # In double precision, since one product replaces two that PyTorch computes one after the other.
    products = [(hh.double() @ hr.double()).to(hh.dtype) for hh, hr in zip(recurrent, projections, strict=True)]
    projection = torch.stack([hr.t() for hr in projections])
    inverse = torch.linalg.pinv(projection.double())
    single = inverse.float()
    rest = (inverse - single.double()).to(w.dtype)
    return LayerWeights(w, reorder_gates(products), b, projection, single.to(w.dtype), rest)


def count_directions(layer: nn.RNNBase) -> int:
    """Return the number of directions of a recurrent module, 1 or 2."""
    return 2 if layer.bidirectional else 1
